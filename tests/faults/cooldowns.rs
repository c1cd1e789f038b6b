//! Hints that are odd, cooldowns that end, providers that are down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, Availability, Clock, Error, ErrorCode, FailurePolicy, LimitWindow, Manager, ManualClock,
    Options, Outcome, RateLimits, Request, Response,
};

use crate::support::{Act, Fake, eventually, manual};
use crate::{DAY, HOUR, MINUTE, SECOND};

fn pool(credentials: usize, policy: FailurePolicy) -> (Manager, Fake, ManualClock) {
    let clock = manual();
    let manager = Manager::builder()
        .clock(clock.clone())
        .policy(policy)
        .seed(7)
        .build()
        .unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    for n in 0..credentials {
        let auth = Auth::api_key("p", "k").with_id(format!("a{n:02}"));
        manager.register(auth.runtime_only()).unwrap();
    }
    (manager, fake, clock)
}

fn steady() -> FailurePolicy {
    FailurePolicy::default().with_jitter(0.0).without_waiting()
}

fn call(manager: &Manager, provider: &str) -> Result<Response, Error> {
    manager.execute([provider], &Request::new("m", "{}"), &Options::new())
}

/// How long the only credential is out, by its standing.
fn out(manager: &Manager, provider: &str, now: credpool::Timestamp) -> Duration {
    let standing = manager.explain(provider, "m").swap_remove(0);
    let until = standing.until.unwrap_or(now);
    Duration::try_from(until - now).unwrap_or_default()
}

#[test]
fn fault_12_a_hint_is_odd_or_a_quota_comes_back_early() {
    let dates = [
        "Wed, 01 Jan 2025 09:00:00 GMT",
        "Wednesday, 01-Jan-25 10:00:30 GMT",
        "Wed Jan  1 10:00:30 2025",
    ];
    let odd = ["0", "-1", "1e30", "NaN", "", "1555200"];
    for hint in odd.iter().chain(&dates) {
        let upstream = Upstream::start({
            let hint = (*hint).to_owned();
            move |_| {
                let body = r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#;
                Reply::json(429, body).header("retry-after", &hint)
            }
        });
        let clock = manual();
        let manager = Manager::builder()
            .clock(clock.clone())
            .policy(steady())
            .build()
            .unwrap();
        manager.register_executor(OpenAi::named("p"));
        let auth = Auth::api_key("p", "k").with_attribute("base_url", upstream.url());
        manager.register(auth.runtime_only()).unwrap();
        assert!(call(&manager, "p").is_err());
        let out = out(&manager, "p", clock.now());
        assert!(out <= 7 * DAY, "{hint:?}: {out:?}");
        if hint.ends_with("10:00:30 GMT") || hint.ends_with("10:00:30 2025") {
            assert_eq!(out, 30 * SECOND, "{hint:?}");
        }
    }
    // The vendor said that a week must pass, and takes it back after a day: that is found by a probe, and cleared.
    let (manager, fake, clock) = pool(1, steady());
    let week = LimitWindow::new("unified-7d").with_used_ratio(1.0);
    let week = week
        .with_status("rejected")
        .with_resets_at(clock.now() + 7 * DAY);
    let limits = RateLimits::new().with_window(week);
    let quota = Error::upstream(429, "usage limit reached")
        .with_retry_after(7 * DAY)
        .with_rate_limits(limits);
    fake.on("a00", Act::Fail(quota));
    call(&manager, "p").unwrap_err();
    fake.on("a00", Act::Serve);
    let mut waited = Duration::ZERO;
    while call(&manager, "p").is_err() {
        clock.advance(HOUR);
        waited += HOUR;
    }
    assert!(waited <= DAY, "{waited:?}");
    let standing = manager.explain("p", "m").swap_remove(0);
    assert_eq!(standing.availability, Availability::Ready);
}

#[test]
fn fault_13_thirty_two_threads_are_there_when_a_cooldown_ends() {
    for what in ["serves", "hangs", "panics"] {
        let (manager, fake, clock) = pool(1, steady().with_max_wait(MINUTE));
        let limited = Error::upstream(429, "slow down");
        manager.mark_result(&Outcome::failure("a00", "p", "m", limited));
        let entered = Arc::new(AtomicUsize::new(0));
        let (open, opened) = crossbeam_channel::unbounded::<()>();
        let count = Arc::clone(&entered);
        fake.on(
            "a00",
            Act::Do(Arc::new(move || {
                let first = count.fetch_add(1, Ordering::SeqCst) == 0;
                assert!(!(first && what == "panics"), "the probe is told to panic");
                if first || what == "serves" {
                    opened.recv().unwrap();
                }
                Ok(Response::new("ok"))
            })),
        );
        let callers: Vec<_> = (0..32)
            .map(|_| {
                let manager = manager.clone();
                thread::spawn(move || call(&manager, "p"))
            })
            .collect();
        eventually("all wait", || clock.timers() >= 32);
        assert_eq!(entered.load(Ordering::SeqCst), 0);
        clock.advance(2 * SECOND);
        eventually("one goes", || entered.load(Ordering::SeqCst) >= 1);
        if what != "panics" {
            eventually("the others wait", || clock.timers() >= 31);
            assert_eq!(entered.load(Ordering::SeqCst), 1, "{what}");
        }
        if what == "hangs" {
            // Its permit is over after ten seconds: the next one goes.
            clock.advance(11 * SECOND);
            eventually("another one goes", || entered.load(Ordering::SeqCst) >= 2);
        }
        // For all of them, and for the last call.
        for _ in 0..64 {
            open.send(()).unwrap();
        }
        let mut served = 0;
        let done = || callers.iter().all(thread::JoinHandle::is_finished);
        eventually("all have an answer", || {
            if !done() {
                clock.advance(SECOND);
            }
            done()
        });
        for caller in callers {
            served += usize::from(caller.join().unwrap().is_ok());
        }
        assert!(served >= 31, "{what}: {served}");
        assert!(manager.explain("p", "m")[0].failures <= 1, "{what}");
        call(&manager, "p").unwrap();
    }
}

#[test]
fn fault_14_a_provider_with_twenty_keys_is_down() {
    for down in [
        Error::upstream(529, "overloaded"),
        Error::new(ErrorCode::Transport, "connection refused"),
    ] {
        let (manager, fake, clock) = pool(20, steady());
        for n in 0..20 {
            fake.on(&format!("a{n:02}"), Act::Fail(down.clone()));
        }
        for _ in 0..500 {
            call(&manager, "p").unwrap_err();
            clock.advance(Duration::from_millis(700));
        }
        let attempts = fake.calls().len();
        assert!(attempts <= 600, "{attempts} attempts for 500 calls: {down}");
        // Nobody is held responsible for long.
        for standing in manager.explain("p", "m") {
            let until = standing.until.unwrap_or(clock.now());
            assert!(until - clock.now() <= MINUTE, "{standing}");
        }
        for n in 0..20 {
            fake.on(&format!("a{n:02}"), Act::Serve);
        }
        let mut waited = Duration::ZERO;
        while call(&manager, "p").is_err() {
            clock.advance(SECOND);
            waited += SECOND;
        }
        assert!(waited < MINUTE, "{waited:?}");
    }
    // Where all are out, the error names the moment at which the first one returns.
    let (manager, _, clock) = pool(20, steady());
    for n in 0..20 {
        let limited = Error::upstream(429, "slow down").with_retry_after((20 + n) * SECOND);
        manager.mark_result(&Outcome::failure(&format!("a{n:02}"), "p", "m", limited));
    }
    let error = call(&manager, "p").unwrap_err();
    let earliest = clock.now() + 20 * SECOND;
    assert_eq!(error.exhaustion().unwrap().earliest, Some(earliest));
    assert_eq!(error.retry_after(), Some(20 * SECOND));
    assert!(error.message().contains("retry in 20 s"), "{error}");
}
