//! Threads of a check, whose verdicts are one.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};

use super::{Stop, Verdict};
use crate::panic::guard;
use crate::runtime::spawn;

/// Threads that run.
pub(super) struct Threads {
    verdicts: Receiver<Verdict>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts so many; each gets its number.
    pub(super) fn start(
        count: usize,
        work: impl Fn(usize) -> Verdict + Send + Sync + 'static,
    ) -> Result<Self, Stop> {
        let work = Arc::new(work);
        let (report, verdicts) = bounded(count);
        let start = |number: usize| {
            let (work, report) = (Arc::clone(&work), report.clone());
            spawn(format!("conformance-{number}"), move || {
                let verdict = guard(|| "a thread".to_owned(), || work(number));
                let _ = report.send(verdict.unwrap_or_else(|panicked| Err(panicked.into())));
            })
            .map_err(|error| Stop::Broken(format!("no thread could be started: {error}")))
        };
        let handles = (0..count).map(start).collect::<Result<_, _>>()?;
        Ok(Self { verdicts, handles })
    }

    /// Whether one has ended.
    pub(super) fn any_ended(&self) -> bool {
        self.handles.iter().any(JoinHandle::is_finished)
    }

    /// Whether all have ended.
    pub(super) fn all_ended(&self) -> bool {
        self.handles.iter().all(JoinHandle::is_finished)
    }

    /// Waits for all: the first broken promise of any.
    pub(super) fn join(self) -> Verdict {
        for handle in self.handles {
            let _ = handle.join();
        }
        self.verdicts.try_iter().collect()
    }
}
