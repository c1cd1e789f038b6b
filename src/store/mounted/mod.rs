//! [`MountedKeys`]: API keys in files that an orchestrator mounts, followed as they change and never written.

mod files;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};

use self::files::Key;
use super::{
    Changes, Cursor, Listing, MemoryStore, Missing, RecordLock, Revision, Saved, Skipped, Store,
    StoreEntry,
};
use crate::auth::Auth;
use crate::error::Error;
use crate::runtime::{PerProcess, lock_of_parent};

/// A store whose credentials are API keys in read-only files: secrets that Kubernetes, Docker or systemd mounts for a program.
///
/// Each file of a directory is a key, its name the credential's id; hidden files and directories are passed over. Everything else comes from
/// a template. [`Manager::start_hot_reload`](crate::Manager::start_hot_reload) follows the files: a key that is replaced, by a link that is
/// led elsewhere too, takes the place of the former one, a file that is gone removes its credential. The files of a volume of Kubernetes are
/// replaced [as one](https://kubernetes.io/docs/concepts/configuration/secret/), and are read as one.
///
/// Nothing is ever written there. Cooldowns, and what a program changes in the records, are kept in memory, until the process ends; a
/// program's own key for such a record counts until its file changes, and one that the program has removed stays away so long. Other
/// records go into another store, if there is [one beside it](Self::beside); else they are in memory too. A file that is empty, holds several
/// lines or cannot be read is skipped with a reason, and the former key of that name stays. Where a directory as a whole cannot be read,
/// all of them stay.
///
/// ```
/// use credpool::{Auth, Manager, MountedKeys};
///
/// # let home = tempfile::tempdir()?;
/// # let mount = home.path();
/// std::fs::write(mount.join("team-a"), "sk-1\n")?;
/// std::fs::write(mount.join("team-b"), "sk-2\n")?;
///
/// let template = Auth::new("openai").with_attribute("base_url", "https://llm.example.org/v1");
/// let manager = Manager::builder().store(MountedKeys::open(mount, template)?).build()?;
/// assert_eq!(manager.load()?.loaded, 2);
/// let auth = manager.get_by_id("team-a").unwrap();
/// assert_eq!(auth.attributes.get("api_key"), Some("sk-1"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Kubernetes")]
#[doc(alias = "secret")]
pub struct MountedKeys {
    mounts: Vec<Mount>,
    /// The records of mounted keys.
    memory: MemoryStore,
    /// What is no mounted key.
    beside: Box<dyn Store>,
    seen: PerProcess<Mutex<Seen>>,
    /// Counts reads of the files, so that an older one undoes no newer one.
    reads: AtomicU64,
}

struct Mount {
    path: PathBuf,
    template: Auth,
}

/// What was last read of the files.
#[derive(Clone, Default)]
struct Seen {
    read: u64,
    /// A digest of each key by the credential's id; none where its file is gone.
    keys: BTreeMap<String, Option<Digested>>,
    problems: BTreeSet<Problem>,
}

type Digested = [u8; 32];

/// A file and what is wrong with it.
type Problem = (String, String);

/// What is in the files of all mounts.
#[derive(Default)]
struct Read<'a> {
    keys: BTreeMap<String, (&'a Auth, Key)>,
    /// The ids of files whose keys cannot be told.
    unread: BTreeSet<String>,
    problems: BTreeSet<Problem>,
}

impl MountedKeys {
    /// The keys in the files of the directory at `path`, or in the one file there. `template` has what the files do not say: the provider, and
    /// attributes such as `base_url` or `priority`. An id in it names the credential of one file, and stands with a `/` before the names of
    /// several.
    ///
    /// # Errors
    /// [`ErrorCode::Store`](crate::ErrorCode::Store) where there is nothing to read.
    ///
    /// ```
    /// use credpool::{Auth, MountedKeys, Store};
    ///
    /// # let home = tempfile::tempdir()?;
    /// # let path = home.path().join("openai-key");
    /// std::fs::write(&path, "sk-1\n")?;
    /// let store = MountedKeys::open(&path, Auth::new("openai").with_id("main"))?;
    /// assert_eq!(store.list()?.records[0].id, "main");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>, template: Auth) -> Result<Self, Error> {
        let keys = Self {
            mounts: Vec::new(),
            memory: MemoryStore::new(),
            beside: Box::new(MemoryStore::new()),
            seen: PerProcess::default(),
            reads: AtomicU64::new(0),
        };
        keys.and(path, template)
    }

    /// Adds the keys of another place, of another provider for instance. Of two files that give one id, the second is skipped.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn and(mut self, path: impl AsRef<Path>, template: Auth) -> Result<Self, Error> {
        self.mounts.push(Mount {
            path: path.as_ref().to_owned(),
            template,
        });
        self.follow()?;
        Ok(self)
    }

    /// Keeps all other records, such as logins, in `store`.
    ///
    /// ```
    /// use credpool::{Auth, FileStore, MountedKeys, Store};
    ///
    /// # let home = tempfile::tempdir()?;
    /// # let (mount, directory) = (home.path().join("keys"), home.path().join("credentials"));
    /// # std::fs::create_dir(&mount)?;
    /// let logins = FileStore::open(&directory)?;
    /// let store = MountedKeys::open(&mount, Auth::new("openai"))?.beside(logins);
    /// store.save(&Auth::api_key("anthropic", "sk-2").with_id("other"))?;
    /// assert!(directory.join("other.credential").is_file());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn beside(mut self, store: impl Store + 'static) -> Self {
        self.beside = Box::new(store);
        self
    }

    fn read(&self) -> Result<Read<'_>, Error> {
        let mut read = Read::default();
        for mount in &self.mounts {
            for (name, key) in mount.read()? {
                let id = mount.id(&name);
                let is_known = read.keys.contains_key(&id) || read.unread.contains(&id);
                let problem = match key {
                    _ if is_known => "gives an id that another file has".to_owned(),
                    Ok(key) => {
                        read.keys.insert(id, (&mount.template, key));
                        continue;
                    }
                    Err(reason) => {
                        read.unread.insert(id);
                        reason
                    }
                };
                let path = mount.path.join(name).display().to_string();
                read.problems.insert((path, problem));
            }
        }
        Ok(read)
    }

    /// Takes over what has changed in the files. What is wrong with them by now, and what was not so at the last look.
    fn follow(&self) -> Result<[Vec<Skipped>; 2], Error> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let Read {
            keys,
            unread,
            problems,
        } = self.read()?;
        let mut seen = self.seen()?;
        if seen.read > number {
            return Ok([skipped(&seen.problems), Vec::new()]);
        }
        seen.read = number;
        let gone = |(id, key): (&String, &Option<Digested>)| {
            let is_gone = key.is_some() && !keys.contains_key(id) && !unread.contains(id);
            is_gone.then(|| id.clone())
        };
        for id in seen.keys.iter().filter_map(gone).collect::<Vec<_>>() {
            self.memory.delete(&id)?;
            seen.keys.insert(id, None);
        }
        for (id, (template, key)) in keys {
            let digest = Some(Sha256::digest(key.as_bytes()).into());
            if seen.keys.get(&id) != Some(&digest) {
                self.put(template, &id, &key)?;
                seen.keys.insert(id, digest);
            }
        }
        let news: BTreeSet<_> = problems.difference(&seen.problems).cloned().collect();
        seen.problems = problems;
        Ok([skipped(&seen.problems), skipped(&news)])
    }

    /// Puts a key into its record; what else the program has changed there stays.
    fn put(&self, template: &Auth, id: &str, key: &Key) -> Result<(), Error> {
        let mut stored = self.memory.load(id)?;
        loop {
            let expected = stored.as_ref().map(Revision::of);
            let mut auth = stored.unwrap_or_else(|| template.clone().with_id(id));
            auth.attributes.insert("api_key", key.as_str());
            auth.metadata.get_or_insert_default();
            match self.memory.save_if(&auth, expected.as_ref())? {
                Saved::At(_) => return Ok(()),
                Saved::Conflict(now) => stored = now.map(|now| *now),
            }
        }
    }

    fn seen(&self) -> Result<MutexGuard<'_, Seen>, Error> {
        let seen = self.seen.get(|parents| {
            let seen = lock_of_parent(parents, "mounted keys were being taken over")?;
            Ok(Mutex::new(seen.clone()))
        });
        Ok(seen?.lock())
    }

    /// Where the record of an id belongs.
    fn home(&self, id: &str) -> Result<&dyn Store, Error> {
        Ok(if self.seen()?.keys.contains_key(id) {
            &self.memory
        } else {
            &*self.beside
        })
    }

    /// Takes out the records of another store whose ids are those of mounted keys.
    fn keep_others(
        &self,
        records: Vec<Auth>,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Vec<Auth>, Error> {
        let seen = self.seen()?;
        let (mounted, others): (Vec<_>, Vec<_>) = records
            .into_iter()
            .partition(|auth| seen.keys.contains_key(&auth.id));
        let reason = "has the id of a mounted key, which is used";
        skipped.extend(mounted.iter().map(|auth| Skipped::new(&auth.id, reason)));
        Ok(others)
    }
}

impl Mount {
    fn read(&self) -> Result<files::Found, Error> {
        files::read(&self.path).map_err(|error| {
            let path = self.path.display();
            let message = format!("the mounted keys at {path} could not be read: {error}");
            Error::store(message).with_source(error)
        })
    }

    fn id(&self, name: &str) -> String {
        match self.template.id.as_str() {
            "" => name.to_owned(),
            id if self.path.is_dir() => format!("{id}/{name}"),
            id => id.to_owned(),
        }
    }
}

/// A place in the history of the mounted keys and one in that of the store beside them, as one.
fn joined(own: &Cursor, beside: Option<Cursor>) -> Cursor {
    let beside = beside.unwrap_or(Cursor::new(""));
    Cursor::new(format!("{} {}", own.as_str(), beside.as_str()))
}

fn split(cursor: &Cursor) -> (Cursor, Cursor) {
    let (own, beside) = cursor.as_str().split_once(' ').unwrap_or_default();
    (Cursor::new(own), Cursor::new(beside))
}

fn skipped(problems: &BTreeSet<Problem>) -> Vec<Skipped> {
    let problems = problems.iter();
    problems
        .map(|(path, reason)| Skipped::new(path, reason))
        .collect()
}

impl Store for MountedKeys {
    fn list(&self) -> Result<Listing, Error> {
        let [problems, _] = self.follow()?;
        let mut listing = self.memory.list()?;
        let others = self.beside.list()?;
        listing.skipped.extend(problems);
        listing.skipped.extend(others.skipped);
        let records = self.keep_others(others.records, &mut listing.skipped)?;
        listing.records.extend(records);
        listing.records.sort_by(|one, other| one.id.cmp(&other.id));
        listing.cursor = listing.cursor.map(|own| joined(&own, others.cursor));
        Ok(listing)
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.home(&auth.id)?.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.home(id)?.delete(id)
    }

    fn save_state(&self, auth: &Auth) -> Result<(), Error> {
        self.home(&auth.id)?.save_state(auth)
    }

    fn load(&self, id: &str) -> Result<Option<Auth>, Error> {
        self.home(id)?.load(id)
    }

    fn save_if(&self, auth: &Auth, expected: Option<&Revision>) -> Result<Saved, Error> {
        self.home(&auth.id)?.save_if(auth, expected)
    }

    fn missing(&self, id: &str) -> Result<Missing, Error> {
        self.home(id)?.missing(id)
    }

    fn lock(&self, id: &str, wait: Duration) -> Result<Option<Box<dyn RecordLock>>, Error> {
        self.home(id)?.lock(id, wait)
    }

    fn changes(&self, since: Option<&Cursor>) -> Result<Option<Changes>, Error> {
        let [_, problems] = self.follow()?;
        let (mut own, others) = since.map(split).unzip();
        let others = self.beside.changes(others.as_ref())?;
        let is_complete = others.as_ref().is_some_and(|others| others.complete);
        if is_complete {
            // An answer is complete as a whole: from a cursor that no store has given, all there is.
            own = Some(Cursor::new(""));
        }
        let Some(mut changes) = self.memory.changes(own.as_ref())? else {
            return Ok(None);
        };
        changes.complete = is_complete;
        changes.skipped.extend(problems);
        let mut cursor = None;
        if let Some(others) = others {
            changes.skipped.extend(others.skipped);
            let written = self.keep_others(others.written, &mut changes.skipped)?;
            changes.written.extend(written);
            let seen = self.seen()?;
            let removed = others.removed.into_iter();
            let removed = removed.filter(|id| !seen.keys.contains_key(id));
            changes.removed.extend(removed);
            cursor = Some(others.cursor);
        }
        changes.cursor = joined(&changes.cursor, cursor);
        Ok(Some(changes))
    }

    fn load_entries(&self, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.beside.load_entries(keys)
    }

    fn save_entries(&self, entries: &[StoreEntry], most: usize) -> Result<(), Error> {
        self.beside.save_entries(entries, most)
    }
}

impl fmt::Debug for MountedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.mounts.iter().map(|mount| &mount.path).collect();
        f.debug_struct("MountedKeys")
            .field("paths", &paths)
            .finish_non_exhaustive()
    }
}
