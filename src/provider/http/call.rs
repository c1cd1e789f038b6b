//! [`Vendor`] and one call of its API: a payload out, JSON or a stream of events back.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;

use super::dialect::Dialect;
use super::error_body::ReportedError;
use super::exchange::{COMPRESSED, GZIP, reported, response_head, upstream_error_in};
use super::headers::{CONNECTION_HEADERS, JSON, USER_AGENT_TEXT, base_url};
use super::reply::{Reply, ReplyReader};
use super::signer::Signer;
use super::url::endpoint;
use crate::auth::{Auth, Metadata};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, Body, ChunkSource};
use crate::head::ResponseHead;
use crate::json::{parse_lenient, without_mark};
use crate::limits::RateLimits;
use crate::provider::rate_limits;
use crate::request::{Options, Request, Response, Usage};
use crate::transport::Limits;

/// One vendor's API: what its requests and replies have that others' do not. [`HttpExecutor`](super::HttpExecutor) makes a
/// [`ProviderExecutor`](crate::ProviderExecutor) of it.
///
/// ```
/// use bytes::Bytes;
/// use credpool::provider::http::{HttpExecutor, Vendor, VendorCall, bearer_headers};
/// use credpool::{Auth, ChunkSource, Error, ErrorCode, ProviderExecutor, Request, Response};
///
/// /// An API that answers in the very words of the payload.
/// struct Parrot;
///
/// impl Vendor for Parrot {
///     fn format(&self) -> &'static str {
///         "parrot"
///     }
///
///     fn base_url(&self) -> &str {
///         "https://parrot.example.org/v1"
///     }
///
///     fn credential_headers(&self, auth: &Auth) -> Result<http::HeaderMap, Error> {
///         bearer_headers(auth)
///     }
///
///     fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
///         let (response, json) = call.plain("/say", request.payload.clone())?;
///         let text = json["said"].as_str().unwrap_or_default();
///         Ok(response.with_reply_text(text))
///     }
///
///     fn stream(&self, _: &VendorCall<'_>, _: &Request) -> Result<ChunkSource, Error> {
///         Err(Error::new(ErrorCode::Unsupported, "a parrot does not stream"))
///     }
/// }
///
/// let executor = HttpExecutor::of(Parrot);
/// assert_eq!(executor.identifier(), "parrot");
/// ```
pub trait Vendor: Send + Sync {
    /// The name of its format, in lower case; also that of the provider whose executor [`HttpExecutor::of`](super::HttpExecutor::of) makes.
    fn format(&self) -> &'static str;

    /// Where the API is, unless attribute `base_url` of the credential says otherwise.
    fn base_url(&self) -> &str;

    /// The headers that show a credential to the vendor, and those that its attributes ask for.
    ///
    /// # Errors
    /// Code `config`, about the credential, where it has nothing to show or something that is no header.
    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error>;

    /// Where the credential's API is, with its version. By default attribute `base_url`, else [`base_url`](Self::base_url).
    ///
    /// # Errors
    /// Code `config` for an attribute that is none.
    ///
    /// ```
    /// use credpool::{Auth, Error};
    ///
    /// /// As of a vendor with an address for each region.
    /// fn address(auth: &Auth) -> Result<String, Error> {
    ///     let region = auth.attributes.get("region").unwrap_or("eu");
    ///     Ok(format!("https://{region}.llm.example.org/v1"))
    /// }
    /// assert!(address(&Auth::new("p"))?.contains("//eu."));
    /// # Ok::<(), Error>(())
    /// ```
    fn address(&self, auth: &Auth) -> Result<String, Error> {
        Ok(base_url(self.base_url(), auth).to_owned())
    }

    /// The names of formats beside [its own](Self::format) in which it takes payloads, in lower case: those of vendors whose models it
    /// serves by their own protocols. None by default.
    fn other_formats(&self) -> &'static [&'static str] {
        &[]
    }

    /// Where the vendor lists its models, as [`ProviderExecutor::models_path`](crate::ProviderExecutor::models_path); `None` where the
    /// list is not at this address. `/models` by default.
    fn models_path(&self) -> Option<&'static str> {
        Some("/models")
    }

    /// The query parameters in which clients of the API may show a key: raw calls do not pass them on. None by default.
    fn key_parameters(&self) -> &'static [&'static str] {
        &[]
    }

    /// What reads the tokens of a raw answer, or of the events of one: it gets an object that has at most the members `usage`,
    /// `usageMetadata` and `billed_units`, put together from all that the answer holds. By default, none are read.
    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        |_| None
    }

    /// What the vendor calls by names of its own. Nothing by default.
    ///
    /// ```
    /// use credpool::provider::http::Dialect;
    ///
    /// /// As of a vendor that says `BROKE` where OpenAI says `insufficient_quota`.
    /// fn dialect() -> Dialect {
    ///     Dialect::new().with_errors(&[("BROKE", "insufficient_quota")])
    /// }
    /// assert_eq!(dialect().errors.len(), 1);
    /// ```
    fn dialect(&self) -> Dialect {
        Dialect::new()
    }

    /// Settles what the credential's headers, `own`, and a call's have to do with each other. Of those that are in both
    /// afterwards, `own` ones go out. Does nothing by default.
    ///
    /// ```
    /// use http::{HeaderMap, HeaderValue};
    ///
    /// /// The call's betas come on top of the credential's.
    /// fn merge(own: &mut HeaderMap, call: &mut HeaderMap) {
    ///     if let (Some(mine), Some(theirs)) = (own.get("beta"), call.remove("beta")) {
    ///         let both = [mine.as_bytes(), theirs.as_bytes()].join(&b","[..]);
    ///         own.insert("beta", HeaderValue::from_bytes(&both).expect("two values of headers"));
    ///     }
    /// }
    /// ```
    fn merge(&self, own: &mut HeaderMap, call: &mut HeaderMap) {
        let _ = (own, call);
    }

    /// What signs the requests of this credential, where the vendor's are signed as a whole. Nothing by default.
    ///
    /// A credential that signs cannot be put into a request whose body is not known
    /// ([`Manager::inject_credentials`](crate::Manager::inject_credentials)): that is refused with code `unsupported`.
    fn signer(&self, auth: &Auth) -> Option<&dyn Signer> {
        let _ = auth;
        None
    }

    /// Makes a plain call.
    ///
    /// # Errors
    /// Those of [`VendorCall::plain`], and what the reply tells.
    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error>;

    /// Begins a stream.
    ///
    /// # Errors
    /// Those of [`VendorCall::stream`].
    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error>;

    /// Counts the tokens of a request; the answer's usage has them as input.
    ///
    /// # Errors
    /// Code `unsupported` by default; those of [`VendorCall::plain`].
    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let _ = request;
        let what = "the vendor has no endpoint that counts tokens";
        Err(Error::new(ErrorCode::Unsupported, what).with_auth_id(&call.auth().id))
    }
}

/// One call of a vendor's API, by one credential. See [`Vendor`](super::Vendor).
///
/// ```
/// use credpool::provider::http::{Reply, ReplyReader, VendorCall};
/// use credpool::{Error, Request, Response, Usage};
/// use serde_json::Value;
///
/// const READER: ReplyReader = ReplyReader::new(|answer| Reply {
///     text: answer["text"].as_str().map(str::to_owned),
///     ..Reply::default()
/// });
///
/// /// A vendor's `execute`.
/// fn execute(call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
///     // The model is named in the path; the query is this vendor's own.
///     let options = call.options().clone().with_query("version", "2");
///     let path = format!("/models/{}/chat", request.model);
///     call.with_options(&options).reply(&path, request.payload.clone(), &READER)
/// }
///
/// /// Its `count_tokens`.
/// fn count_tokens(call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
///     let read = |answer: &Value| Some(Usage::new(answer["tokens"].as_u64()?, 0));
///     call.count("/count", request.payload.clone(), read)
/// }
/// ```
#[derive(Clone, Copy)]
pub struct VendorCall<'a> {
    pub(crate) vendor: &'a dyn Vendor,
    pub(crate) identifier: &'a str,
    pub(crate) attempt: &'a Attempt,
    pub(crate) auth: &'a Auth,
    pub(crate) options: &'a Options,
    /// How many bytes one event of a stream may have.
    pub(crate) event_limit: usize,
}

impl<'a> VendorCall<'a> {
    /// The provider key of the executor that makes the call.
    pub fn identifier(&self) -> &'a str {
        self.identifier
    }

    /// The credential that makes the call.
    pub fn auth(&self) -> &'a Auth {
        self.auth
    }

    /// The attempt that this call is.
    pub fn attempt(&self) -> &'a Attempt {
        self.attempt
    }

    /// How it is made.
    pub fn options(&self) -> &'a Options {
        self.options
    }

    /// The same call with other options.
    pub fn with_options<'b>(&self, options: &'b Options) -> VendorCall<'b>
    where
        'a: 'b,
    {
        VendorCall { options, ..*self }
    }

    /// Sends the payload to a path below the API's address, by `POST`, and parses the JSON response.
    ///
    /// # Errors
    /// Those of [`Attempt::send`]; [`Error::upstream`] for another status than 2xx, with the body (64 KiB at most, without the
    /// credential's secrets) and the server's wait, and for a JSON `error` in a 2xx answer; `upstream` or `transport` for what is no JSON.
    pub fn plain(&self, path: &str, payload: Bytes) -> Result<(Response, Value), Error> {
        self.exchange(path, payload, |_| None, |_| None, |json| json)
    }

    /// As [`plain`](Self::plain), with the reply's text and usage taken out by `reader`.
    ///
    /// # Errors
    /// As [`plain`](Self::plain), and those that the reader finds.
    pub fn reply(
        &self,
        path: &str,
        payload: Bytes,
        reader: &ReplyReader,
    ) -> Result<Response, Error> {
        let dialect = self.vendor.dialect();
        let fault = |reply: &Reply| dialect.fault(reply.finish_reason.as_deref());
        let fast_path =
            |body: &[u8]| (reader.fast_path)(body).filter(|reply| fault(reply).is_none());
        let failure = |json: &Value| {
            let of_its_own = || fault(&(reader.read)(json));
            (reader.failure)(json).or_else(|| (!dialect.ends.is_empty()).then(of_its_own)?)
        };
        let read = |json| (reader.read)(&json);
        let (response, reply) = self.exchange(path, payload, fast_path, failure, read)?;
        Ok(Response {
            reply_text: reply.text,
            reasoning_text: reply.reasoning,
            tool_calls: reply.tool_calls,
            finish_reason: reply.finish_reason,
            usage: reply.usage,
            ..response
        })
    }

    /// As [`plain`](Self::plain), for a token count, which `read` takes out.
    ///
    /// # Errors
    /// As [`plain`](Self::plain), and `upstream` for an answer without a count.
    pub fn count(
        &self,
        path: &str,
        payload: Bytes,
        read: fn(&Value) -> Option<Usage>,
    ) -> Result<Response, Error> {
        let (response, json) = self.plain(path, payload)?;
        let Some(usage) = read(&json) else {
            let what = "the upstream's answer to a token count holds no number of tokens";
            return Err(Error::new(ErrorCode::Upstream, what).with_auth_id(&self.auth.id));
        };
        Ok(response.with_usage(usage))
    }

    fn exchange<T>(
        &self,
        path: &str,
        payload: Bytes,
        fast_path: impl FnOnce(&[u8]) -> Option<T>,
        failure: impl FnOnce(&Value) -> Option<ReportedError>,
        read: impl FnOnce(Value) -> T,
    ) -> Result<(Response, T), Error> {
        let limits = self.attempt.call_limits(&self.options.timeouts);
        let answer = self.send(path, payload, JSON, &limits)?;
        let (head, body) = answer.into_parts();
        let limits = self.limits_of(&head.headers);
        let head = Arc::new(response_head(head, self.auth));
        let read = || {
            let body = body.into_bytes(LARGEST_BODY)?;
            if let Some(found) = fast_path(&body) {
                return Ok((body, found));
            }
            let json = self.json(&body, &head)?;
            match ReportedError::find(&json).or_else(|| failure(&json)) {
                Some(problem) => Err(self.reported(&problem, &json, limits.as_ref())),
                None => Ok((body, read(json))),
            }
        };
        let (body, found) = read().map_err(|error: Error| error.with_head(Arc::clone(&head)))?;
        let mut response = Response::new(body);
        response.rate_limits = limits.map(Arc::new);
        let request_id = head.request_id();
        response.metadata = request_id.map(|id| Metadata::from_iter([("request_id", id)]));
        response.head = Some(head);
        Ok((response, found))
    }

    pub(super) fn send(
        &self,
        path: &str,
        payload: Bytes,
        accept: &'static str,
        limits: &Limits,
    ) -> Result<http::Response<Body>, Error> {
        let head = head(self.vendor, self.auth, path, accept, self.options)?;
        self.send_signed(head, payload.into(), limits, |status| status.is_success())
    }

    /// The error that an answer without success is.
    pub(super) fn upstream_error(&self, answer: http::Response<Body>) -> Error {
        upstream_error_in(self.vendor.dialect(), self.attempt, self.auth, answer)
    }

    fn json(&self, body: &[u8], head: &ResponseHead) -> Result<Value, Error> {
        let ResponseHead {
            status, headers, ..
        } = head;
        parse_lenient(body).map_err(|error| {
            let is_too_rich = error.is_data();
            let hint = if is_too_rich {
                TOO_RICH
            } else {
                not_json_hint(headers, body)
            };
            let status = status.as_u16();
            let is_cut = error.is_eof() && !body.trim_ascii().is_empty();
            // Independent of the server: the payload decides.
            let is_stream = media_type_has(headers.get(CONTENT_TYPE), "event-stream");
            let is_in_another_form = is_stream || is_compressed(headers) || body.starts_with(GZIP);
            let (code, what) = if is_cut {
                (ErrorCode::Transport, "the body's JSON is cut short")
            } else if is_too_rich {
                (ErrorCode::Upstream, "the body's JSON is too large")
            } else {
                (ErrorCode::Upstream, "the body is not JSON")
            };
            Error::new(code, format!("HTTP {status}, but {what}{hint}"))
                .with_retryable(!is_in_another_form && !is_too_rich)
                .with_auth_id(&self.auth.id)
        })
    }

    /// What the headers say of limits, if anything.
    pub(super) fn limits_of(&self, told: &HeaderMap) -> Option<RateLimits> {
        let headers = self.vendor.dialect().headers(told);
        let limits = RateLimits::from_headers(&headers, self.attempt.clock().now());
        (!limits.is_empty()).then(|| rate_limits::scrubbed(limits, self.auth))
    }

    /// The error that a JSON body reports in spite of its status.
    fn reported(
        &self,
        problem: &ReportedError,
        json: &Value,
        limits: Option<&RateLimits>,
    ) -> Error {
        let error = reported(problem, json, self.vendor.dialect(), self.auth);
        let now = self.attempt.clock().now();
        let limits = limits.cloned().unwrap_or_default();
        let limits = rate_limits::of_error(limits, error.http_status(), json, now);
        rate_limits::attach(error, limits, self.auth)
    }
}

impl fmt::Debug for VendorCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendorCall")
            .field("identifier", &self.identifier)
            .field("auth_id", &self.auth.id)
            .finish_non_exhaustive()
    }
}

/// The head of a `POST` to `path` of the credential's API.
pub(crate) fn head(
    vendor: &dyn Vendor,
    auth: &Auth,
    path: &str,
    accept: &'static str,
    options: &Options,
) -> Result<Parts, Error> {
    let mut own = vendor.credential_headers(auth)?;
    let mut call = options.headers.clone();
    vendor.merge(&mut own, &mut call);
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = http::Method::POST;
    head.uri = endpoint(auth, &vendor.address(auth)?, path, &options.query)?;
    let headers = &mut head.headers;
    *headers = own;
    let mut default = |name, value| {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    };
    default(ACCEPT, accept);
    default(CONTENT_TYPE, JSON);
    if !call.contains_key(USER_AGENT) {
        default(USER_AGENT, USER_AGENT_TEXT);
    }
    for name in call.keys() {
        if CONNECTION_HEADERS.contains(name) || headers.contains_key(name) {
            continue;
        }
        for value in call.get_all(name) {
            headers.append(name, value.clone());
        }
    }
    Ok(head)
}

/// What may be wrong with an answer that turns out not to be JSON.
fn not_json_hint(head: &HeaderMap, body: &[u8]) -> &'static str {
    let media_type = head.get(CONTENT_TYPE);
    let is_page = without_mark(body).trim_ascii_start().starts_with(b"<");
    if media_type_has(media_type, "event-stream") {
        " (it is a stream: check \"stream\" in the payload)"
    } else if media_type_has(media_type, "html") || is_page {
        " (it is a web page: check base_url)"
    } else if body.starts_with(GZIP) || is_compressed(head) {
        COMPRESSED
    } else {
        ""
    }
}

/// Whether the head says that the body is compressed. The request asks for none of that.
pub(super) fn is_compressed(head: &HeaderMap) -> bool {
    let encodings = head.get_all(CONTENT_ENCODING).iter();
    let mut names = encodings.filter_map(|value| value.to_str().ok());
    names.any(|name| !matches!(name.trim(), "" | "identity"))
}

pub(super) fn media_type_has(media_type: Option<&HeaderValue>, part: &str) -> bool {
    media_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|kind| kind.to_ascii_lowercase().contains(part))
}

/// The only way in which JSON is no JSON of ours.
const TOO_RICH: &str = " (it exceeds the client's limit of JSON parts for its size)";

const LARGEST_BODY: usize = 64 * 1024 * 1024;
