mod reply;
mod request;
mod stream;

use http::HeaderMap;
use http::request::Parts;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource, ProviderExecutor, RequestPreparer};
use crate::request::{Format, Options, Request, Response, Usage};
use crate::transport::check_url;

use self::stream::MessageStream;
use super::http::call::Call;
use super::http::headers::Vendor;
use super::http::payload;
use super::http::sse::DEFAULT_EVENT_LIMIT;
use super::oauth;

/// Calls the [Messages API](https://docs.anthropic.com/en/api/messages) of Anthropic, or of a server that is compatible
/// with it.
///
/// ```
/// use credpool::provider::Anthropic;
/// use credpool::{Auth, OAuthTokens};
///
/// let executors = [Anthropic::new(), Anthropic::named("my-gateway")];
/// let credentials = [
///     Auth::api_key("anthropic", "sk-ant-…").with_id("a").with_attribute("anthropic_beta", "files-api-2025-04-14"),
///     Auth::oauth("anthropic", OAuthTokens::new("access").with_refresh_token("refresh")).with_id("b"),
///     Auth::api_key("my-gateway", "key").with_id("c").with_attribute("base_url", "http://localhost:8080"),
/// ];
/// ```
///
/// # Credentials
///
/// Attribute `api_key` goes out as `x-api-key`. Without one, `access_token` of the metadata, at its top or inside a nested
/// `token` object, is the bearer token, and there is no `x-api-key`. Further attributes, all optional:
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `base_url` | where the API is, with or without its final `/v1` | `https://api.anthropic.com` |
/// | `anthropic_version` | the `anthropic-version` header | that of the call, else `2023-06-01` |
/// | `anthropic_beta` | betas, separated by commas; those of the call are added | none |
/// | `header:NAME` | one more header; with `header:x-api-key` or `header:authorization` there need be no `api_key` | |
/// | `allow_http` | `true` allows plain `http` to other machines | only to this one |
///
/// No beta is sent that nobody asked for: a server that takes access tokens under one alone (`oauth-2025-04-20`) needs it
/// in `anthropic_beta`. For [`refresh`](ProviderExecutor::refresh) see [`refresh_tokens`](super::refresh_tokens).
///
/// # Requests
///
/// The payload goes out as it is: what model answers is said by its `model` member. For a stream, `"stream": true` is put
/// into it. For a [token count](https://docs.anthropic.com/en/api/messages-count-tokens), the members that only a reply
/// needs, and that the endpoint refuses, are left out: `max_tokens`, `stream`, `temperature`, `stop_sequences` and the like.
/// [`Options::headers`] and [`Options::query`] are added, except for headers that the credential sets or that belong to the
/// connection. [`Options::alt`] is ignored. Redirects are not followed.
///
/// # Answers
///
/// [`Response::reply_text`] is the text of all text blocks. [`Response::usage`] counts as input also what was written to and
/// read from the cache; what was read is in [`Usage::cached`] as well, what was written in [`Usage::cache_written`]. An answer with another status than 2xx is
/// [`Error::upstream`], with the body (64 KiB at most, without the credential's secrets) and the server's wait; so is an
/// error in a 2xx answer, with the status that the
/// [vendor gives its type](https://docs.anthropic.com/en/api/errors): 529 for `overloaded_error`.
///
/// # Streams
///
/// One chunk per [event](https://docs.anthropic.com/en/docs/build-with-claude/streaming), those of unknown kinds included.
/// What comes before any content (`message_start`, `ping`, the start of an empty block) is marked as preamble; a tool call is
/// content from its start. A stream is whole once `message_stop` has come, or `[DONE]` after a `stop_reason`, and ends there. Otherwise its last item is an
/// error: that of an `error` event, `stream_truncated` when it ended or the upstream closed the connection,
/// `stream_interrupted` when it was lost, `stream_stalled` when it fell silent for
/// [`Timeouts::idle`](crate::Timeouts), `stream_malformed` when something else came than JSON events.
#[derive(Clone, Debug)]
pub struct Anthropic {
    identifier: String,
    event_limit: usize,
}

impl Anthropic {
    /// The executor for provider `anthropic`.
    pub fn new() -> Self {
        Self::named("anthropic")
    }

    /// An executor for another provider key, with the same protocol. Its credentials need attribute `base_url`, unless they
    /// are for Anthropic itself.
    ///
    /// ```
    /// use credpool::ProviderExecutor;
    /// use credpool::provider::Anthropic;
    ///
    /// assert_eq!(Anthropic::named("my-gateway").identifier(), "my-gateway");
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
    /// let executor = credpool::provider::Anthropic::new().with_event_limit(16 * 1024 * 1024);
    /// ```
    pub fn with_event_limit(mut self, bytes: usize) -> Self {
        self.event_limit = bytes;
        self
    }

    fn call<'a>(&'a self, attempt: &'a Attempt, auth: &'a Auth, options: &'a Options) -> Call<'a> {
        Call {
            vendor: self,
            attempt,
            auth,
            options,
            event_limit: self.event_limit,
        }
    }
}

impl Default for Anthropic {
    fn default() -> Self {
        Self::new()
    }
}

impl ProviderExecutor for Anthropic {
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
        let call = self.call(attempt, auth, options);
        let path = request::messages_path(self, auth);
        let read = |json| (reply::text(&json), reply::usage(&json));
        let payload = request.payload.clone();
        let (response, (reply_text, usage)) =
            call.plain_as(path, payload, |_| None, reply::failure, read)?;
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
        let payload = payload::streaming(&request.payload).ok_or_else(|| {
            Error::new(
                ErrorCode::Config,
                "the request's payload is not a JSON object",
            )
        })?;
        let path = request::messages_path(self, auth);
        self.call(attempt, auth, options)
            .stream(path, payload, MessageStream::default())
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let path = format!("{}/count_tokens", request::messages_path(self, auth));
        let payload = payload::without(&request.payload, &request::OF_A_REPLY_ALONE);
        let payload = payload.unwrap_or_else(|| request.payload.clone());
        let (response, json) = self.call(attempt, auth, options).plain(&path, payload)?;
        let Some(tokens) = reply::count(&json) else {
            let what = "the upstream's answer to a token count holds no number of tokens";
            return Err(Error::new(ErrorCode::Upstream, what).with_auth_id(&auth.id));
        };
        Ok(response.with_usage(Usage::new(tokens, 0)))
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        oauth::refresh_tokens(attempt, auth)
    }

    fn speaks(&self, format: &Format) -> bool {
        let name = format.as_str();
        name.eq_ignore_ascii_case("anthropic") || name.eq_ignore_ascii_case(&self.identifier)
    }

    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        Some(self)
    }
}

impl RequestPreparer for Anthropic {
    /// Sets `x-api-key` or `Authorization`, whichever the credential has, takes the other away, and sets the credential's
    /// further headers. A request whose URL says where it goes must go over `https`, or stay on this machine.
    fn prepare_request(&self, request: &mut Parts, auth: &Auth) -> Result<(), Error> {
        if request.uri.authority().is_some() {
            check_url(&request.uri.to_string(), auth)?;
        }
        let mut own = HeaderMap::new();
        self.add_credential(&mut own, auth)?;
        self.merge(&mut own, &mut request.headers);
        request.headers.extend(own);
        Ok(())
    }
}

/// For tests of what streams have in common.
#[cfg(test)]
pub(super) fn message_events() -> impl super::http::event_stream::Protocol {
    MessageStream::default()
}
