//! The grant (login) that a record's tokens belong to, its generation (fencing token), and its spent tokens.
//!
//! A refresh token serves once ([RFC 9700 section 4.14.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2)): an older copy of a
//! record holds a token that ends the login when it is sent again. So a record keeps digests of the tokens that its grant has spent.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Auth, Metadata, first_eight};
use crate::clock::Timestamp;

/// A digest of what a grant is renewed with: its refresh token; without one, its access token; else all its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct GrantToken(u64);

/// The tokens that a record's grants have spent, the last ones of them; the newest is the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SpentTokens {
    tokens: Option<Arc<[GrantToken]>>,
    /// How many of them, at the end, led to the tokens in use by rotation. The others belong to former logins.
    rotations: usize,
    /// As they are read: the token that was in use when they were written.
    written_for: Option<GrantToken>,
}

/// Which of two versions of a record has the newer tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NewerTokens {
    /// Both have the same.
    Neither,
    Ours,
    Theirs,
}

impl GrantToken {
    /// That of a record's tokens. `None` where there are no tokens.
    pub(crate) fn of(metadata: Option<&Metadata>) -> Option<Self> {
        let metadata = metadata?;
        let single = refresh_token(metadata).or_else(|| access_token(metadata));
        if let Some(token) = single {
            return Some(Self::digest(|hasher| hasher.update(token)));
        }
        let tokens: Vec<_> = metadata
            .iter()
            .filter(|(name, value)| is_token(name) && holds_text(value))
            .collect();
        (!tokens.is_empty()).then(|| {
            Self::digest(|hasher| {
                for (name, value) in tokens {
                    hasher.update(name);
                    hasher.update(Zeroizing::new(value.to_string()).as_bytes());
                }
            })
        })
    }

    fn digest(feed: impl FnOnce(&mut Sha256)) -> Self {
        let mut hasher = Sha256::new();
        feed(&mut hasher);
        Self(first_eight(&hasher.finalize()))
    }

    pub(crate) fn to_hex(self) -> String {
        format!("{:016x}", self.0)
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        u64::from_str_radix(text, 16).ok().map(Self)
    }
}

impl SpentTokens {
    pub(crate) fn contains(&self, token: GrantToken) -> bool {
        self.all().contains(&token)
    }

    /// A refresh has led from this token to the next one.
    fn rotate(&mut self, token: GrantToken) {
        self.push(token);
        self.rotations += 1;
    }

    /// Another login has taken the place of this token.
    fn replace(&mut self, token: GrantToken) {
        self.push(token);
        self.rotations = 0;
    }

    fn push(&mut self, token: GrantToken) {
        self.forget(token);
        let all: Vec<_> = self.all().iter().copied().chain([token]).collect();
        self.set(&all);
    }

    /// Adds what another version of the record knows, as older.
    fn join(&mut self, other: &Self) {
        if self.tokens != other.tokens {
            let older = other.all().iter().filter(|token| !self.contains(**token));
            let all: Vec<_> = older.chain(self.all()).copied().collect();
            self.set(&all);
        }
    }

    /// Whether the other's tokens in use descend from a login that has been replaced here.
    fn has_left(&self, other: &Self) -> bool {
        let former = self.former();
        other.rotated().iter().any(|token| former.contains(token))
    }

    /// A token that is in use is not spent.
    fn forget(&mut self, token: GrantToken) {
        if self.contains(token) {
            self.rotations -= usize::from(self.rotated().contains(&token));
            let others = self.all().iter().filter(|spent| **spent != token);
            let others: Vec<_> = others.copied().collect();
            self.set(&others);
        }
    }

    /// Keeps the newest of them.
    fn set(&mut self, all: &[GrantToken]) {
        let first = all.len().saturating_sub(MOST_SPENT);
        self.rotations = self.rotations.min(MOST_SPENT);
        self.tokens = (!all.is_empty()).then(|| all[first..].into());
    }

    fn all(&self) -> &[GrantToken] {
        self.tokens.as_deref().unwrap_or_default()
    }

    /// Those of former logins.
    fn former(&self) -> &[GrantToken] {
        let all = self.all();
        &all[..all.len() - self.rotated().len()]
    }

    /// Those that led to the tokens in use.
    pub(crate) fn rotated(&self) -> &[GrantToken] {
        let all = self.all();
        &all[all.len().saturating_sub(self.rotations)..]
    }

    /// Its JSON form; `None` where there are none. Nulls stand before those that led to the token in use, and before that one itself: an
    /// editor that puts another login in leaves all of them as they are.
    pub(super) fn to_json(&self, in_use: Option<GrantToken>) -> Option<Value> {
        self.tokens.as_ref()?;
        let texts = |tokens: &[GrantToken]| -> Vec<Value> {
            let texts = tokens.iter().map(|token| token.to_hex().into());
            texts.collect()
        };
        let in_use = in_use.or(self.written_for);
        let parts = [self.former(), self.rotated(), in_use.as_slice()].map(texts);
        Some(parts.join(&Value::Null).into())
    }

    pub(super) fn from_json(json: Option<&Value>) -> Self {
        let items = json.and_then(Value::as_array);
        let parts = items
            .into_iter()
            .flat_map(|items| items.split(Value::is_null));
        let mut parts = parts.map(|part| {
            let texts = part.iter().filter_map(Value::as_str);
            texts.filter_map(GrantToken::from_hex).collect::<Vec<_>>()
        });
        let mut spent = Self::default();
        let [former, rotated, in_use] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        for token in former {
            spent.push(token);
        }
        for token in rotated {
            spent.rotate(token);
        }
        spent.written_for = in_use.first().copied();
        spent
    }
}

impl Auth {
    /// What the grant of this record is renewed with.
    pub(crate) fn grant_token(&self) -> Option<GrantToken> {
        GrantToken::of(self.metadata.as_ref())
    }

    /// What a login that is over was one of: its token; where there is none, the settings that gave none.
    pub(crate) fn login_token(&self) -> GrantToken {
        let settings = || GrantToken::digest(|hasher| hasher.update(self.identity().to_hex()));
        self.grant_token().unwrap_or_else(settings)
    }

    /// Whether a refresh has led from the other record's tokens to those of this one.
    pub(crate) fn has_rotated(&self, other: &Self) -> bool {
        let token = other.grant_token();
        token.is_some_and(|token| self.spent.rotated().contains(&token))
    }

    /// Whether there is a refresh token.
    pub(crate) fn has_refresh_token(&self) -> bool {
        self.metadata
            .as_ref()
            .is_some_and(|metadata| refresh_token(metadata).is_some())
    }

    /// Whether a refresh can bring tokens by what the record itself holds, or another program's file.
    pub(crate) fn can_be_refreshed(&self) -> bool {
        self.has_refresh_token() || self.gets_own_tokens() || self.held_in().is_some()
    }

    /// Whether the credential cannot serve before a refresh: it has no access token yet, or one that has ended.
    pub(crate) fn lacks_token(&self, now: Timestamp) -> bool {
        self.awaits_first_token()
            || self.can_be_refreshed() && self.expiration_time().at().is_some_and(|end| end <= now)
    }

    /// Whether the login is known to be over: the server refused the very token that the record has, or there is none.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.is_some_and(|over| over == self.login_token())
    }

    /// Whether what is shown is the end of a login, and not of the one that the record has, as far as is known.
    pub(crate) fn shows_end_of_another_login(&self) -> bool {
        self.status_message == Self::NEEDS_LOGIN && !self.is_revoked()
    }

    /// The failure of a former refresh says nothing of new tokens.
    pub(crate) fn forget_refresh_failure(&mut self) {
        if [Self::REFRESH_FAILED, Self::NEEDS_LOGIN].contains(&self.status_message.as_str()) {
            self.last_error = None;
            self.status_message.clear();
        }
    }

    /// The status message of a record whose refresh failed.
    pub(crate) const REFRESH_FAILED: &str = "refresh failed";

    /// The status message of a record that needs a new login.
    pub(crate) const NEEDS_LOGIN: &str = "needs login";

    /// Notes that a refresh has led from `former` to the tokens in use.
    pub(super) fn note_rotation(&mut self, former: Option<GrantToken>) {
        self.note_spent(former, SpentTokens::rotate);
    }

    /// Notes that another login has taken the place of `former`, which must not come back.
    pub(super) fn note_login(&mut self, former: Option<GrantToken>) {
        self.note_spent(former, SpentTokens::replace);
    }

    fn note_spent(
        &mut self,
        former: Option<GrantToken>,
        add: impl FnOnce(&mut SpentTokens, GrantToken),
    ) {
        let now = self.grant_token();
        if let Some(former) = former.filter(|former| Some(*former) != now) {
            add(&mut self.spent, former);
        }
        if let Some(now) = now {
            self.spent.forget(now);
        }
    }

    /// Called once the record's tokens and its spent tokens are read: spent tokens that were written for other tokens mean that another
    /// login has been put in place of the former one; or, where a refresh has spent the present token, that an older copy of the tokens was.
    pub(crate) fn tell_login_from_rotation(&mut self) {
        let Some(now) = self.grant_token() else {
            return;
        };
        if let Some(former) = self.spent.written_for.take()
            && !self.spent.rotated().contains(&now)
        {
            self.note_login(Some(former).filter(|former| *former != now));
        }
    }

    /// Takes over what another version of the record, whose tokens are in use now, knows of spent tokens; `former`: the tokens that
    /// were in use before.
    pub(super) fn take_spent(&mut self, theirs: SpentTokens, former: Option<GrantToken>) {
        let mut ours = std::mem::replace(&mut self.spent, theirs);
        if let Some(former) = former {
            ours.push(former);
        }
        self.spent.join(&ours);
        if let Some(now) = self.grant_token() {
            self.spent.forget(now);
        }
    }

    /// Adds what another version of the record knows of spent tokens, whose own tokens are older or the same.
    pub(super) fn join_spent(&mut self, theirs: &SpentTokens) {
        self.spent.join(theirs);
        if let Some(now) = self.grant_token() {
            self.spent.forget(now);
        }
    }

    /// Which of this version of a record and another one has the newer tokens.
    ///
    /// A token that the other side has spent is older. Where neither knows the other's, it is another login, which takes over; unless
    /// the other version is so old that its token may be one of those which were forgotten.
    pub(crate) fn newer_tokens(&self, theirs: &Self) -> NewerTokens {
        let (ours_token, theirs_token) = (self.grant_token(), theirs.grant_token());
        if ours_token == theirs_token {
            return self.newer_of_one_grant(theirs);
        }
        // Its holder alone renews it, and may put a former one back.
        if theirs.holder().is_some() && self.holder() == theirs.holder() {
            return NewerTokens::Theirs;
        }
        let spent_here = theirs_token.is_some_and(|token| self.spent.contains(token));
        let spent_there = ours_token.is_some_and(|token| theirs.spent.contains(token));
        match (spent_here, spent_there) {
            (true, false) => NewerTokens::Ours,
            (false, true) => NewerTokens::Theirs,
            (true, true) => self.newer_by_count(theirs),
            (false, false) if theirs_token.is_none() => self.newer_by_count(theirs),
            // Theirs go back to tokens that another login has replaced here.
            (false, false) if self.spent.has_left(&theirs.spent) => NewerTokens::Ours,
            (false, false) => {
                let remembered = u64::try_from(self.spent.all().len()).unwrap_or(u64::MAX);
                let oldest = self.generation.saturating_sub(remembered);
                // A generation of 0: its writer does not count.
                if theirs.generation == 0 || theirs.generation >= oldest {
                    NewerTokens::Theirs
                } else {
                    NewerTokens::Ours
                }
            }
        }
    }

    fn newer_of_one_grant(&self, theirs: &Self) -> NewerTokens {
        let same = same_members(
            self.metadata.as_ref(),
            theirs.metadata.as_ref(),
            belongs_to_tokens,
        );
        if same {
            NewerTokens::Neither
        } else {
            self.newer_by_count(theirs)
        }
    }

    /// By the number of changes. Of two that say the same number, the stored one was changed by a writer that does not count.
    fn newer_by_count(&self, theirs: &Self) -> NewerTokens {
        if theirs.generation >= self.generation {
            NewerTokens::Theirs
        } else {
            NewerTokens::Ours
        }
    }
}

/// Whether two records have the same tokens, whenever they end.
pub(crate) fn same_tokens(one: Option<&Metadata>, other: Option<&Metadata>) -> bool {
    one == other || same_members(one, other, is_token)
}

fn same_members(
    one: Option<&Metadata>,
    other: Option<&Metadata>,
    counts: impl Fn(&str) -> bool,
) -> bool {
    fn members(metadata: Option<&Metadata>) -> impl Iterator<Item = (&str, &Value)> {
        metadata.map(Metadata::iter).into_iter().flatten()
    }
    let of = |metadata| {
        members(metadata)
            .filter(|(name, _)| counts(name))
            .collect::<Vec<_>>()
    };
    of(one) == of(other)
}

/// Whether there are any tokens.
pub(crate) fn has_tokens(metadata: Option<&Metadata>) -> bool {
    metadata.is_some_and(|metadata| metadata.iter().any(|(name, _)| is_token(name)))
}

/// Puts the tokens of `from`, and when they end, into `into`, in place of what is there.
pub(super) fn take_tokens(into: &mut Metadata, from: Option<&Metadata>) {
    let own: Vec<_> = into
        .iter()
        .map(|(name, _)| name.to_owned())
        .filter(|name| belongs_to_tokens(name))
        .collect();
    for name in own {
        into.remove(&name);
    }
    let theirs = from.map(Metadata::iter).into_iter().flatten();
    for (name, value) in theirs.filter(|(name, _)| belongs_to_tokens(name)) {
        into.insert(name, value.clone());
    }
}

/// The refresh token, at the top of the metadata or in a nested token object.
fn refresh_token(metadata: &Metadata) -> Option<&str> {
    find_text(metadata, &["refresh_token", "refreshToken"])
}

fn access_token(metadata: &Metadata) -> Option<&str> {
    find_text(metadata, &["access_token", "accessToken"])
}

fn find_text<'a>(metadata: &'a Metadata, names: &[&str]) -> Option<&'a str> {
    let top = names.iter().filter_map(|name| metadata.get(name));
    let nested = NESTED
        .iter()
        .filter_map(|object| metadata.get(object))
        .flat_map(|object| names.iter().filter_map(|name| object.get(*name)));
    top.chain(nested)
        .filter_map(Value::as_str)
        .find(|text| !text.is_empty())
}

fn holds_text(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// Whether a member of the metadata is a token. Other members whose names speak of tokens, such as `max_tokens`, are settings.
fn is_token(name: &str) -> bool {
    is_one_of(name, &TOKENS)
}

/// Whether a member of the metadata is a token, or says when the tokens end or when they came. A refresh replaces these together.
pub(super) fn belongs_to_tokens(name: &str) -> bool {
    is_token(name) || is_one_of(name, &TIMES)
}

/// Compares names as programs spell them: `refresh_token`, `refreshToken`, `Refresh-Token`.
fn is_one_of(name: &str, names: &[&str]) -> bool {
    let plain = |name: &str| {
        name.bytes()
            .filter(|byte| !matches!(byte, b'_' | b'-'))
            .map(|byte| byte.to_ascii_lowercase())
            .collect::<Vec<_>>()
    };
    let name = plain(name);
    names.iter().any(|known| known.as_bytes() == name)
}

/// How many spent tokens a record remembers.
const MOST_SPENT: usize = 32;

const NESTED: [&str; 3] = ["token", "Token", "tokens"];

const TOKENS: [&str; 12] = [
    "accesstoken",
    "refreshtoken",
    "idtoken",
    "token",
    "tokens",
    "tokentype",
    "cookie",
    "cookies",
    "secure1psid",
    "secure1psidts",
    "sessiontoken",
    "sessionkey",
];

/// When tokens end, and when they came.
const TIMES: [&str; 9] = [
    "expired",
    "expire",
    "expiresat",
    "expiry",
    "expires",
    "expiresin",
    "expirydate",
    "lastrefresh",
    "lastrefreshedat",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(value: Value) -> Metadata {
        let Value::Object(map) = value else {
            panic!("metadata is an object");
        };
        map.into()
    }

    fn login(generation: u64, token: &str, spent: &[&str]) -> Auth {
        let mut auth = Auth::new("p").with_metadata("refresh_token", token);
        auth.generation = generation;
        for spent in spent {
            let id = login(0, spent, &[]).grant_token().unwrap();
            auth.spent.rotate(id);
        }
        auth
    }

    #[test]
    fn tokens_are_told_from_settings_by_exact_names() {
        for name in [
            "access_token",
            "refreshToken",
            "id_token",
            "Token",
            "token_type",
            "cookie",
            "__Secure-1PSIDTS",
            "secure_1psid",
        ] {
            assert!(is_token(name) && belongs_to_tokens(name), "{name}");
        }
        for name in [
            "expires_at",
            "expiry_date",
            "last_refresh",
            "lastRefreshedAt",
        ] {
            assert!(!is_token(name) && belongs_to_tokens(name), "{name}");
        }
        for name in [
            "max_tokens",
            "token_limit",
            "tokens_used",
            "token_url",
            "token_uri",
            "token_endpoint",
            "email",
            "note",
            "scope",
        ] {
            assert!(!belongs_to_tokens(name), "{name}");
        }
    }

    #[test]
    fn a_grant_is_known_by_its_refresh_token_wherever_it_is() {
        let of = |value| GrantToken::of(Some(&metadata(value)));
        let top = of(json!({"refresh_token": "r", "access_token": "a"}));
        assert_eq!(
            top,
            of(json!({"token": {"refreshToken": "r"}, "expiry": 3}))
        );
        assert_ne!(top, of(json!({"refresh_token": "s", "access_token": "a"})));
        assert_ne!(top, of(json!({"access_token": "a"})));
        assert_eq!(of(json!({"refresh_token": "", "max_tokens": 7})), None);
        assert!(of(json!({"cookie": "c"})).is_some());
        assert_eq!(of(json!({"cookie": null, "expires_at": 5})), None);
    }

    #[test]
    fn spent_tokens_are_older_and_others_are_another_login() {
        let newer = |ours: &Auth, theirs: &Auth| ours.newer_tokens(theirs);
        let ours = login(3, "r3", &["r1", "r2"]);
        // An old buffer, whatever it says of its generation.
        for generation in [0, 1, 2, 3, 9] {
            assert_eq!(
                newer(&ours, &login(generation, "r2", &["r1"])),
                NewerTokens::Ours
            );
        }
        let rotated = login(4, "r4", &["r1", "r2", "r3"]);
        assert_eq!(newer(&ours, &rotated), NewerTokens::Theirs);
        for generation in [0, 1, 3, 4] {
            let other = login(generation, "another", &[]);
            assert_eq!(newer(&ours, &other), NewerTokens::Theirs, "{generation}");
        }
        assert_eq!(newer(&ours, &login(3, "r3", &[])), NewerTokens::Neither);
    }

    #[test]
    fn a_copy_older_than_what_is_remembered_is_no_other_login() {
        let mut ours = login(100, "r100", &[]);
        for number in 60..100 {
            let token = login(0, &format!("r{number}"), &[]).grant_token();
            ours.spent.rotate(token.unwrap());
        }
        assert_eq!(ours.spent.all().len(), MOST_SPENT);
        let copy = |generation| login(generation, "r1", &[]);
        assert_eq!(ours.newer_tokens(&copy(67)), NewerTokens::Ours);
        assert_eq!(ours.newer_tokens(&copy(68)), NewerTokens::Theirs);
    }

    #[test]
    fn of_one_grant_the_count_decides() {
        let with = |generation, access: &str| {
            login(generation, "r", &[]).with_metadata("access_token", access)
        };
        let ours = with(3, "a");
        assert_eq!(ours.newer_tokens(&with(2, "b")), NewerTokens::Ours);
        assert_eq!(ours.newer_tokens(&with(3, "b")), NewerTokens::Theirs);
        assert_eq!(ours.newer_tokens(&with(2, "a")), NewerTokens::Neither);
        let edited = with(3, "a").with_metadata("expires_at", 5);
        assert_eq!(ours.newer_tokens(&edited), NewerTokens::Theirs);
    }

    #[test]
    fn tokens_of_former_logins_are_told_from_those_that_were_rotated() {
        let token = |text: &str| login(0, text, &[]).grant_token().unwrap();
        let mut auth = login(3, "r2", &["r0", "r1"]);
        assert_eq!(auth.spent.rotated(), [token("r0"), token("r1")]);
        auth = auth.with_metadata("refresh_token", "s0");
        auth.note_login(Some(token("r2")));
        assert!(auth.spent.rotated().is_empty() && auth.spent.contains(token("r2")));
        auth = auth.with_metadata("refresh_token", "s1");
        auth.note_rotation(Some(token("s0")));
        assert_eq!(auth.spent.rotated(), [token("s0")]);
        // Another process's version, as it is merged into a former one.
        let mut former = login(3, "r2", &["r0", "r1"]);
        former.metadata.clone_from(&auth.metadata);
        former.take_spent(auth.spent.clone(), Some(token("r2")));
        assert_eq!(former.spent.rotated(), [token("s0")]);
        assert!(
            ["r0", "r1", "r2"]
                .iter()
                .all(|spent| former.spent.contains(token(spent)))
        );
        let json = auth.spent.to_json(None);
        assert_eq!(SpentTokens::from_json(json.as_ref()), auth.spent);
    }

    #[test]
    fn another_login_that_an_editor_puts_in_is_no_rotation() {
        let token = |text: &str| login(0, text, &[]).grant_token().unwrap();
        let auth = login(3, "r2", &["r0", "r1"]);
        let mut text = serde_json::to_value(&auth).unwrap();
        let read = |text: &Value| serde_json::from_value::<Auth>(text.clone()).unwrap();
        assert_eq!(read(&text).spent, auth.spent);
        text["metadata"]["refresh_token"] = "s0".into();
        let edited = read(&text);
        assert!(edited.spent.rotated().is_empty());
        assert!(
            ["r0", "r1", "r2"]
                .map(token)
                .iter()
                .all(|spent| edited.spent.contains(*spent))
        );
        // As a copy of the former login is told from this one, and what a process makes of the former one.
        assert!(!edited.has_rotated(&login(1, "r1", &[])));
        let late = login(4, "r3", &["r0", "r1", "r2"]);
        assert_eq!(edited.newer_tokens(&late), NewerTokens::Ours);
        assert_eq!(late.newer_tokens(&edited), NewerTokens::Theirs);
        // An older text, into which a third login has been put.
        let mut older = serde_json::to_value(login(2, "r1", &["r0"])).unwrap();
        older["metadata"]["refresh_token"] = "t0".into();
        assert_eq!(edited.newer_tokens(&read(&older)), NewerTokens::Theirs);
    }

    #[test]
    fn spent_tokens_read_as_they_were_written() {
        let auth = login(3, "r3", &["r1", "r2"]);
        let json = auth.spent.to_json(None);
        assert_eq!(SpentTokens::from_json(json.as_ref()), auth.spent);
        assert_eq!(SpentTokens::default().to_json(None), None);
        for odd in [json!("x"), json!([1, null, "zz"]), json!({})] {
            assert_eq!(SpentTokens::from_json(Some(&odd)), SpentTokens::default());
        }
    }
}
