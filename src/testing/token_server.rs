//! [`TokenServer`]: a strict token endpoint on loopback.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::form::field;
use super::{ReceivedRequest, Reply, Upstream};
use crate::auth::{Auth, OAuthTokens};
use crate::clock::{Clock, SystemClock};

/// A token endpoint on loopback that is as strict as any: a refresh token serves once, and using one again revokes the whole
/// family, the tokens that it led to included ([RFC 9700 section 4.14.2](https://www.rfc-editor.org/rfc/rfc9700#section-4.14.2)).
/// It can be lenient for a few seconds, and its answers can be lost.
///
/// ```
/// use credpool::testing::{LostAnswer, TokenServer};
/// use credpool::{Attempt, SystemClock, provider::refresh_tokens};
///
/// let server = TokenServer::start();
/// let auth = server.login("openai", "a");
/// let attempt = Attempt::for_tests(SystemClock);
///
/// let refreshed = refresh_tokens(&attempt, &auth)?;
/// assert_eq!((server.refreshes(), server.replays()), (1, 0));
/// // The first refresh token is spent.
/// assert!(refresh_tokens(&attempt, &auth).is_err());
/// assert_eq!(server.replays(), 1);
/// // And this login gives no tokens any more.
/// assert!(refresh_tokens(&attempt, &refreshed).is_err());
/// assert!(!server.is_alive("a"));
/// # Ok::<(), credpool::Error>(())
/// ```
pub struct TokenServer {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

/// How an answer of a [`TokenServer`] gets lost, once the refresh is done.
///
/// ```
/// use std::time::Duration;
///
/// use credpool::testing::{LostAnswer, Reply, TokenServer};
///
/// let server = TokenServer::start_with_clock(credpool::SystemClock);
/// server.set_expires_in(60);
/// server.set_rotation(true);
/// server.set_leeway(Duration::from_secs(10));
/// let login = server.login("p", "a");
/// // The next answer is lost on its way; the one after it is another than expected.
/// server.lose_answer(LostAnswer::Reset);
/// server.answer_instead(Reply::json(503, "{}"));
/// server.revoke(login.metadata.as_ref().unwrap().text("refresh_token").unwrap());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostAnswer {
    /// The connection is reset.
    Reset,
    /// It ends in the middle of the answer.
    Cut,
    /// A gateway answers 502.
    BadGateway,
    /// An answer of another kind comes, with a success status.
    Nonsense,
}

struct State {
    clock: Arc<dyn Clock>,
    leeway: Duration,
    /// What `expires_in` says.
    lifetime: Value,
    rotates: bool,
    tokens: HashMap<String, Token>,
    /// Logins by their id, and whether they are alive.
    families: HashMap<String, bool>,
    lost: Vec<LostAnswer>,
    instead: Vec<Reply>,
    issued: usize,
    replays: usize,
    most_at_once: usize,
    at_once: usize,
}

/// A refresh token.
struct Token {
    family: String,
    /// When it was used for the first time.
    used_at: Option<Instant>,
}

impl TokenServer {
    /// Starts the server, on the machine's clock.
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start() -> Self {
        Self::start_with_clock(SystemClock)
    }

    /// Starts the server with a clock for the leeway.
    ///
    /// # Panics
    /// When no socket can be opened on loopback.
    pub fn start_with_clock(clock: impl Clock + 'static) -> Self {
        let state = Arc::new(Mutex::new(State {
            clock: Arc::new(clock),
            leeway: Duration::ZERO,
            lifetime: 3600.into(),
            rotates: true,
            tokens: HashMap::new(),
            families: HashMap::new(),
            lost: Vec::new(),
            instead: Vec::new(),
            issued: 0,
            replays: 0,
            most_at_once: 0,
            at_once: 0,
        }));
        let upstream = Upstream::start({
            let state = Arc::clone(&state);
            move |request| {
                {
                    let mut state = state.lock();
                    state.at_once += 1;
                    state.most_at_once = state.most_at_once.max(state.at_once);
                }
                // Others may come in between.
                std::thread::yield_now();
                let mut state = state.lock();
                state.at_once -= 1;
                state.answer(request)
            }
        });
        Self { upstream, state }
    }

    /// A login: a record of `provider` with this id, whose access token has ended and whose refresh token is good.
    pub fn login(&self, provider: &str, id: &str) -> Auth {
        let refresh_token = {
            let mut state = self.state.lock();
            state.families.insert(id.to_owned(), true);
            state.issue(id)
        };
        let now = self.state.lock().clock.now();
        let tokens = OAuthTokens::new("access-0")
            .with_refresh_token(refresh_token)
            .with_expires_at(now);
        Auth::oauth(provider, tokens)
            .with_id(id)
            .with_attribute("token_url", self.token_url())
    }

    /// The value for attribute `token_url`.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.upstream.url())
    }

    /// The server itself, with the requests that it got.
    pub fn server(&self) -> &Upstream {
        &self.upstream
    }

    /// For so long, a refresh token may be used again. Default: not at all.
    pub fn set_leeway(&self, leeway: Duration) {
        self.state.lock().leeway = leeway;
    }

    /// Sets `expires_in`; `null` leaves it out. Default: 3600.
    pub fn set_expires_in(&self, seconds: impl Into<Value>) {
        self.state.lock().lifetime = seconds.into();
    }

    /// Whether a refresh brings a new refresh token. Default: yes.
    pub fn set_rotation(&self, rotates: bool) {
        self.state.lock().rotates = rotates;
    }

    /// The next answer gets lost, after the refresh is done. Called again: the one after that, too.
    pub fn lose_answer(&self, how: LostAnswer) {
        self.state.lock().lost.push(how);
    }

    /// The next request gets this answer, and nothing is done. Called again: the one after that, too.
    pub fn answer_instead(&self, reply: Reply) {
        self.state.lock().instead.push(reply);
    }

    /// Ends a login, as an administrator does.
    pub fn revoke(&self, id: &str) {
        self.state.lock().families.insert(id.to_owned(), false);
    }

    /// Whether a login can be refreshed.
    pub fn is_alive(&self, id: &str) -> bool {
        self.state.lock().families.get(id) == Some(&true)
    }

    /// How many refreshes gave new tokens.
    pub fn refreshes(&self) -> usize {
        self.state.lock().issued
    }

    /// How often a refresh token came that had been used before, within the leeway or not.
    pub fn replays(&self) -> usize {
        self.state.lock().replays
    }

    /// The largest number of concurrent requests so far.
    pub fn most_at_once(&self) -> usize {
        self.state.lock().most_at_once
    }
}

impl State {
    fn answer(&mut self, request: &ReceivedRequest) -> Reply {
        if !self.instead.is_empty() {
            return self.instead.remove(0);
        }
        if field(request, "grant_type").as_deref() != Some("refresh_token") {
            return Reply::json(400, r#"{"error":"unsupported_grant_type"}"#);
        }
        let now = self.clock.monotonic();
        let sent = field(request, "refresh_token").unwrap_or_default();
        let Some(token) = self.tokens.get_mut(&sent) else {
            return invalid_grant("the refresh token is unknown");
        };
        let family = token.family.clone();
        if let Some(used_at) = token.used_at {
            self.replays += 1;
            if now.saturating_duration_since(used_at) >= self.leeway {
                self.families.insert(family, false);
                return invalid_grant("the refresh token was used before");
            }
        } else if self.rotates {
            token.used_at = Some(now);
        }
        if self.families.get(&family) != Some(&true) {
            return invalid_grant("the login has been revoked");
        }
        self.issued += 1;
        let mut body =
            json!({"access_token": format!("access-{}", self.issued), "token_type": "Bearer"});
        if !self.lifetime.is_null() {
            body["expires_in"] = self.lifetime.clone();
        }
        if self.rotates {
            body["refresh_token"] = self.issue(&family).into();
        }
        let answer = Reply::json(200, body.to_string());
        let lost = (!self.lost.is_empty()).then(|| self.lost.remove(0));
        match lost {
            None => answer,
            Some(LostAnswer::Reset) => answer.reset(),
            Some(LostAnswer::Cut) => answer.cut_after(20),
            Some(LostAnswer::BadGateway) => Reply::json(502, "{}"),
            Some(LostAnswer::Nonsense) => Reply::json(200, r#"{"access_tok"#),
        }
    }

    /// A refresh token of a login.
    fn issue(&mut self, family: &str) -> String {
        let token = format!("refresh-{family}-{}", self.tokens.len());
        let new = Token {
            family: family.to_owned(),
            used_at: None,
        };
        self.tokens.insert(token.clone(), new);
        token
    }
}

impl fmt::Debug for TokenServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenServer")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

fn invalid_grant(description: &str) -> Reply {
    let body = json!({"error": "invalid_grant", "error_description": description});
    Reply::json(400, body.to_string())
}
