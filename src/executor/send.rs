//! Sending one request of an attempt: bounded, cancellable; [`Body`] is its answer's body.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Method, Request, Response};
use zeroize::Zeroizing;

use super::Attempt;
use crate::auth::{Auth, read_wiped};
use crate::error::{Error, ErrorCode};
use crate::request::{Outgoing, RequestBody, Timeouts};
use crate::transport::{
    Chosen, ConnectionState, IdleLimits, Limits, NotSent, Phase, Route, Scope, url, within,
};

impl Attempt {
    /// The limits for a call that is not a stream: `timeouts`, their defaults, and what is left of the call's time.
    ///
    /// ```
    /// # fn example(attempt: &credpool::Attempt, options: &credpool::Options) {
    /// let limits = attempt.call_limits(&options.timeouts);
    /// println!("at most {:?}", limits.total);
    /// # }
    /// ```
    pub fn call_limits(&self, timeouts: &Timeouts) -> Limits {
        Limits::of_call(timeouts, self.remaining())
    }

    /// The limits for a stream: `timeouts`, their defaults, and what is left of the call's time.
    ///
    /// ```
    /// # fn example(attempt: &credpool::Attempt, options: &credpool::Options) {
    /// let limits = attempt.stream_limits(&options.timeouts);
    /// assert!(limits.idle.is_some());
    /// # }
    /// ```
    pub fn stream_limits(&self, timeouts: &Timeouts) -> Limits {
        Limits::of_stream(timeouts, self.remaining())
    }

    /// Sends a request with the credential's agent and returns the answer, whatever its status: redirects are not
    /// followed. A plain-`http` address is only for loopback: see [`check_url`](crate::check_url).
    ///
    /// When the attempt is cancelled, this returns within milliseconds, whatever the connection is waiting for, and so does
    /// a read of the body, on whichever thread. Two steps cannot be interrupted but only last as long as the limit for
    /// connecting: looking up a name, and opening a TCP connection.
    ///
    /// # Errors
    /// Codes `config`, `cancelled`, `deadline_exceeded`, `transport`, and `panicked` for a
    /// [`TransportProvider`](crate::TransportProvider). The message names the credential and the host; it holds nothing
    /// else of the URL, and no header. Where nothing was sent, [`NotSent`](crate::NotSent) is among the sources.
    ///
    /// ```no_run
    /// use bytes::Bytes;
    /// use credpool::{Attempt, Auth, Error, ErrorCode, Options, Response};
    ///
    /// fn call(attempt: &Attempt, auth: &Auth, payload: Bytes, options: &Options) -> Result<Response, Error> {
    ///     let mut key = http::HeaderValue::from_str(auth.attributes.get("api_key").unwrap_or_default())
    ///         .map_err(|_| Error::new(ErrorCode::Config, "the key does not fit into a header"))?;
    ///     key.set_sensitive(true);
    ///     let request = http::Request::post("https://llm.example.org/v1/chat")
    ///         .header("x-api-key", key)
    ///         .body(payload)
    ///         .map_err(|_| Error::new(ErrorCode::Config, "the request is not valid"))?;
    ///     let answer = attempt.send(auth, request, &attempt.call_limits(&options.timeouts))?;
    ///     let status = answer.status();
    ///     let body = answer.into_body().into_bytes(64 * 1024 * 1024)?;
    ///     if status.is_success() {
    ///         Ok(Response::new(body))
    ///     } else {
    ///         Err(Error::upstream(status.as_u16(), String::from_utf8_lossy(&body)))
    ///     }
    /// }
    /// ```
    pub fn send(
        &self,
        auth: &Auth,
        request: Request<impl Into<RequestBody>>,
        limits: &Limits,
    ) -> Result<Response<Body>, Error> {
        let request = request.map(Into::into);
        if !request.body().is_repeatable() {
            // It must not go into a connection that may be dead.
            return self.send_unpooled(auth, request, limits);
        }
        let chosen = self.tools.transport.pooled(auth)?;
        self.send_over(&chosen, true, auth, request, limits)
    }

    /// As [`send`](Self::send), over a new connection that is closed afterwards: for a request that must not go into a dead
    /// connection, such as a token refresh.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    ///
    /// ```
    /// use credpool::{Attempt, Auth, Body, Error, Timeouts};
    ///
    /// fn refresh(attempt: &Attempt, auth: &Auth, grant: http::Request<bytes::Bytes>) -> Result<bytes::Bytes, Error> {
    ///     let limits = attempt.call_limits(&Timeouts::new());
    ///     let answer = attempt.send_unpooled(auth, grant, &limits)?;
    ///     answer.into_body().into_bytes(1024 * 1024)
    /// }
    /// ```
    pub fn send_unpooled(
        &self,
        auth: &Auth,
        request: Request<impl Into<RequestBody>>,
        limits: &Limits,
    ) -> Result<Response<Body>, Error> {
        let chosen = self.tools.transport.unpooled(auth)?;
        self.send_over(&chosen, false, auth, request.map(Into::into), limits)
    }

    /// As [`send_unpooled`](Self::send_unpooled), past every proxy and with no agent of the program's.
    pub(crate) fn send_direct(
        &self,
        auth: &Auth,
        request: Request<impl Into<RequestBody>>,
        limits: &Limits,
    ) -> Result<Response<Body>, Error> {
        let chosen = self.tools.transport.direct(auth)?;
        self.send_over(&chosen, false, auth, request.map(Into::into), limits)
    }

    /// Runs `work`; the HTTP requests that it starts on this thread, with an agent of this crate, end when the attempt is
    /// cancelled, and so do later reads of their bodies. For executors that use the agent themselves; [`send`](Self::send)
    /// does it already.
    ///
    /// ```
    /// use credpool::{Attempt, Auth, Error};
    ///
    /// fn fetch(attempt: &Attempt, auth: &Auth, url: &str) -> Result<String, Error> {
    ///     let uri = credpool::check_url(url, auth)?;
    ///     let agent = attempt.agent(auth)?;
    ///     attempt
    ///         .run(|| agent.get(uri).call()?.body_mut().read_to_string())
    ///         .map_err(|error| attempt.transport_error(auth, error))
    /// }
    /// ```
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        within(self.scope(None), work)
    }

    /// An error of the HTTP client as one of this crate: code `cancelled` or `deadline_exceeded` where that is the reason,
    /// else mostly `transport`. The message holds nothing of the URL and the headers. An [`io::Error`] from a body fits, too;
    /// one that [`Body`] returned comes out as the error inside. See [`run`](Self::run) for an example.
    pub fn transport_error(&self, auth: &Auth, error: impl Into<ureq::Error>) -> Error {
        let chosen = self.tools.transport.pooled(auth).ok();
        let proxy = chosen.as_ref().and_then(Chosen::proxy);
        Route::new(auth, None, proxy).fault(Phase::Request, self.standing(), error.into())
    }

    fn send_over(
        &self,
        chosen: &Chosen,
        pooled: bool,
        auth: &Auth,
        request: Request<RequestBody>,
        limits: &Limits,
    ) -> Result<Response<Body>, Error> {
        url::check(request.uri(), auth)?;
        url::check_proxied(request.uri(), chosen.proxy(), auth)?;
        let route = Route::new(auth, Some(request.uri()), chosen.proxy());
        let standing = self.standing();
        if standing.cancelled {
            return Err(route.cancelled());
        }
        if standing.remaining.is_some_and(|left| left.is_zero()) {
            return Err(route.late());
        }
        let pace = limits.pace();
        let (mut head, body) = request.into_parts();
        if body.as_bytes().is_none()
            && let Some(length) = body.length()
        {
            head.headers.insert(CONTENT_LENGTH, length.into());
        }
        let begun = self.clock().monotonic();
        let mut scope = self.scope(pace);
        let connections = if pooled && !self.over_new_connection {
            Connections::KeptOrNew
        } else {
            Connections::New
        };
        let mut sent = within(Arc::clone(&scope), || {
            run(chosen, connections, head.clone(), &body, limits)
        })?;
        if let Err(error) = &sent
            && !matches!(error, ureq::Error::Timeout(_))
            && scope.reused_in_vain()
            && !self.is_cancelled()
        {
            // The peer closed the connection while it was idle, which no request could know (RFC 9112 section 9.3.1). The
            // other idle ones may be dead, too.
            log::debug!("{route}: a kept connection was dead; sending the request over a new one");
            let took = self.clock().monotonic().saturating_duration_since(begun);
            let limits = limits.after(took);
            scope = self.scope(pace);
            sent = within(Arc::clone(&scope), || {
                run(chosen, Connections::New, head, &body, &limits)
            })?;
        }
        let answer = sent.map_err(|error| {
            let error = route.fault(Phase::Request, self.standing(), error);
            if scope.has_sent() {
                error
            } else {
                error.clone().with_source(NotSent::because(error))
            }
        })?;
        Ok(answer.map(|body| Body {
            left: body.content_length(),
            reader: body.into_reader(),
            phase: if limits.is_stream() {
                Phase::Stream
            } else {
                Phase::Body
            },
            attempt: self.clone(),
            route,
            scope,
        }))
    }

    fn scope(&self, pace: Option<IdleLimits>) -> Arc<Scope> {
        Scope::new(self.cancel_token(), pace, Some(self.tools.transport.tls()))
    }

    fn standing(&self) -> ConnectionState {
        ConnectionState {
            cancelled: self.is_cancelled(),
            remaining: self.remaining(),
        }
    }
}

/// The body of an answer, read with [`Read`] on any thread, or as a whole with [`into_bytes`](Self::into_bytes).
///
/// A failed read returns an [`io::Error`] around an [`Error`] of this crate; [`error_in`](Self::error_in) takes it out. A
/// cut is an error wherever HTTP can tell: only a body without length and without chunks ends like a whole one, so that a
/// stream needs an end of its own. Dropping a body that was not read to its end closes the connection.
///
/// ```no_run
/// use credpool::{Body, Error};
/// use std::io::Read;
///
/// fn first_bytes(body: &mut Body) -> Result<Vec<u8>, Error> {
///     let mut buffer = vec![0; 1024];
///     let count = body.read(&mut buffer).map_err(Body::error_in)?;
///     buffer.truncate(count);
///     Ok(buffer)
/// }
/// ```
pub struct Body {
    reader: ureq::BodyReader<'static>,
    /// How much of it is to come, where its length was announced.
    left: Option<u64>,
    phase: Phase,
    attempt: Attempt,
    route: Route,
    scope: Arc<Scope>,
}

impl Body {
    /// The whole body, for example of an error; see [`Attempt::send`].
    ///
    /// # Errors
    /// Code `upstream` without a status, not retryable, for more than `limit` bytes; else as [`Attempt::send`]. For a stream, the codes of
    /// streams.
    ///
    /// ```
    /// use credpool::{Attempt, Auth, Error, Timeouts};
    ///
    /// /// One small document, by `GET`.
    /// fn document(attempt: &Attempt, auth: &Auth, url: &str) -> Result<bytes::Bytes, Error> {
    ///     let request = http::Request::get(url).body(()).expect("a URL");
    ///     let answer = attempt.send(auth, request, &attempt.call_limits(&Timeouts::new()))?;
    ///     answer.into_body().into_bytes(1 << 20)
    /// }
    /// ```
    pub fn into_bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let announced = self.left.map_or(0, |length| length.min(ANNOUNCED));
        // One more: reading to the end asks for a byte behind it.
        let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or(0) + 1);
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self)
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(Self::error_in)?;
        if bytes.len() > limit {
            return Err(self.route.too_large());
        }
        Ok(bytes.into())
    }

    /// As [`into_bytes`](Self::into_bytes), for a body that holds secrets: no copy of it stays in memory.
    pub(crate) fn into_secret(mut self, limit: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let bytes = read_wiped(&mut self, SECRET, limit).map_err(Self::error_in)?;
        if bytes.len() > limit {
            return Err(self.route.too_large());
        }
        Ok(bytes)
    }

    /// Reads what is left of it for so long and no more, and throws it away, so that the connection can serve again.
    pub(crate) fn finish_within(&mut self, limit: Duration) {
        self.allow(limit);
        let mut rest = [0; 1024];
        for _ in 0..REST / rest.len() {
            if !self.reader.read(&mut rest).is_ok_and(|count| count > 0) {
                return;
            }
        }
    }

    /// From now on, reads wait so long in all, whatever the limits of its attempt: for readers that tell what comes from what keeps a
    /// connection awake.
    pub(crate) fn allow(&self, left: Duration) {
        self.scope.allow(left);
    }

    /// How long ago the request had gone out.
    pub(crate) fn since_sent(&self) -> Duration {
        self.scope.since_sent()
    }

    /// Whether all of an announced length was read.
    pub(super) fn is_ended(&self) -> bool {
        self.left == Some(0)
    }

    /// The error of this crate inside one that a read returned.
    pub fn error_in(error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(other) => Error::new(ErrorCode::Transport, other.kind().to_string()),
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.attempt.is_cancelled() {
            return Err(io::Error::other(self.route.cancelled()));
        }
        let count = self.reader.read(buffer).map_err(|error| {
            let standing = self.attempt.standing();
            io::Error::other(self.route.fault(self.phase, standing, error.into()))
        })?;
        if let Some(left) = self.left.as_mut().filter(|_| count > 0) {
            *left = left.saturating_sub(count as u64);
            if *left == 0 {
                // The connection is free by now, whether or not the caller asks for what is behind the end.
                let _ = self.reader.read(&mut [0]);
            }
        }
        Ok(count)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("phase", &self.phase)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// No more than this is read of what follows a stream's end.
const REST: usize = 16 * 1024;

/// How much room is made before a body comes, whatever it announces.
const ANNOUNCED: u64 = 64 * 1024;

/// How much room is made for a body of secrets, at first.
const SECRET: usize = 8 * 1024;

/// Over which connections a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connections {
    KeptOrNew,
    /// A new one alone. The agent's idle connections to the host are closed.
    New,
}

/// The outer error is one of the request's own body.
fn run(
    chosen: &Chosen,
    connections: Connections,
    head: Parts,
    body: &RequestBody,
    limits: &Limits,
) -> Result<Result<Response<ureq::Body>, ureq::Error>, Error> {
    let body = match body.open().map_err(|error| unreadable(&error))? {
        Outgoing::Bytes(bytes) => {
            let method = &head.method;
            let has_none = [Method::GET, Method::HEAD, Method::DELETE].contains(method);
            return Ok(if bytes.is_empty() && has_none {
                run_limited(chosen, connections, Request::from_parts(head, ()), limits)
            } else {
                let request = Request::from_parts(head, &bytes[..]);
                run_limited(chosen, connections, request, limits)
            });
        }
        Outgoing::Reader(reader) => reader,
    };
    let failed = Arc::new(OnceLock::new());
    let watched = WatchedReader {
        reader: body,
        failed: Arc::clone(&failed),
    };
    let request = Request::from_parts(head, ureq::SendBody::from_owned_reader(watched));
    let sent = run_limited(chosen, connections, request, limits);
    match failed.get() {
        Some(error) => Err(unreadable(error)),
        None => Ok(sent),
    }
}

/// A request's body that remembers why it could not be read: that is no fault of the connection.
struct WatchedReader {
    reader: Box<dyn Read + Send>,
    failed: Arc<OnceLock<io::Error>>,
}

impl Read for WatchedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                let copy = io::Error::new(error.kind(), error.to_string());
                let _ = self.failed.set(copy);
            }
        })
    }
}

/// About no credential.
fn unreadable(error: &io::Error) -> Error {
    let what = format!("the body of the request could not be read: {error}");
    Error::new(ErrorCode::Config, what)
}

/// How the client's limits work together: the total one covers everything, the body's reads included; each phase has its own
/// budget beside it (name look-up; connection, proxy and TLS; head of the answer); the limit for one read starts anew
/// with each. The last must hold for the head and for the body alike, so it is the longest that a read may take, and the
/// connection itself keeps the stream's pace.
fn run_limited<B: ureq::AsSendBody>(
    Chosen { agent, proxy }: &Chosen,
    connections: Connections,
    request: Request<B>,
    limits: &Limits,
) -> Result<Response<ureq::Body>, ureq::Error> {
    let mut config = agent
        .configure_request(request)
        // User-supplied agents may be set otherwise.
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(limits.connect))
        .timeout_connect(Some(limits.connect))
        .timeout_recv_response(limits.first_chunk)
        .timeout_per_read(limits.longest_read())
        .timeout_global(Some(limits.total));
    if let Some(proxy) = proxy {
        config = config.proxy(Some(proxy.clone()));
    }
    if connections == Connections::New {
        config = config.max_idle_age(Duration::ZERO);
    }
    agent.run(config.build())
}
