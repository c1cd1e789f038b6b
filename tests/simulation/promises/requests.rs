//! Promises that a request to the token endpoint may break: checked when it arrives.

use std::time::Duration;

use super::SEEN;
use crate::endpoint::refresh_token;
use crate::timeline::Pid;
use crate::truth::{Presence, REPAIRED, Truth};

impl Truth {
    pub fn check_request(&mut self, pid: Pid, id: &str, grant: usize, sent: usize) {
        self.a_token_that_another_program_rotates_is_not_spent_by_us(pid, id, grant, sent);
        if !self.is_left_behind(id, grant) {
            self.at_most_one_refresh_of_a_grant_at_a_time(pid, grant);
        }
        let is_remembered = self.is_remembered(id, grant);
        if is_remembered {
            self.a_token_that_was_received_and_stored_is_never_sent_again(pid, grant, sent);
        }
        if is_remembered && !self.is_commanded(pid, id) {
            self.a_dead_login_is_not_sent_again_while_its_tokens_are_the_same(pid, grant, sent);
        }
        self.refreshes_of_a_credential_keep_their_distance(pid, id, grant);
    }

    /// Whether what a grant has spent may be known: not where the credential was removed, nor where that was another one with the
    /// same login, which nobody knew for a copy yet.
    fn is_remembered(&self, id: &str, grant: usize) -> bool {
        let removed = self.grant_removed.get(&grant);
        let copy = self.records.get(id);
        let is_new = removed.zip(copy).is_some_and(|(at, copy)| {
            copy.presence != Presence::Present || *at < copy.since + SEEN
        });
        !self.ever_removed.contains(id) && !is_new && !self.is_left_behind(id, grant)
    }

    /// Whether a record is the copy of one that has got another login since: nobody keeps what followed the copy's tokens.
    fn is_left_behind(&self, id: &str, grant: usize) -> bool {
        let is_copy = self.records.get(id).is_some_and(|one| one.is_copy);
        is_copy && self.left.contains(&grant)
    }

    /// Whether a process has got new tokens since the others may have looked.
    pub fn was_just_renewed(&self, id: &str) -> bool {
        let now = self.now();
        let mut renewed = self.renewed.iter();
        renewed.any(|((_, of, _), at)| of == id && now < *at + Duration::from_millis(1500))
    }

    /// Whether a refresh of the credential, or of a copy of it in another directory, was commanded.
    fn is_commanded(&self, pid: Pid, id: &str) -> bool {
        let mut commanded = self.commanded.iter();
        commanded.any(|(by, other)| *by == pid && original(other) == original(id))
    }

    fn a_token_that_another_program_rotates_is_not_spent_by_us(
        &mut self,
        pid: Pid,
        id: &str,
        grant: usize,
        sent: usize,
    ) {
        if self.elsewhere.contains(&grant) {
            let token = refresh_token(grant, sent);
            let what = format!("p{pid} sends {token} of {id}, which another program rotates");
            self.breach(
                "a_token_that_another_program_rotates_is_not_spent_by_us",
                what,
            );
        }
    }

    fn a_dead_login_is_not_sent_again_while_its_tokens_are_the_same(
        &mut self,
        pid: Pid,
        grant: usize,
        sent: usize,
    ) {
        if self.endpoint.grants[grant]
            .refused_to
            .contains(&(pid, sent))
        {
            let token = refresh_token(grant, sent);
            let what =
                format!("p{pid} sends {token}, for which it was told that the login is over");
            self.breach(
                "a_dead_login_is_not_sent_again_while_its_tokens_are_the_same",
                what,
            );
        }
    }

    /// A new login is another matter than the refreshes before it.
    pub fn refreshes_of_a_credential_keep_their_distance(
        &mut self,
        pid: Pid,
        id: &str,
        grant: usize,
    ) {
        if self.is_commanded(pid, id) || self.ever_removed.contains(id) {
            return;
        }
        let now = self.now();
        let renewed = self.renewed.get(&(pid, id.to_owned(), grant)).copied();
        if let Some(renewed) = renewed.filter(|renewed| now < *renewed + self.gap) {
            let gap = self.gap;
            let what = format!(
                "p{pid} refreshes {id} {:?} after the last time; the gap is {gap:?}",
                now.saturating_sub(renewed)
            );
            self.breach("refreshes_of_a_credential_keep_their_distance", what);
        }
    }

    fn at_most_one_refresh_of_a_grant_at_a_time(&mut self, pid: Pid, grant: usize) {
        let now = self.now();
        let requests = self.endpoint.under_way.iter();
        let mut others = requests.filter(|one| one.grant == grant && self.is_alive(one.pid));
        let other = others.next();
        if other.is_some_and(|other| now >= other.since + BOUND) {
            self.endpoint.grants[grant].beyond_bound = true;
            return;
        }
        // The store has lost the intent of that request.
        let is_forgotten = |since: Duration| self.lost_at.is_some_and(|lost| lost >= since);
        if let Some(other) = other.cloned().filter(|other| !is_forgotten(other.since)) {
            let what = format!(
                "p{pid} sends a token of grant {grant} while the request of p{} of {:?} is under way",
                other.pid, other.since
            );
            self.breach("at_most_one_refresh_of_a_grant_at_a_time", what);
        }
    }

    fn a_token_that_was_received_and_stored_is_never_sent_again(
        &mut self,
        pid: Pid,
        grant: usize,
        sent: usize,
    ) {
        let Some(next) = self.endpoint.grants[grant].tokens.get(sent + 1) else {
            return;
        };
        if next.received.is_empty() {
            // Its answer was lost.
            return;
        }
        let (now, stored) = (self.now(), next.stored);
        // It has only just begun to go on, at the latest.
        let was_asleep = |pid: &Pid| {
            self.lives.get(pid).is_some_and(|life| {
                let (since, until) = life.last_freeze;
                life.frozen_since.is_some_and(|since| now >= since + BOUND)
                    || until >= since + BOUND && now < until + REPAIRED
            })
        };
        if stored.is_none() && next.received.iter().any(was_asleep) {
            self.endpoint.grants[grant].beyond_bound = true;
            return;
        }
        let lost = self.lost_write(grant, stored);
        let repair_time = lost.is_some_and(|lost| now < lost.max(self.troubled_at) + REPAIRED);
        let is_known = next.known.iter().any(|pid| self.is_running(*pid));
        let knew = next.known.contains(&pid);
        if knew || next.stored.is_some() && lost.is_none() || is_known && !repair_time {
            let what = format!(
                "p{pid} sends {}, and {} was received by {:?}, stored at {:?} and known to {:?}",
                refresh_token(grant, sent),
                refresh_token(grant, sent + 1),
                next.received,
                next.stored,
                next.known,
            );
            self.breach(
                "a_token_that_was_received_and_stored_is_never_sent_again",
                what,
            );
        }
    }
}

/// The name that a record and its copies have in common.
fn original(id: &str) -> &str {
    let name = id.rsplit('/').next().unwrap_or(id);
    let name = name.strip_suffix(".json").unwrap_or(name);
    name.trim_end_matches("-copy")
}

/// A request that is older may have been given up.
const BOUND: Duration = Duration::from_secs(30);
