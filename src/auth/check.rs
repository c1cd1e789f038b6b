//! Validation of a credential's settings: a credential that could never serve is refused when it is registered.

use http::Uri;
use http::uri::Scheme;

use super::Auth;
use super::ModelList;
use super::identity::{API_KEY, BASE_URL, ROUTE, is_header};
use super::model_list::MODELS;
use crate::error::Error;
use crate::proxy_url;

impl Auth {
    /// Refuses a record that can never serve. The error names the field and the reason, and nothing of the value.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.check_numbers()?;
        self.check_settings()
    }

    /// Refuses keys, headers, addresses and lists of models that cannot be used.
    pub(crate) fn check_settings(&self) -> Result<(), Error> {
        for (name, value) in self.attributes.iter() {
            let reason = match name {
                API_KEY if value.chars().any(char::is_control) => LINE_ENDS,
                BASE_URL if value.contains('#') => {
                    "holds a fragment, which is never sent: remove the # and what follows"
                }
                BASE_URL if !value.trim().is_empty() && !is_http(value.trim()) => {
                    "is no URL that begins with http:// or https:// and names a host"
                }
                _ if is_header(name) && value.trim().chars().any(is_no_header_text) => LINE_ENDS,
                _ => continue,
            };
            return Err(self.unfit(&format!("attribute `{name}` {reason}")));
        }
        if let Err(reason) = ModelList::of(self) {
            return Err(self.unfit(&format!("attribute `{MODELS}` {reason}")));
        }
        let proxy = self.proxy_url.expose().trim_matches(' ');
        if !proxy.is_empty()
            && let Err(reason) = proxy_url::parse(proxy)
        {
            return Err(self.unfit(&format!("`proxy_url` is of no use: {reason}")));
        }
        Ok(())
    }

    /// Whether it has the same settings and tokens as another one.
    pub(crate) fn is_configured_as(&self, other: &Self) -> bool {
        self.attributes == other.attributes
            && self.proxy_url == other.proxy_url
            && self.metadata == other.metadata
            && self.status == other.status
    }

    /// Whether requests of both go to the same server over the same proxy, with the same certificates.
    pub(crate) fn has_route_of(&self, other: &Self) -> bool {
        let same = |name: &&str| {
            self.attributes.get(name).map(str::trim) == other.attributes.get(name).map(str::trim)
        };
        self.proxy_url.expose().trim() == other.proxy_url.expose().trim() && ROUTE.iter().all(same)
    }

    pub(crate) fn unfit(&self, what: &str) -> Error {
        let what = format!("credential {:?} cannot be used: {what}", self.id);
        Error::config(what).with_auth_id(&self.id)
    }
}

fn is_http(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else {
        return false;
    };
    let scheme = uri.scheme();
    (scheme == Some(&Scheme::HTTP) || scheme == Some(&Scheme::HTTPS))
        && uri.host().is_some_and(|host| !host.is_empty())
}

/// A header may contain a tab.
fn is_no_header_text(sign: char) -> bool {
    sign.is_control() && sign != '\t'
}

const LINE_ENDS: &str = "holds a line end or another control character: copy it again";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn what_can_never_serve_is_named_and_its_value_is_not() {
        let auth = || Auth::api_key("p", "canary").with_id("a");
        for (field, auth) in [
            ("api_key", auth().with_attribute("api_key", "canary\n")),
            (
                "api_key",
                auth().with_attribute("api_key", "canary\r\nx: y"),
            ),
            ("header:x", auth().with_attribute("header:x", "canary\ny")),
            (
                "base_url",
                auth().with_attribute("base_url", "htps://canary"),
            ),
            ("base_url", auth().with_attribute("base_url", "canary/v1")),
            (
                "fragment",
                auth().with_attribute("base_url", "https://h/v1#canary"),
            ),
            (
                "fragment",
                auth().with_attribute("base_url", "https://h/v1#"),
            ),
            ("base_url", auth().with_attribute("base_url", "https://")),
            (
                "base_url",
                auth().with_attribute("base_url", "https://ca nary"),
            ),
            ("proxy_url", auth().with_proxy_url("htp://canary")),
            ("proxy_url", auth().with_proxy_url("canary:8080")),
        ] {
            let error = auth.check().unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
            let text = error.to_string();
            assert!(text.contains(field) && !text.contains("canary"), "{text}");
        }
        for auth in [
            auth(),
            auth().with_attribute("header:x", "a\tb\n"),
            auth().with_attribute("base_url", " HTTPS://h:8443/v1?x=1 "),
            auth().with_attribute("base_url", "http://[::1]:80"),
            auth().with_attribute("base_url", ""),
            auth().with_proxy_url("socks5://u:p@h:1"),
        ] {
            auth.check().unwrap();
        }
    }
}
