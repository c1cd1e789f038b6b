//! An executor for Cohere's own chat API: what an author of an executor writes, with the public interface alone.
//!
//! By the vendor's pages: [chat](https://docs.cohere.com/reference/chat), [streams](https://docs.cohere.com/v2/docs/streaming),
//! [errors](https://docs.cohere.com/reference/errors).

use credpool::provider::SseEvent;
use credpool::provider::http::{
    EventMeaning, Reply, ReplyReader, ReportedError, StreamProtocol, Vendor, VendorCall,
    bearer_headers, streaming_payload,
};
use credpool::{Auth, ChunkSource, Error, Request, Response, StreamChunk, Usage};
use http::HeaderMap;
use serde_json::Value;

/// Cohere's API, for [`HttpExecutor::of`](credpool::provider::http::HttpExecutor::of).
pub(crate) struct Cohere;

const CHAT: &str = "/v2/chat";

impl Vendor for Cohere {
    fn format(&self) -> &'static str {
        "cohere"
    }

    fn base_url(&self) -> &'static str {
        "https://api.cohere.com"
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        bearer_headers(auth)
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        usage
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        call.reply(CHAT, request.payload.clone(), &REPLIES)
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        let payload = streaming_payload(&request.payload)?;
        call.stream(CHAT, payload, ChatStream::default())
    }
}

const REPLIES: ReplyReader = ReplyReader::new(read).with_failure(failure);

/// The text of all text blocks of a reply, and its usage.
fn read(reply: &Value) -> Reply {
    let blocks = reply.pointer("/message/content").and_then(Value::as_array);
    let texts: Vec<_> = blocks
        .into_iter()
        .flatten()
        .filter_map(|block| block["text"].as_str())
        .collect();
    Reply {
        text: (!texts.is_empty()).then(|| texts.concat()),
        finish_reason: reply["finish_reason"].as_str().map(str::to_owned),
        usage: usage(reply),
        ..Reply::default()
    }
}

/// The tokens that the model has read and written, of which some are billed.
fn usage(of: &Value) -> Option<Usage> {
    let tokens = of.pointer("/usage/tokens")?;
    let count = |name: &str| tokens[name].as_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the vendor's type for these counts is a number; above the range it saturates"
    )]
    let whole = |count: f64| count as u64;
    let (input, output) = count("input_tokens").zip(count("output_tokens"))?;
    Some(Usage::new(whole(input), whole(output)))
}

/// Why there is no reply: the reason for its end says so, or there is none.
fn failure(reply: &Value) -> Option<ReportedError> {
    match reply["finish_reason"].as_str() {
        Some(reason) => failed(reason, reply),
        None => Some(ReportedError::of_no_reply(reply)),
    }
}

/// The error that a reason for the end of a reply is. The others are `COMPLETE`, `STOP_SEQUENCE`, `MAX_TOKENS` and `TOOL_CALL`.
fn failed(reason: &str, of: &Value) -> Option<ReportedError> {
    let status = match reason {
        "ERROR" => 500,
        "TIMEOUT" => 504,
        _ => return None,
    };
    let said = of["error"].as_str().unwrap_or("the generation failed");
    Some(ReportedError::named(reason, Some(status), said))
}

/// Whole after `message-end` with a reason, and not before.
#[derive(Default)]
struct ChatStream {
    /// Something of the reply has come.
    has_content: bool,
    /// The last event brought something.
    has_progressed: bool,
}

impl StreamProtocol for ChatStream {
    fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
        // The marker `[DONE]`, which makes nothing whole.
        let Some(json) = json else {
            return EventMeaning::Cut;
        };
        let delta = &json["delta"];
        let mut chunk = StreamChunk::default();
        self.has_progressed = false;
        match json["type"].as_str().unwrap_or_default() {
            "content-start" | "content-delta" => {
                let content = &delta["message"]["content"];
                let filled = |name: &str| content[name].as_str().filter(|text| !text.is_empty());
                chunk.text = filled("text").map(str::to_owned);
                self.has_progressed = chunk.text.is_some() || filled("thinking").is_some();
            }
            "tool-plan-delta" | "tool-call-start" | "tool-call-delta" | "citation-start" => {
                self.has_progressed = true;
            }
            "message-end" => {
                let Some(reason) = delta["finish_reason"].as_str() else {
                    return EventMeaning::Cut;
                };
                chunk.usage = usage(delta);
                return match failed(reason, delta) {
                    Some(problem) => EventMeaning::Failed(problem),
                    None => EventMeaning::Last(chunk),
                };
            }
            // The start, the ends of blocks, and what there may be one day.
            _ => {}
        }
        self.has_content |= self.has_progressed;
        chunk.preamble = !self.has_content;
        EventMeaning::Chunk(chunk)
    }

    fn knows(&self, event: &str) -> bool {
        const OWN: [&str; 4] = ["message-", "content-", "tool-", "citation-"];
        OWN.iter().any(|start| event.starts_with(start))
    }

    fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    fn is_whole(&self) -> bool {
        // What whole streams end with is their last chunk.
        false
    }

    fn missing(&self) -> &'static str {
        "no message-end with a finish_reason came"
    }
}
