//! The executor for Cohere's own chat API.

use http::HeaderMap;
use serde_json::Value;

use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::provider::SseEvent;
use crate::provider::http::{
    EventMeaning, HttpExecutor, Reply, ReplyReader, ReportedError, StreamProtocol, Vendor,
    VendorCall, bearer_headers, function_call, number, streaming_payload,
};
use crate::request::{Request, Response, StreamChunk, ToolCall, Usage};

/// Calls [Cohere's chat API](https://docs.cohere.com/reference/chat), version 2; its other endpoints (`/embed`, `/rerank`, `/v1/models`) by
/// [`execute_raw`](crate::Manager::execute_raw).
///
/// ```
/// use credpool::provider::Cohere;
/// use credpool::{Auth, Manager};
///
/// let manager = Manager::builder().build()?;
/// manager.register_executor(Cohere::new());
/// manager.register(Auth::api_key("cohere", "key"))?;
/// # Ok::<(), credpool::Error>(())
/// ```
///
/// The bearer token is attribute `api_key`, else `access_token` of the metadata; attribute `base_url` says where the API is, by default at
/// `https://api.cohere.com/v2`. The payload goes out as it is, for a stream with `"stream": true`. [`Options::alt`](crate::Options::alt) is
/// ignored. Tokens are those that the model has read and written, not the billed ones, where the answer tells both. The plan before tool
/// calls is reasoning. A [stream](https://docs.cohere.com/v2/docs/streaming) is whole once `message-end` has come with a `finish_reason`;
/// otherwise its last item is an error, as for [`OpenAi`](crate::provider::OpenAi).
pub type Cohere = HttpExecutor<CohereApi>;

/// The API that [`Cohere`] calls.
///
/// ```
/// use credpool::provider::CohereApi;
/// use credpool::provider::http::Vendor;
///
/// assert_eq!(CohereApi.format(), "cohere");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct CohereApi;

impl Vendor for CohereApi {
    fn format(&self) -> &'static str {
        "cohere"
    }

    fn base_url(&self) -> &'static str {
        "https://api.cohere.com/v2"
    }

    // The second version has no list of its own.
    fn models_path(&self) -> Option<&'static str> {
        Some("/v1/models?page_size=1000")
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        bearer_headers(auth)
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        usage
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        call.reply("/chat", request.payload.clone(), &REPLIES)
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        call.stream("/chat", streaming_payload(&request.payload)?, ChatEvents)
    }
}

const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);

fn read(reply: &Value) -> Reply {
    let message = &reply["message"];
    let calls = message["tool_calls"].as_array().into_iter().flatten();
    let calls = calls.enumerate().map(|(at, call)| function_call(at, call));
    Reply {
        text: texts(message, "text"),
        reasoning: texts(message, "thinking").or_else(|| text(&message["tool_plan"])),
        tool_calls: ToolCall::join(calls),
        finish_reason: text(&reply["finish_reason"]),
        usage: usage(reply),
    }
}

/// The text of all blocks of a kind.
fn texts(message: &Value, kind: &str) -> Option<String> {
    let blocks = message["content"].as_array()?.iter();
    let texts: Vec<_> = blocks.filter_map(|block| block[kind].as_str()).collect();
    (!texts.is_empty()).then(|| texts.concat())
}

fn text(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
}

/// What the model has read and written; of an answer that does not say, what is billed.
fn usage(of: &Value) -> Option<Usage> {
    let chats = &of["usage"];
    let told = [
        &chats["tokens"],
        &chats["billed_units"],
        &of["billed_units"],
    ];
    let usage = told.into_iter().find_map(|told| {
        let [input, output] = ["input_tokens", "output_tokens"].map(|name| number(&told[name]));
        input.or(output)?;
        Some(Usage::new(input.unwrap_or(0), output.unwrap_or(0)))
    })?;
    Some(usage.with_cached(number(&chats["cached_tokens"]).unwrap_or(0)))
}

/// A fault ended the reply, or there is none.
fn failure(reply: &Value) -> Option<ReportedError> {
    match reply["finish_reason"].as_str() {
        Some(reason) => ReportedError::of_end(reason, None),
        None => Some(ReportedError::of_no_reply(reply)),
    }
}

struct ChatEvents;

impl StreamProtocol for ChatEvents {
    fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
        // The marker `[DONE]`, which makes nothing whole.
        let Some(json) = json else {
            return EventMeaning::Cut;
        };
        let (delta, mut chunk) = (&json["delta"], StreamChunk::default());
        let message = &delta["message"];
        match json["type"].as_str().unwrap_or_default() {
            "content-start" | "content-delta" => {
                chunk.text = text(&message["content"]["text"]);
                chunk.reasoning = text(&message["content"]["thinking"]);
            }
            "tool-plan-delta" => chunk.reasoning = text(&message["tool_plan"]),
            "tool-call-start" | "tool-call-delta" => {
                let index = number(&json["index"]).and_then(|at| usize::try_from(at).ok());
                let call = function_call(index.unwrap_or_default(), &message["tool_calls"]);
                chunk.tool_calls.push(call);
            }
            "message-end" => {
                let Some(reason) = delta["finish_reason"].as_str() else {
                    return EventMeaning::Cut;
                };
                if let Some(problem) = ReportedError::of_end(reason, delta["error"].as_str()) {
                    return EventMeaning::Failed(problem);
                }
                (chunk.finish_reason, chunk.usage) = (Some(reason.to_owned()), usage(delta));
                return EventMeaning::Last(chunk);
            }
            // As the body of an error has it.
            "" if json["message"].is_string() => {
                return EventMeaning::Failed(ReportedError::of(json));
            }
            // The start, citations, the ends of blocks, and what there may be one day.
            _ => {}
        }
        EventMeaning::Chunk(chunk)
    }

    fn knows(&self, event: &str) -> bool {
        let own = ["message-", "content-", "tool-", "citation-"];
        own.iter().any(|start| event.starts_with(start))
    }

    fn missing(&self) -> &'static str {
        "no message-end with a finish_reason arrived"
    }
}
