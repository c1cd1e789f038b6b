//! Named threads, and long-lived workers that stop when a channel disconnects.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};

use crate::cancel::Never;
use crate::error::{Error, ErrorCode};

use crate::panic::guard;

/// A thread with a name.
pub(crate) fn spawn(
    name: String,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(body)
}

/// A long-lived thread of its own: the refresher, the writer. A disconnected channel stops it.
#[derive(Debug)]
pub(crate) struct Worker {
    stop: Option<Sender<Never>>,
    ended: Receiver<Never>,
    handle: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts `body`, which returns when the channel that it is given disconnects.
    pub(crate) fn spawn(
        name: &str,
        body: impl FnOnce(Receiver<Never>) + Send + 'static,
    ) -> Result<Self, Error> {
        let (stop, stopped) = crossbeam_channel::bounded(0);
        let (running, ended) = crossbeam_channel::bounded(0);
        let named = name.to_owned();
        let handle = spawn(name.to_owned(), move || {
            let _running: Sender<Never> = running;
            let _ = guard(|| format!("thread {named}"), || body(stopped));
        })
        .map_err(|error| {
            let what = format!("no thread could be started for {name}");
            Error::new(ErrorCode::PoolSaturated, what).with_source(error)
        })?;
        Ok(Self {
            stop: Some(stop),
            ended,
            handle: Some(handle),
        })
    }

    /// Tells it to stop; it may go on for a while.
    pub(crate) fn stop(&mut self) {
        self.stop = None;
    }

    /// Stops it and waits for its end, at most `timeout`. True when it has ended. Called on the thread itself, it does not
    /// wait.
    pub(crate) fn join(&mut self, timeout: Duration) -> bool {
        self.stop();
        let Some(handle) = self.handle.take() else {
            return true;
        };
        if handle.thread().id() == std::thread::current().id() {
            return false;
        }
        if self.ended.recv_timeout(timeout) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            self.handle = Some(handle);
            return false;
        }
        handle.join().is_ok()
    }
}
