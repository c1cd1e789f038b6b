//! The executor for Amazon Bedrock: Converse and InvokeModel.

mod converse;
mod invoke;
mod place;
mod signer;
mod sigv4;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;

use self::converse::ConverseStream;
use self::invoke::ModelEvents;
use self::signer::{OF_A_SIGNATURE, RequestSigner, signs};
use super::anthropic;
use super::http::json::number;
use super::http::{
    Framing, HttpExecutor, Signer, Vendor, VendorCall, bearer_headers, configured_headers,
};
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::percent::encoded;
use crate::request::{Request, Response, Usage};

/// Calls [Amazon Bedrock Runtime](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html):
/// Converse and ConverseStream, or InvokeModel and InvokeModelWithResponseStream.
///
/// ```
/// use credpool::Auth;
///
/// // In a program: std::env::var("AWS_BEARER_TOKEN_BEDROCK")?
/// let key = Auth::api_key("bedrock", "bedrock-api-key-…").with_id("key").with_attribute("region", "us-east-1");
/// // Or an access key, which signs requests and is not sent.
/// let access_key = Auth::aws_access_key("bedrock", "AKIA…", "secret").with_id("team").with_attribute("region", "us-east-1");
/// # let _ = (key, access_key);
/// ```
///
/// # Credentials
///
/// Attribute `api_key` is the bearer token: an
/// [API key of Bedrock](https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html). Without one, an access key
/// ([`Auth::aws_access_key`]) signs each request by
/// [Signature Version 4](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html). Where the server refuses a signature for its
/// time and tells another one, by more than four minutes, the request is signed for the server's time and sent once more; so are all that
/// follow. A refusal for the time alone says nothing against the key. Attributes:
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `region` | the region, `us-east-1` for example | the one in `base_url`; where neither names one, the credential cannot be used, but for a bearer token with a `base_url` |
/// | `base_url` | where the API is | `https://bedrock-runtime.REGION.amazonaws.com`, in China with `.cn` behind it |
/// | `header:NAME` | one more header | |
/// | `allow_http` | `true` allows plain `http` to other machines | only to this one |
///
/// # Requests
///
/// [`Request::model`](crate::Request::model) is a model's id, an inference profile's, or an ARN of one. The payload is that of
/// [Converse](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html) and goes out as it is. With
/// [`Options::alt`](crate::Options::alt) `invoke` it is the model's own, for
/// [InvokeModel](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html); so is a request in the format
/// `anthropic`. Of a payload for Anthropic's models, `model` and `stream` are taken out, and `"anthropic_version": "bedrock-2023-05-31"` is
/// put in where there is none. Token counts go to
/// [CountTokens](https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html), made of the same payload.
/// [`Options::headers`](crate::Options::headers) and [`Options::query`](crate::Options::query) are added, as for
/// [`OpenAi`](super::OpenAi).
///
/// The path of a raw call is one of the API (`/model/MODEL/converse`). A signature needs all of a body: one that comes from a reader is read
/// into memory first, 25 MB at most, the most that the API takes.
///
/// # Answers
///
/// [`Response::reply_text`](crate::Response::reply_text) is the text of all text blocks,
/// [`Response::reasoning_text`](crate::Response::reasoning_text) that of all reasoning,
/// [`Response::tool_calls`](crate::Response::tool_calls) are the `toolUse` blocks, and
/// [`Response::finish_reason`](crate::Response::finish_reason) the `stopReason`. [`Response::usage`](crate::Response::usage) counts as input
/// also what was written to and read from the cache. Replies of InvokeModel are read for Anthropic's models
/// ([`Anthropic`](super::Anthropic)); of others the payload alone is there. The name in an error's `x-amzn-errortype` is in its message.
///
/// # Streams
///
/// One chunk per event, as JSON; those of InvokeModel are the model's own. An event whose checksum is wrong is never delivered. A
/// ConverseStream is whole once `messageStop` has come, and ends after `metadata`; a stream of InvokeModel is whole after Anthropic's
/// `message_stop`, of another model after the event with `amazon-bedrock-invocationMetrics`. Otherwise its last item is an error: that of
/// an exception, with the status that it has elsewhere; `stream_truncated` when it ended or the upstream closed the connection,
/// `stream_interrupted` when it was lost, `stream_stalled` when it fell silent for [`Timeouts::idle`](crate::Timeouts), `stream_malformed`
/// for a wrong checksum and for what is no such event.
pub type Bedrock = HttpExecutor<BedrockApi>;

/// The API that [`Bedrock`] calls.
///
/// ```
/// use credpool::provider::BedrockApi;
/// use credpool::provider::http::Vendor;
///
/// assert_eq!(BedrockApi::default().format(), "bedrock");
/// ```
#[derive(Clone, Debug, Default)]
pub struct BedrockApi {
    signer: RequestSigner,
}

impl Vendor for BedrockApi {
    fn format(&self) -> &'static str {
        "bedrock"
    }

    fn other_formats(&self) -> &'static [&'static str] {
        &["anthropic"]
    }

    fn base_url(&self) -> &'static str {
        "https://bedrock-runtime.us-east-1.amazonaws.com"
    }

    fn address(&self, auth: &Auth) -> Result<String, Error> {
        place::address(auth)
    }

    // Another host, that of the control plane, lists them.
    fn models_path(&self) -> Option<&'static str> {
        None
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        |answer| converse::usage(answer).or_else(|| anthropic::usage(answer))
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        if signs(auth) {
            configured_headers(auth, &[])
        } else {
            bearer_headers(auth)
        }
    }

    fn merge(&self, _: &mut HeaderMap, call: &mut HeaderMap) {
        call.remove(AUTHORIZATION);
        for name in OF_A_SIGNATURE {
            call.remove(name);
        }
    }

    fn signer(&self, auth: &Auth) -> Option<&dyn Signer> {
        signs(auth).then_some(&self.signer)
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let path = |operation| path(request, operation);
        match Operation::of(call, request) {
            Operation::Converse => {
                let payload = request.payload.clone();
                call.reply(&path("converse")?, payload, &converse::REPLIES)
            }
            Operation::Messages => {
                let payload = invoke::message_payload(&request.payload)?;
                anthropic::message(call, &path("invoke")?, payload)
            }
            Operation::Invoke => {
                let payload = request.payload.clone();
                call.reply(&path("invoke")?, payload, &invoke::REPLIES)
            }
        }
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        let operation = Operation::of(call, request);
        if operation == Operation::Converse {
            let path = path(request, "converse-stream")?;
            let payload = request.payload.clone();
            let protocol = ConverseStream::default();
            return call.stream_in(Framing::AmazonEvents, &path, payload, protocol);
        }
        let path = path(request, "invoke-with-response-stream")?;
        let framing = Framing::AmazonChunks;
        if operation == Operation::Messages {
            let payload = invoke::message_payload(&request.payload)?;
            return call.stream_in(framing, &path, payload, anthropic::message_events());
        }
        call.stream_in(
            framing,
            &path,
            request.payload.clone(),
            ModelEvents::default(),
        )
    }

    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let payload = match Operation::of(call, request) {
            Operation::Converse => {
                converse::count_payload(&request.payload).unwrap_or_else(|| request.payload.clone())
            }
            Operation::Messages => {
                invoke::count_payload(&invoke::message_payload(&request.payload)?)
            }
            Operation::Invoke => invoke::count_payload(&request.payload),
        };
        call.count(&path(request, "count-tokens")?, payload, |answer| {
            let tokens = answer.get("inputTokens").and_then(number)?;
            Some(Usage::new(tokens, 0))
        })
    }
}

/// How a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Converse,
    /// InvokeModel, of a model with Anthropic's Messages.
    Messages,
    /// InvokeModel, of another one.
    Invoke,
}

impl Operation {
    fn of(call: &VendorCall<'_>, request: &Request) -> Self {
        let format = request.format.as_ref();
        let speaks_messages =
            format.is_some_and(|format| format.as_str().eq_ignore_ascii_case("anthropic"));
        let invokes = call.options().alt.as_deref() == Some("invoke");
        if speaks_messages || (invokes && invoke::is_anthropics(&request.model)) {
            Self::Messages
        } else if invokes {
            Self::Invoke
        } else {
            Self::Converse
        }
    }
}

/// The path of an operation of the request's model, whose id is one segment, an ARN's slashes included.
fn path(request: &Request, operation: &str) -> Result<String, Error> {
    let model = request.model.trim();
    if matches!(model, "" | "." | "..") {
        let what = format!("{:?} is not the id of a model", request.model);
        return Err(Error::config(what));
    }
    let mut path = "/model/".to_owned();
    path.extend(encoded(model));
    path.push('/');
    path.push_str(operation);
    Ok(path)
}
