//! Wake-ups of the scheduler: which credentials have changed.

use std::collections::HashSet;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

/// Tells a scheduler which credentials changed. Each refresher has its own: one that was replaced takes nothing from its
/// successor.
pub(super) struct Inbox {
    changed: Mutex<HashSet<String>>,
    wake: Sender<()>,
    pub(super) woken: Receiver<()>,
}

/// The inbox of the refresher that runs, if one does.
#[derive(Default)]
pub(super) struct Mailbox(Mutex<Option<Arc<Inbox>>>);

impl Inbox {
    fn new() -> Self {
        let (wake, woken) = crossbeam_channel::bounded(1);
        Self {
            changed: Mutex::default(),
            wake,
            woken,
        }
    }

    pub(super) fn take(&self) -> HashSet<String> {
        std::mem::take(&mut self.changed.lock())
    }
}

impl Mailbox {
    /// A new inbox, in place of a former one.
    pub(super) fn open(&self) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new());
        *self.0.lock() = Some(Arc::clone(&inbox));
        inbox
    }

    /// Closes this inbox, unless another one has taken its place.
    pub(super) fn close(&self, inbox: &Arc<Inbox>) {
        let is_this = |current: &mut Arc<Inbox>| Arc::ptr_eq(current, inbox);
        self.0.lock().take_if(is_this);
    }

    /// Whether a refresher runs.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().is_some()
    }

    pub(super) fn post(&self, id: &str) {
        let inbox = self.0.lock().clone();
        if let Some(inbox) = inbox {
            inbox.changed.lock().insert(id.to_owned());
            let _ = inbox.wake.try_send(());
        }
    }
}
