//! Certificates of a company's own authority, certificates of clients, and what is said where one is not accepted.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "net_support/mod.rs"]
mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::{
    Auth, Availability, Builder, Clock, Error, ErrorCode, FailureKind, FailurePolicy, Manager,
    ManualClock, Options, Request, SystemClock, TransportProvider, agent_config, cancellable_agent,
};
use support::authority::{Authority, Identity, Odd, over_tls, upstream};
use support::client::Fetch;
use support::{Server, proxies};

fn manager(builder: Builder) -> Manager {
    let manager = builder.build().unwrap();
    manager.register_executor(Fetch);
    manager
}

fn auth(server: &Server) -> Auth {
    let url = format!("https://localhost:{}/x", server.address().port());
    Auth::api_key("p", "sk-canary")
        .with_id("team-a")
        .with_attribute("base_url", url)
        .runtime_only()
}

fn ask_with(manager: &Manager, auth: Auth) -> Result<(), Error> {
    let id = manager.register(auth).unwrap().id.clone();
    let asked = ask(manager);
    manager.remove(&id).unwrap();
    asked
}

fn ask(manager: &Manager) -> Result<(), Error> {
    let answer = manager.execute(["p"], &Request::new("m", "{}"), &Options::new())?;
    assert_eq!(answer.attempts, 1);
    assert_eq!(answer.payload, "hello");
    Ok(())
}

/// The four ways to an upstream: direct, and through the kinds of proxies; one of them is spoken to over TLS.
struct Routes {
    upstream: Server,
    proxies: Vec<(&'static str, Server)>,
    _behind: Server,
}

impl Routes {
    fn of(company: &Authority) -> Self {
        let upstream = company.signs("localhost").upstream();
        let behind = proxies::connect(Some("joe:canary"), upstream.address());
        let tls = company.signs("localhost").config(&Odd::default());
        let proxies = vec![
            (
                "http",
                proxies::connect(Some("joe:canary"), upstream.address()),
            ),
            ("https", over_tls(tls, behind.address())),
            (
                "socks5h",
                proxies::socks5(Some("joe:canary"), upstream.address()),
            ),
        ];
        Self {
            upstream,
            proxies,
            _behind: behind,
        }
    }

    fn auths(&self) -> Vec<Auth> {
        let direct = auth(&self.upstream);
        let proxied = self.proxies.iter().map(|(scheme, proxy)| {
            let port = proxy.address().port();
            direct
                .clone()
                .with_proxy_url(format!("{scheme}://joe:canary@localhost:{port}"))
        });
        [direct.clone()].into_iter().chain(proxied).collect()
    }

    /// One request over each route; each proxy is really used.
    fn all_serve(&self, manager: &Manager, change: impl Fn(Auth) -> Auth) {
        let before: Vec<_> = self
            .proxies
            .iter()
            .map(|(_, proxy)| proxy.connections())
            .collect();
        for auth in self.auths() {
            let through = auth.proxy_url.expose().to_owned();
            ask_with(manager, change(auth)).unwrap_or_else(|error| panic!("{through}: {error}"));
        }
        for (before, (scheme, proxy)) in before.into_iter().zip(&self.proxies) {
            assert_eq!(proxy.connections(), before + 1, "{scheme}");
        }
    }
}

mod own_authority {
    use super::*;

    #[test]
    fn one_setting_of_the_builder_serves_all_routes() {
        let company = Authority::new();
        let routes = Routes::of(&company);
        let manager = manager(Manager::builder().root_certificates(company.pem()));
        routes.all_serve(&manager, |auth| auth);
        let other = Authority::new();
        let both = other.pem() + &company.pem();
        routes.all_serve(
            &super::manager(Manager::builder().root_certificates(both)),
            |auth| auth,
        );
    }

    #[test]
    fn one_attribute_serves_all_routes() {
        let company = Authority::new();
        let routes = Routes::of(&company);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        fs::write(&file, company.pem()).unwrap();
        let manager = manager(Manager::builder());
        for value in [file.to_str().unwrap().to_owned(), company.pem()] {
            routes.all_serve(&manager, |auth| {
                auth.with_attribute("ca_certificates", &value)
            });
        }
        for auth in routes.auths() {
            let error = ask_with(&manager, auth).unwrap_err();
            assert!(error.message().contains("ca_certificates"), "{error}");
        }
    }

    /// Runs [`child`] in a process of its own, because the environment belongs to the whole process.
    #[test]
    fn the_environment_alone_serves_all_routes() {
        let company = Authority::new();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        fs::write(&file, company.pem()).unwrap();
        fs::write(dir.path().join("README"), "not a certificate").unwrap();
        let routes = Routes::of(&company);
        let urls: Vec<_> = routes
            .auths()
            .iter()
            .map(|auth| auth.proxy_url.expose().to_owned())
            .collect();
        let target = routes.auths()[0]
            .attributes
            .get("base_url")
            .unwrap()
            .to_owned();
        let run = |variable: &str, value: &std::path::Path| {
            let output = Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "own_authority::child",
                    "--ignored",
                    "--nocapture",
                ])
                .env_remove("SSL_CERT_FILE")
                .env_remove("SSL_CERT_DIR")
                .env(variable, value)
                .env("CREDPOOL_TEST_TARGET", &target)
                .env("CREDPOOL_TEST_PROXIES", urls.join(" "))
                .output()
                .unwrap();
            assert!(output.status.success(), "{variable}: {output:?}");
        };
        run("SSL_CERT_FILE", &file);
        run("SSL_CERT_DIR", dir.path());
        assert_eq!(routes.upstream.connections(), 8);
    }

    #[test]
    #[ignore = "run by the_environment_alone_serves_all_routes"]
    fn child() {
        let Ok(target) = std::env::var("CREDPOOL_TEST_TARGET") else {
            return;
        };
        let proxies = std::env::var("CREDPOOL_TEST_PROXIES").unwrap();
        let manager = manager(Manager::builder());
        for proxy in proxies.split(' ') {
            let auth = Auth::api_key("p", "k")
                .with_id("team-a")
                .with_attribute("base_url", &target)
                .with_proxy_url(proxy)
                .runtime_only();
            ask_with(&manager, auth).unwrap();
        }
    }

    #[test]
    fn a_file_that_changes_is_read_again() {
        let (first, second) = (Authority::new(), Authority::new());
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let manager = manager(Manager::builder());
        // Files of different lengths, in case that both come within one tick of the file system's clock.
        for (company, others, end) in [(&first, &second, ""), (&second, &first, "\n")] {
            fs::write(&file, company.pem() + end).unwrap();
            let with_file =
                |auth: Auth| auth.with_attribute("ca_certificates", file.to_str().unwrap());
            let server = company.signs("localhost").upstream();
            ask_with(&manager, with_file(auth(&server))).unwrap();
            let server = others.signs("localhost").upstream();
            ask_with(&manager, with_file(auth(&server))).unwrap_err();
        }
    }

    /// A mounted secret may come after the program has begun, or be written while it is read.
    #[test]
    fn a_file_that_is_missing_or_broken_is_looked_at_again() {
        let company = Authority::new();
        let server = company.signs("localhost").upstream();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let clock = ManualClock::at(SystemClock.now());
        let manager = manager(Manager::builder().clock(clock.clone()));
        let auth = auth(&server).with_attribute("ca_certificates", file.to_str().unwrap());
        manager.register(auth).unwrap();
        for text in [None, Some("-----BEGIN CERTIFICATE-----\n")] {
            if let Some(text) = text {
                fs::write(&file, text).unwrap();
            }
            let error = ask(&manager).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("ca_certificates"), "{said}");
            assert!(said.contains("looked at again"), "{said}");
            let standing = manager.explain("p", "m").remove(0);
            assert_eq!(standing.fault, Some(FailureKind::Misconfigured));
            assert_eq!(standing.availability, Availability::Cooling);
            clock.advance(standing.remaining.unwrap() + Duration::from_secs(1));
        }
        fs::write(&file, company.pem()).unwrap();
        ask(&manager).unwrap();
        assert_eq!(server.connections(), 1);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let server = Authority::new().signs("localhost").upstream();
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
        ] {
            let error = Manager::builder()
                .root_certificates(pem)
                .build()
                .unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
            assert!(error.message().contains("root_certificates"), "{error}");
        }
        let manager = manager(Manager::builder());
        for (name, value) in [
            ("ca_certificates", "/nowhere/canary.pem"),
            (
                "ca_certificates",
                "-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n",
            ),
            ("client_certificate", "/nowhere/canary.pem"),
            ("client_key", "/nowhere/canary.pem"),
        ] {
            let error = ask_with(&manager, auth(&server).with_attribute(name, value)).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{error}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(name) && !text.contains("canary"), "{text}");
        }
        assert_eq!(server.connections(), 0);
    }
}

mod clients {
    use super::*;

    fn asking(company: &Authority, only_tls12: bool) -> Server {
        let odd = Odd {
            asks_for: Some(company),
            only_tls12,
            ..Odd::default()
        };
        upstream(company.signs("localhost").config(&odd))
    }

    fn with_certificate(company: &Authority, own: &Identity) -> Manager {
        let builder = Manager::builder().root_certificates(company.pem());
        manager(builder.client_certificate(own.certificate_pem(), own.key_pem()))
    }

    #[test]
    fn a_certificate_is_shown_to_who_asks_for_one() {
        let company = Authority::new();
        let own = company.signs("team-a.company");
        let (certificate, key) = (own.certificate_pem(), own.key_pem());
        let dir = tempfile::tempdir().unwrap();
        let [file, key_file, both] =
            ["own.pem", "own.key", "both.pem"].map(|name| dir.path().join(name));
        fs::write(&file, &certificate).unwrap();
        fs::write(&key_file, &key).unwrap();
        fs::write(&both, format!("{certificate}{key}")).unwrap();
        let path = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
        for only_tls12 in [false, true] {
            let server = asking(&company, only_tls12);
            let plain = manager(Manager::builder().root_certificates(company.pem()));
            ask_with(&with_certificate(&company, &own), auth(&server)).unwrap();
            for (certificate, key) in [
                (certificate.clone(), Some(key.clone())),
                (path(&file), Some(path(&key_file))),
                (path(&both), None),
            ] {
                let mut auth = auth(&server).with_attribute("client_certificate", certificate);
                if let Some(key) = key {
                    auth = auth.with_attribute("client_key", key);
                }
                ask_with(&plain, auth).unwrap();
            }
            ask_with(&plain, auth(&server)).unwrap_err();
        }
    }

    /// A connection that was opened with one certificate serves no credential with another.
    #[test]
    fn connections_are_not_shared_between_certificates() {
        let company = Authority::new();
        let server = asking(&company, false);
        let plain = manager(Manager::builder().root_certificates(company.pem()));
        for number in 1..=2 {
            let own = company.signs("team.company");
            for _ in 0..2 {
                let auth = auth(&server)
                    .with_attribute("client_certificate", own.certificate_pem() + &own.key_pem());
                ask_with(&plain, auth).unwrap();
                assert_eq!(server.connections(), number);
            }
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_when_the_manager_is_built() {
        let company = Authority::new();
        let (one, other) = (company.signs("a"), company.signs("b"));
        for (certificate, key) in [
            (one.certificate_pem(), other.key_pem()),
            (one.certificate_pem(), String::new()),
            (String::new(), one.key_pem()),
            (one.certificate_pem(), "-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned()),
        ] {
            let builder = Manager::builder().client_certificate(certificate, key);
            let error = builder.build().unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
            let text = format!("{error} {error:?}");
            assert!(text.contains("client_certificate") && !text.contains("canary"), "{text}");
        }
    }
}

mod faults {
    use super::*;

    /// What a call says whose certificate or proxy is refused: once, and without a second attempt.
    fn refused(builder: Builder, auth: Auth, words: &[&str]) {
        let manager = manager(builder);
        // More keys that would go the same way.
        for number in 0..3 {
            let again = auth.clone().with_id(format!("again-{number}"));
            manager.register(again).unwrap();
        }
        manager.register(auth).unwrap();
        let error = manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap_err();
        let text = format!("{error} {error:?}");
        assert_eq!(*error.code(), ErrorCode::Transport, "{text}");
        assert!(!error.is_retryable(), "{text}");
        for word in words {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("canary"), "{text}");
    }

    fn trusting(company: &Authority) -> Builder {
        Manager::builder().root_certificates(company.pem())
    }

    fn showing(identity: &Identity, builder: Builder, words: &[&str]) {
        let server = identity.upstream();
        refused(builder, auth(&server), words);
        assert_eq!(server.connections(), 1, "{words:?}");
    }

    #[test]
    fn each_fault_of_a_certificate_has_a_name_and_a_way_out() {
        let company = Authority::new();
        let of_server = "the server's certificate";
        showing(
            &company.signs("localhost"),
            Manager::builder(),
            &[
                of_server,
                "UnknownIssuer",
                "Builder::root_certificates",
                "ca_certificates",
                "SSL_CERT_FILE",
            ],
        );
        let past = |params: &mut rcgen::CertificateParams| {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        };
        showing(
            &company.signs_with("localhost", past),
            trusting(&company),
            &[of_server, "has expired", "clock"],
        );
        let future = |params: &mut rcgen::CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2200, 1, 1);
        };
        showing(
            &company.signs_with("localhost", future),
            trusting(&company),
            &[of_server, "not valid yet"],
        );
        showing(
            &company.signs("other.example"),
            trusting(&company),
            &[of_server, "another host"],
        );
        showing(
            &company.itself(),
            trusting(&company),
            &[of_server, "CaUsedAsEndEntity", "CA:FALSE"],
        );
    }

    #[test]
    fn each_fault_of_a_handshake_has_a_name_and_a_way_out() {
        let company = Authority::new();
        let stranger = Authority::new().signs("stranger");
        for (odd, words) in [
            (
                Odd {
                    asks_for: Some(&company),
                    ..Odd::default()
                },
                [
                    "the server requires a client certificate",
                    "client_certificate",
                ],
            ),
            (
                Odd {
                    asks_for: Some(&company),
                    only_tls12: true,
                    ..Odd::default()
                },
                ["client certificate", "client_certificate"],
            ),
            (
                Odd {
                    alpn: vec![b"h2".to_vec()],
                    ..Odd::default()
                },
                [
                    "the server does not speak HTTP/1.1",
                    "only supported version",
                ],
            ),
        ] {
            let server = upstream(company.signs("localhost").config(&odd));
            refused(trusting(&company), auth(&server), &words);
            assert_eq!(server.connections(), 1, "{words:?}");
        }
        let odd = Odd {
            asks_for: Some(&company),
            ..Odd::default()
        };
        let server = upstream(company.signs("localhost").config(&odd));
        let builder =
            trusting(&company).client_certificate(stranger.certificate_pem(), stranger.key_pem());
        refused(
            builder,
            auth(&server),
            &["does not accept the client certificate"],
        );
        let plain = Server::start(|mut stream, _| {
            stream.peek(&mut [0])?;
            support::answer(&mut stream, "400 Bad Request", "connection: close\r\n", "")
        });
        refused(
            trusting(&company),
            auth(&plain),
            &["does not answer with TLS", "scheme"],
        );
    }

    #[test]
    fn each_fault_of_a_proxy_is_said_to_be_the_proxys() {
        let (company, stranger) = (Authority::new(), Authority::new());
        let upstream = company.signs("localhost").upstream();
        let behind = proxies::connect(None, upstream.address());
        let unknown = over_tls(
            stranger.signs("localhost").config(&Odd::default()),
            behind.address(),
        );
        let asks = Odd {
            asks_for: Some(&company),
            ..Odd::default()
        };
        let asking = over_tls(company.signs("localhost").config(&asks), behind.address());
        let says = |status: &'static str| {
            Server::start(move |mut stream, _| {
                support::read_head(&mut stream)?;
                support::answer(&mut stream, status, "connection: close\r\n", "canary")
            })
        };
        for (scheme, proxy, words) in [
            (
                "https",
                unknown,
                vec!["the proxy's certificate", "UnknownIssuer"],
            ),
            (
                "https",
                asking,
                vec!["the proxy requires a client certificate"],
            ),
            (
                "http",
                says("407 Login"),
                vec!["refused the login", "the user and the password"],
            ),
            (
                "http",
                says("401 Login"),
                vec!["refused the login", "the user and the password"],
            ),
            (
                "http",
                says("403 Forbidden"),
                vec!["does not allow this destination", "403"],
            ),
            (
                "http",
                says("400 Bad"),
                vec!["the proxy answered with HTTP 400"],
            ),
            (
                "socks5h",
                proxies::socks5(Some("other:login"), upstream.address()),
                vec!["refused the login"],
            ),
        ] {
            let port = proxy.address().port();
            let auth =
                auth(&upstream).with_proxy_url(format!("{scheme}://joe:canary@localhost:{port}"));
            let through = format!("through proxy {scheme}://localhost:{port}");
            let words: Vec<_> = words.into_iter().chain([&*through]).collect();
            refused(trusting(&company), auth, &words);
            assert_eq!(proxy.connections(), 1, "{words:?}");
        }
        assert_eq!(upstream.connections(), 0);
    }

    #[test]
    fn another_route_is_tried_all_the_same() {
        let company = Authority::new();
        let upstream = company.signs("localhost").upstream();
        let proxy = proxies::connect(Some("other:login"), upstream.address());
        let manager = manager(trusting(&company));
        let proxied = auth(&upstream)
            .with_proxy_url(format!(
                "http://joe:canary@localhost:{}",
                proxy.address().port()
            ))
            .with_attribute("priority", "1");
        for number in 0..3 {
            manager
                .register(proxied.clone().with_id(format!("proxied-{number}")))
                .unwrap();
        }
        manager.register(auth(&upstream).with_id("direct")).unwrap();
        let answer = manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap();
        assert_eq!((answer.attempts, &*answer.auth_id), (2, "direct"));
        assert_eq!(proxy.connections(), 1);
    }

    /// A fault that may pass is tried again as before.
    #[test]
    fn a_proxy_that_is_out_of_order_is_tried_again() {
        let company = Authority::new();
        let upstream = company.signs("localhost").upstream();
        let proxy = Server::start(|mut stream, _| {
            support::read_head(&mut stream)?;
            support::answer(&mut stream, "502 Bad Gateway", "connection: close\r\n", "")
        });
        let manager = manager(
            trusting(&company)
                .policy(FailurePolicy::default().with_max_wait(std::time::Duration::ZERO)),
        );
        let auth =
            auth(&upstream).with_proxy_url(format!("http://localhost:{}", proxy.address().port()));
        manager.register(auth).unwrap();
        let error = manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(proxy.connections() > 1);
    }
}

mod providers {
    use super::*;

    /// One agent for all credentials.
    struct One(ureq::Agent);

    impl TransportProvider for One {
        fn agent_for(&self, _: &Auth) -> Result<Option<ureq::Agent>, Error> {
            Ok(Some(self.0.clone()))
        }
    }

    #[test]
    fn an_agent_of_the_programs_own_loses_neither_proxies_nor_roots_nor_connections() {
        let company = Authority::new();
        let routes = Routes::of(&company);
        let manager = manager(Manager::builder().root_certificates(company.pem()));
        let config = agent_config().no_delay(false).build();
        manager.set_transport_provider(Some(Arc::new(One(cancellable_agent(config)))));
        routes.all_serve(&manager, |auth| auth);
        // All connections were kept.
        let proxies: Vec<_> = routes
            .proxies
            .iter()
            .map(|(_, proxy)| proxy.connections())
            .collect();
        for auth in routes.auths() {
            ask_with(&manager, auth).unwrap();
        }
        assert_eq!(routes.upstream.connections(), 4);
        let after: Vec<_> = routes
            .proxies
            .iter()
            .map(|(_, proxy)| proxy.connections())
            .collect();
        assert_eq!(proxies, after);
    }

    #[test]
    fn an_agent_with_a_proxy_of_its_own_keeps_it() {
        let company = Authority::new();
        let upstream = company.signs("localhost").upstream();
        let own = proxies::connect(None, upstream.address());
        let credentials = proxies::connect(None, upstream.address());
        let manager = manager(Manager::builder().root_certificates(company.pem()));
        let proxy = ureq::Proxy::new(&format!("http://localhost:{}", own.address().port()));
        let config = agent_config().proxy(Some(proxy.unwrap())).build();
        manager.set_transport_provider(Some(Arc::new(One(cancellable_agent(config)))));
        let url = format!("http://localhost:{}", credentials.address().port());
        ask_with(&manager, auth(&upstream).with_proxy_url(url)).unwrap();
        assert_eq!((own.connections(), credentials.connections()), (1, 0));
    }

    #[test]
    fn the_pool_of_an_agent_is_that_of_the_manager() {
        let config = agent_config().build();
        assert!(config.max_idle_connections() >= 1024);
        assert!(config.max_idle_connections_per_host() >= 1024);
        assert!(config.input_buffer_size() < 64 * 1024);
    }
}

#[test]
fn the_executors_of_this_crate_use_it_all() {
    let company = Authority::new();
    let server = company.signs("localhost").upstream();
    let manager = Manager::builder()
        .root_certificates(company.pem())
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    let url = format!("https://localhost:{}/v1", server.address().port());
    let auth = Auth::api_key("openai", "k").with_attribute("base_url", url);
    manager.register(auth.runtime_only()).unwrap();
    // It is no answer of a vendor, but it came over TLS.
    let error = manager
        .execute(["openai"], &Request::new("m", "{}"), &Options::new())
        .unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Upstream, "{error}");
}
