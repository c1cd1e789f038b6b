//! The stream protocol of chat completions.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{finish_reasons, reply, tool_calls};
use crate::provider::http::call_numbers::CallNumbers;
use crate::provider::http::error_body::ReportedError;
use crate::provider::http::event_stream::{EventMeaning, StreamProtocol};
use crate::provider::http::sse::SseEvent;
use crate::request::StreamChunk;

/// Whole once as many choices as requested have given a finish reason; with `[DONE]`, those that came. It makes nothing
/// whole by itself: gateways send it after a reply that broke off behind them, too.
#[derive(Default)]
pub(super) struct ChatCompletion {
    /// How many choices were requested.
    asked: usize,
    /// The choices that came, and whether each has ended. The API answers with 128 at most.
    choices: BTreeMap<u8, bool>,
    /// The last event brought something.
    has_progressed: bool,
    /// Something of the reply has come.
    has_content: bool,
    /// The tool calls of the first choice.
    calls: CallNumbers,
    /// The last ordinary chunk.
    last: Pattern,
}

/// An ordinary chunk around its text. The next one is mostly the same but for the text, so that it needs no parsing: putting
/// another plain string in place of one leaves JSON what it is.
#[derive(Default)]
struct Pattern {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl StreamProtocol for ChatCompletion {
    fn read(&mut self, _: &SseEvent, json: Option<&Value>) -> EventMeaning {
        let Some(json) = json else {
            return EventMeaning::of_done(self.have_ended());
        };
        let choices = json.get("choices").and_then(Value::as_array);
        let choices = choices.map_or(&[][..], Vec::as_slice);
        let failure = choices.iter().find_map(finish_reasons::failure);
        if let Some(problem) = failure.or_else(|| stopped_early(json)) {
            return EventMeaning::Failed(problem);
        }
        for choice in choices {
            if let Ok(index) = u8::try_from(index(choice)) {
                *self.choices.entry(index).or_default() |= finish_reasons::is_finished(choice);
            }
        }
        self.has_progressed = choices.iter().any(has_content);
        self.has_content |= self.has_progressed;
        let first = choices.iter().find(|choice| index(choice) == 0);
        let delta = first.and_then(|choice| delta(choice));
        let usage = json.get("usage").and_then(reply::usage);
        // https://github.com/groq/groq-python/blob/main/src/groq/types/chat/chat_completion_chunk.py: in the last chunk.
        let at_groq = || json.get("x_groq")?.get("usage").and_then(reply::usage);
        // Moonshot's is in the last chunk's choice (https://platform.moonshot.ai/docs/api/chat).
        let in_choice = || first?.get("usage").and_then(reply::usage);
        EventMeaning::Chunk(StreamChunk {
            text: first.and_then(text),
            reasoning: delta.and_then(reply::reasoning),
            tool_calls: delta
                .map(|delta| tool_calls::deltas(delta, &mut self.calls))
                .unwrap_or_default(),
            finish_reason: first.and_then(finish_reasons::reason).map(str::to_owned),
            usage: usage.or_else(at_groq).or_else(in_choice),
            preamble: !self.has_content,
            ..StreamChunk::default()
        })
    }

    fn fast_path(&mut self, data: &[u8]) -> Option<StreamChunk> {
        let text = match self.last.text_of(data) {
            Some(text) => text.to_owned(),
            None => {
                let text = self.last.learn(data)?;
                self.choices.entry(0).or_default();
                text
            }
        };
        self.has_content = true;
        self.has_progressed = true;
        Some(StreamChunk {
            text: Some(text),
            ..StreamChunk::default()
        })
    }

    fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    fn is_whole(&self) -> bool {
        self.have_ended() && self.choices.len() >= self.asked
    }

    fn missing(&self) -> &'static str {
        if self.have_ended() {
            "fewer choices arrived than requested"
        } else {
            "no finish_reason arrived"
        }
    }
}

impl ChatCompletion {
    /// The reply to a request for so many choices.
    pub(super) fn of(choices: usize) -> Self {
        Self {
            asked: choices,
            ..Self::default()
        }
    }

    /// Whether all choices that came have ended.
    fn have_ended(&self) -> bool {
        !self.choices.is_empty() && self.choices.values().all(|ended| *ended)
    }
}

/// Why Groq stopped a stream early, whatever its finish reason
/// (<https://github.com/groq/groq-python/blob/main/src/groq/types/chat/chat_completion_chunk.py>).
fn stopped_early(json: &Value) -> Option<ReportedError> {
    let error = json.get("x_groq")?.get("error")?.as_str()?;
    let is_there = !error.is_empty();
    is_there.then(|| ReportedError::named(error, None, "the upstream ended the stream early"))
}

impl Pattern {
    /// The text of a chunk that is the same but for the text.
    fn text_of<'a>(&self, data: &'a [u8]) -> Option<&'a str> {
        let text = data
            .strip_prefix(&self.before[..])?
            .strip_suffix(&self.after[..])?;
        let is_plain = |byte: &u8| *byte >= b' ' && *byte != b'"' && *byte != b'\\';
        if self.before.is_empty() || text.is_empty() || !text.iter().all(is_plain) {
            return None;
        }
        std::str::from_utf8(text).ok()
    }

    /// The text of an ordinary chunk, which becomes the pattern for those to come.
    fn learn(&mut self, data: &[u8]) -> Option<String> {
        // UTF-8 is checked once for the whole chunk: otherwise for every string in it.
        let data = std::str::from_utf8(data).ok()?;
        let text = text_alone(serde_json::from_str(data).ok()?)?;
        if let Cow::Borrowed(borrowed) = text {
            let start = borrowed.as_ptr() as usize - data.as_ptr() as usize;
            let (before, rest) = data.split_at(start);
            self.before.clear();
            self.before.extend_from_slice(before.as_bytes());
            self.after.clear();
            self.after
                .extend_from_slice(&rest.as_bytes()[borrowed.len()..]);
        }
        Some(text.into_owned())
    }
}

/// The ordinary chunk: one choice with text, and nothing else that counts.
type Glance<'a> = reply::Glance<'a, GlanceChoice<'a>, Option<IgnoredAny>>;

#[derive(Deserialize)]
struct GlanceChoice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    delta: GlanceDelta<'a>,
    finish_reason: Option<IgnoredAny>,
    error: Option<IgnoredAny>,
    usage: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct GlanceDelta<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
    reasoning_content: Option<Cow<'a, str>>,
    reasoning: Option<Cow<'a, str>>,
    /// None, or the chunk is read in full.
    #[serde(rename = "tool_calls")]
    _tool_calls: Option<[IgnoredAny; 0]>,
    #[serde(rename = "reasoning_details")]
    _reasoning_details: Option<[IgnoredAny; 0]>,
}

/// The text of a chunk that brings nothing else.
fn text_alone(glance: Glance<'_>) -> Option<Cow<'_, str>> {
    let is_odd = glance.is_odd() || glance.usage.is_some() || glance.x_groq.is_some();
    let [choice] = glance.choices;
    let delta = choice.delta;
    let mut reasoning = [delta.reasoning_content, delta.reasoning]
        .into_iter()
        .flatten();
    let has_reasoning = reasoning.any(|text| !text.is_empty());
    let others = [choice.finish_reason, choice.error, choice.usage];
    let is_first = choice.index == 0 && others.iter().all(Option::is_none);
    let is_alone = is_first && !is_odd && !has_reasoning;
    Some(delta.content).filter(|text| is_alone && !text.is_empty())
}

/// What a piece of a choice adds to it: its `delta`; of servers that put a whole reply into one event, its `message`.
fn delta(choice: &Value) -> Option<&Value> {
    let delta = choice.get("delta").filter(|delta| !delta.is_null());
    delta.or_else(|| choice.get("message"))
}

/// The text that a piece of a choice adds to it.
fn text(choice: &Value) -> Option<String> {
    let content = delta(choice).and_then(|delta| delta.get("content"));
    reply::content(content.or_else(|| choice.get("text"))?).filter(|text| !text.is_empty())
}

fn index(choice: &Value) -> u64 {
    choice.get("index").and_then(Value::as_u64).unwrap_or(0)
}

/// Whether a choice brings something, or its end.
fn has_content(choice: &Value) -> bool {
    finish_reasons::is_finished(choice) || reply::brings_something(choice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read_in_full(protocol: &mut ChatCompletion, data: &Value) -> StreamChunk {
        match protocol.read(&SseEvent::default(), Some(data)) {
            EventMeaning::Chunk(chunk) => chunk,
            _ => panic!("a chunk"),
        }
    }

    #[test]
    fn a_glance_sees_what_reading_in_full_sees_or_nothing() {
        let choice = |delta: Value, more: Value| {
            let mut choice = json!({"index": 0, "delta": delta, "finish_reason": null});
            for (name, value) in more.as_object().into_iter().flatten() {
                choice[name] = value.clone();
            }
            json!({"id": "1", "choices": [choice], "usage": null})
        };
        let with = |name: &str, value: Value| {
            let mut chunk = choice(json!({"content": "a"}), json!({}));
            chunk[name] = value;
            chunk
        };
        for (glances, data) in [
            (true, choice(json!({"content": " word\n\u{e9}"}), json!({}))),
            (
                true,
                choice(json!({"role": "assistant", "content": "a"}), json!({})),
            ),
            (
                true,
                choice(json!({"content": "a", "refusal": null}), json!({})),
            ),
            (true, json!({"choices": [{"delta": {"content": "a"}}]})),
            (
                true,
                choice(
                    json!({"content": "a", "reasoning_content": "", "reasoning": null}),
                    json!({}),
                ),
            ),
            (
                false,
                choice(json!({"content": "a", "reasoning_content": "b"}), json!({})),
            ),
            (
                false,
                choice(json!({"content": "a", "reasoning": "b"}), json!({})),
            ),
            (
                true,
                choice(json!({"content": "a", "tool_calls": []}), json!({})),
            ),
            (
                false,
                choice(
                    json!({"content": "a", "tool_calls": [{"function": {"name": "f"}}]}),
                    json!({}),
                ),
            ),
            (
                false,
                choice(
                    json!({"content": "a", "reasoning_details": [{"text": "b"}]}),
                    json!({}),
                ),
            ),
            (false, choice(json!({"content": ""}), json!({}))),
            (false, choice(json!({"content": null}), json!({}))),
            (false, choice(json!({"content": ["a"]}), json!({}))),
            (false, choice(json!({}), json!({}))),
            (false, choice(json!({"content": "a"}), json!({"index": 1}))),
            (
                false,
                choice(json!({"content": "a"}), json!({"finish_reason": "stop"})),
            ),
            (false, json!({"choices": []})),
            (false, with("usage", json!({"prompt_tokens": 1}))),
            (false, with("error", json!({"message": "a"}))),
            (false, with("type", json!("error"))),
            (true, with("object", json!("chat.completion.chunk"))),
            (false, with("object", json!("error"))),
            (false, with("base_resp", json!({"status_code": 1002}))),
            (false, with("success", json!(false))),
            (
                false,
                with("x_groq", json!({"usage": {"prompt_tokens": 1}})),
            ),
        ] {
            let (mut one, mut other) = (ChatCompletion::default(), ChatCompletion::default());
            let glanced = one.fast_path(data.to_string().as_bytes());
            assert_eq!(glanced.is_some(), glances, "{data}");
            if let Some(chunk) = glanced {
                assert_eq!(chunk, read_in_full(&mut other, &data));
                assert_eq!(one.has_content, other.has_content);
                assert_eq!(one.choices, other.choices);
            }
        }
        assert_eq!(ChatCompletion::default().fast_path(b"{\"choices\":["), None);
    }

    #[test]
    fn chunks_that_differ_in_their_text_alone_need_no_parsing() {
        let chunk =
            |text: &str| format!(r#"{{"id":"1","choices":[{{"delta":{{"content":{text}}}}}]}}"#);
        let mut protocol = ChatCompletion::default();
        for (pattern, text, read) in [
            (false, r#""one""#, Some("one")),
            (true, r#"" two, é""#, Some(" two, é")),
            (
                false,
                r#""a \"quoted\" line\n""#,
                Some("a \"quoted\" line\n"),
            ),
            (true, r#""three""#, Some("three")),
            (false, r#""""#, None),
            (false, r#""four","refusal":"no""#, Some("four")),
            (
                false,
                r#""one"}}],"choices":[{"delta":{"content":"two""#,
                None,
            ),
            (false, "\"line\nbreak\"", None),
            (false, "5", None),
        ] {
            let data = chunk(text);
            assert_eq!(
                protocol.last.text_of(data.as_bytes()).is_some(),
                pattern,
                "{text}"
            );
            let glanced = protocol.fast_path(data.as_bytes());
            assert_eq!(
                glanced.and_then(|chunk| chunk.text).as_deref(),
                read,
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn whatever_a_glance_reads_is_what_reading_in_full_reads(
            text in "[ -~é]{0,6}",
            top in prop::collection::btree_map(odd_name(), odd_value(), 0..3),
            of_choice in prop::collection::btree_map(odd_name(), odd_value(), 0..2),
            of_delta in prop::collection::btree_map(odd_name(), odd_value(), 0..2),
        ) {
            let mut delta = json!({"content": text});
            let mut choice = json!({"index": 0, "finish_reason": null});
            merge(&mut delta, of_delta);
            choice["delta"] = delta;
            merge(&mut choice, of_choice);
            let mut chunk = json!({"choices": [choice]});
            merge(&mut chunk, top);
            let mut one = ChatCompletion::of(1);
            let mut other = ChatCompletion::of(1);
            if let Some(glanced) = one.fast_path(chunk.to_string().as_bytes()) {
                prop_assert_eq!(ReportedError::find(&chunk), None);
                prop_assert_eq!(glanced, read_in_full(&mut other, &chunk));
                prop_assert_eq!(&one.choices, &other.choices);
            }
        }
    }

    fn odd_name() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "error",
            "type",
            "object",
            "usage",
            "base_resp",
            "errors",
            "error_code",
            "success",
            "x_groq",
            "finish_reason",
            "index",
            "role",
            "refusal",
            "reasoning_content",
            "reasoning",
            "reasoning_details",
            "id",
            "tool_calls",
        ])
        .prop_map(str::to_owned)
    }

    fn odd_value() -> impl Strategy<Value = Value> {
        prop::sample::select(vec![
            json!(null),
            json!(""),
            json!("error"),
            json!("stop"),
            json!("null"),
            json!("abort"),
            json!(0),
            json!(1),
            json!(false),
            json!(true),
            json!({}),
            json!([]),
            json!({"status_code": 1002}),
            json!({"error": "x"}),
            json!({"prompt_tokens": 1, "completion_tokens": 2}),
            json!({"message": "m"}),
            json!([{"text": "t"}]),
        ])
    }

    fn merge(into: &mut Value, members: std::collections::BTreeMap<String, Value>) {
        for (name, value) in members {
            into[&name] = value;
        }
    }
}
