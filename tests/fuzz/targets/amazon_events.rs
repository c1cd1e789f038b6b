//! Amazon event streams: any split gives the same events, with a limit and without; and what was written is read, unless a bit of it changed.
#![no_main]

use std::collections::VecDeque;
use std::io::{self, Read};

use credpool::Error;
use credpool::provider::{AmazonEventReader, SseEvent};
use credpool::testing::amazon_events;
use credpool_fuzz::{cut, parts, settings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(([seed, limit, way, bit], rest)) = settings(input) else {
        return;
    };
    if way % 2 == 0 {
        // Any bytes.
        same_however_split(rest, seed, limit);
        return;
    }
    // A stream of these payloads, of which one bit may change.
    let payloads = parts(rest);
    let names = ["chunk", "messageStop", "", "throttlingException"];
    let named = payloads.iter().zip(names.iter().cycle());
    let mut stream = amazon_events(named.map(|(payload, name)| (*name, *payload)));
    let (whole, failure) = read(AmazonEventReader::new(&stream[..]));
    assert_eq!(failure, None);
    assert_eq!(whole.len(), payloads.len());
    for (event, payload) in whole.iter().zip(&payloads) {
        assert_eq!(event.data, String::from_utf8_lossy(payload).as_bytes());
    }
    same_however_split(&stream, seed, limit);
    let at = usize::from_le_bytes([seed, bit, limit, 0, 0, 0, 0, 0]) % stream.len();
    stream[at] ^= 1 << (bit % 8);
    let (events, failure) = read(AmazonEventReader::new(&stream[..]));
    assert!(events.len() < whole.len() && whole.starts_with(&events));
    assert!(failure.is_some());
    same_however_split(&stream, seed, limit);
});

fn same_however_split(stream: &[u8], seed: u8, limit: u8) {
    for chunks in [false, true] {
        let reader = |pieces: Vec<Vec<u8>>| {
            let reader = AmazonEventReader::new(Pieces(pieces.into()));
            if chunks { reader.with_chunks() } else { reader }
        };
        let unlimited = read(reader(cut(stream, 0)));
        let limit = usize::from(limit);
        let limited = read(reader(cut(stream, 0)).with_limit(limit));
        for seed in [1, seed] {
            assert_eq!(read(reader(cut(stream, seed))), unlimited);
            assert_eq!(read(reader(cut(stream, seed)).with_limit(limit)), limited);
        }
        assert!(unlimited.0.starts_with(&limited.0));
    }
}

fn read(
    events: impl Iterator<Item = Result<SseEvent, Error>>,
) -> (Vec<SseEvent>, Option<String>) {
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
