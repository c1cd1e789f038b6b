//! [`Candidates`]: the ready credentials of one call, as a selector sees them.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::auth::Auth;
use crate::clock::{Clock, Timestamp};
use crate::error::Error;
use crate::health::Readiness;
use crate::registry::{Picked, Preference, Query, Registry};

/// The credentials of one provider that a call could use now: not disabled, not blocked for the model, not yet tried in
/// this call. A view, not a copy: each question is answered from the registry as it stands at that moment.
///
/// Of credentials with an attribute `priority` (a number; 0 where there is none) only those of the highest priority with a ready
/// credential are candidates.
///
/// ```
/// use credpool::{Candidate, Candidates, Error, Options, Selector};
///
/// /// The credential that a session used before, else the one after it.
/// struct Next;
/// impl Selector for Next {
///     fn pick(&self, ready: &Candidates<'_>, options: &Options) -> Result<Option<Candidate>, Error> {
///         let wanted = options.session_key.as_deref();
///         Ok(wanted.and_then(|id| ready.get(id)).or_else(|| ready.after(wanted)))
///     }
/// }
/// ```
pub struct Candidates<'a> {
    registry: &'a Registry,
    clock: &'a dyn Clock,
    query: Query<'a>,
    offer: u64,
}

/// A ready credential. It can only come from [`Candidates`], and reads like an [`Auth`]. It is meant for the pick that it was
/// offered in.
///
/// ```
/// use credpool::{Candidate, Candidates, Error, Options, Selector};
///
/// /// The idle credential with the lowest attribute `price`.
/// struct Cheapest;
/// impl Selector for Cheapest {
///     fn pick(&self, ready: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
///         let price = |candidate: &Candidate| candidate.attributes.get("price").map(str::to_owned);
///         let idle = ready.iter().filter(|candidate| candidate.in_flight() == 0);
///         Ok(idle.min_by_key(price))
///     }
/// }
///
/// /// The record itself.
/// fn id(candidate: Candidate) -> String {
///     candidate.into_auth().id.clone()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Candidate {
    picked: Picked,
    offer: u64,
}

/// A credential that is unavailable for the model at the moment.
///
/// ```
/// use credpool::{Blocked, Candidates};
///
/// /// The unavailable credential that is ready soonest.
/// fn soonest(candidates: &Candidates<'_>) -> Option<Blocked> {
///     let timed = candidates.blocked().into_iter().filter(|blocked| blocked.until.is_some());
///     timed.min_by_key(|blocked| blocked.until)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Blocked {
    /// The credential.
    pub auth: Arc<Auth>,
    /// When it returns; `None` when nothing says so.
    pub until: Option<Timestamp>,
    /// The failure that blocked it, where there is one.
    pub error: Option<Error>,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(registry: &'a Registry, clock: &'a dyn Clock, query: Query<'a>) -> Self {
        Self {
            registry,
            clock,
            query,
            offer: next_offer(),
        }
    }

    /// The provider that is about to be called.
    pub fn provider(&self) -> &'a str {
        self.query.provider
    }

    /// The model of the call, as it is asked for; empty for none.
    pub fn model(&self) -> &'a str {
        self.query.model
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.registry.ready_count(self.query)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The candidate with this id, if it is one.
    pub fn get(&self, id: &str) -> Option<Candidate> {
        self.offered(self.registry.ready(self.query, id))
    }

    /// The first candidate whose id comes after `id`, in the order of ids' bytes; the first of all without one.
    pub fn after(&self, id: Option<&str>) -> Option<Candidate> {
        self.offered(self.registry.next_ready(self.query, id))
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = Candidate> + '_ {
        std::iter::successors(self.after(None), |last| self.after(Some(&last.id)))
    }

    /// The next one in the rotation of this provider and model. The rotation moves on, once for all threads.
    pub fn rotate(&self) -> Option<Candidate> {
        self.offered(self.registry.choose(self.query, Preference::Rotate))
    }

    /// The next one by the attribute `weight` (1 where there is none): turns are shared by weight, and as evenly as can be. Those
    /// of weight 0 are never given.
    pub fn by_weight(&self) -> Option<Candidate> {
        self.offered(self.registry.choose(self.query, Preference::ByWeight))
    }

    /// The next one in the rotation of those with the fewest requests in flight.
    pub fn least_busy(&self) -> Option<Candidate> {
        self.offered(self.registry.choose(self.query, Preference::LeastBusy))
    }

    /// A random one of them.
    pub fn at_random(&self) -> Option<Candidate> {
        self.offered(self.registry.choose(self.query, Preference::AtRandom))
    }

    /// Up to `most` random ones of them (no more than 16), each once: all of them where there are no more. Costs the same
    /// however many there are.
    ///
    /// ```
    /// use credpool::{Candidate, Candidates, Error, Options, Selector};
    ///
    /// /// The less busy of two.
    /// struct OneOfTwo;
    ///
    /// impl Selector for OneOfTwo {
    ///     fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
    ///         Ok(candidates.sample(2).min_by_key(Candidate::in_flight))
    ///     }
    /// }
    /// ```
    pub fn sample(&self, most: usize) -> impl Iterator<Item = Candidate> + use<> {
        let offer = self.offer;
        let sample = self.registry.sample(self.query, most.min(MOST_SAMPLED));
        sample
            .into_iter()
            .map(move |picked| Candidate { picked, offer })
    }

    /// How many requests are in flight with all credentials of the provider, whether they are candidates or not. Requests are
    /// counted from the first call of this on.
    pub fn in_flight(&self) -> u32 {
        self.registry.in_flight(self.query.provider)
    }

    /// The time by the manager's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn offered(&self, picked: Option<Picked>) -> Option<Candidate> {
        picked.map(|picked| Candidate {
            picked,
            offer: self.offer,
        })
    }

    /// Those that are not ready, with the reason. This looks at every credential of the provider.
    pub fn blocked(&self) -> Vec<Blocked> {
        self.registry
            .candidates(self.query)
            .into_iter()
            .filter_map(|(Picked { auth, sent_as, .. }, readiness)| {
                let until = match readiness {
                    Readiness::Ready => return None,
                    Readiness::Full(at) => Some(at).filter(|at| *at < Timestamp::MAX),
                    other => other.end(),
                };
                let model = sent_as.as_deref().unwrap_or(self.query.model);
                let error = match auth.model_states.get(model) {
                    Some(state) => state.last_error.clone(),
                    None => auth.last_error.clone(),
                };
                Some(Blocked { auth, until, error })
            })
            .collect()
    }
}

impl Candidate {
    /// The record as a shared snapshot.
    pub fn into_auth(self) -> Arc<Auth> {
        self.picked.auth
    }

    /// The vendor's name of the model, where the call asks for an alias of it.
    ///
    /// ```
    /// use credpool::{Candidate, Candidates};
    ///
    /// /// Under which name the results of a candidate come back.
    /// fn model<'a>(candidates: &Candidates<'a>, candidate: &'a Candidate) -> &'a str {
    ///     candidate.sent_as().unwrap_or(candidates.model())
    /// }
    /// ```
    pub fn sent_as(&self) -> Option<&str> {
        self.picked.sent_as.as_deref()
    }

    /// How many requests are in flight with it at the moment, over all models.
    pub fn in_flight(&self) -> u32 {
        self.picked.member.in_flight()
    }

    pub(crate) fn into_picked(self) -> Picked {
        self.picked
    }

    pub(crate) fn was_offered_by(&self, candidates: &Candidates<'_>) -> bool {
        self.offer == candidates.offer
    }
}

impl Deref for Candidate {
    type Target = Auth;

    fn deref(&self) -> &Auth {
        &self.picked.auth
    }
}

/// A number that no other pick has: a candidate is good for the pick that it was offered in.
fn next_offer() -> u64 {
    /// Threads that have picked.
    static THREADS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: Cell<u64> = Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) << 40);
    }
    NEXT.with(|next| next.replace(next.get().wrapping_add(1)))
}

/// A sample is made without the heap.
const MOST_SAMPLED: usize = 16;

impl fmt::Debug for Candidates<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidates")
            .field("provider", &self.provider())
            .field("model", &self.model())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
