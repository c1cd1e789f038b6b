//! How much of a credential may be used at once and in a minute, and who waits for whom.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credpool::{
    Auth, Availability, Builder, Error, ErrorCode, FailurePolicy, Manager, ManualClock, Options,
    Request, Response, StreamEvent, Usage,
};
use parking_lot::Mutex;
use support::{Act, Fake, eventually, manual};

const SECOND: Duration = Duration::from_secs(1);

fn pool_with(
    credentials: usize,
    attributes: &[(&str, &str)],
    settings: impl FnOnce(Builder) -> Builder,
) -> (Manager, Fake, ManualClock) {
    let clock = manual();
    let builder = Manager::builder()
        .clock(clock.clone())
        .policy(FailurePolicy::default().with_jitter(0.0));
    let manager = settings(builder).build().unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    for n in 0..credentials {
        let mut auth = Auth::api_key("p", "k").with_id(format!("a{n}"));
        for (name, value) in attributes {
            auth = auth.with_attribute(*name, *value);
        }
        manager.register(auth.runtime_only()).unwrap();
    }
    (manager, fake, clock)
}

fn pool(credentials: usize, attributes: &[(&str, &str)]) -> (Manager, Fake, ManualClock) {
    pool_with(credentials, attributes, |builder| builder)
}

fn at_once() -> Options {
    Options::new().with_max_wait(Duration::ZERO)
}

fn ask_for(manager: &Manager, model: &str, options: &Options) -> Result<Response, Error> {
    manager.execute(["p"], &Request::new(model, "{}"), options)
}

fn ask(manager: &Manager) -> Result<Response, Error> {
    ask_for(manager, "m", &at_once())
}

/// All calls with `id` stay with the executor until the test lets one go.
fn hold(fake: &Fake, id: &str) -> (Arc<AtomicUsize>, crossbeam_channel::Sender<()>) {
    let (open, opened) = crossbeam_channel::unbounded::<()>();
    let entered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&entered);
    fake.on(
        id,
        Act::Do(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            opened.recv().unwrap();
            Ok(Response::new("ok"))
        })),
    );
    (entered, open)
}

#[test]
fn a_credential_at_its_limit_is_passed_over_and_an_error_says_so() {
    let (manager, fake, _) = pool(2, &[("max_concurrent", "1")]);
    let (entered, open) = hold(&fake, "a0");
    let busy = {
        let manager = manager.clone();
        thread::spawn(move || ask(&manager))
    };
    eventually("one is in", || entered.load(Ordering::SeqCst) == 1);
    assert_eq!(&*ask(&manager).unwrap().auth_id, "a1");
    assert_eq!(&*ask(&manager).unwrap().auth_id, "a1");
    assert_eq!(
        manager.explain("p", "m")[0].availability,
        Availability::Busy
    );
    let pinned = at_once().with_pinned("a0");
    for model in ["m", "n", ""] {
        let error = ask_for(&manager, model, &pinned).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::LimitReached, "over all models");
        assert_eq!(error.http_status(), Some(429));
        assert!(error.is_retryable());
    }
    open.send(()).unwrap();
    busy.join().unwrap().unwrap();
    open.send(()).unwrap();
    ask_for(&manager, "m", &pinned).unwrap();
}

#[test]
fn under_32_threads_limits_hold_and_every_permit_comes_back() {
    let (manager, fake, _) = pool_with(4, &[], |builder| builder.max_concurrent(3));
    let now: Arc<[AtomicUsize; 4]> = Arc::default();
    let most: Arc<[AtomicUsize; 4]> = Arc::default();
    for n in 0..4 {
        let (now, most, turn) = (Arc::clone(&now), Arc::clone(&most), AtomicUsize::new(0));
        fake.on(
            &format!("a{n}"),
            Act::Do(Arc::new(move || {
                let inside = now[n].fetch_add(1, Ordering::SeqCst) + 1;
                most[n].fetch_max(inside, Ordering::SeqCst);
                thread::yield_now();
                now[n].fetch_sub(1, Ordering::SeqCst);
                match turn.fetch_add(1, Ordering::SeqCst) % 50 {
                    7 => panic!("the executor is told to panic"),
                    11 => Err(Error::upstream(400, "your request is wrong")),
                    _ => Ok(Response::new("ok")),
                }
            })),
        );
    }
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let answer = ask_for(&manager, "m", &Options::new());
                    served.fetch_add(usize::from(answer.is_ok()), Ordering::SeqCst);
                }
            });
        }
    });
    assert!(served.load(Ordering::SeqCst) > 5000);
    for most in &*most {
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
    }
    for standing in manager.explain("p", "m") {
        assert_eq!(standing.availability, Availability::Ready, "{standing}");
    }
}

#[test]
fn who_comes_first_is_served_first() {
    let (manager, fake, clock) = pool(1, &[("max_concurrent", "1")]);
    let (entered, open) = hold(&fake, "a0");
    let order: Arc<Mutex<Vec<usize>>> = Arc::default();
    let start = |n: usize| {
        let (manager, order) = (manager.clone(), Arc::clone(&order));
        thread::spawn(move || {
            ask_for(&manager, "m", &Options::new()).unwrap();
            order.lock().push(n);
        })
    };
    let mut callers = vec![start(0)];
    eventually("the first is in", || entered.load(Ordering::SeqCst) == 1);
    for n in 1..6 {
        let waiting = clock.timers();
        callers.push(start(n));
        eventually("the next one waits", || clock.timers() > waiting);
    }
    for n in 0..6 {
        eventually("one is in", || entered.load(Ordering::SeqCst) == n + 1);
        // Whoever comes now has to wait behind the others.
        if n < 5 {
            let error = ask(&manager).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::LimitReached);
        }
        open.send(()).unwrap();
        eventually("it is served", || order.lock().len() == n + 1);
    }
    for caller in callers {
        caller.join().unwrap();
    }
    assert_eq!(*order.lock(), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn a_call_waits_for_a_permit_no_longer_than_it_may_wait_or_has_time() {
    for (options, seconds, code) in [
        (
            Options::new().with_timeout(20 * SECOND),
            20,
            ErrorCode::DeadlineExceeded,
        ),
        (
            Options::new().with_timeout(100 * SECOND),
            30,
            ErrorCode::LimitReached,
        ),
    ] {
        let (manager, fake, clock) = pool(1, &[("max_concurrent", "1")]);
        let (entered, open) = hold(&fake, "a0");
        let busy = {
            let manager = manager.clone();
            thread::spawn(move || ask(&manager))
        };
        eventually("one is in", || entered.load(Ordering::SeqCst) == 1);
        let waiting = {
            let manager = manager.clone();
            thread::spawn(move || ask_for(&manager, "m", &options))
        };
        eventually("it waits", || clock.timers() >= 1);
        clock.advance((seconds - 1) * SECOND);
        assert!(!waiting.is_finished());
        clock.advance(SECOND);
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(*error.code(), code, "{error}");
        open.send(()).unwrap();
        busy.join().unwrap().unwrap();
    }
}

#[test]
fn a_stream_holds_its_permit_until_its_end() {
    let (manager, fake, _) = pool(1, &[("max_concurrent", "1")]);
    let (more, rest) = crossbeam_channel::unbounded::<()>();
    fake.on(
        "a0",
        Act::Stream(Arc::new(move |_| {
            let rest = rest.clone();
            let chunk = || Ok(credpool::StreamChunk::new("x").with_text("x"));
            let late = std::iter::once_with(move || {
                rest.recv().unwrap();
                chunk()
            });
            Ok(Box::new(std::iter::once_with(chunk).chain(late)) as credpool::ChunkSource)
        })),
    );
    let request = Request::new("m", "{}");
    let open = || manager.execute_stream(["p"], &request, &at_once());
    let mut stream = open().unwrap();
    assert!(matches!(stream.recv(), StreamEvent::Chunk(_)));
    assert_eq!(*open().unwrap_err().code(), ErrorCode::LimitReached);
    more.send(()).unwrap();
    assert_eq!(stream.count(), 1);
    eventually("the permit is back", || open().is_ok());
}

#[test]
fn so_many_requests_a_minute_for_each_model() {
    let (manager, fake, clock) = pool(2, &[("rpm", "3")]);
    for _ in 0..6 {
        ask(&manager).unwrap();
        clock.advance(SECOND);
    }
    let error = ask(&manager).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::LimitReached);
    let out = error.exhaustion().unwrap().to_string();
    assert!(out.contains("a0: at its limits"), "{out}");
    ask_for(&manager, "n", &at_once()).unwrap();
    // The first one left the minute's reach.
    clock.advance(54 * SECOND);
    ask(&manager).unwrap_err();
    clock.advance(SECOND);
    ask(&manager).unwrap();
    assert_eq!(fake.calls().len(), 8);
}

#[test]
fn tokens_are_reckoned_before_and_settled_after() {
    let (manager, fake, clock) = pool(1, &[("tpm", "1000")]);
    let usage = |input, output| {
        let mut usage = Usage::default();
        (usage.input, usage.output) = (input, output);
        Act::Do(Arc::new(move || Ok(Response::new("ok").with_usage(usage))))
    };
    fake.on("a0", usage(300, 400));
    let ask_with = |bytes: usize| {
        let request = Request::new("m", "x".repeat(bytes));
        manager.execute(["p"], &request, &at_once())
    };
    ask_with(400).unwrap();
    // 700 are used; 300 are left, whatever was reckoned.
    assert_eq!(*ask_with(1204).unwrap_err().code(), ErrorCode::LimitReached);
    clock.advance(61 * SECOND);
    fake.on("a0", usage(1, 1));
    ask_with(4000).unwrap();
    ask_with(4 * 998).unwrap();
    // An attempt that fails gives its tokens back.
    fake.on(
        "a0",
        Act::Fail(Error::upstream(400, "your request is wrong")),
    );
    clock.advance(61 * SECOND);
    for _ in 0..5 {
        assert_eq!(ask_with(4000).unwrap_err().http_status(), Some(400));
    }
}

#[test]
fn a_limit_of_nothing_is_refused() {
    for builder in [
        Manager::builder().max_concurrent(0),
        Manager::builder().requests_per_minute(0),
        Manager::builder().tokens_per_minute(0),
    ] {
        assert_eq!(*builder.build().unwrap_err().code(), ErrorCode::Config);
    }
}
