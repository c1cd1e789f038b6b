//! [`Secret`]: a text that is never shown, and wiped from memory when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A text that must not be shown: it prints as `***` and is overwritten in memory when dropped, as the values of
/// [`Attributes`](crate::Attributes) and [`Metadata`](crate::Metadata) are. Beyond reach are copies made by other libraries: TLS,
/// the JSON reader where a text has escapes, clients of databases.
///
/// ```
/// let secret = credpool::Secret::new("sk-123");
/// assert_eq!(format!("{secret:?} {secret}"), "Secret(***) ***");
/// assert_eq!(secret.expose(), "sk-123");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself. Every use of it is a place where the secret can leak.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
