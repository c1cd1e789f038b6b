//! Promises about the ends of streams: whole after the vendor's own end, and not before.

use super::ExecutorFixture;
use super::call::{
    deciding_events, has_code, is_retryable, open_events, size, streamed, whole_stream,
};
use crate::error::ErrorCode;
use crate::testing::Gate;
use crate::testing::conformance::{Verdict, same};

const PIECES: [&str; 2] = ["a", "b"];
const DONE: &str = "[DONE]";

/// About how many places a stream is cut at.
const CUTS: usize = 30;

pub(super) fn a_stream_that_is_cut_anywhere_is_an_error(fixture: &dyn ExecutorFixture) -> Verdict {
    let whole = size(fixture, &deciding_events(fixture, &PIECES));
    let reply = || whole_stream(fixture, &PIECES);
    // The last two bytes end the line and the event, which says all that it has to say.
    let places = (0..whole - 2).step_by((whole / CUTS).max(1));
    for cut in places.chain([whole - 3]) {
        for reply in [reply(), reply().close_delimited(), reply().content_length()] {
            let what = format!("a stream that is cut after {cut} of {whole} bytes");
            let error = streamed(fixture, reply.cut_after(cut))?.failure(&what)?;
            has_code(&what, &error, &[ErrorCode::StreamTruncated])?;
            is_retryable(&what, &error, true)?;
        }
    }
    Ok(())
}

pub(super) fn a_stream_without_its_end_is_an_error(fixture: &dyn ExecutorFixture) -> Verdict {
    let events = deciding_events(fixture, &PIECES);
    for count in 0..events.len() {
        for reply in [
            fixture.stream_of(events[..count].to_vec()),
            fixture
                .stream_of(events[..count].to_vec())
                .close_delimited(),
        ] {
            let what = format!(
                "a stream that ends after {count} of {} events",
                events.len()
            );
            let error = streamed(fixture, reply)?.failure(&what)?;
            has_code(&what, &error, &[ErrorCode::StreamTruncated])?;
        }
    }
    // Gateways close a stream that broke off behind them as they close every other.
    if events.last().is_some_and(|(_, data)| data == DONE) {
        return Ok(());
    }
    for pieces in [&[][..], &PIECES] {
        let mut events = open_events(fixture, pieces);
        events.push(("", DONE.to_owned()));
        let what = "a stream with the closing marker of gateways and without its own end";
        let error = streamed(fixture, fixture.stream_of(events))?.failure(what)?;
        let codes = [ErrorCode::StreamTruncated, ErrorCode::StreamMalformed];
        has_code(what, &error, &codes)?;
    }
    Ok(())
}

pub(super) fn a_reset_is_a_lost_connection(fixture: &dyn ExecutorFixture) -> Verdict {
    let reply = || whole_stream(fixture, &PIECES);
    let at = size(fixture, &open_events(fixture, &["a"])) + 9;
    for (what, reply, code) in [
        (
            "a stream that is reset before its head",
            reply().reset(),
            ErrorCode::Transport,
        ),
        (
            "a stream that is reset in an event",
            reply().reset_after(at),
            ErrorCode::StreamInterrupted,
        ),
    ] {
        let error = streamed(fixture, reply)?.failure(what)?;
        has_code(what, &error, &[code])?;
        is_retryable(what, &error, true)?;
    }
    Ok(())
}

pub(super) fn what_follows_the_end_does_not_matter(fixture: &dyn ExecutorFixture) -> Verdict {
    let mut events = deciding_events(fixture, &PIECES);
    let whole = size(fixture, &events);
    events.push(("", DONE.to_owned()));
    let reply = || fixture.stream_of(events.clone());
    for (what, reply) in [
        ("a closing marker", reply()),
        ("a cut", reply().cut_after(whole)),
        ("a cut event", reply().cut_after(whole + 9)),
        ("a reset", reply().reset_after(whole + 9)),
        ("silence", reply().stall_after(whole, &Gate::new())),
        ("the end", whole_stream(fixture, &PIECES)),
    ] {
        let streamed = streamed(fixture, reply)?;
        streamed.success(&format!("a whole stream that {what} follows"))?;
        same("its text", &streamed.text(), &PIECES.concat())?;
    }
    Ok(())
}
