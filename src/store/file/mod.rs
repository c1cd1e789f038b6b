//! [`FileStore`]: one readable file per record, replaced as a whole, in a directory that other tools may share.

mod atomic;
mod directory;
mod entries;
mod fingerprint;
mod index;
mod legacy;
mod locks;
mod look;
pub(super) mod names;
mod notices;
mod read;
mod record;
mod recovery;
mod root;
mod scan;
mod text;
mod write;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::directory::Directory;
use super::support::permissions;
use super::{Changes, Cursor, Listing, Missing, RecordLock, Revision, Saved, Store, StoreEntry};
use crate::auth::Auth;
use crate::error::Error;
use crate::runtime::PerProcess;

/// A store in a directory: one JSON file per credential, for people to read and for other tools to share.
///
/// # Files
///
/// | file | what it is |
/// |---|---|
/// | `name.credential` | a record, without its runtime state |
/// | `name.state` | the runtime state of that record: status, errors, quota, cooldowns |
/// | `name.json` | a record or a token file that was put there, also in subdirectories |
/// | `name.json.state` | its runtime state, and what a token file has no place for, its generation too |
/// | `name.….damaged-1` | a file that did not read when a save took its place: look at it and remove it |
/// | `.credpool/` | locks, one empty file each that is never removed, what was noted of refreshes under way, and [entries](Store::save_entries), a line each |
/// | `.credpool-….tmp` | a new file that is not in its place yet |
///
/// `name` is the id where that consists of `a-z`, `0-9`, `.`, `_` and `-`, does not start or end with a dot, does not end in
/// `.json`, is no device's name on Windows (`con`, `nul.x`, `com1`) and is at most 100 bytes long; other ids get a readable
/// start, `~` and a digest. An id never leads outside the directory. Nothing that the store adds ends in `.json`, because
/// tools that share the directory read such files as token files.
///
/// A `.json` file with `id` and `provider` is a record. Any other is a *token file*, the form of older tools: its `type` is
/// the provider, its path the id, the whole object the metadata; `label` (else `email`, else `project_id`), `disabled` and
/// `proxy_url` are understood. Either is saved back to the same file in the same form, with members that the crate does not
/// know. A record with a [`TokenStorage`](crate::TokenStorage) is written by it, to the record's `file_name` where that is
/// a relative path to a `.json` file, and keeps its id.
///
/// The files of programs that [`import`](crate::import) knows (Codex, Claude Code, clasp with several users, GitHub Copilot, opencode, the AWS
/// CLI) are their owners': each credential in one is a record, with the path as its id, and `#` and the member's name where there may be
/// several. It is used and followed, and neither refreshed nor written nor deleted; label, attributes and state are kept beside the file.
/// [`list`](Store::list) names it as skipped, with its owner. A record that was [taken over](crate::import::take_over) is saved as
/// `name.credential`; deleted, it is the owner's again.
///
/// A `.json` file of another program that holds nothing of use is skipped and never written to: it is an object with neither a
/// token or key that is read (`access_token`, `refresh_token`, `id_token`, `api_key`, `cookie`, `private_key`, `grant_type`,
/// at the top or inside `token`, `Token` or `service_account`) nor a text `type`, `provider`, `email`, `project_id` or `proxy_url` at its
/// top. So are Google's files of types `external_account`, `gdch_service_account` and `impersonated_service_account`. One of
/// type `authorized_user` is a credential of a provider of that name, see [`Auth::authorized_user`].
///
/// # Guarantees
///
/// * A file is replaced as a whole. At any moment, also after a crash, a reader finds the former or the new one, and when
///   [`save`](Store::save) returns, the new one is durable. What has not changed is not written.
/// * A state file of a `.credential` is replaced without `fsync`: it survives the end of the process. A failure of the machine (a
///   power cut) may bring a former state back, or leave a damaged one, which costs the state alone: cooldowns, never a credential.
/// * Files are private to their owner (0600), the directory too (0700). Wider rights are taken away, with a warning.
/// * What a writer that was killed left staged is put in place by the next reader, where it is whole and of a higher
///   generation than what is there: it may hold the only copy of a rotated token. Anything else it left is removed.
/// * The state is apart from the credential: a cooldown never rewrites a token.
/// * Another directory in the place of the one that held the records, such as that below a file system that is no longer mounted,
///   removes none of them: where it is empty, everything that the store does is an error until the former is back; where it holds
///   records, as after a link to the directory was led elsewhere, these are read, and those that it lacks stay and are reported as
///   skipped. A store that is opened anew takes a directory as it is.
/// * Two records with one refresh token, such as a file and its backup copy, are both used, and the second is reported as skipped.
/// * One bad file hides no other, and stays as it is: [`list`](Store::list) says why it was skipped and
///   quotes nothing of it. It is never deleted; a save that needs its place keeps it under another name.
/// * What a save does not change keeps its spelling: numbers of more digits than an `f64` has, halves of surrogate pairs. A byte
///   order mark is passed over.
/// * Symbolic links below the directory are not followed (a volume of Kubernetes is opened by its link `..data`), and files over 1 MiB are
///   neither read nor written.
///
/// # Several processes, other tools and people
///
/// Any number of processes of one machine may share the directory. Locks are the system's own (`flock` on Unix): a process that
/// is killed holds none, and neither the age nor the presence of a lock's file means anything. [`save_if`](Store::save_if)
/// compares and writes under one of them. [`changes`](Store::changes) tells what others did, people included; a file that is half written
/// is reported as unreadable, not as removed.
///
/// On Linux, the system notes which files change (inotify), and [`changes`](Store::changes) looks at these alone: with nothing changed, it
/// costs the same for ten files and for a hundred thousand. All files are looked at (about 5 µs each) when directories are made, moved,
/// mounted or removed, and from time to time: a minute after the last time, or 3,000 times as long as that took. They are looked at every
/// time on other systems, where the limits of inotify are reached (`fs.inotify.max_user_instances`, `max_user_watches`; each directory is
/// a watch), and on file systems that others may change unseen: those of a network, FUSE, and any that is neither Btrfs, bcachefs, ext2
/// to ext4, F2FS, overlay, ramfs, tmpfs, XFS nor ZFS.
///
/// Other tools take no locks. [`save_if`](Store::save_if) looks at the file a second time when the new one is durable and only
/// has to be renamed; what another tool writes between that look and the rename, some ten microseconds, is lost. A file that is
/// gone was removed: [`missing`](Store::missing) says so as long as the directory can be read. When another tool writes new tokens into a
/// token file, the record's generation rises by one, so that older ones are not written over them. A person who edits the tokens of a
/// `.credential` by hand raises its `generation` too.
///
/// # Limits
///
/// The file system must be a local one that knows locks. *Network file systems are not supported*: there, a rename may be
/// neither atomic nor durable, and a lock may exclude no other process. Use a store on a server for several machines. What is durable is
/// what the disk says it has written. `changes` does not see an edit of a file that has rested for two seconds, if size,
/// modification time and file number are what they were. What is written by a memory map, or by another hard link from elsewhere, is
/// seen when all files are looked at.
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
    directory: PerProcess<Directory>,
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
    /// [`ErrorCode::Config`](crate::ErrorCode::Config) when `dir` is something else than a directory,
    /// [`ErrorCode::Store`](crate::ErrorCode::Store) when it cannot be created or read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let failed = |what: &str, error: io::Error| {
            let message = format!(
                "{what} the directory {}: {error}; check the path and its permissions",
                dir.display()
            );
            Error::store(message).with_source(error)
        };
        if fs::metadata(dir).is_ok_and(|found| !found.is_dir()) {
            let message = format!(
                "{} is not a directory: credentials are kept in a directory of their own",
                dir.display()
            );
            return Err(Error::config(message));
        }
        permissions::create_dirs(dir).map_err(|error| failed("could not create", error))?;
        // Absolute, so that a later change of the working directory changes nothing; a link in it may be led elsewhere.
        let root = std::path::absolute(dir).map_err(|error| failed("could not open", error))?;
        permissions::tighten_dir(&root);
        let held = scan::holds_any(&root).map_err(|error| failed("could not read", error))?;
        let directory = Directory::open(root.clone(), held);
        let directory = directory.map_err(|error| failed("could not read", error))?;
        Ok(Self {
            root,
            directory: PerProcess::new(directory),
        })
    }

    /// The directory, as an absolute path.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    fn directory(&self) -> Result<&Directory, Error> {
        self.directory.get(|parents| {
            let directory = Directory::open(parents.root.clone(), parents.held);
            directory.map_err(|error| {
                let message = format!(
                    "could not read the directory {}: {error}",
                    self.root.display()
                );
                Error::store(message).with_source(error)
            })
        })
    }
}

impl Store for FileStore {
    fn list(&self) -> Result<Listing, Error> {
        self.directory()?.list()
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.directory()?.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.directory()?.delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.directory()?.save_state(auth)
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.directory()?.load(id)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        self.directory()?.save_if(auth, expected)
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        self.directory()?.missing(id)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        self.directory()?.lock(id, wait)
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        self.directory()?.changes(since)
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.directory()?.load_entries(keys)
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        self.directory()?.save_entries(entries, most)
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore")
            .field("dir", &self.root)
            .finish_non_exhaustive()
    }
}
