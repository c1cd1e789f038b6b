//! What a program is told: hooks, the results of attempts, the health of refreshes. Knows nothing of who tells it.

mod hook;
mod outcome;
mod refresh_health;

pub(crate) use hook::Hooks;
pub use hook::{Hook, NoopHook};
pub use outcome::{Outcome, OutcomeKind};
pub use refresh_health::{DeferredRefresh, RefreshEvent, RefreshHealth};
