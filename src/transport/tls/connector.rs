//! The TLS connector: as ureq's own, but with this crate's TLS configuration.

use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::super::cancellable::remaining;
use super::Tls;

/// The connection with TLS around it, where the URL asks for TLS.
pub(in crate::transport) fn wrap(
    tls: &Tls,
    details: &ConnectionDetails<'_>,
    inner: Box<dyn Transport>,
) -> Result<Box<dyn Transport>, ureq::Error> {
    if !details.needs_tls() || inner.is_tls() {
        return Ok(inner);
    }
    let host = details.uri.host().unwrap_or_default();
    let name = ServerName::try_from(host.trim_matches(['[', ']']))
        .map_err(|_| ureq::Error::Tls(BAD_NAME))?
        .to_owned();
    let mut session = ClientConnection::new(tls.config()?, name)?;
    let mut socket = TransportAdapter::new(inner, Arc::clone(&details.current_time));
    socket.set_timeout(remaining(details));
    if let Err(error) = session.complete_io(&mut socket) {
        return Err(with_alert(error, &mut session, &mut socket).into());
    }
    Ok(Box::new(TlsTransport {
        buffers: LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        ),
        stream: StreamOwned::new(session, socket),
    }))
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream
            .write_all(output)
            .map_err(|error| with_alert(error, &mut self.stream.conn, &mut self.stream.sock).into())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let room = self.buffers.input_append_buf();
        let amount = self.stream.read(room)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// The error of a lost connection; the peer's alert, where it has said before why it closes it.
fn with_alert(
    error: io::Error,
    session: &mut ClientConnection,
    socket: &mut TransportAdapter,
) -> io::Error {
    let is_lost = matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
    );
    while is_lost && session.read_tls(socket).is_ok_and(|count| count > 0) {
        if let Err(alert) = session.process_new_packets() {
            return io::Error::new(io::ErrorKind::InvalidData, alert);
        }
    }
    error
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

/// What the fault is called on its way through the client.
pub(in crate::transport) const BAD_NAME: &str = "the host's name is not valid in a certificate";
