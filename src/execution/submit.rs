//! [`CallHandle`]: calls on worker threads.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use crate::cancel::CancelToken;
use crate::error::{Error, ErrorCode};
use crate::request::{Options, Request, Response};
use crate::runtime::{Lane, Process};

use super::context::deadline_of;
use super::{Engine, Plain, Providers};

/// A call that runs on a worker. Dropping the handle lets it run on; [`CallHandle::cancel`] ends it.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::testing::ScriptedExecutor;
/// use credpool::{Auth, Manager, Options, Request, Response};
///
/// let executor = ScriptedExecutor::new("p");
/// executor.on_execute(|_| Ok(Response::new("pong")));
/// let manager = Manager::builder().build()?;
/// manager.register_executor(executor);
/// manager.register(Auth::api_key("p", "key"))?;
///
/// let submit = || manager.submit(["p"], Request::new("m", "ping"), Options::new());
/// let (first, second) = (submit()?, submit()?);
/// assert_eq!(first.wait()?.payload, "pong");
/// match second.wait_timeout(Duration::from_secs(60)) {
///     Ok(answer) => assert_eq!(answer?.payload, "pong"),
///     // The handle returns when the time is over: poll it, or cancel the call.
///     Err(handle) => match handle.try_wait() {
///         Ok(answer) => drop(answer?),
///         Err(handle) => handle.cancel(),
///     },
/// }
/// # Ok::<(), credpool::Error>(())
/// ```
pub struct CallHandle {
    answer: Receiver<Result<Response, Error>>,
    cancel: CancelToken,
    process: Process,
}

impl CallHandle {
    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Manager::execute`](crate::Manager::execute); code `shut_down` when the manager was shut down before the call ran.
    pub fn wait(self) -> Result<Response, Error> {
        self.answer_before(&crossbeam_channel::never())
            .unwrap_or_else(|| Err(dropped()))
    }

    /// Waits for the answer, at most `timeout` by the machine's clock; then the handle comes back, to wait again.
    ///
    /// # Errors
    /// The handle itself, when there is no answer yet.
    pub fn wait_timeout(self, timeout: Duration) -> Result<Result<Response, Error>, Self> {
        self.answer_before(&crossbeam_channel::after(timeout))
            .ok_or(self)
    }

    fn answer_before(&self, timer: &Receiver<Instant>) -> Option<Result<Response, Error>> {
        if let Ok(answer) = self.answer.try_recv() {
            return Some(answer);
        }
        if let Err(forked) = self.process.check() {
            return Some(Err(forked));
        }
        select! {
            recv(self.answer) -> answer => Some(answer.unwrap_or_else(|_| Err(dropped()))),
            recv(timer) -> _ => None,
            // The call may still wait for a worker; the caller need not wait for that.
            recv(self.cancel.cancelled()) -> _ => Some(self.answer.try_recv().unwrap_or_else(|_| {
                Err(Error::new(ErrorCode::Cancelled, "the call was cancelled"))
            })),
        }
    }

    /// The answer, if it is there.
    ///
    /// # Errors
    /// The handle itself, when there is no answer yet.
    pub fn try_wait(self) -> Result<Result<Response, Error>, Self> {
        self.wait_timeout(Duration::ZERO)
    }

    /// Ends the call; its answer is then the error `cancelled`, unless it came first.
    pub fn cancel(&self) {
        // The call's connection is the parent's, too.
        if !self.process.has_forked() {
            self.cancel.cancel();
        }
    }
}

impl Engine {
    /// Runs a plain call on a worker. Waiting for a worker counts towards the call's time.
    pub(crate) fn submit(
        self: &Arc<Self>,
        providers: Providers,
        request: Request,
        mut options: Options,
    ) -> Result<CallHandle, Error> {
        let cancel = options
            .cancel
            .as_ref()
            .map_or_else(CancelToken::new, CancelToken::child);
        options.cancel = Some(cancel.clone());
        options.deadline = deadline_of(&options, &*self.services.clock);
        options.timeout = None;
        let slot = self.place(Lane::Jobs, &options, options.deadline, &cancel)?;
        let waited = slot.waited();
        if !waited.is_zero() {
            self.services.call_counters.waited(waited);
            let most = options.max_wait.unwrap_or(self.policy.max_wait());
            options.max_wait = Some(most.saturating_sub(waited));
        }
        let (sender, answer) = crossbeam_channel::bounded(1);
        let engine = Arc::clone(self);
        let token = cancel.clone();
        self.services.pool.run(slot, move |place| {
            let pool = &engine.services.pool;
            let _stopping = pool.stopping().on_cancel(move || token.cancel());
            let answer = engine.plain(Plain::Execute, providers, &request, &options);
            place.end();
            let _ = sender.send(answer);
        })?;
        Ok(CallHandle {
            answer,
            cancel,
            process: self.services.process,
        })
    }
}

impl fmt::Debug for CallHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallHandle")
            .field("answered", &!self.answer.is_empty())
            .finish_non_exhaustive()
    }
}

fn dropped() -> Error {
    Error::new(
        ErrorCode::ShutDown,
        "the manager was shut down before the call was answered",
    )
}
