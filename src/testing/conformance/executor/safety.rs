//! Promises about credentials: shown to their own API alone, and never in an error.

use super::ExecutorFixture;
use super::call::{Call, KEY, answered, has_code, shows_no_secret, streamed, whole_stream};
use crate::error::ErrorCode;
use crate::request::Format;
use crate::testing::conformance::{Stop, Verdict, same};
use crate::testing::{Reply, Upstream};

pub(super) fn an_upstream_that_echoes_secrets_does_not_make_errors_tell_them(
    fixture: &dyn ExecutorFixture,
) -> Verdict {
    // JSON can spell a key with escapes, which printing it anew undoes.
    let escaped = KEY.replacen('c', "\\u0063", 1);
    let error = fixture.error(KEY);
    let echoes = [
        KEY.to_owned(),
        format!("{{\"error\":{{\"message\":\"{KEY}\",\"code\":\"{KEY}\",\"type\":\"{KEY}\"}}}}"),
        format!("{{\"error\":\"{escaped}\",\"message\":\"{escaped}\"}}"),
        error.replace(KEY, &escaped),
        error,
    ];
    // Each error that comes of a call is looked through.
    for echo in echoes {
        for status in [200, 400, 401, 429, 500] {
            let (_upstream, call) = answered(fixture, Reply::json(status, echo.clone()));
            call.both_fail("that is answered with its own key")?;
            let _ = call.count()?;
        }
        let events = fixture.stream_of(vec![("", echo.clone()), ("error", echo)]);
        let error = streamed(fixture, events)?;
        error.failure("a stream that is answered with the call's own key")?;
    }
    if let Some(event) = fixture.error_in_stream(KEY) {
        let error = streamed(fixture, fixture.stream_of(vec![event]))?;
        error.failure("a stream that fails with the call's own key")?;
    }
    Ok(())
}

pub(super) fn a_key_is_in_no_url(fixture: &dyn ExecutorFixture) -> Verdict {
    let reply = Reply::json(200, fixture.reply("a"));
    let (upstream, call) = answered(fixture, reply);
    call.plain()??;
    let _ = call.count()?;
    let (streaming, call) = answered(fixture, whole_stream(fixture, &["a"]));
    call.stream()?.success("a whole stream")?;
    let requests = [upstream.requests(), streaming.requests()].concat();
    let shows_key = |text: &str| text.contains("canary");
    ensure!(
        !requests
            .iter()
            .any(|request| shows_key(&request.path) || shows_key(&request.query)),
        "the key is in the URL, which servers write into their logs"
    );
    Ok(())
}

pub(super) fn an_unfit_key_is_refused_before_anything_is_sent(
    fixture: &dyn ExecutorFixture,
) -> Verdict {
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    for key in ["canary\r\nx: y", "canary\n", "canary\0", "canary\u{80}"] {
        let mut call = Call::of(fixture, &upstream.url());
        call.auth = fixture.credential(&upstream.url(), key).with_id("team-a");
        for error in call.both_fail("with a key that is no header")? {
            has_code("a key that is no header", &error, &[ErrorCode::Config])?;
        }
    }
    same(
        "how many connections unfit keys open",
        &upstream.connections_opened(),
        &0,
    )
}

pub(super) fn a_redirect_goes_nowhere(fixture: &dyn ExecutorFixture) -> Verdict {
    let other = Upstream::start(|_| Reply::json(200, "{}"));
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/elsewhere", other.url());
        let reply = Reply::new(status).header("location", &location);
        let (_upstream, call) = answered(fixture, reply);
        for error in call.both_fail("that is redirected")? {
            same("the status", &error.http_status(), &Some(status))?;
        }
    }
    same(
        "how many connections redirects open to another server",
        &other.connections_opened(),
        &0,
    )
}

pub(super) fn a_key_goes_to_no_other_machine_in_the_clear(
    fixture: &dyn ExecutorFixture,
) -> Verdict {
    // A name that no machine has: what tries to send fails with another code.
    let call = Call::of(fixture, "http://upstream.invalid:9");
    for error in call.both_fail("over plain HTTP to another machine")? {
        has_code(
            "plain HTTP to another machine",
            &error,
            &[ErrorCode::Config],
        )?;
    }
    Ok(())
}

pub(super) fn another_request_gets_the_credential(fixture: &dyn ExecutorFixture) -> Verdict {
    let executor = fixture.executor();
    let preparer = executor
        .request_preparer()
        .ok_or_else(|| Stop::skipped("the executor prepares no user-supplied requests"))?;
    let head = || {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.uri = http::Uri::from_static("https://api.example/v1/files");
        head.headers
            .insert("x", http::HeaderValue::from_static("y"));
        head
    };
    let mut prepared = head();
    let auth = fixture.credential("https://api.example", KEY);
    match preparer.prepare_request(&mut prepared, &auth) {
        Err(error) if *error.code() == ErrorCode::Unsupported => {
            return Err(Stop::skipped("the credential signs whole requests"));
        }
        done => done?,
    }
    ensure!(
        prepared.headers.len() > 1 && prepared.headers["x"] == "y",
        "the request lacks the credential, or what it had before"
    );
    ensure!(
        !format!("{prepared:?}").contains("canary"),
        "the request's debug output shows the key: mark its header sensitive"
    );
    let unfit = fixture.credential("https://api.example", "canary\r\n");
    match preparer.prepare_request(&mut head(), &unfit) {
        Ok(()) => Err(Stop::Broken(
            "an unfit key is put into a request".to_owned(),
        )),
        Err(error) => shows_no_secret(&error),
    }
}

pub(super) fn its_own_format_is_spoken(fixture: &dyn ExecutorFixture) -> Verdict {
    let executor = fixture.executor();
    let name = executor.identifier().to_owned();
    ensure!(
        !name.is_empty() && executor.speaks(&Format::new(name)),
        "the executor does not speak the format that has its name"
    );
    ensure!(
        !executor.speaks(&Format::new("a-format-of-no-provider")),
        "the executor speaks a format that is none"
    );
    Ok(())
}
