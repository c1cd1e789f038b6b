//! Proxy and base URLs: refused in fixed words, or taken for what they say.
#![no_main]

use std::net::IpAddr;
use std::sync::LazyLock;

use credpool::{Attempt, Auth, ErrorCode, SystemClock, check_url};
use credpool_fuzz::{SECRET, holds_no_secret, settings};
use libfuzzer_sys::fuzz_target;

static ATTEMPT: LazyLock<Attempt> = LazyLock::new(|| Attempt::for_tests(SystemClock));

fuzz_target!(|input: &[u8]| {
    let Some(([setting], url)) = settings(input) else {
        return;
    };
    let Ok(url) = std::str::from_utf8(url) else {
        return;
    };
    // A secret may be anywhere in it.
    let url = url.replace('\u{1}', SECRET);
    match setting % 2 {
        0 => proxy(&url),
        _ => base(&url, setting % 4 == 1),
    }
});

fn proxy(url: &str) {
    let auth = Auth::api_key("p", "k").with_id("a").with_proxy_url(url);
    assert!(!format!("{auth:?}").contains(SECRET));
    let agent = match ATTEMPT.agent(&auth) {
        Ok(agent) => agent,
        Err(error) => {
            assert_eq!(error.code(), &ErrorCode::Config);
            holds_no_secret(&error);
            return;
        }
    };
    assert!(!format!("{:?}", *ATTEMPT).contains(SECRET));
    let url = url.trim_matches(' ');
    let Some(proxy) = agent.config().proxy() else {
        assert_eq!(url, "", "nothing goes out past a proxy that was asked for");
        return;
    };
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let authority = rest
        .rsplit_once('@')
        .map_or(rest, |(_, authority)| authority);
    assert!(
        authority
            .to_ascii_lowercase()
            .starts_with(&proxy.host().to_ascii_lowercase()),
        "{url}"
    );
    let after = authority[proxy.host().len()..].trim_end_matches('/');
    match after.strip_prefix(':') {
        Some(port) => assert_eq!(port.parse(), Ok(proxy.port()), "{url}"),
        None => assert_eq!(after, "", "{url}"),
    }
    assert!(
        scheme.to_ascii_lowercase().starts_with("http")
            || scheme.to_ascii_lowercase().starts_with("socks")
    );
}

fn base(url: &str, allowed: bool) {
    let auth = Auth::api_key("p", "k")
        .with_id("a")
        .with_attribute("allow_http", if allowed { "true" } else { "" });
    match check_url(url, &auth) {
        Ok(uri) => {
            let host = uri.host().expect("a host");
            assert!(
                !uri.authority()
                    .expect("an authority")
                    .as_str()
                    .contains('@')
            );
            let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
            let is_local = address.is_ok_and(|address| address.is_loopback())
                || host.eq_ignore_ascii_case("localhost");
            assert!(
                uri.scheme_str() == Some("https") || allowed || is_local,
                "{url}"
            );
        }
        Err(error) => {
            assert_eq!(error.code(), &ErrorCode::Config);
            holds_no_secret(&error);
        }
    }
}
