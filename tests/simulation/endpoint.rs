//! The token endpoint: strict rotation with revocation of the whole family on replay (RFC 9700 section 4.14.2), and the ways in
//! which an answer fails to come.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::exchanges::{self, Exchanged};
use crate::timeline::Pid;
use crate::truth::{Shared, Truth};

/// What the endpoint does with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Answers after a while.
    Answer(Duration),
    /// The request never arrives; the client learns of it after a while.
    LostBefore(Duration),
    /// The tokens are rotated, and the connection breaks.
    LostAfter(Duration),
    /// HTTP 503.
    Unavailable,
    /// HTTP 429, with a Retry-After.
    TooMany(Duration),
    /// An answer that says nothing of a lifetime, or something odd.
    Lifetime(Lifetime),
}

/// What an answer says of the lifetime of its access token, in seconds, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime(pub Option<u64>);

/// What the client gets.
#[derive(Clone, Debug)]
pub enum Reply {
    Tokens {
        access: String,
        refresh: String,
        lifetime: Option<u64>,
    },
    Revoked,
    Unavailable,
    TooMany(Duration),
    Broken,
}

/// All grants, and how the endpoint treats them.
#[derive(Debug)]
pub struct Endpoint {
    pub grants: Vec<Grant>,
    /// For how long a spent token is forgiven, and answered with the present ones.
    pub leeway: Option<Duration>,
    pub lifetime: Duration,
    pub usual: Mood,
    /// For the next requests, the first for the next one.
    pub moods: VecDeque<Mood>,
    /// Those of the workload, which needs no grant.
    pub exchanges: Vec<Exchanged>,
    /// Requests that a process has sent and that have not ended.
    pub under_way: Vec<UnderWay>,
    next_number: u64,
    pub requests: usize,
    /// When the last request ended.
    pub departed: Duration,
}

/// One login at the provider.
#[derive(Debug, Default)]
pub struct Grant {
    pub revoked: bool,
    /// The provider has revoked it by itself.
    pub by_provider: bool,
    /// The last of its tokens is the live one.
    pub tokens: Vec<Token>,
    /// When the store lost a write of its records, or got an older copy back.
    pub lost_at: Option<Duration>,
    /// A process stood still for longer than any promise reaches, with a request under way.
    pub beyond_bound: bool,
    /// A process has heard that the login is over.
    pub refused_to: BTreeSet<(Pid, usize)>,
}

/// A refresh token, and the access token that came with it.
#[derive(Debug, Default)]
pub struct Token {
    pub issued: Duration,
    pub ends: Duration,
    /// The processes that got it from the endpoint, while they lived.
    pub received: BTreeSet<Pid>,
    /// The processes that have had it in memory.
    pub known: BTreeSet<Pid>,
    /// When a store first had it.
    pub stored: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct UnderWay {
    pub number: u64,
    pub pid: Pid,
    pub grant: usize,
    pub since: Duration,
}

/// The answer that is on its way, and when it arrives.
pub struct Answer {
    pub number: u64,
    pub after: Duration,
    pub reply: Reply,
}

impl Endpoint {
    pub fn new(leeway: Option<Duration>, lifetime: Duration, usual: Mood) -> Self {
        Self {
            grants: Vec::new(),
            exchanges: Vec::new(),
            leeway,
            lifetime,
            usual,
            moods: VecDeque::new(),
            under_way: Vec::new(),
            next_number: 0,
            requests: 0,
            departed: Duration::ZERO,
        }
    }

    /// A new login, as a person makes one in a browser.
    pub fn log_in(&mut self, now: Duration) -> usize {
        self.grants.push(Grant::default());
        let grant = self.grants.len() - 1;
        self.issue(grant, now, self.lifetime);
        grant
    }

    /// The next tokens of a grant.
    pub fn issue(&mut self, grant: usize, now: Duration, lifetime: Duration) {
        self.grants[grant].tokens.push(Token {
            issued: now,
            ends: now + lifetime,
            ..Token::default()
        });
    }

    /// Whether no request is under way.
    pub fn is_quiet(&self) -> bool {
        self.under_way.is_empty() && self.exchanges.iter().all(Exchanged::is_over)
    }

    /// The number of the live token of a grant.
    pub fn live(&self, grant: usize) -> usize {
        self.grants[grant].tokens.len() - 1
    }

    /// Whether an access token is good.
    pub fn serves(&self, access: &str, now: Duration) -> bool {
        if let Some((number, _)) = parse("wt", access) {
            return exchanges::serves(&self.exchanges, number, now);
        }
        parse("at", access).is_some_and(|(grant, number)| {
            let grant = &self.grants[grant];
            !grant.revoked && now < grant.tokens[number].ends
        })
    }

    pub fn token(&mut self, refresh: &str) -> Option<&mut Token> {
        let (grant, number) = parse("rt", refresh)?;
        self.grants.get_mut(grant)?.tokens.get_mut(number)
    }
}

pub fn refresh_token(grant: usize, number: usize) -> String {
    format!("rt-{grant}-{number}")
}

pub fn access_token(grant: usize, number: usize) -> String {
    format!("at-{grant}-{number}")
}

/// The grant of a token, and the token's number in it.
pub fn parse(kind: &str, token: &str) -> Option<(usize, usize)> {
    let mut parts = token.split('-');
    let grant = (parts.next()? == kind).then(|| parts.next())??;
    Some((grant.parse().ok()?, parts.next()?.parse().ok()?))
}

/// A refresh request arrives.
pub fn arrive(truth: &Shared, now: Duration, pid: Pid, id: &str, refresh: &str) -> Answer {
    let mut truth = truth.lock();
    let Truth { endpoint, .. } = &mut *truth;
    let mood = endpoint.moods.pop_front().unwrap_or(endpoint.usual);
    let number = endpoint.next_number;
    endpoint.next_number += 1;
    endpoint.requests += 1;
    truth.tell(pid, format!("sends {refresh} of {id} ({mood:?})"));
    let Some((grant, sent)) = parse("rt", refresh) else {
        return Answer {
            number,
            after: Duration::ZERO,
            reply: Reply::Revoked,
        };
    };
    truth.check_request(pid, id, grant, sent);
    truth.endpoint.under_way.push(UnderWay {
        number,
        pid,
        grant,
        since: now,
    });
    let (after, reply) = respond(&mut truth.endpoint, now, mood, (grant, sent));
    if truth.endpoint.grants[grant].revoked && matches!(reply, Reply::Revoked) {
        truth.tell(pid, format!("grant {grant} is revoked"));
    }
    Answer {
        number,
        after,
        reply,
    }
}

fn respond(
    endpoint: &mut Endpoint,
    now: Duration,
    mood: Mood,
    token: (usize, usize),
) -> (Duration, Reply) {
    let short = Duration::from_millis(100);
    match mood {
        Mood::Answer(after) => {
            let lifetime = endpoint.lifetime;
            (after, rotate(endpoint, now, token, lifetime, None))
        }
        Mood::Lifetime(odd) => {
            let lifetime = endpoint.lifetime;
            (short, rotate(endpoint, now, token, lifetime, Some(odd)))
        }
        Mood::LostBefore(after) => (after, Reply::Broken),
        Mood::LostAfter(after) => {
            let lifetime = endpoint.lifetime;
            rotate(endpoint, now, token, lifetime, None);
            (after, Reply::Broken)
        }
        Mood::Unavailable => (short, Reply::Unavailable),
        Mood::TooMany(wait) => (short, Reply::TooMany(wait)),
    }
}

fn rotate(
    endpoint: &mut Endpoint,
    now: Duration,
    (grant, sent): (usize, usize),
    lifetime: Duration,
    odd: Option<Lifetime>,
) -> Reply {
    let live = endpoint.live(grant);
    if endpoint.grants[grant].revoked {
        return Reply::Revoked;
    }
    if sent == live {
        endpoint.issue(grant, now, lifetime);
    } else {
        let spent_at = endpoint.grants[grant].tokens[sent + 1].issued;
        let forgiven = endpoint
            .leeway
            .is_some_and(|leeway| now <= spent_at + leeway);
        if !forgiven || sent + 1 != live {
            endpoint.grants[grant].revoked = true;
            return Reply::Revoked;
        }
    }
    let live = endpoint.live(grant);
    let left = endpoint.grants[grant].tokens[live].ends.saturating_sub(now);
    Reply::Tokens {
        access: access_token(grant, live),
        refresh: refresh_token(grant, live),
        lifetime: odd.map_or(Some(left.as_secs()), |odd| odd.0),
    }
}

/// The answer has reached its process, or the process has died before it did.
pub fn depart(truth: &Shared, pid: Pid, answer: &Answer, (id, refresh): (&str, &str), alive: bool) {
    let mut truth = truth.lock();
    let now = truth.now();
    truth.endpoint.departed = now;
    let requests = &mut truth.endpoint.under_way;
    requests.retain(|request| request.number != answer.number);
    if !alive {
        truth.tell(pid, format!("the answer to {refresh} finds no process"));
        return;
    }
    match &answer.reply {
        Reply::Tokens { refresh: new, .. } => {
            truth.tell(pid, format!("receives {new}"));
            if let Some((grant, _)) = parse("rt", new) {
                truth.renewed.insert((pid, id.to_owned(), grant), now);
            }
            if let Some(token) = truth.endpoint.token(new) {
                token.received.insert(pid);
                token.known.insert(pid);
            }
        }
        reply => truth.tell(pid, format!("receives {reply:?} for {refresh}")),
    }
    if let (Reply::Revoked, Some((grant, sent))) = (&answer.reply, parse("rt", refresh)) {
        truth.endpoint.grants[grant].refused_to.insert((pid, sent));
    }
}

#[test]
fn a_spent_token_revokes_its_grant_unless_it_is_forgiven() {
    let second = Duration::from_secs(1);
    let endpoint = |leeway| {
        let mut endpoint = Endpoint::new(leeway, 60 * second, Mood::Answer(second));
        let grant = endpoint.log_in(Duration::ZERO);
        (endpoint, grant)
    };
    let send =
        |endpoint: &mut Endpoint, now, token| rotate(endpoint, now, token, 60 * second, None);
    let (mut strict, grant) = endpoint(None);
    assert!(matches!(
        send(&mut strict, second, (grant, 0)),
        Reply::Tokens { .. }
    ));
    assert!(strict.serves(&access_token(grant, 1), second));
    assert!(matches!(
        send(&mut strict, second, (grant, 0)),
        Reply::Revoked
    ));
    assert!(matches!(
        send(&mut strict, second, (grant, 1)),
        Reply::Revoked
    ));
    assert!(!strict.serves(&access_token(grant, 1), second));

    let (mut mild, grant) = endpoint(Some(10 * second));
    send(&mut mild, second, (grant, 0));
    let again = send(&mut mild, 11 * second, (grant, 0));
    assert!(matches!(again, Reply::Tokens { refresh, .. } if refresh == refresh_token(grant, 1)));
    assert!(matches!(
        send(&mut mild, 12 * second, (grant, 0)),
        Reply::Revoked
    ));
}
