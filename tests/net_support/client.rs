//! Requests as an executor makes them.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use credpool::{
    Attempt, Auth, Body, CancelToken, Error, Options, ProviderExecutor, Request, Response,
    SystemClock, Timeouts,
};

pub const MILLISECOND: Duration = Duration::from_millis(1);
/// How fast a cancel must be. It takes less than a millisecond; the machine may be busy.
pub const AT_ONCE: Duration = Duration::from_secs(1);

pub fn attempt_under(token: &CancelToken) -> Attempt {
    Attempt::for_tests(SystemClock).with_cancel(token.clone())
}

pub fn attempt() -> Attempt {
    attempt_under(&CancelToken::new())
}

pub fn auth() -> Auth {
    Auth::api_key("p", "sk-canary").with_id("team-a")
}

pub fn get(url: &str) -> http::Request<Bytes> {
    http::Request::get(url)
        .header("x-api-key", "sk-canary")
        .body(Bytes::new())
        .unwrap()
}

pub fn fetch(attempt: &Attempt, url: &str) -> Result<Bytes, Error> {
    let limits = attempt.call_limits(&Timeouts::new());
    attempt
        .send(&auth(), get(url), &limits)?
        .into_body()
        .into_bytes(1024)
}

pub fn open(attempt: &Attempt, url: &str, timeouts: &Timeouts) -> Result<Body, Error> {
    let limits = attempt.stream_limits(timeouts);
    Ok(attempt.send(&auth(), get(url), &limits)?.into_body())
}

pub fn read_some(body: &mut Body) -> Result<String, Error> {
    let mut buffer = [0; 1024];
    let count = body.read(&mut buffer).map_err(Body::error_in)?;
    Ok(String::from_utf8_lossy(&buffer[..count]).into_owned())
}

pub fn assert_clean(error: &Error) {
    assert!(
        !format!("{error} {error:?}").contains("canary"),
        "{error:?}"
    );
    assert_eq!(error.auth_id(), Some("team-a"));
}

/// Fetches what the credential's `base_url` names.
pub struct Fetch;

impl ProviderExecutor for Fetch {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        let request = http::Request::get(auth.attributes.get("base_url").unwrap())
            .body(bytes::Bytes::new())
            .unwrap();
        let limits = attempt.call_limits(&Timeouts::new());
        let answer = attempt.send(auth, request, &limits)?;
        Ok(Response::new(answer.into_body().into_bytes(1024)?))
    }
}
