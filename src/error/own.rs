//! What an error says itself, without what its sources say of other failures.

use std::time::Duration;

use super::{Error, ErrorCode};
use crate::head::ResponseHead;

impl Error {
    /// The code of the failure: this error's, else that of the first error below which has one.
    pub(crate) fn own_code(&self) -> &ErrorCode {
        self.original().code()
    }

    /// The status that the failure itself has.
    pub(crate) fn own_status(&self) -> Option<u16> {
        let mut statuses = self.of_same_failure().map(|error| error.inner.http_status);
        let status = statuses.find(|status| *status != 0)?;
        u16::try_from(status).ok()
    }

    /// The wait that belongs to the failure itself.
    pub(crate) fn own_retry_after(&self) -> Option<Duration> {
        self.of_same_failure().find_map(|error| {
            let limits = error.inner.rate_limits.as_ref();
            let told = limits.and_then(|limits| limits.retry_after);
            error.inner.retry_after.or(told)
        })
    }

    /// The head of the answer that the failure is.
    pub(crate) fn own_head(&self) -> Option<&ResponseHead> {
        self.of_same_failure()
            .find_map(|error| error.inner.head.as_deref())
    }

    /// The body of the answer that the failure is.
    pub(crate) fn own_body(&self) -> Option<&str> {
        self.of_same_failure()
            .find_map(|error| error.inner.body.as_deref())
    }

    /// The first message about the failure, without the context that was put before it.
    pub(crate) fn own_message(&self) -> &str {
        self.of_same_failure()
            .last()
            .map_or_else(|| self.message(), Self::message)
    }

    /// The errors of the chain that report the same failure: this one, those without a code above the first that has one, and those
    /// below with the same code.
    fn of_same_failure(&self) -> impl Iterator<Item = &Self> {
        let code = self.own_code();
        let mut is_above = true;
        self.chain().take_while(move |error| {
            let is_same = error.code() == code;
            is_above &= *error.code() == ErrorCode::Unspecified;
            is_same || is_above
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_tells_what_it_wraps() {
        let wait = Duration::from_secs(7);
        let answer = Error::upstream(429, "slow down").with_retry_after(wait);
        for error in [
            answer.clone(),
            answer.clone().context("limits").context("first try"),
            Error::other(answer.clone()),
            answer.recorded(),
        ] {
            assert_eq!(error.own_code(), &ErrorCode::Upstream);
            assert_eq!(error.own_status(), Some(429));
            assert_eq!(error.own_retry_after(), Some(wait));
            assert_eq!(error.own_body(), Some("slow down"));
            assert_eq!(error.own_message(), "HTTP 429: slow down");
        }
    }

    #[test]
    fn the_source_of_another_failure_is_not_its_own() {
        let earlier = Error::upstream(401, "secret matters").with_retry_after(Duration::ZERO);
        for error in [
            Error::new(ErrorCode::NeedsLogin, "over").with_source(earlier.clone()),
            Error::new(ErrorCode::NeedsLogin, "over").with_source(earlier.recorded()),
            Error::other(Error::new(ErrorCode::NeedsLogin, "over").with_source(earlier.clone())),
        ] {
            assert_eq!(error.http_status(), Some(401));
            assert_eq!(error.own_code(), &ErrorCode::NeedsLogin);
            assert_eq!(error.own_status(), None);
            assert_eq!(error.own_retry_after(), None);
            assert_eq!(error.own_body(), None);
            assert_eq!(error.own_message(), "over");
        }
    }

    #[test]
    fn without_any_code_all_of_it_counts() {
        let error = Error::message_only("no route")
            .with_http_status(503)
            .context("fetching");
        assert_eq!(error.own_code(), &ErrorCode::Unspecified);
        assert_eq!(error.own_status(), Some(503));
        assert_eq!(error.own_message(), "no route");
    }
}
