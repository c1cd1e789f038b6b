//! Gemini's own headers and version, and the query parameters that are never sent.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::auth::Auth;
use crate::error::Error;
use crate::percent::encoded;
use crate::provider::http::credential_header;
use crate::provider::http::headers::{base_url, configured_headers};
use crate::request::Options;

/// Where the API is.
pub(super) const BASE_URL: &str = "https://generativelanguage.googleapis.com";

/// The key or token, and what the attributes ask for.
pub(in crate::provider) fn credential_headers(auth: &Auth) -> Result<HeaderMap, Error> {
    let mut own = configured_headers(auth, &NAMED_HEADERS)?;
    let api_key = auth.attributes.get("api_key").filter(|key| !key.is_empty());
    if let Some(api_key) = api_key {
        own.insert(KEY_HEADER, credential_header::key_value(auth, api_key)?);
    } else if let Some(token) = credential_header::secret_of(auth) {
        own.insert(AUTHORIZATION, credential_header::bearer_value(auth, token)?);
        add_quota_project(&mut own, auth)?;
    } else if !(own.contains_key(KEY_HEADER) || own.contains_key(AUTHORIZATION)) {
        return Err(credential_header::missing(auth));
    }
    Ok(own)
}

/// One credential at a time: the server may prefer the other one.
pub(in crate::provider) fn merge(call: &mut HeaderMap) {
    call.remove(KEY_HEADER);
    call.remove(AUTHORIZATION);
}

/// The project of a Google file, which counts for its tokens, where no attribute names another.
fn add_quota_project(own: &mut HeaderMap, auth: &Auth) -> Result<(), Error> {
    let metadata = auth.metadata.as_ref();
    let project = metadata.and_then(|metadata| metadata.text("quota_project_id"));
    let project = project.map(str::trim).filter(|project| !project.is_empty());
    if let Some(project) = project.filter(|_| !own.contains_key(QUOTA_PROJECT)) {
        let value = credential_header::sensitive(project.to_owned().into())
            .ok_or_else(|| auth.unfit("quota_project_id is not a header that HTTP allows"))?;
        own.insert(QUOTA_PROJECT, value);
    }
    Ok(())
}

/// What is between the address and the model: attribute `api_version`, else `v1beta` where the address has no path.
pub(super) fn version_path(auth: &Auth) -> Result<String, Error> {
    let base = base_url(BASE_URL, auth);
    let (place, query) = base.split_once('?').unwrap_or((base, ""));
    let names = query.split('&').filter_map(|pair| pair.split('=').next());
    if names.into_iter().any(is_secret) {
        let what = "base_url holds a key: set attribute api_key instead";
        return Err(auth.unfit(what));
    }
    let version = auth.attributes.get("api_version").map(str::trim);
    let version = version.unwrap_or_default().trim_matches('/');
    let rest = place.split_once("://").map_or(place, |(_, rest)| rest);
    let has_path = rest.trim_end_matches('/').contains('/');
    let mut path = String::new();
    if !version.is_empty() {
        path.push('/');
        path.extend(encoded(version));
    } else if !has_path {
        path.push_str("/v1beta");
    }
    Ok(path)
}

/// The options without a credential in a parameter, which would be in the URL, and without what would take `alt` away from a stream.
pub(in crate::provider) fn without_credential(options: &Options) -> Cow<'_, Options> {
    let is_ours = |(name, _): &(String, String)| is_secret(name) || name == "alt";
    if !options.query.iter().any(is_ours) {
        return Cow::Borrowed(options);
    }
    let mut options = options.clone();
    options.query.retain(|parameter| !is_ours(parameter));
    Cow::Owned(options)
}

/// The system parameters of <https://cloud.google.com/apis/docs/system-parameters> that are credentials.
fn is_secret(parameter: &str) -> bool {
    let name = parameter.trim_start_matches('$');
    ["key", "access_token", "oauth_token"]
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

const KEY_HEADER: &str = "x-goog-api-key";

/// Attributes with headers of their own.
const NAMED_HEADERS: [(&str, &str); 1] = [("quota_project", QUOTA_PROJECT)];
const QUOTA_PROJECT: &str = "x-goog-user-project";

/// Where a payload says how many candidates it asks for: protocol buffers in JSON have two spellings.
pub(super) const CANDIDATE_COUNT: [&[&str]; 2] = [
    &["generationConfig", "generation_config"],
    &["candidateCount", "candidate_count"],
];

#[cfg(test)]
mod tests {
    use super::super::GeminiApi;
    use super::*;
    use crate::error::ErrorCode;
    use crate::provider::http::call::head;
    use crate::provider::http::headers::JSON;

    fn sent(auth: &Auth, options: &Options) -> http::request::Parts {
        let options = without_credential(options);
        head(
            &GeminiApi,
            auth,
            "/models/m:generateContent",
            JSON,
            &options,
        )
        .unwrap()
    }

    #[test]
    fn a_key_goes_into_its_header_and_a_token_is_the_bearer() {
        let auth = Auth::api_key("gemini", "AIza").with_attribute("quota_project", "proj");
        let keyed = sent(&auth, &Options::new());
        assert_eq!(keyed.headers[KEY_HEADER], "AIza");
        assert_eq!(keyed.headers["x-goog-user-project"], "proj");
        assert!(keyed.headers[KEY_HEADER].is_sensitive());
        assert!(!keyed.headers.contains_key(AUTHORIZATION));

        let user = Auth::new("gemini")
            .with_metadata("access_token", "ya29")
            .with_metadata("quota_project_id", " theirs ");
        let project = |auth: &Auth| {
            let sent = sent(auth, &Options::new());
            sent.headers.get("x-goog-user-project").cloned()
        };
        assert_eq!(project(&user).unwrap(), "theirs");
        let other = user.clone().with_attribute("quota_project", "ours");
        assert_eq!(project(&other).unwrap(), "ours");
        let keyed = user.clone().with_attribute("api_key", "AIza");
        assert_eq!(project(&keyed), None);
        assert_eq!(project(&user.with_metadata("quota_project_id", " ")), None);

        let auth = Auth::new("gemini").with_metadata("access_token", "ya29");
        let options = Options::new()
            .with_header("x-team", "red")
            .unwrap()
            .with_header(KEY_HEADER, "another")
            .unwrap();
        let token = sent(&auth, &options);
        assert_eq!(token.headers[AUTHORIZATION], "Bearer ya29");
        assert!(!token.headers.contains_key(KEY_HEADER));
        assert_eq!(token.headers["x-team"], "red");

        let own = Auth::new("gemini").with_attribute("header:x-goog-api-key", "k");
        assert_eq!(sent(&own, &Options::new()).headers[KEY_HEADER], "k");
        let none = credential_headers(&Auth::new("gemini"));
        assert_eq!(*none.unwrap_err().code(), ErrorCode::Config);
    }

    #[test]
    fn the_version_is_put_where_it_is_missing() {
        let auth = Auth::api_key("gemini", "k");
        for (base_url, version, url) in [
            ("", "", "https://generativelanguage.googleapis.com/v1beta"),
            ("", "v1", "https://generativelanguage.googleapis.com/v1"),
            ("https://h", "", "https://h/v1beta"),
            ("https://h/", " /v1alpha/ ", "https://h/v1alpha"),
            ("https://h/v1", "", "https://h/v1"),
            ("https://h/gemini/", "v1", "https://h/gemini/v1"),
        ] {
            let auth = auth
                .clone()
                .with_attribute("base_url", base_url)
                .with_attribute("api_version", version);
            let uri = sent(&auth, &Options::new()).uri;
            assert_eq!(uri.to_string(), format!("{url}/models/m:generateContent"));
        }
    }

    #[test]
    fn no_credential_is_in_the_url() {
        let mut options = Options::new();
        for name in ["key", "Key", "$key", "access_token", "oauth_token", "alt"] {
            options.query.push((name.into(), "canary".into()));
        }
        options.query.push(("fields".into(), "candidates".into()));
        let uri = sent(&Auth::api_key("gemini", "k"), &options).uri;
        assert_eq!(uri.query(), Some("fields=candidates"));

        let auth = Auth::api_key("gemini", "k").with_id("a");
        let auth = auth.with_attribute("base_url", "https://h/v1?x=1&key=canary");
        let error = version_path(&auth).unwrap_err();
        assert_eq!(
            (error.code(), error.auth_id()),
            (&ErrorCode::Config, Some("a"))
        );
        assert!(!error.message().contains("canary"));
    }
}
