//! What the library logs, on standard error. Its own lines alone: those of its HTTP client may hold keys.

use log::{LevelFilter, Log, Metadata, Record};

use crate::text::clean;

struct Lines;

/// Warnings, or everything up to what is for debugging.
pub(crate) fn start(verbose: bool) {
    let level = if verbose {
        LevelFilter::Debug
    } else {
        LevelFilter::Warn
    };
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(level);
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        target == "credpool" || target.starts_with("credpool::")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let level = record.level().as_str().to_ascii_lowercase();
            let line = record.args().to_string();
            eprintln!("{level}: {}", clean(&line));
        }
    }

    fn flush(&self) {}
}
