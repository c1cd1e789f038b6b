//! What the program around the library does: hooks that misbehave, and secrets where they must not go.

use std::sync::{Arc, LazyLock};
use std::thread;

use credpool::provider::OpenAi;
use credpool::testing::{Reply, ScriptedExecutor, Upstream};
use credpool::{
    Auth, Clock, Error, FailurePolicy, Hook, Manager, OAuthTokens, Options, Outcome, Request,
    SystemClock,
};
use parking_lot::Mutex;

use crate::support::{Act, SOON, eventually, pool_with};
use crate::{HOUR, SECOND};

/// Calls back, waits for ever, or panics, by what is asked of it.
#[derive(Clone)]
struct Wild {
    manager: Arc<Mutex<Option<Manager>>>,
    release: crossbeam_channel::Receiver<()>,
}

impl Hook for Wild {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let manager = self.manager.lock().clone().unwrap();
        match outcome.model {
            "re-enters" => {
                let auth = manager.get_by_id(outcome.auth_id).unwrap();
                manager.update((*auth).clone().with_label("seen")).unwrap();
                let inner = Request::new("inner", "{}");
                manager.execute(["p"], &inner, &Options::new()).unwrap();
            }
            "blocks" => {
                let _ = self.release.recv();
            }
            "panics" => panic!("the hook is told to panic"),
            _ => {}
        }
    }
}

#[test]
fn fault_18_a_hook_misbehaves_or_a_refresh_panics() {
    let (release, released) = crossbeam_channel::bounded::<()>(0);
    let hook = Wild {
        manager: Arc::default(),
        release: released,
    };
    let (manager, fake, clock) = pool_with(2, |builder| builder.hook(hook.clone()));
    *hook.manager.lock() = Some(manager.clone());
    let ask = |manager: &Manager, model: &str| {
        manager.execute(["p"], &Request::new(model, "{}"), &Options::new())
    };
    ask(&manager, "re-enters").unwrap();
    ask(&manager, "panics").unwrap();
    let blocked = {
        let manager = manager.clone();
        thread::spawn(move || ask(&manager, "blocks").map(drop))
    };
    // While one caller hangs in its hook, the others call, change and remove.
    eventually("it hangs", || fake.calls().len() >= 4);
    for _ in 0..10 {
        ask(&manager, "others").unwrap();
        ask(&manager, "panics").unwrap();
    }
    manager.set_disabled("a1", true).unwrap();
    manager.remove("a1").unwrap();
    assert!(!blocked.is_finished());

    // A refresh that panics is a failed one: the next is made when it is due.
    let tokens = OAuthTokens::new("old")
        .with_refresh_token("r")
        .with_expires_at(clock.now());
    manager
        .register(Auth::oauth("p", tokens).with_id("login"))
        .unwrap();
    fake.on("login", Act::Panic);
    manager.start_auto_refresh(HOUR).unwrap();
    eventually("the panic", || fake.refreshes("login") >= 1);
    let until = clock.now() + HOUR;
    let renewed = OAuthTokens::new("new")
        .with_refresh_token("r2")
        .with_expires_at(until);
    let renewed = Auth::oauth("p", renewed);
    fake.on(
        "login",
        Act::Refresh(Arc::new(move |auth| {
            let mut auth = auth.clone();
            auth.metadata.clone_from(&renewed.metadata);
            Ok(auth)
        })),
    );
    eventually("the next refresh", || {
        clock.advance(SECOND);
        let auth = manager.get_by_id("login").unwrap();
        auth.metadata.as_ref().unwrap().text("access_token") == Some("new")
    });
    drop(release);
    blocked.join().unwrap().unwrap();
    *hook.manager.lock() = None;
    manager.shutdown(SOON).unwrap();
}

/// Everything that is logged in this process.
static LOGGED: LazyLock<Mutex<String>> = LazyLock::new(Mutex::default);

struct Keep;

impl log::Log for Keep {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        use std::fmt::Write as _;
        // The HTTP client itself dumps what goes over the wire, which is said in the guide.
        if record.target().starts_with("credpool") {
            let _ = writeln!(LOGGED.lock(), "{} {}", record.target(), record.args());
        }
    }

    fn flush(&self) {}
}

/// Quotes what it was given, as careless executors do.
fn careless(token: &str) -> Error {
    let parse = serde_json::from_str::<u32>(&format!("\"{token}\"")).unwrap_err();
    Error::other(parse).context(format!("{{\"token\": \"{token}\""))
}

#[test]
fn fault_19_secrets_are_asked_for_in_every_way() {
    const CANARY: &str = "sk-canary-0123456789";
    let _ = log::set_logger(&Keep);
    log::set_max_level(log::LevelFilter::Trace);
    let mut shown = Vec::new();
    let policy = FailurePolicy::default().without_waiting();
    let manager = Manager::builder().policy(policy).build().unwrap();
    manager.register_executor(OpenAi::named("p"));
    let executor = ScriptedExecutor::new("careless");
    executor.on_execute(|_| Err(careless(CANARY)));
    manager.register_executor(executor);
    let mut ask = |auth: Auth| {
        let provider = auth.provider.clone();
        let id = auth.id.clone();
        let error = match manager.register(auth) {
            Ok(_) => manager
                .execute([&*provider], &Request::new("m", "{}"), &Options::new())
                .unwrap_err(),
            Err(error) => error,
        };
        let mut source = std::error::Error::source(&error);
        shown.push(format!("{error} {error:?} {:?}", error.body()));
        while let Some(below) = source {
            shown.push(format!("{below} {below:?}"));
            source = below.source();
        }
        shown.push(format!("{:?}", manager.get_by_id(&id)));
        let _ = manager.remove(&id);
    };

    // A redirect is no reason to send anything anywhere else.
    let elsewhere = Upstream::start(|_| Reply::json(200, "{}"));
    let target = elsewhere.url();
    let upstream = Upstream::start(move |request| {
        let location = format!("{target}{}", request.path);
        Reply::new(307).header("location", &location).body("{}")
    });
    let key = |key: &str| Auth::api_key("p", key).with_id("a");
    ask(key(CANARY).with_attribute("base_url", upstream.url()));
    assert_eq!(elsewhere.connections_opened(), 0);

    // Keys that are no header are never sent.
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    for bad in ["\r\nx: y", "\n", "\0", "\u{80}"] {
        ask(key(&format!("{CANARY}{bad}")).with_attribute("base_url", upstream.url()));
    }
    assert_eq!(upstream.connections_opened(), 0);

    // A proxy that cannot be reached, or is no proxy, keeps its password.
    for scheme in ["http", "socks5", "nonsense"] {
        let port = crate::net::closed_port();
        let proxy = format!("{scheme}://user:{CANARY}@127.0.0.1:{port}");
        ask(key("k")
            .with_attribute("base_url", upstream.url())
            .with_proxy_url(proxy));
    }
    assert_eq!(upstream.connections_opened(), 0);

    // An upstream or an executor that quotes them.
    let upstream = Upstream::start(|request| {
        Reply::json(
            400,
            format!(
                "{{\"error\":{{\"message\":{:?}}}}}",
                request.header("authorization")
            ),
        )
    });
    ask(key(CANARY).with_attribute("base_url", upstream.url()));
    assert!(upstream.request_count() > 0);
    let tokens = OAuthTokens::new(CANARY).with_expires_at(SystemClock.now() + HOUR);
    ask(Auth::oauth("careless", tokens).with_id("a"));

    let logged = LOGGED.lock().clone();
    assert!(logged.contains("credpool"), "the logger hears of nothing");
    for text in shown.iter().chain([&logged]) {
        assert!(!text.contains("canary"), "{text}");
    }
}
