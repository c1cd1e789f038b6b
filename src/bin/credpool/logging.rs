//! What the library logs, on standard error. Its own lines alone: those of its HTTP client may hold keys.

use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};

use crate::text::{clean, count};

/// Shows this many lines, and how many more there are.
struct Lines {
    most: usize,
    shown: AtomicUsize,
}

static ALL: Lines = Lines {
    most: usize::MAX,
    shown: AtomicUsize::new(0),
};
static FEW: Lines = Lines {
    most: 10,
    shown: AtomicUsize::new(0),
};

/// The first warnings, or everything up to what is for debugging.
pub(crate) fn start(verbose: bool) {
    let (lines, level) = if verbose {
        (&ALL, LevelFilter::Debug)
    } else {
        (&FEW, LevelFilter::Warn)
    };
    if log::set_logger(lines).is_ok() {
        log::set_max_level(level);
    }
}

/// Says how many warnings were not shown.
pub(crate) fn end() {
    let more = FEW.shown.load(Ordering::Relaxed).saturating_sub(FEW.most);
    if more > 0 {
        let more = count(more, "more warning");
        eprintln!("{more}: `--verbose` shows all");
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        target == "credpool" || target.starts_with("credpool::")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if self.shown.fetch_add(1, Ordering::Relaxed) < self.most {
            let level = record.level().as_str().to_ascii_lowercase();
            let line = record.args().to_string();
            eprintln!("{level}: {}", clean(&line));
        }
    }

    fn flush(&self) {}
}
