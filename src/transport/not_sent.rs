//! [`NotSent`]: marks an error before anything was sent, so that a refresh token is not in doubt.

use std::error::Error as StdError;
use std::fmt;

use crate::error::Error;

/// The source of an error that happened before anything was sent.
///
/// A refresh token that rotates serves once. When the answer to a refresh is lost, it is unknown whether the token is spent:
/// the refresh is *in doubt*, and must be treated with care. An executor that knows better says so with this source. The
/// executors of this crate do.
///
/// ```
/// use credpool::{Error, ErrorCode, NotSent};
///
/// let error = Error::new(ErrorCode::Transport, "the vault with the client's key is locked").with_source(NotSent::new());
/// assert!(NotSent::is_in(&error));
/// assert!(!NotSent::is_in(&Error::new(ErrorCode::Transport, "the connection was lost")));
/// ```
#[derive(Debug, Default)]
pub struct NotSent(Option<Error>);

impl NotSent {
    /// Without a reason.
    pub fn new() -> Self {
        Self::default()
    }

    /// Because of this error.
    ///
    /// ```
    /// use credpool::{Error, ErrorCode, NotSent};
    ///
    /// let cause = Error::new(ErrorCode::Transport, "no route to the proxy");
    /// let error = Error::new(ErrorCode::Transport, "the refresh was not sent").with_source(NotSent::because(cause));
    /// assert!(NotSent::is_in(&error));
    /// ```
    pub fn because(error: Error) -> Self {
        Self(Some(error))
    }

    /// Whether an error says that nothing was sent, itself or in a source below.
    pub fn is_in(error: &Error) -> bool {
        let mut source = error.source();
        while let Some(error) = source {
            if error.is::<Self>() {
                return true;
            }
            source = error.source();
        }
        false
    }
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing was sent")
    }
}

impl StdError for NotSent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.as_ref().map(|error| error as &dyn StdError)
    }
}
