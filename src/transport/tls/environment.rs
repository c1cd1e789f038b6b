//! Root certificates that the environment names, as other programs know them: `SSL_CERT_FILE`, a file, and `SSL_CERT_DIR`,
//! directories.

use std::collections::HashSet;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use super::pem;

/// Mozilla's roots and those that the environment names. Both are read once in the life of a process.
pub(super) fn roots() -> &'static [TrustAnchor<'static>] {
    static ROOTS: OnceLock<Vec<TrustAnchor<'static>>> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let (_, ignored) = roots.add_parsable_certificates(named());
        if ignored > 0 {
            log::warn!("{ignored} root certificates of the environment cannot be used");
        }
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        roots.roots
    })
}

/// The certificates that the environment names. What cannot be read is left out, with a word in the log: the usual roots are there in
/// any case.
fn named() -> HashSet<CertificateDer<'static>> {
    let variable = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let mut named = HashSet::new();
    if let Some(file) = variable(FILE) {
        match certificates(Path::new(&file)) {
            Ok(found) => named.extend(found),
            Err(why) => log::warn!("{FILE} adds no root certificate: {why}"),
        }
    }
    for dir in variable(DIR).iter().flat_map(env::split_paths) {
        match files(&dir) {
            // Directories of certificates hold other files, too.
            Ok(files) => named.extend(files.iter().flat_map(|file| certificates(file)).flatten()),
            Err(error) => log::warn!("{DIR} ({}) cannot be read: {error}", dir.display()),
        }
    }
    named
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = pem::read(file).map_err(|error| error.to_string())?;
    let found = pem::certificates(&bytes)?;
    if found.is_empty() {
        return Err("there is none in it (it must be PEM)".to_owned());
    }
    Ok(found)
}

/// The directory's files, in order. One certificate is often there under several names: a link that OpenSSL finds, and its own.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(dir)?
        .filter_map(|entry| fs::canonicalize(entry.ok()?.path()).ok())
        .filter(|path| path.is_file())
        .collect();
    files.sort_unstable();
    files.dedup();
    Ok(files)
}

const FILE: &str = "SSL_CERT_FILE";
const DIR: &str = "SSL_CERT_DIR";
