//! [`OAuthTokens`]: what a login gives.

use super::Secret;
use crate::clock::Timestamp;

/// Tokens of an OAuth login, for [`Auth::oauth`](super::Auth::oauth).
///
/// ```
/// use std::time::Duration;
///
/// use credpool::{Clock, OAuthTokens, SystemClock};
///
/// let end = SystemClock.now() + Duration::from_secs(3600);
/// let tokens = OAuthTokens::new("access").with_refresh_token("refresh").with_expires_at(end);
/// assert_eq!(tokens.expires_at, Some(end));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OAuthTokens {
    /// The bearer token. Empty: a refresh gets the first one.
    pub access_token: Secret,
    /// What gets a new access token, where the provider gave one.
    pub refresh_token: Option<Secret>,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
}

impl OAuthTokens {
    /// An access token alone.
    pub fn new(access_token: impl Into<Secret>) -> Self {
        Self {
            access_token: access_token.into(),
            ..Self::default()
        }
    }

    /// A refresh token alone, as exports and imports of logins have it. The first call gets the access token.
    ///
    /// ```
    /// use credpool::{Auth, OAuthTokens};
    ///
    /// let auth = Auth::oauth("openai", OAuthTokens::refresh_only("refresh"))
    ///     .with_attribute("token_url", "https://login.example.org/token");
    /// assert_eq!(auth.metadata.unwrap().get("access_token"), None);
    /// ```
    pub fn refresh_only(token: impl Into<Secret>) -> Self {
        Self::default().with_refresh_token(token)
    }

    /// Adds the refresh token.
    pub fn with_refresh_token(mut self, token: impl Into<Secret>) -> Self {
        self.refresh_token = Some(token.into());
        self
    }

    /// Says when the access token ends.
    pub fn with_expires_at(mut self, at: Timestamp) -> Self {
        self.expires_at = Some(at);
        self
    }
}
