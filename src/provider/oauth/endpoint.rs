//! The token endpoint: one form, one answer, and what a refusal means.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::answer;
use super::setting::basic;
use crate::auth::{Auth, Wiped, make_room, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::percent::encoded;
use crate::provider::http::credential_header;
use crate::provider::http::error_body::ReportedError;
use crate::provider::http::exchange::excerpt;
use crate::provider::http::headers::JSON;
use crate::provider::http::url::endpoint;
use crate::provider::rate_limits::retry_after;
use crate::request::Timeouts;

/// A grant: how tokens are requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    RefreshToken,
    ClientCredentials,
    ServiceAccount,
}

/// A request for tokens.
pub(super) struct TokenRequest<'a> {
    grant: Grant,
    token_url: Cow<'a, str>,
    form: Zeroizing<String>,
    authorization: Option<HeaderValue>,
    /// The refresh token that is sent.
    refresh_token: Option<&'a str>,
    /// What the form holds in another spelling than the credential, and must be in no message.
    secrets: Vec<Zeroizing<String>>,
}

impl<'a> TokenRequest<'a> {
    pub(super) fn new(grant: Grant, token_url: impl Into<Cow<'a, str>>) -> Self {
        let mut request = Self {
            grant,
            token_url: token_url.into(),
            form: Zeroizing::default(),
            authorization: None,
            refresh_token: None,
            secrets: Vec::new(),
        };
        request.field("grant_type", grant.name());
        request
    }

    pub(super) fn refresh_token(&mut self, token: &'a str) {
        self.field("refresh_token", token);
        self.refresh_token = Some(token);
    }

    pub(super) fn field(&mut self, name: &str, value: &str) {
        make_room(&mut self.form, name.len() + 3 * value.len() + "&=".len());
        if !self.form.is_empty() {
            self.form.push('&');
        }
        self.form.push_str(name);
        self.form.push('=');
        let start = self.form.len();
        self.form.extend(encoded(value));
        if !NO_SECRETS.contains(&name) {
            // The encoded form of a secret is not recognised anywhere else.
            let encoded = Zeroizing::new(self.form[start..].to_owned());
            self.secrets.push(encoded);
        }
    }

    /// Adds a field whose value the credential itself does not hold.
    pub(super) fn secret_field(&mut self, name: &str, value: Zeroizing<String>) {
        self.field(name, &value);
        self.secrets.push(value);
    }

    /// Adds the client's name and secret in the way that the credential says, and its scope.
    pub(super) fn add_client(&mut self, auth: &Auth) -> Result<(), Error> {
        let add = |request: &mut Self, name| {
            if let Some(value) = auth.setting(name) {
                request.field(name, value);
            }
        };
        match auth.setting("client_auth").unwrap_or("body") {
            "body" => {
                add(self, "client_id");
                add(self, "client_secret");
            }
            "basic" => {
                let client = auth.setting("client_id").zip(auth.setting("client_secret"));
                let (id, secret) = client.ok_or_else(|| {
                    auth.unfit("client_auth = basic needs client_id and client_secret")
                })?;
                self.authorization = credential_header::sensitive(basic(id, secret));
            }
            _ => return Err(auth.unfit("client_auth is neither body nor basic")),
        }
        add(self, "scope");
        Ok(())
    }

    /// Asks, and returns the answer, which has an access token, a new refresh token, or both.
    pub(super) fn send(mut self, attempt: &Attempt, auth: &Auth) -> Result<Wiped<Value>, Error> {
        let form = Bytes::from_owner(std::mem::take(&mut self.form));
        let request = http::Request::from_parts(self.head(auth)?, form);
        let limits = attempt.call_limits(&Timeouts::new().with_total(LONGEST));
        let answer = attempt.send_unpooled(auth, request, &limits)?;
        let (head, body) = answer.into_parts();
        let json = answer::read(&body.into_secret(LARGEST_ANSWER)?);
        if head.status.is_success() && self.is_granted_by(&json) {
            return Ok(json);
        }
        let problem = ReportedError::find(&json);
        let error = if !head.status.is_success() || problem.is_some() {
            self.refused(auth, head.status, problem.unwrap_or_default())
        } else {
            let what = "the token endpoint's answer holds no access_token";
            // The old refresh token may or may not be spent: only another attempt tells.
            Error::new(ErrorCode::RefreshFailed, what)
                .with_http_status(head.status.as_u16())
                .with_auth_id(&auth.id)
                .with_retryable(true)
        };
        Err(match retry_after(&head.headers, attempt.clock().now()) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        })
    }

    /// Whether the answer brings what must not be lost: an access token, or a refresh token in place of the one that was sent.
    fn is_granted_by(&self, json: &Value) -> bool {
        let rotated = || text(json, "refresh_token").filter(|_| self.refresh_token.is_some());
        text(json, "access_token").is_some()
            || rotated().is_some_and(|token| self.refresh_token != Some(token))
    }

    fn head(&self, auth: &Auth) -> Result<Parts, Error> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = http::Method::POST;
        head.uri = endpoint(auth, &self.token_url, "", &[])?;
        head.headers = HeaderMap::from_iter([
            (ACCEPT, HeaderValue::from_static(JSON)),
            (CONTENT_TYPE, HeaderValue::from_static(FORM)),
        ]);
        let authorization = self.authorization.clone();
        head.headers
            .extend(authorization.map(|value| (AUTHORIZATION, value)));
        Ok(head)
    }

    /// The error that an answer without tokens is.
    fn refused(&self, auth: &Auth, status: StatusCode, problem: ReportedError) -> Error {
        let number = status.as_u16();
        let name = problem.code.as_deref().or(problem.kind.as_deref());
        let transient = matches!(number, 408 | 429 | 500..=599)
            || name.is_some_and(|name| PASSING.contains(&name));
        let (code, advice) = match name {
            Some(name) if !transient => self.grant.judge(name),
            _ => (ErrorCode::RefreshFailed, ""),
        };
        let said = [problem.name(), problem.message];
        let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
        let said = self.without_secrets(auth, &said);
        let mut message = format!("the token endpoint answered HTTP {number}");
        if !said.is_empty() {
            message = format!("{message}, {said}");
        }
        Error::new(code, message + advice)
            .with_http_status(number)
            .with_retryable(transient)
            .with_auth_id(&auth.id)
    }

    fn without_secrets(&self, auth: &Auth, text: &str) -> String {
        let mut text = text.to_owned();
        // Shorter ones would cut common words.
        let secrets = self.secrets.iter();
        for secret in secrets.filter(|secret| secret.len() >= SHORTEST) {
            text = text.replace(secret.as_str(), "***");
            // An assertion is useless without its signature, which may stand alone.
            if let Some((_, signature)) = secret.rsplit_once('.') {
                text = text.replace(signature, "***");
            }
        }
        let client = auth.setting("client_id").zip(auth.setting("client_secret"));
        if let Some((id, secret)) = client {
            text = text.replace(&basic(id, secret)["Basic ".len()..], "***");
        }
        excerpt(&scrub(&text, auth))
    }
}

impl Grant {
    fn name(self) -> &'static str {
        match self {
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::ServiceAccount => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }

    /// What a refusal by this name means, and what to do about it.
    fn judge(self, name: &str) -> (ErrorCode, &'static str) {
        let is_over = GRANT_IS_OVER.contains(&name);
        let is_unknown = matches!(name, "invalid_client" | "unauthorized_client");
        match self {
            Self::RefreshToken if is_over => (ErrorCode::NeedsLogin, ": log in again"),
            Self::RefreshToken | Self::ClientCredentials if is_over || is_unknown => (
                ErrorCode::Config,
                ": check client_id, client_secret and client_auth",
            ),
            Self::ServiceAccount if is_over || is_unknown => (
                ErrorCode::Config,
                ": check the service account, its key and its scope, and this machine's clock",
            ),
            _ => (ErrorCode::RefreshFailed, ""),
        }
    }
}

/// Refuses a record that has no place for a token: giving it metadata would have it written to the store.
pub(super) fn check_place(auth: &Auth) -> Result<(), Error> {
    if auth.metadata.is_none() && !auth.runtime_only {
        let what = "it has no metadata to keep tokens in";
        return Err(auth.unfit(what));
    }
    Ok(())
}

/// A member that is text and not empty.
pub(super) fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// `invalid_grant` of [RFC 6749 section 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2), and what servers say
/// instead of it. The last five are those for which Microsoft's client library has a person log in:
/// <https://learn.microsoft.com/javascript/api/@azure/msal-node/interactionrequiredautherrorcodes>.
const GRANT_IS_OVER: [&str; 15] = [
    "invalid_grant",
    "invalid_refresh_token",
    "bad_refresh_token",
    "refresh_token_reused",
    "refresh_token_invalidated",
    "refresh_token_expired",
    "refresh_token_revoked",
    "expired_token",
    "token_expired",
    "token_revoked",
    "interaction_required",
    "login_required",
    "consent_required",
    "interrupted_user",
    "bad_token",
];

/// What [RFC 6749 section 4.1.2.1](https://www.rfc-editor.org/rfc/rfc6749#section-4.1.2.1) has for 503 and 500: some token endpoints
/// answer so with another status.
const PASSING: [&str; 2] = ["temporarily_unavailable", "server_error"];

/// Fields that may be shown.
const NO_SECRETS: [&str; 3] = ["grant_type", "client_id", "scope"];

const SHORTEST: usize = 6;
const FORM: &str = "application/x-www-form-urlencoded";
const LARGEST_ANSWER: usize = 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::super::refresh_token;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    fn auth(metadata: Value) -> Auth {
        let mut auth = Auth::new("openai")
            .with_id("team")
            .with_attribute("token_url", "https://login.example/token");
        let Value::Object(metadata) = metadata else {
            panic!("metadata is an object");
        };
        auth.metadata = Some(metadata.into());
        auth
    }

    fn form_and_head(auth: &Auth) -> (String, Parts) {
        let (request, _) = refresh_token::request(auth).unwrap();
        (request.form.to_string(), request.head(auth).unwrap())
    }

    #[test]
    fn settings_are_looked_up_outwards_in() {
        let auth = auth(json!({
            "client_id": "top", "refresh_token": "",
            "token": {"refresh_token": "a b", "client_id": "nested", "client_secret": "s&s", "scope": "x"},
        }));
        let (form, head) = form_and_head(&auth);
        assert_eq!(
            form,
            "grant_type=refresh_token&refresh_token=a%20b&client_id=top&client_secret=s%26s&scope=x"
        );
        assert!(!head.headers.contains_key(AUTHORIZATION));
        let (form, head) = form_and_head(&auth.with_attribute("client_auth", "basic"));
        assert_eq!(form, "grant_type=refresh_token&refresh_token=a%20b&scope=x");
        assert_eq!(
            head.headers[AUTHORIZATION],
            format!("Basic {}", STANDARD.encode("top:s%26s"))
        );
        assert!(head.headers[AUTHORIZATION].is_sensitive());
    }

    #[test]
    fn what_is_missing_is_said() {
        let code = |auth: &Auth| {
            let error = refresh_token::request(auth)
                .and_then(|(request, _)| request.head(auth).map(drop))
                .unwrap_err();
            assert_eq!(error.auth_id(), Some("team"));
            error.code().clone()
        };
        assert_eq!(
            code(&auth(json!({"access_token": "a"}))),
            ErrorCode::NeedsLogin
        );
        let auth = auth(json!({"refresh_token": "r"}));
        for (name, value) in [
            ("token_url", ""),
            ("token_url", "http://h.example"),
            ("client_auth", "basic"),
            ("client_auth", "jwt"),
        ] {
            assert_eq!(
                code(&auth.clone().with_attribute(name, value)),
                ErrorCode::Config
            );
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let auth = auth(
            json!({"refresh_token": "canary-r", "client_id": "me", "client_secret": "canary-s"}),
        );
        let basic = STANDARD.encode("me:canary-s");
        let refusal_of = |grant: Grant, status: u16, code: &str| {
            let mut request = TokenRequest::new(grant, "https://login.example/token");
            request.secret_field(
                "assertion",
                "canary-head.canary-claims.canary-sig".to_owned().into(),
            );
            let description = format!(
                "canary-r canary-s {basic} canary-head.canary-claims.canary-sig canary-sig"
            );
            let body = json!({"error": code, "error_description": description});
            let error = request.refused(
                &auth,
                StatusCode::from_u16(status).unwrap(),
                ReportedError::find(&body).unwrap(),
            );
            assert!(
                !error.message().contains("canary") && !error.message().contains(&basic),
                "{error}"
            );
            assert_eq!(error.http_status(), Some(status));
            (error.code().clone(), error.is_retryable())
        };
        for name in GRANT_IS_OVER {
            let refusal = |grant| refusal_of(grant, 400, name);
            assert_eq!(refusal(Grant::RefreshToken), (ErrorCode::NeedsLogin, false));
            assert_eq!(
                refusal(Grant::ClientCredentials),
                (ErrorCode::Config, false)
            );
            assert_eq!(refusal(Grant::ServiceAccount), (ErrorCode::Config, false));
        }
        for grant in [
            Grant::RefreshToken,
            Grant::ClientCredentials,
            Grant::ServiceAccount,
        ] {
            assert_eq!(
                refusal_of(grant, 401, "invalid_client"),
                (ErrorCode::Config, false)
            );
            assert_eq!(
                refusal_of(grant, 400, "invalid_scope"),
                (ErrorCode::RefreshFailed, false)
            );
            for status in [408, 429, 500, 503] {
                assert_eq!(
                    refusal_of(grant, status, "invalid_grant"),
                    (ErrorCode::RefreshFailed, true)
                );
            }
        }
    }
}
