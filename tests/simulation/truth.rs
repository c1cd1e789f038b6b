//! What is true in the world, kept apart from the code under test: tokens, lives of processes, what operators were told is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use credpool::Auth;
use parking_lot::Mutex;
use serde_json::Value;

use crate::endpoint::{Endpoint, parse, refresh_token};
use crate::files::File;
use crate::timeline::{Pid, Timeline};

pub type Shared = Arc<Mutex<Truth>>;

pub struct Truth {
    timeline: Arc<Timeline>,
    pub endpoint: Endpoint,
    pub lives: BTreeMap<Pid, Life>,
    pub records: BTreeMap<String, Expected>,
    /// Credentials that an operator has removed: what their grants had spent, and that they were over, is forgotten with them.
    pub ever_removed: BTreeSet<String>,
    /// Grants in whose place a record was given another login, or is being given one.
    pub left: BTreeSet<usize>,
    /// Grants that an editor has put into a record.
    pub put_in: BTreeSet<usize>,
    /// Grants of another program.
    pub elsewhere: BTreeSet<usize>,
    /// When a credential with a grant was last removed.
    pub grant_removed: BTreeMap<usize, Duration>,
    /// What upstreams and operators have said of a credential's cooldowns.
    pub cooldowns: BTreeMap<String, Cooldowns>,
    /// Until when the upstream limits a credential.
    pub limited: BTreeMap<String, Duration>,
    /// When the store last lost writes, or got an older copy back.
    pub lost_at: Option<Duration>,
    /// When something was last wrong with the store.
    pub troubled_at: Duration,
    /// Writes that processes have made.
    pub writes: usize,
    pub next_change: u64,
    /// Refreshes of credentials that have nothing to send.
    pub vain_refreshes: usize,
    /// When the upstream last refused a token of a process.
    pub refused: BTreeMap<Pid, Duration>,
    /// Refreshes that operators have asked for and that are under way.
    pub commanded: Vec<(Pid, String)>,
    /// When a process last got tokens of a grant for a record.
    pub renewed: BTreeMap<(Pid, String, usize), Duration>,
    /// The least time between two refreshes.
    pub gap: Duration,
    /// What was made, by name.
    pub files: BTreeMap<String, File>,
    pub made: usize,
    pub breaches: Vec<Breach>,
    pub history: Vec<String>,
}

/// A promise that did not hold.
#[derive(Clone, Debug)]
pub struct Breach {
    pub promise: &'static str,
    pub what: String,
}

#[derive(Clone, Debug, Default)]
pub struct Life {
    pub died: Option<Duration>,
    pub frozen_since: Option<Duration>,
    /// From when to when it stood still the last time.
    pub last_freeze: (Duration, Duration),
    /// It began while the store was another one.
    pub began_astray: bool,
}

/// What the store must have of a record.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub presence: Presence,
    pub fields: BTreeMap<Field, Slot>,
    /// The grant of the last login that was acknowledged; `None` for a key, and where several logins compete.
    pub grant: Option<usize>,
    pub login_change: u64,
    /// It shares its grant with another record.
    pub is_copy: bool,
    /// Since when it is so.
    pub since: Duration,
    pub presence_change: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Unclear,
    Present,
    Removed,
}

#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// `None`: two changes overlapped, or one ended in an error.
    pub value: Option<Value>,
    /// The number of the change that was acknowledged last.
    pub change: u64,
    /// When that was.
    pub at: Duration,
}

/// A member that operators change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Label,
    Disabled,
    Note,
    MaxTokens,
    BaseUrl,
    Key,
}

#[derive(Clone, Debug, Default)]
pub struct Cooldowns {
    /// The latest end that anybody was told.
    pub until: Duration,
    /// The end that was told last.
    pub last_until: Duration,
    /// When that was.
    pub told: Duration,
    /// The longest length.
    pub longest: Duration,
    /// When an operator last reset a cooldown that was known where it was reset.
    pub reset: Option<Duration>,
}

impl Field {
    pub const ALL: [Self; 6] = [
        Self::Label,
        Self::Disabled,
        Self::Note,
        Self::MaxTokens,
        Self::BaseUrl,
        Self::Key,
    ];

    /// Where it is in a stored record; in a token file of another program, metadata is the file itself.
    pub fn path(self, token_file: bool) -> &'static [&'static str] {
        match (self, token_file) {
            (Self::Label, _) => &["label"],
            (Self::Disabled, _) => &["disabled"],
            (Self::Note, false) => &["metadata", "note"],
            (Self::Note, true) => &["note"],
            (Self::MaxTokens, false) => &["metadata", "max_tokens"],
            (Self::MaxTokens, true) => &["max_tokens"],
            (Self::BaseUrl, _) => &["attributes", "base_url"],
            (Self::Key, _) => &["attributes", "api_key"],
        }
    }

    pub fn of(self, auth: &Auth) -> Value {
        let metadata = |name| {
            auth.metadata
                .as_ref()
                .and_then(|all| all.get(name))
                .cloned()
        };
        let attribute = |name| auth.attributes.get(name).map(Value::from);
        match self {
            Self::Label => Value::from(auth.label.clone()),
            Self::Disabled => Value::from(auth.disabled),
            Self::Note => metadata("note").unwrap_or_default(),
            Self::MaxTokens => metadata("max_tokens").unwrap_or_default(),
            Self::BaseUrl => attribute("base_url").unwrap_or_default(),
            Self::Key => attribute("api_key").unwrap_or_default(),
        }
    }

    pub fn set(self, auth: &mut Auth, value: &Value) {
        let text = value.as_str().unwrap_or_default();
        match self {
            Self::Label => text.clone_into(&mut auth.label),
            Self::Disabled => auth.disabled = value.as_bool().unwrap_or_default(),
            Self::Note | Self::MaxTokens => {
                let name = self.path(true)[0];
                let metadata = auth.metadata.get_or_insert_default();
                metadata.insert(name, value.clone());
            }
            Self::BaseUrl => auth.attributes.insert("base_url", text),
            Self::Key => auth.attributes.insert("api_key", text),
        }
    }
}

impl Truth {
    pub fn new(timeline: &Arc<Timeline>, endpoint: Endpoint) -> Self {
        Self {
            timeline: Arc::clone(timeline),
            endpoint,
            lives: BTreeMap::new(),
            records: BTreeMap::new(),
            cooldowns: BTreeMap::new(),
            limited: BTreeMap::new(),
            ever_removed: BTreeSet::new(),
            left: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            grant_removed: BTreeMap::new(),
            lost_at: None,
            put_in: BTreeSet::new(),
            files: BTreeMap::new(),
            made: 0,
            troubled_at: Duration::ZERO,
            writes: 0,
            next_change: 0,
            vain_refreshes: 0,
            refused: BTreeMap::new(),
            commanded: Vec::new(),
            renewed: BTreeMap::new(),
            gap: Duration::ZERO,
            breaches: Vec::new(),
            history: Vec::new(),
        }
    }

    pub fn now(&self) -> Duration {
        self.timeline.now()
    }

    pub fn tell(&mut self, pid: Pid, what: impl AsRef<str>) {
        self.note(format!("  p{pid} {}", what.as_ref()));
    }

    pub fn note(&mut self, what: impl AsRef<str>) {
        let now = self.now().as_secs_f64();
        self.history.push(format!("{now:9.3} {}", what.as_ref()));
    }

    /// Notes the first breach of each promise.
    pub fn breach(&mut self, promise: &'static str, what: impl Into<String>) {
        if self.breaches.iter().any(|known| known.promise == promise) {
            return;
        }
        let what = what.into();
        self.note(format!("  BREACH {promise}: {what}"));
        self.breaches.push(Breach { promise, what });
    }

    pub fn is_running(&self, pid: Pid) -> bool {
        let life = self.lives.get(&pid);
        life.is_some_and(|life| life.died.is_none() && life.frozen_since.is_none())
    }

    pub fn is_alive(&self, pid: Pid) -> bool {
        self.lives.get(&pid).is_some_and(|life| life.died.is_none())
    }

    /// A process has a record in its hands.
    pub fn note_known(&mut self, pid: Pid, auth: &Auth) {
        if let Some(token) = sent_token(auth).and_then(|token| self.endpoint.token(&token)) {
            token.known.insert(pid);
        }
    }

    /// A store says that a record is durable.
    pub fn note_stored(&mut self, pid: Pid, auth: &Auth) {
        let now = self.now();
        if let Some(token) = sent_token(auth).and_then(|token| self.endpoint.token(&token)) {
            token.known.insert(pid);
            token.stored.get_or_insert(now);
        }
    }

    /// The number of what begins after a change that ends now.
    fn end_of_change(&mut self) -> u64 {
        self.next_change += 1;
        self.next_change
    }

    /// A field has another value now, by a change with this number; earlier changes that end later make it unclear.
    pub fn set_field(&mut self, id: &str, field: Field, value: Value, change: u64) {
        let (now, end) = (self.now(), self.end_of_change());
        let Some(expected) = self.records.get_mut(id) else {
            return;
        };
        let slot = expected.fields.entry(field).or_default();
        slot.at = now;
        let overlaps = slot.change > change;
        slot.value = (!overlaps).then_some(value);
        slot.change = end;
    }

    /// A record is there, or removed, by a change with this number.
    pub fn set_presence(&mut self, id: &str, presence: Presence, change: u64) {
        let (now, end) = (self.now(), self.end_of_change());
        if presence == Presence::Removed {
            self.ever_removed.insert(id.to_owned());
            let grant = self.records.get(id).and_then(|expected| expected.grant);
            self.grant_removed.extend(grant.map(|grant| (grant, now)));
        }
        let Some(expected) = self.records.get(id) else {
            return;
        };
        let overlaps = expected.presence_change > change;
        if overlaps || expected.presence != Presence::Present {
            self.blur_record(id);
        }
        if let Some(expected) = self.records.get_mut(id) {
            expected.presence = if overlaps {
                Presence::Unclear
            } else {
                presence
            };
            expected.since = now;
            expected.presence_change = end;
        }
    }

    /// Tokens of a grant are given to the pool anew: what it was told of them is forgotten.
    pub fn forget_refusals(&mut self, grant: usize) {
        self.endpoint.grants[grant].refused_to.clear();
    }

    pub fn blur_field(&mut self, id: &str, field: Field) {
        let end = self.end_of_change();
        if let Some(expected) = self.records.get_mut(id) {
            let slot = expected.fields.entry(field).or_default();
            slot.value = None;
            slot.change = end;
        }
    }

    pub fn blur_record(&mut self, id: &str) {
        for field in Field::ALL {
            self.blur_field(id, field);
        }
        if let Some(expected) = self.records.get_mut(id) {
            expected.presence = Presence::Unclear;
            expected.grant = None;
        }
    }

    /// A record gets another login, from now on or at any moment.
    pub fn leave(&mut self, id: &str, for_grant: usize) {
        let grant = self.records.get(id).and_then(|expected| expected.grant);
        self.left.extend(grant.filter(|grant| *grant != for_grant));
    }

    /// A login has been acknowledged; one that overlaps another makes it unclear which one stays.
    pub fn set_login(&mut self, id: &str, grant: usize, change: u64) {
        self.leave(id, grant);
        let end = self.end_of_change();
        if let Some(expected) = self.records.get_mut(id) {
            let overlaps = expected.login_change > change;
            expected.grant = (!overlaps).then_some(grant);
            expected.login_change = end;
        }
    }

    /// The upstream or an operator has said how long a credential is out.
    pub fn cool(&mut self, id: &str, length: Duration) {
        let now = self.now();
        let cooldowns = self.cooldowns.entry(id.to_owned()).or_default();
        cooldowns.until = cooldowns.until.max(now + length);
        cooldowns.last_until = now + length;
        cooldowns.told = now;
        cooldowns.longest = cooldowns.longest.max(length);
    }

    /// The live refresh token of a record, where the login can still be alive and its last answer was received.
    pub fn live_token(&self, id: &str) -> Option<String> {
        let expected = self.records.get(id)?;
        let grant = expected.grant.filter(|_| !expected.is_copy)?;
        let live = self.endpoint.live(grant);
        let token = &self.endpoint.grants[grant].tokens[live];
        let lost = self.lost_write(grant, token.stored);
        let is_known = token.stored.is_some() && lost.is_none()
            || token.known.iter().any(|pid| self.is_alive(*pid));
        (!self.endpoint.grants[grant].revoked && is_known).then(|| refresh_token(grant, live))
    }

    /// Whether an answer with tokens has found no process that lived to store it.
    pub fn has_lost_an_answer(&self, grant: usize) -> bool {
        let tokens = self.endpoint.grants[grant].tokens.iter().skip(1);
        let mut unstored = tokens.filter(|token| token.stored.is_none());
        unstored.any(|token| !token.received.iter().any(|pid| self.is_alive(*pid)))
    }

    /// When the store lost what it had of a grant by `stored`, if it did.
    pub fn lost_write(&self, grant: usize, stored: Option<Duration>) -> Option<Duration> {
        let lost = self.lost_at.max(self.endpoint.grants[grant].lost_at);
        lost.filter(|lost| stored <= Some(*lost))
    }
}

/// The refresh token of a record.
pub fn sent_token(auth: &Auth) -> Option<String> {
    let metadata = auth.metadata.as_ref()?;
    metadata.text("refresh_token").map(str::to_owned)
}

/// How long a store that has lost writes may lack them while a process has them.
pub const REPAIRED: Duration = Duration::from_secs(15);

/// Whether a text is a refresh token of this world.
pub fn grant_of(token: &str) -> Option<usize> {
    parse("rt", token).map(|(grant, _)| grant)
}
