//! Lock files: locks between processes that the system releases when their holder ends.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use super::permissions;
use super::poll::poll;

/// A lock between processes that the system takes back when its holder ends, however that comes.
///
/// Its file is empty, is never removed, and says nothing by its age: only the lock on it counts.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
}

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
        let lock = Self { file };
        // The file may have been removed meanwhile: a lock on a file that no other process can open excludes none.
        let in_place = fs::symlink_metadata(path)
            .and_then(|found| Ok(permissions::same_file(&found, &lock.file.metadata()?)));
        Ok(in_place.unwrap_or(false).then_some(lock))
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Closing alone would not do while a child process that is just being started has the file, too.
        let _ = self.file.unlock();
    }
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
    fn what_is_no_regular_file_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        LockFile::take(dir.path(), Duration::ZERO).unwrap_err();
    }
}
