//! The kernel's notes of changes: [inotify](https://man7.org/linux/man-pages/man7/inotify.7.html).
//!
//! A change is noted before the system call that makes it returns. Not noted are writes by a memory map, writes by another hard link of a
//! file, and what another machine does in a network file system: a directory of such a one is refused.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Event, ReadFlags, Reader, WatchFlags};
use rustix::fs::statfs;
use rustix::io::Errno;

use super::Noted;
use super::mounts::Mounts;
use crate::runtime::Process;

/// Directories below a root.
#[derive(Debug)]
pub(crate) struct Watch {
    notes: OwnedFd,
    /// How the path of what is in a directory begins, by the kernel's number of it.
    starts: HashMap<i32, String>,
    mounts: Mounts,
    /// A child that is forked shares the kernel's notes with its parent, and would take them away from it.
    process: Process,
}

impl Watch {
    /// Watches nothing yet. An error: the kernel gives no more of them, or does not say what is mounted.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        Ok(Self {
            mounts: Mounts::below(root)?,
            notes: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            starts: HashMap::new(),
            process: Process::current(),
        })
    }

    /// Watches a directory; `start` is how the paths below it begin. What is gone, or may not be read, needs none: the directory that it is
    /// in is watched.
    pub(crate) fn add(&mut self, directory: &Path, start: &str) -> io::Result<()> {
        let kind = match statfs(directory) {
            Ok(found) => found.f_type,
            Err(error) if is_no_directory(error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        if !LOCAL.iter().any(|local| i128::from(*local) == kind.into()) {
            let what = format!("its file system (type {kind:#x}) may be changed by others");
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let mut flags = CHANGES | WatchFlags::ONLYDIR;
        if !start.is_empty() {
            flags |= WatchFlags::DONT_FOLLOW;
        }
        let number = match inotify::add_watch(&self.notes, directory, flags) {
            Ok(number) => number,
            Err(error) if is_no_directory(error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let former = self.starts.insert(number, start.to_owned());
        if former.is_some_and(|former| former != start) {
            let what = "a directory is mounted in two places of it";
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        Ok(())
    }

    /// What has been noted since the last time. Waits for nothing, and reads the kernel's memory alone.
    pub(crate) fn ask(&self) -> Noted {
        let mut noted = Noted::default();
        if self.process.has_forked() {
            noted.is_incomplete = true;
            return noted;
        }
        noted.is_incomplete = self.mounts.have_changed();
        noted.files.extend_from_slice(self.mounts.files());
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.notes, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => self.note(&event, &mut noted),
                Err(Errno::AGAIN) => return noted,
                Err(Errno::INTR) => {}
                Err(_) => {
                    noted.is_incomplete = true;
                    return noted;
                }
            }
        }
    }

    fn note(&self, event: &Event<'_>, noted: &mut Noted) {
        let flags = event.events();
        let start = self.starts.get(&event.wd());
        let (Some(start), Some(name), false) =
            (start, event.file_name(), flags.intersects(UNKNOWN))
        else {
            noted.is_incomplete = true;
            return;
        };
        let path = format!("{start}{}", name.to_string_lossy());
        let (seen, is_last) = if flags.contains(ReadFlags::ISDIR) {
            (&mut noted.directories, false)
        } else {
            let is_last = noted.files.last() == Some(&path);
            (&mut noted.files, is_last)
        };
        if !is_last {
            seen.push(path);
        }
    }
}

/// Whether there is nothing to watch at a path.
fn is_no_directory(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP
    )
}

const CHANGES: WatchFlags = WatchFlags::ATTRIB
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::MOVE_SELF);

/// After these, the kernel has not noted all, or will not.
const UNKNOWN: ReadFlags = ReadFlags::QUEUE_OVERFLOW
    .union(ReadFlags::IGNORED)
    .union(ReadFlags::UNMOUNT)
    .union(ReadFlags::DELETE_SELF)
    .union(ReadFlags::MOVE_SELF);

/// File systems that this machine alone changes, by their numbers in <https://man7.org/linux/man-pages/man2/statfs.2.html> and the kernel's
/// `magic.h`: Btrfs, bcachefs, ext2 to ext4, F2FS, overlay, ramfs, tmpfs, XFS, ZFS.
const LOCAL: [u32; 9] = [
    0x9123_683e,
    0xca45_1a4e,
    0xef53,
    0xf2f5_2010,
    0x794c_7630,
    0x8584_58f6,
    0x0102_1994,
    0x5846_5342,
    0x2fc1_2fc1,
];

/// Some tens of notes. One is at most 16 bytes and a name long.
const BUFFER: usize = 4096;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::runtime::process::testing::forked;

    #[test]
    fn a_forked_child_leaves_the_notes_to_its_parent() {
        let home = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(home.path()).unwrap();
        watch.add(home.path(), "").unwrap();
        fs::write(home.path().join("a"), "x").unwrap();
        let noted = forked(|| watch.ask());
        assert!(noted.is_incomplete && noted.files.is_empty());
        let noted = watch.ask();
        assert!(!noted.is_incomplete);
        assert_eq!(noted.files, ["a"]);
    }

    #[test]
    fn a_file_system_that_others_change_unseen_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let mut watch = Watch::new(home.path()).unwrap();
        watch.add(&home.path().join("gone"), "gone/").unwrap();
        let error = watch.add(Path::new("/proc"), "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
        watch.add(home.path(), "").unwrap();
        let error = watch.add(home.path(), "again/").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
    }
}
