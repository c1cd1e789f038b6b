//! The proxies that companies run, squid and Dante, with a certificate of the company's own authority. Where they are not installed,
//! this is left out.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod store_support;
#[path = "net_support/mod.rs"]
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use credpool::{Auth, Builder, Error, ErrorCode, Manager, Options, Request};
use store_support::{Server as Program, found, in_path, when_up};
use support::Server;
use support::authority::{Authority, Identity};
use support::client::Fetch;

/// `joe` with this password, which has to be escaped in a URL.
const PASSWORD: &str = "p@ss:w/ x";
const IN_A_URL: &str = "p%40ss%3Aw%2F%20x";

/// A squid that lets in who knows the password, over TLS where it has a certificate.
fn squid(identity: Option<&Identity>) -> Option<Program> {
    let program = found("squid", in_path("squid"))?;
    let login = found("squid's check of passwords", LOGIN.map(PathBuf::from))?;
    let (certificate, listen) = match identity {
        None => (String::new(), "http_port 127.0.0.1:$port"),
        Some(identity) => (
            format!(
                "echo '{}' >c.pem && echo '{}' >k.pem &&",
                identity.certificate_pem(),
                identity.key_pem()
            ),
            "https_port 127.0.0.1:$port tls-cert=$dir/c.pem tls-key=$dir/k.pem",
        ),
    };
    let prepare = format!(
        "{certificate} echo \"joe:$(openssl passwd -apr1 '{PASSWORD}')\" >passwords && cat >conf <<END
{listen}
auth_param basic program {} $dir/passwords
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
pid_filename none
cache deny all
access_log none
cache_log $dir/log
shutdown_lifetime 0 seconds
END
",
        login.display()
    );
    Some(Program::start(
        &prepare,
        &format!("{} -N -f \"$dir/conf\"", program.display()),
    ))
}

const LOGIN: [&str; 2] = [
    "/usr/lib/squid/basic_ncsa_auth",
    "/usr/lib64/squid/basic_ncsa_auth",
];

/// A Dante that asks for no login, and lets nobody go to port 9.
fn dante() -> Option<Program> {
    let program = found("Dante", in_path("danted"))?;
    let prepare = "cat >conf <<END
logoutput: $dir/log
internal: 127.0.0.1 port = $port
external: lo
socksmethod: none
clientmethod: none
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks block { from: 0.0.0.0/0 to: 0.0.0.0/0 port = 9 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
END
";
    Some(Program::start(
        prepare,
        &format!("{} -f \"$dir/conf\" -p \"$dir/pid.own\"", program.display()),
    ))
}

fn manager(builder: Builder) -> Manager {
    let manager = builder.build().unwrap();
    manager.register_executor(Fetch);
    manager
}

/// Asks once.
fn ask(manager: &Manager, auth: Auth) -> Result<(), Error> {
    let id = manager.register(auth)?.id.clone();
    let once = Options::new().with_max_attempts(1);
    let answer = manager.execute(["p"], &Request::new("m", "{}"), &once);
    manager.remove(&id).unwrap();
    assert_eq!(answer?.payload, "hello");
    Ok(())
}

fn auth(target: &str, proxy: Option<&str>) -> Auth {
    let auth = Auth::api_key("p", "sk-canary")
        .with_id("team-a")
        .with_attribute("base_url", target)
        .runtime_only();
    match proxy {
        Some(proxy) => auth.with_proxy_url(proxy),
        None => auth,
    }
}

/// An upstream over TLS, and the proxies before it.
struct Office {
    upstream: Server,
    proxies: Vec<String>,
    _programs: Vec<Program>,
}

impl Office {
    fn of(company: &Authority) -> Option<Self> {
        let identity = company.signs("localhost");
        let office = [
            ("http", squid(None)?),
            ("https", squid(Some(&identity))?),
            ("socks5h", dante()?),
        ];
        let url = |(scheme, program): &(&str, Program)| {
            let login = match *scheme {
                "socks5h" => String::new(),
                _ => format!("joe:{IN_A_URL}@"),
            };
            format!("{scheme}://{login}localhost:{}", program.port)
        };
        let proxies = office.iter().map(url).collect();
        let office = Self {
            upstream: identity.upstream(),
            proxies,
            _programs: office.map(|(_, program)| program).into(),
        };
        let manager = manager(Manager::builder().root_certificates(company.pem()));
        for proxy in &office.proxies {
            when_up(|| ask(&manager, office.auth(Some(proxy))));
        }
        Some(office)
    }

    fn target(&self) -> String {
        let port = self.upstream.address().port();
        format!("https://localhost:{port}/x")
    }

    fn auth(&self, proxy: Option<&str>) -> Auth {
        auth(&self.target(), proxy)
    }

    /// The four ways to the upstream.
    fn routes(&self) -> impl Iterator<Item = Option<&str>> {
        let proxies = self.proxies.iter().map(|proxy| Some(&**proxy));
        [None].into_iter().chain(proxies)
    }
}

#[test]
fn one_setting_or_one_attribute_or_the_environment_serves_all_routes() {
    let company = Authority::new();
    let Some(office) = Office::of(&company) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    fs::write(&file, company.pem()).unwrap();
    let served = office.upstream.connections();

    let by_setting = manager(Manager::builder().root_certificates(company.pem()));
    let by_attribute = manager(Manager::builder());
    for route in office.routes() {
        ask(&by_setting, office.auth(route)).unwrap();
        let auth = office.auth(route);
        let auth = auth.with_attribute("ca_certificates", file.to_str().unwrap());
        ask(&by_attribute, auth).unwrap();
        // Without one of them the upstream is not believed, and the error names the way out.
        let error = ask(&by_attribute, office.auth(route)).unwrap_err();
        assert!(error.message().contains("ca_certificates"), "{error}");
    }
    assert!(office.upstream.connections() > served);

    let routes: Vec<_> = office.routes().map(|route| route.unwrap_or("")).collect();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env_remove("SSL_CERT_DIR")
        .env("SSL_CERT_FILE", &file)
        .env(TARGET, office.target())
        .env(ROUTES, routes.join(" "))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

const TARGET: &str = "CREDPOOL_TEST_TARGET";
const ROUTES: &str = "CREDPOOL_TEST_ROUTES";

#[test]
#[ignore = "run with the environment of another test"]
fn child() {
    let Ok(target) = std::env::var(TARGET) else {
        return;
    };
    let manager = manager(Manager::builder());
    for route in std::env::var(ROUTES).unwrap().split(' ') {
        let route = Some(route).filter(|route| !route.is_empty());
        ask(&manager, auth(&target, route)).unwrap();
    }
}

/// As the table of faults in the guide says; nothing of the login is shown, and no retry is advised.
#[test]
fn each_refusal_of_a_real_proxy_is_said_to_be_the_proxys() {
    let company = Authority::new();
    let Some(office) = Office::of(&company) else {
        return;
    };
    let manager = manager(Manager::builder().root_certificates(company.pem()));
    for proxy in &office.proxies[..2] {
        let wrong = proxy.replace(IN_A_URL, "canary");
        let error = ask(&manager, office.auth(Some(&wrong))).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Transport, "{error}");
        assert!(error.message().contains("login"), "{error}");
        assert!(!error.is_retryable(), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let barred = auth("https://localhost:9/x", Some(&office.proxies[2]));
    let error = ask(&manager, barred).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    assert!(error.message().contains("proxy"), "{error}");
}
