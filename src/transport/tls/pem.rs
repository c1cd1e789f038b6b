//! PEM certificates and keys, inline or in files. Errors have fixed words.

use std::fs::{self, File};
use std::io::{self, Read};
use std::time::UNIX_EPOCH;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The bytes that an attribute's value stands for: PEM itself, or a file's.
pub(super) fn load(value: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    if is_pem(value) {
        return Ok(Zeroizing::new(value.as_bytes().to_vec()));
    }
    read(value).map_err(|error| format!("names a file that cannot be read: {}", error.kind()))
}

/// Reads a file of certificates or keys.
pub(super) fn read(path: impl AsRef<std::path::Path>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(ROOM));
    File::open(path)?.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Changes whenever the file that the value names does.
pub(super) fn version(value: &str) -> [u8; 24] {
    let mut version = [0; 24];
    if is_pem(value) || value.is_empty() {
        return version;
    }
    if let Ok(file) = fs::metadata(value) {
        let modified = file.modified().ok();
        let modified = modified.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        version[..8].copy_from_slice(&file.len().to_le_bytes());
        version[8..].copy_from_slice(&modified.unwrap_or_default().as_nanos().to_le_bytes());
    }
    version
}

pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<_, pem::Error> = CertificateDer::pem_slice_iter(pem).collect();
    all.map_err(|_| "its PEM is broken")
}

pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "there is no private key (it must be PEM; one with a password cannot be read)"
        }
        _ => "the PEM of its key is broken",
    })
}

pub(super) fn is_pem(value: &str) -> bool {
    value.contains("-----BEGIN ")
}

/// As much as the bundle of a whole system has, many times over.
const LARGEST: u64 = 16 * 1024 * 1024;
const ROOM: usize = 16 * 1024;
