//! Panic containment: runs user code and turns its panic into an error. Knows nothing of threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorCode};

/// Runs user-supplied code; its panic becomes an error with code `panicked`. What it panicked with is not quoted: it may
/// hold a secret.
pub(crate) fn guard<T>(
    what: impl FnOnce() -> String,
    work: impl FnOnce() -> T,
) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        // A payload may panic when dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
        let what = what();
        log::error!("{what} panicked; the panic was contained");
        Error::new(ErrorCode::Panicked, format!("{what} panicked"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_quotes_nothing() {
        let error = guard(|| "the hook".into(), || panic!("sk-canary")).unwrap_err();
        assert_eq!(error.to_string(), "panicked: the hook panicked");
        assert_eq!(guard(String::new, || 7).unwrap(), 7);
    }
}
