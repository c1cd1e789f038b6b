//! The state machine of one refresh. Pure: the work of a state is in [`attempt`](super::attempt).
//!
//! ```text
//! Begun ─► Locking ─► Reading ─► LockingCopies ─► ReadingIntent ─► NotingIntent ─► Sending ─► Saving ─► Committed | Unpersisted |
//!                │         │             │              │               ▲   ▲        │         │         Superseded
//!                ▼         ▼             ▼              ▼               │   └────────┤         └─► (half an answer: sent again)
//!         LookingAgain  Adopted   Adopted, Deferred  Deferred           └────────────┘ no answer: sent again, once
//!                │         Revoked, Removed                                          │
//!                ▼                                                                   ├─► Confirming ─► Adopted | Revoked
//!           Deferred                                                                 └─► Failed
//! ```
//!
//! The order "the intent is durable, the token is sent, the answer is durable, the answer is used" is what keeps a login: a refresh
//! token serves once ([RFC 9700 section 4.14.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2)).

/// What is being done. A state that is no end is left by the event that tells how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum State {
    /// Checks whether the token endpoint may be called.
    Begun,
    /// Waits for the right to refresh the record.
    Locking,
    /// Another process has that right: looks whether it is done by now.
    LookingAgain,
    /// Reads what the store has by now.
    Reading,
    /// Waits for the right to refresh the other records that hold the same tokens.
    LockingCopies,
    /// Reads what was noted of a refresh that came to no end.
    ReadingIntent,
    /// Notes, durably, that the refresh token is about to be sent.
    NotingIntent,
    /// Waits for the token endpoint.
    Sending,
    /// Makes the answer durable.
    Saving,
    /// The token was refused for good: looks whether the store has a newer one.
    Confirming,
    Ended(End),
}

/// How a refresh ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    /// New tokens are durable and in use.
    Committed,
    /// New tokens are in use from memory; the store has failed, and is tried again.
    Unpersisted,
    /// The record got another login meanwhile, which stays.
    Superseded,
    /// The store has newer tokens, which are in use now.
    Adopted,
    /// Nothing was sent, and the refresh token is not spent: tried again later.
    Deferred,
    /// The token endpoint has rate limited the client.
    Resting,
    /// No new tokens this time.
    Failed,
    /// A person must log in again: the token endpoint says so now.
    Revoked,
    /// The same, and it was known: nothing was sent.
    KnownRevoked,
    /// The record is gone.
    Removed,
}

/// What came of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Event {
    MayBegin,
    EndpointRests,
    Locked,
    /// Another process has the lock.
    Busy,
    /// The record has the tokens that it had, or others that are due as well.
    Due,
    /// The record has other tokens, good ones.
    Renewed,
    /// The stored record needs a new login.
    Refused,
    Gone,
    /// No request that was sent before is in flight.
    Clear,
    /// A request of another process may still be under way.
    MayBeUnderWay,
    Noted,
    /// The store failed.
    StoreFailed,
    /// New tokens.
    Answered,
    /// A new refresh token, and no access token.
    HalfAnswered,
    /// No answer, for the first time: the token endpoint may have done it, and may forgive a second try.
    Lost,
    /// The token endpoint takes the refresh token no more.
    TokenRefused,
    /// Any other failure.
    Failed,
    Saved,
    /// The half answer is durable.
    HalfSaved,
    /// The record has another login by now.
    OtherLogin,
}

impl State {
    /// The state after an event. `None` for an event that cannot come in this state.
    #[expect(clippy::match_same_arms, reason = "one row for each state")]
    pub(super) fn after(self, event: Event) -> Option<Self> {
        use State::{
            Begun, Confirming, Ended, Locking, LockingCopies, LookingAgain, NotingIntent, Reading,
            ReadingIntent, Saving, Sending,
        };
        Some(match (self, event) {
            (Begun, Event::MayBegin) => Locking,
            (Begun, Event::EndpointRests) => Ended(End::Resting),
            (Begun, Event::Refused) => Ended(End::KnownRevoked),

            (Locking, Event::Locked) => Reading,
            (Locking, Event::Busy | Event::StoreFailed) => LookingAgain,

            (LookingAgain, Event::Renewed) => Ended(End::Adopted),
            (LookingAgain, Event::Due | Event::StoreFailed) => Ended(End::Deferred),

            (Reading, Event::Due) => LockingCopies,
            (Reading | LockingCopies | Confirming, Event::Renewed) => Ended(End::Adopted),
            (Reading, Event::StoreFailed) => Ended(End::Deferred),

            (LookingAgain | Reading, Event::Refused) => Ended(End::KnownRevoked),
            (LookingAgain | Reading | LockingCopies | Saving | Confirming, Event::Gone) => {
                Ended(End::Removed)
            }

            (LockingCopies, Event::Locked) => ReadingIntent,
            (LockingCopies, Event::Busy | Event::StoreFailed) => Ended(End::Deferred),

            (ReadingIntent, Event::Clear) => NotingIntent,
            (ReadingIntent, Event::MayBeUnderWay | Event::StoreFailed) => Ended(End::Deferred),

            (NotingIntent, Event::Noted) => Sending,
            (NotingIntent, Event::StoreFailed) => Ended(End::Deferred),

            (Sending, Event::Answered | Event::HalfAnswered) => Saving,
            (Sending, Event::Lost) => NotingIntent,
            (Sending, Event::TokenRefused) => Confirming,
            (Sending, Event::Failed) => Ended(End::Failed),

            (Saving, Event::Saved) => Ended(End::Committed),
            (Saving, Event::HalfSaved) => NotingIntent,
            (Saving, Event::StoreFailed) => Ended(End::Unpersisted),
            (Saving, Event::OtherLogin) => Ended(End::Superseded),

            (Confirming, Event::Due | Event::Refused | Event::StoreFailed) => Ended(End::Revoked),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;
    use std::collections::HashSet;

    const STATES: [State; 20] = [
        Begun,
        Locking,
        LookingAgain,
        Reading,
        LockingCopies,
        ReadingIntent,
        NotingIntent,
        Sending,
        Saving,
        Confirming,
        Ended(End::Committed),
        Ended(End::Unpersisted),
        Ended(End::Superseded),
        Ended(End::Adopted),
        Ended(End::Deferred),
        Ended(End::Resting),
        Ended(End::Failed),
        Ended(End::Revoked),
        Ended(End::KnownRevoked),
        Ended(End::Removed),
    ];

    const EVENTS: [Event; 20] = [
        Event::MayBegin,
        Event::EndpointRests,
        Event::Locked,
        Event::Busy,
        Event::Due,
        Event::Renewed,
        Event::Refused,
        Event::Gone,
        Event::Clear,
        Event::MayBeUnderWay,
        Event::Noted,
        Event::StoreFailed,
        Event::Answered,
        Event::HalfAnswered,
        Event::Lost,
        Event::TokenRefused,
        Event::Failed,
        Event::Saved,
        Event::HalfSaved,
        Event::OtherLogin,
    ];

    /// What may come of each state, and where it leads.
    fn table() -> Vec<(State, Vec<(Event, State)>)> {
        vec![
            (
                Begun,
                vec![
                    (Event::MayBegin, Locking),
                    (Event::EndpointRests, Ended(End::Resting)),
                    (Event::Refused, Ended(End::KnownRevoked)),
                ],
            ),
            (
                Locking,
                vec![
                    (Event::Locked, Reading),
                    (Event::Busy, LookingAgain),
                    (Event::StoreFailed, LookingAgain),
                ],
            ),
            (
                LookingAgain,
                vec![
                    (Event::Due, Ended(End::Deferred)),
                    (Event::Renewed, Ended(End::Adopted)),
                    (Event::Refused, Ended(End::KnownRevoked)),
                    (Event::Gone, Ended(End::Removed)),
                    (Event::StoreFailed, Ended(End::Deferred)),
                ],
            ),
            (
                Reading,
                vec![
                    (Event::Due, LockingCopies),
                    (Event::Renewed, Ended(End::Adopted)),
                    (Event::Refused, Ended(End::KnownRevoked)),
                    (Event::Gone, Ended(End::Removed)),
                    (Event::StoreFailed, Ended(End::Deferred)),
                ],
            ),
            (
                LockingCopies,
                vec![
                    (Event::Locked, ReadingIntent),
                    (Event::Busy, Ended(End::Deferred)),
                    (Event::Renewed, Ended(End::Adopted)),
                    (Event::Gone, Ended(End::Removed)),
                    (Event::StoreFailed, Ended(End::Deferred)),
                ],
            ),
            (
                ReadingIntent,
                vec![
                    (Event::Clear, NotingIntent),
                    (Event::MayBeUnderWay, Ended(End::Deferred)),
                    (Event::StoreFailed, Ended(End::Deferred)),
                ],
            ),
            (
                NotingIntent,
                vec![
                    (Event::Noted, Sending),
                    (Event::StoreFailed, Ended(End::Deferred)),
                ],
            ),
            (
                Sending,
                vec![
                    (Event::Answered, Saving),
                    (Event::HalfAnswered, Saving),
                    (Event::Lost, NotingIntent),
                    (Event::TokenRefused, Confirming),
                    (Event::Failed, Ended(End::Failed)),
                ],
            ),
            (
                Saving,
                vec![
                    (Event::Gone, Ended(End::Removed)),
                    (Event::StoreFailed, Ended(End::Unpersisted)),
                    (Event::Saved, Ended(End::Committed)),
                    (Event::HalfSaved, NotingIntent),
                    (Event::OtherLogin, Ended(End::Superseded)),
                ],
            ),
            (
                Confirming,
                vec![
                    (Event::Due, Ended(End::Revoked)),
                    (Event::Renewed, Ended(End::Adopted)),
                    (Event::Refused, Ended(End::Revoked)),
                    (Event::Gone, Ended(End::Removed)),
                    (Event::StoreFailed, Ended(End::Revoked)),
                ],
            ),
        ]
    }

    #[test]
    fn every_state_and_event_leads_where_the_table_says() {
        let table = table();
        for state in STATES {
            let row = table.iter().find(|(from, _)| *from == state);
            for event in EVENTS {
                let expected = row.and_then(|(_, events)| {
                    let found = events.iter().find(|(known, _)| *known == event);
                    found.map(|(_, to)| *to)
                });
                assert_eq!(state.after(event), expected, "{state:?}, {event:?}");
            }
        }
    }

    #[test]
    fn the_token_is_sent_only_after_its_intent_is_noted_and_used_only_after_it_was_saved() {
        for state in STATES {
            for event in EVENTS {
                match state.after(event) {
                    Some(Sending) => assert_eq!((state, event), (NotingIntent, Event::Noted)),
                    Some(Ended(End::Committed)) => {
                        assert_eq!((state, event), (Saving, Event::Saved));
                    }
                    // No answer is dropped where the record has the grant that was refreshed.
                    Some(Ended(End::Superseded)) => assert_eq!(event, Event::OtherLogin),
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn every_state_is_reached_and_comes_to_an_end() {
        let mut reached = HashSet::from([Begun]);
        let mut news = vec![Begun];
        while let Some(state) = news.pop() {
            let next: Vec<_> = EVENTS
                .iter()
                .filter_map(|event| state.after(*event))
                .collect();
            assert_eq!(next.is_empty(), matches!(state, Ended(_)), "{state:?}");
            news.extend(next.into_iter().filter(|state| reached.insert(*state)));
        }
        assert_eq!(reached.len(), STATES.len());
    }
}
