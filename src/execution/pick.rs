//! Picking one credential for one attempt: by the selector, or for a reason that precedes it.

use std::sync::Arc;

#[cfg(feature = "testing")]
use smallvec::SmallVec;

use super::Engine;
use super::call_state::Progress;
use super::context::Call;
use super::retry_loop::Turn;
use super::unavailable::{misplaced, refused_format};
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::{Provider, ProviderExecutor};
use crate::panic::guard;
use crate::registry::{Lease, Member, Moment, Permit, Picked, Query, Supply, Tried};
use crate::request::Addressed;
#[cfg(feature = "testing")]
use crate::request::{Options, Request};
use crate::selection::Candidates;

/// One provider of a call.
pub(super) struct Asked<'a> {
    pub(super) provider: &'a Arc<str>,
    executor: &'a dyn ProviderExecutor,
    pub(super) request: Addressed<'a>,
}

/// For what a credential is wanted.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    provider: &'a str,
    model: &'a str,
    /// How many the request is reckoned with.
    tokens: u64,
}

/// A credential that is this call's to use.
pub(super) struct Taken {
    auth: Arc<Auth>,
    permit: Option<Box<Permit>>,
    lease: Lease,
}

/// What came of asking the selector.
pub(super) enum Choice {
    Taken(Taken),
    /// Nobody is ready, or the selector takes none of those who are.
    Nobody,
    /// Somebody was ready, but others were faster.
    Lost,
}

impl Engine {
    /// Asks the selector until its choice can be had, or it makes none. Whom it cannot have is not offered again, so this comes to an
    /// end whatever others do. An error ends the call.
    pub(super) fn choose(
        &self,
        call: &Call<'_>,
        wanted: Wanted<'_>,
        tried: &Tried,
    ) -> Result<Choice, Error> {
        let registry = &self.services.registry;
        let selector = self.selector();
        // Reading the clock costs as much as half a pick, and where nobody is out it says nothing.
        let mut now = if registry.may_anybody_be_out() {
            self.services.moment()
        } else {
            Moment::TIMELESS
        };
        let mut lost: Option<Tried> = None;
        loop {
            let query = wanted.query(call, now, Some(lost.as_ref().unwrap_or(tried)));
            let candidates = Candidates::new(registry, &*self.services.clock, query);
            let picked = guard(
                || "the selector".to_owned(),
                || selector.pick(&candidates, call.options),
            )
            .flatten()?;
            let picked = match picked {
                Some(candidate) if candidate.was_offered_by(&candidates) => candidate.into_picked(),
                // Kept from another call: good only if it is a candidate of this one.
                Some(candidate) => match registry.ready(query, &candidate.id) {
                    Some(picked) => picked,
                    None => return Err(misplaced(&candidate)),
                },
                None if lost.is_some() => return Ok(Choice::Lost),
                None => return Ok(Choice::Nobody),
            };
            let member = Arc::clone(&picked.member);
            if self.refresh.has_token(&picked.auth) {
                if now == Moment::TIMELESS && (picked.needs_permit || picked.limited) {
                    // Somebody has failed in this moment.
                    now = self.services.moment();
                }
                let query = Query { now, ..query };
                if let Some(taken) = self.take(wanted, query, picked) {
                    return Ok(Choice::Taken(taken));
                }
            }
            call.check(None)?;
            now = self.services.moment();
            lost.get_or_insert_with(|| tried.clone()).note(&member);
        }
    }

    /// The use of a ready credential. `None`: somebody else was faster.
    fn take(&self, wanted: Wanted<'_>, query: Query<'_>, picked: Picked) -> Option<Taken> {
        let registry = &self.services.registry;
        let permit = match self.policy.probes().filter(|_| picked.needs_permit) {
            None => None,
            Some(probes) => {
                let permit = registry.probe(query, &picked.member.id, probes.patience)?;
                Some(Box::new(permit))
            }
        };
        let (lease, auth) = registry.lease(query, picked, wanted.tokens)?;
        Some(Taken {
            auth,
            permit,
            lease,
        })
    }

    /// The credential that got a new token, once more. `None` when it is gone, or somebody else tries it.
    pub(super) fn renewed<'c>(
        &self,
        call: &'c Call<'_>,
        provider: &str,
        member: &Member,
    ) -> Option<Turn<'c>> {
        let mut providers = call.providers.iter();
        let provider = providers.find(|known| *known.name == *provider)?;
        let asked = ask_for(call, provider).ok()?;
        let query = asked.query(call, self.services.moment(), None);
        let registry = &self.services.registry;
        let picked = registry.member(query, &member.id)?;
        let permit = match self.policy.probes().filter(|_| picked.needs_permit) {
            None => None,
            Some(probes) => {
                let (_, permit) = registry.insist(query, &member.id, probes.patience)?;
                Some(Box::new(permit))
            }
        };
        let (lease, auth) = registry.lease(query, picked, asked.wanted().tokens)?;
        Some(asked.turn(Taken {
            auth,
            permit,
            lease,
        }))
    }

    /// The credential that is due soonest, of those that nothing but their pace keeps from being asked.
    pub(super) fn hurried<'c>(&self, call: &'c Call<'_>, progress: &Progress) -> Option<Turn<'c>> {
        let registry = &self.services.registry;
        still_open(call, progress).find_map(|asked| {
            let query = asked.query(call, self.services.moment(), Some(&progress.tried));
            if registry.supply(query) == Supply::Ready {
                // The selector wants none of them: that is its word.
                return None;
            }
            let picked = registry.soonest_paced(query)?;
            let taken = self.take(asked.wanted(), query, picked)?;
            Some(asked.turn(taken))
        })
    }

    /// The credential that is due soonest, of those that only a fault of their provider keeps out.
    pub(super) fn floor<'c>(&self, call: &'c Call<'_>, progress: &Progress) -> Option<Turn<'c>> {
        if !self.policy.floor() {
            return None;
        }
        let patience = self.policy.probes().map(|probes| probes.patience);
        let registry = &self.services.registry;
        still_open(call, progress)
            .filter(|asked| !progress.has_asked(asked.provider))
            .find_map(|asked| {
                let query = asked.query(call, self.services.moment(), Some(&progress.tried));
                if registry.supply(query) == Supply::Ready {
                    return None;
                }
                let (picked, permit) = registry.floor(query, patience.unwrap_or_default())?;
                log::debug!(
                    "everybody is out for a while: {} is asked all the same",
                    picked.member.id
                );
                let (lease, auth) = registry.lease(query, picked, asked.wanted().tokens)?;
                Some(asked.turn(Taken {
                    auth,
                    permit: Some(Box::new(permit)),
                    lease,
                }))
            })
    }

    /// Where tokens have ended and no refresh has brought others in time, the old one is sent once: the clock may be wrong.
    pub(super) fn ended_token<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &mut Progress,
    ) -> Option<Turn<'c>> {
        if std::mem::replace(&mut progress.sent_ended_token, true) {
            return None;
        }
        let registry = &self.services.registry;
        still_open(call, progress).find_map(|asked| {
            let query = asked.query(call, self.services.moment(), Some(&progress.tried));
            let picked = registry.with_ended_token(query)?;
            log::debug!(
                "the token of credential {} has ended, and is sent as the last resort",
                picked.member.id
            );
            let (lease, auth) = registry.lease(query, picked, asked.wanted().tokens)?;
            let turn = asked.turn(Taken {
                auth,
                permit: None,
                lease,
            });
            Some(Turn {
                has_ended: true,
                ..turn
            })
        })
    }

    /// Whether a call would find somebody: for benches.
    #[cfg(feature = "testing")]
    pub(crate) fn picks(&self, provider: &str, model: &str, options: &Options) -> bool {
        let request = Request::new("", "");
        let call = Call::begin(&self.services, SmallVec::new(), &request, options, None);
        let wanted = Wanted {
            provider,
            model,
            tokens: 0,
        };
        let choice = self.choose(&call, wanted, &Tried::default());
        matches!(choice, Ok(Choice::Taken(_)))
    }
}

impl<'q> Wanted<'q> {
    fn query(self, call: &Call<'q>, now: Moment, tried: Option<&'q Tried>) -> Query<'q> {
        Query {
            provider: self.provider,
            model: self.model,
            tried,
            pinned: call.options.pinned.as_deref(),
            now,
        }
    }
}

impl<'a> Asked<'a> {
    pub(super) fn turn(self, taken: Taken) -> Turn<'a> {
        Turn {
            provider: self.provider,
            executor: self.executor,
            request: self.request,
            auth: taken.auth,
            permit: taken.permit,
            lease: taken.lease,
            has_ended: false,
        }
    }

    /// What it takes to find a credential.
    pub(super) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            provider: self.provider,
            model: &self.request.model,
            // One for every four bytes, until the answer says.
            tokens: u64::try_from(self.request.payload.len() / 4).unwrap_or(u64::MAX),
        }
    }

    pub(super) fn query<'q>(
        &'q self,
        call: &Call<'q>,
        now: Moment,
        tried: Option<&'q Tried>,
    ) -> Query<'q> {
        self.wanted().query(call, now, tried)
    }
}

/// A provider's executor and what to ask of it, or why it cannot be asked.
pub(super) fn ask_for<'c>(call: &'c Call<'_>, provider: &'c Provider) -> Result<Asked<'c>, Error> {
    let executor = &**provider.executor()?;
    let request = call.request.addressed_to(&provider.name);
    match refused_format(&provider.name, executor, &request) {
        Some(refusal) => Err(refusal),
        None => Ok(Asked {
            provider: &provider.name,
            executor,
            request,
        }),
    }
}

/// The providers of the call that it is not done with, in its order.
pub(super) fn still_open<'c, 'a>(
    call: &'c Call<'a>,
    progress: &Progress,
) -> impl Iterator<Item = Asked<'c>> + use<'c, 'a> {
    let open = |provider: &&'c Arc<Provider>| progress.is_open(&provider.name);
    let open: Vec<_> = call.in_order(progress.start).filter(open).collect();
    open.into_iter()
        .filter_map(|provider| ask_for(call, provider).ok())
}
