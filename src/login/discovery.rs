//! The endpoints of an authorization server: as the program names them, or as the issuer publishes them.

use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::Attempt;
use crate::json::parse_lenient;
use crate::request::Timeouts;
use crate::transport::check_url;

/// Where a login begins and ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Endpoints {
    pub(super) issuer: Option<String>,
    pub(super) authorization_url: Option<String>,
    pub(super) device_url: Option<String>,
    pub(super) token_url: String,
    /// The server says who it is in what the browser brings back: [RFC 9207](https://www.rfc-editor.org/rfc/rfc9207).
    pub(super) names_itself: bool,
    /// The server takes a client's secret as a header alone.
    pub(super) wants_basic: bool,
}

impl Endpoints {
    /// As the program names them.
    pub(super) fn told(issuer: Option<&str>, begin: &str, token: &str) -> Self {
        Self {
            issuer: issuer.map(str::to_owned),
            authorization_url: Some(begin.to_owned()),
            device_url: Some(begin.to_owned()),
            token_url: token.to_owned(),
            ..Self::default()
        }
    }

    /// As a document of [RFC 8414 section 2](https://www.rfc-editor.org/rfc/rfc8414#section-2) says. The error is what is wrong with it.
    fn read(issuer: &str, document: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let list = |name: &str| document.get(name).and_then(Value::as_array);
        let has = |list: &[Value], name: &str| list.iter().any(|value| value == name);
        // Section 3.3: another issuer's document may be an attack.
        if text("issuer").as_deref() != Some(issuer) {
            return Err("it is of another issuer");
        }
        let methods = list("code_challenge_methods_supported");
        if methods.is_some_and(|methods| !has(methods, "S256")) {
            return Err("the server does not support PKCE with S256");
        }
        let client_auth = list("token_endpoint_auth_methods_supported");
        Ok(Self {
            issuer: Some(issuer.to_owned()),
            authorization_url: text("authorization_endpoint"),
            device_url: text("device_authorization_endpoint"),
            token_url: text("token_endpoint").ok_or("it names no token_endpoint")?,
            names_itself: document["authorization_response_iss_parameter_supported"] == true,
            wants_basic: client_auth.is_some_and(|methods| {
                has(methods, "client_secret_basic") && !has(methods, "client_secret_post")
            }),
        })
    }
}

/// Reads the endpoints that an issuer publishes.
pub(super) fn discover(attempt: &Attempt, auth: &Auth, issuer: &str) -> Result<Endpoints, Error> {
    let mut last = None;
    for url in places(issuer) {
        let mut request = http::Request::new(Bytes::new());
        *request.uri_mut() = check_url(&url, auth)?;
        let limits = attempt.call_limits(&Timeouts::new().with_total(super::LONGEST_REQUEST));
        let answer = attempt.send_unpooled(auth, request, &limits)?;
        let status = answer.status();
        let body = answer.into_body().into_bytes(LARGEST)?;
        if status == StatusCode::OK
            && let Ok(document) = parse_lenient(&body)
        {
            return Endpoints::read(issuer, &document).map_err(|what| {
                let what = format!("the login server's own description cannot be used: {what}");
                Error::config(what).with_auth_id(&auth.id)
            });
        }
        last = Some(status);
    }
    let status = last.map_or(0, |status| status.as_u16());
    let what = format!("the issuer publishes no endpoints: the last answer was HTTP {status}");
    let error = Error::new(ErrorCode::RefreshFailed, what).with_auth_id(&auth.id);
    Err(error.with_http_status(status).with_retryable(status >= 500))
}

/// Where the document is: [RFC 8414 section 3.1](https://www.rfc-editor.org/rfc/rfc8414#section-3.1), and OpenID Connect Discovery 1.0
/// section 4.
fn places(issuer: &str) -> [String; 2] {
    let issuer = issuer.trim_end_matches('/');
    let after_scheme = issuer.find("://").map_or(0, |at| at + "://".len());
    let path_at = issuer[after_scheme..].find('/');
    let (host, path) = issuer.split_at(path_at.map_or(issuer.len(), |at| after_scheme + at));
    [
        format!("{host}/.well-known/oauth-authorization-server{path}"),
        format!("{issuer}/.well-known/openid-configuration"),
    ]
}

/// In bytes.
const LARGEST: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_document_is_looked_for_as_both_standards_say() {
        assert_eq!(
            places("https://h:1/tenant/"),
            [
                "https://h:1/.well-known/oauth-authorization-server/tenant",
                "https://h:1/tenant/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            places("https://h"),
            [
                "https://h/.well-known/oauth-authorization-server",
                "https://h/.well-known/openid-configuration",
            ]
        );
    }

    #[test]
    fn a_document_is_taken_from_its_own_issuer_alone() {
        let document = json!({
            "issuer": "https://h", "token_endpoint": "https://h/t", "device_authorization_endpoint": "https://h/d",
            "code_challenge_methods_supported": ["plain", "S256"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "authorization_response_iss_parameter_supported": true,
        });
        let endpoints = Endpoints::read("https://h", &document).unwrap();
        assert_eq!(endpoints.device_url.as_deref(), Some("https://h/d"));
        assert!(endpoints.names_itself && endpoints.wants_basic);
        assert_eq!(endpoints.authorization_url, None);
        for (name, value) in [
            ("issuer", json!("https://h/")),
            ("token_endpoint", json!(null)),
            ("code_challenge_methods_supported", json!(["plain"])),
        ] {
            let mut other = document.clone();
            other[name] = value;
            assert!(Endpoints::read("https://h", &other).is_err(), "{name}");
        }
    }
}
