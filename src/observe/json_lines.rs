//! [`JsonLines`]: a hook that writes what happens, a JSON object on each line.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::ReentrantMutex;
use serde::Serialize;

use super::{Hook, Outcome, OutcomeKind, RefreshEvent};
use crate::auth::Auth;
use crate::clock::{Clock, SystemClock, Timestamp, serial};
use crate::error::Error;
use crate::failure_kind::FailureKind;
use crate::limits::LimitWindow;
use crate::panic::guard;
use crate::request::Usage;

/// A [`Hook`] that writes each result and each event to a writer: a JSON object on each line, without secrets, conversations and replies. The
/// members are those in [the guide](crate::guide::observing#a-log-of-outcomes); `examples/simulate` replays such a file.
///
/// A line is written whole, on the thread where the event happened, after all locks of the manager are released. Other threads that have a
/// line to write wait for it, so a writer should be quick: a file, a [`BufWriter`](std::io::BufWriter), or a channel to a thread that
/// writes. A line that cannot be written is dropped and counted ([`failed`](Self::failed)); the first one is logged. So is a line that a
/// writer causes while it writes another one.
///
/// ```
/// use std::sync::Arc;
///
/// use credpool::{Auth, JsonLines, Manager};
///
/// let log = Arc::new(JsonLines::new(Vec::new()));
/// let manager = Manager::builder().hook(Arc::clone(&log)).build()?;
/// manager.register(Auth::api_key("openai", "sk-1").with_id("team-a"))?;
/// log.with_writer(|lines| {
///     let line: serde_json::Value = serde_json::from_slice(lines).unwrap();
///     assert_eq!((&line["v"], &line["kind"]), (&1.into(), &"registered".into()));
///     assert_eq!(line["auth_id"], "team-a");
/// });
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "audit log")]
#[doc(alias = "jsonl")]
#[doc(alias = "ndjson")]
pub struct JsonLines<W> {
    /// A writer may call the manager, and so this hook, in its turn.
    output: ReentrantMutex<RefCell<Output<W>>>,
    clock: Arc<dyn Clock>,
    failed: AtomicU64,
}

struct Output<W> {
    writer: W,
    /// A line was written in part.
    is_torn: bool,
}

/// The form of the lines. It changes with members that change their meaning, not with new ones.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Line<E> {
    v: u32,
    #[serde(serialize_with = "serial::time")]
    at: Timestamp,
    #[serde(flatten)]
    event: E,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Event<'a> {
    Registered(Credential<'a>),
    Updated(Credential<'a>),
    Removed(Credential<'a>),
    Result(Box<Ended<'a>>),
    Refresh(Refresh<'a>),
}

#[derive(Serialize)]
struct Credential<'a> {
    auth_id: &'a str,
    provider: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    label: &'a str,
    status: &'a str,
    disabled: bool,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serial::optional_time"
    )]
    expires_at: Option<Timestamp>,
}

#[derive(Serialize)]
struct Ended<'a> {
    auth_id: &'a str,
    provider: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked_for: Option<&'a str>,
    operation: &'a str,
    call_id: u64,
    attempt: u32,
    result: &'a str,
    #[serde(flatten)]
    failure: Option<Failure<'a>>,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serial::optional_seconds"
    )]
    first_byte: Option<Duration>,
    #[serde(serialize_with = "serial::seconds")]
    elapsed: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counted: Option<u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    limits: &'a [LimitWindow],
}

#[derive(Serialize)]
struct Failure<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FailureKind>,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    error: &'a str,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "serial::optional_seconds"
    )]
    retry_after: Option<Duration>,
}

#[derive(Serialize)]
struct Refresh<'a> {
    auth_id: &'a str,
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_lost: Option<bool>,
}

impl<W: Write + Send> JsonLines<W> {
    /// Writes to a writer; the times of events that have none of their own are the machine's.
    pub fn new(writer: W) -> Self {
        Self {
            output: ReentrantMutex::new(RefCell::new(Output {
                writer,
                is_torn: false,
            })),
            clock: Arc::new(SystemClock),
            failed: AtomicU64::new(0),
        }
    }

    /// Takes the time from another clock: the manager's, where that is not the machine's.
    ///
    /// ```
    /// use credpool::{Clock, JsonLines, ManualClock, SystemClock};
    ///
    /// let clock = ManualClock::at(SystemClock.now());
    /// let log = JsonLines::new(std::io::sink()).with_clock(clock.clone());
    /// ```
    pub fn with_clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How many lines could not be written.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Does something with the writer while no line is written: flushes it, for example, or reads what it holds. `None`: this is called by
    /// the writer itself.
    ///
    /// ```
    /// use std::io::{BufWriter, Write};
    ///
    /// use credpool::JsonLines;
    ///
    /// let log = JsonLines::new(BufWriter::new(Vec::new()));
    /// assert!(log.with_writer(|writer| writer.flush()).is_some_and(|flushed| flushed.is_ok()));
    /// ```
    pub fn with_writer<T>(&self, work: impl FnOnce(&mut W) -> T) -> Option<T> {
        let output = self.output.lock();
        let mut output = output.try_borrow_mut().ok()?;
        Some(work(&mut output.writer))
    }

    fn write(&self, at: Option<Timestamp>, event: Event<'_>) {
        let at = at.unwrap_or_else(|| self.clock.now());
        let line = Line {
            v: VERSION,
            at,
            event,
        };
        let written = serde_json::to_vec(&line)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                self.put(&line)
            });
        if let Err(error) = written
            && self.failed.fetch_add(1, Ordering::Relaxed) == 0
        {
            log::warn!(
                "a line about what happens could not be written: {error}; further ones are counted alone"
            );
        }
    }

    fn put(&self, line: &[u8]) -> io::Result<()> {
        let output = self.output.lock();
        let Ok(mut output) = output.try_borrow_mut() else {
            return Err(io::Error::other(
                "the writer caused it by writing another one",
            ));
        };
        let Output { writer, is_torn } = &mut *output;
        let begins_anew = std::mem::replace(is_torn, true);
        let what = || "the writer of a log of outcomes".to_owned();
        guard(what, || {
            if begins_anew {
                writer.write_all(b"\n")?;
            }
            writer.write_all(line)
        })
        .map_err(io::Error::other)
        .flatten()?;
        *is_torn = false;
        Ok(())
    }
}

impl<W: Write + Send> Hook for JsonLines<W> {
    fn on_auth_registered(&self, auth: &Auth) {
        self.write(None, Event::Registered(Credential::of(auth)));
    }

    fn on_auth_updated(&self, auth: &Auth) {
        self.write(None, Event::Updated(Credential::of(auth)));
    }

    fn on_auth_removed(&self, auth: &Auth) {
        self.write(None, Event::Removed(Credential::of(auth)));
    }

    fn on_result(&self, outcome: &Outcome<'_>) {
        self.write(outcome.at, Event::Result(Box::new(Ended::of(outcome))));
    }

    fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
        self.write(None, Event::Refresh(Refresh::of(event)));
    }
}

impl<'a> Credential<'a> {
    fn of(auth: &'a Auth) -> Self {
        Self {
            auth_id: &auth.id,
            provider: &auth.provider,
            label: &auth.label,
            status: auth.status.as_str(),
            disabled: auth.disabled,
            expires_at: auth.expiration_time().at(),
        }
    }
}

impl<'a> Ended<'a> {
    fn of(outcome: &'a Outcome<'a>) -> Self {
        let failure = |cause: &'a Error| Failure {
            fault: outcome.fault,
            code: cause.code().as_str(),
            status: cause.http_status(),
            error: cause.message(),
            retry_after: cause.retry_after(),
        };
        Self {
            auth_id: outcome.auth_id,
            provider: outcome.provider,
            model: outcome.model,
            asked_for: Some(outcome.asked_for).filter(|name| *name != outcome.model),
            operation: outcome.operation.as_str(),
            call_id: outcome.call_id,
            attempt: outcome.attempt,
            result: match outcome.kind {
                OutcomeKind::Success => "success",
                OutcomeKind::Failure(_) => "failure",
                OutcomeKind::Abandoned => "abandoned",
            },
            failure: outcome.cause().map(failure),
            first_byte: outcome.first_byte,
            elapsed: outcome.elapsed,
            usage: outcome.usage,
            counted: outcome.counted,
            limits: outcome.rate_limits.map_or(&[], |limits| &limits.windows),
        }
    }
}

impl<'a> Refresh<'a> {
    fn of(event: &'a RefreshEvent<'a>) -> Self {
        let (name, error, answer_lost) = match event {
            RefreshEvent::UnpersistedRotation { error, .. } => {
                ("unpersisted_rotation", Some(*error), None)
            }
            RefreshEvent::Persisted { .. } => ("persisted", None, None),
            RefreshEvent::InDoubt { error, .. } => ("in_doubt", Some(*error), None),
            RefreshEvent::NeedsLogin {
                error, answer_lost, ..
            } => ("needs_login", Some(*error), Some(*answer_lost)),
        };
        Self {
            auth_id: event.auth_id(),
            event: name,
            error: error.map(Error::message),
            answer_lost,
        }
    }
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
