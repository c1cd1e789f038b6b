//! Keeping tokens fresh: when a credential is due, and how long before its expiry that is.

mod decide;
mod lead;

pub use decide::should_refresh;
#[expect(unused_imports, reason = "the refresher plans its sleep by them")]
pub(crate) use decide::{Due, due};
pub use lead::{provider_refresh_lead, register_refresh_lead_provider};

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the program's own code answers; `None` when it panics.
fn contained<T>(what: &str, code: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(code))
        .inspect_err(|_| log::error!("{what} panicked"))
        .ok()
}
