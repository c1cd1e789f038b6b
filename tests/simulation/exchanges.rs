//! Exchanges of a workload's identity for access tokens, beside the refreshes of logins.

use std::time::Duration;

use credpool::{Auth, Exchange, SubjectToken};

use crate::endpoint::{Answer, Mood, Reply};
use crate::executor::PROVIDER;
use crate::timeline::Pid;
use crate::truth::{Shared, Truth};

/// An exchange that the server was asked for.
#[derive(Debug)]
pub struct Exchanged {
    pid: Pid,
    since: Duration,
    is_over: bool,
    /// When its token ends.
    ends: Duration,
}

impl Exchanged {
    pub fn is_over(&self) -> bool {
        self.is_over
    }
}

/// The record of the workload.
pub fn workload() -> Auth {
    let exchange = Exchange::token_exchange("https://sts.example/token", SubjectToken::callback());
    Auth::workload(PROVIDER, exchange)
        .with_id(WORKLOAD)
        .with_label("configured")
        .with_attribute("base_url", "https://configured.example")
}

pub fn is_exchanged(auth: &Auth) -> bool {
    let metadata = auth.metadata.as_ref();
    metadata.is_some_and(|metadata| metadata.get("exchange").is_some())
}

/// An exchange is asked for.
pub fn arrive(truth: &Shared, now: Duration, pid: Pid, id: &str) -> Answer {
    let mut truth = truth.lock();
    let mood = truth
        .endpoint
        .moods
        .pop_front()
        .unwrap_or(truth.endpoint.usual);
    truth.tell(pid, format!("exchanges for {id} ({mood:?})"));
    truth.at_most_one_exchange_at_a_time(pid, now);
    truth.refreshes_of_a_credential_keep_their_distance(pid, id, NO_GRANT);
    let endpoint = &mut truth.endpoint;
    endpoint.requests += 1;
    let lifetime = endpoint.lifetime;
    let number = endpoint.exchanges.len();
    endpoint.exchanges.push(Exchanged {
        pid,
        since: now,
        is_over: false,
        ends: now + lifetime,
    });
    let tokens = |lifetime| Reply::Tokens {
        access: format!("wt-{number}-0"),
        refresh: String::new(),
        lifetime,
    };
    let short = Duration::from_millis(100);
    let (after, reply) = match mood {
        Mood::Answer(after) => (after, tokens(Some(lifetime.as_secs()))),
        Mood::Lifetime(odd) => (short, tokens(odd.0)),
        Mood::LostBefore(after) | Mood::LostAfter(after) => (after, Reply::Broken),
        Mood::Unavailable => (short, Reply::Unavailable),
        Mood::TooMany(wait) => (short, Reply::TooMany(wait)),
    };
    Answer {
        number: number as u64,
        after,
        reply,
    }
}

/// The answer has reached its process, or the process has died before it did.
pub fn depart(truth: &Shared, pid: Pid, id: &str, answer: &Answer, alive: bool) {
    let mut truth = truth.lock();
    let now = truth.now();
    let number = usize::try_from(answer.number).unwrap();
    truth.endpoint.departed = now;
    truth.endpoint.exchanges[number].is_over = true;
    if alive && let Reply::Tokens { access, .. } = &answer.reply {
        truth.tell(pid, format!("receives {access}"));
        truth.renewed.insert((pid, id.to_owned(), NO_GRANT), now);
    }
}

impl Truth {
    /// Across processes: a server may limit them.
    fn at_most_one_exchange_at_a_time(&mut self, pid: Pid, now: Duration) {
        let exchanges = self.endpoint.exchanges.iter();
        let mut others = exchanges.filter(|one| !one.is_over && self.is_alive(one.pid));
        let other = others.next().map(|other| (other.pid, other.since));
        let Some((by, since)) = other else {
            return;
        };
        // The store has lost the intent of that request, or it has been given up.
        let is_forgotten = self.lost_at.is_some_and(|lost| lost >= since) || now >= since + BOUND;
        if !is_forgotten && !self.ever_removed.contains(WORKLOAD) {
            let what =
                format!("p{pid} exchanges while the exchange of p{by} of {since:?} is under way");
            self.breach("at_most_one_exchange_at_a_time", what);
        }
    }
}

/// Whether a workload's access token is good.
pub fn serves(exchanges: &[Exchanged], number: usize, now: Duration) -> bool {
    exchanges.get(number).is_some_and(|one| now < one.ends)
}

const WORKLOAD: &str = "w";

/// In place of a grant, where refreshes are counted.
const NO_GRANT: usize = usize::MAX;

const BOUND: Duration = Duration::from_secs(30);
