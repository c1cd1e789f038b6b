//! Atomic replacement of a file: readers, and a crash at any point, see the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::fingerprint::Mark;
use super::names;
use crate::store::support::permissions;

/// A new file beside the one that it will replace. Dropped, it is removed; a writer that is killed leaves it behind, where the
/// next one finds it.
#[derive(Debug)]
pub(super) struct Staged {
    temp: Option<PathBuf>,
    target: PathBuf,
    mark: Mark,
    keeps_former: bool,
}

impl Staged {
    /// A durable new file with `bytes` in it.
    pub(super) fn write(target: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        Self::write_and(target, bytes, File::sync_all)
    }

    /// A new file with `bytes` in it, for what may be lost when the machine fails. Readers see it whole, and the end of the process
    /// does not harm it.
    pub(super) fn write_volatile(target: PathBuf, bytes: &[u8]) -> io::Result<Self> {
        Self::write_and(target, bytes, |_| Ok(()))
    }

    fn write_and(
        target: PathBuf,
        bytes: &[u8],
        finish: impl FnOnce(&File) -> io::Result<()>,
    ) -> io::Result<Self> {
        let temp = target.with_file_name(temp_name(&target));
        let mut file = permissions::create_file(&temp)?;
        let mut staged = Self::of(temp, target);
        file.write_all(bytes)?;
        finish(&file)?;
        staged.mark = Mark::of(&file.metadata()?, bytes);
        Ok(staged)
    }

    /// A name that `write` puts a file under. The file is made private and durable.
    pub(super) fn write_with(
        target: PathBuf,
        write: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<Self> {
        let temp = target.with_file_name(temp_name(&target));
        let mut staged = Self::of(temp.clone(), target);
        write(&temp)?;
        let found = fs::symlink_metadata(&temp)?;
        if !found.is_file() {
            return Err(io::Error::other("what was written is not a regular file"));
        }
        let file = File::open(&temp)?;
        permissions::tighten(&file, &found)?;
        drop(file);
        permissions::sync_file(&temp)?;
        staged.mark = Mark::unread(&found);
        Ok(staged)
    }

    /// A file that a writer left behind, made durable.
    pub(super) fn left(target: PathBuf) -> io::Result<Self> {
        let temp = target.with_file_name(temp_name(&target));
        permissions::sync_file(&temp)?;
        Ok(Self::of(temp, target))
    }

    fn of(temp: PathBuf, target: PathBuf) -> Self {
        Self {
            temp: Some(temp),
            target,
            mark: Mark::default(),
            keeps_former: false,
        }
    }

    /// The file that it replaces is damaged: it is kept under another name.
    pub(super) fn keep_former(mut self, keep: bool) -> Self {
        self.keeps_former = keep;
        self
    }

    /// The new file, until it is in its place.
    pub(super) fn temp(&self) -> &Path {
        self.temp.as_deref().unwrap_or(&self.target)
    }

    /// Puts it in its place. The directory still has to be synchronised.
    pub(super) fn commit(mut self) -> io::Result<Mark> {
        if self.keeps_former {
            set_aside(&self.target)?;
        }
        fs::rename(self.temp(), &self.target)?;
        self.temp = None;
        Ok(self.mark)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temp) = &self.temp {
            // It may not exist yet; a leftover is hidden and private, and the next writer sees to it.
            let _ = fs::remove_file(temp);
        }
    }
}

/// The one name, hidden and in the same directory, that a new file for `target` has until it is in its place. No tool takes
/// it for a token file.
pub(super) fn temp_name(target: &Path) -> String {
    let name = target.file_name().unwrap_or_default();
    format!(
        "{TEMP_START}{}{TEMP_END}",
        names::digest(name.as_encoded_bytes())
    )
}

/// Whether a writer may have left a file of this name.
pub(super) fn is_temp(name: &str) -> bool {
    name.starts_with(TEMP_START) && name.ends_with(TEMP_END)
}

/// Gives a damaged file a second name, under which it stays when its place is taken.
fn set_aside(target: &Path) -> io::Result<()> {
    let name = target.file_name().unwrap_or_default();
    for number in 1..=MOST_ASIDE {
        let mut aside = name.to_owned();
        aside.push(format!(".damaged-{number}"));
        let aside = target.with_file_name(aside);
        match fs::hard_link(target, &aside) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // It was removed meanwhile: there is nothing to keep.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => {
                // Not every file system knows a second name.
                result.or_else(|_| fs::rename(target, &aside))?;
                log::warn!(
                    "{} cannot be parsed and is replaced; kept as {}",
                    target.display(),
                    aside.display()
                );
                return Ok(());
            }
        }
    }
    Err(io::Error::other(
        "too many damaged files are kept beside it; check and delete them",
    ))
}

const TEMP_START: &str = ".credpool-";
const TEMP_END: &str = ".tmp";
const MOST_ASIDE: u32 = 1000;

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
        assert_eq!(names(dir.path()), [temp_name(&target), "a".into()]);
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

    #[test]
    fn a_damaged_file_keeps_its_bytes_under_another_name() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        for (round, damaged) in ["one", "two"].iter().enumerate() {
            fs::write(&target, damaged).unwrap();
            let staged = Staged::write(target.clone(), b"whole").unwrap();
            staged.keep_former(true).commit().unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"whole");
            let aside = dir.path().join(format!("a.damaged-{}", round + 1));
            assert_eq!(fs::read_to_string(aside).unwrap(), *damaged);
        }
    }
}
