//! Many logins that have expired: how soon they are refreshed, and that no call waits which need not.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use credpool::{
    Attempt, Auth, ChunkSource, Clock, Error, Manager, MemoryStore, OAuthTokens, Options,
    ProviderExecutor, Request, Response, SystemClock,
};
use crossbeam_channel::{Receiver, bounded};
use time::macros::utc_datetime;

/// Refreshes after a while; logins whose id begins with `hung` only when it is dropped.
struct Client {
    takes: Duration,
    hung: Receiver<()>,
    landed: Arc<AtomicUsize>,
}

impl ProviderExecutor for Client {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        let token = auth.metadata.as_ref().unwrap().text("access_token");
        let is_key = auth.attributes.get("api_key").is_some();
        assert!(
            is_key || token == Some("new"),
            "{} was sent an old token",
            auth.id
        );
        Ok(Response::default())
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        Ok(Box::new(std::iter::empty()))
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        self.execute(attempt, auth, request, options)
    }

    fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        if auth.id.starts_with("hung") {
            let _ = self.hung.recv();
        } else {
            let _ = SystemClock.after(self.takes).recv();
        }
        self.landed.fetch_add(1, Ordering::SeqCst);
        Ok(auth
            .clone()
            .with_metadata("access_token", "new")
            .with_metadata("refresh_token", format!("next of {}", auth.id))
            .with_metadata("expires_at", "2100-01-01T00:00:00Z"))
    }
}

fn expired(id: &str, endpoint: &str) -> Auth {
    let tokens = OAuthTokens::new("old")
        .with_refresh_token(format!("first of {id}"))
        .with_expires_at(utc_datetime!(2020-01-01 00:00));
    Auth::oauth("p", tokens)
        .with_id(id)
        .with_attribute("token_url", format!("https://{endpoint}.example/token"))
}

struct Pool {
    manager: Manager,
    landed: Arc<AtomicUsize>,
    /// Dropped, it lets what hangs go on.
    _hold: crossbeam_channel::Sender<()>,
}

fn pool(takes: Duration) -> Pool {
    let (hold, hung) = bounded(0);
    let landed = Arc::new(AtomicUsize::new(0));
    let manager = Manager::builder()
        .store(MemoryStore::new())
        .build()
        .unwrap();
    let client = Client {
        takes,
        hung,
        landed: Arc::clone(&landed),
    };
    manager.register_executor(client);
    Pool {
        manager,
        landed,
        _hold: hold,
    }
}

fn call(manager: &Manager) -> Result<Response, Error> {
    manager.execute(["p"], &Request::new("m", "{}"), &Options::new())
}

fn began() -> Instant {
    SystemClock.monotonic()
}

fn since(began: Instant) -> Duration {
    SystemClock.monotonic() - began
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = began();
    while !holds() {
        assert!(
            since(began) < Duration::from_secs(60),
            "{what} did not come about"
        );
        let _ = SystemClock.after(Duration::from_millis(1)).recv();
    }
}

#[test]
fn expired_logins_of_one_client_are_refreshed_eight_at_once() {
    let pool = pool(Duration::from_millis(50));
    for number in 0..200 {
        pool.manager
            .register(expired(&format!("a{number}"), "a"))
            .unwrap();
    }
    let began = began();
    pool.manager
        .start_auto_refresh(Duration::from_secs(60))
        .unwrap();
    until("the last refresh", || {
        pool.landed.load(Ordering::SeqCst) == 200
    });
    let ideal = Duration::from_millis(200 * 50 / 8);
    println!("{:?} where {ideal:?} is ideal", since(began));
    assert!(since(began) < ideal * 2, "{:?}", since(began));
}

#[test]
fn no_call_waits_once_a_fresh_login_is_idle() {
    let pool = pool(Duration::from_millis(50));
    for number in 0..300 {
        pool.manager
            .register(expired(&format!("a{number}"), "a"))
            .unwrap();
    }
    pool.manager
        .start_auto_refresh(Duration::from_secs(60))
        .unwrap();
    let stop = AtomicBool::new(false);
    let (calls, slow) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    let landed = pool.landed.load(Ordering::SeqCst) > 10;
                    let began = began();
                    call(&pool.manager).unwrap();
                    calls.fetch_add(1, Ordering::SeqCst);
                    // Half of what one refresh takes: scheduling alone takes less.
                    let waited = landed && since(began) > Duration::from_millis(25);
                    slow.fetch_add(usize::from(waited), Ordering::SeqCst);
                }
            });
        }
        until("the last refresh", || {
            pool.landed.load(Ordering::SeqCst) >= 300
        });
        stop.store(true, Ordering::SeqCst);
    });
    let (calls, slow) = (calls.into_inner(), slow.into_inner());
    println!("{slow} of {calls} calls waited");
    assert!(calls > 1000 && slow * 1000 <= calls, "{slow} of {calls}");
}

#[test]
fn no_call_waits_for_a_login_that_hangs_while_keys_are_ready() {
    let pool = pool(Duration::ZERO);
    pool.manager.register(expired("hung", "a")).unwrap();
    for number in 0..9 {
        let key = Auth::api_key("p", "k").with_id(format!("k{number}"));
        pool.manager.register(key).unwrap();
    }
    let began = began();
    for _ in 0..400 {
        call(&pool.manager).unwrap();
    }
    assert!(since(began) < Duration::from_secs(2), "{:?}", since(began));
    assert_eq!(pool.landed.load(Ordering::SeqCst), 0);
}

#[test]
fn endpoints_that_hang_delay_a_healthy_one_by_two_seconds_at_most() {
    let pool = pool(Duration::from_millis(50));
    for number in 0..8 {
        let hung = expired(&format!("hung{number}"), &format!("hung{number}"));
        pool.manager.register(hung).unwrap();
    }
    pool.manager.register(expired("a", "healthy")).unwrap();
    pool.manager
        .start_auto_refresh(Duration::from_secs(60))
        .unwrap();
    let began = began();
    pool.manager.refresh_now("a").unwrap();
    println!("{:?}", since(began));
    assert!(since(began) < Duration::from_secs(3), "{:?}", since(began));
}
