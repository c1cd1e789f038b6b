//! Lock files: locks between processes that the system releases when their holder ends.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use parking_lot::Mutex;

use super::permissions;
use super::poll::poll;
use crate::error::Error;
use crate::runtime::{Process, lock_of_parent};

/// A lock between processes that the system takes back when its holder ends, however that comes.
///
/// Its file is empty, is never removed, and says nothing by its age: only the lock on it counts.
#[derive(Debug)]
pub(crate) struct LockFile {
    number: u64,
}

/// The locked files of this process.
struct Held {
    /// That to which they belong. A child that was forked has them open, too, and would keep their locks beyond its parent's end.
    process: Option<Process>,
    files: BTreeMap<u64, Locked>,
    last: u64,
}

struct Locked {
    file: File,
    /// Which file it is.
    identity: Option<Metadata>,
}

static HELD: Mutex<Held> = Mutex::new(Held {
    process: None,
    files: BTreeMap::new(),
    last: 0,
});

impl LockFile {
    /// Waits for the lock for `wait` at most.
    pub(crate) fn take(path: &Path, wait: Duration) -> io::Result<Option<Self>> {
        poll(wait, || Self::try_take(path))
    }

    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        // A lock is the matter of one open file: threads that open it anew exclude each other too.
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // The file may have been removed meanwhile: a lock on a file that no other process can open excludes none.
        let identity = file.metadata().ok();
        let found = fs::symlink_metadata(path).ok();
        let in_place = is_same(found.as_ref(), identity.as_ref());
        let number = HELD.lock().add(Locked { file, identity });
        let lock = Self { number };
        Ok(in_place.then_some(lock))
    }
}

/// In a child, gives up the locks of its parent.
pub(crate) fn leave_parents_locks() -> Result<(), Error> {
    lock_of_parent(&HELD, "a file was being locked")?.leave_parents();
    Ok(())
}

impl Held {
    fn add(&mut self, locked: Locked) -> u64 {
        self.leave_parents();
        self.last += 1;
        self.files.insert(self.last, locked);
        self.last
    }

    /// In a child, closes what is locked by its parent. Closing alone does not unlock it.
    fn leave_parents(&mut self) {
        if self.process.is_some_and(Process::has_forked) {
            let of_parent = std::mem::take(&mut self.files);
            of_parent.into_values().for_each(Locked::close_in_child);
            self.process = None;
        }
        self.process.get_or_insert_with(Process::current);
    }
}

impl Locked {
    /// The system copies descriptors before memory: what a thread of the parent opened in between is none here, and its number may be
    /// another file's by now.
    fn close_in_child(self) {
        let found = self.file.metadata().ok();
        if !is_same(found.as_ref(), self.identity.as_ref()) {
            std::mem::forget(self.file);
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let locked = {
            let mut held = HELD.lock();
            held.leave_parents();
            held.files.remove(&self.number)
        };
        // Closing alone would not do while a child process that is just being started has the file, too.
        if let Some(locked) = locked {
            let _ = locked.file.unlock();
        }
    }
}

/// Whether both are known, and are of one file.
fn is_same(one: Option<&Metadata>, other: Option<&Metadata>) -> bool {
    one.zip(other)
        .is_some_and(|(one, other)| permissions::same_file(one, other))
}

fn open(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("the lock is not a regular file"));
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    permissions::private(&mut options);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_excludes_until_it_is_dropped_and_its_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.refresh");
        let held = LockFile::take(&path, Duration::ZERO).unwrap().unwrap();
        assert!(LockFile::take(&path, Duration::ZERO).unwrap().is_none());
        drop(held);
        assert!(path.exists());
        LockFile::take(&path, Duration::ZERO).unwrap().unwrap();
    }

    #[test]
    fn a_child_closes_the_files_of_its_parent_and_what_has_their_numbers_stays_open() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        let locked = |path, identity: &File| {
            let file = open(path).unwrap();
            file.try_lock().unwrap();
            let identity = identity.metadata().ok();
            Locked { file, identity }
        };
        let identity = open(&one).unwrap();
        locked(&one, &identity).close_in_child();
        assert!(identity.try_lock().is_ok(), "its lock is given up");
        locked(&other, &identity).close_in_child();
        let still = open(&other).unwrap().try_lock();
        assert!(matches!(still, Err(TryLockError::WouldBlock)));
    }

    #[test]
    fn what_is_no_regular_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        LockFile::take(dir.path(), Duration::ZERO).unwrap_err();
    }
}
