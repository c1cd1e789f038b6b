//! The executor of a process: its network is the token endpoint and the upstream of the world.

use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Attempt, Auth, Error, ErrorCode, Format, Options, ProviderExecutor, Request, Response,
};
use time::format_description::well_known::Rfc3339;

use crate::endpoint::{Answer, Reply, arrive, depart};
use crate::exchanges;
use crate::handle::Line;
use crate::timeline::{Pid, Timeline};
use crate::truth::{Shared, sent_token};

pub struct Network {
    pub pid: Pid,
    pub timeline: Arc<Timeline>,
    pub truth: Shared,
    pub line: Line,
}

pub const PROVIDER: &str = "p";
pub const MODEL: &str = "m";

impl ProviderExecutor for Network {
    fn identifier(&self) -> &'static str {
        PROVIDER
    }

    fn execute(
        &self,
        _: &Attempt,
        auth: &Auth,
        request: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        let mut truth = self.truth.lock();
        let now = truth.now();
        let limited = truth.limited.get(&auth.id).filter(|end| **end > now);
        if let Some(end) = limited.copied() {
            let wait = end.saturating_sub(now).max(Duration::from_secs(1));
            truth.cool(&auth.id, wait);
            truth.tell(self.pid, format!("429 for {}: {wait:?}", auth.id));
            return Err(Error::upstream(429, "slow down").with_retry_after(wait));
        }
        let access = auth
            .metadata
            .as_ref()
            .and_then(|all| all.text("access_token"));
        let served = match access {
            Some(access) => truth.endpoint.serves(access, now),
            None => auth.attributes.get("api_key").is_some(),
        };
        if !served {
            truth.refused.insert(self.pid, now);
            truth.tell(self.pid, format!("401 for {} with {access:?}", auth.id));
            return Err(Error::upstream(401, "the token is not valid"));
        }
        Ok(Response::new(truth.answer_for(
            self.pid,
            &auth.id,
            &request.payload,
        )))
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        let gone = || Error::new(ErrorCode::Transport, "the connection broke");
        if self.line.is_dead() {
            return Err(gone());
        }
        let now = self.timeline.now();
        let wait =
            |answer: &Answer| self.timeline.sleep(self.pid, answer.after) && !self.line.is_dead();
        let (answer, alive) = if exchanges::is_exchanged(auth) {
            let answer = exchanges::arrive(&self.truth, now, self.pid, &auth.id);
            let alive = wait(&answer);
            exchanges::depart(&self.truth, self.pid, &auth.id, &answer, alive);
            (answer, alive)
        } else {
            let Some(token) = sent_token(auth) else {
                self.truth.lock().vain_refreshes += 1;
                // Another program's file may have other tokens by now.
                return credpool::provider::refresh_tokens(attempt, auth);
            };
            let answer = arrive(&self.truth, now, self.pid, &auth.id, &token);
            let alive = wait(&answer);
            depart(&self.truth, self.pid, &answer, (&auth.id, &token), alive);
            (answer, alive)
        };
        if !alive {
            return Err(gone());
        }
        match answer.reply {
            Reply::Tokens {
                access,
                refresh,
                lifetime,
            } => Ok(renewed(auth, attempt, &access, &refresh, lifetime)),
            Reply::Revoked => Err(Error::new(ErrorCode::NeedsLogin, "invalid_grant")),
            Reply::Unavailable => {
                Err(Error::new(ErrorCode::RefreshFailed, "unavailable").with_http_status(503))
            }
            Reply::TooMany(wait) => Err(Error::new(ErrorCode::RefreshFailed, "slow down")
                .with_http_status(429)
                .with_retry_after(wait)),
            Reply::Broken => Err(gone()),
        }
    }

    fn speaks(&self, _: &Format) -> bool {
        true
    }
}

fn renewed(
    auth: &Auth,
    attempt: &Attempt,
    access: &str,
    refresh: &str,
    lifetime: Option<u64>,
) -> Auth {
    let mut new = auth.clone();
    let metadata = new.metadata.get_or_insert_default();
    metadata.insert("access_token", access);
    if !refresh.is_empty() {
        metadata.insert("refresh_token", refresh);
    }
    match lifetime {
        Some(seconds) => {
            let end = attempt.clock().now() + Duration::from_secs(seconds);
            metadata.insert("expires_at", end.format(&Rfc3339).unwrap());
        }
        None => metadata.remove("expires_at"),
    }
    new
}
