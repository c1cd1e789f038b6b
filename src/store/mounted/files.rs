//! Reads keys from files that an orchestrator has mounted, each time as one whole: its directories are replaced by a link.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::store::support::secret_file;

/// The keys by the names of their files, and why a file holds none.
pub(super) type Found = BTreeMap<String, Result<Key, String>>;

pub(super) type Key = Zeroizing<String>;

/// What is in the file at `path`, or in the files of the directory there.
pub(super) fn read(path: &Path) -> io::Result<Found> {
    let mut tries = 0;
    loop {
        tries += 1;
        match read_as_it_is(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < MOST_TRIES => {}
            found => return found,
        }
    }
}

fn read_as_it_is(path: &Path) -> io::Result<Found> {
    if !fs::metadata(path)?.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        return Ok(Found::from([(name.into_owned(), key(path)?)]));
    }
    let mut found = Found::new();
    let directory = directory(path)?;
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let place = entry.path();
        if name.starts_with('.') || fs::metadata(&place)?.is_dir() {
            continue;
        }
        found.insert(name, key(&place)?);
    }
    // The former directory goes after the link was led elsewhere: what was read of one that it still leads to is whole.
    if self::directory(path)? != directory {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(found)
}

/// Where the files are: in Kubernetes below a directory to which the link `..data` leads, see
/// <https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go>.
fn directory(path: &Path) -> io::Result<PathBuf> {
    let data = path.join(DATA);
    match fs::symlink_metadata(&data) {
        Ok(_) => fs::canonicalize(data),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

/// An error: the file is gone, or the whole cannot be read.
fn key(path: &Path) -> io::Result<Result<Key, String>> {
    let bytes = match secret_file::read(path, |_, _| ()) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        Err(error) => return Ok(Err(format!("could not be read: {error}"))),
    };
    Ok(match std::str::from_utf8(&bytes).map(str::trim) {
        Err(_) => Err("is not text".to_owned()),
        Ok("") => Err("is empty".to_owned()),
        Ok(text) if text.contains(char::is_control) => {
            Err("holds more than one line, and a key is one".to_owned())
        }
        Ok(text) => Ok(Key::new(text.to_owned())),
    })
}

const DATA: &str = "..data";

/// How often files may be replaced while they are being read.
const MOST_TRIES: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &Path) -> Vec<(String, Result<String, String>)> {
        let found = read(path).unwrap().into_iter();
        let text = |key: Result<Key, String>| key.map(|key| key.to_string());
        found.map(|(name, key)| (name, text(key))).collect()
    }

    #[test]
    fn each_file_is_a_key() {
        let home = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(home.path().join(name), bytes).unwrap();
        write("a", b"sk-canary-1\n");
        write("b", b"  \n");
        write("c", b"{\n\"key\": \"sk-canary-2\"\n}");
        write("d", b"\xff\xfe");
        write("e", &vec![b'x'; secret_file::MOST_BYTES + 1]);
        write(".hidden", b"sk-canary-3");
        fs::create_dir(home.path().join("nested")).unwrap();
        let found = texts(home.path());
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d", "e"]);
        assert_eq!(found[0].1.as_deref(), Ok("sk-canary-1"));
        for (name, key) in &found[1..] {
            let reason = key.as_ref().unwrap_err();
            assert!(!reason.contains("canary"), "{name} {reason}");
        }
        assert_eq!(texts(&home.path().join("a")).len(), 1);
        assert!(read(&home.path().join("gone")).is_err());
    }
}
