//! [`Hook`]: how a program hears what happens.

use crate::auth::Auth;
use crate::outcome::Outcome;

/// Callbacks for changes of credentials and for results. Every method does nothing by default.
///
/// They are called after every lock is released, on the thread where the event happened: the caller's, a stream's worker,
/// the refresh worker. They may call the manager. A slow hook slows that thread; a panic is caught and logged.
pub trait Hook: Send + Sync {
    /// A credential is new.
    fn on_auth_registered(&self, auth: &Auth) {
        let _ = auth;
    }

    /// A credential was changed by the host or by a refresh, failed ones included.
    fn on_auth_updated(&self, auth: &Auth) {
        let _ = auth;
    }

    /// A credential was removed; the record is its last state.
    fn on_auth_removed(&self, auth: &Auth) {
        let _ = auth;
    }

    /// An attempt ended: once for each attempt, abandoned ones included.
    fn on_result(&self, outcome: &Outcome<'_>) {
        let _ = outcome;
    }
}

/// A hook that does nothing: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopHook;

impl Hook for NoopHook {}
