//! [`Hook`]: callbacks for results, changes of credentials and refresh events.

use std::sync::Arc;

use super::RefreshEvent;
use super::outcome::Outcome;
use crate::auth::Auth;
use crate::panic::guard;

/// Callbacks for changes of credentials and for results. Every method does nothing by default.
///
/// They are called after every lock is released, on the thread where the event happened: the caller's, a stream's worker,
/// the refresh worker. They may call the manager. A slow hook slows that thread; a panic is caught and logged.
///
/// ```
/// use credpool::{Auth, Hook, Manager, Outcome, RefreshEvent};
///
/// /// Prints what happens.
/// struct Printer;
/// impl Hook for Printer {
///     fn on_auth_registered(&self, auth: &Auth) {
///         println!("{} is registered", auth.id);
///     }
///     fn on_auth_updated(&self, auth: &Auth) {
///         println!("{} is updated", auth.id);
///     }
///     fn on_auth_removed(&self, auth: &Auth) {
///         println!("{} is removed", auth.id);
///     }
///     fn on_result(&self, outcome: &Outcome<'_>) {
///         let result = if outcome.is_success() { "served" } else { "failed" };
///         println!("{} {result} call {} after {:?}", outcome.auth_id, outcome.call_id, outcome.elapsed);
///     }
///     fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
///         println!("{event}");
///     }
/// }
///
/// let manager = Manager::builder().hook(Printer).build()?;
/// # Ok::<(), credpool::Error>(())
/// ```
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

    /// A credential started, or stopped, needing attention for its tokens: see [`RefreshEvent`].
    fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
        let _ = event;
    }
}

/// A hook that does nothing: the default.
///
/// ```
/// let manager = credpool::Manager::builder().hook(credpool::NoopHook).build()?;
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoopHook;

impl Hook for NoopHook {}

impl<H: Hook + ?Sized> Hook for Arc<H> {
    fn on_auth_registered(&self, auth: &Auth) {
        (**self).on_auth_registered(auth);
    }

    fn on_auth_updated(&self, auth: &Auth) {
        (**self).on_auth_updated(auth);
    }

    fn on_auth_removed(&self, auth: &Auth) {
        (**self).on_auth_removed(auth);
    }

    fn on_result(&self, outcome: &Outcome<'_>) {
        (**self).on_result(outcome);
    }

    fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
        (**self).on_refresh_event(event);
    }
}

/// Both, one after the other. A panic of the first one keeps the event from the second.
///
/// ```
/// use credpool::{JsonLines, Manager, NoopHook};
///
/// let manager = Manager::builder().hook((JsonLines::new(std::io::sink()), NoopHook)).build()?;
/// # Ok::<(), credpool::Error>(())
/// ```
impl<A: Hook, B: Hook> Hook for (A, B) {
    fn on_auth_registered(&self, auth: &Auth) {
        self.0.on_auth_registered(auth);
        self.1.on_auth_registered(auth);
    }

    fn on_auth_updated(&self, auth: &Auth) {
        self.0.on_auth_updated(auth);
        self.1.on_auth_updated(auth);
    }

    fn on_auth_removed(&self, auth: &Auth) {
        self.0.on_auth_removed(auth);
        self.1.on_auth_removed(auth);
    }

    fn on_result(&self, outcome: &Outcome<'_>) {
        self.0.on_result(outcome);
        self.1.on_result(outcome);
    }

    fn on_refresh_event(&self, event: &RefreshEvent<'_>) {
        self.0.on_refresh_event(event);
        self.1.on_refresh_event(event);
    }
}

/// A manager's hook; its panics are caught.
#[derive(Clone)]
pub(crate) struct Hooks(Arc<dyn Hook>);

impl Hooks {
    pub(crate) fn new(hook: Arc<dyn Hook>) -> Self {
        Self(hook)
    }

    pub(crate) fn registered(&self, auth: &Auth) {
        call("on_auth_registered", || self.0.on_auth_registered(auth));
    }

    pub(crate) fn updated(&self, auth: &Auth) {
        call("on_auth_updated", || self.0.on_auth_updated(auth));
    }

    pub(crate) fn removed(&self, auth: &Auth) {
        call("on_auth_removed", || self.0.on_auth_removed(auth));
    }

    pub(crate) fn result(&self, outcome: &Outcome<'_>) {
        call("on_result", || self.0.on_result(outcome));
    }

    pub(crate) fn refresh_event(&self, event: &RefreshEvent<'_>) {
        call("on_refresh_event", || self.0.on_refresh_event(event));
    }
}

fn call(method: &str, work: impl FnOnce()) {
    // The guard has logged a panic; a hook has nothing else to say.
    let _ = guard(|| format!("hook method {method}"), work);
}
