//! [`CallState`]: the state of one call: attempts made, credentials attempted, time waited.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::correlation::Fingerprint;
use crate::error::Error;
use crate::registry::{Attempted, SharedState};

/// How far a call has come.
#[derive(Default)]
pub(super) struct CallState {
    /// Credentials with a proxy or certificate that no retry heals: not tried again in this call.
    pub(super) cut_off: Attempted,
    pub(super) attempts: u32,
    /// The credential of the last one, where it failed.
    pub(super) last_member: Option<Arc<SharedState>>,
    /// Those that ended in a fault of a provider.
    pub(super) transient: u32,
    /// Those that were refused for a rate.
    pub(super) refused: u32,
    /// How often the call has let time pass because of so many attempts.
    pub(super) delays: u32,
    /// How often it has tried again after a back-off.
    pub(super) retries: u32,
    /// The state of each hop that was tried.
    rounds: SmallVec<[HopState; 2]>,
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

/// What was done at one hop of one call.
#[derive(Default)]
pub(super) struct HopState {
    hop: usize,
    /// Attempted credentials: tried again only after a back-off or the end of a cooldown.
    tried: Attempted,
    /// An attempt was made there, or was to be made.
    asked: bool,
    /// Faults of the provider itself, since the last back-off.
    pub(super) faults: u32,
    /// The last attempt there ended in such a fault: another one is paid for by the provider's budget.
    pub(super) owes_retry: bool,
    pub(super) closed: Option<Closed>,
}

/// Why a call asks a provider no more, for one link of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// As many of its credentials as may be tried in a row have failed by a fault of the provider: until a back-off.
    Failing,
    /// For good: the provider cannot serve the request, answers every credential the same, or has no retry budget for another attempt.
    ForGood,
}

/// A credential that failed by a fault of its provider, and may be tried again after a back-off.
pub(super) struct Retry {
    pub(super) hop: usize,
    pub(super) member: Arc<SharedState>,
    /// The provider's retry hint.
    pub(super) told: Duration,
}

impl CallState {
    /// The state of a hop that is asked.
    pub(super) fn round(&mut self, hop: usize) -> &mut HopState {
        let round = self.state_of(hop);
        round.asked = true;
        round
    }

    fn state_of(&mut self, hop: usize) -> &mut HopState {
        let known = self.rounds.iter().position(|round| round.hop == hop);
        let place = known.unwrap_or_else(|| {
            self.rounds.push(HopState {
                hop,
                ..HopState::default()
            });
            self.rounds.len() - 1
        });
        &mut self.rounds[place]
    }

    fn round_of(&self, hop: usize) -> Option<&HopState> {
        self.rounds.iter().find(|round| round.hop == hop)
    }

    /// The credentials that were attempted there.
    pub(super) fn tried_at(&self, hop: usize) -> Option<&Attempted> {
        self.round_of(hop).map(|round| &round.tried)
    }

    pub(super) fn note_tried(&mut self, hop: usize, member: &Arc<SharedState>) {
        self.state_of(hop).tried.note(member);
    }

    /// Forgets attempted credentials, for which `keep` says no.
    pub(super) fn retain_tried(
        &mut self,
        hop: usize,
        mut keep: impl FnMut(&Arc<SharedState>) -> bool,
    ) {
        let cut_off = &self.cut_off;
        if let Some(round) = self.rounds.iter_mut().find(|round| round.hop == hop) {
            round
                .tried
                .retain(|member| cut_off.contains(member) || keep(member));
        }
    }

    pub(super) fn has_asked(&self, hop: usize) -> bool {
        self.round_of(hop).is_some_and(|round| round.asked)
    }

    /// Whether the call may still ask there.
    pub(super) fn is_open(&self, hop: usize) -> bool {
        self.round_of(hop)
            .is_none_or(|round| round.closed.is_none())
    }

    /// Whether another attempt there is paid for by the provider's budget.
    pub(super) fn owes_retry(&self, hop: usize) -> bool {
        self.round_of(hop).is_some_and(|round| round.owes_retry)
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
            .retain(|known| known.hop != retry.hop || known.member.id != retry.member.id);
        self.retries_owed.push(retry);
    }

    /// The hop is not tried again.
    pub(super) fn forgo_retries(&mut self, hop: usize) {
        self.retries_owed.retain(|retry| retry.hop != hop);
    }

    /// The retries that the call may still make.
    pub(super) fn retries_owed(&self) -> impl Iterator<Item = &Retry> {
        let closed = |hop| self.round_of(hop).and_then(|round| round.closed);
        self.retries_owed
            .iter()
            .filter(move |retry| closed(retry.hop) != Some(Closed::ForGood))
    }

    /// After a back-off: all that failed by a fault of their provider may be tried again. The latest may be gone or be refused for a reason
    /// of its own while another one is ready.
    pub(super) fn try_again(&mut self) {
        self.retries += 1;
        for retry in std::mem::take(&mut self.retries_owed) {
            self.retain_tried(retry.hop, |member| member.id != retry.member.id);
        }
        for round in &mut self.rounds {
            if round.closed == Some(Closed::Failing) {
                round.closed = None;
                round.faults = 0;
            }
        }
    }
}
