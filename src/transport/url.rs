//! The address check: where a credential may be sent.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;
use ureq::Proxy;

use crate::auth::Auth;
use crate::error::Error;

/// Checks the address to which a credential is about to be sent.
///
/// It must be `https`, have a host, no `user:password@` and no fragment (`#…`, which is never sent: a path behind it would be lost).
/// Plain `http` is for loopback alone (`127.0.0.0/8`, `::1`,
/// `localhost`), unless the credential has attribute `allow_http` = `true`: anything that can read the wire can read the key.
///
/// # Errors
/// Code `config`, naming the credential. The message never quotes the address, which may hold a secret.
///
/// ```
/// use credpool::{Auth, check_url};
///
/// let auth = Auth::api_key("openai", "sk-123").with_id("team-a");
/// assert!(check_url("https://llm.example.org/v1", &auth).is_ok());
/// assert!(check_url("http://127.0.0.1:8080/v1", &auth).is_ok());
/// let error = check_url("http://llm.example.org/v1", &auth).unwrap_err();
/// assert_eq!(error.auth_id(), Some("team-a"));
/// ```
pub fn check_url(url: &str, auth: &Auth) -> Result<Uri, Error> {
    // Reading it as a URI drops the fragment without a word.
    if url.contains('#') {
        let what = "it holds a fragment, which is never sent: remove the # and what follows";
        return Err(refused(auth, what));
    }
    let uri = url
        .parse()
        .map_err(|_| refused(auth, "it is not a valid URL"))?;
    check(&uri, auth)?;
    Ok(uri)
}

pub(crate) fn check(uri: &Uri, auth: &Auth) -> Result<(), Error> {
    let authority = uri
        .authority()
        .ok_or_else(|| refused(auth, "it has no host"))?;
    let text = authority.as_str();
    if text.contains('@') {
        let what = "it holds a user or a password: set them in the credential";
        return Err(refused(auth, what));
    }
    let host = authority.host();
    if host.is_empty() || host == "[]" {
        return Err(refused(auth, "it has no host"));
    }
    // A port that is none would silently become the default one.
    match text.get(host.len()..) {
        Some("") => {}
        Some(_) if authority.port_u16().is_some_and(|port| port != 0) => {}
        _ => return Err(refused(auth, "its port is not a number from 1 to 65535")),
    }
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => Ok(()),
        Some(scheme) if *scheme == Scheme::HTTP && (is_loopback(host) || allows_http(auth)) => {
            Ok(())
        }
        Some(scheme) if *scheme == Scheme::HTTP => {
            let what = "it is plain http: use https, or set attribute allow_http to true";
            Err(refused(auth, what))
        }
        _ => Err(refused(auth, "it must start with https://")),
    }
}

/// What is loopback here is another machine behind a proxy that is elsewhere.
pub(crate) fn check_proxied(uri: &Uri, proxy: Option<&Proxy>, auth: &Auth) -> Result<(), Error> {
    if uri.scheme() == Some(&Scheme::HTTP)
        && proxy.is_some_and(|proxy| !is_loopback(proxy.host()))
        && !allows_http(auth)
    {
        return Err(refused(
            auth,
            "it is plain http through a proxy on another machine: use https, or set attribute allow_http to true",
        ));
    }
    Ok(())
}

fn allows_http(auth: &Auth) -> bool {
    auth.attributes.get("allow_http") == Some("true")
}

fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn refused(auth: &Auth, why: &str) -> Error {
    let what = format!("credential {:?}: its URL cannot be used: {why}", auth.id);
    Error::config(what).with_auth_id(&auth.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn plain_http_is_for_loopback() {
        let auth = Auth::api_key("p", "k").with_id("a");
        for url in [
            "https://example.org",
            "HTTPS://example.org:8443/v1?x=y",
            "https://10.0.0.1",
            "http://127.0.0.1:1",
            "http://127.9.9.9",
            "http://[::1]:80/v1",
            "http://LocalHost/v1",
        ] {
            assert!(check_url(url, &auth).is_ok(), "{url}");
        }
        for url in [
            "",
            "/v1",
            "example.org",
            "http://",
            "https:///v1",
            "ftp://example.org",
            "http://example.org",
            "http://10.0.0.1",
            "http://128.0.0.1",
            "http://127.0.0.1.example.org",
            "http://127.1",
            "http://localhost.example.org",
            "http://[::2]",
            "http://[::ffff:127.0.0.1]",
            "https://user:canary@example.org",
            "https://canary@example.org",
            "https://example.org:0",
            "https://example.org:99999",
            "https://example.org:",
            "https://exa mple.org",
            "https://example.org/\r\ncanary",
            "https://[]",
            "https://example.org#",
            "https://example.org/v1#canary",
            "https://example.org/v1?x=y#/chat",
            "http://localhost/#",
        ] {
            let error = check_url(url, &auth).expect_err(url);
            assert_eq!(error.code(), &ErrorCode::Config, "{url}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{url}");
        }
    }

    #[test]
    fn plain_http_goes_through_no_proxy_elsewhere() {
        let check = |url: &str, proxy: &str, auth: &Auth| {
            check_proxied(&url.parse().unwrap(), Proxy::new(proxy).ok().as_ref(), auth)
        };
        let auth = Auth::api_key("p", "k");
        let (local, remote) = ("http://127.0.0.1:1", "socks5://proxy.example.org:1");
        assert!(check("http://127.0.0.1", local, &auth).is_ok());
        assert!(check("https://example.org", remote, &auth).is_ok());
        assert!(check("http://127.0.0.1", remote, &auth).is_err());
        let allowed = auth.with_attribute("allow_http", "true");
        assert!(check("http://127.0.0.1", remote, &allowed).is_ok());
    }

    #[test]
    fn the_operator_can_allow_it() {
        let auth = |value| Auth::api_key("p", "k").with_attribute("allow_http", value);
        assert!(check_url("http://10.0.0.1/v1", &auth("true")).is_ok());
        assert!(check_url("http://10.0.0.1/v1", &auth("false")).is_err());
        assert!(check_url("ftp://10.0.0.1/v1", &auth("true")).is_err());
    }
}
