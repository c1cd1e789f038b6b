//! Transport errors in fixed words without secrets: host names, ports and numbers alone.

use std::fmt;
use std::io;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use ureq::{Proxy, Timeout};

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};

use super::socks::Said;
use super::tls::{self, TlsFault};
use super::{cancellable, socks};
use crate::proxy_url;

/// The two ends of the connection.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    auth_id: String,
    /// Host and port; nothing else of the URL.
    host: Option<Authority>,
    /// Scheme, host and port.
    proxy: Option<String>,
}

/// What was being received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The head of an answer, or nothing yet.
    Request,
    /// The body of an answer in one piece.
    Body,
    /// The body of a stream.
    Stream,
}

/// The state of the call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionState {
    pub(crate) cancelled: bool,
    /// What is left of the call's time.
    pub(crate) remaining: Option<Duration>,
}

impl Route {
    pub(crate) fn new(auth: &Auth, uri: Option<&Uri>, proxy: Option<&Proxy>) -> Self {
        Self {
            auth_id: auth.id.clone(),
            host: uri.and_then(Uri::authority).cloned(),
            proxy: proxy.map(proxy_url::label),
        }
    }

    pub(crate) fn error(&self, code: ErrorCode, what: impl fmt::Display) -> Error {
        let message = format!("credential {:?}, {self}: {what}", self.auth_id);
        Error::new(code, message).with_auth_id(&self.auth_id)
    }

    pub(crate) fn cancelled(&self) -> Error {
        self.error(ErrorCode::Cancelled, "the call was cancelled")
    }

    pub(crate) fn late(&self) -> Error {
        self.error(
            ErrorCode::DeadlineExceeded,
            "the call's deadline has passed",
        )
    }

    /// The client's error as one of this crate.
    pub(crate) fn fault(
        &self,
        phase: Phase,
        standing: ConnectionState,
        error: ureq::Error,
    ) -> Error {
        if let ureq::Error::Io(io) = &error {
            if cancellable::is_cancellation(io) {
                return self.cancelled();
            }
            if let Some(ours) = io.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
                return ours.clone();
            }
        }
        if standing.cancelled {
            return self.cancelled();
        }
        match error {
            ureq::Error::Timeout(_) if standing.remaining == Some(Duration::ZERO) => self.late(),
            ureq::Error::Timeout(timeout) => self.timeout(phase, timeout),
            ureq::Error::StatusCode(status) => {
                Error::upstream(status, "").with_auth_id(&self.auth_id)
            }
            ureq::Error::Io(io) => self.io(phase, &io),
            ureq::Error::HostNotFound => self.error(broken(phase), NO_HOST),
            ureq::Error::ConnectProxyFailed(reason) => self.connect_proxy(&reason),
            ureq::Error::Rustls(error) => self.tls(TlsFault::of(&error, "the server")),
            ureq::Error::Tls(tls::BAD_NAME) => self.lasting(ErrorCode::Transport, tls::BAD_NAME),
            ureq::Error::Tls(_) | ureq::Error::TlsRequired | ureq::Error::Pem(_) => {
                self.error(ErrorCode::Transport, "the TLS handshake failed")
            }
            ureq::Error::Protocol(_) => self.error(
                broken(phase),
                "the answer is not valid HTTP/1.1, the only supported version",
            ),
            ureq::Error::LargeResponseHeader(..) => {
                self.lasting(ErrorCode::Upstream, "the head of the response is too large")
            }
            ureq::Error::BodyExceedsLimit(_) => self.too_large(),
            ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
                let what = "the answer is a redirect, which is not followed";
                self.lasting(ErrorCode::Transport, what)
            }
            ureq::Error::InvalidProxyUrl => {
                self.error(ErrorCode::Config, "the proxy URL is not a valid one")
            }
            ureq::Error::Http(_) => self.error(
                ErrorCode::Config,
                "the request cannot be made: its URL or one of its headers is not valid",
            ),
            ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
                self.error(ErrorCode::Config, "the URL cannot be used")
            }
            _ => self.error(broken(phase), "the connection failed"),
        }
    }

    pub(crate) fn too_large(&self) -> Error {
        self.lasting(ErrorCode::Upstream, "the answer is larger than allowed")
    }

    /// An error that no retry heals.
    fn lasting(&self, code: ErrorCode, what: &str) -> Error {
        self.error(code, what).with_retryable(false)
    }

    fn timeout(&self, phase: Phase, timeout: Timeout) -> Error {
        let what = match timeout {
            Timeout::Resolve => {
                "resolving the host's name took longer than the limit for connecting"
            }
            Timeout::Connect => "connecting took longer than its limit",
            Timeout::SendRequest | Timeout::SendBody | Timeout::PerWrite => {
                "sending the request took longer than its limit"
            }
            Timeout::RecvResponse => "no answer within the limit for the first chunk",
            Timeout::PerRead if phase == Phase::Stream => {
                let what = "no data within the stream's idle limit";
                return self.error(ErrorCode::StreamStalled, what);
            }
            Timeout::PerRead => "no data within the limit for one read",
            _ => {
                let what = "the attempt took longer than its limit in all";
                return self.error(broken(phase), what);
            }
        };
        self.error(ErrorCode::Transport, what)
    }

    fn io(&self, phase: Phase, error: &io::Error) -> Error {
        let error = cancellable::lost_connection(error).unwrap_or(error);
        if let Some(fault) = tls::find(error) {
            return self.tls(fault);
        }
        let text = error.get_ref().map(ToString::to_string);
        let text = text.as_deref().unwrap_or_default();
        match socks::said(text) {
            Some(Said::LoginRefused) => return self.login_refused(),
            Some(Said::Answer { what, passes }) => {
                let what = format_args!("the SOCKS proxy answered: {what}");
                let error = self.error(ErrorCode::Transport, what);
                return error.with_retryable(passes);
            }
            None => {}
        }
        if text.starts_with(NAME_LOOKUP) {
            return self.error(broken(phase), NO_HOST);
        }
        match error.kind() {
            io::ErrorKind::UnexpectedEof if phase == Phase::Stream => {
                let what = "the connection was closed before the end of the stream";
                self.error(ErrorCode::StreamTruncated, what)
            }
            io::ErrorKind::UnexpectedEof => {
                let what = "the connection was closed before the answer was complete";
                self.error(ErrorCode::Transport, what)
            }
            io::ErrorKind::ConnectionRefused if self.proxy.is_some() => {
                self.error(ErrorCode::Transport, "the proxy refused the connection")
            }
            kind => {
                let error_here = self.error(broken(phase), kind);
                // Nothing but the operating system's own words.
                match error.raw_os_error() {
                    Some(code) => error_here.with_source(io::Error::from_raw_os_error(code)),
                    None => error_here,
                }
            }
        }
    }

    fn connect_proxy(&self, reason: &str) -> Error {
        let reason = reason.trim_start_matches(|char: char| !char.is_ascii_digit());
        let digits = reason.split(|char: char| !char.is_ascii_digit()).next();
        match digits.unwrap_or_default().parse::<u16>() {
            // Some proxies say 401: only a proxy answers a CONNECT.
            Ok(401 | 407) => self.login_refused(),
            Ok(403) => self.lasting(
                ErrorCode::Transport,
                "the proxy does not allow this destination (HTTP 403): change its rules, or use another proxy",
            ),
            Ok(status) => {
                let what = format_args!("the proxy answered with HTTP {status}");
                let error = self.error(ErrorCode::Transport, what);
                error.with_retryable(status >= 500 || [408, 429].contains(&status))
            }
            Err(_) => self.error(ErrorCode::Transport, "the proxy gave no answer"),
        }
    }

    fn login_refused(&self) -> Error {
        let what = "the proxy refused the login: check the user and the password in the proxy URL";
        self.lasting(ErrorCode::Transport, what)
    }

    fn tls(&self, fault: TlsFault) -> Error {
        self.error(ErrorCode::Transport, fault.what)
            .with_retryable(fault.passes)
    }
}

/// `api.example.org through proxy http://127.0.0.1:3128`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.as_ref().map(Authority::as_str);
        // Addresses with a user are refused before any request to them; the route must not show the user in any case.
        let host = host.map(|host| host.rsplit('@').next().unwrap_or(host));
        f.write_str(host.unwrap_or("request"))?;
        match &self.proxy {
            Some(proxy) => write!(f, " through proxy {proxy}"),
            None => Ok(()),
        }
    }
}

fn broken(phase: Phase) -> ErrorCode {
    match phase {
        Phase::Request | Phase::Body => ErrorCode::Transport,
        Phase::Stream => ErrorCode::StreamInterrupted,
    }
}

const NO_HOST: &str = "the host's name is not known";
const NAME_LOOKUP: &str = "failed to lookup address information";

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    const OPEN: ConnectionState = ConnectionState {
        cancelled: false,
        remaining: Some(Duration::from_nanos(1)),
    };

    fn route() -> Route {
        Route {
            auth_id: "team-a".into(),
            host: Some(Authority::from_static("api.example.org")),
            proxy: None,
        }
    }

    fn code(phase: Phase, standing: ConnectionState, error: ureq::Error) -> ErrorCode {
        let error = route().fault(phase, standing, error);
        assert_eq!(error.auth_id(), Some("team-a"));
        error.code().clone()
    }

    #[test]
    fn a_timeout_at_the_deadline_is_the_deadline() {
        for (remaining, expected) in [
            (None, ErrorCode::Transport),
            (Some(Duration::from_nanos(1)), ErrorCode::Transport),
            (Some(Duration::ZERO), ErrorCode::DeadlineExceeded),
        ] {
            for timeout in [Timeout::Global, Timeout::Connect, Timeout::RecvResponse] {
                let standing = ConnectionState {
                    cancelled: false,
                    remaining,
                };
                let error = ureq::Error::Timeout(timeout);
                assert_eq!(code(Phase::Request, standing, error), expected);
            }
        }
    }

    #[test]
    fn the_phase_decides_the_code() {
        let eof = || ureq::Error::Io(io::ErrorKind::UnexpectedEof.into());
        let reset = || ureq::Error::Io(io::ErrorKind::ConnectionReset.into());
        let silent = || ureq::Error::Timeout(Timeout::PerRead);
        for phase in [Phase::Request, Phase::Body] {
            for error in [eof(), reset(), silent()] {
                assert_eq!(code(phase, OPEN, error), ErrorCode::Transport);
            }
        }
        assert_eq!(code(Phase::Stream, OPEN, eof()), ErrorCode::StreamTruncated);
        assert_eq!(
            code(Phase::Stream, OPEN, reset()),
            ErrorCode::StreamInterrupted
        );
        assert_eq!(
            code(Phase::Stream, OPEN, silent()),
            ErrorCode::StreamStalled
        );
    }

    #[test]
    fn after_a_cancel_every_failure_is_the_cancel() {
        let cancelled = ConnectionState {
            cancelled: true,
            remaining: Some(Duration::ZERO),
        };
        for error in [
            ureq::Error::Timeout(Timeout::Global),
            ureq::Error::Io(io::ErrorKind::BrokenPipe.into()),
            ureq::Error::ConnectionFailed,
        ] {
            assert_eq!(code(Phase::Stream, cancelled, error), ErrorCode::Cancelled);
        }
    }

    #[test]
    fn no_foreign_text_is_quoted() {
        let canary = || "canary".to_owned();
        let mut proxied = route();
        proxied.proxy = Some("http://127.0.0.1:1".into());
        for error in [
            ureq::Error::BadUri(canary()),
            ureq::Error::RequireHttpsOnly(canary()),
            ureq::Error::ConnectProxyFailed(canary()),
            ureq::Error::ConnectProxyFailed("proxy server responded 502/canary".into()),
            ureq::Error::Other(canary().into()),
            ureq::Error::Io(io::Error::other(canary())),
            ureq::Error::Io(io::Error::new(io::ErrorKind::ConnectionRefused, "canary")),
            ureq::Error::Tls("canary"),
        ] {
            for route in [&route(), &proxied] {
                let error = route.fault(
                    Phase::Request,
                    OPEN,
                    match &error {
                        ureq::Error::Io(io) => {
                            ureq::Error::Io(io::Error::new(io.kind(), io.to_string()))
                        }
                        ureq::Error::BadUri(text) => ureq::Error::BadUri(text.clone()),
                        ureq::Error::RequireHttpsOnly(text) => {
                            ureq::Error::RequireHttpsOnly(text.clone())
                        }
                        ureq::Error::ConnectProxyFailed(text) => {
                            ureq::Error::ConnectProxyFailed(text.clone())
                        }
                        ureq::Error::Tls(text) => ureq::Error::Tls(text),
                        _ => ureq::Error::Other(canary().into()),
                    },
                );
                let source = std::error::Error::source(&error).map(ToString::to_string);
                let shown = format!("{error} {error:?} {source:?}");
                assert!(!shown.contains("canary"), "{shown}");
            }
        }
    }

    #[test]
    fn logins_and_certificates_that_are_refused_are_not_tried_again() {
        for error in [
            ureq::Error::ConnectProxyFailed("proxy server responded 407/407".into()),
            ureq::Error::Io(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "password authentication failed",
            )),
            ureq::Error::Io(io::Error::new(
                io::ErrorKind::InvalidData,
                rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
            )),
            ureq::Error::ConnectProxyFailed("proxy server responded 401/401".into()),
            ureq::Error::ConnectProxyFailed("proxy server responded 403/403".into()),
            ureq::Error::Io(io::Error::other("connection not allowed by ruleset")),
        ] {
            let error = route().fault(Phase::Request, OPEN, error);
            assert_eq!(error.code(), &ErrorCode::Transport);
            assert!(!error.is_retryable(), "{error}");
        }
    }

    #[test]
    fn the_operating_systems_errors_stay_reachable() {
        let error = route().fault(
            Phase::Request,
            OPEN,
            ureq::Error::Io(io::Error::from_raw_os_error(104)),
        );
        let source = std::error::Error::source(&error).unwrap();
        assert!(source.downcast_ref::<io::Error>().is_some());
    }
}
