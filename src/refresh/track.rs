//! What the engine remembers of a credential between two refreshes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::tokens::fingerprint;
use crate::Timestamp;
use crate::auth::Auth;

/// The memories of all credentials that were refreshed since the start. They speak of the tokens that a credential had then:
/// with others, it starts afresh.
#[derive(Debug, Default)]
pub(super) struct Tracks(Mutex<HashMap<Arc<str>, Track>>);

/// What is known of a credential with certain tokens.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Track {
    /// Of the tokens that this is about.
    tokens: u64,
    /// No refresh before.
    pub(super) not_before: Option<Instant>,
    /// What the record says of that: by the wall clock, which may jump.
    pub(super) shown: Option<Timestamp>,
    /// How often the refresh token was sent without an answer that tells whether it is spent.
    pub(super) doubtful_tries: u32,
    /// The server takes the refresh token no more.
    pub(super) is_over: bool,
    /// It does so after an answer was lost.
    pub(super) answer_lost: bool,
    /// How often the refresh could not even begin, in a row.
    pub(super) deferred: u32,
}

impl Tracks {
    /// What is known of the tokens that `auth` has.
    pub(super) fn of(&self, auth: &Auth) -> Option<Track> {
        let track = *self.0.lock().get(auth.id.as_str())?;
        (track.tokens == fingerprint(auth.metadata.as_ref())).then_some(track)
    }

    /// Remembers something of the tokens that `auth` has.
    pub(super) fn note(&self, id: &Arc<str>, auth: &Auth, change: impl FnOnce(&mut Track)) {
        let tokens = fingerprint(auth.metadata.as_ref());
        let mut tracks = self.0.lock();
        let track = tracks.entry(Arc::clone(id)).or_default();
        if track.tokens != tokens {
            *track = Track {
                tokens,
                ..Track::default()
            };
        }
        change(track);
    }

    pub(super) fn forget(&self, id: &str) {
        self.0.lock().remove(id);
    }

    /// The ids for which `holds`, in their order.
    pub(super) fn ids(&self, holds: impl Fn(&Track) -> bool) -> Vec<Arc<str>> {
        let tracks = self.0.lock();
        let mut ids: Vec<_> = tracks
            .iter()
            .filter(|(_, track)| holds(track))
            .map(|(id, _)| Arc::clone(id))
            .collect();
        ids.sort_unstable();
        ids
    }
}
