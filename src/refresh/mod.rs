//! Keeping tokens fresh: when a credential is due, how long before its expiry that is, and how it is done.

mod decide;
mod engine;
mod inbox;
mod lead;
mod merge;
mod refresher;

use std::time::Duration;

pub use decide::should_refresh;
pub(crate) use engine::RefreshEngine;
pub use lead::{provider_refresh_lead, register_refresh_lead_provider};
pub(crate) use refresher::start as start_refresher;

use crate::runtime::guard;

/// What the program's own code answers; `None` when it panics.
fn contained<T>(what: &str, code: impl FnOnce() -> T) -> Option<T> {
    guard(|| what.to_owned(), code).ok()
}

/// How long before a known expiry tokens are refreshed where nobody says otherwise.
const DEFAULT_LEAD: Duration = Duration::from_secs(5 * 60);
