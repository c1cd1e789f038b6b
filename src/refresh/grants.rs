//! Credentials with the same grant: two records with one refresh token, such as a token file and its backup copy.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::auth::{Auth, GrantToken};

/// The credentials that can be refreshed with a refresh token, by that token and by those that they have spent last.
#[derive(Debug, Default)]
pub(super) struct Grants {
    holders: HashMap<GrantToken, Holders>,
    tokens: HashMap<Arc<str>, Vec<GrantToken>>,
}

#[derive(Debug, Default)]
struct Holders {
    current: BTreeSet<Arc<str>>,
    spent: BTreeSet<Arc<str>>,
}

impl Grants {
    /// Takes note of a credential's tokens as they are now.
    pub(super) fn note(&mut self, auth: &Auth) {
        self.forget(&auth.id);
        let Some(current) = auth.grant_token().filter(|_| auth.has_refresh_token()) else {
            return;
        };
        let id: Arc<str> = auth.id.as_str().into();
        let spent = auth.spent.rotated().iter().rev().take(LAST_SPENT);
        let mut tokens = vec![current];
        tokens.extend(spent.filter(|token| **token != current));
        self.holders
            .entry(current)
            .or_default()
            .current
            .insert(Arc::clone(&id));
        for token in &tokens[1..] {
            self.holders
                .entry(*token)
                .or_default()
                .spent
                .insert(Arc::clone(&id));
        }
        self.tokens.insert(id, tokens);
    }

    pub(super) fn forget(&mut self, id: &str) {
        for token in self.tokens.remove(id).into_iter().flatten() {
            if let Some(holders) = self.holders.get_mut(&token) {
                holders.current.remove(id);
                holders.spent.remove(id);
                if holders.current.is_empty() && holders.spent.is_empty() {
                    self.holders.remove(&token);
                }
            }
        }
    }

    /// The credential whose refresh renews this one: one that has rotated its token already, else the first that holds it.
    pub(super) fn leader(&self, auth: &Auth) -> Option<Arc<str>> {
        let holders = self.holders.get(&auth.grant_token()?)?;
        let leader = holders.spent.first().or_else(|| holders.current.first())?;
        (**leader != *auth.id).then(|| Arc::clone(leader))
    }

    /// The other credentials that hold the token.
    pub(super) fn followers(&self, leader: &str, token: GrantToken) -> Vec<Arc<str>> {
        let holders = self.holders.get(&token).map(|holders| &holders.current);
        let others = holders.into_iter().flatten().filter(|id| &***id != leader);
        others.cloned().collect()
    }

    /// All that follow another one.
    pub(super) fn all_followers(&self) -> BTreeSet<String> {
        let shared = self
            .holders
            .values()
            .filter(|holders| holders.current.len() + usize::from(!holders.spent.is_empty()) > 1);
        shared
            .flat_map(|holders| {
                let first = usize::from(holders.spent.is_empty());
                holders.current.iter().skip(first).map(ToString::to_string)
            })
            .collect()
    }
}

/// How many spent tokens of each credential are looked up: what a crash between two writes leaves behind.
pub(super) const LAST_SPENT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::OAuthTokens;

    fn login(id: &str, token: &str) -> Auth {
        Auth::oauth("p", OAuthTokens::new("a").with_refresh_token(token)).with_id(id)
    }

    #[test]
    fn copies_of_a_login_follow_the_first_and_whoever_has_rotated_it() {
        let mut grants = Grants::default();
        let (a, b, c) = (login("a", "r"), login("b", "r"), login("c", "s"));
        for auth in [&b, &c] {
            grants.note(auth);
        }
        assert_eq!(grants.leader(&b), None);
        grants.note(&a);
        assert_eq!(grants.leader(&b).as_deref(), Some("a"));
        assert_eq!(grants.leader(&a), None);
        assert_eq!(grants.leader(&c), None);
        let token = a.grant_token().unwrap();
        assert_eq!(grants.followers("a", token), [Arc::from("b")]);
        assert_eq!(grants.all_followers(), BTreeSet::from(["b".to_owned()]));
        // The other one has rotated it.
        let mut rotated = b.clone();
        assert!(rotated.merge_refreshed(&b, &login("x", "r2")));
        grants.note(&rotated);
        assert_eq!(grants.leader(&a).as_deref(), Some("b"));
        assert_eq!(grants.leader(&rotated), None);
        assert_eq!(grants.all_followers(), BTreeSet::from(["a".to_owned()]));
        for id in ["a", "b", "c"] {
            grants.forget(id);
        }
        assert!(grants.holders.is_empty() && grants.tokens.is_empty());
    }

    #[test]
    fn credentials_without_a_refresh_token_share_nothing() {
        let mut grants = Grants::default();
        let key = Auth::api_key("p", "k").with_id("a");
        let bare = Auth::oauth("p", OAuthTokens::new("t")).with_id("b");
        for auth in [&key, &bare] {
            grants.note(auth);
        }
        assert!(grants.holders.is_empty());
        assert_eq!(grants.leader(&bare), None);
    }
}
