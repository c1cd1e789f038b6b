mod count;
mod ends;
mod reply;
mod request;
mod responses;
mod stream;

use http::request::Parts;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource, ProviderExecutor, RequestPreparer};
use crate::request::{Format, Options, Request, Response, Usage};
use crate::transport::check_url;

use self::reply::Reply;
use self::responses::ResponseEvents;
use self::stream::ChatCompletion;
use super::http::call::Call;
use super::http::headers::Vendor;
use super::http::payload;
use super::http::sse::DEFAULT_EVENT_LIMIT;
use super::oauth;

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
/// For [`refresh`](ProviderExecutor::refresh) see [`refresh_tokens`](super::refresh_tokens).
///
/// # Requests
///
/// The payload goes out as it is: what model answers is said by its `model` member. For a stream, `"stream": true` is put
/// into it. [`Options::headers`] and [`Options::query`] are added, except for headers that the credential sets or that
/// belong to the connection. Redirects are not followed.
///
/// [`Options::alt`] chooses the interface: without it, chat completions; `responses` is the
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
/// [`Response::reply_text`] is read from the first choice, or from all messages of a response; [`Response::usage`] from
/// `usage`; [`Response::rate_limits`] from the headers. An answer that holds no reply and does not say why, and one that broke off for a
/// fault of the upstream (`finish_reason` `insufficient_system_resource`, for example), is an error. An answer with another
/// status than 2xx is [`Error::upstream`], with the body (64 KiB at most, without the credential's secrets) and the server's
/// limits; so is a JSON `error` in a 2xx answer, also one beside a choice, with the status that its code or type stands
/// for.
///
/// Where no endpoint counts tokens, `count_tokens` is `unsupported`; with feature `estimate` of this crate it is estimated
/// without asking anybody, by the vocabulary of OpenAI's model of that name or of its present models, and says so in
/// [`Response::metadata`]: `"estimated": true`, `"tokenizer": "o200k_base"`.
///
/// # Streams
///
/// One chunk per event, without the final `[DONE]`; those before any content are marked as preamble, and the first carries
/// the limits that the headers tell. A chat is whole once as many choices as the payload asks for (`n`) have given their
/// `finish_reason`, or all that came, where `[DONE]` follows; `[DONE]` alone replaces none; a response once `response.completed` or `response.incomplete` has come. `response.failed` is an
/// error, classified by its code like an HTTP error; so is an `error` event, and a choice that ends with one. Otherwise its
/// last item is an error: `stream_truncated` when it ended or the upstream closed the connection, `stream_interrupted` when
/// the connection was lost or reading failed in another way, `stream_stalled` when it fell silent for
/// [`Timeouts::idle`](crate::Timeouts), `stream_malformed` when something else came than JSON events.
#[derive(Clone, Debug)]
pub struct OpenAi {
    identifier: String,
    event_limit: usize,
}

impl OpenAi {
    /// The executor for provider `openai`.
    pub fn new() -> Self {
        Self::named("openai")
    }

    /// The executor for another provider key, whose credentials have a `base_url`.
    ///
    /// ```
    /// use credpool::{ProviderExecutor, provider::OpenAi};
    ///
    /// assert_eq!(OpenAi::named("my-llm").identifier(), "my-llm");
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
    /// let executor = credpool::provider::OpenAi::new().with_event_limit(16 * 1024 * 1024);
    /// ```
    pub fn with_event_limit(mut self, bytes: usize) -> Self {
        self.event_limit = bytes;
        self
    }

    #[cfg(not(feature = "estimate"))]
    fn cannot_count(&self, auth: &Auth) -> Error {
        let what = format!(
            "no endpoint of {} counts tokens: set attribute count_tokens_path of credential {:?} if there is one, or use \
             feature estimate of this crate",
            self.identifier, auth.id,
        );
        Error::new(ErrorCode::Unsupported, what).with_auth_id(&auth.id)
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

impl Default for OpenAi {
    fn default() -> Self {
        Self::new()
    }
}

impl ProviderExecutor for OpenAi {
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
        let interface = Interface::chosen(options, auth)?;
        let call = self.call(attempt, auth, options);
        let (path, payload) = (interface.path(), request.payload.clone());
        let (response, reply) = match interface {
            Interface::Chat => {
                let read = |json| Reply::read(&json);
                call.plain_as(path, payload, Reply::glance, Reply::failure, read)?
            }
            Interface::Responses => {
                let read = |json| responses::reply(&json);
                call.plain_as(path, payload, |_| None, responses::failure, read)?
            }
        };
        Ok(Response {
            reply_text: reply.text,
            usage: reply.usage,
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
        let interface = Interface::chosen(options, auth)?;
        let payload = payload::streaming(&request.payload).ok_or_else(|| {
            Error::new(
                ErrorCode::Config,
                "the request's payload is not a JSON object",
            )
        })?;
        let (call, path) = (self.call(attempt, auth, options), interface.path());
        match interface {
            Interface::Chat => {
                let wants_usage = auth.attributes.get("stream_usage");
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

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        // The endpoint counts the payloads of both.
        Interface::chosen(options, auth)?;
        let Some(path) = request::count_path(self, auth) else {
            #[cfg(feature = "estimate")]
            return super::estimate::estimated(auth, request);
            #[cfg(not(feature = "estimate"))]
            return Err(self.cannot_count(auth));
        };
        let payload = if path.trim_end_matches('/').ends_with("input_tokens") {
            count::responses_payload(&request.payload)
        } else {
            None
        };
        let payload = payload.unwrap_or_else(|| request.payload.clone());
        let (response, json) = self.call(attempt, auth, options).plain(&path, payload)?;
        let Some(tokens) = count::tokens(&json) else {
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
        name.eq_ignore_ascii_case("openai") || name.eq_ignore_ascii_case(&self.identifier)
    }

    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        Some(self)
    }
}

impl RequestPreparer for OpenAi {
    /// Sets `Authorization` and the credential's other headers. A request whose URL says where it goes must go over
    /// `https`, or stay on this machine.
    fn prepare_request(&self, request: &mut Parts, auth: &Auth) -> Result<(), Error> {
        if request.uri.authority().is_some() {
            check_url(&request.uri.to_string(), auth)?;
        }
        self.add_credential(&mut request.headers, auth)
    }
}

/// What to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interface {
    Chat,
    Responses,
}

impl Interface {
    fn chosen(options: &Options, auth: &Auth) -> Result<Self, Error> {
        match options.alt.as_deref() {
            None => Ok(Self::Chat),
            Some("responses") => Ok(Self::Responses),
            Some(other) => {
                let what = format!(
                    "there is no interface {other:?}: leave alt out for chat completions, or say \"responses\""
                );
                Err(Error::new(ErrorCode::Config, what).with_auth_id(&auth.id))
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
pub(super) fn chat_events() -> impl super::http::event_stream::Protocol {
    ChatCompletion::of(1)
}

#[cfg(test)]
pub(super) fn response_events() -> impl super::http::event_stream::Protocol {
    ResponseEvents::default()
}
