//! The token endpoint: one request, one answer, and what a refusal means.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::answer;
use super::setting::basic;
use crate::auth::{Auth, BodyForm, ExchangeGrant, GOOGLE_METADATA_HOST, JWT_BEARER, Wiped, scrub};
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, Body};
use crate::percent::encoded;
use crate::provider::http::credential_header;
use crate::provider::http::error_body::ReportedError;
use crate::provider::http::exchange::excerpt;
use crate::provider::http::headers::JSON;
use crate::provider::http::url::endpoint;
use crate::provider::rate_limits::retry_after;
use crate::request::Timeouts;

/// What is requested, and by which grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    RefreshToken,
    ClientCredentials,
    ServiceAccount,
    /// A device code and what a person has to enter: no tokens yet.
    DeviceAuthorization,
    DeviceCode,
    AuthorizationCode,
    Exchange(ExchangeGrant),
    /// A token of a service account, for the token of another account: no OAuth grant.
    Impersonation,
}

/// A request to an authorization server.
pub(crate) struct TokenRequest<'a> {
    grant: Grant,
    url: Cow<'a, str>,
    body: BodyForm,
    fields: Vec<Field<'a>>,
    headers: HeaderMap,
    /// The refresh token that is sent.
    refresh_token: Option<&'a str>,
}

struct Field<'a> {
    name: Cow<'a, str>,
    value: Zeroizing<String>,
    kind: FieldKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldKind {
    /// It may be shown in a message.
    Shown,
    Secret,
    /// Words, which are an array in JSON.
    List,
}

/// An answer without what was requested.
pub(crate) struct Refusal {
    /// The code of [RFC 6749 section 5.2](https://www.rfc-editor.org/rfc/rfc6749#section-5.2), or what the server says instead.
    pub(crate) name: Option<String>,
    pub(crate) error: Error,
}

impl<'a> TokenRequest<'a> {
    pub(crate) fn new(grant: Grant, url: impl Into<Cow<'a, str>>) -> Self {
        let mut request = Self {
            grant,
            url: url.into(),
            body: BodyForm::Form,
            fields: Vec::new(),
            headers: HeaderMap::new(),
            refresh_token: None,
        };
        if let Some(name) = grant.name() {
            request.shown_field("grant_type", name);
        }
        request
    }

    pub(crate) fn with_body(mut self, body: BodyForm) -> Self {
        self.body = body;
        self
    }

    pub(crate) fn header(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    pub(crate) fn refresh_token(&mut self, token: &'a str) {
        self.secret_field("refresh_token", token);
        self.refresh_token = Some(token);
    }

    /// Adds a field that may be shown in a message.
    pub(crate) fn shown_field(&mut self, name: impl Into<Cow<'a, str>>, value: &str) {
        self.field(name.into(), value, FieldKind::Shown);
    }

    /// Adds words with spaces between them, which are an array in JSON.
    pub(super) fn list_field(&mut self, name: &'static str, words: &str) {
        self.field(name.into(), words, FieldKind::List);
    }

    /// Adds a field that must be in no message.
    pub(crate) fn secret_field(&mut self, name: &'static str, value: &str) {
        self.field(name.into(), value, FieldKind::Secret);
    }

    fn field(&mut self, name: Cow<'a, str>, value: &str, kind: FieldKind) {
        self.fields.push(Field {
            name,
            value: Zeroizing::new(value.to_owned()),
            kind,
        });
    }

    /// Adds the client's name and secret in the way that the credential says.
    pub(crate) fn add_client(&mut self, auth: &Auth) -> Result<(), Error> {
        match auth.setting("client_auth").unwrap_or("body") {
            "body" => {
                if let Some(id) = auth.setting("client_id") {
                    self.shown_field("client_id", id);
                }
                if let Some(secret) = auth.setting("client_secret") {
                    self.secret_field("client_secret", secret);
                }
            }
            "basic" => self.add_client_header(auth)?,
            _ => return Err(auth.unfit("client_auth is neither body nor basic")),
        }
        Ok(())
    }

    /// Adds the client's name and secret as a header.
    pub(super) fn add_client_header(&mut self, auth: &Auth) -> Result<(), Error> {
        let client = auth.setting("client_id").zip(auth.setting("client_secret"));
        let (id, secret) = client
            .ok_or_else(|| auth.unfit("client_auth = basic needs client_id and client_secret"))?;
        if let Some(value) = credential_header::sensitive(basic(id, secret)) {
            self.header(AUTHORIZATION, value);
        }
        Ok(())
    }

    pub(crate) fn add_scope(&mut self, auth: &Auth) {
        if let Some(scope) = auth.setting("scope") {
            self.shown_field("scope", scope);
        }
    }

    /// Asks, and returns the answer, which has an access token, a new refresh token, or both.
    pub(crate) fn send(self, attempt: &Attempt, auth: &Auth) -> Result<Wiped<Value>, Error> {
        self.ask(attempt, auth).map_err(|refusal| refusal.error)
    }

    /// As [`send`](Self::send); a refusal has its name.
    pub(crate) fn ask(self, attempt: &Attempt, auth: &Auth) -> Result<Wiped<Value>, Refusal> {
        let answer = send(attempt, auth, &self.url, |auth| {
            let head = self.head(auth)?;
            Ok(http::Request::from_parts(head, self.document()))
        })?;
        let (head, body) = answer.into_parts();
        let json = answer::read(&body.into_secret(LARGEST_ANSWER)?);
        if head.status.is_success() && self.is_granted_by(&json) {
            return Ok(json);
        }
        let problem = ReportedError::find(&json);
        let mut refusal = if !head.status.is_success() || problem.is_some() {
            self.refused(auth, head.status, problem.unwrap_or_default())
        } else {
            let place = self.grant.place();
            let what = format!("the {place}'s answer holds no {}", self.grant.wanted());
            // The old refresh token may or may not be spent: only another attempt tells.
            Error::new(ErrorCode::RefreshFailed, what)
                .with_http_status(head.status.as_u16())
                .with_auth_id(&auth.id)
                .with_retryable(true)
                .into()
        };
        if let Some(wait) = retry_after(&head.headers, attempt.clock().now()) {
            refusal.error = refusal.error.with_retry_after(wait);
        }
        Err(refusal)
    }

    /// Whether the answer brings what must not be lost: an access token, or a refresh token in place of the one that was sent.
    fn is_granted_by(&self, json: &Value) -> bool {
        let rotated = || text(json, "refresh_token").filter(|_| self.refresh_token.is_some());
        text(json, self.grant.wanted()).is_some()
            || rotated().is_some_and(|token| self.refresh_token != Some(token))
    }

    fn head(&self, auth: &Auth) -> Result<Parts, Error> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.uri = endpoint(auth, &self.url, "", &[])?;
        head.headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(JSON))]);
        if self.grant.is_read() {
            head.method = http::Method::GET;
        } else {
            head.method = http::Method::POST;
            let kind = match self.body {
                BodyForm::Form => FORM,
                BodyForm::Json => JSON,
            };
            head.headers
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        head.headers.extend(self.headers.clone());
        Ok(head)
    }

    /// The body: its fields in the form that the server reads.
    fn document(&self) -> Bytes {
        if self.grant.is_read() {
            return Bytes::new();
        }
        let sizes = self.fields.iter();
        let sizes = sizes.map(|field| field.name.len() + 6 * field.value.len() + 8);
        let mut text = Zeroizing::new(String::with_capacity(sizes.sum::<usize>() + 2));
        match self.body {
            BodyForm::Form => {
                for field in &self.fields {
                    if !text.is_empty() {
                        text.push('&');
                    }
                    text.extend(encoded(&field.name));
                    text.push('=');
                    text.extend(encoded(&field.value));
                }
            }
            BodyForm::Json => {
                text.push('{');
                for field in &self.fields {
                    if text.len() > 1 {
                        text.push(',');
                    }
                    text.push_str(&quoted(&field.name));
                    text.push(':');
                    if field.kind == FieldKind::List {
                        let words: Vec<_> = field.value.split_whitespace().collect();
                        text.push_str(&serde_json::to_string(&words).unwrap_or_default());
                    } else {
                        text.push_str(&quoted(&field.value));
                    }
                }
                text.push('}');
            }
        }
        Bytes::from_owner(text)
    }

    /// The error that an answer without tokens is.
    fn refused(&self, auth: &Auth, status: StatusCode, problem: ReportedError) -> Refusal {
        let number = status.as_u16();
        let name = problem.code.as_deref().or(problem.kind.as_deref());
        let transient = matches!(number, 408 | 429 | 500..=599)
            || name.is_some_and(|name| PASSING.contains(&name));
        let (code, advice) = match name {
            Some(name) if !transient => self.grant.judge(name),
            _ => (ErrorCode::RefreshFailed, ""),
        };
        let name = name.map(str::to_owned);
        let said = [problem.name(), problem.message];
        let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
        let said = self.without_secrets(auth, &said);
        let mut message = format!("the {} answered HTTP {number}", self.grant.place());
        if !said.is_empty() {
            message = format!("{message}, {said}");
        }
        let error = Error::new(code, message + advice)
            .with_http_status(number)
            .with_retryable(transient)
            .with_auth_id(&auth.id);
        Refusal { name, error }
    }

    fn without_secrets(&self, auth: &Auth, text: &str) -> String {
        let mut text = text.to_owned();
        let secrets = self
            .fields
            .iter()
            .filter(|field| field.kind == FieldKind::Secret);
        // Shorter ones would cut common words.
        for secret in secrets
            .map(|field| &field.value)
            .filter(|value| value.len() >= SHORTEST)
        {
            text = text.replace(secret.as_str(), "***");
            let as_sent = Zeroizing::new(encoded(secret).to_string());
            text = text.replace(as_sent.as_str(), "***");
            // An assertion is useless without its signature, which may stand alone.
            if let Some((_, signature)) =
                secret.rsplit_once('.').filter(|(_, s)| s.len() >= SHORTEST)
            {
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

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { name: None, error }
    }
}

impl Grant {
    /// What `grant_type` says.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::RefreshToken => Some("refresh_token"),
            Self::ClientCredentials => Some("client_credentials"),
            Self::ServiceAccount => Some(JWT_BEARER),
            Self::DeviceAuthorization | Self::Impersonation => None,
            Self::DeviceCode => Some("urn:ietf:params:oauth:grant-type:device_code"),
            Self::AuthorizationCode => Some("authorization_code"),
            Self::Exchange(grant) => grant.grant_type(),
        }
    }

    /// What is asked, in words.
    fn place(self) -> &'static str {
        match self {
            Self::DeviceAuthorization => "device authorization endpoint",
            Self::Exchange(ExchangeGrant::MetadataServer) => "metadata server",
            Self::Impersonation => "impersonation endpoint",
            _ => "token endpoint",
        }
    }

    /// The member without which an answer is none.
    fn wanted(self) -> &'static str {
        match self {
            Self::DeviceAuthorization => "device_code",
            _ => "access_token",
        }
    }

    /// Whether the address alone says what is wanted.
    fn is_read(self) -> bool {
        self == Self::Exchange(ExchangeGrant::MetadataServer)
    }

    /// What a refusal by this name means, and what to do about it.
    fn judge(self, name: &str) -> (ErrorCode, &'static str) {
        let is_over = GRANT_IS_OVER.contains(&name);
        let is_unknown = matches!(name, "invalid_client" | "unauthorized_client");
        match self {
            Self::RefreshToken if is_over => (ErrorCode::NeedsLogin, ": log in again"),
            Self::DeviceCode | Self::AuthorizationCode if is_over => {
                (ErrorCode::NeedsLogin, ": begin the login again")
            }
            Self::DeviceCode if name == "access_denied" => (
                ErrorCode::NeedsLogin,
                ": the person or the server declined; begin the login again",
            ),
            Self::ServiceAccount if is_over || is_unknown => (
                ErrorCode::Config,
                ": check the service account, its key and its scope, and this machine's clock",
            ),
            Self::Exchange(_) if is_over || is_unknown => (
                ErrorCode::RefreshFailed,
                ": check the subject token, its issuer, audience and expiry, and what the server trusts",
            ),
            _ if is_over || is_unknown => (
                ErrorCode::Config,
                ": check client_id, client_secret and client_auth",
            ),
            _ => (ErrorCode::RefreshFailed, ""),
        }
    }
}

/// Sends a request over a connection of its own; to a server of the machine's own link past every proxy, and over plain `http`.
pub(super) fn send(
    attempt: &Attempt,
    auth: &Auth,
    url: &str,
    request: impl FnOnce(&Auth) -> Result<http::Request<Bytes>, Error>,
) -> Result<http::Response<Body>, Error> {
    let limits = attempt.call_limits(&Timeouts::new().with_total(LONGEST));
    if is_on_the_link(url) {
        let bare = Auth::new(&*auth.provider).with_id(&*auth.id);
        let bare = bare.with_attribute("allow_http", "true");
        return attempt.send_direct(&bare, request(&bare)?, &limits);
    }
    attempt.send_unpooled(auth, request(auth)?, &limits)
}

/// Whether a server is no further than the machine's own link, where nothing is routed through others.
fn is_on_the_link(url: &str) -> bool {
    let uri = url.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(http::Uri::host);
    host.is_some_and(|host| {
        let address = host.parse::<std::net::Ipv4Addr>();
        host == GOOGLE_METADATA_HOST || address.is_ok_and(|address| address.is_link_local())
    })
}

/// A text as JSON.
fn quoted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string(text).unwrap_or_default())
}

/// Refuses a record that has no place for a token: giving it metadata would have it written to the store.
pub(crate) fn check_place(auth: &Auth) -> Result<(), Error> {
    if auth.metadata.is_none() && !auth.runtime_only {
        let what = "it has no metadata to keep tokens in";
        return Err(auth.unfit(what));
    }
    Ok(())
}

/// A member that is text and not empty.
pub(crate) fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
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
        let form = String::from_utf8(request.document().to_vec()).unwrap();
        (form, request.head(auth).unwrap())
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
            request.secret_field("assertion", "canary-head.canary-claims.canary-sig");
            let description = format!(
                "canary-r canary-s {basic} canary-head.canary-claims.canary-sig canary-sig"
            );
            let body = json!({"error": code, "error_description": description});
            let refusal = request.refused(
                &auth,
                StatusCode::from_u16(status).unwrap(),
                ReportedError::find(&body).unwrap(),
            );
            assert_eq!(refusal.name.as_deref(), Some(code));
            let error = refusal.error;
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
