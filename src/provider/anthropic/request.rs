//! Anthropic's own headers and paths, and the members that its token count refuses.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::auth::Auth;
use crate::error::Error;
use crate::provider::http::credential_header;
use crate::provider::http::headers::{base_url, configured_headers};

/// Where the API is.
pub(super) const BASE_URL: &str = "https://api.anthropic.com";

/// The key or token, and what the attributes ask for.
pub(super) fn credential_headers(auth: &Auth) -> Result<HeaderMap, Error> {
    let mut own = configured_headers(auth, &NAMED_HEADERS)?;
    let api_key = auth.attributes.get("api_key");
    if let Some(secret) = api_key.filter(|secret| !secret.is_empty()) {
        own.insert(API_KEY, credential_header::key_value(auth, secret)?);
    } else if let Some(token) = credential_header::secret_of(auth) {
        own.insert(AUTHORIZATION, credential_header::bearer_value(auth, token)?);
        own.remove(API_KEY);
    } else if !KEY_HEADERS.iter().any(|name| own.contains_key(name)) {
        return Err(credential_header::missing(auth));
    }
    Ok(own)
}

/// A call adds betas, can ask for a version where the credential does not, and brings no credential.
pub(super) fn merge(own: &mut HeaderMap, call: &mut HeaderMap) {
    for name in &KEY_HEADERS {
        call.remove(name);
    }
    if let Some(betas) = betas(own, call) {
        own.insert(BETA, betas);
    }
    if !call.contains_key(VERSION) && !own.contains_key(VERSION) {
        own.insert(VERSION, HeaderValue::from_static(OLDEST_VERSION));
    }
}

/// Where messages are created. A base URL may name the API's version, as that of other vendors does.
pub(super) fn messages_path(auth: &Auth) -> &'static str {
    let base = base_url(BASE_URL, auth);
    let place = base.split_once('?').map_or(base, |(place, _)| place);
    if place.trim_end_matches('/').ends_with("/v1") {
        "/messages"
    } else {
        "/v1/messages"
    }
}

/// The betas of both, each once; `None` where there are none.
fn betas(own: &HeaderMap, call: &HeaderMap) -> Option<HeaderValue> {
    let mut betas: Vec<&[u8]> = Vec::new();
    let lines = [own, call].into_iter().flat_map(|map| map.get_all(BETA));
    for beta in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')) {
        let beta = beta.trim_ascii();
        if !beta.is_empty() && !betas.contains(&beta) {
            betas.push(beta);
        }
    }
    if betas.is_empty() {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&betas.join(&b',')).ok()?;
    value.set_sensitive(own.get(BETA).is_some_and(HeaderValue::is_sensitive));
    Some(value)
}

/// Members of a [message request](https://docs.anthropic.com/en/api/messages) that a
/// [token count](https://docs.anthropic.com/en/api/messages-count-tokens) does not have. It refuses what it does not know.
pub(super) const OF_A_REPLY_ALONE: [&str; 10] = [
    "max_tokens",
    "stream",
    "metadata",
    "temperature",
    "top_p",
    "top_k",
    "stop_sequences",
    "service_tier",
    "container",
    "inference_geo",
];

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BETA: HeaderName = HeaderName::from_static("anthropic-beta");
const VERSION: HeaderName = HeaderName::from_static("anthropic-version");

/// <https://docs.anthropic.com/en/api/versioning>
const OLDEST_VERSION: &str = "2023-06-01";

/// Headers that hold a credential.
const KEY_HEADERS: [HeaderName; 2] = [AUTHORIZATION, API_KEY];

/// Attributes with headers of their own.
const NAMED_HEADERS: [(&str, &str); 2] = [
    ("anthropic_version", "anthropic-version"),
    ("anthropic_beta", "anthropic-beta"),
];

#[cfg(test)]
mod tests {
    use super::super::AnthropicApi;
    use super::*;
    use crate::auth::OAuthTokens;
    use crate::error::ErrorCode;
    use crate::provider::http::call::head;
    use crate::provider::http::headers::JSON;
    use crate::request::Options;

    fn headers(auth: &Auth, options: &Options) -> HeaderMap {
        let head = head(&AnthropicApi, auth, "/v1/messages", JSON, options);
        head.unwrap().headers
    }

    fn betas_of(attribute: &str, of_call: &[&'static str]) -> Option<String> {
        let auth = Auth::api_key("anthropic", "k").with_attribute("anthropic_beta", attribute);
        let mut options = Options::new();
        for line in of_call {
            options.headers.append(BETA, HeaderValue::from_static(line));
        }
        let headers = headers(&auth, &options);
        assert!(headers.get_all(BETA).iter().count() <= 1);
        Some(headers.get(BETA)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn betas_of_credential_and_call_are_listed_together() {
        assert_eq!(betas_of("", &[]), None);
        assert_eq!(betas_of(" a , b,", &[]).as_deref(), Some("a,b"));
        assert_eq!(betas_of("", &["c"]).as_deref(), Some("c"));
        assert_eq!(
            betas_of("a,b", &["b, c", "d,a"]).as_deref(),
            Some("a,b,c,d")
        );
    }

    #[test]
    fn the_version_is_the_credentials_else_the_calls_else_the_default() {
        let auth = Auth::api_key("anthropic", "k");
        let asked = Options::new()
            .with_header("anthropic-version", "call")
            .unwrap();
        assert_eq!(headers(&auth, &Options::new())[VERSION], "2023-06-01");
        assert_eq!(headers(&auth, &asked)[VERSION], "call");
        let own = auth.with_attribute("anthropic_version", "own");
        assert_eq!(headers(&own, &asked)[VERSION], "own");
    }

    #[test]
    fn one_credential_goes_out_and_it_is_the_credentials() {
        let options = Options::new()
            .with_header("x-api-key", "other")
            .unwrap()
            .with_header("authorization", "Bearer other")
            .unwrap();
        let key = headers(&Auth::api_key("anthropic", "sk"), &options);
        assert_eq!(key[API_KEY], "sk");
        assert!(key[API_KEY].is_sensitive() && !key.contains_key(AUTHORIZATION));

        let login = Auth::oauth("anthropic", OAuthTokens::new("tok"));
        let token = headers(&login, &options);
        assert_eq!(token[AUTHORIZATION], "Bearer tok");
        assert!(token[AUTHORIZATION].is_sensitive() && !token.contains_key(API_KEY));
        assert!(!token.contains_key(BETA));

        let gateway =
            Auth::api_key("anthropic", "sk").with_attribute("header:authorization", "Basic gate");
        let both = headers(&gateway, &options);
        assert_eq!(
            (&both[API_KEY], &both[AUTHORIZATION]),
            (
                &HeaderValue::from_static("sk"),
                &HeaderValue::from_static("Basic gate")
            )
        );

        let none = Auth::new("anthropic").with_id("team");
        let error = head(&AnthropicApi, &none, "/", JSON, &options).unwrap_err();
        assert_eq!(
            (error.code(), error.auth_id()),
            (&ErrorCode::Config, Some("team"))
        );
    }

    #[test]
    fn a_base_url_may_name_the_version() {
        let path = |base: &str| {
            let auth = Auth::api_key("anthropic", "k").with_attribute("base_url", base);
            messages_path(&auth)
        };
        for base in ["", "https://h", "https://h/api/", "https://h/xv1"] {
            assert_eq!(path(base), "/v1/messages", "{base}");
        }
        for base in ["https://h/v1", "https://h/a/v1/", "https://h/v1?x=/"] {
            assert_eq!(path(base), "/messages", "{base}");
        }
    }
}
