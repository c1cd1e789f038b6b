//! The executor for OpenAI's chat completions and Responses APIs, and for compatible servers.

mod count;
pub(super) mod error;
mod finish_reasons;
mod reply;
mod request;
mod responses;
mod stream;
mod tool_calls;

use http::HeaderMap;
use serde_json::Value;

use self::responses::ResponseEvents;
use self::stream::ChatCompletion;
use super::http::{HttpExecutor, Vendor, VendorCall, payload, streaming_payload};
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::request::{Request, Response, Usage};

/// Calls the chat completions API or the Responses API of OpenAI, or of any server that is compatible with it.
///
/// ```
/// use credpool::Auth;
/// use credpool::provider::OpenAi;
///
/// // OpenAI itself, and a compatible server under a provider key of its own.
/// let executors = [OpenAi::new(), OpenAi::named("my-llm")];
/// let credentials = [
///     Auth::api_key("openai", "sk-…").with_id("a").with_attribute("organization", "org-…"),
///     Auth::api_key("my-llm", "key").with_id("b").with_attribute("base_url", "http://localhost:8080/v1"),
/// ];
/// ```
///
/// # Credentials
///
/// The bearer token is attribute `api_key`, else `access_token` of the metadata, at its top or inside a nested `token`
/// object. Further attributes, all optional:
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `base_url` | where the API is | `https://api.openai.com/v1` |
/// | `organization`, `project` | the `OpenAI-Organization` and `OpenAI-Project` headers | not sent |
/// | `header:NAME` | one more header; with `header:api-key`, `header:x-api-key` or `header:authorization` there need be no `api_key` | |
/// | `count_tokens_path` | the endpoint that counts tokens | `/responses/input_tokens` at api.openai.com, else none |
/// | `stream_usage` | `true` puts `"stream_options": {"include_usage": true}` into the payload of a streamed chat that says nothing of it: without it many servers tell no usage by stream, so that a limit of tokens a minute goes by its estimate | `false` |
/// | `allow_http` | `true` allows plain `http` to other machines | only to this one |
///
/// For [`refresh`](crate::ProviderExecutor::refresh) see [`refresh_tokens`](super::refresh_tokens).
///
/// # Requests
///
/// The payload goes out as it is: the model is the one of its `model` member. For a stream, `"stream": true` is put
/// into it. [`Options::headers`](crate::Options::headers) and [`Options::query`](crate::Options::query) are added, except for headers that
/// the credential sets or that belong to the connection. Redirects are not followed.
///
/// [`Options::alt`](crate::Options::alt) chooses the interface: without it, chat completions; `responses` is the
/// [Responses API](https://platform.openai.com/docs/api-reference/responses). Any other is refused with code `config`.
///
/// ```no_run
/// use credpool::{Manager, Options, Request};
/// # let manager = Manager::builder().build()?;
///
/// let request = Request::new("gpt-5", r#"{"model":"gpt-5","input":"Hello"}"#);
/// let response = manager.execute(["openai"], &request, &Options::new().with_alt("responses"))?;
/// println!("{}", response.reply_text.unwrap_or_default());
/// # Ok::<(), credpool::Error>(())
/// ```
///
/// # Answers
///
/// [`Response::reply_text`](crate::Response::reply_text) is read from the first choice, or from all messages of a response;
/// [`Response::usage`](crate::Response::usage) from `usage`; [`Response::rate_limits`](crate::Response::rate_limits) from the headers.
/// [`Response::reasoning_text`](crate::Response::reasoning_text) is the first choice's `reasoning_content` or `reasoning`, or its parts
/// with `thinking`; of a response, the summaries and the text of its reasoning. [`Response::finish_reason`](crate::Response::finish_reason)
/// is the first choice's; of a response, why it is incomplete, or else its status. [`Response::tool_calls`](crate::Response::tool_calls)
/// are the first choice's, or a response's calls of functions and custom tools. An answer that holds no reply and does not say why, and one
/// that broke off for a fault of the upstream (`finish_reason` `insufficient_system_resource`, for example), is an error. An answer with
/// another status than 2xx is [`Error::upstream`](crate::Error::upstream), with the body (64 KiB at most, without the credential's secrets)
/// and the server's limits; so is a JSON `error` in a 2xx answer, also one beside a choice, with the status that its code or type stands
/// for.
///
/// Where no endpoint counts tokens, `count_tokens` is `unsupported`; with feature `estimate` of this crate it is estimated
/// without a request, by the vocabulary of OpenAI's model of that name or of its present models, and says so in
/// [`Response::metadata`](crate::Response::metadata): `"estimated": true`, `"tokenizer": "o200k_base"`.
///
/// # Streams
///
/// One chunk per event, without the final `[DONE]`; those before any content are marked as preamble, and the first carries
/// the limits that the headers tell. A chat is whole once as many choices as the payload asks for (`n`) have given their
/// `finish_reason`, or all that came, where `[DONE]` follows; `[DONE]` alone replaces none; a response once `response.completed` or
/// `response.incomplete` has come. `response.failed` is an error, classified by its code like an HTTP error; so is an `error` event, and a
/// choice that ends with one. Otherwise its last item is an error: `stream_truncated` when it ended or the upstream closed the connection,
/// `stream_interrupted` when the connection was lost or reading failed in another way, `stream_stalled` when it fell silent for
/// [`Timeouts::idle`](crate::Timeouts), `stream_malformed` when something else came than JSON events.
pub type OpenAi = HttpExecutor<OpenAiApi>;

/// The API that [`OpenAi`] calls.
///
/// ```
/// use credpool::provider::OpenAiApi;
/// use credpool::provider::http::Vendor;
///
/// assert_eq!(OpenAiApi::default().format(), "openai");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenAiApi;

impl Vendor for OpenAiApi {
    fn format(&self) -> &'static str {
        "openai"
    }

    fn base_url(&self) -> &'static str {
        request::BASE_URL
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        |json| json.get("usage").and_then(reply::usage)
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        request::credential_headers(auth)
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let interface = Interface::chosen(call)?;
        let reader = match interface {
            Interface::Chat => &reply::REPLIES,
            Interface::Responses => &responses::REPLIES,
        };
        call.reply(interface.path(), request.payload.clone(), reader)
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        let interface = Interface::chosen(call)?;
        let payload = streaming_payload(&request.payload)?;
        let path = interface.path();
        match interface {
            Interface::Chat => {
                let wants_usage = call.auth().attributes.get("stream_usage");
                let wants_usage =
                    wants_usage.is_some_and(|text| text.trim().eq_ignore_ascii_case("true"));
                let payload = if wants_usage {
                    payload::with_usage(&payload).unwrap_or(payload)
                } else {
                    payload
                };
                let asked = payload::number(&request.payload, &[&["n"]]).unwrap_or(1);
                call.stream(path, payload, ChatCompletion::of(asked))
            }
            Interface::Responses => call.stream(path, payload, ResponseEvents::default()),
        }
    }

    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        // The endpoint counts the payloads of both.
        Interface::chosen(call)?;
        let Some(path) = request::count_path(call.vendor.base_url(), call.auth()) else {
            #[cfg(feature = "estimate")]
            return super::estimate::estimated(call.auth(), request);
            #[cfg(not(feature = "estimate"))]
            return Err(cannot_count(call));
        };
        let payload = if path.trim_end_matches('/').ends_with("input_tokens") {
            count::responses_payload(&request.payload)
        } else {
            None
        };
        let payload = payload.unwrap_or_else(|| request.payload.clone());
        call.count(&path, payload, count::usage)
    }
}

#[cfg(not(feature = "estimate"))]
fn cannot_count(call: &VendorCall<'_>) -> Error {
    let id = &call.auth().id;
    let what = format!(
        "no endpoint of {} counts tokens: set attribute count_tokens_path of credential {id:?} if there is one, or use \
         feature estimate of this crate",
        call.identifier(),
    );
    Error::new(crate::error::ErrorCode::Unsupported, what).with_auth_id(id)
}

/// What to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Chat,
    Responses,
}

impl Interface {
    fn chosen(call: &VendorCall<'_>) -> Result<Self, Error> {
        match call.options().alt.as_deref() {
            None => Ok(Self::Chat),
            Some("responses") => Ok(Self::Responses),
            Some(other) => {
                let what = format!(
                    "there is no API {other:?}: omit alt for chat completions, or set it to \"responses\""
                );
                Err(Error::config(what).with_auth_id(&call.auth().id))
            }
        }
    }

    /// As in the API reference: [chat](https://platform.openai.com/docs/api-reference/chat/create),
    /// [responses](https://platform.openai.com/docs/api-reference/responses/create).
    const fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Responses => "/responses",
        }
    }
}

/// For tests of what streams have in common.
#[cfg(test)]
pub(super) fn chat_events() -> impl super::http::event_stream::StreamProtocol {
    ChatCompletion::of(1)
}

#[cfg(test)]
pub(super) fn response_events() -> impl super::http::event_stream::StreamProtocol {
    ResponseEvents::default()
}
