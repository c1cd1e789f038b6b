//! Credentials that get their first token without a person: a service account, a client with a secret, a login that holds a
//! refresh token alone.

use serde_json::Value;

use super::service_account::{KIND, ServiceAccount, object};
use super::{Auth, Metadata, Secret};
use crate::error::{Error, ErrorCode};

impl Auth {
    /// A credential that is a Google service account, from the JSON file that the console gives out. The file's members
    /// become the metadata.
    ///
    /// The credential has no access token yet: its first call gets one, with or without the refresher, which gets one as soon
    /// as the credential is registered. See [`refresh_tokens`](crate::provider::refresh_tokens) for what can be set.
    ///
    /// ```
    /// use credpool::Auth;
    ///
    /// // In a program: std::fs::read_to_string("service-account.json")?
    /// let file = credpool::testing::service_account_file("https://oauth2.googleapis.com/token");
    /// let auth = Auth::service_account("gemini", &file)?.with_id("robot");
    /// assert!(auth.metadata.unwrap().text("client_email").is_some());
    ///
    /// let error = Auth::service_account("gemini", "{}").unwrap_err();
    /// assert!(error.to_string().contains("client_email is missing"));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    ///
    /// # Errors
    /// Code `config` when the text is not such a file or its key is damaged. Messages quote nothing of it.
    pub fn service_account(provider: impl Into<String>, file: &str) -> Result<Self, Error> {
        let unfit = |what| {
            let what = format!("the service account cannot be used: {what}");
            Error::new(ErrorCode::Config, what)
        };
        let members = object(file).map_err(unfit)?;
        let kind = members.get("type").and_then(Value::as_str);
        if kind.is_some_and(|kind| kind != KIND) {
            return Err(unfit("its type is another than service_account"));
        }
        ServiceAccount::read(&members).map_err(unfit)?;
        let mut auth = Self::new(provider);
        auth.metadata = Some(members.into());
        Ok(auth)
    }

    /// A credential that is a client of an authorization server, with a secret of its own: attributes `grant_type`,
    /// `token_url`, `client_id` and `client_secret`.
    ///
    /// The credential has no access token yet: its first call gets one, with or without the refresher, which gets one as soon
    /// as the credential is registered. See [`refresh_tokens`](crate::provider::refresh_tokens) for what else can be set.
    ///
    /// ```
    /// use credpool::Auth;
    ///
    /// let auth = Auth::client_credentials("my-llm", "https://login.example.org/token", "my-app", "secret")
    ///     .with_attribute("scope", "llm.invoke")
    ///     .with_attribute("base_url", "https://llm.example.org/v1");
    /// assert_eq!(auth.attributes.get("grant_type"), Some("client_credentials"));
    /// ```
    pub fn client_credentials(
        provider: impl Into<String>,
        token_url: impl Into<String>,
        client_id: impl Into<String>,
        client_secret: impl Into<Secret>,
    ) -> Self {
        let mut auth = Self::new(provider)
            .with_attribute("grant_type", CLIENT_CREDENTIALS)
            .with_attribute("token_url", token_url)
            .with_attribute("client_id", client_id)
            .with_attribute("client_secret", client_secret.into().expose());
        auth.metadata = Some(Metadata::default());
        auth
    }

    /// Whether tokens come from a client's own secret.
    pub(crate) fn uses_client_credentials(&self) -> bool {
        let metadata = self.metadata.as_ref();
        let named = self.attributes.get("grant_type");
        named
            .or_else(|| metadata?.text("grant_type"))
            .is_some_and(|name| name.trim() == CLIENT_CREDENTIALS)
    }

    /// Whether tokens can be had without a person and without a token.
    pub(crate) fn gets_own_tokens(&self) -> bool {
        self.uses_client_credentials() || ServiceAccount::is_in(self)
    }

    /// Whether the credential has no access token yet and can get one without a person.
    pub(crate) fn awaits_first_token(&self) -> bool {
        (self.gets_own_tokens() && !self.has_access_token()) || self.holds_refresh_token_alone()
    }

    /// Whether a refresh token is all that the credential has: no key, and no access token under any name that programs use.
    fn holds_refresh_token_alone(&self) -> bool {
        let key = self.attributes.get("api_key");
        self.has_token(&["refresh_token"])
            && key.is_none_or(|key| key.trim().is_empty())
            && !self.has_token(&ACCESS_TOKENS)
    }

    fn has_access_token(&self) -> bool {
        self.has_token(&["access_token"])
    }

    /// Whether the metadata, or a token object in it, has a text that is not empty under one of these names.
    fn has_token(&self, names: &[&str]) -> bool {
        let Some(metadata) = &self.metadata else {
            return false;
        };
        let nested = ["token", "Token"].map(|object| metadata.get(object)?.as_object());
        std::iter::once(Some(metadata.as_map()))
            .chain(nested)
            .flatten()
            .flat_map(|object| names.iter().filter_map(|name| object.get(*name)))
            .any(|token| token.as_str().is_some_and(|token| !token.is_empty()))
    }
}

/// Names of what a login shows to its provider, as this crate and other programs write them.
const ACCESS_TOKENS: [&str; 5] = ["access_token", "accessToken", "token", "Token", "cookie"];

const CLIENT_CREDENTIALS: &str = "client_credentials";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::OAuthTokens;
    use serde_json::json;

    #[test]
    fn only_credentials_of_these_kinds_wait_for_a_first_token() {
        let client = Auth::client_credentials("p", "https://h/token", "id", "secret");
        assert!(client.awaits_first_token() && !client.is_api_key());
        let keyed = client.clone().with_attribute("api_key", "k");
        assert!(!keyed.is_api_key());
        assert!(
            !client
                .clone()
                .with_metadata("access_token", "t")
                .awaits_first_token()
        );
        let nested = client.with_metadata("token", json!({"access_token": "t"}));
        assert!(!nested.awaits_first_token());
        let named = Auth::new("p").with_metadata("grant_type", " client_credentials ");
        assert!(named.awaits_first_token());
        let robot = Auth::new("p").with_metadata("type", KIND);
        assert!(robot.awaits_first_token());
        for other in [
            Auth::new("p"),
            Auth::api_key("p", "k"),
            Auth::new("p").with_metadata("refresh_token", ""),
            Auth::new("p")
                .with_metadata("token", json!({"refresh_token": "r", "access_token": "t"})),
            Auth::new("p").with_attribute("grant_type", "refresh_token"),
        ] {
            assert!(!other.awaits_first_token());
        }
    }

    #[test]
    fn a_refresh_token_alone_waits_for_a_first_token() {
        let login = Auth::oauth("p", OAuthTokens::refresh_only("r"));
        assert_eq!(login.metadata.as_ref().map(Metadata::len), Some(1));
        assert!(login.awaits_first_token() && !login.gets_own_tokens() && !login.is_api_key());
        let stripped = login.clone().with_metadata("access_token", "");
        assert!(stripped.awaits_first_token());
        for object in ["token", "Token"] {
            let nested = Auth::new("p").with_metadata(object, json!({"refresh_token": "r"}));
            assert!(nested.awaits_first_token(), "{object}");
        }
        let keyed = |key| login.clone().with_attribute("api_key", key);
        assert!(keyed(" ").awaits_first_token() && !keyed("k").awaits_first_token());
        for name in ACCESS_TOKENS {
            let other = login.clone().with_metadata(name, "t");
            assert!(!other.awaits_first_token(), "{name}");
        }
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        for file in [
            "",
            "[]",
            "canary",
            r#"{"type":"authorized_user","client_email":"canary"}"#,
        ] {
            let error = Auth::service_account("p", file).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
            assert!(!format!("{error:?}").contains("canary"));
        }
    }
}
