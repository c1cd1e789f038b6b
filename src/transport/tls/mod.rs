//! TLS configuration: accepted root certificates, and the client certificate.

mod connector;
mod environment;
mod fault;
mod pem;

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::TrustAnchor;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use sha2::{Digest as _, Sha256};

use crate::auth::{Auth, Secret};
use crate::error::Error;

pub(super) use connector::{BAD_NAME, wrap};
pub(super) use fault::{TlsFault, at_proxy, find};

/// What a manager adds to the usual set-up, as its builder was given it.
#[derive(Clone, Default)]
pub(crate) struct TlsSettings {
    /// Root certificates as PEM.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The client's certificate with its chain, and its key, as PEM.
    pub(crate) client: Option<(Vec<u8>, Secret)>,
}

/// Which certificates are accepted, and which one is shown. The roots beside one's own are read when they are first needed.
#[derive(Default)]
pub(crate) struct Tls {
    roots: Vec<TrustAnchor<'static>>,
    client: Option<Arc<CertifiedKey>>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    /// # Errors
    /// `config` for certificates and keys that cannot be used.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Self, Error> {
        let unfit = |what: &str, why: &str| Error::config(format!("{what}: {why}"));
        let mut roots = Vec::new();
        for pem in &settings.roots {
            roots.extend(read_roots(pem).map_err(|why| unfit("root_certificates", why))?);
        }
        let client = settings
            .client
            .as_ref()
            .map(|(chain, key)| client(chain, key.expose().as_bytes()))
            .transpose()
            .map_err(|why| unfit("client_certificate", why))?;
        Ok(Self {
            roots,
            client,
            config: OnceLock::new(),
        })
    }

    /// The same with a credential's own roots and certificate, which go before the manager's; or which attribute is wrong, and how.
    pub(super) fn with(&self, own: &OwnTls<'_>) -> Result<Self, UnfitTls> {
        let read = |attribute: &'static str, value: Option<&str>| {
            let bytes = value.map(pem::load).transpose();
            bytes.map_err(|why| UnfitTls::File(format!("attribute `{attribute}` {why}")))
        };
        let unfit = |attribute: &'static str, values: [Option<&str>; 2], why: &str| {
            let why = format!("attribute `{attribute}`: {why}");
            if values.into_iter().flatten().all(pem::is_pem) {
                UnfitTls::Attribute(why)
            } else {
                UnfitTls::File(why)
            }
        };
        let mut roots = self.roots.clone();
        if let Some(bytes) = read(CA_CERTIFICATES, own.roots)? {
            let added = read_roots(&bytes);
            roots.extend(added.map_err(|why| unfit(CA_CERTIFICATES, [own.roots, None], why))?);
        }
        let chain = read(CLIENT_CERTIFICATE, own.chain)?;
        // One file may hold both.
        let key = read(CLIENT_KEY, own.key.or(own.chain))?;
        let client = match (chain, key) {
            (None, None) => self.client.clone(),
            (Some(chain), Some(key)) => Some(
                client(&chain, &key)
                    .map_err(|why| unfit(CLIENT_CERTIFICATE, [own.chain, own.key], why))?,
            ),
            _ => {
                let why = format!("attribute `{CLIENT_KEY}` stands without `{CLIENT_CERTIFICATE}`");
                return Err(UnfitTls::Attribute(why));
            }
        };
        Ok(Self {
            roots,
            client,
            config: OnceLock::new(),
        })
    }

    /// As the TLS library takes it. All connections share it, and so the sessions that are resumed.
    fn config(&self) -> Result<Arc<ClientConfig>, ureq::Error> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let made = self.make()?;
        Ok(Arc::clone(self.config.get_or_init(|| made)))
    }

    fn make(&self) -> Result<Arc<ClientConfig>, ureq::Error> {
        let own = self.roots.iter().chain(environment::roots());
        let roots: RootCertStore = own.cloned().collect();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            Some(client) => builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(client)))),
            None => builder.with_no_client_auth(),
        };
        // The only version that is spoken: a server that has none of it says so.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("roots", &self.roots.len())
            .field("client", &self.client.is_some())
            .finish_non_exhaustive()
    }
}

/// Which attribute for TLS cannot be used, and why.
pub(super) enum UnfitTls {
    /// Until the record changes.
    Attribute(String),
    /// Until the file does that it names.
    File(String),
}

/// What a credential's attributes say of TLS. Each value is PEM, or the path of a file with it.
#[derive(Clone, Copy, Default)]
pub(super) struct OwnTls<'a> {
    roots: Option<&'a str>,
    chain: Option<&'a str>,
    key: Option<&'a str>,
}

impl<'a> OwnTls<'a> {
    pub(super) fn of(auth: &'a Auth) -> Option<Self> {
        let own = Self {
            roots: auth.attributes.filled(CA_CERTIFICATES),
            chain: auth.attributes.filled(CLIENT_CERTIFICATE),
            key: auth.attributes.filled(CLIENT_KEY),
        };
        let is_there = own.roots.or(own.chain).or(own.key).is_some();
        is_there.then_some(own)
    }

    /// Tells one set-up from another. A file that was written anew makes another one.
    pub(super) fn digest(&self, hasher: &mut Sha256) {
        for value in [self.roots, self.chain, self.key] {
            let value = value.unwrap_or_default();
            hasher.update(value.len().to_le_bytes());
            hasher.update(value);
            hasher.update(pem::version(value));
        }
    }
}

/// The certificate to show, with its chain, and its key.
fn client(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, &'static str> {
    let chain = pem::certificates(chain)?;
    if chain.is_empty() {
        return Err("there is no certificate in it (it must be PEM)");
    }
    let made = CertifiedKey::from_der(chain, pem::key(key)?, &provider());
    made.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "the key is another certificate's",
        _ => "the certificate or its key cannot be used",
    })
}

fn read_roots(pem: &[u8]) -> Result<Vec<TrustAnchor<'static>>, &'static str> {
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(pem::certificates(pem)?);
    if added == 0 {
        return Err("there is no usable certificate in it (it must be PEM)");
    }
    if ignored > 0 {
        log::warn!("{ignored} root certificates are ignored: they cannot be read");
    }
    Ok(roots.roots)
}

/// The program's choice of cryptography, if it has made one.
fn provider() -> Arc<CryptoProvider> {
    let chosen = CryptoProvider::get_default().cloned();
    chosen.unwrap_or_else(|| Arc::new(ring::default_provider()))
}

const CA_CERTIFICATES: &str = "ca_certificates";
const CLIENT_CERTIFICATE: &str = "client_certificate";
const CLIENT_KEY: &str = "client_key";
