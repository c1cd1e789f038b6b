//! TLS errors in words: the side at fault, and the remedy.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::{AlertDescription as Alert, CertificateError};

/// A fault in words that hold no secret.
pub(in crate::transport) struct TlsFault {
    pub(in crate::transport) what: String,
    /// It may pass by itself.
    pub(in crate::transport) passes: bool,
}

/// A fault of the TLS that leads to a proxy, not of that to the server.
#[derive(Debug)]
pub(in crate::transport) struct AtProxy(rustls::Error);

impl fmt::Display for AtProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at the proxy: {}", self.0)
    }
}

impl StdError for AtProxy {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// The error of a connection to a proxy.
pub(in crate::transport) fn at_proxy(error: ureq::Error) -> ureq::Error {
    let tls = match &error {
        ureq::Error::Rustls(tls) => Some(tls),
        ureq::Error::Io(io) => inside(io),
        _ => None,
    };
    match tls.cloned() {
        Some(tls) => ureq::Error::Io(io::Error::other(AtProxy(tls))),
        None => error,
    }
}

/// The fault of TLS in an error of a connection.
pub(in crate::transport) fn find(error: &io::Error) -> Option<TlsFault> {
    if let Some(AtProxy(tls)) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return Some(TlsFault::of(tls, "the proxy"));
    }
    inside(error).map(|tls| TlsFault::of(tls, "the server"))
}

fn inside(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl TlsFault {
    pub(in crate::transport) fn of(error: &rustls::Error, whose: &str) -> Self {
        let (what, passes) = match error {
            rustls::Error::InvalidCertificate(fault) => (certificate(fault, whose), false),
            rustls::Error::AlertReceived(alert) => told(*alert, whose),
            rustls::Error::NoApplicationProtocol => (only_http1(whose), false),
            rustls::Error::PeerIncompatible(_) => (nothing_in_common(whose), false),
            rustls::Error::InvalidMessage(_) => (
                format!("{whose} does not answer with TLS: check scheme and port of the URL"),
                false,
            ),
            other => (
                format!("the TLS handshake with {whose} failed ({})", name(other)),
                true,
            ),
        };
        Self { what, passes }
    }
}

fn certificate(fault: &CertificateError, whose: &str) -> String {
    use CertificateError as FailureKind;
    let name = name(fault);
    match fault {
        FailureKind::UnknownIssuer => format!(
            "{whose}'s certificate is signed by an unknown authority ({name}): if it is your own, add its root certificate with `Builder::root_certificates`, attribute `ca_certificates` or the variable SSL_CERT_FILE"
        ),
        FailureKind::Expired | FailureKind::ExpiredContext { .. } => {
            format!("{whose}'s certificate has expired, or the clock of this machine is wrong")
        }
        FailureKind::NotValidYet | FailureKind::NotValidYetContext { .. } => {
            format!("{whose}'s certificate is not valid yet, or the clock of this machine is wrong")
        }
        FailureKind::NotValidForName | FailureKind::NotValidForNameContext { .. } => format!(
            "{whose}'s certificate is that of another host: check the host in the URL, and for an intercepting proxy"
        ),
        FailureKind::BadSignature => format!(
            "{whose}'s certificate is not signed by the authority that it names ({name}): if that is your own, check that the configured root certificate is current"
        ),
        FailureKind::Revoked => format!("{whose}'s certificate is revoked"),
        FailureKind::Other(other) if format!("{other:?}").contains(CA_AS_SERVER) => format!(
            "{whose}'s certificate is that of an authority ({CA_AS_SERVER}), which is not valid for a server: issue one without CA:TRUE, as `openssl req -x509 -addext basicConstraints=CA:FALSE` makes it"
        ),
        _ => format!("{whose}'s certificate is not accepted ({name})"),
    }
}

/// What the peer's alert says.
fn told(alert: Alert, whose: &str) -> (String, bool) {
    let name = name(&alert);
    let what = match alert {
        Alert::CertificateRequired | Alert::NoCertificate => format!(
            "{whose} requires a client certificate ({name}): set one with `Builder::client_certificate` or the attributes \
             `client_certificate` and `client_key`"
        ),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => format!(
            "{whose} does not accept the client certificate, or misses one ({name}): see `Builder::client_certificate`"
        ),
        Alert::HandshakeFailure => format!(
            "{whose} accepts none of the TLS versions and ciphers on offer, or misses a client certificate ({name})"
        ),
        Alert::ProtocolVersion | Alert::InsufficientSecurity => nothing_in_common(whose),
        Alert::UnrecognisedName => {
            format!(
                "{whose} does not recognize the host's name ({name}): check the host in the URL"
            )
        }
        Alert::NoApplicationProtocol => only_http1(whose),
        _ => return (format!("{whose} ended the TLS handshake ({name})"), true),
    };
    (what, false)
}

fn nothing_in_common(whose: &str) -> String {
    format!(
        "{whose} has no TLS version or cipher in common with this program, which speaks TLS 1.2 and 1.3"
    )
}

fn only_http1(whose: &str) -> String {
    format!("{whose} does not speak HTTP/1.1, the only supported version")
}

/// The fault's name in the TLS library: never text from outside.
fn name(fault: &impl fmt::Debug) -> String {
    let name = format!("{fault:?}");
    let letters = name.chars().take_while(char::is_ascii_alphanumeric);
    letters.take(40).collect()
}

const CA_AS_SERVER: &str = "CaUsedAsEndEntity";
