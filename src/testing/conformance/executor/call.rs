//! A call of the executor that a check makes, and what comes of it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use serde_json::Value;

use super::{Event, ExecutorFixture};
use crate::auth::Auth;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource, ProviderExecutor};
use crate::panic::guard;
use crate::request::{Options, Request, Response, StreamChunk, Timeouts};
use crate::runtime::spawn;
use crate::testing::conformance::{Stop, Verdict};
use crate::testing::{Reply, Upstream};

/// The key that may be seen in nothing but a request's headers.
pub(super) const KEY: &str = "sk-canary-key-1234567890";
/// What no error may hold.
const CANARY: &str = "canary";

/// How long a call may take that is to end by a limit of its own.
pub(super) const SHORT: Duration = Duration::from_millis(300);
/// How long a call may take at most.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// A call of the executor.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) executor: Arc<dyn ProviderExecutor>,
    pub(super) attempt: Attempt,
    pub(super) auth: Auth,
    pub(super) request: Request,
    pub(super) options: Options,
}

/// What a stream has brought, and the error that ended it.
pub(super) struct Streamed {
    pub(super) chunks: Vec<StreamChunk>,
    pub(super) error: Option<Error>,
}

impl Call {
    /// An ordinary call of the API at this address.
    pub(super) fn of(fixture: &dyn ExecutorFixture, base_url: &str) -> Self {
        Self {
            executor: fixture.executor(),
            attempt: Attempt::for_tests(SystemClock),
            auth: fixture.credential(base_url, KEY).with_id("team-a"),
            request: fixture.request(),
            options: fixture.options(),
        }
    }

    pub(super) fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.options.timeouts = timeouts;
        self
    }

    pub(super) fn with_attempt(mut self, attempt: Attempt) -> Self {
        self.attempt = attempt;
        self
    }

    pub(super) fn plain(&self) -> Result<Result<Response, Error>, Stop> {
        let call = self.clone();
        let result = within("a plain call", move || {
            call.executor
                .execute(&call.attempt, &call.auth, &call.request, &call.options)
        })?;
        checked(result)
    }

    pub(super) fn count(&self) -> Result<Result<Response, Error>, Stop> {
        let call = self.clone();
        let result = within("a token count", move || {
            call.executor
                .count_tokens(&call.attempt, &call.auth, &call.request, &call.options)
        })?;
        checked(result)
    }

    pub(super) fn open(&self) -> Result<Result<ChunkSource, Error>, Stop> {
        let call = self.clone();
        let result = within("opening a stream", move || {
            call.executor
                .execute_stream(&call.attempt, &call.auth, &call.request, &call.options)
        })?;
        checked(result)
    }

    /// Reads a stream to its end.
    pub(super) fn stream(&self) -> Result<Streamed, Stop> {
        match self.open()? {
            Ok(source) => drain(source),
            Err(error) => Ok(Streamed {
                chunks: Vec::new(),
                error: Some(error),
            }),
        }
    }

    /// The errors of a plain call and of a stream that both must fail.
    pub(super) fn both_fail(&self, when: &str) -> Result<[Error; 2], Stop> {
        Ok([
            failed(&format!("a plain call {when}"), self.plain()?)?,
            self.stream()?.failure(&format!("a stream {when}"))?,
        ])
    }
}

impl Streamed {
    /// The text that has come.
    pub(super) fn text(&self) -> String {
        let texts = self.chunks.iter().map(|chunk| chunk.text.as_deref());
        texts.flatten().collect()
    }

    /// The error, which must be there.
    pub(super) fn failure(self, what: &str) -> Result<Error, Stop> {
        let error = self.error;
        error.ok_or_else(|| Stop::Broken(format!("{what} counts as whole")))
    }

    /// That there is no error.
    pub(super) fn success(&self, what: &str) -> Verdict {
        match &self.error {
            Some(error) => Err(Stop::Broken(format!("{what} fails: {error}"))),
            None => Ok(()),
        }
    }
}

/// Reads what is left of a stream.
pub(super) fn drain(source: ChunkSource) -> Result<Streamed, Stop> {
    let (streamed, follows) = within("reading a stream", move || {
        let mut source = source;
        let mut chunks = Vec::new();
        let mut error = None;
        for item in &mut source {
            match item {
                Ok(chunk) => chunks.push(chunk),
                Err(found) => {
                    error = Some(found);
                    break;
                }
            }
        }
        (Streamed { chunks, error }, source.next().is_some())
    })?;
    ensure!(!follows, "something follows the end of a stream");
    if let Some(error) = &streamed.error {
        shows_no_secret(error)?;
    }
    Ok(streamed)
}

/// The next chunk of a stream that goes on.
pub(super) fn next(source: ChunkSource) -> Result<(ChunkSource, Option<StreamChunk>), Stop> {
    let (source, item) = within("the next chunk", move || {
        let mut source = source;
        let item = source.next();
        (source, item)
    })?;
    Ok((source, item.transpose()?))
}

/// A server that gives this answer, and a call of it.
pub(super) fn answered(fixture: &dyn ExecutorFixture, reply: Reply) -> (Upstream, Call) {
    let upstream = Upstream::start(move |_| reply.clone());
    let call = Call::of(fixture, &upstream.url());
    (upstream, call)
}

/// The stream of an answer.
pub(super) fn streamed(fixture: &dyn ExecutorFixture, reply: Reply) -> Result<Streamed, Stop> {
    let (_upstream, call) = answered(fixture, reply);
    call.stream()
}

/// The address of a server that is gone.
pub(super) fn nowhere() -> String {
    Upstream::start(|_| Reply::new(200)).url()
}

/// The events of a stream that brings these pieces, up to where it is whole.
pub(super) fn deciding_events(fixture: &dyn ExecutorFixture, pieces: &[&str]) -> Vec<Event> {
    let mut events = open_events(fixture, pieces);
    events.extend(fixture.stream_end().into_iter().take(fixture.whole_after()));
    events
}

/// The events of a stream that brings these pieces, without those of the end.
pub(super) fn open_events(fixture: &dyn ExecutorFixture, pieces: &[&str]) -> Vec<Event> {
    let mut events = fixture.stream_start();
    events.extend(pieces.iter().map(|piece| fixture.stream_piece(piece)));
    events
}

/// A whole stream that brings these pieces.
pub(super) fn whole_stream(fixture: &dyn ExecutorFixture, pieces: &[&str]) -> Reply {
    let mut events = open_events(fixture, pieces);
    events.extend(fixture.stream_end());
    fixture.stream_of(events)
}

/// How many bytes of a body these events are.
pub(super) fn size(fixture: &dyn ExecutorFixture, events: &[Event]) -> usize {
    fixture.stream_of(events.to_vec()).size()
}

/// The error of what must fail.
pub(super) fn failed<T>(what: &str, result: Result<T, Error>) -> Result<Error, Stop> {
    match result {
        Ok(_) => Err(Stop::Broken(format!("{what} is served"))),
        Err(error) => Ok(error),
    }
}

/// That an error has one of these codes.
pub(super) fn has_code(what: &str, error: &Error, codes: &[ErrorCode]) -> Verdict {
    let names: Vec<_> = codes.iter().map(ErrorCode::as_str).collect();
    ensure!(
        codes.contains(error.code()),
        "{what} should be {}, and is {error}",
        names.join(" or ")
    );
    Ok(())
}

/// That an error may be tried again, or not.
pub(super) fn is_retryable(what: &str, error: &Error, retryable: bool) -> Verdict {
    let not = if retryable { "not " } else { "" };
    ensure!(
        error.is_retryable() == retryable,
        "{what} counts as {not}retryable: {error}"
    );
    Ok(())
}

fn checked<T>(result: Result<T, Error>) -> Result<Result<T, Error>, Stop> {
    if let Err(error) = &result {
        shows_no_secret(error)?;
    }
    Ok(result)
}

/// That no form of an error holds the key: neither its text nor its body, however that is spelt, nor what lies below it.
pub(super) fn shows_no_secret(error: &Error) -> Verdict {
    let mut forms = vec![error.to_string(), format!("{error:?}")];
    if let Some(body) = error.body() {
        forms.push(body.to_owned());
        if let Ok(json) = serde_json::from_str::<Value>(body) {
            forms.push(json.to_string());
        }
    }
    let mut source = error.source();
    while let Some(below) = source {
        forms.push(format!("{below} {below:?}"));
        source = below.source();
    }
    ensure!(
        !forms.iter().any(|form| form.contains(CANARY)),
        "an error with code {} shows the credential's key",
        error.code()
    );
    Ok(())
}

/// What `work` comes to, on a thread of its own: a call that never returns is left behind.
pub(super) fn within<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Stop> {
    let (done, is_done) = bounded(1);
    spawn("conformance-call".to_owned(), move || {
        let _ = done.send(guard(|| "the executor".to_owned(), work));
    })
    .map_err(|error| Stop::Broken(format!("no thread could be started: {error}")))?;
    match is_done.recv_timeout(LONG) {
        Ok(result) => Ok(result?),
        Err(_) => Err(Stop::Broken(format!(
            "{what} has not ended within {} s",
            LONG.as_secs()
        ))),
    }
}
