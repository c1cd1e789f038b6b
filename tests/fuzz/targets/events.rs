//! Server-sent events: any split of a stream gives the same events, and they are those of the standard.
#![no_main]

use std::collections::VecDeque;
use std::io::{self, Read};

use credpool::Error;
use credpool::provider::{SseEvent, SseReader};
use credpool_fuzz::{cut, settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([seed, limit], stream)) = settings(input) else {
        return;
    };
    let unlimited = read(SseReader::new(stream));
    assert_eq!(unlimited, (by_the_standard(stream), None));
    for seed in [1, seed] {
        let split = Pieces(cut(stream, seed).into());
        assert_eq!(read(SseReader::new(split)), unlimited);
    }
    let limit = usize::from(limit);
    let limited = read(SseReader::new(stream).with_limit(limit));
    for seed in [1, seed] {
        let split = Pieces(cut(stream, seed).into());
        assert_eq!(read(SseReader::new(split).with_limit(limit)), limited);
    }
    assert!(unlimited.0.starts_with(&limited.0));
});

type Events = (Vec<SseEvent>, Option<String>);

fn read(events: impl Iterator<Item = Result<SseEvent, Error>>) -> Events {
    let (mut read, mut failure) = (Vec::new(), None);
    for event in events {
        assert_eq!(failure, None, "an error is the last item");
        match event {
            Ok(event) => read.push(event),
            Err(error) => failure = Some(error.to_string()),
        }
    }
    (read, failure)
}

/// <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>, on a whole stream.
fn by_the_standard(stream: &[u8]) -> Vec<SseEvent> {
    let stream = stream.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(stream);
    let (mut events, mut name, mut data) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
    for line in lines(stream) {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut name), std::mem::take(&mut data));
            if !data.is_empty() {
                let mut event = SseEvent::default();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                event.event = Some(text(&name)).filter(|name| !name.is_empty());
                event.data = text(&data.join(&b'\n')).into();
                events.push(event);
            }
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
        match field {
            b"data" => data.push(value),
            b"event" => name = value,
            _ => {}
        }
    }
    events
}

/// The lines that have an end.
fn lines(stream: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < stream.len() {
        let end = match &stream[at..] {
            [b'\r', b'\n', ..] => 2,
            [b'\r' | b'\n', ..] => 1,
            _ => 0,
        };
        if end > 0 {
            lines.push(&stream[start..at]);
            start = at + end;
        }
        at += end.max(1);
    }
    lines
}

/// Each piece is one read.
struct Pieces(VecDeque<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.0.pop_front() else {
            return Ok(0);
        };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        if length < piece.len() {
            self.0.push_front(piece.split_off(length));
        }
        Ok(length)
    }
}
