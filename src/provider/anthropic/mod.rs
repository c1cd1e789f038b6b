//! The executor for Anthropic's Messages API.

pub(super) mod error;
mod reply;
mod request;
mod stream;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

pub(super) use self::reply::usage;
use self::stream::MessageStream;
use super::http::{HttpExecutor, StreamProtocol, Vendor, VendorCall, payload, streaming_payload};
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::request::{Request, Response, Usage};

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
/// No beta is sent by default: for a server that takes access tokens under a beta alone (`oauth-2025-04-20`), set that beta
/// in `anthropic_beta`. For [`refresh`](crate::ProviderExecutor::refresh) see [`refresh_tokens`](super::refresh_tokens).
///
/// # Requests
///
/// The payload goes out as it is: the model is the one of its `model` member. For a stream, `"stream": true` is put
/// into it. For a [token count](https://docs.anthropic.com/en/api/messages-count-tokens), the members that only a reply
/// needs, and that the endpoint refuses, are left out: `max_tokens`, `stream`, `temperature`, `stop_sequences` and the like.
/// [`Options::headers`](crate::Options::headers) and [`Options::query`](crate::Options::query) are added, except for headers that the
/// credential sets or that belong to the connection. [`Options::alt`](crate::Options::alt) is ignored. Redirects are not followed.
///
/// # Answers
///
/// [`Response::reply_text`](crate::Response::reply_text) is the text of all text blocks,
/// [`Response::reasoning_text`](crate::Response::reasoning_text) that of all thinking blocks,
/// [`Response::tool_calls`](crate::Response::tool_calls) are the `tool_use` blocks, and
/// [`Response::finish_reason`](crate::Response::finish_reason) the `stop_reason`. [`Response::usage`](crate::Response::usage) counts as
/// input also what was written to and read from the cache; what was read is in [`Usage::cached`](crate::Usage::cached) as well, what was
/// written in [`Usage::cache_written`](crate::Usage::cache_written). An answer with another status than 2xx is
/// [`Error::upstream`](crate::Error::upstream), with the body (64 KiB at most, without the credential's secrets) and the server's wait; so
/// is an error in a 2xx answer, with the status that the
/// [vendor gives its type](https://docs.anthropic.com/en/api/errors): 529 for `overloaded_error`.
///
/// # Streams
///
/// One chunk per [event](https://docs.anthropic.com/en/docs/build-with-claude/streaming), those of unknown kinds included.
/// What comes before any content (`message_start`, `ping`, the start of an empty block) is marked as preamble; a tool call is
/// content from its start. A stream is whole once `message_stop` has come, or `[DONE]` after a `stop_reason`, and ends there. Otherwise its
/// last item is an error: that of an `error` event, `stream_truncated` when it ended or the upstream closed the connection,
/// `stream_interrupted` when it was lost, `stream_stalled` when it fell silent for
/// [`Timeouts::idle`](crate::Timeouts), `stream_malformed` when something else came than JSON events.
pub type Anthropic = HttpExecutor<AnthropicApi>;

/// The API that [`Anthropic`] calls.
///
/// ```
/// use credpool::provider::AnthropicApi;
/// use credpool::provider::http::Vendor;
///
/// assert_eq!(AnthropicApi::default().format(), "anthropic");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct AnthropicApi;

impl Vendor for AnthropicApi {
    fn format(&self) -> &'static str {
        "anthropic"
    }

    fn base_url(&self) -> &'static str {
        request::BASE_URL
    }

    fn models_path(&self) -> Option<&'static str> {
        Some("/v1/models?limit=1000")
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        usage
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        request::credential_headers(auth)
    }

    fn merge(&self, own: &mut HeaderMap, call: &mut HeaderMap) {
        request::merge(own, call);
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let path = request::messages_path(call.auth());
        message(call, path, request.payload.clone())
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        let path = request::messages_path(call.auth());
        let payload = streaming_payload(&request.payload)?;
        call.stream(path, payload, message_events())
    }

    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let path = format!("{}/count_tokens", request::messages_path(call.auth()));
        count(call, &path, &request.payload)
    }
}

/// A message, in the API's own form, from any path.
pub(super) fn message(
    call: &VendorCall<'_>,
    path: &str,
    payload: Bytes,
) -> Result<Response, Error> {
    call.reply(path, payload, &reply::REPLIES)
}

/// How a message is streamed.
pub(super) fn message_events() -> impl StreamProtocol + 'static {
    MessageStream::default()
}

/// A token count, from any path, of the payload of a message.
pub(super) fn count(call: &VendorCall<'_>, path: &str, payload: &Bytes) -> Result<Response, Error> {
    let counted = payload::without(payload, &request::OF_A_REPLY_ALONE);
    let counted = counted.unwrap_or_else(|| payload.clone());
    call.count(path, counted, reply::count)
}
