//! What programs observe: hooks, results of attempts, health of refreshes. Knows nothing of its callers.

mod hook;
mod outcome;
mod refresh_health;

pub(crate) use hook::Hooks;
pub use hook::{Hook, NoopHook};
pub use outcome::{Outcome, OutcomeKind};
pub use refresh_health::{DeferredRefresh, RefreshEvent, RefreshHealth};
