//! The session table: the primary and the fallback credential of each session.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use crate::clock::{Timestamp, until};
use crate::selection::conversation::ConversationKey;

type Map<K, V> = HashMap<K, V, RandomState>;

/// The sessions of one provider. Of more than 100,000 keys, those that were not used for the longest time are forgotten.
#[derive(Default)]
pub(super) struct Sessions {
    named: Map<Arc<str>, Entry>,
    conversations: Map<ConversationKey, Entry>,
    by_number: Map<SessionNumber, Session>,
    /// How many sessions have begun.
    begun: SessionNumber,
    members: Map<Arc<str>, Arc<Member>>,
    /// All keys, with the time of a use: an earlier use never stands behind a later one.
    by_use: VecDeque<(Timestamp, Key)>,
    /// Sessions whose home is there.
    settled: usize,
}

/// What a session is known by.
#[derive(Clone, Debug)]
pub(super) enum Key {
    Named(Arc<str>),
    Conversation(ConversationKey),
}

/// Where a session is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) home: Arc<str>,
    /// The credential that served it last while its home could not.
    pub(super) away: Option<Arc<str>>,
}

pub(super) type SessionNumber = u64;

type Numbers = SmallVec<[SessionNumber; 1]>;

struct Entry {
    sessions: Numbers,
    used: Timestamp,
}

struct Session {
    home: Arc<Member>,
    away: Option<Arc<Member>>,
    /// How many keys lead to it.
    keys: u32,
    /// Its home was picked, and has not served it yet.
    reserved: bool,
}

/// A credential that is, or was, the home of a session or its place away from home.
struct Member {
    id: Arc<str>,
    /// Sessions whose home it is.
    held: AtomicUsize,
    gone: AtomicBool,
}

impl Sessions {
    /// The session that a key leads to. A key that leads to sessions with different homes says nothing.
    pub(super) fn find(
        &mut self,
        name: Option<&str>,
        conversations: &[ConversationKey],
        now: Timestamp,
        expiry: Duration,
    ) -> Option<(SessionNumber, Place)> {
        let named = name.and_then(|name| self.named.get_mut(name));
        if let Some(number) = named.and_then(|entry| entry.look(now, expiry)) {
            return Some((number, self.place(number)?));
        }
        for key in conversations {
            let entry = self.conversations.get_mut(key);
            let Some(first) = entry.and_then(|entry| entry.look(now, expiry)) else {
                continue;
            };
            let Some(place) = self.place(first) else {
                continue;
            };
            let all = self.conversations[key].sessions.clone();
            let agrees = |other: &SessionNumber| {
                let other = self.place(*other);
                other.is_none_or(|other| other.home == place.home)
            };
            if all.iter().all(agrees) {
                return Some((first, place));
            }
        }
        None
    }

    /// Where a session is served. `None` when neither its home nor another one that served it is there any more.
    fn place(&mut self, number: SessionNumber) -> Option<Place> {
        let session = self.by_number.get(&number)?;
        let away = session.away.as_ref().filter(|away| !away.is_gone());
        if session.home.is_gone() {
            // Where it was served since is its home now.
            let away = Arc::clone(away?);
            self.move_home(number, away);
            return self.place(number);
        }
        Some(Place {
            home: Arc::clone(&session.home.id),
            away: away.map(|away| Arc::clone(&away.id)),
        })
    }

    /// Begins a session of which nothing is known yet.
    pub(super) fn begin(&mut self, home: &str, reserved: bool) -> SessionNumber {
        let home = self.member(home);
        self.settle(&home);
        let session = Session {
            home,
            away: None,
            keys: 0,
            reserved,
        };
        self.begun += 1;
        self.by_number.insert(self.begun, session);
        self.begun
    }

    /// Notes the credential that has served a session. One whose home has not served it yet is at home there, if that one holds less than
    /// `most`.
    pub(super) fn served(&mut self, number: SessionNumber, id: &str, most: usize) {
        let member = self.member(id);
        let has_room = member.held() < most;
        let Some(session) = self.by_number.get_mut(&number) else {
            return;
        };
        if Arc::ptr_eq(&session.home, &member) {
            session.reserved = false;
        } else if std::mem::take(&mut session.reserved) && has_room {
            self.move_home(number, member);
        } else {
            session.away = Some(member);
        }
    }

    /// Ends a session whose home was picked for it and could not serve it.
    pub(super) fn give_up(&mut self, name: &str, id: &str) {
        let Some(entry) = self.named.get_mut(name) else {
            return;
        };
        let is_given_up = entry.sessions.iter().any(|number| {
            let session = self.by_number.get(number);
            session.is_some_and(|session| session.reserved && *session.home.id == *id)
        });
        if is_given_up {
            let led_to = std::mem::take(&mut entry.sessions);
            self.lead_no_more(led_to);
        }
    }

    /// Leads a name to a session, and to no other.
    pub(super) fn name(&mut self, name: &str, number: SessionNumber, now: Timestamp) {
        if let Some(entry) = self.named.get_mut(name) {
            entry.used = now;
            if entry.sessions[..] == [number] {
                return;
            }
            let former = std::mem::replace(entry, Entry::to(number, now));
            self.lead_no_more(former.sessions);
        } else {
            let name: Arc<str> = name.into();
            self.by_use.push_back((now, Key::Named(Arc::clone(&name))));
            self.named.insert(name, Entry::to(number, now));
        }
        self.key_leads_to(number);
    }

    /// Leads a conversation to a session, too.
    pub(super) fn converse(&mut self, key: ConversationKey, number: SessionNumber, now: Timestamp) {
        if let Some(entry) = self.conversations.get_mut(&key) {
            entry.used = now;
            if entry.sessions.contains(&number) || entry.sessions.len() >= MOST_SESSIONS {
                return;
            }
            entry.sessions.push(number);
        } else {
            self.by_use.push_back((now, Key::Conversation(key)));
            self.conversations.insert(key, Entry::to(number, now));
        }
        self.key_leads_to(number);
    }

    /// Forgets keys that have expired, and the oldest of too many; a few at a time.
    pub(super) fn tidy(&mut self, now: Timestamp, expiry: Duration) {
        let mut looks = 0;
        while let Some((noted, key)) = self.by_use.front() {
            let too_many = self.by_use.len() > MOST_KEYS;
            looks += 1;
            if looks > LOOKS && !too_many {
                return;
            }
            let used = self.used(key);
            match used {
                Some(used) if used > *noted && !is_over(used, now, expiry) => {
                    let used_again = self.by_use.pop_front().map(|(_, key)| (used, key));
                    self.by_use.extend(used_again);
                }
                Some(used) if !is_over(used, now, expiry) && !too_many => return,
                _ => {
                    let Some((_, key)) = self.by_use.pop_front() else {
                        return;
                    };
                    let entry = match &key {
                        Key::Named(name) => self.named.remove(name),
                        Key::Conversation(key) => self.conversations.remove(key),
                    };
                    if let Some(entry) = entry {
                        self.lead_no_more(entry.sessions);
                    }
                }
            }
        }
    }

    /// A credential that is there no more; one that comes later with its id is another one.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(member) = self.members.remove(id) {
            member.gone.store(true, Ordering::Relaxed);
            self.settled -= member.held();
        }
    }

    /// How many sessions have their home with a credential.
    pub(super) fn held(&self, id: &str) -> usize {
        self.members.get(id).map_or(0, |member| member.held())
    }

    /// How many sessions there are, without those whose home has gone.
    pub(super) fn len(&self) -> usize {
        self.settled
    }

    fn used(&self, key: &Key) -> Option<Timestamp> {
        let entry = match key {
            Key::Named(name) => self.named.get(name),
            Key::Conversation(key) => self.conversations.get(key),
        };
        entry.map(|entry| entry.used)
    }

    /// A key leads to these no more; those that no key leads to end.
    fn lead_no_more(&mut self, led_to: Numbers) {
        for number in led_to {
            let Some(session) = self.by_number.get_mut(&number) else {
                continue;
            };
            session.keys -= 1;
            if session.keys == 0
                && let Some(session) = self.by_number.remove(&number)
            {
                self.unsettle(&session.home);
            }
        }
    }

    fn key_leads_to(&mut self, number: SessionNumber) {
        if let Some(session) = self.by_number.get_mut(&number) {
            session.keys += 1;
        }
    }

    fn member(&mut self, id: &str) -> Arc<Member> {
        if let Some(member) = self.members.get(id) {
            return Arc::clone(member);
        }
        let id: Arc<str> = id.into();
        let member = Arc::new(Member {
            id: Arc::clone(&id),
            held: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
        });
        self.members.insert(id, Arc::clone(&member));
        member
    }

    fn settle(&mut self, home: &Member) {
        home.held.fetch_add(1, Ordering::Relaxed);
        self.settled += usize::from(!home.is_gone());
    }

    fn unsettle(&mut self, home: &Member) {
        home.held.fetch_sub(1, Ordering::Relaxed);
        self.settled -= usize::from(!home.is_gone());
    }

    fn move_home(&mut self, number: SessionNumber, home: Arc<Member>) {
        self.settle(&home);
        if let Some(session) = self.by_number.get_mut(&number) {
            session.away = None;
            let former = std::mem::replace(&mut session.home, home);
            self.unsettle(&former);
        }
    }
}

impl Entry {
    fn to(number: SessionNumber, now: Timestamp) -> Self {
        Self {
            sessions: SmallVec::from_slice(&[number]),
            used: now,
        }
    }

    /// The first session, if the key has not expired; that is a use.
    fn look(&mut self, now: Timestamp, expiry: Duration) -> Option<SessionNumber> {
        if is_over(self.used, now, expiry) {
            return None;
        }
        self.used = now;
        self.sessions.first().copied()
    }
}

impl Member {
    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

fn is_over(used: Timestamp, now: Timestamp, expiry: Duration) -> bool {
    until(used, now) >= expiry
}

const MOST_KEYS: usize = 100_000;

/// A key that many sessions share says nothing however many more come.
const MOST_SESSIONS: usize = 8;

/// How many keys a call looks at to forget them.
const LOOKS: usize = 16;

#[cfg(test)]
mod tests {
    use time::macros::utc_datetime;

    use super::*;

    const START: Timestamp = utc_datetime!(2025-06-01 12:00);
    const HOUR: Duration = Duration::from_secs(3600);

    fn key(n: u8) -> ConversationKey {
        ConversationKey::from_bytes([n; 16])
    }

    fn home(sessions: &mut Sessions, n: u8) -> Option<String> {
        let found = sessions.find(None, &[key(n)], START, HOUR);
        found.map(|(_, place)| place.home.to_string())
    }

    #[test]
    fn a_key_with_two_homes_says_nothing_until_one_goes() {
        let mut sessions = Sessions::default();
        for id in ["a", "b", "b"] {
            let number = sessions.begin(id, false);
            sessions.converse(key(1), number, START);
            sessions.converse(key(1), number, START);
            if id == "a" {
                assert_eq!(home(&mut sessions, 1).as_deref(), Some("a"));
            } else {
                assert_eq!(home(&mut sessions, 1), None);
            }
        }
        assert_eq!((sessions.held("b"), sessions.len()), (2, 3));
        sessions.forget("b");
        assert_eq!((sessions.held("b"), sessions.len()), (0, 1));
        assert_eq!(home(&mut sessions, 1).as_deref(), Some("a"));
        sessions.begin("b", false);
        assert_eq!(sessions.held("b"), 1);
    }

    #[test]
    fn who_served_it_since_inherits_a_session() {
        let mut sessions = Sessions::default();
        let number = sessions.begin("a", false);
        sessions.converse(key(1), number, START);
        sessions.served(number, "b", 1);
        let place = sessions.find(None, &[key(1)], START, HOUR).unwrap().1;
        assert_eq!((&*place.home, place.away.as_deref()), ("a", Some("b")));
        assert_eq!((sessions.held("a"), sessions.held("b")), (1, 0));
        sessions.forget("a");
        assert_eq!(home(&mut sessions, 1).as_deref(), Some("b"));
        assert_eq!((sessions.held("b"), sessions.len()), (1, 1));
        sessions.forget("b");
        assert_eq!(home(&mut sessions, 1), None);
    }

    #[test]
    fn a_reserved_home_is_the_one_that_serves_first() {
        let mut sessions = Sessions::default();
        let number = sessions.begin("a", true);
        sessions.name("s", number, START);
        sessions.give_up("s", "b");
        sessions.served(number, "b", 1);
        let place = |sessions: &mut Sessions| sessions.find(Some("s"), &[], START, HOUR);
        assert_eq!(&*place(&mut sessions).unwrap().1.home, "b");
        sessions.give_up("s", "b");
        assert!(place(&mut sessions).is_some(), "it has served");
        let number = sessions.begin("c", true);
        sessions.name("s", number, START);
        assert_eq!((sessions.held("b"), sessions.len()), (0, 1));
        sessions.give_up("s", "c");
        assert!(place(&mut sessions).is_none());
        assert_eq!((sessions.held("c"), sessions.len()), (0, 0));
    }

    #[test]
    fn what_is_not_used_expires_and_what_is_used_stays() {
        let mut sessions = Sessions::default();
        for name in ["a", "b"] {
            let number = sessions.begin("home", false);
            sessions.name(name, number, START);
        }
        let half = START + HOUR / 2;
        assert!(sessions.find(Some("a"), &[], half, HOUR).is_some());
        let end = START + HOUR;
        sessions.tidy(end - Duration::from_secs(1), HOUR);
        assert_eq!(sessions.len(), 2);
        assert!(sessions.find(Some("b"), &[], end, HOUR).is_none());
        sessions.tidy(end, HOUR);
        assert_eq!((sessions.len(), sessions.held("home")), (1, 1));
        sessions.tidy(half + HOUR, HOUR);
        assert_eq!((sessions.len(), sessions.held("home")), (0, 0));
        assert!(sessions.by_number.is_empty() && sessions.by_use.is_empty());
    }

    #[test]
    fn the_oldest_of_too_many_make_room() {
        let mut sessions = Sessions::default();
        for n in 0..=MOST_KEYS {
            let number = sessions.begin("a", false);
            sessions.name(&n.to_string(), number, START);
            if n == 1000 {
                sessions.find(Some("0"), &[], START + HOUR / 2, HOUR);
            }
            sessions.tidy(START, HOUR);
        }
        let mut is_known = |n: usize| {
            let found = sessions.find(Some(&n.to_string()), &[], START, HOUR);
            found.is_some()
        };
        assert!(is_known(0) && !is_known(1) && is_known(2) && is_known(MOST_KEYS));
        assert_eq!(
            (sessions.len(), sessions.named.len()),
            (MOST_KEYS, MOST_KEYS)
        );
    }
}
