//! Promises about plain calls: replies, errors, lost answers, token counts.

use std::time::Duration;

use super::ExecutorFixture;
use super::call::{Call, answered, failed, has_code, is_retryable, nowhere};
use crate::error::ErrorCode;
use crate::testing::Reply;
use crate::testing::conformance::{Stop, Verdict, same};

/// A text with characters of several bytes, and what JSON escapes.
const TEXT: &str = "Hé \"llo\"\n";

fn whole(fixture: &dyn ExecutorFixture) -> Reply {
    Reply::json(200, fixture.reply(TEXT))
}

pub(super) fn a_whole_reply_is_served(fixture: &dyn ExecutorFixture) -> Verdict {
    for reply in [
        whole(fixture),
        whole(fixture).chunked().in_pieces(1),
        whole(fixture).close_delimited(),
    ] {
        let (upstream, call) = answered(fixture, reply);
        let response = call.plain()??;
        same(
            "the reply's text",
            &response.reply_text.as_deref(),
            &Some(TEXT),
        )?;
        same("the reply's usage", &response.usage, &fixture.usage())?;
        same(
            "how many requests a call makes",
            &upstream.request_count(),
            &1,
        )?;
    }
    Ok(())
}

pub(super) fn a_rate_limit_keeps_its_status_and_wait(fixture: &dyn ExecutorFixture) -> Verdict {
    let reply = Reply::json(429, fixture.error("It says why.")).header("retry-after", "17");
    let (_upstream, call) = answered(fixture, reply);
    for error in call.both_fail("with an answer 429")? {
        same("the status", &error.http_status(), &Some(429))?;
        same(
            "the wait that the server asks for",
            &error.retry_after(),
            &Some(Duration::from_secs(17)),
        )?;
        is_retryable("an answer 429", &error, true)?;
    }
    Ok(())
}

pub(super) fn every_error_keeps_its_status_and_body(fixture: &dyn ExecutorFixture) -> Verdict {
    for (status, retryable) in [
        (400, false),
        (401, false),
        (403, false),
        (404, false),
        (500, true),
        (503, true),
    ] {
        let body = fixture.error("It says why.");
        let (_upstream, call) = answered(fixture, Reply::json(status, body.clone()));
        for error in call.both_fail(&format!("with an answer {status}"))? {
            has_code("an error status", &error, &[ErrorCode::Upstream])?;
            same("the status", &error.http_status(), &Some(status))?;
            same("the body", &error.body(), &Some(&*body))?;
            is_retryable(&format!("an answer {status}"), &error, retryable)?;
        }
    }
    Ok(())
}

pub(super) fn an_error_inside_a_success_is_an_error(fixture: &dyn ExecutorFixture) -> Verdict {
    let body = fixture.error_in_reply("It says why.");
    let body = body.ok_or_else(|| Stop::skipped("the vendor puts no error into a success"))?;
    let (_upstream, call) = answered(fixture, Reply::json(200, body));
    let error = failed("an error inside a success", call.plain()?)?;
    has_code("an error inside a success", &error, &[ErrorCode::Upstream])
}

pub(super) fn an_unreadable_answer_is_an_error(fixture: &dyn ExecutorFixture) -> Verdict {
    for body in ["", " ", "{", "{}", "hello", "<html>", "[1]", "{\"a\":"] {
        let (_upstream, call) = answered(fixture, Reply::json(200, body));
        let what = format!("the answer {body:?}");
        let error = failed(&what, call.plain()?)?;
        let codes = [ErrorCode::Upstream, ErrorCode::Transport];
        has_code(&what, &error, &codes)?;
    }
    Ok(())
}

pub(super) fn a_lost_answer_is_a_transport_error(fixture: &dyn ExecutorFixture) -> Verdict {
    let whole = || whole(fixture);
    for (what, reply) in [
        ("a reset before the head", whole().reset()),
        ("a reset in the body", whole().reset_after(9)),
        ("a body short of its length", whole().cut_after(9)),
        (
            "a body without its last chunk",
            whole().chunked().cut_after(9),
        ),
        (
            "a body whose JSON is cut",
            whole().close_delimited().cut_after(9),
        ),
    ] {
        let (_upstream, call) = answered(fixture, reply);
        let error = failed(what, call.plain()?)?;
        has_code(what, &error, &[ErrorCode::Transport])?;
        is_retryable(what, &error, true)?;
    }
    Ok(())
}

pub(super) fn a_refused_connection_is_a_transport_error(fixture: &dyn ExecutorFixture) -> Verdict {
    for error in Call::of(fixture, &nowhere()).both_fail("of a server that is gone")? {
        has_code("a refused connection", &error, &[ErrorCode::Transport])?;
        is_retryable("a refused connection", &error, true)?;
    }
    Ok(())
}

pub(super) fn tokens_are_counted_or_said_not_to_be(fixture: &dyn ExecutorFixture) -> Verdict {
    let Some(body) = fixture.count(42) else {
        let (upstream, call) = answered(fixture, whole(fixture));
        let error = failed("a token count that the vendor has not", call.count()?)?;
        has_code("a token count", &error, &[ErrorCode::Unsupported])?;
        return same("how many requests it makes", &upstream.request_count(), &0);
    };
    let (_upstream, call) = answered(fixture, Reply::json(200, body));
    let usage = call.count()??.usage;
    let counted = usage.map(|usage| usage.input);
    same("the tokens that were counted", &counted, &Some(42))?;
    let (_upstream, call) = answered(fixture, Reply::json(200, "{}"));
    failed("a count without a number", call.count()?).map(drop)
}
