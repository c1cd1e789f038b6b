//! Picking one credential for one attempt: by the selector, or for a reason that precedes it.

use std::sync::Arc;

#[cfg(feature = "testing")]
use smallvec::SmallVec;

use super::Engine;
use super::call_state::CallState;
use super::context::Call;
use super::refusals::{misplaced, refused_format};
use super::retry_loop::Dispatch;
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ProviderExecutor;
#[cfg(feature = "testing")]
use crate::observe::Operation;
use crate::panic::guard;
use crate::registry::{Attempted, Lease, Moment, Picked, ProbeGuard, Query, SharedState, Supply};
use crate::request::Addressed;
#[cfg(feature = "testing")]
use crate::request::{Options, Request};
use crate::selection::Candidates;

/// One hop of a call, fit to be asked.
pub(super) struct Route<'a> {
    pub(super) hop: usize,
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
pub(super) struct Acquired {
    auth: Arc<Auth>,
    /// The vendor's name of the model, where the request asks for an alias.
    sent_as: Option<Arc<str>>,
    permit: Option<Box<ProbeGuard>>,
    lease: Lease,
}

/// What the selector chose.
pub(super) enum Choice {
    Acquired(Acquired),
    /// No credential is ready, or the selector picks none of the candidates.
    None,
    /// A credential was ready, but other calls were faster.
    Lost,
}

impl Engine {
    /// Asks the selector until its choice can be acquired, or it makes none. A credential that cannot be acquired is not offered again,
    /// so this ends whatever other calls do. An error ends the call.
    pub(super) fn choose(
        &self,
        call: &Call<'_>,
        wanted: Wanted<'_>,
        tried: Option<&Attempted>,
    ) -> Result<Choice, Error> {
        let registry = &self.services.registry;
        let selector = self.selector();
        // Reading the clock costs as much as half a pick, and is needless where no credential is cooling down.
        let mut now = if registry.may_anybody_be_out() {
            self.services.moment()
        } else {
            Moment::TIMELESS
        };
        let mut lost: Option<Attempted> = None;
        loop {
            let query = wanted.query(call, now, lost.as_ref().or(tried));
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
                None => return Ok(Choice::None),
            };
            let has_token = self.refresh.has_token(&picked.auth);
            let may_be_lost = !has_token || picked.needs_permit || picked.limited;
            let member = may_be_lost.then(|| Arc::clone(&picked.member));
            if has_token {
                if now == Moment::TIMELESS && (picked.needs_permit || picked.limited) {
                    // A credential has failed in this moment.
                    now = self.services.moment();
                }
                let query = Query { now, ..query };
                if let Some(taken) = self.take(wanted, query, picked) {
                    return Ok(Choice::Acquired(taken));
                }
            }
            call.check(None)?;
            // What has a token and neither limits nor a probe is always taken.
            let Some(member) = member else {
                return Ok(Choice::Lost);
            };
            now = self.services.moment();
            lost.get_or_insert_with(|| tried.cloned().unwrap_or_default())
                .note(&member);
        }
    }

    /// The use of a ready credential. `None`: another call was faster.
    fn take(&self, wanted: Wanted<'_>, query: Query<'_>, picked: Picked) -> Option<Acquired> {
        let registry = &self.services.registry;
        let permit = match self.policy.probes().filter(|_| picked.needs_permit) {
            None => None,
            Some(probes) => {
                let permit = registry.probe(query, &picked, probes.patience)?;
                Some(Box::new(permit))
            }
        };
        let sent_as = picked.sent_as.clone();
        let (lease, auth) = registry.lease(query, picked, wanted.tokens)?;
        Some(Acquired {
            auth,
            sent_as,
            permit,
            lease,
        })
    }

    /// The credential that got a new token, once more. `None` when it was removed, or another call tries it.
    pub(super) fn renewed<'c>(
        &self,
        call: &'c Call<'_>,
        hop: usize,
        member: &SharedState,
    ) -> Option<Dispatch<'c>> {
        let asked = ask_for(call, hop).ok()?;
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
        let sent_as = picked.sent_as.clone();
        let (lease, auth) = registry.lease(query, picked, asked.wanted().tokens)?;
        Some(asked.turn(Acquired {
            auth,
            sent_as,
            permit,
            lease,
        }))
    }

    /// The credential that is due soonest, of those that only their pace holds back.
    pub(super) fn hurried<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &CallState,
    ) -> Option<Dispatch<'c>> {
        let registry = &self.services.registry;
        still_open(call, progress).find_map(|asked| {
            let query = asked.query(call, self.services.moment(), progress.tried_at(asked.hop));
            if registry.supply(query) == Supply::Ready {
                // The selector rejected all of them.
                return None;
            }
            let picked = registry.soonest_paced(query)?;
            let taken = self.take(asked.wanted(), query, picked)?;
            Some(asked.turn(taken))
        })
    }

    /// The credential whose cooldown ends soonest, of those that are cooling down only for a fault of their provider.
    pub(super) fn floor<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &CallState,
    ) -> Option<Dispatch<'c>> {
        if !self.policy.last_resort() {
            return None;
        }
        let patience = self.policy.probes().map(|probes| probes.patience);
        let registry = &self.services.registry;
        still_open(call, progress)
            .filter(|asked| !progress.has_asked(asked.hop))
            .find_map(|asked| {
                let query = asked.query(call, self.services.moment(), progress.tried_at(asked.hop));
                if registry.supply(query) == Supply::Ready {
                    return None;
                }
                let (picked, permit) = registry.floor(query, patience.unwrap_or_default())?;
                log::debug!(
                    "no credential is ready: trying {} as the last resort",
                    picked.member.id
                );
                let sent_as = picked.sent_as.clone();
                let (lease, auth) = registry.lease(query, picked, asked.wanted().tokens)?;
                Some(asked.turn(Acquired {
                    auth,
                    sent_as,
                    permit: Some(Box::new(permit)),
                    lease,
                }))
            })
    }

    /// Where tokens have ended and no refresh has brought others in time, the old one is sent once: the clock may be wrong.
    pub(super) fn ended_token<'c>(
        &self,
        call: &'c Call<'_>,
        progress: &mut CallState,
    ) -> Option<Dispatch<'c>> {
        if std::mem::replace(&mut progress.sent_ended_token, true) {
            return None;
        }
        let registry = &self.services.registry;
        still_open(call, progress).find_map(|asked| {
            let query = asked.query(call, self.services.moment(), progress.tried_at(asked.hop));
            let picked = registry.with_ended_token(query)?;
            log::debug!(
                "the access token of credential {} has expired; sent as the last resort",
                picked.member.id
            );
            let sent_as = picked.sent_as.clone();
            let (lease, auth) = registry.lease(query, picked, asked.wanted().tokens)?;
            let turn = asked.turn(Acquired {
                auth,
                sent_as,
                permit: None,
                lease,
            });
            Some(Dispatch {
                has_ended: true,
                ..turn
            })
        })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn audit(&self) -> Vec<String> {
        self.services.registry.audit(self.services.moment())
    }

    /// Whether a call would find a credential: for benches.
    #[cfg(feature = "testing")]
    pub(crate) fn picks(&self, provider: &str, model: &str, options: &Options) -> bool {
        let request = Request::new("", "");
        let services = &self.services;
        let call = Call::begin(
            Operation::Execute,
            services,
            SmallVec::new(),
            &request,
            options,
            None,
        );
        let wanted = Wanted {
            provider,
            model,
            tokens: 0,
        };
        let choice = self.choose(&call, wanted, None);
        matches!(choice, Ok(Choice::Acquired(_)))
    }
}

impl<'q> Wanted<'q> {
    fn query(self, call: &'q Call<'_>, now: Moment, tried: Option<&'q Attempted>) -> Query<'q> {
        Query {
            provider: self.provider,
            model: self.model,
            tried,
            pinned: call.pinned_in(self.provider),
            now,
        }
    }
}

impl<'a> Route<'a> {
    pub(super) fn turn(self, taken: Acquired) -> Dispatch<'a> {
        let request = match &taken.sent_as {
            None => self.request,
            Some(model) => Addressed::Owned(self.request.renamed(model)),
        };
        Dispatch {
            hop: self.hop,
            provider: self.provider,
            executor: self.executor,
            request,
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
        call: &'q Call<'_>,
        now: Moment,
        tried: Option<&'q Attempted>,
    ) -> Query<'q> {
        self.wanted().query(call, now, tried)
    }
}

/// The executor and the request of a hop, or why there is none.
pub(super) fn ask_for<'c>(call: &'c Call<'_>, hop: usize) -> Result<Route<'c>, Error> {
    let provider = &call.hops[hop].provider;
    let executor = &**provider.executor()?;
    let request = call.hops[hop].request(call.request);
    match refused_format(&provider.name, executor, &request) {
        Some(refusal) => Err(refusal),
        None => Ok(Route {
            hop,
            provider: &provider.name,
            executor,
            request,
        }),
    }
}

/// The hops of the call that it is not done with, in its order.
pub(super) fn still_open<'c, 'a>(
    call: &'c Call<'a>,
    progress: &CallState,
) -> impl Iterator<Item = Route<'c>> + use<'c, 'a> {
    let hops = 0..call.hops.len();
    let open: Vec<_> = hops.filter(|hop| progress.is_open(*hop)).collect();
    open.into_iter().filter_map(|hop| ask_for(call, hop).ok())
}
