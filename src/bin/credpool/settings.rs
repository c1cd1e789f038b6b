//! The settings of a credential, as far as they may be shown.

use credpool::Auth;

/// Attributes whose values hold no secret.
const SHOWN: [&str; 22] = [
    "allow_http",
    "client_auth",
    "client_id",
    "held_as",
    "held_by",
    "held_in",
    "limit_group",
    "location",
    "max_concurrent",
    "models",
    "organization",
    "priority",
    "project",
    "project_id",
    "region",
    "rpm",
    "scope",
    "stream_usage",
    "subject",
    "tpm",
    "type",
    "weight",
];

/// Addresses, of which user, password and parameters stay hidden.
const ADDRESSES: [&str; 3] = ["base_url", "token_url", "token_uri"];

/// Each setting's name and what is shown of its value.
pub(crate) fn shown(auth: &Auth) -> Vec<(String, String)> {
    let attributes = auth.attributes.iter();
    let mut shown: Vec<_> = attributes
        .map(|(name, value)| (name.to_owned(), value_of(name, value)))
        .collect();
    if !auth.proxy_url.is_empty() {
        shown.push(("proxy_url".to_owned(), address(auth.proxy_url.expose())));
    }
    shown
}

/// Whether a setting may be given as an argument, where other users can read it.
pub(crate) fn is_public(name: &str) -> bool {
    SHOWN.contains(&name) || ADDRESSES.contains(&name) || PUBLIC_TOO.contains(&name)
}

/// Settings that need not be hidden, though what they hold is not worth showing.
const PUBLIC_TOO: [&str; 4] = [
    "ca_certificates",
    "count_tokens_path",
    "anthropic_beta",
    "anthropic_version",
];

fn value_of(name: &str, value: &str) -> String {
    if SHOWN.contains(&name) {
        value.to_owned()
    } else if ADDRESSES.contains(&name) {
        address(value)
    } else {
        "***".to_owned()
    }
}

/// Scheme, host and path of an address.
fn address(url: &str) -> String {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    match place.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_shown_that_may_be_secret() {
        let auth = Auth::api_key("p", "canary-1")
            .with_attribute("header:x-key", "canary-2")
            .with_attribute("novel", "canary-3")
            .with_attribute("base_url", "https://u:canary-4@host/v1?key=canary-5")
            .with_attribute("rpm", "60")
            .with_proxy_url("socks5h://u:canary-6@proxy:1080");
        let shown = shown(&auth);
        assert!(!format!("{shown:?}").contains("canary"), "{shown:?}");
        assert!(shown.contains(&("base_url".into(), "https://host/v1".into())));
        assert!(shown.contains(&("rpm".into(), "60".into())));
        assert!(shown.contains(&("proxy_url".into(), "socks5h://proxy:1080".into())));
        assert!(is_public("rpm") && !is_public("api_key") && !is_public("header:x-key"));
    }
}
