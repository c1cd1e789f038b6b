//! A certificate authority of a company, servers with its certificates, and a proxy that is spoken to over TLS.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Server, serve};

/// Each authority has a name of its own.
static MADE: AtomicUsize = AtomicUsize::new(0);

pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

/// How a server differs from the usual.
#[derive(Default)]
pub struct Odd<'a> {
    /// It asks for a certificate that this authority has signed.
    pub asks_for: Option<&'a Authority>,
    pub only_tls12: bool,
    pub alpn: Vec<Vec<u8>>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("Company CA {number}"));
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub fn pem(&self) -> String {
        pem("CERTIFICATE", self.0.der())
    }

    fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub fn signs(&self, name: &str) -> Identity {
        self.signs_with(name, |_| {})
    }

    pub fn signs_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        let key = key.serialize_der();
        Identity { certificate, key }
    }

    /// Its own certificate, as a server would show it.
    pub fn itself(&self) -> Identity {
        Identity {
            certificate: self.der(),
            key: self.0.key().serialize_der(),
        }
    }
}

impl Identity {
    pub fn certificate_pem(&self) -> String {
        pem("CERTIFICATE", &self.certificate)
    }

    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }

    pub fn config(&self, odd: &Odd<'_>) -> Arc<ServerConfig> {
        let provider: Arc<CryptoProvider> = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = if odd.only_tls12 {
            builder.with_protocol_versions(&[&rustls::version::TLS12])
        } else {
            builder.with_safe_default_protocol_versions()
        };
        let builder = builder.unwrap();
        let builder = match odd.asks_for {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
            None => builder.with_no_client_auth(),
        };
        let key = PrivatePkcs8KeyDer::from(self.key.clone()).into();
        let mut config = builder
            .with_single_cert(vec![self.certificate.clone()], key)
            .unwrap();
        config.alpn_protocols.clone_from(&odd.alpn);
        Arc::new(config)
    }

    pub fn upstream(&self) -> Server {
        upstream(self.config(&Odd::default()))
    }
}

/// An upstream over TLS, as [`serve`] answers.
pub fn upstream(config: Arc<ServerConfig>) -> Server {
    Server::start(move |stream, report| {
        let session = ServerConnection::new(Arc::clone(&config)).unwrap();
        serve(&mut StreamOwned::new(session, stream), report)
    })
}

/// Ends TLS and passes on to `behind` what was in it.
pub fn over_tls(config: Arc<ServerConfig>, behind: SocketAddr) -> Server {
    Server::start(move |stream, _| {
        let mut session = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut client = stream.try_clone()?;
        session.complete_io(&mut client)?;
        let inner = TcpStream::connect(behind)?;
        let session = Arc::new(Mutex::new(session));
        let back = thread::spawn({
            let (session, inner, client) = (
                Arc::clone(&session),
                inner.try_clone()?,
                client.try_clone()?,
            );
            move || {
                let _ = encrypt(inner, &client, &session);
                let _ = client.shutdown(Shutdown::Both);
            }
        });
        let _ = decrypt(client, &inner, &session);
        let _ = inner.shutdown(Shutdown::Both);
        back.join().unwrap();
        Ok(())
    })
}

fn encrypt(
    mut inner: TcpStream,
    mut client: &TcpStream,
    session: &Mutex<ServerConnection>,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let count = inner.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut session = session.lock().unwrap();
        session.writer().write_all(&buffer[..count])?;
        while session.wants_write() {
            session.write_tls(&mut client)?;
        }
    }
}

fn decrypt(
    mut client: TcpStream,
    mut inner: &TcpStream,
    session: &Mutex<ServerConnection>,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let mut bytes = &[][..];
    loop {
        let mut plain = Vec::new();
        {
            let mut session = session.lock().unwrap();
            loop {
                // What came along with the handshake is there from the beginning.
                let mut part = [0; 4096];
                while let Ok(count @ 1..) = session.reader().read(&mut part) {
                    plain.extend_from_slice(&part[..count]);
                }
                if bytes.is_empty() {
                    break;
                }
                session.read_tls(&mut bytes)?;
                session.process_new_packets().map_err(io::Error::other)?;
            }
        }
        inner.write_all(&plain)?;
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        bytes = &buffer[..count];
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}
