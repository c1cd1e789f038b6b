//! Replacing a file as a whole: readers, and a crash at any point, see the old one or the new one.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::modes;

/// A new file beside the one that it will replace. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Staged {
    temp: Option<PathBuf>,
    target: PathBuf,
}

impl Staged {
    /// A durable new file with `bytes` in it.
    pub(super) fn write(target: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        let temp = temp_beside(&target)?;
        let mut file = modes::create_file(&temp)?;
        let staged = Self {
            temp: Some(temp),
            target,
        };
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(staged)
    }

    /// A name that `write` puts a file under. The file is made private and durable.
    pub(super) fn write_with(
        target: PathBuf,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let temp = temp_beside(&target)?;
        let staged = Self {
            temp: Some(temp.clone()),
            target,
        };
        write(&temp)?;
        if !fs::symlink_metadata(&temp)?.is_file() {
            return Err(io::Error::other("what was written is not a regular file"));
        }
        let file = File::open(&temp)?;
        modes::tighten(&file)?;
        drop(file);
        modes::sync_file(&temp)?;
        Ok(staged)
    }

    /// The new file, until it is in its place.
    pub(super) fn temp(&self) -> &Path {
        self.temp.as_deref().unwrap_or(&self.target)
    }

    /// Puts it in its place. The directory still has to be synchronised.
    pub(super) fn commit(mut self) -> io::Result<()> {
        fs::rename(self.temp(), &self.target)?;
        self.temp = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // It may not exist yet; a leftover is hidden, private and never read.
            let _ = fs::remove_file(temp);
        }
    }
}

/// A hidden name in the same directory that nobody else uses, and that no tool takes for a token file.
fn temp_beside(target: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = String::from(".credpool-");
    for byte in random {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name.push_str(".tmp");
    Ok(target.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_changes_before_the_commit_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        fs::write(&target, "old").unwrap();
        let staged = Staged::write(target.clone(), b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(names(dir.path()).len(), 2);
        drop(staged);
        assert_eq!(names(dir.path()), ["a"]);
        let staged = Staged::write(target.clone(), b"new").unwrap();
        staged.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_commit_that_fails_removes_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        fs::create_dir(&target).unwrap();
        Staged::write(target, b"new").unwrap().commit().unwrap_err();
        assert_eq!(names(dir.path()), ["a"]);
    }

    #[test]
    fn a_foreign_writer_may_fail_or_write_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        Staged::write_with(target.clone(), |_| Ok(())).unwrap_err();
        Staged::write_with(target.clone(), |temp| {
            fs::write(temp, "half")?;
            Err(io::Error::other("no"))
        })
        .unwrap_err();
        assert!(names(dir.path()).is_empty());
        let staged = Staged::write_with(target.clone(), |temp| fs::write(temp, "whole")).unwrap();
        staged.commit().unwrap();
        assert_eq!(fs::read(target).unwrap(), b"whole");
    }
}
