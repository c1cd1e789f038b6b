//! Root certificates that the environment names, as other programs know them: `SSL_CERT_FILE`, a file, and `SSL_CERT_DIR`,
//! directories.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;

use super::pem;

/// Adds them. What cannot be read is left out, with a word in the log: the usual roots are there in any case.
pub(super) fn add_roots(roots: &mut RootCertStore) {
    let variable = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    if let Some(file) = variable(FILE) {
        let file = PathBuf::from(file);
        if let Err(why) = add_file(roots, &file) {
            log::warn!(
                "{FILE} ({}) adds no root certificate: {why}",
                file.display()
            );
        }
    }
    for dir in variable(DIR).iter().flat_map(env::split_paths) {
        match files(&dir) {
            Ok(files) => {
                for file in files {
                    // Directories of certificates hold other files, too.
                    if let Err(why) = add_file(roots, &file) {
                        log::debug!("{} adds no root certificate: {why}", file.display());
                    }
                }
            }
            Err(error) => log::warn!("{DIR} ({}) cannot be read: {error}", dir.display()),
        }
    }
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<(), String> {
    let bytes = pem::read(file).map_err(|error| error.to_string())?;
    super::add_roots(roots, &bytes).map_err(str::to_owned)
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
