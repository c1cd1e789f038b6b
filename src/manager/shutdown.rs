//! The end of a manager: shutdown, and what the last handle does when it is dropped.

use std::time::Duration;

use crossbeam_channel::RecvTimeoutError;
use parking_lot::Mutex;

use super::{Inner, Manager};
use crate::cancel::Never;
use crate::clock::{Clock, SystemClock, deadline};
use crate::error::{Error, ErrorCode};
use crate::runtime::Worker;

/// How long a thread that was stopped may take to end.
pub(super) const THREAD_END: Duration = Duration::from_millis(500);

/// What the last handle gives what still runs.
const AT_DROP: Duration = Duration::from_secs(2);

impl Manager {
    /// Ends the manager: new calls are refused immediately, the refresher stops, submitted calls, streams and refreshes come to
    /// their end, the store gets what it lacks, the threads are joined. After `timeout`, what still runs is cancelled. Again,
    /// or from another thread: waits for the first to be done.
    ///
    /// Calls that other threads of the program are making are theirs: they are neither waited for nor ended, and what they
    /// change after this is no longer written to the store.
    ///
    /// # Errors
    /// `deadline_exceeded` when not everything came to its end in time; `store` when something could not be saved, a refreshed
    /// token perhaps: the log names how much.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{ErrorCode, Manager, Options, Request};
    ///
    /// let manager = Manager::builder().build()?;
    /// manager.shutdown(Duration::from_secs(10))?;
    /// let error = manager.execute(["p"], &Request::new("m", "{}"), &Options::new()).unwrap_err();
    /// assert!(error.code() == ErrorCode::ShutDown);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.inner()?.shut_down(timeout)
    }
}

impl Inner {
    fn shut_down(&self, timeout: Duration) -> Result<(), Error> {
        let (done, being_done) = crossbeam_channel::bounded::<Never>(0);
        let first = {
            let mut shutdown = self.shutdown.lock();
            match &*shutdown {
                Some(first) => Some(first.clone()),
                None => {
                    *shutdown = Some(being_done);
                    None
                }
            }
        };
        if let Some(first) = first {
            return match first.recv_timeout(timeout) {
                Err(RecvTimeoutError::Timeout) => Err(incomplete()),
                _ => Ok(()),
            };
        }
        let outcome = self.shut_down_once(timeout);
        drop(done);
        outcome
    }

    fn shut_down_once(&self, timeout: Duration) -> Result<(), Error> {
        // By the machine's clock: a test's clock may never move again.
        let end = deadline(SystemClock.monotonic(), timeout);
        let left = || end.saturating_duration_since(SystemClock.monotonic());
        self.services.pool.close();
        self.refresh.close();
        let mut complete = true;
        for thread in [&self.refresher, &self.reloader] {
            complete &= thread.stop(left().max(THREAD_END));
        }
        complete &= self.services.pool.shut_down(left());
        let unpersisted = self.refresh.settle(end);
        complete &= join(&self.writer, left().max(THREAD_END));
        if unpersisted > 0 {
            return Err(Error::store(format!(
                "the new tokens of {unpersisted} credentials could not be saved before the shutdown, and are lost with it: the store fails"
            )));
        }
        match self.services.store_handle.left_unsaved() {
            0 if complete => Ok(()),
            0 => Err(incomplete()),
            unsaved => Err(Error::store(format!(
                "{unsaved} credentials could not be saved before the shutdown: the store fails"
            ))),
        }
    }
}

/// Ends a thread, where there is one. False when it has not ended in time.
fn join(thread: &Mutex<Option<Worker>>, wait: Duration) -> bool {
    let worker = thread.lock().take();
    worker.is_none_or(|mut worker| worker.join(wait))
}

fn incomplete() -> Error {
    let what = "not everything came to its end before the shutdown's timeout; it was cancelled";
    Error::new(ErrorCode::DeadlineExceeded, what)
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down(AT_DROP) {
            log::warn!("dropping the manager: {error}");
        }
    }
}
