//! Cancellation: a one-shot [`CancelToken`] that all its clones and children see.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::panic::guard;

/// A one-shot cancellation token, shared by all its clones; cancelling it cancels each [`child`](CancelToken::child), too.
///
/// Give it to a call in [`Options::cancel`](crate::Options). Executors ask [`is_cancelled`](CancelToken::is_cancelled),
/// put [`cancelled`](CancelToken::cancelled) into their `select!`, or register an action with
/// [`on_cancel`](CancelToken::on_cancel).
///
/// ```
/// let token = credpool::CancelToken::new();
/// let child = token.child();
/// token.cancel();
/// assert!(child.is_cancelled());
/// ```
#[doc(alias = "context.Context")]
#[derive(Default)]
pub struct CancelToken {
    /// Made at the first use beyond `is_cancelled`: most calls are never cancelled, and have no listener.
    inner: OnceLock<Arc<Inner>>,
}

/// Keeps an action registered; dropping it takes the action back.
///
/// ```
/// use credpool::CancelToken;
///
/// let token = CancelToken::new();
/// let (sender, receiver) = std::sync::mpsc::channel();
/// let action = token.on_cancel(move || sender.send("cancelled").unwrap());
/// token.cancel();
/// assert_eq!(receiver.recv(), Ok("cancelled"));
/// drop(action);
/// ```
#[must_use = "dropping it takes the action back"]
pub struct OnCancel {
    token: Weak<Inner>,
    key: u64,
}

/// Never sent: the channel only disconnects.
///
/// ```
/// use credpool::CancelToken;
///
/// let token = CancelToken::new();
/// token.cancel();
/// // The channel never carries a message: it disconnects.
/// assert!(token.cancelled().recv().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {}

#[derive(Default)]
struct Inner {
    /// Set with the state locked.
    flag: AtomicBool,
    /// Made at the first call of `cancelled`; disconnected once the sender below is gone.
    cancelled: OnceLock<Receiver<Never>>,
    state: Mutex<State>,
    /// Keeps a child registered with its parent.
    _parent: Option<OnCancel>,
}

#[derive(Default)]
struct State {
    open: Option<Sender<Never>>,
    next_key: u64,
    actions: Vec<(u64, Action)>,
}

type Action = Box<dyn FnOnce() + Send>;

impl CancelToken {
    /// A token that is not cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> &Arc<Inner> {
        self.inner.get_or_init(Arc::default)
    }

    /// A token that is cancelled with this one, and that can be cancelled alone.
    pub fn child(&self) -> Self {
        let inner = Arc::new_cyclic(|child: &Weak<Inner>| {
            let child = child.clone();
            let parent = self.on_cancel(move || {
                if let Some(child) = child.upgrade() {
                    child.cancel();
                }
            });
            Inner {
                _parent: Some(parent),
                ..Inner::default()
            }
        });
        // The parent may have been cancelled while the child was being made.
        if self.is_cancelled() {
            inner.cancel();
        }
        Self {
            inner: OnceLock::from(inner),
        }
    }

    /// Cancels the token: registered actions run on this thread, in the order of their registration. Again: nothing.
    pub fn cancel(&self) {
        self.inner().cancel();
    }

    /// Whether the token was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.get().is_some_and(|inner| inner.is_cancelled())
    }

    /// A channel that disconnects when the token is cancelled, for `select!`.
    pub fn cancelled(&self) -> &Receiver<Never> {
        let inner = self.inner();
        inner.cancelled.get_or_init(|| {
            let (open, cancelled) = crossbeam_channel::bounded(0);
            let mut state = inner.state.lock();
            if !inner.is_cancelled() {
                state.open = Some(open);
            }
            cancelled
        })
    }

    /// Runs `action` when the token is cancelled, immediately if it already is, unless the guard is dropped before.
    ///
    /// The action runs on the cancelling thread; it must be short. A panic in it is caught and logged.
    pub fn on_cancel(&self, action: impl FnOnce() + Send + 'static) -> OnCancel {
        let inner = self.inner();
        let mut state = inner.state.lock();
        let key = state.next_key;
        state.next_key += 1;
        if inner.is_cancelled() {
            drop(state);
            run(Box::new(action));
        } else {
            state.actions.push((key, Box::new(action)));
        }
        OnCancel {
            token: Arc::downgrade(inner),
            key,
        }
    }
}

impl Inner {
    fn cancel(&self) {
        let (open, actions) = {
            let mut state = self.state.lock();
            self.flag.store(true, Ordering::Release);
            (state.open.take(), std::mem::take(&mut state.actions))
        };
        drop(open);
        for (_, action) in actions {
            run(action);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }
}

fn run(action: Action) {
    let _ = guard(|| "an action on cancel".to_owned(), action);
}

impl Clone for CancelToken {
    fn clone(&self) -> Self {
        Self {
            inner: OnceLock::from(Arc::clone(self.inner())),
        }
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

impl Drop for OnCancel {
    fn drop(&mut self) {
        if let Some(token) = self.token.upgrade() {
            let action = {
                let actions = &mut token.state.lock().actions;
                let at = actions.iter().position(|(key, _)| *key == self.key);
                at.map(|at| actions.remove(at))
            };
            drop(action);
        }
    }
}

impl fmt::Debug for OnCancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCancel")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn actions_run_once_and_can_be_taken_back() {
        let ran = Arc::new(AtomicU32::new(0));
        let count = |ran: &Arc<AtomicU32>| {
            let ran = Arc::clone(ran);
            move || {
                ran.fetch_add(1, Ordering::Relaxed);
            }
        };
        let token = CancelToken::new();
        let _kept = token.on_cancel(count(&ran));
        drop(token.on_cancel(count(&ran)));
        token.cancel();
        token.cancel();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
        let _late = token.on_cancel(count(&ran));
        assert_eq!(ran.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_action_that_panics_keeps_nobody_from_running() {
        let ran = Arc::new(AtomicU32::new(0));
        let token = CancelToken::new();
        let _bad = token.on_cancel(|| panic!("the action is told to panic"));
        let count = Arc::clone(&ran);
        let _good = token.on_cancel(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        token.cancel();
        assert_eq!(ran.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_child_follows_its_parent_and_not_the_other_way() {
        let parent = CancelToken::new();
        let child = parent.child();
        let grandchild = child.child();
        child.cancel();
        assert!(grandchild.is_cancelled() && !parent.is_cancelled());
        let late = {
            parent.cancel();
            parent.child()
        };
        assert!(late.is_cancelled());
    }

    #[test]
    fn a_dropped_child_leaves_nothing_behind() {
        let parent = CancelToken::new();
        drop(parent.child());
        assert!(parent.inner().state.lock().actions.is_empty());
    }
}
