mod count;
mod model;
mod reply;
mod request;
mod stream;

use http::request::Parts;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource, ProviderExecutor, RequestPreparer};
use crate::request::{Format, Options, Request, Response, Usage};
use crate::transport::check_url;

use self::model::Model;
use self::stream::GenerateContent;
use super::http::call::Call;
use super::http::headers::Vendor;
use super::http::payload;
use super::http::sse::DEFAULT_EVENT_LIMIT;
use super::oauth;

/// Calls the [Gemini API](https://ai.google.dev/api/generate-content), or a server that speaks like it.
///
/// ```
/// use credpool::provider::Gemini;
/// use credpool::testing::{GeminiUpstream, KeyBehaviour};
/// use credpool::{Attempt, Auth, Options, ProviderExecutor, Request, SystemClock};
///
/// let upstream = GeminiUpstream::start();
/// upstream.set_key("key-1", KeyBehaviour::Serve);
///
/// let auth = Auth::api_key("gemini", "key-1").with_attribute("base_url", upstream.base_url());
/// let payload = r#"{"contents":[{"role":"user","parts":[{"text":"Hello"}]}]}"#;
/// let response = Gemini::new().execute(
///     &Attempt::for_tests(SystemClock),
///     &auth,
///     &Request::new("gemini-2.5-flash", payload),
///     &Options::new(),
/// )?;
/// assert_eq!(response.reply_text.as_deref(), Some("You said: Hello"));
/// # Ok::<(), credpool::Error>(())
/// ```
///
/// # Credentials
///
/// Attribute `api_key` goes into `x-goog-api-key`, never into the URL. Without it, `access_token` of the metadata, at its top
/// or inside a nested `token` object, is the bearer token: of an OAuth login, or of a service account
/// ([`Auth::service_account`]). Further attributes, all optional:
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `base_url` | where the API is, with its version | `https://generativelanguage.googleapis.com/v1beta` |
/// | `api_version` | the version, put behind `base_url` | `v1beta` where `base_url` has no path, else nothing |
/// | `quota_project` | the `x-goog-user-project` header: the project that an access token's calls count for | `quota_project_id` of the metadata, else not sent |
/// | `header:NAME` | one more header; with `header:authorization` or `header:x-goog-api-key` there need be no `api_key` | |
/// | `allow_http` | `true` allows plain `http` to other machines | only to this one |
///
/// For [`refresh`](ProviderExecutor::refresh) see [`refresh_tokens`](super::refresh_tokens).
///
/// # Requests
///
/// [`Request::model`] says what model answers: `gemini-2.5-flash`, or a resource name that begins with `models/`,
/// `tunedModels/`, `publishers/` or `projects/`. The payload goes out as it is. [`Options::headers`] and [`Options::query`]
/// are added, except for headers that the credential sets or that belong to the connection, and for the parameters `key`,
/// `access_token`, `oauth_token` and `alt`. [`Options::alt`] is ignored. Redirects are not followed.
///
/// A token count takes the payload of the call that it is for: where that holds more than `contents`, it is sent as the
/// `generateContentRequest` of <https://ai.google.dev/api/tokens>.
///
/// # Answers
///
/// [`Response::reply_text`] is the text of the first candidate without its thoughts; thoughts count as output in
/// [`Response::usage`]. A prompt that is blocked is an answer without text: its `promptFeedback` says why. An answer with
/// another status than 2xx is [`Error::upstream`], with the body (64 KiB at most, without the credential's secrets) and the
/// server's wait; so is a JSON `error` in a 2xx answer, with the status that its code stands for.
///
/// # Streams
///
/// One chunk per event; those before any content are marked as preamble. A stream is whole once as many candidates as the payload asks
/// for have given their `finishReason`, or a `promptFeedback` its `blockReason`; what comes after that, usage for example, is still read.
/// Otherwise its last item is an error: `stream_truncated` when it ended or the upstream closed the connection,
/// `stream_interrupted` when it was lost, `stream_stalled` when it fell silent for
/// [`Timeouts::idle`](crate::Timeouts), `stream_malformed` when something else came than JSON events.
#[derive(Clone, Debug)]
pub struct Gemini {
    identifier: String,
    event_limit: usize,
}

impl Gemini {
    /// The executor for provider `gemini`.
    ///
    /// ```
    /// use credpool::{ProviderExecutor, provider::Gemini};
    ///
    /// assert_eq!(Gemini::new().identifier(), "gemini");
    /// ```
    pub fn new() -> Self {
        Self::named("gemini")
    }

    /// The executor for another provider key.
    ///
    /// ```
    /// use credpool::{ProviderExecutor, provider::Gemini};
    ///
    /// assert_eq!(Gemini::named("my-gemini").identifier(), "my-gemini");
    /// ```
    pub fn named(identifier: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            event_limit: DEFAULT_EVENT_LIMIT,
        }
    }

    /// Sets how many bytes one event of a stream may have, where the call does not say ([`Options::event_limit`]): a longer one ends
    /// the call with `stream_malformed`, is held against no credential and not asked for again. Default: 64 MiB, as for a plain answer;
    /// images come as events of several MiB.
    ///
    /// ```
    /// let executor = credpool::provider::Gemini::new().with_event_limit(16 * 1024 * 1024);
    /// ```
    pub fn with_event_limit(mut self, bytes: usize) -> Self {
        self.event_limit = bytes;
        self
    }

    /// Makes a call to `path` below the credential's API and version.
    fn call<T>(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        options: &Options,
        path: &str,
        make: impl FnOnce(&Call<'_>, &str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let options = request::without_credential(options);
        let path = format!("{}{path}", request::version_path(self, auth)?);
        let call = Call {
            vendor: self,
            attempt,
            auth,
            options: &options,
            event_limit: self.event_limit,
        };
        make(&call, &path)
    }
}

impl Default for Gemini {
    fn default() -> Self {
        Self::new()
    }
}

impl ProviderExecutor for Gemini {
    fn identifier(&self) -> &str {
        &self.identifier
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let path = Model::of(request)?.path("generateContent");
        let read = |json| (reply::text(&json), reply::usage(&json));
        let (response, (reply_text, usage)) =
            self.call(attempt, auth, options, &path, |call, path| {
                let payload = request.payload.clone();
                call.plain_as(path, payload, |_| None, reply::failure, read)
            })?;
        Ok(Response {
            reply_text,
            usage,
            ..response
        })
    }

    fn execute_stream(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<ChunkSource, Error> {
        // Without it the stream is one JSON array.
        let path = Model::of(request)?.path("streamGenerateContent") + "?alt=sse";
        self.call(attempt, auth, options, &path, |call, path| {
            let payload = request.payload.clone();
            let asked = payload::number(&payload, &request::CANDIDATE_COUNT);
            call.stream(path, payload, GenerateContent::of(asked.unwrap_or(1)))
        })
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let model = Model::of(request)?;
        let payload = count::payload(&request.payload, &model);
        let payload = payload.unwrap_or_else(|| request.payload.clone());
        let path = model.path("countTokens");
        let (response, json) = self.call(attempt, auth, options, &path, |call, path| {
            call.plain(path, payload)
        })?;
        let Some(tokens) = count::tokens(&json) else {
            let what = "the upstream's answer to a token count holds no number of tokens";
            return Err(Error::new(ErrorCode::Upstream, what).with_auth_id(&auth.id));
        };
        let cached = count::cached(&json);
        Ok(response.with_usage(Usage::new(tokens, 0).with_cached(cached)))
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        oauth::refresh_tokens(attempt, auth)
    }

    fn speaks(&self, format: &Format) -> bool {
        let name = format.as_str();
        name.eq_ignore_ascii_case("gemini") || name.eq_ignore_ascii_case(&self.identifier)
    }

    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        Some(self)
    }
}

impl RequestPreparer for Gemini {
    /// Sets `x-goog-api-key` or `Authorization`, and the credential's other headers. A request whose URL says where it goes
    /// must go over `https`, or stay on this machine.
    fn prepare_request(&self, request: &mut Parts, auth: &Auth) -> Result<(), Error> {
        if request.uri.authority().is_some() {
            check_url(&request.uri.to_string(), auth)?;
        }
        self.add_credential(&mut request.headers, auth)
    }
}
