//! Reads untrusted files: bounded, without following links, without quoting their contents.

use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use serde_json::error::Category;
use zeroize::Zeroizing;

use super::fingerprint::Mark;
use crate::auth::{Wipe as _, Wiped, read_wiped};
use crate::json::parse_lenient;
use crate::store::codec::Object;
use crate::store::support::permissions;

/// Why a file cannot be parsed.
#[derive(Debug)]
pub(super) enum Unreadable {
    /// A link, a directory, a pipe, or below a link.
    Kind(&'static str),
    TooLarge,
    Empty,
    Json(serde_json::Error),
    NotAnObject,
    /// A file of another program that is of no use here, and why.
    Foreign(String),
    /// JSON that is not what it should be: a reason that quotes no value.
    Content(String),
    Io(io::Error),
}

/// A file that was looked at.
pub(super) struct Look {
    /// What is in it; none if there is no such file.
    pub(super) object: Result<Option<Object>, Unreadable>,
    pub(super) mark: Mark,
}

/// Reads the file at `path` below `root`.
pub(super) fn look(root: &Path, path: &str) -> Look {
    let nothing = |object| Look {
        object,
        mark: Mark::default(),
    };
    let place = match place(root, path) {
        Ok(Some(place)) => place,
        Ok(None) => return nothing(Ok(None)),
        Err(problem) => return nothing(Err(problem)),
    };
    match contents(&place, path) {
        Ok((bytes, found)) => Look {
            object: parse(&bytes).map(Some),
            mark: Mark::of(&found, &bytes),
        },
        Err(Unreadable::Io(error)) if is_missing(&error) => nothing(Ok(None)),
        Err(problem) => Look {
            object: Err(problem),
            mark: fs::symlink_metadata(&place)
                .map(|found| Mark::unread(&found))
                .unwrap_or_default(),
        },
    }
}

/// What is in the file at `path` below `root`; none if there is no such file.
pub(super) fn text(root: &Path, path: &str) -> Result<Option<Zeroizing<Vec<u8>>>, Unreadable> {
    let Some(place) = place(root, path)? else {
        return Ok(None);
    };
    match contents(&place, path) {
        Ok((bytes, _)) => Ok(Some(bytes)),
        Err(Unreadable::Io(error)) if is_missing(&error) => Ok(None),
        Err(problem) => Err(problem),
    }
}

fn contents(place: &Path, path: &str) -> Result<(Zeroizing<Vec<u8>>, Metadata), Unreadable> {
    bytes(place, |file, found| {
        permissions::tighten_file(file, found, path);
    })
}

/// The object in the file at `path` below `root`; none if there is no such file.
pub(super) fn object(root: &Path, path: &str) -> Result<Option<Object>, Unreadable> {
    look(root, path).object
}

/// The object in a file that the store itself has had written, and its mark.
pub(super) fn own_object(place: &Path) -> Result<(Object, Mark), Unreadable> {
    let (bytes, found) = bytes(place, |_, _| ())?;
    Ok((parse(&bytes)?, Mark::of(&found, &bytes)))
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

/// Removes a file, which may be gone already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

fn bytes(
    place: &Path,
    opened: impl FnOnce(&File, &Metadata),
) -> Result<(Zeroizing<Vec<u8>>, Metadata), Unreadable> {
    let (file, found) = open(place)?;
    opened(&file, &found);
    let length = usize::try_from(found.len()).unwrap_or(usize::MAX);
    let bytes = read_wiped(&file, length, MAX_BYTES)?;
    if bytes.len() > MAX_BYTES {
        return Err(Unreadable::TooLarge);
    }
    Ok((bytes, found))
}

/// Opens a regular file, and nothing else.
fn open(place: &Path) -> Result<(File, Metadata), Unreadable> {
    let file = permissions::open_itself(place).map_err(|error| {
        let kind = fs::symlink_metadata(place).map(|found| refused(found.file_type()));
        match kind {
            Ok(Some(reason)) => Unreadable::Kind(reason),
            _ => Unreadable::Io(error),
        }
    })?;
    let found = file.metadata()?;
    match refused(found.file_type()) {
        Some(reason) => Err(Unreadable::Kind(reason)),
        None => Ok((file, found)),
    }
}

pub(super) fn parse(bytes: &[u8]) -> Result<Object, Unreadable> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Unreadable::Empty);
    }
    match parse_lenient(bytes).map_err(Unreadable::Json)? {
        Value::Object(object) => Ok(Wiped::new(object)),
        mut other => {
            other.wipe();
            Err(Unreadable::NotAnObject)
        }
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
                    Category::Eof => "is cut short",
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
            Self::Foreign(reason) | Self::Content(reason) => f.write_str(reason),
            Self::Io(error) => write!(f, "could not be read: {error}"),
        }
    }
}

/// The largest file that is read or written.
pub(super) const MAX_BYTES: usize = crate::store::codec::MOST_BYTES;

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    #[test]
    fn a_file_is_read_to_its_end_whatever_was_expected() {
        let mut file = tempfile::tempfile().unwrap();
        for length in [
            0,
            1,
            5000,
            MAX_BYTES - 1,
            MAX_BYTES,
            MAX_BYTES + 1,
            2 * MAX_BYTES,
        ] {
            let content: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            file.set_len(0).unwrap();
            file.rewind().unwrap();
            file.write_all(&content).unwrap();
            for expected in [0, length / 2, length, length + 1, usize::MAX] {
                file.rewind().unwrap();
                let read = read_wiped(&file, expected, MAX_BYTES).unwrap();
                assert!(
                    *read == content[..length.min(MAX_BYTES + 1)],
                    "{length} {expected}"
                );
            }
        }
    }

    #[test]
    fn reasons_say_where_and_never_what() {
        for (text, reason) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("[1]", "is not a JSON object"),
            ("{\"a\":\n\"sk-canary", "is cut short (line 2, column 10)"),
            ("{\"a\":\nsk-canary}", "is not JSON (line 2, column 1)"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().to_string(), reason);
        }
        assert!(parse(b"\xff\xfe{}").is_err());
        assert!(parse("[".repeat(100_000).as_bytes()).is_err());
    }
}
