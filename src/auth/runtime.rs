//! What a program attaches to a credential: data in memory, a say in its refreshes, a token file of its own.

use std::any::Any;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::{Auth, Secret};
use crate::clock::Timestamp;
use crate::error::Error;

/// In-memory data that a program attaches to a credential, with optional say in its refreshes.
///
/// ```
/// use credpool::{Auth, AuthRuntime};
///
/// struct Session(u32);
/// impl AuthRuntime for Session {}
///
/// let mut auth = Auth::api_key("openai", "sk-123");
/// auth.runtime = Some(std::sync::Arc::new(Session(7)));
/// let session = auth.runtime_as::<Session>().unwrap();
/// assert_eq!(session.0, 7);
/// ```
pub trait AuthRuntime: Any + Send + Sync {
    /// Decides refreshes instead of the rules; none by default.
    fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
        None
    }

    /// How long before expiry to refresh, before the provider's own lead; none by default.
    fn refresh_lead(&self) -> Option<Duration> {
        None
    }

    /// The subject token of an [`Exchange`](crate::Exchange) whose source is [`SubjectToken::callback`](crate::SubjectToken::callback), for each
    /// exchange anew; none by default.
    fn subject_token(&self) -> Option<Result<Secret, Error>> {
        None
    }
}

/// Overrides the decision whether a credential needs a refresh.
///
/// ```
/// use credpool::{Auth, AuthRuntime, RefreshEvaluator, Timestamp, should_refresh};
///
/// /// Another program refreshes this login.
/// struct Never;
/// impl RefreshEvaluator for Never {
///     fn should_refresh(&self, _now: Timestamp, _auth: &Auth) -> bool {
///         false
///     }
/// }
/// impl AuthRuntime for Never {
///     fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
///         Some(self)
///     }
/// }
///
/// let mut auth = Auth::new("claude").with_metadata("refresh_token", "refresh");
/// auth.runtime = Some(std::sync::Arc::new(Never));
/// assert!(!should_refresh(&auth, Timestamp::now()));
/// ```
pub trait RefreshEvaluator: Send + Sync {
    /// Whether `auth` should be refreshed now.
    fn should_refresh(&self, now: Timestamp, auth: &Auth) -> bool;
}

/// Writes a login's tokens in a user-supplied form.
///
/// A file store calls it with a temporary path beside the final one and then moves the file into place, so that an
/// implementation writes plainly.
///
/// ```
/// use std::path::Path;
/// use std::{fs, io};
///
/// use credpool::{Auth, TokenStorage};
///
/// /// A token file of another program's format.
/// struct OneLine;
/// impl TokenStorage for OneLine {
///     fn save_token_to_file(&self, auth: &Auth, path: &Path) -> io::Result<()> {
///         let token = auth.metadata.as_ref().and_then(|data| data.text("access_token"));
///         fs::write(path, serde_json::json!({"type": "own", "access_token": token}).to_string())
///     }
/// }
///
/// let mut auth = Auth::new("own").with_metadata("access_token", "access");
/// auth.storage = Some(std::sync::Arc::new(OneLine));
/// ```
#[doc(alias = "SaveTokenToFile")]
pub trait TokenStorage: Send + Sync {
    /// Writes the tokens of `auth` to `path`, which does not exist yet.
    ///
    /// # Errors
    /// Whatever went wrong; the store then keeps what it had and reports it.
    fn save_token_to_file(&self, auth: &Auth, path: &Path) -> io::Result<()>;
}
