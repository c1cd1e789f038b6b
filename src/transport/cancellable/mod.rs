//! Cancellable connections: a request's cancellation closes the connection that it uses.
//!
//! A blocked read can only be ended by closing its socket. The HTTP client hands out a handle for that when a socket is
//! opened, meant for closing a whole agent. The outermost connector here keeps the handle with the connection instead, and
//! ties it to the [`CancelToken`](crate::cancel::CancelToken) of one request at a time:
//!
//! * [`within`] names the token (the *scope*) for the requests that the current thread starts;
//! * a connection that is opened or first written to inside a scope is *bound* to its token: cancelling closes the socket,
//!   whatever it is waiting for, and stays bound while the body is read, on any thread;
//! * a connection that goes back to the pool is unbound. A cancel that comes later finds nothing to close, also where it
//!   races with the return.
//!
//! This is the only room that builds on the `unversioned` part of ureq's interface.

mod binding;
mod early_answer;
mod line;
mod scope;

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Uri;
use ureq::Agent;
use ureq::config::Config;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::{Duration as Span, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, DefaultConnector, NextTimeout,
    ShutdownHandle, SocksConnector, TcpConnector, Transport,
};
use zeroize::Zeroizing;

use self::binding::Binding;
use self::early_answer::EarlyAnswer;
use self::line::{Line, told};
pub(crate) use self::line::{is_cancellation, lost_connection};
pub(crate) use self::scope::{IdleLimits, Scope, within};
use self::scope::{current, elapsed};
use super::tls::{self, Tls};

/// An agent whose requests can be cancelled, with the TLS set-up `tls`. Without one, that of the request's scope counts; where the
/// agent's or the request's configuration says something of TLS itself, neither does.
pub(crate) fn agent(config: Config, tls: Option<Arc<Tls>>) -> Agent {
    let connector = CancellableConnector {
        dial: Arc::new(Dial {
            by_configuration: DefaultConnector::new(),
            tls,
        }),
        configured_tls: fingerprint(config.tls_config()),
    };
    Agent::with_parts(config, connector, AddressesAtOnce::default())
}

/// Opens connections, proxies and TLS included.
struct Dial {
    /// For configurations that say something of TLS.
    by_configuration: DefaultConnector,
    tls: Option<Arc<Tls>>,
}

impl Dial {
    fn open(&self, details: &ConnectionDetails<'_>) -> Result<Box<dyn Transport>, ureq::Error> {
        let is_default =
            fingerprint(details.config.tls_config()) == fingerprint(&TlsConfig::default());
        let tls = self.tls.clone();
        let tls = tls.or_else(|| current().and_then(|scope| scope.tls.clone()));
        let opened = match tls.filter(|_| is_default) {
            None => self.by_configuration.connect(details, None)?,
            Some(tls) => {
                let socks = SocksConnector::default().connect(details, None::<()>)?;
                let proxied = ConnectProxyConnector::default().connect(details, socks)?;
                let plain = TcpConnector::default().connect(details, proxied)?;
                let plain = plain
                    .map(|plain| Box::new(EarlyAnswer::allowed_on(plain)) as Box<dyn Transport>);
                plain
                    .map(|plain| tls::wrap(&tls, details, plain))
                    .transpose()?
            }
        };
        opened.ok_or(ureq::Error::ConnectionFailed)
    }
}

/// What is left of the time for a connection.
pub(crate) fn remaining(details: &ConnectionDetails<'_>) -> NextTimeout {
    let mut timeout = details.timeout;
    if !timeout.after.is_not_happening() {
        let took = elapsed(details.now, (details.current_time)());
        timeout.after = timeout.after.saturating_sub(took).into();
    }
    timeout
}

/// Looks up names as the client always does: on a thread of its own, so that its limit can end it. A host that is an address
/// needs neither.
#[derive(Debug, Default)]
struct AddressesAtOnce(DefaultResolver);

impl Resolver for AddressesAtOnce {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        mut timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let host = uri.host().unwrap_or_default();
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            timeout.after = Span::NotHappening;
        }
        self.0.resolve(uri, config, timeout)
    }
}

struct CancellableConnector {
    dial: Arc<Dial>,
    /// The fingerprint of what the agent's configuration says of TLS.
    configured_tls: u64,
}

impl Connector for CancellableConnector {
    type Out = Cancellable;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _: Option<()>,
    ) -> Result<Option<Cancellable>, ureq::Error> {
        let line = Arc::new(Line::default());
        let binding = current().map(|scope| Binding::new(&line, scope, details.now));
        line.check()?;

        let register = {
            let line = Arc::clone(&line);
            let agents_own = Arc::clone(&details.register_shutdown);
            move |handle: Weak<dyn ShutdownHandle>| {
                line.add(Weak::clone(&handle))?;
                agents_own(handle)
            }
        };
        // The connection to a CONNECT proxy is part of the one that is being made.
        let connect_to_proxy = {
            let (dial, line) = (Arc::clone(&self.dial), Arc::clone(&line));
            move |details: &ConnectionDetails<'_>| {
                let inner = dial.open(details).map_err(tls::at_proxy)?;
                Ok(Box::new(ToProxy {
                    inner,
                    line: Arc::clone(&line),
                    clock: Arc::clone(&details.current_time),
                    started_at: details.now,
                    limit: *details.timeout.after,
                }) as Box<dyn Transport>)
            }
        };
        let details_here = ConnectionDetails {
            uri: details.uri,
            addrs: details.addrs.clone(),
            config: details.config,
            // A request with settings of its own is refused the agent's TLS session cache, even where the settings leave
            // TLS alone.
            request_level: details.request_level
                && fingerprint(details.config.tls_config()) != self.configured_tls,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::new(connect_to_proxy),
            register_shutdown: Arc::new(register),
        };
        let inner = self.dial.open(&details_here);
        line.check()?;
        line.set_ready();
        Ok(Some(Cancellable {
            inner: inner?,
            line,
            binding,
            clock: Arc::clone(&details.current_time),
            head: None,
            in_use: false,
        }))
    }
}

impl fmt::Debug for CancellableConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancellableConnector")
    }
}

/// A connection, proxies and TLS included.
struct Cancellable {
    inner: Box<dyn Transport>,
    line: Arc<Line>,
    binding: Option<Binding>,
    clock: Arc<Clock>,
    /// A request's head that waits for the body, to go out with it.
    head: Option<Head>,
    /// A request has been written, and is not over.
    in_use: bool,
}

struct Head {
    bytes: Zeroizing<Vec<u8>>,
    /// For a head that goes out alone.
    timeout: NextTimeout,
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

type Clock = dyn Fn() -> Instant + Send + Sync;

impl Transport for Cancellable {
    fn buffers(&mut self) -> &mut dyn Buffers {
        if let Some(binding) = &mut self.binding {
            binding.watch_for_body(&*self.inner.buffers());
        }
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        // A connection from the pool: this is the first that the new request does with it.
        if self.binding.is_none() {
            self.binding = current().map(|scope| {
                scope.reused.store(true, Ordering::Relaxed);
                Binding::new(&self.line, scope, (self.clock)())
            });
        }
        self.line.check()?;
        let is_first = !std::mem::replace(&mut self.in_use, true);
        let output = &self.inner.buffers().output()[..amount];
        if is_first && output.ends_with(END_OF_HEAD) {
            let bytes = Zeroizing::new(output.to_vec());
            self.head = Some(Head { bytes, timeout });
            return Ok(());
        }
        let sent = match self.head.take() {
            Some(head) => self.transmit_with(&head, amount, timeout),
            None => self.transmit(amount, timeout),
        };
        self.sent(sent)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.line.check()?;
        // There is no body.
        if let Some(head) = self.head.take() {
            let timeout = head.timeout;
            let sent = self.transmit_with(&head, 0, timeout);
            self.sent(sent)?;
        }
        let timeout = match &mut self.binding {
            Some(binding) => binding.paced(timeout, &*self.clock),
            None => timeout,
        };
        let progress = self.inner.await_input(timeout);
        // A socket that was closed under a read looks like a peer that has finished.
        self.line.check()?;
        if let (Ok(true), Some(binding)) = (&progress, &self.binding) {
            binding.scope.answered.store(true, Ordering::Relaxed);
        }
        progress.map_err(told)
    }

    /// Asked at the end of a request, when the connection is about to be pooled, and when it is taken out again: it is enough
    /// to look then.
    fn is_open(&mut self) -> bool {
        self.binding = None;
        let is_kept = self.line.end_request();
        is_kept && (std::mem::take(&mut self.in_use) || self.inner.is_open())
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl Drop for Cancellable {
    /// Keys and tokens have gone through the buffers. What drops them is another crate's, so that the writes are not left out.
    fn drop(&mut self) {
        let buffers = self.inner.buffers();
        let unread = buffers.input().len();
        buffers.input_consume(unread);
        buffers.input_append_buf().fill(0);
        buffers.output().fill(0);
    }
}

impl Cancellable {
    /// Sends the head and `amount` bytes of output behind it in one write if they fit, so that they travel together.
    fn transmit_with(
        &mut self,
        head: &Head,
        amount: usize,
        timeout: NextTimeout,
    ) -> Result<(), ureq::Error> {
        let output = self.inner.buffers().output();
        let size = head.bytes.len();
        if size + amount <= output.len() {
            output.copy_within(..amount, size);
            output[..size].copy_from_slice(&head.bytes);
            return self.transmit(size + amount, timeout);
        }
        let body = &output[..amount];
        // As large as it gets: growing would leave a copy of the head, and of the key in it, behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(size + amount));
        bytes.extend_from_slice(&head.bytes);
        bytes.extend_from_slice(body);
        let most = self.inner.buffers().output().len();
        for part in bytes.chunks(most) {
            self.inner.buffers().output()[..part.len()].copy_from_slice(part);
            self.transmit(part.len(), timeout)?;
        }
        Ok(())
    }

    fn transmit(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        // Whether or not it gets there.
        if let Some(binding) = &self.binding {
            binding.scope.sent.store(true, Ordering::Relaxed);
        }
        self.inner.transmit_output(amount, timeout)
    }

    fn sent(&mut self, sent: Result<(), ureq::Error>) -> Result<(), ureq::Error> {
        self.line.check()?;
        let has_answer = !self.inner.buffers().input().is_empty();
        if let Some(binding) = &mut self.binding {
            binding.sent_at = (self.clock)();
            *binding.scope.sent_at.lock() = Some(binding.sent_at);
            if has_answer {
                binding.scope.answered.store(true, Ordering::Relaxed);
            }
        }
        sent
    }
}

impl fmt::Debug for Cancellable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancellable")
    }
}

/// A connection to a CONNECT proxy. The client gives each read of the proxy's answer the whole limit for connecting: one that
/// drips would hold the request for hours.
struct ToProxy {
    inner: Box<dyn Transport>,
    line: Arc<Line>,
    clock: Arc<Clock>,
    started_at: Instant,
    limit: Duration,
}

impl Transport for ToProxy {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let sent = self.inner.transmit_output(amount, timeout);
        sent.map_err(tls::at_proxy)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if !self.line.is_ready() {
            let left = self
                .limit
                .saturating_sub(elapsed(self.started_at, (self.clock)()));
            timeout.after = (*timeout.after).min(left).into();
        }
        self.inner.await_input(timeout).map_err(tls::at_proxy)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

impl fmt::Debug for ToProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToProxy")
    }
}

fn fingerprint(config: &TlsConfig) -> u64 {
    let mut hasher = DefaultHasher::new();
    config.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
