//! Endpoint URLs: base, path and query put together.

use std::borrow::Cow;

use http::Uri;

use crate::auth::Auth;
use crate::error::Error;
use crate::percent::encoded;
use crate::transport::check_url;

/// `base` and `path` with `query` added, checked as [`check_url`] does.
pub(crate) fn endpoint(
    auth: &Auth,
    base: &str,
    path: &str,
    query: &[(String, String)],
) -> Result<Uri, Error> {
    let (place, own_query) = base.split_once('?').unwrap_or((base, ""));
    let mut url = format!("{}{path}", place.trim_end_matches('/'));
    let mut separator = if path.contains('?') { '&' } else { '?' };
    if !own_query.is_empty() {
        url.push(separator);
        url.push_str(own_query);
        separator = '&';
    }
    for (name, value) in query {
        url.push(separator);
        url.extend(encoded(name));
        url.push('=');
        url.extend(encoded(value));
        separator = '&';
    }
    check_url(&url, auth)
}

/// The address below which a path is put: `base`, without what the path brings itself: its version, or all of its path. So both
/// `/v1/files` and `/files` are below `https://host/v1`, `/upload/v1beta/files` below `https://host/v1beta` is what Google's uploads go
/// to, and `/v1/projects/p/models` is below `https://host/v1/projects/p`.
pub(crate) fn below<'a>(base: &'a str, path: &str) -> Cow<'a, str> {
    let (place, query) = base.split_once('?').unwrap_or((base, ""));
    let place = place.trim_end_matches('/');
    let rest = if holds(path, path_of(place)) {
        place.strip_suffix(path_of(place))
    } else {
        let (rest, last) = place.rsplit_once('/').unwrap_or((place, ""));
        (brings_version(path) && is_version(last)).then_some(rest)
    };
    match rest {
        Some(rest) if query.is_empty() => rest.into(),
        Some(rest) => format!("{rest}?{query}").into(),
        None => base.into(),
    }
}

/// The path of an address.
fn path_of(place: &str) -> &str {
    let host = place.find("://").map_or(0, |scheme| scheme + 3);
    let path = place[host..].find('/').map(|start| host + start);
    path.map_or("", |start| &place[start..])
}

/// Whether `path` is `outer`, of more than one segment, or below it.
fn holds(path: &str, outer: &str) -> bool {
    let rest = path.strip_prefix(outer);
    outer.matches('/').count() > 1
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', ':']))
}

/// Whether the path begins with a version.
fn brings_version(path: &str) -> bool {
    let mut segments = path.trim_start_matches('/').split(['/', '?']);
    let first = segments.next().unwrap_or_default();
    is_version(first) || (TRANSFERS.contains(&first) && segments.next().is_some_and(is_version))
}

/// `v1`, `v2`, `v1beta`, `v1alpha1`.
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('v') else {
        return false;
    };
    let rest = rest.trim_start_matches(|char: char| char.is_ascii_digit());
    let stage = rest.trim_end_matches(|char: char| char.is_ascii_digit());
    rest.len() + 1 < segment.len() && ["", "alpha", "beta"].contains(&stage)
}

/// What Google puts before the version of an upload, and of a download.
const TRANSFERS: [&str; 2] = ["upload", "download"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn urls_are_put_together() {
        let auth = Auth::new("p").with_id("a");
        let query = [("q w".to_owned(), "ä&=".to_owned())];
        for (base, path, query, url) in [
            ("https://h/v1/", "/chat", &[][..], "https://h/v1/chat"),
            (
                "https://h",
                "/chat",
                &query[..],
                "https://h/chat?q%20w=%C3%A4%26%3D",
            ),
            (
                "https://h/v1?api=1",
                "/chat",
                &query[..],
                "https://h/v1/chat?api=1&q%20w=%C3%A4%26%3D",
            ),
            ("https://h/?a=1", "/x?b=2", &[][..], "https://h/x?b=2&a=1"),
        ] {
            assert_eq!(endpoint(&auth, base, path, query).unwrap().to_string(), url);
        }
    }

    #[test]
    fn a_version_is_written_once() {
        for (base, path, expected) in [
            ("https://h/v1", "/files", "https://h/v1"),
            ("https://h/v1/", "/v1/files", "https://h"),
            ("https://h/v1", "/v2/files?v1", "https://h"),
            ("https://h", "/v1/files", "https://h"),
            ("https://h/openai/v1?a=b", "/v1", "https://h/openai?a=b"),
            ("https://h/v1beta", "/upload/v1beta/files", "https://h"),
            ("https://h/v1beta", "/v1alpha1/x", "https://h"),
            ("https://h/v1", "/vector_stores", "https://h/v1"),
            ("https://h/v1", "/models/v1", "https://h/v1"),
            ("https://h/deep", "/v1/files", "https://h/deep"),
            ("https://h/v1/projects/p", "/v1/projects/p/x", "https://h"),
            ("https://h/v1/projects/p", "/v1/projects/p?a", "https://h"),
            (
                "https://h/v1/projects/p?k=1",
                "/v1/projects/p/x",
                "https://h?k=1",
            ),
            (
                "https://h/v1/projects/p",
                "/v1/projects/pq",
                "https://h/v1/projects/p",
            ),
            ("https://h/v1/projects/p", "/x", "https://h/v1/projects/p"),
            ("https://h/deep", "/deep/files", "https://h/deep"),
        ] {
            assert_eq!(below(base, path), expected, "{base} {path}");
        }
    }

    /// What follows a `#` never leaves the machine: the call would go to another place than its path says.
    #[test]
    fn no_path_is_lost_behind_a_fragment() {
        let auth = Auth::new("p").with_id("a");
        for (base, path) in [
            ("https://h/v1#", "/chat"),
            ("https://h/v1#x", "/chat"),
            ("https://h#/", "/chat"),
            ("https://h?a=1#b", "/chat"),
            ("https://h", "/chat#x"),
        ] {
            let error = endpoint(&auth, base, path, &[]).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{base} {path}");
            assert!(error.message().contains("fragment"), "{error}");
        }
        let query = [("a#b".to_owned(), "#".to_owned())];
        let url = endpoint(&auth, "https://h", "/x%23y", &query).unwrap();
        assert_eq!(url.to_string(), "https://h/x%23y?a%23b=%23");
    }

    #[test]
    fn secrets_go_over_https_or_stay_on_this_machine() {
        let auth = Auth::new("p").with_id("a");
        for url in [
            "https://h.example",
            "http://localhost:1",
            "http://127.0.0.9",
            "http://[::1]:8080",
            "HTTP://LOCALHOST",
        ] {
            assert!(endpoint(&auth, url, "/x", &[]).is_ok(), "{url}");
        }
        let allowed = auth.clone().with_attribute("allow_http", "true");
        for url in [
            "http://h.example",
            "http://localhost.example",
            "http://10.0.0.1",
        ] {
            assert!(endpoint(&auth, url, "/x", &[]).is_err(), "{url}");
            assert!(endpoint(&allowed, url, "/x", &[]).is_ok(), "{url}");
        }
        for url in [
            "",
            "h.example",
            "/v1",
            "ftp://h",
            "https://",
            "https://user:canary@h",
            "https://h h",
            "file:///x",
        ] {
            let error = endpoint(&allowed, url, "/x", &[]).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{url}");
            assert!(!error.message().contains("canary"));
        }
    }
}
