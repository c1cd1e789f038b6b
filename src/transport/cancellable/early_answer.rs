//! Answers that come before the request has gone out.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use ureq::unversioned::transport::{Buffers, NextTimeout, Transport};

/// A connection below TLS whose server may answer and close it while the request is still being sent, as servers do that take no body of
/// that size, or none of that key. Writing fails then, but the answer has come: it is read, and the rest of the request is not sent
/// ([RFC 9112 section 9.6](https://www.rfc-editor.org/rfc/rfc9112#section-9.6)).
pub(super) struct EarlyAnswer<T> {
    inner: T,
    has_come: bool,
}

impl<T: Transport> EarlyAnswer<T> {
    pub(super) fn allowed_on(inner: T) -> Self {
        Self {
            inner,
            has_come: false,
        }
    }

    /// Whether there is something to read on a connection that cannot be written to any more.
    fn has_come(&mut self, mut timeout: NextTimeout) -> bool {
        timeout.after = (*timeout.after).min(WAIT).into();
        let has_unread = !self.inner.buffers().input().is_empty();
        has_unread || matches!(self.inner.await_input(timeout), Ok(true))
    }
}

impl<T: Transport> Transport for EarlyAnswer<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        if self.has_come {
            return Ok(());
        }
        let sent = self.inner.transmit_output(amount, timeout);
        if let Err(ureq::Error::Io(error)) = &sent
            && matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
            )
            && self.has_come(timeout)
        {
            self.has_come = true;
            return Ok(());
        }
        sent
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        !self.has_come && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl<T> fmt::Debug for EarlyAnswer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EarlyAnswer")
    }
}

/// What the peer sent before it closed the connection is there already.
const WAIT: Duration = Duration::from_secs(1);
