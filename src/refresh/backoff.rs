//! Back-off after a failed refresh, by what the failure means. Pure.

use std::time::Duration;

use crate::error::{Error, ErrorCode};
use crate::transport::NotSent;

/// Why there are no new tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nothing reached the server: the refresh token is not spent.
    NotSent,
    /// It is unknown whether the refresh token is spent.
    InDoubt,
    /// The same, and an immediate retry would end likewise: a panic, a shutdown.
    CutOff,
    /// The server takes the refresh token no more.
    LoginOver,
    /// The credential or the client is set up wrongly; the login may be good.
    Misconfigured,
    /// The executor does not refresh, or there is none.
    CannotRefresh,
    /// The server answered, and gave nothing.
    Refused,
}

impl Failure {
    /// Whether the refresh token may be spent.
    pub(super) fn leaves_doubt(self) -> bool {
        matches!(self, Self::InDoubt | Self::CutOff)
    }

    /// What the error of an executor means. An executor that does not say more leaves a doubt where its error is one of the
    /// connection, or where it came to no end.
    pub(super) fn of(error: &Error) -> Self {
        match error.code() {
            ErrorCode::NeedsLogin => Self::LoginOver,
            ErrorCode::Config => Self::Misconfigured,
            ErrorCode::Unsupported | ErrorCode::ExecutorNotFound => Self::CannotRefresh,
            _ if NotSent::is_in(error) => Self::NotSent,
            ErrorCode::Transport | ErrorCode::DeadlineExceeded => Self::InDoubt,
            ErrorCode::Cancelled | ErrorCode::Panicked => Self::CutOff,
            _ => match error.http_status() {
                // The server itself says that it did nothing.
                Some(429 | 503) => Self::Refused,
                // A gateway's word for a lost answer, or a success without tokens.
                Some(200..=299 | 500..=599) => Self::InDoubt,
                _ => Self::Refused,
            },
        }
    }
}

/// How long to wait after `failures` failures in a row: a random part of 1 s, 2 s, 4 s… 5 min.
pub(super) fn back_off(failures: u32, chance: f64) -> Duration {
    let most = FIRST_BACK_OFF
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(MOST_BACK_OFF);
    most.mul_f64(chance.clamp(0.0, 1.0)).max(LEAST_BACK_OFF)
}

/// A refresh that has failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setback {
    pub(super) failure: Failure,
    /// Failures in a row.
    pub(super) failures: u32,
    /// How often the refresh token was sent.
    pub(super) tries: u32,
    /// Calls have no token until the gap between two refreshes is over.
    pub(super) tokens_end: bool,
}

/// How long to wait after a failure: as the token endpoint's Retry-After says, at most an hour.
pub(super) fn pause_after(setback: Setback, error: &Error, gap: Duration, chance: f64) -> Duration {
    let asked = error.retry_after().unwrap_or_default().min(MOST_ASKED);
    let back_off = back_off(setback.failures, chance);
    match setback.failure {
        // A login that a proxy refuses, or a certificate: trying sooner heals nothing, and may lock an account.
        Failure::NotSent if *error.code() == ErrorCode::Transport && !error.is_retryable() => {
            back_off.max(gap).max(asked)
        }
        Failure::NotSent => back_off.max(asked),
        Failure::Misconfigured => MISCONFIGURED.max(asked),
        Failure::CannotRefresh => CANNOT_REFRESH,
        // Servers that forgive a lost answer do so for some seconds: all of these come within ten.
        Failure::InDoubt if setback.tries < IN_DOUBT_TRIES => {
            Duration::from_secs(setback.tries.max(2).into()).max(asked)
        }
        Failure::Refused if setback.tokens_end && is_passing(error) => back_off.max(asked),
        Failure::InDoubt | Failure::CutOff | Failure::Refused | Failure::LoginOver => {
            back_off.max(gap).max(asked)
        }
    }
}

/// Whether the server itself says that the fault passes.
fn is_passing(error: &Error) -> bool {
    error.is_retryable() || matches!(error.http_status(), Some(408 | 429 | 500..=599))
}

const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const MOST_BACK_OFF: Duration = Duration::from_secs(300);
/// Chance may draw nothing: no spinning then.
const LEAST_BACK_OFF: Duration = Duration::from_millis(100);

/// How often a refresh token is sent within ten seconds while it is in doubt: at 0, 0, 2, 5 and 9 s.
const IN_DOUBT_TRIES: u32 = 5;

/// The longest wait that a token endpoint may ask for.
pub(super) const MOST_ASKED: Duration = Duration::from_secs(3600);

/// Until the settings may have been repaired.
const MISCONFIGURED: Duration = Duration::from_secs(15 * 60);

/// Until an executor that cannot refresh, or is missing, is tried again: one may have been registered.
const CANNOT_REFRESH: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let of = |code| Failure::of(&Error::new(code, ""));
        assert_eq!(of(ErrorCode::NeedsLogin), Failure::LoginOver);
        assert_eq!(of(ErrorCode::Config), Failure::Misconfigured);
        assert_eq!(of(ErrorCode::Unsupported), Failure::CannotRefresh);
        assert_eq!(of(ErrorCode::ExecutorNotFound), Failure::CannotRefresh);
        assert_eq!(of(ErrorCode::Transport), Failure::InDoubt);
        assert_eq!(of(ErrorCode::Cancelled), Failure::CutOff);
        assert_eq!(of(ErrorCode::Panicked), Failure::CutOff);
        for code in [
            ErrorCode::RefreshFailed,
            ErrorCode::Unspecified,
            ErrorCode::Other("novel".into()),
        ] {
            assert_eq!(
                of(code),
                Failure::Refused,
                "the program's executors mean what they say"
            );
        }
    }

    #[test]
    fn a_status_tells_whether_there_was_an_answer() {
        for (status, expected) in [
            (200, Failure::InDoubt),
            (302, Failure::Refused),
            (400, Failure::Refused),
            (403, Failure::Refused),
            (429, Failure::Refused),
            (500, Failure::InDoubt),
            (502, Failure::InDoubt),
            (503, Failure::Refused),
            (504, Failure::InDoubt),
        ] {
            for code in [ErrorCode::RefreshFailed, ErrorCode::Upstream] {
                let error = Error::new(code, "").with_http_status(status);
                assert_eq!(Failure::of(&error), expected, "{status}");
            }
        }
    }

    #[test]
    fn what_was_not_sent_is_in_no_doubt() {
        let error = Error::new(ErrorCode::Transport, "no such host").with_source(NotSent::new());
        assert_eq!(Failure::of(&error), Failure::NotSent);
        assert_eq!(Failure::of(&error.context("at night")), Failure::NotSent);
        let deeper = Error::new(ErrorCode::Transport, "x");
        let error = Error::other(NotSent::because(deeper)).with_code(ErrorCode::Transport);
        assert_eq!(Failure::of(&error), Failure::NotSent);
    }

    #[test]
    fn waits_have_a_floor_and_a_ceiling() {
        assert_eq!(back_off(1, 0.0), LEAST_BACK_OFF);
        assert_eq!(back_off(1, 1.0), FIRST_BACK_OFF);
        assert_eq!(back_off(4, 1.0), Duration::from_secs(8));
        assert_eq!(back_off(u32::MAX, 1.0), MOST_BACK_OFF);
        let gap = Duration::from_secs(30);
        let error = Error::new(ErrorCode::RefreshFailed, "");
        let setback = |failure| Setback {
            failure,
            failures: 1,
            tries: 1,
            tokens_end: false,
        };
        let wait = |failure, error: &Error| pause_after(setback(failure), error, gap, 0.0);
        assert_eq!(wait(Failure::NotSent, &error), LEAST_BACK_OFF);
        let refused_by_proxy = Error::new(ErrorCode::Transport, "").with_retryable(false);
        assert_eq!(wait(Failure::NotSent, &refused_by_proxy), gap);
        assert_eq!(wait(Failure::Refused, &error), gap);
        assert_eq!(wait(Failure::Misconfigured, &error), MISCONFIGURED);
        let asked = error.clone().with_retry_after(Duration::from_secs(90));
        assert_eq!(wait(Failure::Refused, &asked), Duration::from_secs(90));
        let hostile = error.clone().with_retry_after(Duration::MAX);
        assert_eq!(wait(Failure::InDoubt, &hostile), MOST_ASKED);
    }

    #[test]
    fn a_token_in_doubt_is_sent_again_within_seconds_and_then_no_sooner_than_the_gap() {
        let gap = Duration::from_secs(30);
        let error = Error::new(ErrorCode::Transport, "");
        let wait = |tries| {
            let setback = Setback {
                failure: Failure::InDoubt,
                failures: tries,
                tries,
                tokens_end: true,
            };
            pause_after(setback, &error, gap, 0.0).as_secs()
        };
        // The second is sent immediately.
        assert_eq!([wait(2), wait(3), wait(4), wait(5)], [2, 3, 4, 30]);
    }

    #[test]
    fn a_passing_fault_of_the_token_endpoint_costs_a_second_where_calls_have_no_token() {
        let gap = Duration::from_secs(30);
        let wait = |status, tokens_end| {
            let error = Error::new(ErrorCode::RefreshFailed, "").with_http_status(status);
            let setback = Setback {
                failure: Failure::of(&error),
                failures: 1,
                tries: 1,
                tokens_end,
            };
            pause_after(setback, &error, gap, 1.0)
        };
        for status in [429, 503] {
            assert_eq!(wait(status, true), FIRST_BACK_OFF);
            assert_eq!(wait(status, false), gap);
        }
        assert_eq!(wait(400, true), gap);
    }
}
