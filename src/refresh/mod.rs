//! Keeping tokens fresh: when a credential is due, how long before its expiry that is, and how it is done.

mod adopt;
mod course;
mod decide;
mod engine;
mod failure;
mod flight;
mod fresh;
mod health;
mod held;
mod inbox;
mod lead;
mod merge;
mod procedure;
mod queue;
mod quiet;
mod refresher;
mod tokens;
mod track;
mod unpersisted;

pub(crate) use adopt::{adopt, switch};
pub use decide::should_refresh;
pub(crate) use engine::RefreshEngine;
pub use health::{RefreshEvent, RefreshHealth};
pub use lead::{provider_refresh_lead, register_refresh_lead_provider};
pub(crate) use procedure::forget_failure;
#[cfg(feature = "testing")]
pub(crate) use queue::DueQueue;
pub(crate) use refresher::start as start_refresher;
pub(crate) use tokens::{has_tokens, same_tokens};

use crate::runtime::guard;

/// What the program's own code answers; `None` when it panics.
fn contained<T>(what: &str, code: impl FnOnce() -> T) -> Option<T> {
    guard(|| what.to_owned(), code).ok()
}
