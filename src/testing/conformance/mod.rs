//! Conformance suites: what every [`Store`](crate::Store) and every [`ProviderExecutor`](crate::ProviderExecutor) promises to the pool, as
//! checks that a test of your own runs.
//!
//! * [`check_store`] for a store, described by a [`StoreFixture`].
//! * [`check_executor`] for an executor, described by an [`ExecutorFixture`].
//!
//! Each check is a promise and gets a place of its own. A suite panics with one sentence for each broken promise, and returns a [`Report`]
//! of those that were kept and of those that were skipped, with the reason. The stores and executors of this crate pass the same suites.

macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err($crate::testing::conformance::Stop::Broken(format!($($sentence)+)));
        }
    };
}

/// The checks of a suite: functions, each named as the promise it checks, with what a subject needs for it.
macro_rules! checks {
    ($($room:ident: $($name:ident $(($($need:expr),+))?),+;)+) => {
        &[$($($crate::testing::conformance::Check {
            name: stringify!($name),
            needs: &[$($($need),+)?],
            run: $room::$name,
        }),+),+]
    };
}

mod executor;
mod store;
mod threads;

pub use executor::{Event, ExecutorFixture, check_executor};
pub use store::{Ability, StoreFixture, act_as_other_process, check_store};

use std::fmt;

use crate::error::Error;
use crate::panic::guard;

/// What a suite has found: a kept or skipped promise is named as its sentence. See [`check_store`] and [`check_executor`].
///
/// ```
/// use credpool::testing::conformance::Report;
///
/// /// Every promise was checked, and the report says so.
/// fn show(report: &Report) {
///     assert!(report.skipped.is_empty(), "{:?}", report.skipped);
///     println!("{report}");
/// }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Promises that were checked and kept.
    pub kept: Vec<String>,
    /// Promises that were not checked, and why.
    pub skipped: Vec<(String, String)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} promises kept", self.kept.len())?;
        for (promise, why) in &self.skipped {
            writeln!(f, "skipped: {promise}: {why}")?;
        }
        Ok(())
    }
}

/// Why a check went no further.
enum Stop {
    /// The promise is broken, in a sentence.
    Broken(String),
    /// It does not apply, for this reason.
    Skipped(String),
}

impl Stop {
    fn skipped(why: &str) -> Self {
        Self::Skipped(why.to_owned())
    }
}

/// `Ok` where a promise is kept.
type Verdict = Result<(), Stop>;

/// One promise.
struct Check<F: ?Sized + 'static, N: 'static> {
    name: &'static str,
    needs: &'static [N],
    run: fn(&F) -> Verdict,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Broken(format!("a call failed that should not: {error}"))
    }
}

/// Runs all checks.
///
/// # Panics
/// When a promise is broken, after all have been checked.
fn run<F: ?Sized, N>(
    subject: &str,
    checks: &[Check<F, N>],
    verdict: impl Fn(&Check<F, N>) -> Verdict,
) -> Report {
    let mut report = Report::default();
    let mut broken = Vec::new();
    for check in checks {
        let promise = check.name.replace('_', " ");
        let code = || format!("the code behind the check {}", check.name);
        let verdict = guard(code, || verdict(check));
        match verdict.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(()) => report.kept.push(promise),
            Err(Stop::Skipped(why)) => report.skipped.push((promise, why)),
            Err(Stop::Broken(sentence)) => broken.push(format!("{promise}: {sentence}")),
        }
    }
    assert!(
        broken.is_empty(),
        "{} of {} promises of {subject} are broken:\n  {}\n",
        broken.len(),
        checks.len(),
        broken.join("\n  ")
    );
    report
}

/// Whether something is what it should be.
fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    ensure!(
        found == expected,
        "{what} should be {expected:?} and is {found:?}"
    );
    Ok(())
}
