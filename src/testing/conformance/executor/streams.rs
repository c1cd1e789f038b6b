//! Promises about streams: chunks, framing, limits, errors in events.

use super::ExecutorFixture;
use super::call::{
    KEY, LONG, answered, has_code, is_retryable, next, open_events, streamed, whole_stream,
};
use crate::error::ErrorCode;
use crate::request::StreamChunk;
use crate::testing::conformance::{Stop, Verdict, same};
use crate::testing::{Gate, Reply};

const PIECES: [&str; 3] = ["Hé", " \"llo\"", "\n!"];

pub(super) fn a_whole_stream_brings_the_text(fixture: &dyn ExecutorFixture) -> Verdict {
    let (upstream, call) = answered(fixture, whole_stream(fixture, &PIECES));
    let streamed = call.stream()?;
    streamed.success("a whole stream")?;
    same("the stream's text", &streamed.text(), &PIECES.concat())?;
    let is_preamble = |chunk: &&crate::request::StreamChunk| chunk.preamble;
    let preamble: Vec<_> = streamed.chunks.iter().take_while(is_preamble).collect();
    ensure!(
        preamble.iter().all(|chunk| chunk.text.is_none()),
        "a chunk with text counts as preamble"
    );
    ensure!(
        preamble.len() <= fixture.stream_start().len(),
        "what brings text counts as preamble"
    );
    same(
        "how many requests a stream makes",
        &upstream.request_count(),
        &1,
    )
}

pub(super) fn every_framing_gives_the_same_chunks(fixture: &dyn ExecutorFixture) -> Verdict {
    let reply = || whole_stream(fixture, &PIECES);
    let expected = without_heads(streamed(fixture, reply())?.chunks);
    for (what, reply) in [
        ("a byte for each HTTP chunk", reply().in_pieces(1)),
        (
            "a body with a length",
            reply().content_length().in_pieces(5),
        ),
        (
            "a body up to the end of the connection",
            reply().close_delimited().in_pieces(7),
        ),
    ] {
        let streamed = streamed(fixture, reply)?;
        streamed.success(what)?;
        same(
            &format!("the chunks of {what}"),
            &without_heads(streamed.chunks),
            &expected,
        )?;
    }
    Ok(())
}

/// The head tells of the framing.
fn without_heads(mut chunks: Vec<StreamChunk>) -> Vec<StreamChunk> {
    for chunk in &mut chunks {
        chunk.head = None;
    }
    chunks
}

pub(super) fn a_chunk_arrives_while_the_stream_waits(fixture: &dyn ExecutorFixture) -> Verdict {
    let gate = Gate::new();
    let (upstream, call) = answered(fixture, whole_stream(fixture, &PIECES).drip(&gate));
    let before = open_events(fixture, &[]).len();
    for _ in 0..=before {
        gate.step();
    }
    let mut source = call.open()??;
    let mut text = None;
    for _ in 0..=before {
        let (rest, chunk) = next(source)?;
        source = rest;
        text = chunk.and_then(|chunk| chunk.text);
        if text.is_some() {
            break;
        }
    }
    same(
        "the text of the first chunk, before the second is sent",
        &text.as_deref(),
        &Some(PIECES[0]),
    )?;
    drop(source);
    ensure!(
        upstream.wait_abandoned(LONG),
        "a dropped stream leaves its connection open"
    );
    Ok(())
}

pub(super) fn an_unreadable_event_is_an_error(fixture: &dyn ExecutorFixture) -> Verdict {
    for garbage in ["{\"a\":", "hello", "[1]", "1", &format!("{{{KEY}")] {
        let mut events = open_events(fixture, &["a"]);
        let (name, _) = fixture.stream_piece("b");
        events.push((name, garbage.to_owned()));
        events.extend(fixture.stream_end());
        let streamed = streamed(fixture, fixture.stream_of(events))?;
        same("the text before the event", &streamed.text().as_str(), &"a")?;
        let what = format!("the event {garbage:?}");
        let error = streamed.failure(&what)?;
        has_code(&what, &error, &[ErrorCode::StreamMalformed])?;
    }
    Ok(())
}

pub(super) fn an_event_has_a_limit(fixture: &dyn ExecutorFixture) -> Verdict {
    let large = "x".repeat(64 * 1024);
    for (limit, is_read) in [(32 * 1024, false), (128 * 1024, true)] {
        let (_upstream, mut call) = answered(fixture, whole_stream(fixture, &["a", &large]));
        call.options.event_limit = Some(limit);
        let streamed = call.stream()?;
        if is_read {
            streamed.success("an event within the limit")?;
            same("its size", &streamed.text().len(), &(large.len() + 1))?;
            continue;
        }
        let what = "an event over the limit of the call";
        let error = streamed.failure(what)?;
        has_code(what, &error, &[ErrorCode::StreamMalformed])?;
        is_retryable(what, &error, false)?;
    }
    Ok(())
}

pub(super) fn an_error_event_is_the_last_item(fixture: &dyn ExecutorFixture) -> Verdict {
    let error = fixture.error_in_stream("It says why.");
    let error = error.ok_or_else(|| Stop::skipped("the vendor sends no error events"))?;
    for pieces in [&[][..], &["a"]] {
        let mut events = open_events(fixture, pieces);
        events.push(error.clone());
        events.extend(fixture.stream_end());
        let streamed = streamed(fixture, fixture.stream_of(events))?;
        same(
            "the text before the error",
            &streamed.text(),
            &pieces.concat(),
        )?;
        let error = streamed.failure("a stream with an error event")?;
        has_code("an error event", &error, &[ErrorCode::Upstream])?;
    }
    Ok(())
}

pub(super) fn a_document_is_no_stream(fixture: &dyn ExecutorFixture) -> Verdict {
    let page = Reply::new(200).header("content-type", "text/html");
    let error = fixture.error("It says why.");
    for (what, reply) in [
        ("a reply", Reply::json(200, fixture.reply("a"))),
        ("an error", Reply::json(200, error)),
        ("a web page", page.body("<html>")),
    ] {
        let what = format!("{what} in place of a stream");
        let error = streamed(fixture, reply)?.failure(&what)?;
        let codes = [
            ErrorCode::Upstream,
            ErrorCode::StreamMalformed,
            ErrorCode::StreamTruncated,
        ];
        has_code(&what, &error, &codes)?;
    }
    Ok(())
}
