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
    /// Attempted credentials: tried again only after a back-off or the end of a cooldown.
    pub(super) tried: Attempted,
    /// Those of them with a proxy or certificate that no retry heals: not tried again in this call.
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
    /// The state of each provider that was tried.
    rounds: Vec<ProviderState>,
    /// Credentials that got a new token in this call.
    pub(super) renewed: Vec<Arc<str>>,
    /// What may be tried again after a back-off, when no other credential is left.
    retries_owed: Vec<Retry>,
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

/// A credential that failed by a fault of its provider, and may be tried again after a back-off.
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

    /// A back-off lets the call try the credential again.
    pub(super) fn owe_retry(&mut self, retry: Retry) {
        self.retries_owed
            .retain(|known| known.member.id != retry.member.id);
        self.retries_owed.push(retry);
    }

    /// The provider is not tried again.
    pub(super) fn forgo_retries(&mut self, provider: &str) {
        self.retries_owed
            .retain(|retry| *retry.provider != *provider);
    }

    /// The retries that the call may still make.
    pub(super) fn retries_owed(&self) -> impl Iterator<Item = &Retry> {
        let closed = |provider| self.round_of(provider).and_then(|round| round.closed);
        self.retries_owed
            .iter()
            .filter(move |retry| closed(&retry.provider) != Some(Closed::ForGood))
    }

    /// After a back-off: all that failed by a fault of their provider may be tried again. The latest may be gone or be refused for a reason
    /// of its own while another one is ready.
    pub(super) fn try_again(&mut self) {
        self.retries += 1;
        let (owed, cut_off) = (std::mem::take(&mut self.retries_owed), &self.cut_off);
        self.tried.retain(|member| {
            cut_off.contains(member) || !owed.iter().any(|retry| retry.member.id == member.id)
        });
        for round in &mut self.rounds {
            if round.closed == Some(Closed::Failing) {
                round.closed = None;
                round.faults = 0;
            }
        }
    }
}
