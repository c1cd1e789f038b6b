//! An upstream over TLS.

use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::{Server, serve};

/// An upstream with a certificate for `localhost`, and that certificate.
pub fn upstream() -> (Server, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = made.cert.der().to_vec();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![made.cert.der().clone()],
            PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let server = Server::start(move |stream, report| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        serve(&mut stream, report)
    });
    (server, certificate)
}

pub fn url(server: &Server, path: &str) -> String {
    format!("https://localhost:{}{path}", server.address().port())
}

/// What a client needs to accept the certificate.
pub fn trusting(certificate: &[u8]) -> TlsConfig {
    let certificate = Certificate::from_der(certificate).to_owned();
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(vec![certificate])))
        .build()
}
