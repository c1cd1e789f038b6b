//! [`Dialect`]: what a vendor calls by a name of its own.

use std::borrow::Cow;

use http::HeaderMap;

use super::error_body::ReportedError;
use crate::error::Error;
use crate::provider::finish_reasons;

/// What a vendor calls by another name than OpenAI: its limit headers, its error codes and its reasons for the end of a reply. Empty by
/// default, and most vendors need none: names that compatible servers are known to use are read without it.
///
/// Each pair is the vendor's name and the one of OpenAI's API that means the same. Header names are in lower case; error codes and reasons
/// match in any case.
///
/// ```
/// use credpool::provider::http::Dialect;
///
/// const DIALECT: Dialect = Dialect::new()
///     .with_limits(&[("x-calls-left", "x-ratelimit-remaining-requests"), ("x-back-in", "retry-after")])
///     .with_errors(&[("wallet_empty", "insufficient_quota"), ("lane_full", "overloaded")])
///     .with_ends(&[("gpu_lost", "error"), ("too_long", "length")]);
/// assert_eq!(DIALECT.ends[0].1, "error");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dialect {
    /// Headers that tell of limits: by the names of
    /// [OpenAI's](https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers), or `retry-after`. A header that is there under
    /// OpenAI's name, too, counts by that.
    pub limits: Names,
    /// Codes and types of errors: by [OpenAI's](https://platform.openai.com/docs/guides/error-codes) (`insufficient_quota`,
    /// `rate_limit_exceeded`, `invalid_api_key`, `model_not_found`, `overloaded` …). The failure policy sees both names.
    pub errors: Names,
    /// Reasons for the end of a reply: by those of a
    /// [chat completion](https://platform.openai.com/docs/api-reference/chat/object) (`stop`, `length`, `tool_calls`, `content_filter`). `error`
    /// stands for a reply that failed: it is an error, and another credential may serve the call.
    pub ends: Names,
}

/// Pairs of a vendor's own name and the common one.
type Names = &'static [(&'static str, &'static str)];

impl Dialect {
    /// One without names of its own.
    pub const fn new() -> Self {
        Self {
            limits: &[],
            errors: &[],
            ends: &[],
        }
    }

    /// Sets the [names of headers](Self::limits).
    pub const fn with_limits(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.limits = names;
        self
    }

    /// Sets the [names of errors](Self::errors).
    pub const fn with_errors(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.errors = names;
        self
    }

    /// Sets the [reasons for the end](Self::ends) of a reply.
    pub const fn with_ends(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.ends = names;
        self
    }

    /// The headers, with those of limits under their common names as well.
    pub(super) fn headers<'a>(&self, headers: &'a HeaderMap) -> Cow<'a, HeaderMap> {
        let mut headers = Cow::Borrowed(headers);
        for (own, common) in self.limits {
            if let Some(value) = headers.get(*own).filter(|_| !headers.contains_key(*common)) {
                let value = value.clone();
                headers.to_mut().insert(*common, value);
            }
        }
        headers
    }

    /// The HTTP status that stands for an error that came without one.
    pub(super) fn status(&self, problem: &ReportedError) -> Option<u16> {
        let names = [&problem.code, &problem.kind].into_iter().flatten();
        let mut common = names.filter_map(|name| common(self.errors, name));
        let of_name = |name| ReportedError::named(name, None, "").status();
        common.find_map(of_name).or_else(|| problem.status())
    }

    /// The error, which the policy finds under the common names, too.
    pub(super) fn named(&self, error: Error) -> Error {
        if self.errors.is_empty() {
            return error;
        }
        error.with_names(self.errors)
    }

    /// The fault that the reason of an end means by the vendor's own word.
    pub(super) fn fault(&self, reason: Option<&str>) -> Option<ReportedError> {
        let reason = reason?;
        let mut problem = finish_reasons::fault(common(self.ends, reason)?)?;
        problem.code = Some(reason.to_ascii_lowercase());
        Some(problem)
    }
}

fn common(names: Names, own: &str) -> Option<&'static str> {
    let found = names
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(own));
    found.map(|(_, common)| *common)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect::new()
        .with_limits(&[("x-left", "x-ratelimit-remaining-requests")])
        .with_errors(&[("Purse_Empty", "insufficient_quota")])
        .with_ends(&[("gpu_lost", "error"), ("too_long", "length")]);

    #[test]
    fn a_header_is_there_under_both_names_and_the_common_one_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("x-left", "0".parse().unwrap());
        let common = "x-ratelimit-remaining-requests";
        assert_eq!(DIALECT.headers(&headers)[common], "0");
        headers.insert(common, "7".parse().unwrap());
        assert_eq!(DIALECT.headers(&headers)[common], "7");
        assert!(matches!(Dialect::new().headers(&headers), Cow::Borrowed(_)));
    }

    #[test]
    fn an_error_without_a_status_has_that_of_its_common_name() {
        let status = |name, number| DIALECT.status(&ReportedError::named(name, number, "m"));
        assert_eq!(status("purse_empty", None), Some(429));
        assert_eq!(status("server_error", None), Some(500));
        assert_eq!(status("another", None), None);
        assert_eq!(status("another", Some(503)), Some(503));
    }

    #[test]
    fn of_the_reasons_those_that_stand_for_an_error_are_faults() {
        assert!(DIALECT.fault(Some("GPU_LOST")).is_some());
        for none in [Some("too_long"), Some("stop"), None] {
            assert!(DIALECT.fault(none).is_none(), "{none:?}");
        }
    }
}
