//! Parses proxy URLs (which one a request takes, `transport::choice` says). Errors have fixed words, so that no part of a URL can leak.

use std::net::Ipv6Addr;
use std::num::NonZeroU16;

use ureq::{Proxy, ProxyProtocol};

use crate::panic::guard;
use crate::percent;

/// The proxy behind `scheme://user:password@host:port`, or what is wrong with the text.
///
/// User and password are percent-decoded once. Default ports: 80 for `http`, 443 for `https`, 1080 for SOCKS.
pub(crate) fn parse(url: &str) -> Result<Proxy, &'static str> {
    if url.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err("it holds a blank, a control character or a character outside ASCII");
    }
    let (scheme, rest) = url.split_once("://").ok_or(SCHEMES)?;
    let protocol = protocol(scheme).ok_or(SCHEMES)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '\\']) {
        return Err(
            "there is something after the host and the port (a special character of the password must be percent-encoded)",
        );
    }
    let (user_info, authority) = rest.rsplit_once('@').unwrap_or(("", rest));
    let (host, port) = host_and_port(authority)?;
    let login = (!user_info.is_empty())
        .then(|| login(user_info))
        .transpose()?;
    if let Some(login) = &login {
        login.fits(protocol)?;
    }

    // What the client's own parser makes of odd input is not part of its contract.
    let build = || {
        let mut proxy = Proxy::builder(protocol).host(host);
        if let Some(port) = port {
            proxy = proxy.port(port);
        }
        if let Some(login) = login {
            proxy = proxy.username(&login.user);
            if let Some(password) = &login.password {
                proxy = proxy.password(password);
            }
        }
        proxy.build()
    };
    guard(|| "the proxy parser".to_owned(), build)
        .ok()
        .and_then(Result::ok)
        .ok_or("the host is not a valid one")
}

/// `scheme://host:port`, all that may be shown of a proxy.
pub(crate) fn label(proxy: &Proxy) -> String {
    let scheme = SCHEME_NAMES
        .iter()
        .find(|(_, protocol)| *protocol == proxy.protocol())
        .map_or("proxy", |(name, _)| name);
    format!("{scheme}://{}:{}", proxy.host(), proxy.port())
}

struct Login {
    user: String,
    password: Option<String>,
}

impl Login {
    /// Whether the protocol can carry it.
    fn fits(&self, protocol: ProxyProtocol) -> Result<(), &'static str> {
        match protocol {
            ProxyProtocol::Http | ProxyProtocol::Https if self.user.contains(':') => {
                Err("a user name for an HTTP proxy cannot hold a colon")
            }
            ProxyProtocol::Http | ProxyProtocol::Https => Ok(()),
            ProxyProtocol::Socks5 | ProxyProtocol::Socks5h => {
                let in_range = |text: &str| (1..=255).contains(&text.len());
                if in_range(&self.user) && self.password.as_deref().is_some_and(in_range) {
                    Ok(())
                } else {
                    Err("SOCKS5 needs a user and a password of 1 to 255 bytes each")
                }
            }
            _ => Err("SOCKS4 supports no user and password: use socks5 or socks5h"),
        }
    }
}

fn protocol(scheme: &str) -> Option<ProxyProtocol> {
    SCHEME_NAMES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(scheme))
        .map(|(_, protocol)| *protocol)
}

/// The host, in brackets if it is an IPv6 address, and the port if one is given.
fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let end = match authority.strip_prefix('[') {
        Some(inside) => {
            let (address, _) = inside
                .split_once(']')
                .ok_or("the bracket of the IPv6 address is not closed")?;
            if address.parse::<Ipv6Addr>().is_err() {
                return Err("the part in brackets is not an IPv6 address");
            }
            address.len() + "[]".len()
        }
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, rest) = authority.split_at(end);
    if !host.starts_with('[') {
        check_name(host)?;
    }
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port: NonZeroU16 = port.parse().map_err(|_| BAD_PORT)?;
            Ok((host, Some(port.get())))
        }
        _ => Err(BAD_PORT),
    }
}

fn check_name(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("there is no host");
    }
    let fits = host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && host.bytes().any(|byte| byte.is_ascii_alphanumeric());
    fits.then_some(()).ok_or("the host is not a valid one")
}

fn login(user_info: &str) -> Result<Login, &'static str> {
    let parts = user_info.split_once(':');
    let (user, password) = parts.map_or((user_info, None), |(user, word)| (user, Some(word)));
    Ok(Login {
        user: decoded(user)?,
        password: password.map(decoded).transpose()?,
    })
}

fn decoded(text: &str) -> Result<String, &'static str> {
    let is_escape = |rest: &str| {
        let digits = rest.get(..2);
        digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(BAD_ENCODING);
    }
    let text = String::from_utf8(percent::decoded(text)).map_err(|_| BAD_ENCODING)?;
    if text.chars().any(char::is_control) {
        return Err("user and password cannot hold control characters");
    }
    Ok(text)
}

const SCHEME_NAMES: [(&str, ProxyProtocol); 6] = [
    ("http", ProxyProtocol::Http),
    ("https", ProxyProtocol::Https),
    ("socks4", ProxyProtocol::Socks4),
    ("socks4a", ProxyProtocol::Socks4A),
    ("socks5", ProxyProtocol::Socks5),
    ("socks5h", ProxyProtocol::Socks5h),
];

const SCHEMES: &str =
    "it must start with http://, https://, socks4://, socks4a://, socks5:// or socks5h://";
const BAD_PORT: &str = "the port is not a number from 1 to 65535";
const BAD_ENCODING: &str = "the percent-encoding of the user or the password is broken";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_every_kind() {
        for (url, expected, login) in [
            ("http://h", "http://h:80", None),
            ("https://h/", "https://h:443", None),
            ("HTTP://u:p@h:8080", "http://h:8080", Some(("u", Some("p")))),
            ("http://u@h", "http://h:80", Some(("u", None))),
            ("http://:p@h", "http://h:80", Some(("", Some("p")))),
            ("http://@h:1", "http://h:1", None),
            ("socks4://127.0.0.1", "socks4://127.0.0.1:1080", None),
            ("socks4a://h:9", "socks4a://h:9", None),
            (
                "socks5://u:a%40b%3A%2525@h:65535",
                "socks5://h:65535",
                Some(("u", Some("a@b:%25"))),
            ),
            (
                "socks5h://u:p@ss:w+rd@[::1]:1080",
                "socks5h://[::1]:1080",
                Some(("u", Some("p@ss:w+rd"))),
            ),
        ] {
            let proxy = parse(url).unwrap();
            assert_eq!(label(&proxy), expected, "{url}");
            let found = proxy.username().map(|user| (user, proxy.password()));
            assert_eq!(found, login, "{url}");
        }
    }

    #[test]
    fn refuses_what_is_not_one() {
        for url in [
            "h",
            "h:80",
            "://h",
            "//h",
            "ftp://h",
            "socks://h",
            "direct",
            "http:h",
            "http://",
            "http:///",
            "http://:80",
            "http://u:p@",
            "http://u:p@:80",
            "http://h:",
            "http://h:0",
            "http://h:65536",
            "http://h:8o",
            "http://h:+1",
            "http://h:1:2",
            "http://h/path",
            "http://h?q",
            "http://h#f",
            "http://u:p/w@h",
            "http://[::1",
            "http://[::1]x",
            "http://[h]:1",
            "http://[]:1",
            "http://h\r\nX: y",
            "http://h h",
            "http://ü",
            "http://...",
            "http://u:%4@h",
            "http://u:%zz@h",
            "http://u:%ff@h",
            "http://u:%0d%0a@h",
            "http://a%3Ab:p@h",
            "socks4://u@h",
            "socks4a://u:p@h",
            "socks5://u@h",
            "socks5://u:@h",
            "socks5://:p@h",
        ] {
            assert!(parse(url).is_err(), "{url:?}");
        }
        let long = format!("socks5://u:{}@h", "p".repeat(256));
        assert!(parse(&long).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(url in "(http|socks5|socks4)?(://)?[ -~\\r\\n\\u{e9}]{0,40}") {
            let _ = parse(&url);
        }

        #[test]
        fn an_encoded_login_comes_back(user in "[!-9;-~é]{1,20}", password in "[ -~é]{1,20}") {
            let encode = |text: &str| text.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02x}"));
            let url = format!("socks5h://{}:{}@proxy.example:7", encode(&user), encode(&password));
            let proxy = parse(&url).unwrap();
            prop_assert_eq!(proxy.username(), Some(user.as_str()));
            prop_assert_eq!(proxy.password(), Some(password.as_str()));
            prop_assert_eq!(label(&proxy), "socks5h://proxy.example:7");
        }
    }
}
