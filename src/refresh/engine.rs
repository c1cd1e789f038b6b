//! The engine: who asks for a refresh, and whether one may begin.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};
use parking_lot::Mutex;

use super::RefreshHealth;
use super::decide::{Due, due_in_pool};
use super::flight::{Flights, Refreshed, cut_off};
use super::inbox::Mailbox;
use super::quiet::Quiet;
use super::track::{Track, Tracks};
use super::unpersisted::Unpersisted;
use crate::Timestamp;
use crate::auth::Auth;
use crate::cancel::Never;
use crate::clock::{deadline, later};
use crate::registry::release;
use crate::services::Services;

/// Runs refreshes on the refresh lane: at most one for a credential at a time, whoever asks.
#[derive(Debug)]
pub(crate) struct RefreshEngine {
    pub(super) services: Arc<Services>,
    /// Between two refreshes of one credential, whatever the server says.
    pub(super) gap: Duration,
    pub(super) flights: Mutex<Flights>,
    pub(super) quiet: Mutex<Quiet>,
    pub(super) tracks: Tracks,
    pub(super) unpersisted: Unpersisted,
    pub(super) mailbox: Mailbox,
    /// Makes chance another one for each process.
    salt: u64,
}

/// What came of waiting for a refresh.
pub(super) enum Waited {
    Over(Refreshed),
    /// The refresh goes on.
    LongEnough,
    /// Another one has landed since the credential was looked at: look again.
    Outdated,
}

impl RefreshEngine {
    pub(crate) fn new(services: Arc<Services>, gap: Duration) -> Self {
        let salt = services.random.fraction().to_bits();
        Self {
            services,
            gap,
            flights: Mutex::default(),
            quiet: Mutex::default(),
            tracks: Tracks::default(),
            unpersisted: Unpersisted::default(),
            mailbox: Mailbox::default(),
            salt,
        }
    }

    /// Refreshes a credential now, due or not, and waits for the outcome. One that is in flight already is not asked for again.
    pub(crate) fn refresh_now(self: &Arc<Self>, id: &str) -> Refreshed {
        let never = crossbeam_channel::never();
        match self.wait_for(id, None, &crossbeam_channel::never(), &never) {
            Waited::Over(refreshed) => refreshed,
            Waited::LongEnough | Waited::Outdated => Err(cut_off(id)),
        }
    }

    /// As [`refresh_now`](Self::refresh_now), but does not wait beyond either of the two, and does not begin a refresh that must
    /// wait: because the last one is too fresh, or has failed. `None` then. The refresh goes on all the same.
    pub(crate) fn refresh_while(
        self: &Arc<Self>,
        id: &str,
        late: &Receiver<Instant>,
        cancelled: &Receiver<Never>,
    ) -> Option<Refreshed> {
        loop {
            let landings = self.landings();
            let auth = self.services.registry.get(id)?;
            if !self.may_begin(&auth) && !self.is_in_flight(id) {
                if self.landings() == landings {
                    return None;
                }
                // One has landed between the looks.
                continue;
            }
            release(auth);
            match self.wait_for(id, Some(landings), late, cancelled) {
                Waited::Over(refreshed) => return Some(refreshed),
                Waited::LongEnough => return None,
                Waited::Outdated => {}
            }
        }
    }

    /// Starts or joins a refresh, as [`take_off`](Self::take_off) does, and waits for it.
    pub(super) fn wait_for(
        self: &Arc<Self>,
        id: &str,
        landings: Option<u64>,
        late: &Receiver<Instant>,
        cancelled: &Receiver<Never>,
    ) -> Waited {
        let (tell, told) = crossbeam_channel::bounded(1);
        match self.take_off(id, landings, Some(tell)) {
            Ok(true) => {}
            Ok(false) => return Waited::Outdated,
            Err(error) => return Waited::Over(Err(error)),
        }
        select! {
            recv(told) -> outcome => {
                Waited::Over(outcome.unwrap_or_else(|_| Err(cut_off(id))))
            }
            recv(late) -> _ => Waited::LongEnough,
            recv(cancelled) -> _ => Waited::LongEnough,
        }
    }

    /// Tells the refresher that a credential's due time may have changed.
    pub(crate) fn note_change(&self, id: &str) {
        if !self.services.registry.contains(id) {
            self.tracks.forget(id);
        }
        self.mailbox.post(id);
    }

    /// How the refreshes stand.
    pub(crate) fn health(&self) -> RefreshHealth {
        let ids = |holds: fn(&Track) -> bool| {
            let ids = self.tracks.ids(holds).into_iter();
            let still = ids.filter(|id| {
                let auth = self.services.registry.get(id);
                auth.and_then(|auth| self.tracks.of(&auth))
                    .is_some_and(|track| holds(&track))
            });
            still.map(|id| id.to_string()).collect()
        };
        RefreshHealth {
            unpersisted_rotation: self.unpersisted.ids(),
            in_doubt: ids(|track| track.doubtful_tries > 0 && !track.is_over),
            needs_login: ids(|track| track.is_over),
            lost_answers: ids(|track| track.answer_lost),
        }
    }

    /// When a credential is due: by its record, but not before the engine may refresh it again.
    pub(super) fn next_due(&self, auth: &Auth) -> Due {
        let due = due_in_pool(auth, self.chance(auth));
        if due == Due::Never {
            return due;
        }
        let track = self.tracks.of(auth);
        if track.is_some_and(|track| track.is_over) {
            return Due::Never;
        }
        let now = self.services.clock.now();
        let asked = auth
            .next_refresh_after
            .filter(|after| track.is_none_or(|track| track.shown != Some(*after)));
        let floor = self.own_floor(auth, track, now).max(asked);
        match (due, floor) {
            (Due::At(at), Some(floor)) => Due::At(at.max(floor)),
            (Due::Asks, Some(floor)) if floor > now => Due::At(floor),
            (due, _) => due,
        }
    }

    /// Whether a refresh may begin at once that nobody has commanded.
    pub(super) fn may_begin(&self, auth: &Auth) -> bool {
        let track = self.tracks.of(auth);
        let now = self.services.clock.now();
        track.is_none_or(|track| !track.is_over)
            && self
                .own_floor(auth, track, now)
                .is_none_or(|floor| floor <= now)
    }

    /// No refresh before this moment: by what this process remembers, on a clock that does not jump; and by the record, which
    /// another process may have refreshed.
    fn own_floor(&self, auth: &Auth, track: Option<Track>, now: Timestamp) -> Option<Timestamp> {
        let monotonic = self.services.clock.monotonic();
        let remembered = track
            .and_then(|track| track.not_before)
            .filter(|not_before| *not_before > monotonic)
            .map(|not_before| later(now, not_before - monotonic));
        let last = auth.last_refreshed_at.filter(|last| *last <= now);
        remembered.max(last.map(|last| later(last, self.gap)))
    }

    /// Keeps the refresher from a credential for a moment: there is no worker for it.
    pub(super) fn hold_back(&self, id: &Arc<str>) {
        if let Some(auth) = self.services.registry.get(id) {
            let not_before = deadline(self.services.clock.monotonic(), NO_WORKER);
            self.tracks
                .note(id, &auth, |track| track.not_before = Some(not_before));
        }
    }

    /// From 0 to 1: drawn once for each generation of a credential.
    fn chance(&self, auth: &Auth) -> f64 {
        let mut hasher = DefaultHasher::new();
        (self.salt, &auth.id, auth.generation).hash(&mut hasher);
        let bits = u32::try_from(hasher.finish() >> 32).unwrap_or(0);
        f64::from(bits) / f64::from(u32::MAX)
    }
}

/// Until a worker may be free.
pub(super) const NO_WORKER: Duration = Duration::from_secs(1);
