//! [`MeteredBody`]: the body of a raw answer, which is passed on as it comes while its beginning and its end are searched for usage.

use std::borrow::Cow;
use std::io::{self, Read};

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use memchr::memmem;
use serde_json::{Map, Value};

use super::call::{is_compressed, media_type_has};
use crate::executor::{Body, ReadAnswer};
use crate::request::Usage;

/// Takes the usage out of a JSON object with the member in which a vendor's answers and events tell it.
pub(crate) type ReadUsage = fn(&Value) -> Option<Usage>;

pub(crate) struct MeteredBody<R = Body> {
    body: R,
    read: ReadUsage,
    /// None where the answer is neither JSON nor events.
    seen: Option<Seen>,
}

/// The beginning and the end of what was read: usage stands in the one or the other, or in both.
#[derive(Default)]
struct Seen {
    beginning: Vec<u8>,
    end: Vec<u8>,
    /// Something between the two was not kept.
    has_gap: bool,
}

impl<R: Read> MeteredBody<R> {
    pub(crate) fn new(body: R, headers: &HeaderMap, read: ReadUsage) -> Self {
        let media_type = headers.get(CONTENT_TYPE);
        let says = |part| media_type_has(media_type, part);
        let is_stream = says("event-stream") || says("amazon.eventstream");
        let tells = (says("json") || is_stream) && !is_compressed(headers);
        Self {
            body,
            read,
            seen: tells.then(Seen::default),
        }
    }
}

impl<R: Read> Read for MeteredBody<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(buffer)?;
        if let Some(seen) = &mut self.seen {
            seen.note(&buffer[..count]);
        }
        Ok(count)
    }
}

impl<R: ReadAnswer> ReadAnswer for MeteredBody<R> {
    fn usage(&self) -> Option<Usage> {
        let seen = self.seen.as_ref()?;
        let mut found = Map::new();
        let mut beginning = Cow::Borrowed(&*seen.beginning);
        let mut end = &*seen.end;
        if !seen.has_gap && !end.is_empty() {
            beginning.to_mut().extend_from_slice(end);
            end = &[];
        }
        for part in [&*beginning, end] {
            for (name, usage) in usages_of(part) {
                merge(&mut found, name, usage);
            }
        }
        (self.read)(&Value::Object(found))
    }

    fn is_ended(&self) -> bool {
        self.body.is_ended()
    }
}

impl Seen {
    fn note(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.beginning.len());
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.beginning.extend_from_slice(first);
        self.end.extend_from_slice(rest);
        // Not at each read: moving what is kept costs as much as keeping it.
        if self.end.len() > 2 * KEPT {
            self.end.drain(..self.end.len() - KEPT);
            self.has_gap = true;
        }
    }
}

/// The members that tell usage, where they are objects and whole.
fn usages_of(text: &[u8]) -> impl Iterator<Item = (&'static str, Map<String, Value>)> {
    MEMBERS.into_iter().flat_map(move |name| {
        memmem::find_iter(text, name).filter_map(move |start| {
            let (before, rest) = (&text[..start], &text[start + name.len()..]);
            // Inside a string the quotation marks are escaped.
            let is_name = before.ends_with(b"\"") && !before.ends_with(b"\\\"");
            let rest = rest.strip_prefix(b"\"").filter(|_| is_name)?;
            let value = rest.trim_ascii_start().strip_prefix(b":")?;
            let mut values = serde_json::Deserializer::from_slice(value).into_iter();
            Some((name, values.next()?.ok()?))
        })
    })
}

/// Puts a later report of usage over former ones: counts do not shrink.
fn merge(found: &mut Map<String, Value>, name: &str, usage: Map<String, Value>) {
    let Some(known) = found.get_mut(name) else {
        found.insert(name.to_owned(), Value::Object(usage));
        return;
    };
    for (part, value) in usage {
        let known = &mut known[part];
        let shrinks = value
            .as_u64()
            .is_some_and(|count| known.as_u64() > Some(count));
        if !shrinks && !value.is_null() {
            *known = value;
        }
    }
}

/// How vendors call it: OpenAI, Anthropic and others; Gemini; Cohere, of what is neither a chat nor a stream.
const MEMBERS: [&str; 3] = ["usage", "usageMetadata", "billed_units"];

/// So much is kept of each end. A vendor's usage takes less than one of it.
const KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &Value) -> Option<Usage> {
        let count = |name: &str| json.pointer(name)?.as_u64();
        Some(Usage::new(count("/usage/in")?, count("/usage/out")?))
    }

    fn usage_of(media_type: &str, text: &str, step: usize) -> Option<Usage> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]);
        let mut body = MeteredBody::new(text.as_bytes(), &headers, read);
        let mut buffer = vec![0; step];
        while body.read(&mut buffer).unwrap() > 0 {}
        body.usage()
    }

    #[test]
    fn usage_is_found_at_both_ends_however_long_the_answer_is() {
        for filler in [0, 10, KEPT - 20, KEPT, 3 * KEPT, 10 * KEPT] {
            let filler = "x".repeat(filler);
            for text in [
                format!(r#"{{"text":"{filler}","usage":{{"in":3,"out":4}}}}"#),
                format!(r#"{{"usage" : {{"in":3,"out":4}},"text":"{filler}"}}"#),
                format!(
                    "data: {{\"message\":{{\"usage\":{{\"in\":3,\"out\":1}}}}}}\n\ndata: {filler}\n\ndata: {{\"usage\":{{\"out\":4}}}}\n\n"
                ),
            ] {
                for step in [1, 7, 8192] {
                    let usage = usage_of("application/json; charset=utf-8", &text, step);
                    assert_eq!(usage, Some(Usage::new(3, 4)), "{} by {step}", text.len());
                }
            }
        }
    }

    #[test]
    fn what_a_text_quotes_is_no_usage() {
        let text = r#"{"text":"\"usage\":{\"in\":9,\"out\":9}","other":1}"#;
        assert_eq!(usage_of("application/json", text, 100), None);
        let whole = r#"{"usage":{"in":1,"out":2}}"#;
        assert_eq!(usage_of("audio/mpeg", whole, 100), None);
        assert_eq!(
            usage_of("application/json", r#"{"usage":{"in":1,"#, 100),
            None
        );
        assert_eq!(usage_of("application/json", r#"{"usage":null}"#, 100), None);
    }
}
