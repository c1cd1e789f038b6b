//! Identity of the database file: detects that another file has taken its path.

use std::fmt;
use std::io;
use std::path::Path;

/// Which file is at a path: another one may take its place while connections to the former stay open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    number: u64,
}

impl FileId {
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let found = std::fs::metadata(path)?;
        Ok(Self {
            device: found.dev(),
            number: found.ino(),
        })
    }

    /// An open file keeps its place where the system is not a Unix.
    #[cfg(not(unix))]
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        std::fs::metadata(path).map(|_| Self {
            device: 0,
            number: 0,
        })
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.number)
    }
}
