//! A credential that is being put together from the members of a file.

use super::credential::{Credential, Kind, Missing};
use super::program::{Program, Rotation};
use crate::auth::Auth;
use crate::clock::{Timestamp, time_text};

/// The parts that the forms have in common; the rest follows from them.
pub(super) struct Draft {
    pub(super) owner: Program,
    pub(super) member: String,
    pub(super) account: Option<String>,
    /// Whether a refresh token of this vendor serves once.
    pub(super) rotation: Rotation,
    /// What a refresh needs besides the refresh token.
    pub(super) needs: &'static [Missing],
    pub(super) auth: Auth,
}

impl Draft {
    pub(super) fn new(owner: Program, provider: &str) -> Self {
        let mut auth = Auth::new(provider);
        auth.metadata = Some(crate::auth::Metadata::default());
        Self {
            owner,
            member: String::new(),
            account: None,
            rotation: Rotation::Unknown,
            needs: PUBLIC_CLIENT,
            auth,
        }
    }

    /// The member of the file that it is.
    pub(super) fn at(mut self, member: &str) -> Self {
        member.clone_into(&mut self.member);
        self
    }

    pub(super) fn of(mut self, account: Option<&str>) -> Self {
        self.account = account.map(str::to_owned);
        self
    }

    pub(super) fn needing(mut self, rotation: Rotation, needs: &'static [Missing]) -> Self {
        self.rotation = rotation;
        self.needs = needs;
        self
    }

    /// Puts tokens in under the names that grants read.
    pub(super) fn tokens(
        mut self,
        access: Option<&str>,
        refresh: Option<&str>,
        end: Option<Timestamp>,
    ) -> Self {
        let metadata = self.auth.metadata.get_or_insert_default();
        for (name, text) in [("access_token", access), ("refresh_token", refresh)] {
            if let Some(text) = text {
                metadata.insert(name, text);
            }
        }
        if let Some(end) = end {
            metadata.insert("expires_at", time_text(end));
        }
        self
    }

    /// A credential with an API key alone.
    pub(super) fn key(mut self, key: &str) -> Credential {
        self.auth.attributes.insert("api_key", key);
        self.finished(Kind::ApiKey, None, Vec::new())
    }

    /// A login, or an access token without anything to renew it; nothing where there is neither token.
    pub(super) fn login(self) -> Option<Credential> {
        let has_refresh_token = self.auth.has_refresh_token();
        if !has_refresh_token && self.auth.access_token().is_none() {
            return None;
        }
        let needs = self.needs.iter().copied();
        let missing = needs.filter(|need| !has(&self.auth, need.name)).collect();
        Some(if has_refresh_token {
            let rotation = Some(self.rotation);
            self.finished(Kind::Login, rotation, missing)
        } else {
            self.finished(Kind::AccessToken, None, vec![REFRESH_TOKEN])
        })
    }

    pub(super) fn finished(
        mut self,
        kind: Kind,
        rotation: Option<Rotation>,
        missing: Vec<Missing>,
    ) -> Credential {
        if let Some(account) = self.account.as_ref().filter(|_| self.auth.label.is_empty()) {
            self.auth.label.clone_from(account);
        }
        Credential {
            owner: self.owner,
            member: self.member,
            kind,
            account: self.account,
            rotation,
            missing,
            whole: self.auth,
            file: None,
        }
    }
}

fn has(auth: &Auth, name: &str) -> bool {
    let names = [name, "token_uri"];
    let names = if name == TOKEN_URL.name {
        &names[..]
    } else {
        &names[..1]
    };
    names.iter().any(|name| auth.setting(name).is_some())
        // Grants know Google's.
        || (name == TOKEN_URL.name && auth.is_authorized_user())
}

const TOKEN_URL: Missing = Missing {
    name: "token_url",
    what: "the token endpoint of the login's authorization server",
};
const CLIENT_ID: Missing = Missing {
    name: "client_id",
    what: "the OAuth client that the login was made with",
};
const CLIENT_SECRET: Missing = Missing {
    name: "client_secret",
    what: "the secret of that client",
};
const REFRESH_TOKEN: Missing = Missing {
    name: "refresh_token",
    what: "the file has none",
};

/// For clients without a secret.
pub(super) const PUBLIC_CLIENT: &[Missing] = &[TOKEN_URL, CLIENT_ID];
/// For clients with one.
pub(super) const SECRET_CLIENT: &[Missing] = &[TOKEN_URL, CLIENT_ID, CLIENT_SECRET];
