//! How long streams are waited for, by a clock that only the script moves.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Duration;

use super::*;
use crate::clock::{Clock, ManualClock};
use crate::provider::http::sse::SseReader;
use crate::provider::{anthropic, openai};
use crate::request::Timeouts;
use crate::transport::Limits;

/// What comes, and how long after the last.
struct Script {
    clock: ManualClock,
    steps: VecDeque<(Duration, String)>,
    allowed: Cell<Duration>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((after, text)) = self.steps.pop_front() else {
            return Ok(0);
        };
        let allowed = self.allowed.get();
        if after > allowed {
            self.clock.advance(allowed);
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.clock.advance(after);
        self.allowed.set(allowed.saturating_sub(after));
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}

impl Source for Script {
    fn allow(&self, left: Duration) {
        self.allowed.set(left);
    }

    fn finish_within(&mut self, _: Duration) {}
}

const SECOND: Duration = Duration::from_secs(1);

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

/// Plays the steps, with so long a pause of the reader's after each chunk. What ended it, and when.
fn play(
    protocol: impl StreamProtocol,
    timeouts: &Timeouts,
    steps: Vec<(f64, String)>,
    pause: Duration,
) -> (Option<ErrorCode>, f64) {
    let clock = ManualClock::at(crate::clock::Timestamp::UNIX_EPOCH);
    let attempt = Attempt::for_tests(clock.clone());
    let steps = steps
        .into_iter()
        .map(|(after, text)| (Duration::from_secs_f64(after), text));
    let script = Script {
        clock: clock.clone(),
        steps: steps.collect(),
        allowed: Cell::new(Duration::MAX),
    };
    let start = clock.monotonic();
    let limits = Limits::of_stream(timeouts, None);
    let patience = Patience::new(&limits, Duration::ZERO);
    let stream = EventStream::new(
        &attempt,
        &Auth::new("p"),
        SseReader::new(script),
        protocol,
        patience,
    );
    let mut error = None;
    for chunk in stream {
        match chunk {
            Ok(_) => clock.advance(pause),
            Err(failed) => error = Some(failed.code().clone()),
        }
    }
    (error, (clock.monotonic() - start).as_secs_f64())
}

fn repeated(times: usize, after: f64, text: &str) -> Vec<(f64, String)> {
    vec![(after, text.to_owned()); times]
}

const COMMENT: &str = ": OPENROUTER PROCESSING\n\n";
const PING: &str = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

#[test]
fn comments_and_pings_do_not_end_the_wait_for_the_first_chunk() {
    let stalled = Some(ErrorCode::StreamStalled);
    let chat = |text: &str| event(&format!(r#"{{"choices":[{{"index":0,"delta":{text}}}]}}"#));
    let role = chat(r#"{"role":"assistant","content":""}"#);
    let two = Timeouts::new().with_first_chunk(2 * SECOND);
    for (steps, at) in [
        // Forty seconds of comments.
        (repeated(80, 0.5, COMMENT), 2.0),
        (repeated(80, 0.5, "data:\n\n"), 2.0),
        (repeated(80, 0.5, "event: ping\ndata: ping\n\n"), 2.0),
        (
            [vec![(0.1, role.clone())], repeated(80, 0.5, COMMENT)].concat(),
            2.0,
        ),
        // A comment, then silence.
        (
            vec![(1.9, COMMENT.to_owned()), (60.0, COMMENT.to_owned())],
            2.0,
        ),
        (vec![(60.0, role)], 2.0),
    ] {
        let played = play(openai::chat_events(), &two, steps, Duration::ZERO);
        assert_eq!(played, (stalled.clone(), at));
    }
    let pings = repeated(30, 10.0, PING);
    let played = play(
        anthropic::message_events(),
        &Timeouts::new(),
        pings,
        Duration::ZERO,
    );
    assert_eq!(played, (stalled, 120.0));
}

#[test]
fn progress_ends_the_wait_for_the_first_chunk() {
    let limits = Timeouts::new().with_first_chunk(2 * SECOND);
    let typed = |kind: &str| event(&format!(r#"{{"type":"{kind}"}}"#));
    for (kind, ends) in [
        ("response.output_item.added", true),
        ("response.web_search_call.searching", true),
        ("response.reasoning_summary_part.added", true),
        ("response.created", false),
        ("response.in_progress", false),
        ("response.queued", false),
        ("keepalive", false),
    ] {
        let steps = vec![
            (1.0, typed(kind)),
            (
                30.0,
                event(r#"{"type":"response.completed","response":{"status":"completed"}}"#),
            ),
        ];
        let (error, _) = play(openai::response_events(), &limits, steps, Duration::ZERO);
        assert_eq!(error.is_none(), ends, "{kind}");
    }
}

#[test]
fn pings_through_ten_minutes_of_thinking_pass_every_limit_but_one_that_is_asked_for() {
    let thinking = event(
        r#"{"type":"content_block_start","content_block":{"type":"thinking","thinking":""}}"#,
    );
    let end = event(r#"{"type":"message_stop"}"#);
    let steps = || {
        let pings = repeated(60, 10.0, PING);
        [
            vec![(1.0, thinking.clone())],
            pings,
            vec![(1.0, end.clone())],
        ]
        .concat()
    };
    let default = Timeouts::new();
    let (error, at) = play(
        anthropic::message_events(),
        &default,
        steps(),
        Duration::ZERO,
    );
    assert_eq!((error, at), (None, 602.0));
    let short = Timeouts::new().with_content(60 * SECOND);
    let (error, at) = play(anthropic::message_events(), &short, steps(), Duration::ZERO);
    assert_eq!((error, at), (Some(ErrorCode::StreamStalled), 61.0));
    // Comments are no events.
    let comments = [vec![(1.0, thinking.clone())], repeated(60, 10.0, COMMENT)].concat();
    let (error, at) = play(
        anthropic::message_events(),
        &default,
        comments,
        Duration::ZERO,
    );
    assert_eq!((error, at), (Some(ErrorCode::StreamStalled), 121.0));
}

#[test]
fn a_large_event_may_take_its_time_and_so_may_a_reader() {
    let piece = |text: &str| {
        event(&format!(
            r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
        ))
    };
    let finish = event(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#);
    let mut image = vec![(
        100.0,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"".to_owned(),
    )];
    image.extend(repeated(10, 100.0, "AAAA"));
    image.push((100.0, "\"}}]}\n\n".to_owned()));
    image.push((1.0, finish.clone()));
    let default = Timeouts::new();
    let (error, _) = play(openai::chat_events(), &default, image, Duration::ZERO);
    assert_eq!(error, None);
    // One that stops in the middle is waited for no longer than silence.
    let cut = vec![
        (1.0, piece("a")),
        (1.0, "data: {".to_owned()),
        (500.0, finish.clone()),
    ];
    let (error, at) = play(openai::chat_events(), &default, cut, Duration::ZERO);
    assert_eq!((error, at), (Some(ErrorCode::StreamStalled), 122.0));
    let steps = vec![(1.0, piece("a")), (100.0, piece("b")), (100.0, finish)];
    let timeouts = Timeouts::new().with_content(110 * SECOND);
    let (error, _) = play(openai::chat_events(), &timeouts, steps, 1000 * SECOND);
    assert_eq!(error, None);
}

#[test]
fn after_a_whole_reply_a_stream_ends_though_its_connection_stays_open() {
    let finish =
        event(r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#);
    let usage = event(r#"{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#);
    for (after, at) in [
        (vec![], 1.0),
        (vec![(500.0, COMMENT.to_owned())], 4.0),
        (repeated(100, 0.5, COMMENT), 4.0),
        (repeated(100, 0.5, "event: ping\ndata: {}\n\n"), 4.0),
        (vec![(0.5, usage.clone()), (500.0, COMMENT.to_owned())], 4.0),
        (
            vec![
                (0.5, usage),
                (0.5, "data: [DONE]\n\n".to_owned()),
                (500.0, COMMENT.to_owned()),
            ],
            2.0,
        ),
    ] {
        let steps = [vec![(1.0, finish.clone())], after].concat();
        let played = play(
            openai::chat_events(),
            &Timeouts::new(),
            steps,
            Duration::ZERO,
        );
        assert_eq!(played, (None, at));
    }
}

/// What comes of a text in answer to a request for a stream, where its media type is a document's.
fn announced_as_document(pieces: Vec<String>) -> Result<usize, (ErrorCode, String)> {
    let clock = ManualClock::at(crate::Timestamp::UNIX_EPOCH);
    let attempt = Attempt::for_tests(clock.clone());
    let script = Script {
        clock,
        steps: pieces
            .into_iter()
            .map(|piece| (Duration::ZERO, piece))
            .collect(),
        allowed: Cell::new(Duration::MAX),
    };
    let limits = Limits::of_stream(&Timeouts::new(), None);
    let patience = Patience::new(&limits, Duration::ZERO);
    let auth = Auth::new("p");
    let mut stream = EventStream::new(
        &attempt,
        &auth,
        SseReader::new(script),
        openai::chat_events(),
        patience,
    );
    let said = |error: Error| (error.code().clone(), error.to_string());
    stream.begin(Announced::Document).map_err(said)?;
    let mut chunks = 0;
    for chunk in stream {
        chunk.map_err(said)?;
        chunks += 1;
    }
    Ok(chunks)
}

#[test]
fn what_a_beginning_is_taken_for_does_not_depend_on_how_it_is_cut() {
    let events =
        event(r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#);
    let blank = "\n".repeat(4 * 1024 - 2);
    for (text, chunks) in [
        (events.clone(), Some(1)),
        (format!("\u{feff}{events}"), Some(1)),
        (format!("data\n\n{events}"), Some(1)),
        (format!("event: x\nretry: 3\r\n\r\n{events}"), Some(1)),
        (format!(": a comment\n{events}"), Some(1)),
        (format!("{blank}{events}"), Some(1)),
        // Words that begin as the names of fields do.
        ("error\": 429}".to_owned(), None),
        ("\u{feff}error".to_owned(), None),
        ("database: down".to_owned(), None),
        ("retry later".to_owned(), None),
        ("i".to_owned(), None),
        ("data".to_owned(), None),
        (format!("{blank}retry later"), None),
        ("{\"error\":{\"code\":429}}".to_owned(), None),
        ("\n\n<html>".to_owned(), None),
    ] {
        let whole = announced_as_document(
            text.as_bytes()
                .chunks(4 * 1024)
                .map(|piece| String::from_utf8_lossy(piece).into_owned())
                .collect(),
        );
        let cut = announced_as_document(text.chars().map(String::from).collect());
        assert_eq!(whole, cut, "{text:?}");
        assert_eq!(whole.clone().ok(), chunks, "{text:?}: {whole:?}");
    }
}
