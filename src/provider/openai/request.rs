//! OpenAI's own headers, and its endpoint for token counts.

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::auth::Auth;
use crate::error::Error;
use crate::provider::http::credential_header;
use crate::provider::http::headers::{base_url, configured_headers};

/// Where the API is.
pub(super) const BASE_URL: &str = "https://api.openai.com/v1";

/// The key or token, and what the attributes ask for.
pub(super) fn credential_headers(auth: &Auth) -> Result<HeaderMap, Error> {
    let mut own = configured_headers(auth, &NAMED_HEADERS)?;
    if let Some(secret) = credential_header::secret_of(auth) {
        own.insert(
            AUTHORIZATION,
            credential_header::bearer_value(auth, secret)?,
        );
    } else if !KEY_HEADERS.iter().any(|name| own.contains_key(*name)) {
        return Err(credential_header::missing(auth));
    }
    Ok(own)
}

/// Where tokens are counted: attribute `count_tokens_path`, else OpenAI's own endpoint where the credential is for
/// OpenAI itself (<https://platform.openai.com/docs/api-reference/responses/input-tokens>). `vendors` is where the API is, unless the
/// credential says otherwise.
pub(super) fn count_path(vendors: &str, auth: &Auth) -> Option<String> {
    let path = auth.attributes.filled("count_tokens_path").or_else(|| {
        let base = base_url(vendors, auth).strip_prefix("https://api.openai.com/")?;
        base.starts_with("v1").then_some("/responses/input_tokens")
    })?;
    Some(format!("/{}", path.trim_start_matches('/')))
}

/// Attributes with headers of their own.
const NAMED_HEADERS: [(&str, &str); 2] = [
    ("organization", "openai-organization"),
    ("project", "openai-project"),
];

/// Headers that can stand for a bearer token.
const KEY_HEADERS: [&str; 3] = ["authorization", "api-key", "x-api-key"];

#[cfg(test)]
mod tests {
    use super::super::OpenAiApi;
    use super::*;
    use crate::error::ErrorCode;
    use crate::provider::http::call::head;
    use crate::provider::http::headers::JSON;
    use crate::request::Options;

    #[test]
    fn the_credential_has_the_last_word_on_its_headers() {
        let auth = Auth::api_key("openai", "sk-1")
            .with_attribute("organization", "org")
            .with_attribute("project", " proj ")
            .with_attribute("header:X-Team", "blue");
        let options = Options::new()
            .with_header("authorization", "Bearer other")
            .unwrap()
            .with_header("x-team", "red")
            .unwrap()
            .with_header("host", "elsewhere")
            .unwrap()
            .with_header("x-trace", "7")
            .unwrap()
            .with_header("user-agent", "mine")
            .unwrap();
        let head = head(&OpenAiApi, &auth, "/chat", JSON, &options).unwrap();
        for (name, value) in [
            ("authorization", "Bearer sk-1"),
            ("openai-organization", "org"),
            ("openai-project", "proj"),
            ("x-team", "blue"),
            ("x-trace", "7"),
            ("user-agent", "mine"),
        ] {
            assert_eq!(head.headers[name], value);
        }
        assert!(!head.headers.contains_key("host"));
        assert!(
            head.headers["authorization"].is_sensitive() && head.headers["x-team"].is_sensitive()
        );
        assert_eq!(head.uri, "https://api.openai.com/v1/chat");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused() {
        let auth = Auth::new("openai").with_id("team");
        for (name, value) in [
            ("header:bad name", "x"),
            ("header:x", "canary\r\ny: z"),
            ("header:host", "canary"),
            ("organization", "canary\n\nx"),
        ] {
            let auth = auth
                .clone()
                .with_attribute("api_key", "k")
                .with_attribute(name, value);
            let error = credential_headers(&auth).unwrap_err();
            assert_eq!(
                (error.code(), error.auth_id()),
                (&ErrorCode::Config, Some("team"))
            );
            assert!(!error.message().contains("canary"));
        }
        assert!(credential_headers(&auth).is_err());
        let azure = auth.with_attribute("header:api-key", "k");
        assert!(credential_headers(&azure).is_ok());
    }

    #[test]
    fn only_openai_itself_is_known_to_count() {
        let auth = Auth::api_key("openai", "k");
        assert_eq!(
            count_path(BASE_URL, &auth).as_deref(),
            Some("/responses/input_tokens")
        );
        assert_eq!(count_path("https://llm.example/v1", &auth), None);
        let other = auth.with_attribute("base_url", "https://llm.example/v1");
        assert_eq!(count_path(BASE_URL, &other), None);
        let named = other.with_attribute("count_tokens_path", "count");
        assert_eq!(count_path(BASE_URL, &named).as_deref(), Some("/count"));
    }
}
