//! [`Plan`]: how far a call has come, and what it may still try.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, ErrorCode};
use crate::registry::{Tried, Waiting};

/// How far a call has come.
#[derive(Default)]
pub(super) struct Plan {
    /// Which of the call's providers is first.
    pub(super) start: usize,
    /// How many of them nobody is left of to try, from there on.
    pub(super) exhausted: usize,
    /// Credentials that were tried.
    pub(super) tried: Tried,
    pub(super) attempts: u32,
    /// Those that ended in a fault of a provider, or in a 404.
    pub(super) transient: u32,
    /// What was done with each provider that was asked.
    pub(super) rounds: Vec<Round>,
    /// Credentials that got a new token in this call.
    pub(super) renewed: Vec<Arc<str>>,
    /// Who is asked once more, before anybody else.
    pub(super) again: Option<Again>,
    /// Who may be asked once more when nobody else is left.
    pub(super) retry: Option<Retry>,
    /// How often the same credential was tried again after a back-off.
    pub(super) retries: u32,
    /// Somebody was ready just now, but was not taken: looking again helps nobody.
    pub(super) looked_again: bool,
    /// A token that had ended was sent as the last resort.
    pub(super) sent_ended_token: bool,
    /// How long the call has waited for a worker's place and for credentials to return.
    pub(super) waited: Duration,
    /// The call's place among those who wait.
    pub(super) place: Option<Waiting>,
    /// What the last attempt said.
    pub(super) last_attempt: Option<Error>,
    /// Why the last provider that nobody was asked of could not be tried.
    pub(super) last_refusal: Option<Error>,
}

/// What was done with one provider in one call.
pub(super) struct Round {
    pub(super) provider: Arc<str>,
    /// Faults of the provider itself.
    pub(super) faults: u32,
    /// What the next attempt with it is charged for.
    pub(super) owes: Owes,
    /// The call is done with it.
    pub(super) given_up: bool,
}

/// What a further attempt with a provider is charged for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owes {
    Nothing,
    /// The last one ended in a fault of the provider.
    Retry,
    /// The last one ended in a fault of the credential.
    Failover,
}

/// A credential to ask once more.
pub(super) struct Again {
    pub(super) provider: Arc<str>,
    pub(super) id: Arc<str>,
}

/// A credential to ask once more after a while.
pub(super) struct Retry {
    pub(super) whom: Again,
    /// How long its provider wants to be left alone.
    pub(super) retry_after: Duration,
}

impl Plan {
    pub(super) fn beginning_at(start: usize) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    /// On to the next provider.
    pub(super) fn next_provider(&mut self) {
        self.exhausted += 1;
    }

    pub(super) fn refuse(&mut self, why: Error) {
        self.last_refusal = Some(why);
        self.next_provider();
    }

    /// Begins anew with the first provider, because somebody may have returned.
    pub(super) fn begin_again(&mut self) {
        self.exhausted = 0;
    }

    pub(super) fn round(&mut self, provider: &Arc<str>) -> &mut Round {
        let known = self
            .rounds
            .iter()
            .position(|round| round.provider == *provider);
        let place = known.unwrap_or_else(|| {
            self.rounds.push(Round {
                provider: Arc::clone(provider),
                faults: 0,
                owes: Owes::Nothing,
                given_up: false,
            });
            self.rounds.len() - 1
        });
        &mut self.rounds[place]
    }

    pub(super) fn has_asked(&self, provider: &str) -> bool {
        self.rounds.iter().any(|round| *round.provider == *provider)
    }

    pub(super) fn has_given_up(&self, provider: &str) -> bool {
        self.rounds
            .iter()
            .any(|round| round.given_up && *round.provider == *provider)
    }

    /// The error of a call that nobody could serve.
    pub(super) fn into_error(self) -> Error {
        self.last_attempt.or(self.last_refusal).unwrap_or_else(|| {
            Error::new(
                ErrorCode::ProviderNotFound,
                "the call names no provider; give at least one",
            )
        })
    }
}
