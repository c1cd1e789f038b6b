//! Promises about calls that end early: timeouts, cancels, deadlines, streams that are left.

use super::ExecutorFixture;
use super::call::{
    Call, LONG, SHORT, answered, drain, failed, has_code, is_retryable, next, open_events, size,
    whole_stream,
};
use crate::cancel::CancelToken;
use crate::clock::{Clock, SystemClock};
use crate::error::ErrorCode;
use crate::executor::{Attempt, ChunkSource};
use crate::request::Timeouts;
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Stop, Verdict};
use crate::testing::{Gate, Reply, Upstream};

/// That the client has closed the connection of an answer that stands still.
fn is_abandoned(upstream: &Upstream, what: &str) -> Verdict {
    ensure!(
        upstream.wait_abandoned(LONG),
        "{what} leaves its connection open"
    );
    Ok(())
}

/// A call under an attempt that ends soon.
fn soon_over(call: Call) -> Call {
    let end = SystemClock.monotonic() + SHORT;
    call.with_attempt(Attempt::for_tests(SystemClock).with_deadline(end))
}

/// A call that can be cancelled.
fn cancellable(call: Call) -> (Call, CancelToken) {
    let token = CancelToken::new();
    let attempt = Attempt::for_tests(SystemClock).with_cancel(token.clone());
    (call.with_attempt(attempt), token)
}

/// An answer that stalls before its head, and one that stalls in its body.
fn stalling(fixture: &dyn ExecutorFixture) -> [Reply; 2] {
    let whole = || Reply::json(200, fixture.reply("a"));
    let gate = Gate::new();
    [
        whole().stall_before_head(&gate),
        whole().stall_after(9, &gate),
    ]
}

/// A stream that stalls after its first text, opened and read up to there.
fn begun(fixture: &dyn ExecutorFixture, call: &Call) -> Result<ChunkSource, Stop> {
    let mut source = call.open()??;
    for _ in open_events(fixture, &["a"]) {
        let (rest, chunk) = next(source)?;
        source = rest;
        let chunk = chunk.ok_or_else(|| Stop::Broken("the stream ends too early".to_owned()))?;
        if chunk.text.is_some() {
            break;
        }
    }
    Ok(source)
}

fn stalling_stream(fixture: &dyn ExecutorFixture) -> (Upstream, Call) {
    let at = size(fixture, &open_events(fixture, &["a"]));
    let reply = whole_stream(fixture, &["a"]).stall_after(at, &Gate::new());
    answered(fixture, reply)
}

pub(super) fn a_call_that_takes_too_long_is_given_up(fixture: &dyn ExecutorFixture) -> Verdict {
    for reply in stalling(fixture) {
        let (upstream, call) = answered(fixture, reply);
        let call = call.with_timeouts(Timeouts::new().with_total(SHORT));
        let what = "a call that takes longer than its limit";
        let error = failed(what, call.plain()?)?;
        has_code(what, &error, &[ErrorCode::Transport])?;
        is_retryable(what, &error, true)?;
        is_abandoned(&upstream, what)?;
    }
    Ok(())
}

pub(super) fn a_cancelled_call_returns_immediately(fixture: &dyn ExecutorFixture) -> Verdict {
    for at in [None, Some(9)] {
        let gate = Gate::new();
        let whole = Reply::json(200, fixture.reply("a"));
        let reply = match at {
            None => whole.stall_before_head(&gate),
            Some(bytes) => whole.stall_after(bytes, &gate),
        };
        let (upstream, call) = answered(fixture, reply);
        let (call, token) = cancellable(call);
        let canceller = Threads::start(1, move |_| {
            ensure!(gate.wait_reached(LONG), "a call sends no request");
            token.cancel();
            Ok(())
        })?;
        let what = "a cancelled call";
        let result = call.plain();
        canceller.join()?;
        let error = failed(what, result?)?;
        has_code(what, &error, &[ErrorCode::Cancelled])?;
        is_abandoned(&upstream, what)?;
    }
    Ok(())
}

pub(super) fn a_call_ends_at_its_deadline(fixture: &dyn ExecutorFixture) -> Verdict {
    for reply in stalling(fixture) {
        let (upstream, call) = answered(fixture, reply);
        let what = "a call at its deadline";
        let error = failed(what, soon_over(call).plain()?)?;
        has_code(what, &error, &[ErrorCode::DeadlineExceeded])?;
        is_abandoned(&upstream, what)?;
    }
    Ok(())
}

pub(super) fn a_call_whose_time_is_over_sends_nothing(fixture: &dyn ExecutorFixture) -> Verdict {
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let attempt = || Attempt::for_tests(SystemClock);
    for (attempt, code) in [
        (
            attempt().with_deadline(SystemClock.monotonic()),
            ErrorCode::DeadlineExceeded,
        ),
        (attempt().with_cancel(cancelled), ErrorCode::Cancelled),
    ] {
        let (upstream, call) = answered(fixture, Reply::json(200, fixture.reply("a")));
        let call = call.with_attempt(attempt);
        for error in call.both_fail("whose time is over")? {
            has_code(
                "a call whose time is over",
                &error,
                std::slice::from_ref(&code),
            )?;
        }
        ensure!(
            upstream.connections_opened() == 0,
            "a call whose time is over opens a connection"
        );
    }
    Ok(())
}

pub(super) fn a_cancelled_stream_ends_immediately(fixture: &dyn ExecutorFixture) -> Verdict {
    let what = "a cancelled stream";
    let ended = |call: Call| {
        let (call, token) = cancellable(call);
        let source = begun(fixture, &call)?;
        token.cancel();
        let error = drain(source)?.failure(what)?;
        has_code(what, &error, &[ErrorCode::Cancelled])
    };
    let (upstream, call) = stalling_stream(fixture);
    ended(call)?;
    is_abandoned(&upstream, what)?;
    // One whose other chunks have come already.
    let (_upstream, call) = answered(fixture, whole_stream(fixture, &["a", "b", "c"]));
    ended(call)
}

pub(super) fn a_stream_ends_at_its_deadline(fixture: &dyn ExecutorFixture) -> Verdict {
    let (upstream, call) = stalling_stream(fixture);
    let what = "a stream at its deadline";
    let error = soon_over(call).stream()?.failure(what)?;
    has_code(what, &error, &[ErrorCode::DeadlineExceeded])?;
    is_abandoned(&upstream, what)
}

pub(super) fn a_dropped_stream_closes_its_connection(fixture: &dyn ExecutorFixture) -> Verdict {
    let (upstream, call) = stalling_stream(fixture);
    drop(begun(fixture, &call)?);
    is_abandoned(&upstream, "a dropped stream")
}

pub(super) fn a_silent_stream_is_given_up(fixture: &dyn ExecutorFixture) -> Verdict {
    let limits = Timeouts::new().with_first_chunk(SHORT).with_idle(SHORT);
    let whole = || whole_stream(fixture, &["a", "b"]);
    let gate = Gate::new();
    let at = size(fixture, &open_events(fixture, &["a"]));
    for (what, reply, code) in [
        (
            "a stream that is silent before its head",
            whole().stall_before_head(&gate),
            ErrorCode::Transport,
        ),
        (
            "a stream that is silent before its first event",
            whole().stall_after(0, &gate),
            ErrorCode::StreamStalled,
        ),
        (
            "a stream that falls silent between two events",
            whole().stall_after(at, &gate),
            ErrorCode::StreamStalled,
        ),
        (
            "a stream that falls silent in an event",
            whole().stall_after(at + 9, &gate),
            ErrorCode::StreamStalled,
        ),
    ] {
        let (upstream, call) = answered(fixture, reply);
        let error = call.with_timeouts(limits).stream()?.failure(what)?;
        has_code(what, &error, &[code])?;
        is_retryable(what, &error, true)?;
        is_abandoned(&upstream, what)?;
    }
    Ok(())
}
