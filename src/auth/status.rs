//! [`Status`]: the lifecycle state that a record was written with.

use std::fmt;

/// The lifecycle state that was last written to the record. For whether a credential can serve, see
/// [`Availability`](crate::Availability).
///
/// ```
/// use credpool::{Auth, Manager, Status};
///
/// let manager = Manager::builder().build()?;
/// let auth = manager.register(Auth::api_key("openai", "sk-1"))?;
/// assert_eq!(auth.status, Status::Active);
/// assert_eq!(manager.set_disabled(&auth.id, true)?.status.as_str(), "disabled");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Nothing has been said yet: the empty text in JSON.
    #[default]
    Unset,
    /// The state could not be determined. A stored text that is none of these reads as this.
    Unknown,
    /// Valid and ready for use.
    Active,
    /// Waiting for something outside, such as a second factor: not selected until it has tokens or a key. See
    /// [`FailurePolicy::with_pending`](crate::FailurePolicy::with_pending).
    Pending,
    /// In a refresh.
    Refreshing,
    /// The last use or refresh failed.
    Error,
    /// Switched off by the operator.
    Disabled,
}

impl Status {
    /// The text that records use, `active` for example.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "",
            Self::Unknown => "unknown",
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Refreshing => "refreshing",
            Self::Error => "error",
            Self::Disabled => "disabled",
        }
    }
}

impl From<&str> for Status {
    fn from(text: &str) -> Self {
        [
            Self::Unset,
            Self::Active,
            Self::Pending,
            Self::Refreshing,
            Self::Error,
            Self::Disabled,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .unwrap_or(Self::Unknown)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
