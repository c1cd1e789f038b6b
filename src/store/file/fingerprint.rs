//! Fingerprints of files: detects that a file is not the one that was read.

use std::fs::{self, Metadata};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use crate::clock::{Clock, SystemClock, Timestamp, later};

/// A file as it was seen: which one it is, and what was in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    stamp: Option<Stamp>,
    /// Whether a later change would show in the stamp. A file that has just been written may be written again within the
    /// precision of the file system's clock.
    settled: bool,
    content: u64,
    /// Since when the file is known with this stamp and this content.
    since: Option<Instant>,
    /// When it was read last.
    read: Option<Instant>,
}

/// What the directory says of a file, without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    file: u64,
    length: u64,
    modified: Option<SystemTime>,
}

/// The two files of a record; of another program's file with several credentials, the further files with their states.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    pub(super) credential: Mark,
    pub(super) state: Mark,
    pub(super) states: Vec<(String, Mark)>,
}

impl Mark {
    pub(super) fn of(found: &Metadata, bytes: &[u8]) -> Self {
        Self {
            content: fold(bytes),
            ..Self::unread(found)
        }
    }

    /// A file that cannot be parsed.
    pub(super) fn unread(found: &Metadata) -> Self {
        Self::at(Stamp::of(found), SystemClock.now(), SystemClock.monotonic())
    }

    fn at(stamp: Stamp, wall: Timestamp, monotonic: Instant) -> Self {
        let settled = stamp
            .modified
            .is_some_and(|modified| later(Timestamp::from(modified), SETTLES) < wall);
        Self {
            stamp: Some(stamp),
            settled,
            content: 0,
            since: Some(monotonic),
            read: Some(monotonic),
        }
    }

    /// The mark of a file that was read before, as `former`. The file's time says nothing where it lies in the future: a change
    /// would set it back. So one that was the same for long enough has settled too.
    #[must_use]
    fn after(mut self, former: &Self) -> Self {
        if self.stamp == former.stamp && self.content == former.content {
            self.since = former.since;
            let known_for = self.read.zip(self.since);
            self.settled |=
                known_for.is_some_and(|(read, since)| read.duration_since(since) >= SETTLES);
        }
        self
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
    /// The marks of files that were read before, as `former`.
    #[must_use]
    pub(super) fn after(mut self, former: &Self) -> Self {
        self.credential = self.credential.after(&former.credential);
        self.state = self.state.after(&former.state);
        for (path, mark) in &mut self.states {
            if let Some(former) = former.further(path) {
                *mark = mark.after(former);
            }
        }
        self
    }

    pub(super) fn say_the_same(&self, other: &Self) -> bool {
        self.credential.says_the_same(&other.credential)
            && self.state.says_the_same(&other.state)
            && self.states.len() == other.states.len()
            && self.states.iter().all(|(path, mark)| {
                let other = other.further(path);
                other.is_some_and(|other| mark.says_the_same(other))
            })
    }

    /// Whether the further files are, for certain, those that were seen; `now`: the stamp of the file at a path.
    pub(super) fn further_stand(&self, now: impl Fn(&str) -> Option<Stamp>) -> bool {
        let mut states = self.states.iter();
        states.all(|(path, mark)| mark.stands(now(path)))
    }

    /// Whether the file at `path` is a further one with a state.
    pub(super) fn has_further(&self, path: &str) -> bool {
        self.further(path).is_some()
    }

    /// Notes a further file with a state.
    pub(super) fn set(&mut self, path: &str, mark: Mark) {
        self.states.retain(|(known, _)| known != path);
        self.states.push((path.to_owned(), mark));
    }

    fn further(&self, path: &str) -> Option<&Mark> {
        let found = self.states.iter().find(|(known, _)| known == path);
        found.map(|(_, mark)| mark)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, earlier};

    const NOW: Timestamp = time::macros::utc_datetime!(2025-01-01 00:00);
    const MOMENT: Duration = Duration::from_nanos(1);

    fn stamp(modified: Timestamp) -> Stamp {
        Stamp {
            file: 1,
            length: 2,
            modified: Some(modified.into()),
        }
    }

    fn seen(stamp: Stamp, clock: &ManualClock) -> Mark {
        Mark::at(stamp, clock.now(), clock.monotonic())
    }

    #[test]
    fn a_file_settles_two_seconds_after_its_time() {
        let clock = ManualClock::at(NOW);
        for (age, settled) in [
            (SETTLES.saturating_sub(MOMENT), false),
            (SETTLES, false),
            (SETTLES + MOMENT, true),
        ] {
            let stamp = stamp(earlier(NOW, age));
            assert_eq!(seen(stamp, &clock).stands(Some(stamp)), settled, "{age:?}");
        }
    }

    #[test]
    fn a_time_in_the_future_settles_when_it_was_seen_for_two_seconds() {
        for (apart, settled) in [
            (SETTLES.saturating_sub(MOMENT), false),
            (SETTLES, true),
            (SETTLES + MOMENT, true),
        ] {
            let clock = ManualClock::at(NOW);
            let stamp = stamp(later(NOW, Duration::from_secs(86_400)));
            let first = seen(stamp, &clock);
            assert!(!first.stands(Some(stamp)));
            // Looks between the two begin nothing anew.
            clock.advance(MOMENT);
            let second = seen(stamp, &clock).after(&first);
            clock.advance(apart.saturating_sub(MOMENT));
            let last = seen(stamp, &clock).after(&second);
            assert_eq!(last.stands(Some(stamp)), settled, "{apart:?}");
            assert!(!last.stands(None));
        }
    }

    #[test]
    fn a_change_begins_anew() {
        let clock = ManualClock::at(NOW);
        let future = stamp(later(NOW, Duration::from_secs(86_400)));
        let first = seen(future, &clock);
        clock.advance(SETTLES);
        let longer = Stamp {
            length: 3,
            ..future
        };
        let rewritten = Mark {
            content: 7,
            ..seen(future, &clock)
        };
        for (now, stamp) in [(seen(longer, &clock), longer), (rewritten, future)] {
            assert!(!now.after(&first).stands(Some(stamp)));
        }
        // Whatever the wall clock is set to.
        clock.set_wall(earlier(NOW, Duration::from_secs(86_400)));
        assert!(seen(future, &clock).after(&first).stands(Some(future)));
    }
}
