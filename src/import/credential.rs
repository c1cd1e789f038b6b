//! What a file says of one credential in it.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use super::program::{Program, Rotation};
use crate::auth::{Auth, Expiry};
use crate::clock::time_text;

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A key that does not end by itself.
    ApiKey,
    /// A login that a refresh token renews.
    Login,
    /// An access token that nothing in the file renews.
    AccessToken,
    /// An OAuth client with a secret of its own.
    Client,
    /// A Google service account with its private key.
    ServiceAccount,
    /// A workload's identity, which is exchanged for tokens (Google's `external_account`).
    WorkloadIdentity,
    /// A Google service account as which another credential acts.
    Impersonation,
}

/// Which program gets new tokens for an imported credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Renewal {
    /// There is nothing to renew: a key, or an identity that is exchanged whenever a token is needed.
    None,
    /// This pool: its refreshes harm no other program.
    Pool,
    /// The program that owns the file, alone; this pool uses its access token, and reads the file again when that has ended.
    Owner,
}

/// What a refresh by this pool needs and the file does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Missing {
    /// The attribute or member that it goes into.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
}

/// A member of a file that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NotUnderstood {
    /// The member, with dots between names: `tokens.access_token`. Empty for the file as a whole.
    pub member: String,
    /// Why. It quotes no value.
    pub reason: String,
}

/// One credential of a file, from [`read`](super::read).
///
/// Prints as one line without secrets: owner, kind, account, end, what renews it, what is missing for that.
#[derive(Clone, Debug)]
pub struct Credential {
    pub(super) owner: Program,
    pub(super) member: String,
    pub(super) kind: Kind,
    pub(super) account: Option<String>,
    pub(super) rotation: Option<Rotation>,
    pub(super) missing: Vec<Missing>,
    /// The record with everything that the file has of it.
    pub(super) whole: Auth,
    pub(super) file: Option<PathBuf>,
}

/// A credential that this pool refreshes from now on, from [`Credential::take_over`] or [`take_over`](super::take_over).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TakeOver {
    /// The record, for [`Manager::register`](crate::Manager::register) or [`Manager::update`](crate::Manager::update).
    pub auth: Auth,
    /// What the first refresh does to the program that owns the file, for a person to read before.
    pub consequence: String,
}

impl Credential {
    /// The program that owns the file.
    pub fn owner(&self) -> Program {
        self.owner
    }

    /// Where in the file it is: a member's name; empty where the file is one credential.
    pub fn member(&self) -> &str {
        &self.member
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whose it is, as far as the file tells: an e-mail, a user's name, an account's id.
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// When its access token ends.
    pub fn expires_at(&self) -> Expiry {
        self.whole.expiration_time()
    }

    /// Whether its refresh token serves once; `None` where there is no refresh token.
    pub fn rotation(&self) -> Option<Rotation> {
        self.rotation
    }

    /// What a refresh by this pool needs and the file does not have. It goes into attributes of that name once the login is taken over.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Which program renews it in the form of [`auth`](Self::auth).
    pub fn renewal(&self) -> Renewal {
        match (self.kind, self.rotation) {
            (Kind::Login | Kind::AccessToken, _) if self.owner == Program::Pool => Renewal::Pool,
            (Kind::Login, Some(Rotation::Reusable)) if self.missing.is_empty() => Renewal::Pool,
            (Kind::Login | Kind::AccessToken, _) => Renewal::Owner,
            _ => Renewal::None,
        }
    }

    /// The record that it becomes. Where its owner alone may renew it ([`Renewal::Owner`]) the record has neither refresh token nor
    /// client secret; attributes `held_by`, `held_in` and `held_as` say whose it is and where the next access token is read.
    pub fn auth(&self) -> Auth {
        match self.renewal() {
            Renewal::Owner => self.held(),
            Renewal::None | Renewal::Pool => self.whole.clone(),
        }
    }

    /// The record as its owner's, whatever it is.
    pub(crate) fn held(&self) -> Auth {
        let whole = self.whole.clone();
        whole.held(self.owner.id(), self.file.as_deref(), &self.member)
    }

    /// As it is read from `file`.
    pub(super) fn of_file(mut self, file: &Path) -> Self {
        self.file = Some(file.to_owned());
        self
    }

    /// The record with everything that refreshes it, for an operator who wants this pool to do so instead of its owner. Nothing is
    /// written to the owner's file.
    pub fn take_over(&self) -> TakeOver {
        TakeOver {
            auth: self.whole.clone(),
            consequence: self.consequence(),
        }
    }

    /// What it is, whose account's, and until when, for people.
    pub(crate) fn summary(&self) -> String {
        let mut text = self.kind.to_string();
        if !self.member.is_empty() {
            let _ = write!(text, " `{}`", self.member);
        }
        if let Some(account) = &self.account {
            let _ = write!(text, " of {account}");
        }
        if let Expiry::At(end) = self.expires_at() {
            let _ = write!(text, ", ends {}", time_text(end));
        }
        text
    }

    fn missing_names(&self) -> String {
        let names: Vec<_> = self.missing.iter().map(|missing| missing.name).collect();
        names.join(", ")
    }

    fn consequence(&self) -> String {
        let owner = self.owner;
        let rotates = match (self.owner, self.rotation) {
            (Program::Pool, _) | (_, None) => {
                return format!(
                    "nothing changes for {owner}: there is no refresh token to take over"
                );
            }
            (_, Some(Rotation::Reusable)) => {
                return format!(
                    "nothing changes for {owner}: its refresh token serves again and again"
                );
            }
            (_, Some(Rotation::OneTime)) => "serves once",
            (_, Some(Rotation::Unknown)) => "may serve once",
        };
        let needs = if self.missing.is_empty() {
            String::new()
        } else {
            let names = self.missing_names();
            format!("; to refresh it, the record needs {names}")
        };
        format!(
            "the refresh token {rotates}: at this pool's first refresh {owner} loses its login and has to log in again, and a refresh by \
             {owner} before that ends this one{needs}"
        )
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiKey => "API key",
            Self::Login => "login",
            Self::AccessToken => "access token",
            Self::Client => "client",
            Self::ServiceAccount => "service account",
            Self::WorkloadIdentity => "workload identity",
            Self::Impersonation => "impersonated service account",
        })
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.what)
    }
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.member.is_empty() {
            f.write_str(&self.reason)
        } else {
            write!(f, "member `{}` {}", self.member, self.reason)
        }
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.owner, self.summary())?;
        match self.renewal() {
            Renewal::None => {}
            Renewal::Pool => f.write_str(", renewed by this pool")?,
            Renewal::Owner => write!(f, ", renewed by {} alone", self.owner)?,
        }
        if !self.missing.is_empty() {
            write!(f, ", missing here: {}", self.missing_names())?;
        }
        Ok(())
    }
}
