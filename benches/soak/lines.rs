//! Counts log lines of level `warn` and above, by what they say without names and numbers.

use std::collections::BTreeMap;

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;

pub(crate) struct Lines(Mutex<BTreeMap<String, usize>>);

static LINES: Lines = Lines(Mutex::new(BTreeMap::new()));

impl Lines {
    pub(crate) fn count() -> &'static Self {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Warn);
        &LINES
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        self.0.lock().clone()
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        let named = |word: &&str| !word.contains(|letter: char| letter.is_ascii_digit());
        let plain: Vec<&str> = text.split_whitespace().filter(named).collect();
        let plain = format!("{}: {}", record.level(), plain.join(" "));
        *self.0.lock().entry(plain).or_default() += 1;
    }

    fn flush(&self) {}
}
