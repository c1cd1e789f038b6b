//! Frames that are cut, split or damaged anywhere.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::testing::amazon_events;

/// Those of AWS's own implementations: <https://github.com/awslabs/aws-c-event-stream>, `aws-smithy-eventstream`.
const ALL_HEADERS: &str = concat!(
    "000000960000007a8bb495fb0474727565000566616c736501046279746502320573686f7274034e2003696e74040007a120",
    "046c6f6e67050000000ba43b740005627974657306000a736f6d6520627974657303737472070008736f6d65207374720474",
    "696d6508000000012a05f200047575696409b79bc914de214e13b8b2bc47e85b7f0b736f6d65207061796c6f616401a05860"
);
const NO_HEADERS: &str = "0000002400000000516356ad616e6f746865722074657374207061796c6f61648df80e65";
const EMPTY_PAYLOAD: &str = "0000001f0000000f172dc2ab0b736f6d652d6865616465720301f4933c5cad";

/// Those that must be refused: what is wrong, the beginning of the bytes that differ, and these.
const REFUSED: [(&str, usize, &str); 6] = [
    ("the prelude's checksum", 8, "deadbeef"),
    ("the message's checksum", 146, "deadbeef"),
    ("the type of a header", 31, "60"),
    ("the length of a header", 106, "ffff"),
    ("the length of the headers", 4, "0000004d"),
    ("the length of the message", 0, "0000005d"),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// Gives at most so many bytes a read.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.1.min(buffer.len());
        self.0.read(&mut buffer[..most])
    }
}

fn read(stream: &[u8], step: usize) -> (Vec<SseEvent>, Option<Error>) {
    let mut events = Vec::new();
    for event in AmazonEventReader::new(Pieces(stream, step)) {
        match event {
            Ok(event) => events.push(event),
            Err(error) => return (events, Some(error)),
        }
    }
    (events, None)
}

const STREAM: [(&str, &str); 3] = [
    ("messageStart", r#"{"role":"assistant"}"#),
    ("contentBlockDelta", r#"{"delta":{"text":"Hé"}}"#),
    ("messageStop", r#"{"stopReason":"end_turn"}"#),
];

#[test]
fn the_vendors_own_frames_are_read() {
    for (hex, payload) in [
        (ALL_HEADERS, "some payload"),
        (NO_HEADERS, "another test payload"),
        (EMPTY_PAYLOAD, ""),
    ] {
        let (events, error) = read(&bytes(hex), 1);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].data, payload);
    }
    let all = bytes(ALL_HEADERS);
    let message = frame::message(&all).unwrap();
    assert_eq!(message.header("str"), Some("some str"));
    assert_eq!(message.header("bytes"), None);
}

#[test]
fn what_the_vendor_refuses_is_refused() {
    for (what, at, differing) in REFUSED {
        let mut frame = bytes(ALL_HEADERS);
        let differing = bytes(differing);
        frame[at..at + differing.len()].copy_from_slice(&differing);
        let (events, error) = read(&frame, 7);
        assert_eq!(events, [], "{what}");
        let error = error.unwrap();
        assert_eq!(*error.code(), ErrorCode::StreamMalformed, "{what}");
        assert!(error.is_retryable(), "{what}");
    }
}

/// As a sender would write them: its checksums are those of what it has written.
#[test]
fn headers_and_lengths_that_cannot_be_are_refused_though_their_checksums_are_right() {
    let framed = |length: u32, headers: u32, rest: &[u8]| {
        let mut frame = [length.to_be_bytes(), headers.to_be_bytes()].concat();
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame.extend(rest);
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        frame
    };
    let whole = |headers: &[u8]| {
        let length = u32::try_from(headers.len()).unwrap();
        framed(length + 16, length, headers)
    };
    for (what, frame) in [
        ("a length of nothing", framed(0, 0, b"")),
        ("a length short of its parts", framed(15, 0, b"")),
        ("headers longer than the message", framed(20, 5, b"1234")),
        ("headers over their limit", framed(1 << 20, 129 * 1024, b"")),
        ("a payload over its limit", framed(u32::MAX, 0, b"")),
        ("a header without a name", whole(&[0, 7, 0, 0])),
        ("a header without a value", whole(&[1, b'a'])),
        ("a name longer than the rest", whole(&[9, b'a'])),
        ("a type that is none", whole(&[1, b'a', 10])),
        ("a text that is cut", whole(&[1, b'a', 7, 0, 2, b'x'])),
        ("a number that is cut", whole(&[1, b'a', 5, 0, 0])),
        ("a text that is no UTF-8", whole(&[1, b'a', 7, 0, 1, 0xFF])),
    ] {
        let (events, error) = read(&frame, 5);
        assert_eq!(events, [], "{what}");
        let error = error.unwrap_or_else(|| panic!("{what} is read"));
        assert_eq!(*error.code(), ErrorCode::StreamMalformed, "{what}");
    }
}

#[test]
fn a_damaged_byte_anywhere_ends_the_stream_before_its_frame() {
    let stream = amazon_events(STREAM);
    let whole = read(&stream, usize::MAX).0;
    let mut end = 0;
    let ends: Vec<_> = STREAM
        .iter()
        .map(|event| {
            end += amazon_events([*event]).len();
            end
        })
        .collect();
    for at in 0..stream.len() {
        for bit in [1, 0x80] {
            let mut damaged = stream.clone();
            damaged[at] ^= bit;
            let (events, error) = read(&damaged, usize::MAX);
            let intact = ends.iter().filter(|end| **end <= at).count();
            assert_eq!(events, whole[..intact], "byte {at}");
            assert_eq!(
                *error.unwrap().code(),
                ErrorCode::StreamMalformed,
                "byte {at}"
            );
        }
    }
}

#[test]
fn a_cut_anywhere_delivers_whole_frames_alone() {
    let stream = amazon_events(STREAM);
    let whole = read(&stream, usize::MAX).0;
    for cut in 0..stream.len() {
        let (events, error) = read(&stream[..cut], 11);
        assert!(error.is_none());
        assert!(events.len() < whole.len());
        assert_eq!(events, whole[..events.len()]);
    }
}

#[test]
fn exceptions_and_errors_are_marked() {
    let (events, _) = read(
        &amazon_events([("throttlingException", r#"{"message":"m"}"#)]),
        3,
    );
    assert!(events[0].is_exception);
    assert_eq!(events[0].event.as_deref(), Some("throttlingException"));
    let mut headers = Vec::new();
    for (name, value) in [
        (":message-type", "error"),
        (":error-code", "InternalError"),
        (":error-message", "It \"broke\"."),
    ] {
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend(name.bytes());
        headers.extend([7, 0, u8::try_from(value.len()).unwrap()]);
        headers.extend(value.bytes());
    }
    let length = u32::try_from(headers.len()).unwrap();
    let mut frame = [(length + 16).to_be_bytes(), length.to_be_bytes()].concat();
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    let (events, _) = read(&frame, 3);
    assert!(events[0].is_exception);
    assert_eq!(events[0].event.as_deref(), Some("InternalError"));
    assert_eq!(events[0].data, r#"{"message":"It \"broke\"."}"#);
}

#[test]
fn chunks_are_what_their_bytes_hold() {
    let read = |payload: &str| {
        let stream = amazon_events([("chunk", payload)]);
        AmazonEventReader::new(&stream[..])
            .with_chunks()
            .next_event()
    };
    let event = read(r#"{"bytes":"eyJhIjoxfQ==","p":"abc"}"#)
        .unwrap()
        .unwrap();
    assert_eq!((event.event, &event.data[..]), (None, &br#"{"a":1}"#[..]));
    for odd in ["{}", r#"{"bytes":7}"#, r#"{"bytes":"e yJ"}"#, "[]", "x"] {
        assert_eq!(
            *read(odd).unwrap_err().code(),
            ErrorCode::StreamMalformed,
            "{odd}"
        );
    }
}

#[test]
fn a_message_has_a_limit() {
    let stream = amazon_events([("a", "x".repeat(1000))]);
    let within = AmazonEventReader::new(&stream[..]).with_limit(stream.len());
    assert_eq!(within.count(), 1);
    // It is refused by its length: nothing of it is waited for.
    let mut over = AmazonEventReader::new(&stream[..12]).with_limit(stream.len() - 1);
    let error = over.next_event().unwrap_err();
    assert_eq!(*error.code(), ErrorCode::StreamMalformed);
    assert!(!error.is_retryable() && error.message().contains("event_limit"));
    assert!(over.next_event().unwrap().is_none());
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(
        events in prop::collection::vec(("[a-zA-Z]{0,12}(Exception)?", prop::collection::vec(any::<u8>(), 0..300)), 0..6),
        step in 1_usize..400,
    ) {
        let stream = amazon_events(events.iter().map(|(name, payload)| (name, payload)));
        let (whole, error) = read(&stream, usize::MAX);
        prop_assert!(error.is_none());
        prop_assert_eq!(whole.len(), events.len());
        prop_assert_eq!(read(&stream, step).0, whole);
    }

    #[test]
    fn no_input_panics(input in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..40) {
        let (whole, split) = (read(&input, usize::MAX), read(&input, step));
        prop_assert_eq!(whole.0, split.0);
        prop_assert_eq!(whole.1.is_some(), split.1.is_some());
    }
}
