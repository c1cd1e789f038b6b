//! [`CallState`]: the state of one call: attempts made, credentials attempted, time waited.

use std::sync::Arc;
use std::time::Duration;

use super::correlation::Fingerprint;
use crate::error::Error;
use crate::registry::{Attempted, SharedState};

/// How far a call has come.
#[derive(Default)]
pub(super) struct CallState {
    /// Which of the call's providers is first.
    pub(super) start: usize,
    /// Credentials that were tried: asked again only after a back-off, or when they return from a cooldown.
    pub(super) tried: Attempted,
    /// Those of them whose way to the provider is one that no retry heals: not asked again in this call.
    pub(super) cut_off: Attempted,
    pub(super) attempts: u32,
    /// Those that ended in a fault of a provider.
    pub(super) transient: u32,
    /// Those that were refused for a rate.
    pub(super) refused: u32,
    /// How often the call has let time pass because of so many attempts.
    pub(super) delays: u32,
    /// How often it has tried again after a back-off.
    pub(super) retries: u32,
    /// What was done with each provider that was asked.
    rounds: Vec<ProviderState>,
    /// Credentials that got a new token in this call.
    pub(super) renewed: Vec<Arc<str>>,
    /// The credential that may be tried again after a back-off, when no other is left.
    pub(super) retry: Option<Retry>,
    /// The answers that say nothing of the credential that they came to.
    answers: Vec<(Fingerprint, Arc<str>)>,
    /// A token that had ended was sent as the last resort.
    pub(super) sent_ended_token: bool,
    /// How long the call has waited for a worker's place and for credentials to return.
    pub(super) waited: Duration,
    /// What the last attempt said.
    pub(super) last_attempt: Option<Error>,
}

/// What was done with one provider in one call.
#[derive(Default)]
pub(super) struct ProviderState {
    provider: Arc<str>,
    /// Faults of the provider itself, since the last back-off.
    pub(super) faults: u32,
    /// The last attempt with it ended in such a fault: another one is paid for by its budget.
    pub(super) owes_retry: bool,
    pub(super) closed: Option<Closed>,
}

/// Why a call asks a provider no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// As many of its credentials as may be tried in a row have failed by a fault of the provider: until a back-off.
    Failing,
    /// For good: the provider cannot serve the request, answers every credential the same, or has no retry budget for another attempt.
    ForGood,
}

/// A credential to try again after a while.
pub(super) struct Retry {
    pub(super) provider: Arc<str>,
    pub(super) member: Arc<SharedState>,
    /// The provider's retry hint.
    pub(super) told: Duration,
}

impl CallState {
    pub(super) fn beginning_at(start: usize) -> Self {
        Self {
            start,
            ..Self::default()
        }
    }

    pub(super) fn round(&mut self, provider: &Arc<str>) -> &mut ProviderState {
        let known = self
            .rounds
            .iter()
            .position(|round| round.provider == *provider);
        let place = known.unwrap_or_else(|| {
            self.rounds.push(ProviderState {
                provider: Arc::clone(provider),
                ..ProviderState::default()
            });
            self.rounds.len() - 1
        });
        &mut self.rounds[place]
    }

    fn round_of(&self, provider: &str) -> Option<&ProviderState> {
        self.rounds
            .iter()
            .find(|round| *round.provider == *provider)
    }

    pub(super) fn has_asked(&self, provider: &str) -> bool {
        self.round_of(provider).is_some()
    }

    /// Whether the call may still ask the provider.
    pub(super) fn is_open(&self, provider: &str) -> bool {
        self.round_of(provider)
            .is_none_or(|round| round.closed.is_none())
    }

    /// Whether another attempt with the provider is paid for by its budget.
    pub(super) fn owes_retry(&self, provider: &str) -> bool {
        self.round_of(provider)
            .is_some_and(|round| round.owes_retry)
    }

    /// Notes an answer that says nothing of the credential it came to. How many credentials have given this one the same.
    pub(super) fn note_answer(&mut self, answer: Fingerprint, id: &Arc<str>) -> usize {
        if !self
            .answers
            .iter()
            .any(|(known, of)| *known == answer && of == id)
        {
            self.answers.push((answer, Arc::clone(id)));
        }
        let same = self.answers.iter().filter(|(known, _)| *known == answer);
        same.count()
    }

    /// After a back-off: the credential that met a fault of its provider may be asked again.
    pub(super) fn try_again(&mut self, retry: &Retry) {
        self.retries += 1;
        self.tried.retain(|member| member.id != retry.member.id);
        for round in &mut self.rounds {
            if round.closed == Some(Closed::Failing) {
                round.closed = None;
                round.faults = 0;
            }
        }
    }
}
