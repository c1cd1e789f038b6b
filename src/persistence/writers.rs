//! The threads of write-behind: one, and further ones while a store call hangs.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::item::Item;
use crate::clock::deadline;
use crate::panic::guard;
use crate::runtime::spawn;

/// Writes one item, and says whether it is saved.
pub(crate) type Write = Arc<dyn Fn(&Item) -> bool + Send + Sync>;

/// Threads that write one record after the other. The first comes with the first record; another one, up to [`MOST`], when
/// records wait and none was done for [`PATIENCE`].
pub(crate) struct Writers {
    jobs: Sender<Item>,
    done: Receiver<Done>,
    /// What each thread has.
    hand: WriterThread,
    threads: Vec<JoinHandle<()>>,
    /// How many records were given and are not done.
    given: usize,
    /// When one was done last, or a thread began.
    progress: Instant,
}

/// A record that was written, or could not be.
pub(crate) struct Done {
    pub(crate) item: Item,
    pub(crate) is_saved: bool,
}

impl Writers {
    pub(crate) fn new(write: Write, now: Instant) -> Self {
        let (jobs, taken) = crossbeam_channel::unbounded();
        let (report, done) = crossbeam_channel::unbounded();
        Self {
            jobs,
            done,
            hand: WriterThread {
                write,
                taken,
                report,
            },
            threads: Vec::new(),
            given: 0,
            progress: now,
        }
    }

    /// Where finished writes are reported; each is to be [counted](Self::count_done).
    pub(crate) fn done(&self) -> &Receiver<Done> {
        &self.done
    }

    pub(crate) fn give(&mut self, item: Item, now: Instant) {
        if self.given == 0 {
            self.progress = now;
        }
        self.given += 1;
        let _ = self.jobs.send(item);
    }

    pub(crate) fn count_done(&mut self, now: Instant) {
        self.given -= 1;
        self.progress = now;
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.given == 0
    }

    /// From now on, time goes by another clock.
    pub(crate) fn restart_patience(&mut self, now: Instant) {
        self.progress = now;
    }

    /// When another thread is needed, unless a record is done by then.
    pub(crate) fn impatient_at(&self) -> Option<Instant> {
        match self.threads.len() {
            _ if self.given <= self.threads.len() => None,
            0 => Some(self.progress),
            MOST.. => None,
            _ => Some(deadline(self.progress, PATIENCE)),
        }
    }

    /// Brings another thread in, if it is time.
    pub(crate) fn reinforce(&mut self, now: Instant) {
        if self.impatient_at().is_none_or(|at| now < at) {
            return;
        }
        self.progress = now;
        let hand = self.hand.clone();
        match spawn("credpool-write".to_owned(), move || hand.work()) {
            Ok(thread) => self.threads.push(thread),
            Err(error) if self.threads.is_empty() => {
                log::warn!("no thread could be started for writing: {error}");
                while let Ok(item) = self.hand.taken.try_recv() {
                    self.hand.write(item);
                }
            }
            Err(_) => {}
        }
    }

    /// Ends the threads, when nothing is left for them to do.
    pub(crate) fn end(self) {
        drop((self.jobs, self.hand));
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// What a thread needs.
#[derive(Clone)]
struct WriterThread {
    write: Write,
    taken: Receiver<Item>,
    report: Sender<Done>,
}

impl WriterThread {
    fn work(self) {
        for item in &self.taken {
            self.write(item);
        }
    }

    fn write(&self, item: Item) {
        let saved = guard(|| "the writer".to_owned(), || (self.write)(&item));
        let is_saved = saved.unwrap_or(false);
        let _ = self.report.send(Done { item, is_saved });
    }
}

/// The most threads that write, hanging ones included.
const MOST: usize = 4;

/// How long a thread may take for a record before another one is brought in.
const PATIENCE: Duration = Duration::from_millis(250);
