//! [`EntryLog`]: entries as lines of one file, which every process reads as far as it has grown.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;

use super::atomic::{self, Staged};
use super::{locks, read};
use crate::error::Error;
use crate::expiring::ExpiringMap;
use crate::random;
use crate::store::StoreEntry;
use crate::store::entry::{from_millis, millis};
use crate::store::support::lock_file::LockFile;
use crate::store::support::permissions;

/// The file begins with a random line, another one each time it is written anew; each other line is an entry, a later one of the same key
/// counting. A line that a writer was killed in does not parse, and is passed over.
#[derive(Debug, Default)]
pub(super) struct EntryLog {
    read: Mutex<LogState>,
}

/// What was read of the file.
#[derive(Debug, Default)]
struct LogState {
    /// The random line of the file; none where there was no file.
    history: Option<History>,
    /// Up to where it was read.
    end: u64,
    lines: usize,
    entries: ExpiringMap<String, String>,
}

type History = [u8; 17];

/// A key, a value or its removal, and when it ends, in milliseconds.
type Line = (String, Option<String>, i64);

impl EntryLog {
    pub(super) fn load(&self, root: &Path, keys: &[String]) -> Result<Vec<StoreEntry>, Error> {
        self.catch_up(&path(root))
            .map_err(|error| failed(root, "read", error))?;
        let state = self.read.lock();
        let found = keys.iter().filter_map(|key| {
            let (value, ends) = state.entries.get(key)?;
            Some(StoreEntry::new(key, value, ends))
        });
        Ok(found.collect())
    }

    pub(super) fn save(
        &self,
        root: &Path,
        entries: &[StoreEntry],
        most: usize,
    ) -> Result<(), Error> {
        self.write(root, entries, most)
            .map_err(|error| failed(root, "write", error))
    }

    fn write(&self, root: &Path, entries: &[StoreEntry], most: usize) -> io::Result<()> {
        let dir = root.join(locks::DIR);
        permissions::create_dir(&dir)?;
        let lock = LockFile::take(&dir.join(LOCK), PATIENCE)?;
        let _lock = lock.ok_or_else(|| io::Error::other("another process keeps it locked"))?;
        let path = path(root);
        self.catch_up(&path)?;
        let (is_there, end, is_too_long) = {
            let state = self.read.lock();
            let kept = state.entries.len() + entries.len();
            let is_too_long = kept > most.saturating_add(most / 4)
                || state.lines + entries.len() > kept.saturating_mul(2).saturating_add(MOST_OVER);
            (state.history.is_some(), state.end, is_too_long)
        };
        if !is_there || is_too_long {
            return self.rewrite(&path, entries, most);
        }
        let mut file = OpenOptions::new().append(true).open(&path)?;
        // What a writer that was killed left of a line is one of its own.
        let mut text = if file.metadata()?.len() > end {
            b"\n".to_vec()
        } else {
            Vec::new()
        };
        for entry in entries {
            push_line(
                &mut text,
                &entry.key,
                entry.value.as_deref(),
                millis(entry.expires_at),
            )?;
        }
        file.write_all(&text)
    }

    /// Writes the file anew, with what counts of it and of these, up to `most`.
    fn rewrite(&self, path: &Path, entries: &[StoreEntry], most: usize) -> io::Result<()> {
        let mut kept = self.read.lock().entries.clone();
        for entry in entries {
            apply(&mut kept, entry.clone());
        }
        kept.truncate(most);
        let mut text = format!("{:016x}\n", u64::from_le_bytes(random::bytes()?)).into_bytes();
        for (key, value, ends) in kept.iter() {
            push_line(&mut text, key, Some(value), millis(ends))?;
        }
        // A writer that was killed may have left one.
        read::remove(&path.with_file_name(atomic::temp_name(path)))?;
        Staged::write_volatile(path.to_owned(), &text)?.commit()?;
        self.catch_up(path)
    }

    /// Reads what has come since the last look.
    fn catch_up(&self, path: &Path) -> io::Result<()> {
        loop {
            let (history, end) = {
                let state = self.read.lock();
                (state.history, state.end)
            };
            let news = News::since(path, history, end)?;
            let mut state = self.read.lock();
            if (state.history, state.end) != (history, end) {
                // Another thread has read on meanwhile.
                continue;
            }
            state.take(news);
            return Ok(());
        }
    }
}

/// What a file has that was not read before.
struct News {
    history: Option<History>,
    /// Whether it is the file that was read before.
    is_same: bool,
    end: u64,
    lines: Vec<Line>,
    count: usize,
}

impl News {
    fn since(path: &Path, history: Option<History>, end: u64) -> io::Result<Self> {
        let mut news = Self {
            history: None,
            is_same: false,
            end: 0,
            lines: Vec::new(),
            count: 0,
        };
        let mut file = match permissions::open_itself(path) {
            Err(error) if read::is_missing(&error) => return Ok(news),
            opened => opened?,
        };
        let mut first = History::default();
        file.read_exact(&mut first)?;
        news.history = Some(first);
        news.is_same = news.history == history;
        news.end = if news.is_same {
            end
        } else {
            first.len() as u64
        };
        let text = rest(&mut file, news.end)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n');
        let whole = &text[..whole.map_or(0, |at| at + 1)];
        for line in whole.split(|byte| *byte == b'\n') {
            news.count += 1;
            news.lines.extend(serde_json::from_slice::<Line>(line).ok());
        }
        news.end += whole.len() as u64;
        Ok(news)
    }
}

fn rest(file: &mut File, from: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok(text)
}

impl LogState {
    fn take(&mut self, news: News) {
        if !news.is_same {
            *self = Self::default();
        }
        self.history = news.history;
        self.end = news.end;
        self.lines += news.count;
        for (key, value, ends) in news.lines {
            let entry = StoreEntry {
                key,
                value,
                expires_at: from_millis(ends),
            };
            apply(&mut self.entries, entry);
        }
    }
}

fn apply(entries: &mut ExpiringMap<String, String>, entry: StoreEntry) {
    match entry.value {
        Some(value) => entries.insert(entry.key, value, entry.expires_at),
        None => entries.remove(&entry.key),
    }
}

fn push_line(text: &mut Vec<u8>, key: &str, value: Option<&str>, ends: i64) -> io::Result<()> {
    serde_json::to_writer(&mut *text, &(key, value, ends))?;
    text.push(b'\n');
    Ok(())
}

fn path(root: &Path) -> PathBuf {
    root.join(locks::DIR).join(LOG)
}

fn failed(root: &Path, what: &str, error: io::Error) -> Error {
    let message = format!(
        "could not {what} {}: {error}; check that the store's directory exists and is writable",
        path(root).display()
    );
    Error::store(message).with_source(error)
}

const LOG: &str = "entries.log";
const LOCK: &str = "entries.lock";

/// How many lines that no longer count may be there, beside as many as those that do.
const MOST_OVER: usize = 1024;

/// How long a writer waits for another one, which needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn entry(key: &str, seconds: i64) -> StoreEntry {
        StoreEntry::new(key, format!("of {key}"), from_millis(seconds * 1000))
    }

    fn found(log: &EntryLog, root: &Path, keys: &[&str]) -> Vec<String> {
        let keys: Vec<_> = keys.iter().map(ToString::to_string).collect();
        let found = log.load(root, &keys).unwrap();
        found.into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn a_line_that_a_writer_was_killed_in_costs_that_line_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (root, log) = (dir.path(), EntryLog::default());
        assert!(found(&log, root, &["a"]).is_empty());
        log.save(root, &[entry("a", 1)], 9).unwrap();
        let mut file = OpenOptions::new().append(true).open(path(root)).unwrap();
        file.write_all(br#"["b","of b""#).unwrap();
        let other = EntryLog::default();
        assert_eq!(found(&other, root, &["a", "b"]), ["a"]);
        log.save(root, &[entry("c", 1)], 9).unwrap();
        for log in [log, other, EntryLog::default()] {
            assert_eq!(found(&log, root, &["a", "b", "c"]), ["a", "c"]);
        }
    }

    #[test]
    fn the_file_is_written_anew_when_most_of_it_counts_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let (root, log, other) = (dir.path(), EntryLog::default(), EntryLog::default());
        for round in 0..3000 {
            log.save(root, &[entry("a", round)], 9).unwrap();
            if round % 7 == 0 {
                assert_eq!(found(&other, root, &["a"]), ["a"]);
            }
        }
        let lines = fs::read_to_string(path(root)).unwrap().lines().count();
        assert!(lines < 1100, "{lines}");
        let all = log.load(root, &["a".to_owned()]).unwrap();
        assert_eq!(all, other.load(root, &["a".to_owned()]).unwrap());
        assert_eq!(all[0].expires_at, from_millis(2_999_000));
        fs::remove_file(path(root)).unwrap();
        assert!(found(&log, root, &["a"]).is_empty());
        log.save(root, &[entry("b", 1)], 9).unwrap();
        assert_eq!(found(&other, root, &["a", "b"]), ["b"]);
    }
}
