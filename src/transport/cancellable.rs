//! Connections that end with the request that uses them.
//!
//! A blocked read can only be ended by closing its socket. The HTTP client hands out a handle for that when a socket is
//! opened, meant for closing a whole agent. The outermost connector here keeps the handle with the connection instead, and
//! ties it to the [`CancelToken`] of one request at a time:
//!
//! * [`within`] names the token (the *scope*) for the requests that the current thread starts;
//! * a connection that is opened or first written to inside a scope is *bound* to its token: cancelling closes the socket,
//!   whatever it is waiting for, and stays bound while the body is read, on any thread;
//! * a connection that goes back to the pool is unbound. A cancel that comes later finds nothing to close, also where it
//!   races with the return.
//!
//! This is the only file that builds on the `unversioned` part of ureq's interface.

use std::cell::RefCell;
use std::collections::hash_map::DefaultHasher;
use std::error::Error as StdError;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Uri;
use parking_lot::Mutex;
use ureq::Agent;
use ureq::Timeout;
use ureq::config::Config;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::time::{Duration as Span, Instant};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, DefaultConnector, NextTimeout, ShutdownHandle, Transport,
};

use crate::cancel::{CancelToken, OnCancel};

/// Makes agents whose requests can be cancelled. Agents of one maker share their TLS set-up, so they must have the same TLS
/// configuration.
#[derive(Clone)]
pub(super) struct AgentMaker {
    connector: Arc<DefaultConnector>,
}

impl AgentMaker {
    pub(super) fn new() -> Self {
        Self {
            connector: Arc::new(DefaultConnector::new()),
        }
    }

    pub(super) fn agent(&self, config: Config) -> Agent {
        let connector = CancellableConnector {
            inner: Arc::clone(&self.connector),
            tls: fingerprint(config.tls_config()),
        };
        Agent::with_parts(config, connector, AddressesAtOnce::default())
    }
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

/// How fast a stream must be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// From the end of the request to the first chunk.
    pub(super) first_chunk: Duration,
    /// Between two chunks.
    pub(super) idle: Duration,
}

/// Runs `work`; the requests that it starts on this thread end when the scope's token is cancelled.
pub(super) fn within<T>(scope: Arc<Scope>, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(SCOPE.replace(Some(scope)));
    work()
}

/// Whether this error says that the request's token was cancelled.
pub(super) fn is_cancellation(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(<dyn StdError + Send + Sync>::is::<Cancelled>)
}

/// The lost connection behind this error.
pub(super) fn lost_connection(error: &io::Error) -> Option<&io::Error> {
    let Lost(inner) = error.get_ref()?.downcast_ref()?;
    Some(inner)
}

/// What the requests have in common that are started within it.
pub(super) struct Scope {
    token: CancelToken,
    pace: Option<Pace>,
    hurried: AtomicBool,
    /// Whether a request has been handed to a connection, in part at least.
    sent: AtomicBool,
}

impl Scope {
    pub(super) fn new(token: &CancelToken, pace: Option<Pace>) -> Arc<Self> {
        Arc::new(Self {
            token: token.clone(),
            pace,
            hurried: AtomicBool::new(false),
            sent: AtomicBool::new(false),
        })
    }

    /// Whether anything of a request was sent, as far as this process can tell.
    pub(super) fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    /// From now on, what is left of a body has [`HURRIED`] and no more.
    pub(super) fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }
}

/// How long the rest of a body may take that is of little use.
const HURRIED: Duration = Duration::from_secs(3);

thread_local! {
    static SCOPE: RefCell<Option<Arc<Scope>>> = const { RefCell::new(None) };
}

/// Puts the outer scope back, also when the work panics.
struct Restore(Option<Arc<Scope>>);

impl Drop for Restore {
    fn drop(&mut self) {
        SCOPE.set(self.0.take());
    }
}

struct CancellableConnector {
    inner: Arc<DefaultConnector>,
    /// Of the agent's TLS configuration.
    tls: u64,
}

impl Connector for CancellableConnector {
    type Out = Cancellable;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<()>,
    ) -> Result<Option<Cancellable>, ureq::Error> {
        let line = Arc::new(Line::default());
        let binding = SCOPE
            .with_borrow(Clone::clone)
            .map(|scope| Binding::new(&line, scope, details.now));
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
            let (connector, line) = (Arc::clone(&self.inner), Arc::clone(&line));
            move |details: &ConnectionDetails<'_>| {
                let inner = connector
                    .connect(details, None)?
                    .ok_or(ureq::Error::ConnectionFailed)?;
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
                && fingerprint(details.config.tls_config()) != self.tls,
            resolver: details.resolver,
            now: details.now,
            timeout: details.timeout,
            current_time: Arc::clone(&details.current_time),
            run_connector: Arc::new(connect_to_proxy),
            register_shutdown: Arc::new(register),
        };
        let transport = self.inner.connect(&details_here, chained);
        line.check()?;
        line.state.lock().ready = true;
        Ok(transport?.map(|inner| Cancellable {
            inner,
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
    bytes: Vec<u8>,
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
            self.binding = SCOPE
                .with_borrow(Clone::clone)
                .map(|scope| Binding::new(&self.line, scope, (self.clock)()));
        }
        self.line.check()?;
        let is_first = !std::mem::replace(&mut self.in_use, true);
        let output = &self.inner.buffers().output()[..amount];
        if is_first && output.ends_with(END_OF_HEAD) {
            let bytes = output.to_vec();
            self.head = Some(Head { bytes, timeout });
            return Ok(());
        }
        let sent = match self.head.take() {
            Some(head) => self.transmit_with(head, amount, timeout),
            None => self.transmit(amount, timeout),
        };
        self.sent(sent)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.line.check()?;
        // There is no body.
        if let Some(head) = self.head.take() {
            let timeout = head.timeout;
            let sent = self.transmit_with(head, 0, timeout);
            self.sent(sent)?;
        }
        let timeout = match &mut self.binding {
            Some(binding) => binding.paced(timeout, &*self.clock),
            None => timeout,
        };
        let progress = self.inner.await_input(timeout);
        // A socket that was closed under a read looks like a peer that has finished.
        self.line.check()?;
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

impl Cancellable {
    /// Sends the head and `amount` bytes of output behind it in one write if they fit, so that they travel together.
    fn transmit_with(
        &mut self,
        head: Head,
        amount: usize,
        timeout: NextTimeout,
    ) -> Result<(), ureq::Error> {
        let mut bytes = head.bytes;
        bytes.extend_from_slice(&self.inner.buffers().output()[..amount]);
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
        if let Some(binding) = &mut self.binding {
            binding.sent_at = (self.clock)();
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
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if !self.line.state.lock().ready {
            let left = self
                .limit
                .saturating_sub(elapsed(self.started_at, (self.clock)()));
            timeout.after = (*timeout.after).min(left).into();
        }
        self.inner.await_input(timeout)
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

/// One request's hold on a connection.
struct Binding {
    _on_cancel: OnCancel,
    scope: Arc<Scope>,
    sent_at: Instant,
    /// The body's first bytes have come.
    flowing: bool,
    /// When it was first waited for in a hurry.
    hurried_at: Option<Instant>,
}

impl Binding {
    fn new(line: &Arc<Line>, scope: Arc<Scope>, now: Instant) -> Self {
        let request = line.request();
        let on_cancel = scope.token.on_cancel({
            let line = Arc::clone(line);
            move || line.cut(request)
        });
        Self {
            _on_cancel: on_cancel,
            scope,
            sent_at: now,
            flowing: false,
            hurried_at: None,
        }
    }

    /// The head of an answer is read inside the scope, the body of a stream outside.
    fn reads_head(&self) -> bool {
        SCOPE.with_borrow(|current| {
            current
                .as_ref()
                .is_some_and(|scope| Arc::ptr_eq(scope, &self.scope))
        })
    }

    fn watch_for_body(&mut self, buffers: &dyn Buffers) {
        if self.scope.pace.is_some()
            && !self.flowing
            && !buffers.input().is_empty()
            && !self.reads_head()
        {
            self.flowing = true;
        }
    }

    fn paced(&mut self, mut timeout: NextTimeout, clock: &dyn Fn() -> Instant) -> NextTimeout {
        if self.scope.hurried.load(Ordering::Relaxed) {
            let now = clock();
            let since = *self.hurried_at.get_or_insert(now);
            let left = HURRIED.saturating_sub(elapsed(since, now));
            return sooner(timeout, left);
        }
        let Some(pace) = self.scope.pace else {
            return timeout;
        };
        if self.flowing {
            timeout.per_read = Some(pace.idle.into());
            return timeout;
        }
        // The first chunk has one limit, however many reads it takes; for the head, the client itself keeps it.
        timeout.per_read = None;
        if !self.reads_head() {
            let left = pace
                .first_chunk
                .saturating_sub(elapsed(self.sent_at, clock()));
            return sooner(timeout, left);
        }
        timeout
    }
}

/// The timeout, but not after `left`.
fn sooner(mut timeout: NextTimeout, left: Duration) -> NextTimeout {
    if left < *timeout.after {
        timeout.after = left.into();
        timeout.reason = Timeout::PerRead;
    }
    timeout
}

/// The socket below a connection, and which request may close it.
#[derive(Default)]
struct Line {
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
    fn request(&self) -> u64 {
        self.state.lock().request
    }

    /// The current request is over; whether the connection survived it.
    fn end_request(&self) -> bool {
        let mut state = self.state.lock();
        state.request += 1;
        !state.cut
    }

    fn add(&self, socket: Weak<dyn ShutdownHandle>) -> Result<(), ureq::Error> {
        let mut state = self.state.lock();
        if state.cut {
            return Err(cancelled());
        }
        state.sockets.push(socket);
        Ok(())
    }

    /// Closes the connection, unless it serves another request by now.
    fn cut(&self, request: u64) {
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

    fn check(&self) -> Result<(), ureq::Error> {
        if self.state.lock().cut {
            Err(cancelled())
        } else {
            Ok(())
        }
    }
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

fn told(error: ureq::Error) -> ureq::Error {
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

fn elapsed(from: Instant, to: Instant) -> Duration {
    match (from, to) {
        (Instant::Exact(from), Instant::Exact(to)) => to.saturating_duration_since(from),
        _ => Duration::ZERO,
    }
}

fn fingerprint(config: &TlsConfig) -> u64 {
    let mut hasher = DefaultHasher::new();
    config.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
