//! [`Affinity`]: sticky sessions around any selector, with bounded load.

mod sessions;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

use super::conversation::{ConversationKey, lookup_keys, storage_keys};
use super::sample::Drawn;
use super::{Candidate, Candidates, Selector};
use crate::error::Error;
use crate::observe::Outcome;
use crate::request::{Message, Options, normalized};
use sessions::{Place, Sessions};

/// Sticky sessions around any other selector: keeps a session on the credential that served it first, its home.
///
/// A call's session is recognised by its key ([`Options::session_key`]) or by the conversation that it carries
/// ([`Options::messages`]). The inner selector chooses its home. While the home is unavailable, another credential serves the session, the
/// same one as long as it can; the session returns as soon as its home does. When the home is removed, the credential that served since
/// inherits the session.
///
/// * **Bounded load**: no credential holds more sessions, or has more requests in flight, than 1.25 times
///   ([`with_bound`](Self::with_bound)) the mean of the candidates, rounded up. A session whose home is that busy is served elsewhere for
///   the moment. Conversations without a key are counted when they have been answered.
/// * **Cap**: no credential holds more sessions than [`with_most_sessions`](Self::with_most_sessions) says; where all are full, a new
///   session has no candidate and the call goes on with its next provider. No cap by default.
/// * **Expiry**: a session that is not used for an hour ([`with_expiry`](Self::with_expiry)) is forgotten, and so are the oldest of more
///   than 100,000 keys of a provider.
///
/// ```
/// use credpool::{Affinity, Manager, RoundRobin};
///
/// let manager = Manager::builder().selector(Affinity::new(RoundRobin::new())).build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[doc(alias = "sticky session")]
#[doc(alias = "session affinity")]
#[doc(alias = "NewGeminiWebStickySelector")]
pub struct Affinity {
    inner: Box<dyn Selector>,
    only: Option<String>,
    bound: Option<f64>,
    most_sessions: usize,
    expiry: Duration,
    by_provider: Mutex<HashMap<Box<str>, Sessions>>,
}

/// How much of anything a candidate may have.
#[derive(Clone, Copy)]
struct Room {
    in_flight: usize,
    sessions: usize,
}

impl Affinity {
    /// Affinity for every provider, around `inner`.
    pub fn new(inner: impl Selector + 'static) -> Self {
        Self {
            inner: Box::new(inner),
            only: None,
            bound: Some(1.25),
            most_sessions: usize::MAX,
            expiry: Duration::from_secs(60 * 60),
            by_provider: Mutex::default(),
        }
    }

    /// Affinity for one provider alone; the others are left to the inner selector.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{Affinity, LeastBusy, Manager};
    ///
    /// let sticky = Affinity::new(LeastBusy::new())
    ///     .for_provider("anthropic")
    ///     .with_bound(1.25)
    ///     .with_most_sessions(10_000)
    ///     .with_expiry(Duration::from_secs(3600));
    /// let manager = Manager::builder().selector(sticky).build()?;
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn for_provider(mut self, provider: &str) -> Self {
        self.only = Some(normalized(provider));
        self
    }

    /// Sets how many times the mean load of the candidates one of them may have. Default 1.25; at least 1. Without a bound, with
    /// `None`, a session is with its home however busy that is.
    pub fn with_bound(mut self, times: impl Into<Option<f64>>) -> Self {
        self.bound = times.into().map(|times| times.max(1.0));
        self
    }

    /// Sets how many sessions one credential may hold. No limit by default; at least one.
    pub fn with_most_sessions(mut self, most: usize) -> Self {
        self.most_sessions = most.max(1);
        self
    }

    /// Sets after what time without a use a session is forgotten. Default one hour.
    pub fn with_expiry(mut self, expiry: Duration) -> Self {
        self.expiry = expiry;
        self
    }

    fn concerns(&self, provider: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == provider)
    }

    /// A home for a new session, and how many sessions it may hold with this one.
    fn new_home(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<(Candidate, usize)>, Error> {
        let room = Room {
            sessions: self.bounded(self.settled(candidates.provider()) + 1, candidates),
            ..self.room(candidates)
        };
        let overload = |candidate: &Candidate| {
            let held = self.held(candidates.provider(), &candidate.id);
            if held >= self.most_sessions {
                f64::INFINITY
            } else {
                f64::from(u8::from(held >= room.sessions)) + room.overload(candidate)
            }
        };
        let home = self.with_least_overload(candidates, options, overload)?;
        Ok(home.map(|(home, overload)| {
            // Where no candidate is within the bound, the cap still holds.
            let most = if overload > 0.0 {
                usize::MAX
            } else {
                room.sessions
            };
            (home, most.min(self.most_sessions))
        }))
    }

    /// The fallback: serves a session whose primary cannot.
    fn elsewhere(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        let room = self.room(candidates);
        let overload = |candidate: &Candidate| room.overload(candidate);
        let found = self.with_least_overload(candidates, options, overload)?;
        Ok(found.map(|(candidate, _)| candidate))
    }

    /// The inner selector's choice if it is not overloaded, else any that is not, else the one that is least; and how much it is.
    /// Infinite overload cannot be borne.
    fn with_least_overload(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
        overload: impl Fn(&Candidate) -> f64,
    ) -> Result<Option<(Candidate, f64)>, Error> {
        let Some(choice) = self.inner.pick(candidates, options)? else {
            return Ok(None);
        };
        let mut least = overload(&choice);
        let mut best = choice;
        for _ in 0..SAMPLES {
            if least <= 0.0 {
                break;
            }
            let mut drawn: Drawn = candidates.sample(usize::MAX).collect();
            let of_drawn = drawn.least(&overload);
            if let Some(one) = drawn.take(of_drawn)
                && overload(&one) < least
            {
                least = overload(&one);
                best = one;
            }
        }
        if least.is_infinite() {
            // No candidate with room is to be overlooked.
            let mut all = candidates.iter().map(|one| (overload(&one), one));
            let found = all.find(|(overload, _)| overload.is_finite());
            return Ok(found.map(|(overload, one)| (one, overload)));
        }
        Ok(Some((best, least)))
    }

    fn room(&self, candidates: &Candidates<'_>) -> Room {
        let in_flight = usize::try_from(candidates.in_flight()).unwrap_or(usize::MAX);
        Room {
            in_flight: self.bounded(in_flight.saturating_add(1), candidates),
            sessions: usize::MAX,
        }
    }

    /// How much one candidate may have where there is so much in all.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share need not be exact, and is in range"
    )]
    fn bounded(&self, total: usize, candidates: &Candidates<'_>) -> usize {
        let Some(times) = self.bound else {
            return usize::MAX;
        };
        let mean = total as f64 / candidates.len().max(1) as f64;
        (times * mean).ceil() as usize
    }

    fn held(&self, provider: &str, id: &str) -> usize {
        let by_provider = self.by_provider.lock();
        by_provider
            .get(provider)
            .map_or(0, |sessions| sessions.held(id))
    }

    fn settled(&self, provider: &str) -> usize {
        let by_provider = self.by_provider.lock();
        by_provider.get(provider).map_or(0, Sessions::len)
    }

    fn place(&self, candidates: &Candidates<'_>, options: &Options) -> Option<Place> {
        let conversations = conversations(candidates.model(), &options.messages);
        let now = candidates.now();
        let mut by_provider = self.by_provider.lock();
        let sessions = by_provider.get_mut(candidates.provider())?;
        let name = options.session_key.as_deref();
        let found = sessions.find(name, &conversations, now, self.expiry);
        found.map(|(_, place)| place)
    }

    /// Holds a place for a named session, before it has been served there. False where another call was faster: the session has begun, or
    /// its home holds as many sessions as it may.
    fn reserve(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
        home: &Candidate,
        most: usize,
    ) -> bool {
        let Some(name) = &options.session_key else {
            return true;
        };
        let now = candidates.now();
        let mut by_provider = self.by_provider.lock();
        let sessions = sessions_of(&mut by_provider, candidates.provider());
        let has_begun = sessions.find(Some(name), &[], now, self.expiry).is_some();
        if has_begun || sessions.held(&home.id) >= most {
            return false;
        }
        let number = sessions.begin(&home.id, true);
        sessions.name(name, number, now);
        sessions.tidy(now, self.expiry);
        true
    }

    fn served(&self, outcome: &Outcome<'_>) {
        let Some(now) = outcome.at else {
            return;
        };
        // The next call asks for the same name, of which the vendor may have another.
        let names = [outcome.model, outcome.asked_for];
        let names = if names[0] == names[1] {
            &names[..1]
        } else {
            &names[..]
        };
        let known = names
            .iter()
            .flat_map(|name| conversations(name, outcome.messages));
        let known: Vec<_> = known.collect();
        let reply = outcome
            .reply_text
            .map(|text| Message::new("assistant", text));
        let stored = if outcome.messages.is_empty() {
            Vec::new()
        } else {
            let keys = |name: &&str| storage_keys(name, outcome.messages.iter().chain(&reply));
            names.iter().flat_map(keys).collect()
        };
        if outcome.session_key.is_none() && stored.is_empty() {
            return;
        }
        let mut by_provider = self.by_provider.lock();
        let sessions = sessions_of(&mut by_provider, outcome.provider);
        let number = match sessions.find(outcome.session_key, &known, now, self.expiry) {
            Some((number, _)) => {
                sessions.served(number, outcome.auth_id, self.most_sessions);
                number
            }
            None => sessions.begin(outcome.auth_id, false),
        };
        if let Some(name) = outcome.session_key {
            sessions.name(name, number, now);
        }
        for stored in stored {
            sessions.converse(stored.key, number, now);
        }
        sessions.tidy(now, self.expiry);
    }
}

impl Selector for Affinity {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        let is_session = options.session_key.is_some() || !options.messages.is_empty();
        if !is_session || !self.concerns(candidates.provider()) {
            return self.inner.pick(candidates, options);
        }
        let place = loop {
            if let Some(place) = self.place(candidates, options) {
                break place;
            }
            let Some((home, most)) = self.new_home(candidates, options)? else {
                return Ok(None);
            };
            if self.reserve(candidates, options, &home, most) {
                return Ok(Some(home));
            }
        };
        let room = self.room(candidates);
        let mut known = std::iter::once(place.home)
            .chain(place.away)
            .filter_map(|id| candidates.get(&id));
        match known.find(|candidate| room.overload(candidate) <= 0.0) {
            Some(candidate) => Ok(Some(candidate)),
            None => self.elsewhere(candidates, options),
        }
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        if self.concerns(outcome.provider) {
            if outcome.is_success() {
                self.served(outcome);
            } else if let Some(name) = outcome.session_key
                && let Some(sessions) = self.by_provider.lock().get_mut(outcome.provider)
            {
                sessions.give_up(name, outcome.auth_id);
            }
        }
        self.inner.observe(outcome);
    }

    fn forget(&self, auth_id: &str) {
        for sessions in self.by_provider.lock().values_mut() {
            sessions.forget(auth_id);
        }
        self.inner.forget(auth_id);
    }
}

impl Room {
    /// Zero as long as one more request has room.
    fn overload(&self, candidate: &Candidate) -> f64 {
        let in_flight = usize::try_from(candidate.in_flight()).unwrap_or(usize::MAX);
        f64::from(u8::from(in_flight >= self.in_flight))
    }
}

fn conversations(model: &str, messages: &[Message]) -> Vec<ConversationKey> {
    if messages.is_empty() {
        return Vec::new();
    }
    let keys = lookup_keys(model, messages);
    keys.into_iter().map(|prefix| prefix.key).collect()
}

fn sessions_of<'a>(
    by_provider: &'a mut HashMap<Box<str>, Sessions>,
    provider: &str,
) -> &'a mut Sessions {
    if !by_provider.contains_key(provider) {
        by_provider.insert(provider.into(), Sessions::default());
    }
    by_provider.get_mut(provider).expect("it is there")
}

impl fmt::Debug for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_provider = self.by_provider.lock();
        let sessions = by_provider.values().map(Sessions::len).sum::<usize>();
        f.debug_struct("Affinity")
            .field("only", &self.only)
            .field("bound", &self.bound)
            .field("most_sessions", &self.most_sessions)
            .field("expiry", &self.expiry)
            .field("sessions", &sessions)
            .finish_non_exhaustive()
    }
}

/// At least every fifth has room for another session, and every fifth for another request: as many samples of sixteen find one.
const SAMPLES: usize = 4;
