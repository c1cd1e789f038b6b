//! Token refresh: when a credential is due, how long before its expiry, and the steps of a refresh.
//!
//! A refresh is requested at the [`coordinator`]; the [`scheduler`] requests it when a credential is due, a call when its token has
//! expired.
//! [`single_flight`] has one run for all requests, [`admission`] says which runs begin, [`attempt`] is one run through the states of the
//! [`machine`].

mod admission;
mod attempt;
mod backoff;
mod coordinator;
mod due;
mod endpoint_backoff;
mod ensure_fresh;
mod grants;
mod health;
mod lock;
mod machine;
mod pending_saves;
mod queue;
mod records;
mod refresh_window;
mod scheduler;
mod single_flight;
mod state;
mod timing;
mod wakeups;

pub(crate) use admission::threads;
pub(crate) use coordinator::RefreshCoordinator;
pub use due::should_refresh;
#[cfg(feature = "testing")]
pub(crate) use queue::DueQueue;
pub use refresh_window::{provider_refresh_lead, register_refresh_lead_provider};
pub(crate) use scheduler::start as start_scheduler;

use crate::panic::guard;

/// What user-supplied code returns; `None` when it panics.
fn contained<T>(what: &str, code: impl FnOnce() -> T) -> Option<T> {
    guard(|| what.to_owned(), code).ok()
}
