//! Promises about raw calls, for executors that make them.

use std::io::{self, Read};

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::ExecutorFixture;
use super::call::{
    Call, KEY, LONG, SHORT, answered, failed, has_code, is_retryable, shows_no_secret, within,
};
use crate::cancel::CancelToken;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, Body, RawAnswer, ReadAnswer};
use crate::request::{RawRequest, RequestBody};
use crate::testing::conformance::threads::Threads;
use crate::testing::conformance::{Stop, Verdict, same};
use crate::testing::{Gate, Reply, Upstream};

/// Bytes that are no text.
const BINARY: &[u8] = b"\0\xff\r\n\r\n\x80{";
/// The key of a program's client, which the program alone may see.
const OF_THE_CLIENT: &str = "key-of-the-client";

type Reader = Box<dyn ReadAnswer>;

fn get() -> RawRequest {
    request(Method::GET, "/v1/things/7", RequestBody::empty())
}

fn request(method: Method, path: &'static str, body: RequestBody) -> RawRequest {
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = http::Uri::from_static(path);
    request.into()
}

/// The answer to a raw call. The check is skipped for an executor that makes none.
fn ask(call: &Call, request: RawRequest) -> Result<Result<RawAnswer, Error>, Stop> {
    let call = call.clone();
    let result = within("a raw call", move || {
        call.executor
            .execute_raw(&call.attempt, &call.auth, &request, &call.options)
    })?;
    match &result {
        Err(error) if *error.code() == ErrorCode::Unsupported => {
            return Err(Stop::skipped("the executor makes no raw calls"));
        }
        Err(error) => shows_no_secret(error)?,
        Ok(answer) => {
            let shown = format!("{:?}", answer.head);
            ensure!(
                !shown.contains("canary"),
                "a head shows the credential's key"
            );
        }
    }
    Ok(result)
}

/// The error of a raw call that must fail.
fn refused(what: &str, call: &Call, request: RawRequest) -> Result<Error, Stop> {
    failed(what, ask(call, request)?)
}

/// All that is left of a body, and the error that ended it.
fn drain(mut body: Reader) -> Result<(Vec<u8>, Option<Error>, Reader), Stop> {
    let (bytes, error, body) = within("reading a raw answer", move || {
        let mut bytes = Vec::new();
        let error = body.read_to_end(&mut bytes).err().map(Body::error_in);
        (bytes, error, body)
    })?;
    if let Some(error) = &error {
        shows_no_secret(error)?;
    }
    Ok((bytes, error, body))
}

/// The first so many bytes of a body.
fn first(mut body: Reader, count: usize) -> Result<(Vec<u8>, Reader), Stop> {
    within("the beginning of a raw answer", move || {
        let mut bytes = vec![0; count];
        match body.read_exact(&mut bytes) {
            Ok(()) => Ok((bytes, body)),
            Err(error) => Err(Stop::from(Body::error_in(error))),
        }
    })?
}

pub(super) fn raw_calls_are_made_or_said_not_to_be(fixture: &dyn ExecutorFixture) -> Verdict {
    let (upstream, call) = answered(fixture, Reply::json(200, "{}"));
    let requests = match ask(&call, get()) {
        Err(Stop::Skipped(_)) => 0,
        made => made?.map(|_| 1)?,
    };
    same(
        "how many requests it makes",
        &upstream.request_count(),
        &requests,
    )
}

pub(super) fn a_raw_request_goes_out_as_it_is_with_the_credential(
    fixture: &dyn ExecutorFixture,
) -> Verdict {
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        let (upstream, call) = answered(fixture, Reply::new(200));
        let method = Method::from_bytes(method.as_bytes()).unwrap_or_default();
        let has_body = ![Method::GET, Method::HEAD].contains(&method);
        let body = if has_body {
            Bytes::from_static(BINARY)
        } else {
            Bytes::new()
        };
        let mut asked = request(
            method.clone(),
            "/v1/things/a%20b?z=1&a=%2F&a=2",
            body.clone().into(),
        );
        let headers = &mut asked.head.headers;
        for value in ["1", "2"] {
            headers.append("x-twice", HeaderValue::from_static(value));
        }
        headers.insert(
            "content-type",
            HeaderValue::from_static("application/x-things"),
        );
        for name in [
            "authorization",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "cookie",
            "proxy-authorization",
        ] {
            headers.insert(name, HeaderValue::from_static(OF_THE_CLIENT));
        }
        ask(&call, asked)??;
        let requests = upstream.requests();
        same("how many requests a raw call makes", &requests.len(), &1)?;
        let sent = &requests[0];
        same("the method", &&*sent.method, &method.as_str())?;
        ensure!(
            sent.path.ends_with("/v1/things/a%20b"),
            "the path is {}",
            sent.path
        );
        same("the query", &&*sent.query, &"z=1&a=%2F&a=2")?;
        same("the body", &sent.body, &body)?;
        same(
            "the media type",
            &sent.header("content-type"),
            &Some("application/x-things"),
        )?;
        let twice = sent.headers.get_all("x-twice").iter();
        let twice: Vec<_> = twice.map(HeaderValue::as_bytes).collect();
        same(
            "a header that is there twice",
            &twice,
            &vec![&b"1"[..], b"2"],
        )?;
        let values = sent.headers.values().map(HeaderValue::as_bytes);
        let values = values.collect::<Vec<_>>().join(&b' ');
        let shown = String::from_utf8_lossy(&values);
        ensure!(
            !shown.contains(OF_THE_CLIENT),
            "the client's own key is passed on"
        );
        ensure!(
            shown.contains("canary"),
            "the credential's key is not shown"
        );
    }
    Ok(())
}

pub(super) fn a_raw_answer_comes_as_it_is(fixture: &dyn ExecutorFixture) -> Verdict {
    for status in [200, 201, 202, 206] {
        let whole = || Reply::new(status).header("x-things", "7").body(BINARY);
        for reply in [
            whole(),
            whole().chunked().in_pieces(1),
            whole().close_delimited(),
        ] {
            let (_upstream, call) = answered(fixture, reply);
            let answer = ask(&call, get())??;
            same("the status", &answer.head.status.as_u16(), &status)?;
            let header = answer.head.headers.get("x-things");
            same("a header", &header, &Some(&HeaderValue::from_static("7")))?;
            let (bytes, error, _) = drain(answer.body)?;
            same("the body", &&*bytes, &BINARY)?;
            same("the error at its end", &error, &None)?;
        }
    }
    for status in [204, 304] {
        let (_upstream, call) = answered(fixture, Reply::new(status));
        let answer = ask(&call, get())??;
        same("the status", &answer.head.status.as_u16(), &status)?;
        same("the body", &drain(answer.body)?.0, &Vec::new())?;
    }
    Ok(())
}

pub(super) fn the_usage_of_a_raw_answer_is_what_it_says(fixture: &dyn ExecutorFixture) -> Verdict {
    let (_upstream, call) = answered(fixture, Reply::json(200, fixture.reply("a")));
    let (_, _, body) = drain(ask(&call, get())??.body)?;
    let Some(usage) = body.usage() else {
        return Err(Stop::skipped(
            "the executor reads no usage from raw answers",
        ));
    };
    same("the usage", &Some(usage), &fixture.usage())
}

pub(super) fn a_raw_answer_is_read_while_it_comes(fixture: &dyn ExecutorFixture) -> Verdict {
    let gate = Gate::new();
    let reply = Reply::new(200)
        .body("abcdef")
        .chunked()
        .in_pieces(3)
        .drip(&gate);
    let (upstream, call) = answered(fixture, reply);
    gate.step();
    let (bytes, body) = first(ask(&call, get())??.body, 3)?;
    same(
        "the first piece, before the second is sent",
        &&*bytes,
        &&b"abc"[..],
    )?;
    drop(body);
    ensure!(
        upstream.wait_abandoned(LONG),
        "a dropped answer leaves its connection open"
    );
    Ok(())
}

pub(super) fn a_raw_error_keeps_its_status_body_and_wait(fixture: &dyn ExecutorFixture) -> Verdict {
    for (status, retryable) in [
        (400, false),
        (404, false),
        (429, true),
        (500, true),
        (503, true),
    ] {
        let body = fixture.error("It says why.");
        let reply = Reply::json(status, body.clone()).header("retry-after", "17");
        let (_upstream, call) = answered(fixture, reply);
        let what = format!("a raw call with an answer {status}");
        let error = refused(&what, &call, get())?;
        has_code(&what, &error, &[ErrorCode::Upstream])?;
        same("the status", &error.http_status(), &Some(status))?;
        same("the body", &error.body(), &Some(&*body))?;
        same(
            "the wait",
            &error.retry_after().map(|wait| wait.as_secs()),
            &Some(17),
        )?;
        is_retryable(&what, &error, retryable)?;
    }
    Ok(())
}

pub(super) fn a_raw_answer_that_is_cut_is_an_error(fixture: &dyn ExecutorFixture) -> Verdict {
    let whole = || Reply::new(200).body("abcdef");
    for (what, reply) in [
        ("a raw body short of its length", whole().cut_after(3)),
        (
            "a raw body without its last chunk",
            whole().chunked().cut_after(3),
        ),
        ("a reset in a raw body", whole().chunked().reset_after(3)),
    ] {
        let (_upstream, call) = answered(fixture, reply);
        let (_, error, _) = drain(ask(&call, get())??.body)?;
        let error = error.ok_or_else(|| Stop::Broken(format!("{what} counts as whole")))?;
        let codes = [
            ErrorCode::Transport,
            ErrorCode::StreamTruncated,
            ErrorCode::StreamInterrupted,
        ];
        has_code(what, &error, &codes)?;
    }
    let (_upstream, call) = answered(fixture, whole().reset());
    let what = "a raw call whose answer is lost";
    has_code(what, &refused(what, &call, get())?, &[ErrorCode::Transport])
}

pub(super) fn a_raw_call_ends_when_it_is_cancelled_and_at_its_deadline(
    fixture: &dyn ExecutorFixture,
) -> Verdict {
    for (code, in_body) in [
        (ErrorCode::Cancelled, false),
        (ErrorCode::Cancelled, true),
        (ErrorCode::DeadlineExceeded, false),
        (ErrorCode::DeadlineExceeded, true),
    ] {
        let gate = Gate::new();
        let whole = Reply::new(200).body("abcdef");
        let reply = if in_body {
            whole.stall_after(3, &gate)
        } else {
            whole.stall_before_head(&gate)
        };
        let (upstream, call) = answered(fixture, reply);
        let token = CancelToken::new();
        let attempt = Attempt::for_tests(SystemClock).with_cancel(token.clone());
        let attempt = if code == ErrorCode::Cancelled {
            attempt
        } else {
            attempt.with_deadline(SystemClock.monotonic() + SHORT)
        };
        let call = call.with_attempt(attempt);
        let canceller = Threads::start(1, {
            let cancels = code == ErrorCode::Cancelled;
            move |_| {
                ensure!(gate.wait_reached(LONG), "a raw call sends no request");
                if cancels {
                    token.cancel();
                }
                Ok(())
            }
        })?;
        let what = format!("a raw call that ends as {code}");
        let error = match ask(&call, get())? {
            Ok(answer) => drain(answer.body)?.1,
            Err(error) => Some(error),
        };
        canceller.join()?;
        let error = error.ok_or_else(|| Stop::Broken(format!("{what} is served")))?;
        has_code(&what, &error, &[code])?;
        ensure!(
            upstream.wait_abandoned(LONG),
            "{what} leaves its connection open"
        );
    }
    Ok(())
}

pub(super) fn an_upload_is_read_once_for_each_attempt(fixture: &dyn ExecutorFixture) -> Verdict {
    let upload = |body| request(Method::POST, "/v1/things", body);
    let content = || io::Cursor::new(BINARY);
    for (body, attempts) in [
        (RequestBody::once(content()), 1),
        (
            RequestBody::once(content()).with_length(BINARY.len() as u64),
            1,
        ),
        (RequestBody::reopened(move || Ok(content())), 2),
    ] {
        let (upstream, call) = answered(fixture, Reply::new(200));
        for _ in 0..attempts {
            ask(&call, upload(body.clone()))??;
        }
        ensure!(
            body.is_spent() == (attempts == 1),
            "a body counts as spent that is not, or the other way round"
        );
        let requests = upstream.requests();
        same("how many uploads arrive", &requests.len(), &attempts)?;
        ensure!(
            requests.iter().all(|sent| sent.body == BINARY),
            "an upload arrives changed"
        );
    }
    let broken = RequestBody::reopened(|| Err::<io::Empty, _>(io::Error::other("it is gone")));
    let (_upstream, call) = answered(fixture, Reply::new(200));
    let what = "an upload that cannot be read";
    has_code(
        what,
        &refused(what, &call, upload(broken))?,
        &[ErrorCode::Config],
    )
}

pub(super) fn a_raw_call_shows_its_key_to_nobody_else(fixture: &dyn ExecutorFixture) -> Verdict {
    let other = Upstream::start(|_| Reply::json(200, "{}"));
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}/elsewhere", other.url());
        let reply = Reply::new(status).header("location", &location).body(KEY);
        let (_upstream, call) = answered(fixture, reply);
        let error = refused("a raw call that is redirected", &call, get())?;
        same("the status", &error.http_status(), &Some(status))?;
    }
    let mut elsewhere = get();
    let uri = format!("{}/v1/things", other.url()).parse::<http::Uri>();
    elsewhere.head.uri = uri.map_err(|_| Stop::Broken("no address".to_owned()))?;
    let (upstream, call) = answered(fixture, Reply::new(200).header("x-echo", KEY));
    ask(&call, elsewhere)??;
    same(
        "how many requests go to the credential's own address",
        &upstream.request_count(),
        &1,
    )?;
    same(
        "how many connections go to another server",
        &other.connections_opened(),
        &0,
    )?;
    for path in ["/v1/../../admin", "/v1/%2e%2E/admin"] {
        let what = "a raw path that leaves the API's address";
        let leaving = request(Method::GET, path, RequestBody::empty());
        has_code(what, &refused(what, &call, leaving)?, &[ErrorCode::Config])?;
    }
    let call = Call::of(fixture, "http://upstream.invalid:9");
    let what = "a raw call over plain HTTP to another machine";
    has_code(what, &refused(what, &call, get())?, &[ErrorCode::Config])
}
