//! Refusals before anything is sent: no provider, no executor, no available credential.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Auth;
use crate::clock::Timestamp;
use crate::clock::until;
use crate::error::{CredentialReport, Exhaustion, Remedy};
use crate::error::{Error, ErrorCode};
use crate::executor::ProviderExecutor;
use crate::failure_kind::FailureKind;
use crate::panic::guard;
use crate::registry::{ExhaustionReport, Query, Registry, Supply};
use crate::request::Request;
use crate::resources::Resource;

pub(super) fn refused_format(
    provider: &str,
    executor: &dyn ProviderExecutor,
    request: &Request,
) -> Option<Error> {
    let format = request.format.as_ref()?;
    let speaks = guard(
        || format!("the executor for {provider}"),
        || executor.speaks(format),
    );
    match speaks {
        Ok(true) => None,
        Ok(false) => Some(Error::new(
            ErrorCode::UnsupportedFormat,
            format!(
                "the executor for {provider} does not speak format {}",
                format.as_str()
            ),
        )),
        Err(panicked) => Some(panicked),
    }
}

pub(super) fn misplaced(auth: &Auth) -> Error {
    Error::new(
        ErrorCode::Config,
        format!(
            "the selector chose {}, which is no candidate of this call",
            auth.id
        ),
    )
}

/// An expired token was refused: the remedy is a refresh, or a new login where the old one is revoked.
pub(super) fn token_ended(id: &str, refusal: &Error, login_is_over: bool) -> Error {
    let (code, why) = if login_is_over {
        (
            ErrorCode::NeedsLogin,
            "its login has expired or was revoked: log in again",
        )
    } else {
        (
            ErrorCode::RefreshFailed,
            "no refresh has succeeded since: see refresh_health",
        )
    };
    let message = format!("the access token of credential {id} has expired: {why}");
    Error::new(code, message)
        .with_http_status(503)
        .with_retryable(!login_is_over)
        .with_auth_id(id)
        .with_source(refusal.clone())
}

/// Why no credential of the last provider was selected.
pub(super) enum Refusal {
    /// The call names no provider, or is done with all of them.
    NoProvider,
    /// The provider cannot serve the request.
    Unfit(Error),
    /// Other calls wait for the same credentials, and came first.
    OthersWait(Arc<str>),
    /// The provider's retry budget is spent.
    NoBudget(Arc<str>),
    /// No credential is ready at this hop.
    Nobody(usize),
    /// A credential was ready at this hop, but other calls were faster.
    Lost(usize),
}

impl Refusal {
    /// Which refusal counts when the next provider is refused, too: the later one, unless a race was lost before. Then a credential was
    /// ready, and one may be again.
    pub(super) fn followed_by(self, next: Self) -> Self {
        if matches!(self, Self::Lost(_)) {
            self
        } else {
            next
        }
    }
}

pub(super) fn no_provider() -> Error {
    Error::new(
        ErrorCode::ProviderNotFound,
        "the call names no provider; give at least one",
    )
}

pub(super) fn no_budget(provider: &str) -> Error {
    Error::new(
        ErrorCode::AuthUnavailable,
        format!("provider {provider} fails too often: its retry budget is exhausted"),
    )
}

pub(super) fn others_wait(provider: &str) -> Error {
    Error::new(
        ErrorCode::LimitReached,
        format!("earlier calls are still waiting for credentials of provider {provider}"),
    )
}

/// The error of a call for which no credential is available: how many are unavailable for which reason, and when to retry. Which ones,
/// and their last errors, are in [`Error::exhaustion`].
/// `owned` is what the pinned credential has in its account.
pub(super) fn nobody(
    registry: &Registry,
    query: Query<'_>,
    owned: Option<&Resource>,
    now: Timestamp,
) -> Error {
    let Query {
        provider,
        model,
        pinned,
        ..
    } = query;
    let whose = pinned.map_or_else(
        || format!("credential of provider {provider}"),
        |id| format!("credential {id} of provider {provider}"),
    );
    let whose = match owned {
        Some(resource) => format!("{whose}, in whose account {resource} is,"),
        None => whose,
    };
    match registry.supply(query) {
        Supply::Nobody if registry.serves_none(query) => Error::new(
            ErrorCode::ModelNotFound,
            format!("no {whose} serves model {model:?}: their lists of models do not have it"),
        )
        .with_http_status(404),
        Supply::Nobody => Error::new(
            ErrorCode::AuthNotFound,
            format!("no {whose} is registered, enabled and untried in this call"),
        ),
        Supply::Ready => Error::new(
            ErrorCode::AuthUnavailable,
            format!("the selector rejected every ready credential: no {whose} serves the call"),
        ),
        Supply::Blocked {
            candidates,
            earliest,
            full,
            ..
        } => {
            let mut text = format!("no {whose} is available for model {model:?}");
            let shortage = registry.shortage(query, 0);
            let out: Vec<_> = shortage
                .faults
                .iter()
                .map(|(fault, count)| format!("{count} {fault}"))
                .collect();
            if out.is_empty() {
                let _ = write!(text, " ({candidates} at their limits)");
            } else {
                let _ = write!(text, " ({} of {candidates})", out.join(", "));
            }
            match earliest {
                Some(at) => {
                    let _ = write!(text, "; retry in {}", rounded_up(until(now, at)));
                }
                None => text.push_str("; none becomes available without an operator"),
            }
            let code = if full {
                ErrorCode::LimitReached
            } else {
                ErrorCode::AuthUnavailable
            };
            Error::new(code, text)
        }
    }
}

/// Whole seconds, never less than it is.
fn rounded_up(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

/// The unavailable credentials of all providers of a call.
#[derive(Default)]
pub(super) struct Report {
    standings: Vec<CredentialReport>,
    omitted: usize,
    earliest: Option<Timestamp>,
    faults: Vec<(FailureKind, usize)>,
}

impl Report {
    pub(super) fn add(&mut self, shortage: ExhaustionReport) {
        self.standings.extend(shortage.standings);
        self.omitted += shortage.omitted;
        self.faults.extend(shortage.faults);
        self.earliest = match (self.earliest, shortage.earliest) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }

    /// Whether nothing but this fault keeps the credentials from serving.
    fn is_all_for(&self, fault: FailureKind) -> bool {
        let mut faults = self.faults.iter();
        !self.faults.is_empty() && faults.all(|(of, _)| *of == fault)
    }

    /// The error of a call for which no token could be had: why not.
    fn refresh_failed(&self, error: &Error) -> Error {
        let errors = self
            .standings
            .iter()
            .filter_map(|standing| standing.error.as_ref());
        let for_good =
            |error: &&Error| matches!(error.code(), ErrorCode::NeedsLogin | ErrorCode::Config);
        let all_for_good = self.omitted == 0
            && self
                .standings
                .iter()
                .all(|standing| standing.error.as_ref().as_ref().is_some_and(for_good));
        let code = errors.clone().find(for_good).filter(|_| all_for_good);
        let code = code.map_or(ErrorCode::RefreshFailed, |error| error.code().clone());
        let source = errors.clone().next_back().cloned();
        let failed = Error::new(code, error.message().to_owned())
            .with_retryable(!all_for_good)
            .with_http_status(503);
        match source {
            Some(source) => failed.with_source(source),
            None => failed,
        }
    }

    /// Adds the report to the call's error; where that is no upstream's, its status and its wait, too.
    pub(super) fn attach_to(self, error: Error, asked_anybody: bool, now: Timestamp) -> Error {
        let advice = Exhaustion::advice(&self.faults);
        let mut error = error;
        if !asked_anybody && self.is_all_for(FailureKind::TokenEnded) {
            error = self.refresh_failed(&error);
        }
        if !asked_anybody
            && *error.code() == ErrorCode::AuthUnavailable
            && self.is_all_for(FailureKind::Misconfigured)
        {
            error = Error::new(ErrorCode::Config, error.message().to_owned());
        }
        if !asked_anybody && *error.code() == ErrorCode::LimitReached {
            error = error.with_http_status(429);
        }
        if !asked_anybody && *error.code() == ErrorCode::AuthUnavailable {
            if let Some(status) = Exhaustion::status(&self.faults) {
                error = error.with_http_status(status);
            }
            if let Some(at) = self.earliest {
                error = error.with_retry_after(until(now, at));
            }
            error = error.with_retryable(advice == Remedy::Wait);
        }
        error.with_exhaustion(Exhaustion {
            standings: self.standings,
            omitted: self.omitted,
            earliest: self.earliest,
            advice,
        })
    }
}
