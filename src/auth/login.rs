//! Credentials that get their first token without a person: service account, client credentials, refresh token alone.

use serde_json::Value;

use super::service_account::{KIND, ServiceAccount, object};
use super::{Auth, Exchange, Metadata, Secret};
use crate::error::Error;

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
            Error::config(what)
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

    /// A credential that is a user's login with Google, from the JSON file of type `authorized_user` that
    /// `gcloud auth application-default login` writes
    /// (<https://cloud.google.com/docs/authentication/application-default-credentials#personal>). The file's members become
    /// the metadata.
    ///
    /// It has no access token yet: [`Manager::refresh_now`](crate::Manager::refresh_now) gets one, from
    /// `https://oauth2.googleapis.com/token` where the file names no other place. The file's `quota_project_id` is the
    /// project that calls of [`Gemini`](crate::provider::Gemini) count for.
    ///
    /// A file that is dropped into the directory of a [`FileStore`](crate::FileStore) is of provider `authorized_user`:
    /// `Gemini::named("authorized_user")` serves it.
    ///
    /// ```
    /// use credpool::Auth;
    ///
    /// // In a program: std::fs::read_to_string("application_default_credentials.json")?
    /// let file = r#"{"type": "authorized_user", "client_id": "app", "client_secret": "s", "refresh_token": "1//r"}"#;
    /// let auth = Auth::authorized_user("gemini", file)?.with_id("ada");
    /// assert_eq!(auth.metadata.unwrap().text("refresh_token"), Some("1//r"));
    ///
    /// let error = Auth::authorized_user("gemini", "{}").unwrap_err();
    /// assert!(error.to_string().contains("client_id is missing"));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    ///
    /// # Errors
    /// Code `config` when the text is not such a file. Messages quote nothing of it.
    pub fn authorized_user(provider: impl Into<String>, file: &str) -> Result<Self, Error> {
        let unfit = |what: &str| {
            let what = format!("the login of an authorized user cannot be used: {what}");
            Error::config(what)
        };
        let mut members = object(file).map_err(unfit)?;
        match members.get("type").map(Value::as_str) {
            None => members.insert("type".into(), AUTHORIZED_USER.into()),
            Some(Some(AUTHORIZED_USER)) => None,
            Some(_) => return Err(unfit("its type is another than authorized_user")),
        };
        for name in ["client_id", "client_secret", "refresh_token"] {
            let text = members.get(name).and_then(Value::as_str);
            if text.is_none_or(|text| text.trim().is_empty()) {
                return Err(unfit(&format!("{name} is missing")));
            }
        }
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

    /// Whether it is a user's login in the form of Google's files.
    pub(crate) fn is_authorized_user(&self) -> bool {
        let metadata = self.metadata.as_ref();
        metadata.is_some_and(|metadata| metadata.text("type") == Some(AUTHORIZED_USER))
    }

    /// Whether tokens can be had without a person and without a token.
    pub(crate) fn gets_own_tokens(&self) -> bool {
        self.uses_client_credentials() || ServiceAccount::is_in(self) || Exchange::is_in(self)
    }

    /// Whether the credential has no access token yet and can get one without a person.
    pub(crate) fn awaits_first_token(&self) -> bool {
        (self.gets_own_tokens() && !self.has_access_token()) || self.holds_refresh_token_alone()
    }

    /// Whether a refresh token is all that the credential has: no key, and no access token under any name that programs use.
    fn holds_refresh_token_alone(&self) -> bool {
        self.has_token(&["refresh_token"])
            && self.attributes.filled("api_key").is_none()
            && !self.has_token(&ACCESS_TOKENS)
    }

    fn has_access_token(&self) -> bool {
        self.has_token(&["access_token"])
    }

    /// Whether the metadata, or a token object in it, has a text that is not empty under one of these names.
    fn has_token(&self, names: &[&str]) -> bool {
        let mut texts = names.iter().flat_map(|name| self.texts(name));
        texts.any(|token| !token.is_empty())
    }
}

/// Names of what a login shows to its provider, as this crate and other programs write them.
const ACCESS_TOKENS: [&str; 5] = ["access_token", "accessToken", "token", "Token", "cookie"];

const CLIENT_CREDENTIALS: &str = "client_credentials";
const AUTHORIZED_USER: &str = "authorized_user";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::OAuthTokens;
    use crate::error::ErrorCode;
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
    fn a_users_file_is_taken_as_a_whole_or_refused() {
        let file = json!({
            "type": "authorized_user", "client_id": "app", "client_secret": "s", "refresh_token": "1//r",
            "quota_project_id": "proj", "account": "",
        });
        let auth = Auth::authorized_user("gemini", &format!("\u{feff}{file}")).unwrap();
        assert_eq!(Value::from(auth.metadata.unwrap().as_map().clone()), file);
        for name in ["client_id", "client_secret", "refresh_token"] {
            for odd in [json!(null), json!(" "), json!(["canary"])] {
                let mut file = file.clone();
                file[name] = odd;
                let error = Auth::authorized_user("gemini", &file.to_string()).unwrap_err();
                assert!(error.to_string().contains(&format!("{name} is missing")));
                assert!(!format!("{error:?}").contains("canary"));
            }
        }
        for kind in [json!("service_account"), json!(null), json!(7)] {
            let mut file = file.clone();
            file["type"] = kind;
            let error = Auth::authorized_user("gemini", &file.to_string()).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
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
