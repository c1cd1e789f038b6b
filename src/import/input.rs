//! Reads a file of another program: bounded, and without quoting what is in it.

use std::fmt;
use std::fs::{self, File};
use std::path::Path;

use serde_json::error::Category;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::auth::{Wipe as _, Wiped, read_wiped};
use crate::error::Error;
use crate::json::parse_lenient;

/// The bytes of a file. A link is followed, because people keep their settings elsewhere; a pipe or a device is not opened.
pub(super) fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |error: std::io::Error| {
        let message = format!("{} cannot be read: {error}", path.display());
        Error::config(message).with_source(error)
    };
    let found = fs::metadata(path).map_err(failed)?;
    if found.is_dir() {
        return Err(unfit(
            path.display(),
            "is a directory: import the files in it one by one",
        ));
    }
    if !found.is_file() {
        return Err(unfit(path.display(), "is not a regular file"));
    }
    let file = File::open(path).map_err(failed)?;
    let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
    read_wiped(&file, length, MOST_BYTES).map_err(failed)
}

/// The object in them.
pub(super) fn object(bytes: &[u8]) -> Result<Wiped<Map<String, Value>>, String> {
    if bytes.len() > MOST_BYTES {
        return Err(format!("is larger than {MOST_BYTES} bytes"));
    }
    if bytes.starts_with(SQLITE) {
        return Err(
            "is an SQLite database, as gcloud's credentials.db and access_tokens.db are, which are not read: import what `gcloud auth \
             application-default login` writes"
                .into(),
        );
    }
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty".into());
    }
    match parse_lenient(bytes) {
        Ok(Value::Object(object)) => Ok(Wiped::new(object)),
        Ok(mut other) => {
            other.wipe();
            Err("is JSON, and no object".into())
        }
        // The error's own text may quote what was read.
        Err(error) if error.classify() == Category::Eof => Err("is cut short".into()),
        Err(error) => Err(format!(
            "is not JSON (line {}, column {})",
            error.line(),
            error.column()
        )),
    }
}

/// That a file is not what it should be.
pub(super) fn unfit(what: impl fmt::Display, reason: impl fmt::Display) -> Error {
    Error::config(format!("{what} {reason}"))
}

/// The largest file that is read.
const MOST_BYTES: usize = 1024 * 1024;

/// <https://www.sqlite.org/fileformat.html#magic_header_string>
const SQLITE: &[u8] = b"SQLite format 3\0";
