//! How to tell that a file is not the one that was read.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::Timestamp;
use crate::clock::{Clock, SystemClock, later};

/// A file as it was seen: which one it is, and what was in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    stamp: Option<Stamp>,
    /// Whether a later change would show in the stamp. A file that has just been written may be written again within the
    /// precision of the file system's clock.
    settled: bool,
    content: u64,
}

/// What the directory says of a file, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// The two files of a record.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) credential: Mark,
    pub(super) state: Mark,
}

impl Mark {
    pub(super) fn of(found: &Metadata, bytes: &[u8]) -> Self {
        Self {
            content: fold(bytes),
            ..Self::unread(found)
        }
    }

    /// A file that does not read.
    pub(super) fn unread(found: &Metadata) -> Self {
        let stamp = Stamp::of(found);
        let settled = stamp
            .modified
            .is_some_and(|modified| later(Timestamp::from(modified), SETTLES) < SystemClock.now());
        Self {
            stamp: Some(stamp),
            settled,
            content: 0,
        }
    }

    /// Whether the file is, for certain, the one that was seen.
    pub(super) fn stands(&self, now: Option<Stamp>) -> bool {
        self.stamp == now && (self.settled || now.is_none())
    }

    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.stamp.is_some() == other.stamp.is_some() && self.content == other.content
    }
}

impl Marks {
    pub(super) fn say_the_same(&self, other: &Self) -> bool {
        self.credential.says_the_same(&other.credential) && self.state.says_the_same(&other.state)
    }
}

impl Stamp {
    /// The file at `place`; none where there is none.
    pub(super) fn at(place: &Path) -> Option<Self> {
        fs::symlink_metadata(place)
            .ok()
            .map(|found| Self::of(&found))
    }

    fn of(found: &Metadata) -> Self {
        #[cfg(unix)]
        let file = std::os::unix::fs::MetadataExt::ino(found);
        #[cfg(not(unix))]
        let file = 0;
        Self {
            file,
            length: found.len(),
            modified: found.modified().ok(),
        }
    }
}

/// A number that differs where texts do. It needs to be quick, and to withstand chance alone.
fn fold(bytes: &[u8]) -> u64 {
    let mix = |sum: u64, word: u64| (sum.rotate_left(5) ^ word).wrapping_mul(ODD);
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(bytes.len() as u64, |sum, word| {
        mix(sum, u64::from_le_bytes(*word))
    });
    let sum = rest
        .iter()
        .fold(sum, |sum, byte| mix(sum, u64::from(*byte)));
    sum ^ (sum >> 32)
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Longer than the precision of any file system's clock.
const SETTLES: Duration = Duration::from_secs(2);
