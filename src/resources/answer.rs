//! [`AnswerReader`]: finds what the body of a raw answer mentions while it passes.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use memchr::memchr;

use super::mentions::Mentions;

/// Reads along with the caller of a raw call. What the caller has read, it has, too: an id that an answer gives is known before the next
/// request can name it.
pub(crate) struct AnswerReader {
    /// Of the request.
    path: Box<str>,
    form: Form,
    /// What has come of the document, or of the line.
    text: Vec<u8>,
}

enum Form {
    Json,
    /// Server-sent events.
    Events,
    /// The document is read, or the rest is too long.
    Over,
    /// The line is too long.
    LongLine,
}

impl AnswerReader {
    /// For the answer to a request of this path. `None` where it is neither JSON nor a stream of events, or is compressed.
    pub(crate) fn new(path: &str, headers: &HeaderMap) -> Option<Self> {
        let is_plain = |encoding: &HeaderValue| encoding.as_bytes() == b"identity";
        if !headers.get_all(CONTENT_ENCODING).iter().all(is_plain) {
            return None;
        }
        let media_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let media_type = media_type.split(';').next()?.trim().to_ascii_lowercase();
        let form = match &*media_type {
            "text/event-stream" => Form::Events,
            "application/json" => Form::Json,
            json if json.ends_with("+json") => Form::Json,
            _ => return None,
        };
        Some(Self {
            path: path.into(),
            form,
            text: Vec::new(),
        })
    }

    /// What is mentioned by the bytes that have come now, as far as it is whole.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Mentions {
        match self.form {
            Form::Json => self.read_json(bytes),
            Form::Events | Form::LongLine => self.read_events(bytes),
            Form::Over => Mentions::default(),
        }
    }

    fn read_json(&mut self, bytes: &[u8]) -> Mentions {
        let mut mentions = Mentions::default();
        if self.text.len() + bytes.len() > LONGEST {
            self.form = Form::Over;
            self.text = Vec::new();
            return mentions;
        }
        self.text.extend_from_slice(bytes);
        // A document that ends here may be whole; a part of one does not parse.
        if matches!(self.text.trim_ascii_end().last(), Some(b'}' | b']')) {
            mentions.add_answer(&self.path, &self.text);
        }
        if !mentions.is_empty() {
            self.form = Form::Over;
            self.text = Vec::new();
        }
        mentions
    }

    fn read_events(&mut self, mut bytes: &[u8]) -> Mentions {
        let mut mentions = Mentions::default();
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            match self.form {
                Form::LongLine => self.form = Form::Events,
                _ if self.text.is_empty() => add_line(&mut mentions, line),
                _ => {
                    self.text.extend_from_slice(line);
                    add_line(&mut mentions, &self.text);
                    self.text.clear();
                }
            }
            bytes = rest;
        }
        if self.text.len() + bytes.len() > LONGEST {
            self.form = Form::LongLine;
            self.text = Vec::new();
        } else if !matches!(self.form, Form::LongLine) {
            self.text.extend_from_slice(bytes);
        }
        mentions
    }
}

fn add_line(mentions: &mut Mentions, line: &[u8]) {
    if let Some(data) = line.strip_prefix(b"data:")
        && data.len() <= LONGEST
    {
        mentions.add_json(data);
    }
}

/// A longer document, or event, is not searched.
const LONGEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(media_type: &str, text: &str, step: usize) -> Vec<String> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type.parse().unwrap())]);
        let Some(mut reader) = AnswerReader::new("/v1/responses", &headers) else {
            return vec!["not read".to_owned()];
        };
        let found = text.as_bytes().chunks(step).flat_map(|bytes| {
            let found = reader.read(bytes);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        });
        found.collect()
    }

    #[test]
    fn a_document_is_read_when_it_is_whole_however_it_comes() {
        let text = r#"{"a":{"b":[{}]},"id":"resp_1","object":"response"}"#;
        for step in [1, 7, 100] {
            for end in ["", "\n"] {
                let text = format!("{text}{end}");
                let found = read("application/json; charset=utf-8", &text, step);
                assert_eq!(found, ["responses/resp_1"], "by {step}");
            }
        }
        let long = format!(r#"{{"text":"{}","id":"resp_1"}}"#, "x".repeat(LONGEST));
        assert!(read("application/json", &long, 8192).is_empty());
    }

    #[test]
    fn events_are_read_line_by_line() {
        let long = format!(
            "data: {{\"file_id\":\"file-9\",\"text\":\"{}\"}}\n\n",
            "x".repeat(LONGEST)
        );
        let text = format!(
            "event: response.created\ndata: {{\"response\":{{\"id\":\"resp_1\",\"object\":\"response\"}}}}\n\n\
             {long}data:{{\"file_id\":\"file-1\"}}\r\n\n: file_id\ndata: [DONE]\n\ndata: {{\"file_id\":\"file-2\"}}"
        );
        for step in [1, 7, 8192, 4 << 20] {
            let found = read("text/event-stream", &text, step);
            assert_eq!(found, ["responses/resp_1", "files/file-1"], "by {step}");
        }
    }

    #[test]
    fn other_answers_are_not_read() {
        for media_type in ["audio/mpeg", "application/x-jsonl", "text/plain"] {
            assert_eq!(read(media_type, "{}", 1), ["not read"], "{media_type}");
        }
        let headers = HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (CONTENT_ENCODING, HeaderValue::from_static("gzip")),
        ]);
        assert!(AnswerReader::new("/", &headers).is_none());
    }
}
