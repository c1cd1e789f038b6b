//! [`FileStore`]: one readable file per record, replaced as a whole, in a directory that other tools may share.

mod atomic;
mod legacy;
mod modes;
mod names;
mod read;
mod record;
mod scan;
mod write;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use self::record::Home;
use self::scan::Scan;
use super::{Listing, Store};
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};

/// A store in a directory: one JSON file per credential, for people to read and for other tools to share.
///
/// # Files
///
/// | file | what it is |
/// |---|---|
/// | `name.credential` | a record, without its runtime state |
/// | `name.state` | the runtime state of that record: status, errors, quota, cooldowns |
/// | `name.json` | a record or a token file that was put there, also in subdirectories |
/// | `name.json.state` | its runtime state, and what a token file has no place for |
///
/// `name` is the id where that consists of `a-z`, `0-9`, `.`, `_` and `-`, does not start with a dot, does not end in
/// `.json` and is at most 100 bytes long; other ids get a readable start, `~` and a digest. An id never leads outside the
/// directory. Nothing that the store adds ends in `.json`, because tools that share the directory read such files as
/// token files.
///
/// A `.json` file with `id` and `provider` is a record. Any other is a *token file*, the form of older tools: its `type` is
/// the provider, its path the id, the whole object the metadata; `label` (else `email`, else `project_id`), `disabled` and
/// `proxy_url` are understood. Either is saved back to the same file in the same form, with members that the crate does not
/// know. A record with a [`TokenStorage`](crate::TokenStorage) is written by it, to the record's `file_name` where that is
/// a relative path to a `.json` file, and keeps its id.
///
/// # Guarantees
///
/// * A file is replaced as a whole. At any moment, also after a crash, a reader finds the former or the new one, and when
///   [`save`](Store::save) returns, the new one is durable. What has not changed is not written.
/// * Files are private to their owner (0600), the directory too (0700). Wider rights are taken away, with a warning.
/// * One bad file hides no other, and stays as it is: [`list`](Store::list) says why it was skipped and
///   quotes nothing of it.
/// * Symbolic links below the directory are not followed, and files over 1 MiB are neither read nor written.
///
/// The file system must be a local one: on a network file system a rename may be neither atomic nor durable.
///
/// ```
/// use credpool::{Auth, FileStore, Store};
///
/// # let home = tempfile::tempdir()?;
/// # let home = home.path();
/// let store = FileStore::open(home.join("credentials"))?;
/// store.save(&Auth::api_key("openai", "sk-123").with_id("team-a"))?;
///
/// let listing = FileStore::open(home.join("credentials"))?.list()?;
/// assert_eq!(listing.records[0].attributes.get("api_key"), Some("sk-123"));
/// assert_eq!(listing.records[0].file_name.as_deref(), Some("team-a.credential"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileStore {
    root: PathBuf,
    index: Mutex<Index>,
}

/// Where the records are that do not live under a name of their own. It may be out of date: what it says is verified.
#[derive(Default)]
struct Index {
    scanned: bool,
    homes: BTreeMap<String, Home>,
}

impl FileStore {
    /// Opens the store in `dir`, which is created if it does not exist.
    ///
    /// ```
    /// # let home = tempfile::tempdir()?;
    /// # let home = home.path();
    /// let store = credpool::FileStore::open(home.join("credentials"))?;
    /// assert!(store.dir().is_dir());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorCode::Config`] when `dir` is something else than a directory, [`ErrorCode::Store`] when it cannot be created
    /// or read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let failed = |what: &str, error: io::Error| {
            let message = format!(
                "{what} the directory {}: {error}; check the path and its permissions",
                dir.display()
            );
            Error::new(ErrorCode::Store, message).with_source(error)
        };
        if fs::metadata(dir).is_ok_and(|found| !found.is_dir()) {
            let message = format!(
                "{} is not a directory: credentials are kept in a directory of their own",
                dir.display()
            );
            return Err(Error::new(ErrorCode::Config, message));
        }
        write::create_dirs(dir).map_err(|error| failed("could not create", error))?;
        // Absolute, so that a later change of the working directory changes nothing.
        let root = fs::canonicalize(dir).map_err(|error| failed("could not open", error))?;
        modes::tighten_dir(&root);
        fs::read_dir(&root).map_err(|error| failed("could not read", error))?;
        Ok(Self {
            root,
            index: Mutex::default(),
        })
    }

    /// The directory, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    fn scan(&self) -> Result<Scan, Error> {
        let scan = scan::scan(&self.root).map_err(|error| {
            let message = format!(
                "could not read the directory {}: {error}; check that it exists and is readable",
                self.root.display()
            );
            Error::new(ErrorCode::Store, message).with_source(error)
        })?;
        let mut index = self.index.lock();
        index.scanned = true;
        // Added, so that a record saved meanwhile is not forgotten.
        let homes = scan.homes.iter();
        index
            .homes
            .extend(homes.map(|(id, home)| (id.clone(), home.clone())));
        Ok(scan)
    }

    /// Where the record is, or where it goes when it is new.
    fn home(&self, id: &str) -> Result<Home, Error> {
        if !self.index.lock().scanned {
            self.scan()?;
        }
        let known = self.index.lock().homes.get(id).cloned();
        if let Some(home) = known {
            // A name of its own needs no look.
            if names::is_credential(&home.path) || self.is_free_for(id, &home) {
                return Ok(home);
            }
        }
        if names::is_token_path(id)
            && let Ok(Some(found)) = record::load(&self.root, id)
            && found.id == id
        {
            return Ok(found.home);
        }
        Ok(Home::native(id))
    }

    /// Whether no other record has taken the home. One that is gone or damaged is restored by a save.
    fn is_free_for(&self, id: &str, home: &Home) -> bool {
        !matches!(record::load(&self.root, &home.path), Ok(Some(found)) if found.id != id)
    }
}

impl Store for FileStore {
    fn list(&self) -> Result<Listing, Error> {
        Ok(self.scan()?.listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        check(auth)?;
        let former = self.home(&auth.id)?;
        let home = write::save(&self.root, auth, &former)?;
        if home.path != former.path && self.is_free_for(&auth.id, &former) {
            write::remove(&self.root, &former, &auth.id)?;
        }
        let location = self.root.join(&home.path).display().to_string();
        self.index.lock().homes.insert(auth.id.clone(), home);
        Ok(location)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        if id.is_empty() {
            return Ok(());
        }
        let home = self.home(id)?;
        // The store's own file too: a crash may have left it beside a token file that replaced it.
        for home in [home, Home::native(id)] {
            if self.is_free_for(id, &home) {
                write::remove(&self.root, &home, id)?;
            }
        }
        self.index.lock().homes.remove(id);
        Ok(())
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        check(auth)?;
        write::save_state(&self.root, auth, &self.home(&auth.id)?)
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("dir", &self.root)
            .finish_non_exhaustive()
    }
}

fn check(auth: &Auth) -> Result<(), Error> {
    let problem = if auth.id.is_empty() {
        "a credential without an id cannot be stored: give it one"
    } else if auth.is_runtime_only() {
        "a credential without metadata is runtime-only and is not stored: give it metadata, which may be empty"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorCode::Config, problem).with_auth_id(&auth.id))
}
