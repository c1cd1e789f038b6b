//! Health of the refreshes: credentials that need a new login, rotated tokens that are not saved, and the events of both.

use std::fmt;

use crate::clock::Timestamp;
use crate::error::Error;

/// Health of a manager's refreshes, for people and probes. Everything empty is good.
///
/// ```
/// let manager = credpool::Manager::builder().build()?;
/// let health = manager.refresh_health();
/// assert!(health.is_good());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefreshHealth {
    /// Credentials whose new tokens are in use, but could not be saved yet. The write is tried again until it succeeds. Should
    /// the program end before, the login is lost.
    pub unpersisted_rotation: Vec<String>,
    /// Credentials whose last refresh was sent and not answered: the refresh token may be spent.
    pub in_doubt: Vec<String>,
    /// Credentials for which a person must log in again: their token endpoint has refused their refresh token for good, in this process or
    /// in another one that shares the store. It is not sent again while it is the same.
    pub needs_login: Vec<String>,
    /// Those among them whose login ended because the answer to a refresh was lost.
    pub lost_answers: Vec<String>,
    /// Credentials whose refresh is due and cannot begin, because the store fails or another process holds it up. A refresh token is not
    /// sent while the store cannot note it: a token that is in memory alone is lost with the process.
    pub deferred: Vec<DeferredRefresh>,
    /// Credentials that hold the refresh token of another one, such as a backup copy of its file. They are not refreshed by themselves but
    /// get the new tokens of the other one; one of the two should be removed.
    pub shared_logins: Vec<String>,
}

/// A refresh that cannot begin.
///
/// ```
/// use credpool::{DeferredRefresh, Manager};
///
/// let manager = Manager::builder().build()?;
/// let waiting: Vec<DeferredRefresh> = manager.refresh_health().deferred;
/// assert!(waiting.is_empty());
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeferredRefresh {
    /// The credential.
    pub auth_id: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, in words.
    pub reason: String,
}

impl RefreshHealth {
    /// Whether all refreshes go well. [Shared logins](Self::shared_logins) do, too.
    pub fn is_good(&self) -> bool {
        let shared_logins = self.shared_logins.clone();
        *self
            == Self {
                shared_logins,
                ..Self::default()
            }
    }
}

/// An event about a credential's tokens that a program may want to know immediately, from
/// [`Hook::on_refresh_event`](crate::Hook::on_refresh_event).
///
/// ```
/// use credpool::RefreshEvent;
///
/// /// Whether a person is to be woken.
/// fn is_urgent(event: &RefreshEvent<'_>) -> bool {
///     matches!(event, RefreshEvent::NeedsLogin { .. } | RefreshEvent::UnpersistedRotation { .. })
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum RefreshEvent<'a> {
    /// New tokens are in use but could not be saved; the write is tried again. Said once for each time this begins.
    UnpersistedRotation {
        /// The credential.
        auth_id: &'a str,
        /// What the store says.
        error: &'a Error,
    },
    /// They are saved now.
    Persisted {
        /// The credential.
        auth_id: &'a str,
    },
    /// A refresh was sent, twice where there was time, and not answered: the refresh token may be spent.
    InDoubt {
        /// The credential.
        auth_id: &'a str,
        /// What the last try says.
        error: &'a Error,
    },
    /// A person must log in again.
    NeedsLogin {
        /// The credential.
        auth_id: &'a str,
        /// What the server says.
        error: &'a Error,
        /// Whether the login ended because the answer to a refresh was lost.
        answer_lost: bool,
    },
}

impl RefreshEvent<'_> {
    /// The credential that this is about.
    pub fn auth_id(&self) -> &str {
        match self {
            Self::UnpersistedRotation { auth_id, .. }
            | Self::Persisted { auth_id }
            | Self::InDoubt { auth_id, .. }
            | Self::NeedsLogin { auth_id, .. } => auth_id,
        }
    }
}

impl fmt::Display for RefreshEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.auth_id();
        match self {
            Self::UnpersistedRotation { error, .. } => write!(
                f,
                "the new tokens of {id} are in use but not saved yet; retrying: {error}"
            ),
            Self::Persisted { .. } => write!(f, "the new tokens of {id} are saved"),
            Self::InDoubt { error, .. } => write!(
                f,
                "a refresh of {id} is in doubt, its refresh token may be spent: {error}"
            ),
            Self::NeedsLogin {
                error,
                answer_lost: true,
                ..
            } => write!(
                f,
                "credential {id} needs a new login: the response to a refresh was lost: {error}"
            ),
            Self::NeedsLogin { error, .. } => {
                write!(f, "credential {id} needs a new login: {error}")
            }
        }
    }
}
