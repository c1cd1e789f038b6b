//! Reading a file that anybody may have put there: bounded, no links followed, nothing of it quoted.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::error::Category;
use serde_json::{Map, Value};

use super::modes;

/// Why a file does not read.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// A link, a directory, a pipe, or below a link.
    Kind(&'static str),
    TooLarge,
    Empty,
    Json(serde_json::Error),
    NotAnObject,
    /// JSON that is not what it should be: a reason that quotes no value.
    Content(String),
    Io(io::Error),
}

/// The object in the file at `path` below `root`; none if there is no such file.
pub(super) fn object(root: &Path, path: &str) -> Result<Option<Map<String, Value>>, Unreadable> {
    let Some(place) = place(root, path)? else {
        return Ok(None);
    };
    match bytes(&place, |file| modes::tighten_file(file, path)) {
        Ok(bytes) => parse(&bytes).map(Some),
        Err(Unreadable::Io(error)) if is_missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The object in a file that the store itself has just had written.
pub(super) fn own_object(place: &Path) -> Result<Map<String, Value>, Unreadable> {
    parse(&bytes(place, |_| ())?)
}

/// Where `path` is, with no link on the way to it; none where a directory on the way is missing.
pub(super) fn place(root: &Path, path: &str) -> Result<Option<PathBuf>, Unreadable> {
    let mut place = root.to_owned();
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        place.push(part);
        match fs::symlink_metadata(&place) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(Unreadable::Kind("is below something that is no directory")),
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(Unreadable::Io(error)),
        }
    }
    place.push(name);
    Ok(Some(place))
}

/// What keeps an entry from being read, by its kind.
pub(super) fn refused(kind: fs::FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_symlink() => Some("is a symbolic link, which is not followed"),
        kind if kind.is_dir() => Some("is a directory"),
        kind if kind.is_file() => None,
        _ => Some("is not a regular file"),
    }
}

pub(super) fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidFilename
    )
}

fn bytes(place: &Path, opened: impl FnOnce(&File)) -> Result<Vec<u8>, Unreadable> {
    let file = open(place)?;
    opened(&file);
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    Ok(bytes)
}

/// Opens a regular file. It is looked at first: opening a pipe would block, and a link would be followed.
fn open(place: &Path) -> Result<File, Unreadable> {
    for _ in 0..TRIES {
        let seen = fs::symlink_metadata(place)?;
        if let Some(reason) = refused(seen.file_type()) {
            return Err(Unreadable::Kind(reason));
        }
        let file = File::open(place)?;
        // Another one may have taken its place in between, in a save.
        if modes::same_file(&seen, &file.metadata()?) {
            return Ok(file);
        }
    }
    Err(Unreadable::Kind("is replaced all the time"))
}

pub(super) fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Unreadable> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Unreadable::Empty);
    }
    match serde_json::from_slice(bytes).map_err(Unreadable::Json)? {
        Value::Object(object) => Ok(object),
        _ => Err(Unreadable::NotAnObject),
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(reason) => f.write_str(reason),
            Self::TooLarge => write!(f, "is larger than {MAX_BYTES} bytes"),
            Self::Empty => f.write_str("is empty"),
            Self::Json(error) => {
                // The error's own text may quote what was read.
                let what = match error.classify() {
                    Category::Eof => "is cut off",
                    _ => "is not JSON",
                };
                write!(
                    f,
                    "{what} (line {}, column {})",
                    error.line(),
                    error.column()
                )
            }
            Self::NotAnObject => f.write_str("is not a JSON object"),
            Self::Content(reason) => f.write_str(reason),
            Self::Io(error) => write!(f, "could not be read: {error}"),
        }
    }
}

/// The largest file that is read or written.
pub(super) const MAX_BYTES: usize = 1024 * 1024;

const TRIES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_say_where_and_never_what() {
        for (text, reason) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("[1]", "is not a JSON object"),
            ("{\"a\":\n\"sk-canary", "is cut off (line 2, column 10)"),
            ("{\"a\":\nsk-canary}", "is not JSON (line 2, column 1)"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), reason);
        }
        assert!(parse(b"\xff\xfe{}").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
