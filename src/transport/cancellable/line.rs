//! The sockets of a connection, which a cancelled request closes.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Weak;

use parking_lot::Mutex;
use ureq::unversioned::transport::ShutdownHandle;

/// The socket below a connection, and which request may close it.
#[derive(Default)]
pub(crate) struct Line {
    state: Mutex<LineState>,
}

#[derive(Default)]
struct LineState {
    /// Counts the requests that used the connection.
    request: u64,
    cut: bool,
    /// Proxies and TLS are through.
    ready: bool,
    sockets: Vec<Weak<dyn ShutdownHandle>>,
}

impl Line {
    pub(crate) fn request(&self) -> u64 {
        self.state.lock().request
    }

    /// The current request is over; whether the connection survived it.
    pub(crate) fn end_request(&self) -> bool {
        let mut state = self.state.lock();
        state.request += 1;
        !state.cut
    }

    pub(crate) fn add(&self, socket: Weak<dyn ShutdownHandle>) -> Result<(), ureq::Error> {
        let mut state = self.state.lock();
        if state.cut {
            return Err(cancelled());
        }
        state.sockets.push(socket);
        Ok(())
    }

    /// Closes the connection, unless it serves another request by now.
    pub(crate) fn cut(&self, request: u64) {
        let sockets = {
            let mut state = self.state.lock();
            if state.request != request {
                return;
            }
            state.cut = true;
            std::mem::take(&mut state.sockets)
        };
        for socket in sockets.iter().filter_map(Weak::upgrade) {
            socket.shutdown();
        }
    }

    /// Proxies and TLS are through.
    pub(crate) fn set_ready(&self) {
        self.state.lock().ready = true;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.state.lock().ready
    }

    pub(crate) fn check(&self) -> Result<(), ureq::Error> {
        if self.state.lock().cut {
            Err(cancelled())
        } else {
            Ok(())
        }
    }
}

/// Whether this error says that the request's token was cancelled.
pub(crate) fn is_cancellation(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn StdError + Send + Sync>::is::<Cancelled>)
}

/// The lost connection behind this error.
pub(crate) fn lost_connection(error: &io::Error) -> Option<&io::Error> {
    let Lost(inner) = error.get_ref()?.downcast_ref()?;
    Some(inner)
}

/// Travels inside an [`io::Error`]; a type of its own, because the client takes some kinds for the end of a body.
#[derive(Debug)]
struct Cancelled;

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was cancelled")
    }
}

impl StdError for Cancelled {}

fn cancelled() -> ureq::Error {
    ureq::Error::Io(io::Error::other(Cancelled))
}

/// A connection that was reset, in a form that the client does not take for the end of a body.
#[derive(Debug)]
struct Lost(io::Error);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Lost {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

pub(crate) fn told(error: ureq::Error) -> ureq::Error {
    match error {
        ureq::Error::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted
            ) =>
        {
            ureq::Error::Io(io::Error::other(Lost(error)))
        }
        other => other,
    }
}
