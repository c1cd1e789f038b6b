//! Small files that others put there for this program to read: keys and mounted secrets.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use crate::auth::read_wiped;

/// What is in the regular file at `path`, through links; `opened` sees it before.
pub(crate) fn read(
    path: &Path,
    opened: impl FnOnce(&File, &Metadata),
) -> io::Result<Zeroizing<Vec<u8>>> {
    // To open a pipe would wait for its writer.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::open(path)?;
    let found = file.metadata()?;
    opened(&file, &found);
    let length = usize::try_from(found.len()).unwrap_or(MOST_BYTES);
    let bytes = read_wiped(&file, length, MOST_BYTES)?;
    if bytes.len() > MOST_BYTES {
        let message = format!("it is larger than {MOST_BYTES} bytes");
        return Err(io::Error::other(message));
    }
    Ok(bytes)
}

/// The largest file that is read.
pub(crate) const MOST_BYTES: usize = 64 * 1024;
