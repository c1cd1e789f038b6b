//! [`OAuthTokens`]: what a login gives.

use serde_json::Value;

use super::{Secret, read_lifetime};
use crate::clock::{Timestamp, later};
use crate::error::{Error, ErrorCode};

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

    /// The tokens of a token endpoint's answer, as in [RFC 6749 section 5.1](https://www.rfc-editor.org/rfc/rfc6749#section-5.1), which came
    /// at `now`. `expires_in` may be a number or a text; without one above zero the access token has no known end.
    ///
    /// [`Manager::log_in`](crate::Manager::log_in) does this and the rest of a login.
    ///
    /// ```
    /// use credpool::{Clock, OAuthTokens, SystemClock};
    /// use serde_json::json;
    ///
    /// let now = SystemClock.now();
    /// let answer = json!({"access_token": "a", "refresh_token": "r", "expires_in": 3600, "token_type": "Bearer"});
    /// let tokens = OAuthTokens::from_token_response(&answer, now)?;
    /// assert_eq!(tokens.expires_at, Some(now + std::time::Duration::from_secs(3600)));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    ///
    /// # Errors
    /// Code `refresh_failed` where there is no `access_token`, for an answer that is an error for example. Nothing of the answer is quoted but
    /// its `error`.
    pub fn from_token_response(answer: &Value, now: Timestamp) -> Result<Self, Error> {
        let text = |name: &str| {
            let text = answer.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty())
        };
        let Some(access_token) = text("access_token") else {
            let what = match text("error") {
                Some(error) => format!("the token response is an error: {error}"),
                None => "the token response holds no access_token".to_owned(),
            };
            return Err(Error::new(ErrorCode::RefreshFailed, what));
        };
        let lifetime = answer.get("expires_in").and_then(read_lifetime);
        Ok(Self {
            access_token: access_token.into(),
            refresh_token: text("refresh_token").map(Secret::from),
            expires_at: lifetime.map(|lifetime| later(now, lifetime)),
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_in_the_standards_form_is_read() {
        let now = Timestamp::UNIX_EPOCH;
        let read = |answer: &Value| OAuthTokens::from_token_response(answer, now);
        let in_a_minute = now + std::time::Duration::from_secs(60);
        for (lifetime, end) in [
            (json!(60), Some(in_a_minute)),
            (json!("60"), Some(in_a_minute)),
            (json!(1e300), Some(Timestamp::MAX)),
            (json!(0), None),
            (json!(-5), None),
            (json!(null), None),
        ] {
            let tokens =
                read(&json!({"access_token": "a", "refresh_token": "", "expires_in": lifetime}));
            let tokens = tokens.unwrap();
            assert_eq!(tokens.access_token.expose(), "a");
            assert!(tokens.refresh_token.is_none());
            assert_eq!(tokens.expires_at, end);
        }
        for (answer, what) in [
            (
                json!({"error": "invalid_grant", "error_description": "canary"}),
                "invalid_grant",
            ),
            (
                json!({"access_token": "", "refresh_token": "canary"}),
                "no access_token",
            ),
            (json!(["canary"]), "no access_token"),
        ] {
            let error = read(&answer).unwrap_err();
            assert!(error.message().contains(what) && !format!("{error:?}").contains("canary"));
        }
    }
}
