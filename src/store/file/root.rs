//! The identity of the store's directory. Another directory in its place, such as that below an unmounted file system, removes no records.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use super::locks::DIR;
use super::notices::Watching;
use super::{read, scan};
use crate::error::Error;
use crate::random;
use crate::store::support::permissions;

/// Which directory it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    file: (u64, u64),
    /// A number that the directory got when a store first opened it: file systems give the numbers of files out again. None
    /// where it cannot be written to.
    mark: Option<String>,
}

/// The directory at a path, and what was there before.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    identity: Identity,
    /// The problem has been reported.
    is_told: bool,
}

/// What a look at the directory showed.
pub(super) enum Sight {
    Same(Identity),
    /// Another one took its place, which is to be read anew.
    Another,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        mark(path);
        Ok(Self {
            path: path.to_owned(),
            known: Mutex::new(Known {
                identity: Identity::of(path)?,
                is_told: false,
            }),
        })
    }

    /// Looks which directory is there. `held`: whether the known one had records. Then one without is an error.
    pub(super) fn look(&self, held: bool) -> Result<Sight, Error> {
        let looked = self.compare(held);
        let is_told = {
            let mut known = self.known.lock();
            std::mem::replace(&mut known.is_told, looked.is_err())
        };
        match &looked {
            Err(error) if !is_told => log::warn!("{error}"),
            Ok(_) if is_told => log::info!("the directory {} is back", self.path.display()),
            _ => {}
        }
        looked
    }

    /// Whether it is still the one that [`look`](Self::look) showed, so that what was read meanwhile is of one directory.
    pub(super) fn is_still(&self, identity: &Identity) -> Result<(), Error> {
        let now = Identity::of(&self.path).map_err(|error| self.unreadable(error))?;
        if now.is(identity) {
            return Ok(());
        }
        let what = "was replaced while it was being read; the next scan reads it again";
        Err(self.error(what))
    }

    pub(super) fn unreadable(&self, error: io::Error) -> Error {
        let message = format!(
            "could not read the directory {}: {error}; check that it exists, is mounted and is readable",
            self.path.display()
        );
        Error::store(message).with_source(error)
    }

    fn compare(&self, held: bool) -> Result<Sight, Error> {
        let now = Identity::of(&self.path).map_err(|error| self.unreadable(error))?;
        if self.knows(&now) {
            return Ok(Sight::Same(now));
        }
        if held && !self.holds_records()? {
            let empty = fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_none());
            let what = if empty {
                "is empty"
            } else {
                "holds no credentials"
            };
            let what = format!(
                "{what} and is not the directory that held them; the credentials stay in use: check that its file system is mounted, or open the store again if it is meant to be empty"
            );
            return Err(self.error(&what));
        }
        mark(&self.path);
        let now = Identity::of(&self.path).map_err(|error| self.unreadable(error))?;
        if self.knows(&now) {
            return Ok(Sight::Same(now));
        }
        self.known.lock().identity = now;
        log::warn!(
            "the directory {} was replaced; reading it again, credentials that it lacks are not removed",
            self.path.display()
        );
        Ok(Sight::Another)
    }

    fn knows(&self, now: &Identity) -> bool {
        let mut known = self.known.lock();
        let is_known = now.is(&known.identity);
        if is_known {
            // It may have got its mark since.
            known.identity.clone_from(now);
        }
        is_known
    }

    fn holds_records(&self) -> Result<bool, Error> {
        let files = scan::files(&self.path, &mut Watching::nothing())
            .map_err(|error| self.unreadable(error))?;
        Ok(!files.paths.is_empty())
    }

    fn error(&self, what: &str) -> Error {
        let message = format!("the directory {} {what}", self.path.display());
        Error::store(message)
    }
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: permissions::file_number(&fs::metadata(path)?),
            mark: read_mark(path)?,
        })
    }

    /// Whether it is the directory that was known.
    fn is(&self, known: &Self) -> bool {
        self.file == known.file && (self.mark == known.mark || known.mark.is_none())
    }
}

/// Marks the directory, where it is not and can be.
fn mark(path: &Path) {
    let marked = permissions::create_dir(&path.join(DIR)).and_then(|()| {
        let text = random::token()?;
        permissions::create_file(&path.join(DIR).join(MARK))?.write_all(text.as_bytes())
    });
    match marked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            log::debug!("{} is not marked: {error}", path.display());
        }
        _ => {}
    }
}

fn read_mark(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path.join(DIR).join(MARK)) {
        Ok(file) => file,
        Err(error)
            if read::is_missing(&error) || error.kind() == io::ErrorKind::PermissionDenied =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    let read = file.take(MARK_LENGTH as u64).read_to_string(&mut text);
    // One that is just being written says nothing as yet.
    Ok(read.ok().filter(|read| *read == MARK_LENGTH).map(|_| text))
}

/// In the store's own place.
const MARK: &str = "directory.mark";
const MARK_LENGTH: usize = 32;
