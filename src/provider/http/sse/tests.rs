//! Events from texts that are cut anywhere.

use super::*;
use crate::error::ErrorCode;
use proptest::prelude::*;
use std::io::{self, ErrorKind};

/// Gives its pieces one read at a time.
struct Pieces(Vec<Vec<u8>>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.retain(|piece| !piece.is_empty());
        let Some(piece) = self.0.first_mut() else {
            return Ok(0);
        };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        piece.drain(..length);
        Ok(length)
    }
}

fn events(input: &[u8]) -> Vec<(Option<String>, String)> {
    SseReader::new(input)
        .map(|event| {
            let event = event.unwrap();
            (event.event, String::from_utf8(event.data.to_vec()).unwrap())
        })
        .collect()
}

fn data(input: &[u8]) -> Vec<String> {
    events(input).into_iter().map(|(_, data)| data).collect()
}

#[test]
fn the_examples_of_the_standard() {
    assert_eq!(
        data(b"data: YHOO\ndata: +2\ndata: 10\n\n"),
        ["YHOO\n+2\n10"]
    );
    let four = b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n";
    assert_eq!(data(four), ["first event", "second event", " third event"]);
    assert_eq!(data(b"data\n\ndata\ndata\n\ndata:"), ["", "\n"]);
    assert_eq!(data(b"data:test\n\ndata: test\n\n"), ["test", "test"]);
}

#[test]
fn every_line_end_counts_and_mixes() {
    assert_eq!(
        data(b"data: a\r\n\r\ndata: b\r\rdata: c\n\r\n"),
        ["a", "b", "c"]
    );
    assert_eq!(data(b"data: a\r\n\n"), ["a"]);
}

#[test]
fn names_belong_to_one_event_and_need_data() {
    let got = events(b"event: a\nevent: b\ndata: 1\n\ndata: 2\n\nevent: c\n\ndata: 3\n\n");
    let name = |event: &(Option<String>, String)| event.0.clone();
    assert_eq!(
        got.iter().map(name).collect::<Vec<_>>(),
        [Some("b".into()), None, None]
    );
}

#[test]
fn a_byte_order_mark_is_dropped_once() {
    assert_eq!(
        data(b"\xEF\xBB\xBFdata: a\n\n\xEF\xBB\xBFdata: b\n\n"),
        ["a"]
    );
}

#[test]
fn invalid_text_is_replaced() {
    assert_eq!(data(b"data: a\xFFb\n\n"), ["a\u{FFFD}b"]);
}

#[test]
fn the_limit_is_a_limit_and_the_error_is_the_last_item() {
    let fits = b"data: 12345678\n\n";
    assert_eq!(
        SseReader::new(&fits[..]).with_limit(14).flatten().count(),
        1
    );
    for input in [
        &fits[..],
        b": a comment without end",
        b"data: 1234\ndata: 567\ndata: 8\n\n",
    ] {
        let mut reader = SseReader::new(input).with_limit(13);
        let error = reader.next_event().unwrap_err();
        assert_eq!(*error.code(), ErrorCode::StreamMalformed);
        assert_eq!(reader.next_event().unwrap(), None);
    }
}

#[test]
fn comments_take_no_room() {
    let input = ": keep-alive\n".repeat(100) + "data: x\n\n";
    let mut reader = SseReader::new(input.as_bytes()).with_limit(20);
    assert_eq!(reader.next_event().unwrap().unwrap().data, "x");
}

#[test]
fn an_event_comes_before_the_next_read() {
    struct Once(bool);
    impl Read for Once {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(
                !std::mem::replace(&mut self.0, true),
                "read on before the event"
            );
            buffer[..9].copy_from_slice(b"data: 1\r\r");
            Ok(9)
        }
    }
    let mut reader = SseReader::new(Once(false));
    assert_eq!(reader.next_event().unwrap().unwrap().data, "1");
}

#[test]
fn a_failed_read_says_whether_it_was_silence() {
    struct Failing(ErrorKind);
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
    }
    let code = |kind| {
        SseReader::new(Failing(kind))
            .next_event()
            .unwrap_err()
            .code()
            .clone()
    };
    assert_eq!(code(ErrorKind::TimedOut), ErrorCode::StreamStalled);
    assert_eq!(
        code(ErrorKind::ConnectionReset),
        ErrorCode::StreamInterrupted
    );
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "data: a", "data:b", "data", "event: x", ": c", "id: 1", "é", "\r", "\n", "\r\n", "\n\n", "\u{FEFF}", " ", ":",
                "a line that is longer than one word of the search",
            ]),
            0..60,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let input = parts.concat().into_bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| input[cut[0]..cut[1]].to_vec()).collect();
        let whole: Vec<_> = SseReader::new(&input[..]).collect::<Result<_, _>>().unwrap();
        let split: Vec<_> = SseReader::new(Pieces(pieces)).collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(whole, split);
    }
}
