//! What programs observe: hooks, results of attempts, health of refreshes. Knows nothing of its callers.

mod hook;
mod json_lines;
mod outcome;
mod refresh_health;
mod stats;

pub(crate) use hook::Hooks;
pub use hook::{Hook, NoopHook};
pub use json_lines::JsonLines;
pub use outcome::{Operation, Outcome, OutcomeKind};
pub use refresh_health::{DeferredRefresh, RefreshEvent, RefreshHealth};
pub use stats::{
    BudgetStats, CallStats, CooldownStats, Counts, CredentialStats, Histogram, ModelStats,
    RefreshStats, Stats, TokenState,
};
pub(crate) use stats::{CallCounters, Ended, Line, LineNumber, LineReport, Prices, Tally};
