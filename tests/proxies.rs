//! Proxies: the right one is used, a wrong one is an error, and none is ever gone around.

#![allow(clippy::unwrap_used)]

#[path = "net_support/mod.rs"]
mod support;

use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use credpool::{Attempt, Auth, Error, ErrorCode, SystemClock, Timeouts, cancellable_agent};
use support::{Server, closed_port, proxies, silent, tls, upstream};

const LOGIN: &str = "us er:c@n:ary/%25+é";
/// The same, percent-encoded.
const ENCODED: &str = "us%20er:c%40n%3Aary%2F%2525+%C3%A9";

fn attempt() -> Attempt {
    Attempt::for_tests(SystemClock)
}

fn through(proxy: &str) -> Auth {
    Auth::api_key("p", "k")
        .with_id("team-a")
        .with_proxy_url(proxy)
}

fn get(auth: &Auth, url: &str) -> Result<Bytes, Error> {
    get_within(auth, url, &Timeouts::new())
}

fn get_within(auth: &Auth, url: &str, timeouts: &Timeouts) -> Result<Bytes, Error> {
    let attempt = attempt();
    let request = http::Request::get(url).body(Bytes::new()).unwrap();
    let limits = attempt.call_limits(timeouts);
    attempt
        .send(auth, request, &limits)?
        .into_body()
        .into_bytes(1024)
}

/// Checks what holds for every error about a proxy.
fn assert_clean(error: &Error, auth: &Auth) {
    let mut shown = format!("{error} {error:?} {auth:?}");
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        shown = format!("{shown} {below} {below:?}");
        source = below.source();
    }
    for secret in ["ary", "c%40n", "us er", "us%20er"] {
        assert!(!shown.contains(secret), "{shown}");
    }
    assert_eq!(error.auth_id(), Some("team-a"));
    assert!(error.message().contains("team-a"), "{error}");
}

/// `scheme://login@host:port` of a proxy.
fn url(scheme: &str, login: &str, proxy: &Server) -> String {
    format!("{scheme}://{login}{}", proxy.address())
}

#[test]
fn a_connect_proxy_is_used_with_its_login() {
    let upstream = upstream();
    let proxy = proxies::connect(Some(LOGIN), upstream.address());
    let auth = through(&url("http", &format!("{ENCODED}@"), &proxy));
    assert_eq!(
        get(&auth, "http://127.0.0.1:9/x").unwrap_err().code(),
        &ErrorCode::Transport
    );
    assert!(proxy.next().starts_with("127.0.0.1:9 Basic "));

    // The name is the proxy's to look up; here, it is known to nobody else.
    let auth = auth.with_attribute("allow_http", "true");
    assert_eq!(get(&auth, "http://target.invalid/x").unwrap(), "hello");
    assert!(proxy.next().starts_with("target.invalid:80 Basic "));
    let head = upstream.next();
    assert!(head.starts_with("GET /x "), "{head}");
    assert_eq!(support::header(&head, "proxy-authorization"), None);
    assert_eq!(
        support::header(&head, "user-agent"),
        Some(concat!("credpool/", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn a_socks5_proxy_is_used_with_its_login() {
    let upstream = upstream();
    let proxy = proxies::socks5(Some(LOGIN), upstream.address());
    // `socks5` looks the name up here, `socks5h` leaves it to the proxy.
    let auth = through(&url("socks5", &format!("{ENCODED}@"), &proxy));
    let local = format!("http://localhost:{}/x", upstream.address().port());
    assert_eq!(get(&auth, &local).unwrap(), "hello");
    assert_eq!(proxy.next(), format!("{} {LOGIN}", upstream.address()));

    let auth = through(&url("socks5h", &format!("{ENCODED}@"), &proxy))
        .with_attribute("allow_http", "true");
    assert_eq!(get(&auth, "http://target.invalid/x").unwrap(), "hello");
    assert_eq!(proxy.next(), format!("target.invalid:80 {LOGIN}"));
    assert!(upstream.next().starts_with("GET /x "));
}

#[test]
fn a_socks4_proxy_is_used() {
    let upstream = upstream();
    let proxy = proxies::socks4(upstream.address());
    let auth = through(&url("socks4", "", &proxy));
    assert_eq!(get(&auth, &upstream.url("/x")).unwrap(), "hello");
    assert_eq!(proxy.next(), format!("{} -", upstream.address()));

    let auth = through(&url("socks4a", "", &proxy)).with_attribute("allow_http", "true");
    assert_eq!(get(&auth, "http://target.invalid/x").unwrap(), "hello");
    assert_eq!(proxy.next(), "target.invalid:80 -");
}

/// The proxy sees where the connection goes, and nothing of what goes through it.
#[test]
fn tls_goes_through_every_kind_of_proxy() {
    let (upstream, certificate) = tls::upstream();
    let target = tls::url(&upstream, "/x");
    let name = target.trim_start_matches("https://").trim_end_matches("/x");
    let address = upstream.address().to_string();
    for (scheme, proxy, seen) in [
        ("http", proxies::connect(None, upstream.address()), name),
        ("socks4", proxies::socks4(upstream.address()), &address),
        ("socks4a", proxies::socks4(upstream.address()), name),
        (
            "socks5",
            proxies::socks5(None, upstream.address()),
            &address,
        ),
        ("socks5h", proxies::socks5(None, upstream.address()), name),
    ] {
        let proxy_url = url(scheme, "", &proxy);
        let auth = through(&proxy_url);
        let error = get(&auth, &target).unwrap_err();
        assert!(error.message().contains("UnknownIssuer"), "{error}");
        assert_clean(&error, &auth);
        assert_eq!(proxy.next(), format!("{seen} -"));
        assert!(upstream.saw_nothing());

        let config = ureq::Agent::config_builder()
            .proxy(Some(ureq::Proxy::new(&proxy_url).unwrap()))
            .tls_config(tls::trusting(&certificate))
            .build();
        let agent = cancellable_agent(config);
        for _ in 0..2 {
            let answer = attempt().run(|| agent.get(&target).call());
            let text = answer.unwrap().body_mut().read_to_string().unwrap();
            assert_eq!(text, "hello", "{scheme}");
            assert!(upstream.next().starts_with("GET /x "));
        }
        assert_eq!(proxy.next(), format!("{seen} -"));
        assert_eq!(proxy.connections(), 2, "{scheme}");
    }
}

#[test]
fn a_wrong_login_is_said_and_not_tried_again() {
    let upstream = upstream();
    let connect = proxies::connect(Some("user:other"), upstream.address());
    let socks = proxies::socks5(Some("user:other"), upstream.address());
    let with = format!("{ENCODED}@");
    for auth in [
        through(&url("http", &with, &connect)),
        through(&url("http", "", &connect)),
        through(&url("socks5", &with, &socks)),
        through(&url("socks5h", &with, &socks)),
        through(&url("socks5h", "", &socks)),
    ] {
        let error = get(&auth, &upstream.url("/x")).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Transport);
        assert!(!error.is_retryable());
        assert!(error.message().contains("login"), "{error}");
        assert_clean(&error, &auth);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_proxy_that_refuses_is_an_error() {
    let upstream = upstream();
    let dead = closed_port();
    let login = format!("{ENCODED}@");
    for scheme in ["http", "https", "socks5", "socks5h"] {
        let auth = through(&format!("{scheme}://{login}127.0.0.1:{dead}"));
        let error = get(&auth, &upstream.url("/x")).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Transport);
        assert!(error.is_retryable());
        assert!(error.message().contains("proxy refused"), "{error}");
        assert!(
            error.message().contains(&format!("127.0.0.1:{dead}")),
            "{error}"
        );
        assert_clean(&error, &auth);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_proxy_that_cannot_reach_the_target_is_an_error() {
    let dead = format!("http://127.0.0.1:{}/", closed_port());
    let behind = upstream();
    for (proxy, scheme) in [
        (proxies::connect(None, behind.address()), "http"),
        (proxies::socks4(behind.address()), "socks4"),
        (proxies::socks4(behind.address()), "socks4a"),
        (proxies::socks5(None, behind.address()), "socks5"),
        (proxies::socks5(None, behind.address()), "socks5h"),
    ] {
        let auth = through(&url(scheme, "", &proxy));
        let error = get(&auth, &dead).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Transport);
        assert!(
            error.message().contains("proxy answered"),
            "{scheme}: {error}"
        );
        assert_clean(&error, &auth);
    }
}

#[test]
fn a_proxy_that_is_silent_costs_the_limit_for_connecting() {
    let upstream = upstream();
    let limit = Duration::from_millis(200);
    let timeouts = Timeouts::new().with_connect(limit);
    for scheme in ["http", "https", "socks4", "socks4a", "socks5", "socks5h"] {
        let proxy = silent();
        let auth = through(&url(scheme, "", &proxy));
        let start = Instant::now();
        let error = get_within(&auth, &upstream.url("/x"), &timeouts).unwrap_err();
        let took = start.elapsed();
        assert_eq!(error.code(), &ErrorCode::Transport);
        assert!(error.message().contains("connecting"), "{scheme}: {error}");
        assert!(
            took >= limit && took < Duration::from_secs(5),
            "{scheme}: {took:?}"
        );
        assert_clean(&error, &auth);
        let first = proxy.next();
        // An HTTPS proxy hears TLS before anything else, or nothing yet.
        let is_tls = first.starts_with('\u{16}');
        let heard = if scheme == "https" {
            is_tls || first.is_empty()
        } else {
            !is_tls
        };
        assert!(heard, "{scheme}: {first:?}");
    }
    assert_eq!(upstream.connections(), 0);
}

/// Each byte comes well within the limit; the answer does not end for ten seconds.
#[test]
fn a_proxy_that_drips_costs_the_limit_for_connecting() {
    let proxy = Server::start(|mut stream, _| {
        support::read_head(&mut stream)?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nx-filler: ")?;
        for _ in 0..200 {
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    });
    let limit = Duration::from_millis(300);
    let timeouts = Timeouts::new().with_connect(limit);
    let auth = through(&url("http", "", &proxy));
    let start = Instant::now();
    let error = get_within(&auth, "http://127.0.0.1:9/x", &timeouts).unwrap_err();
    let took = start.elapsed();
    assert!(error.message().contains("connecting"), "{error}");
    assert!(took >= limit && took < Duration::from_secs(5), "{took:?}");
    assert_clean(&error, &auth);
}

#[test]
fn nonsense_never_connects_directly() {
    let upstream = upstream();
    for proxy in [
        "c@n:ary",
        "ary",
        "direct",
        "ftp://us er:c@n:ary@h",
        "http://",
        "http://us%20er:ary@",
        "http://us%20er:ary@h:port",
        "http://us%20er:ary@h:99999",
        "http://us%20er:ary@:80",
        "http://us%20er:ary@h\r\nProxy-Authorization: x",
        "socks4://us%20er:ary@h",
        "socks5://us%20er@h",
        "socks5h://%zz:ary@h",
    ] {
        let auth = through(proxy);
        let error = get(&auth, &upstream.url("/x")).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config, "{proxy}");
        assert_clean(&error, &auth);
        let error = attempt().unpooled_agent(&auth).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::Config, "{proxy}");
        assert_clean(&error, &auth);
    }
    assert_eq!(upstream.connections(), 0);
}

/// Runs [`child`] in a process of its own, because the environment belongs to the whole process.
#[test]
fn the_environments_proxy_is_never_used() {
    let upstream = upstream();
    let dead = format!("http://127.0.0.1:{}", closed_port());
    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in [
        "ALL_PROXY",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "all_proxy",
        "https_proxy",
        "http_proxy",
    ] {
        command.env(name, &dead);
    }
    let output = command
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_remove("NO_PROXY")
        .env_remove("no_proxy")
        .env("CREDPOOL_TEST_TARGET", upstream.url("/x"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(upstream.next().starts_with("GET /x "));
}

#[test]
#[ignore = "run by the_environments_proxy_is_never_used"]
fn child() {
    let Ok(target) = std::env::var("CREDPOOL_TEST_TARGET") else {
        return;
    };
    assert_eq!(get(&Auth::api_key("p", "k"), &target).unwrap(), "hello");
}
