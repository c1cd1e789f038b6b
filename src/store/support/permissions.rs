//! Permissions and durability by platform: private files and directories, `fsync` of a directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

/// Creates a file that only its owner may read. It must not exist: not as a link either.
pub(crate) fn create_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    private(&mut options);
    options.open(path)
}

/// Opens what is at `path` for reading: no link is followed, and a pipe does not block.
#[cfg(unix)]
pub(crate) fn open_itself(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

#[cfg(not(unix))]
pub(crate) fn open_itself(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// A file that is created is its owner's alone.
pub(crate) fn private(options: &mut OpenOptions) {
    #[cfg(unix)]
    options.mode(0o600);
    #[cfg(not(unix))]
    let _ = options;
}

/// Creates one directory for the owner alone, where it is missing, and makes that durable.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    match fs::symlink_metadata(dir) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(io::Error::other(
                "a directory is needed, and something else is there",
            ));
        }
        Err(_) => {}
    }
    match private_dir().create(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
        Ok(()) => dir.parent().map_or(Ok(()), sync_dir),
    }
}

fn private_dir() -> fs::DirBuilder {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "rights are set on Unix alone"))]
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    builder.mode(0o700);
    builder
}

/// Creates `dir` and what is missing above it, for the owner alone, and makes that durable.
pub(crate) fn create_dirs(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|dir| !dir.as_os_str().is_empty() && fs::symlink_metadata(dir).is_err())
        .collect();
    for dir in missing.into_iter().rev() {
        match private_dir().create(dir) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
        let parent = dir.parent().filter(|dir| !dir.as_os_str().is_empty());
        match sync_dir(parent.unwrap_or(Path::new("."))) {
            // A directory that may be passed through but not read cannot be synchronised.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

/// Takes the rights of others away, with a warning if there were any.
pub(crate) fn tighten_dir(dir: &Path) {
    if !cfg!(unix) {
        return;
    }
    match File::open(dir).and_then(|opened| tighten(&opened, &opened.metadata()?)) {
        Ok(false) => {}
        Ok(true) => log::warn!(
            "{} was accessible to other users; it is private now",
            dir.display()
        ),
        Err(error) => log::warn!(
            "{} could not be made private: {error}; credentials may be accessible to other users",
            dir.display()
        ),
    }
}

/// As [`tighten_dir`], for an open file.
pub(crate) fn tighten_file(file: &File, found: &fs::Metadata, path: &str) {
    warn_if_open(tighten(file, found), path);
}

/// As [`tighten_file`], for a file that may be mounted: one that is mounted read-only has the rights that its mount gives it.
pub(crate) fn tighten_mounted(file: &File, found: &fs::Metadata, path: &str) {
    match tighten(file, found) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {}
        tightened => warn_if_open(tightened, path),
    }
}

fn warn_if_open(tightened: io::Result<bool>, path: &str) {
    match tightened {
        Ok(false) => {}
        Ok(true) => {
            log::warn!(
                "{path:?} was accessible to other users; it is private now: renew its secrets"
            );
        }
        Err(error) => log::warn!("{path:?} could not be made private: {error}"),
    }
}

/// Whether `file` was open to others.
#[cfg(unix)]
pub(crate) fn tighten(file: &File, found: &fs::Metadata) -> io::Result<bool> {
    let mut permissions = found.permissions();
    if permissions.mode() & OTHERS == 0 {
        return Ok(false);
    }
    permissions.set_mode(permissions.mode() & 0o7777 & !OTHERS);
    file.set_permissions(permissions)?;
    Ok(true)
}

#[cfg(not(unix))]
pub(crate) fn tighten(_: &File, _: &fs::Metadata) -> io::Result<bool> {
    Ok(false)
}

/// What to do about a write that failed; `otherwise` where the file system can be written to.
pub(crate) fn advice<'a>(error: &io::Error, otherwise: &'a str) -> &'a str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: mount it for writing, or copy the directory to another one"
        }
        _ => otherwise,
    }
}

/// Makes the names in a directory durable.
#[cfg(unix)]
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Makes a file durable that another process may have written.
#[cfg(unix)]
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.sync_all()
}

/// Whether two descriptions are of the same file.
pub(crate) fn same_file(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    file_number(one) == file_number(other)
}

/// Device and inode; the same for all files where the system does not tell.
#[cfg(unix)]
pub(crate) fn file_number(found: &fs::Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (found.dev(), found.ino())
}

#[cfg(not(unix))]
pub(crate) fn file_number(_: &fs::Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(unix)]
const OTHERS: u32 = 0o077;
