//! The executor for the Gemini API.

mod count;
pub(super) mod error;
mod model;
mod reply;
mod request;
mod stream;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use self::model::Model;
pub(super) use self::reply::usage;
pub(super) use self::request::{credential_headers, merge, without_credential};
use self::stream::GenerateContent;
use super::http::headers::base_url;
use super::http::{HttpExecutor, Vendor, VendorCall, payload};
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::request::{Request, Response, Usage};

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
/// For [`refresh`](crate::ProviderExecutor::refresh) see [`refresh_tokens`](super::refresh_tokens).
///
/// # Requests
///
/// [`Request::model`](crate::Request::model) says what model answers: `gemini-2.5-flash`, or a resource name that begins with `models/`,
/// `tunedModels/`, `publishers/` or `projects/`. The payload goes out as it is. [`Options::headers`](crate::Options::headers) and [`Options::query`](crate::Options::query)
/// are added, except for headers that the credential sets or that belong to the connection, and for the parameters `key`,
/// `access_token`, `oauth_token` and `alt`. [`Options::alt`](crate::Options::alt) is ignored. Redirects are not followed.
///
/// A token count takes the payload of the call that it is for: where that holds more than `contents`, it is sent as the
/// `generateContentRequest` of <https://ai.google.dev/api/tokens>.
///
/// # Answers
///
/// [`Response::reply_text`](crate::Response::reply_text) is the text of the first candidate without its thoughts, which are
/// [`Response::reasoning_text`](crate::Response::reasoning_text); [`Response::finish_reason`](crate::Response::finish_reason) is its
/// `finishReason`, or why the prompt was blocked; [`Response::tool_calls`](crate::Response::tool_calls) are its function calls. Thoughts count as output in
/// [`Response::usage`](crate::Response::usage). A prompt that is blocked is an answer without text: its `promptFeedback` says why. An answer with
/// another status than 2xx is [`Error::upstream`](crate::Error::upstream), with the body (64 KiB at most, without the credential's secrets) and the
/// server's wait; so is a JSON `error` in a 2xx answer, with the status that its code stands for.
///
/// # Streams
///
/// One chunk per event; those before any content are marked as preamble. A stream is whole once as many candidates as the payload asks
/// for have given their `finishReason`, or a `promptFeedback` its `blockReason`; what comes after that, usage for example, is still read.
/// Otherwise its last item is an error: `stream_truncated` when it ended or the upstream closed the connection,
/// `stream_interrupted` when it was lost, `stream_stalled` when it fell silent for
/// [`Timeouts::idle`](crate::Timeouts), `stream_malformed` when something else came than JSON events.
pub type Gemini = HttpExecutor<GeminiApi>;

/// The API that [`Gemini`] calls.
///
/// ```
/// use credpool::provider::GeminiApi;
/// use credpool::provider::http::Vendor;
///
/// assert_eq!(GeminiApi::default().format(), "gemini");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GeminiApi;

impl Vendor for GeminiApi {
    fn format(&self) -> &'static str {
        "gemini"
    }

    fn base_url(&self) -> &'static str {
        request::BASE_URL
    }

    fn address(&self, auth: &Auth) -> Result<String, Error> {
        let base = base_url(self.base_url(), auth);
        let (place, query) = base.split_at(base.find('?').unwrap_or(base.len()));
        let version = request::version_path(auth)?;
        Ok(format!("{}{version}{query}", place.trim_end_matches('/')))
    }

    fn models_path(&self) -> Option<&'static str> {
        Some("/models?pageSize=1000")
    }

    fn key_parameters(&self) -> &'static [&'static str] {
        &["key", "access_token", "oauth_token"]
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        usage
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        credential_headers(auth)
    }

    fn merge(&self, _: &mut HeaderMap, call: &mut HeaderMap) {
        merge(call);
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        generate(call, &Model::of(request)?.path(GENERATE), request)
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        stream(call, &Model::of(request)?.path(STREAM), request)
    }

    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let model = Model::of(request)?;
        let payload = count::payload(&request.payload, &model);
        let payload = payload.unwrap_or_else(|| request.payload.clone());
        count(call, &model.path(COUNT), payload)
    }
}

/// A reply of Gemini's protocol, from the path of a model's method [`GENERATE`].
pub(super) fn generate(
    call: &VendorCall<'_>,
    path: &str,
    request: &Request,
) -> Result<Response, Error> {
    let options = without_credential(call.options());
    let call = call.with_options(&options);
    call.reply(path, request.payload.clone(), &reply::REPLIES)
}

/// The same as a stream, from the path of the method [`STREAM`].
pub(super) fn stream(
    call: &VendorCall<'_>,
    path: &str,
    request: &Request,
) -> Result<ChunkSource, Error> {
    let payload = request.payload.clone();
    let asked = payload::number(&payload, &request::CANDIDATE_COUNT).unwrap_or(1);
    let options = without_credential(call.options());
    let call = call.with_options(&options);
    // Without `alt` the stream is one JSON array.
    let path = format!("{path}?alt=sse");
    call.stream(&path, payload, GenerateContent::of(asked))
}

/// A token count, from the path of the method [`COUNT`].
pub(super) fn count(call: &VendorCall<'_>, path: &str, payload: Bytes) -> Result<Response, Error> {
    let options = without_credential(call.options());
    call.with_options(&options)
        .count(path, payload, count::usage)
}

/// The methods of a model.
pub(super) const GENERATE: &str = "generateContent";
pub(super) const STREAM: &str = "streamGenerateContent";
pub(super) const COUNT: &str = "countTokens";
