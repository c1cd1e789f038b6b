//! When nobody is ready: probes, waiting, the floor, retries, and the error that says who is out and why.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credpool::{
    Auth, Availability, BackOff, CancelToken, Clock, CooldownSource, Error, ErrorCode, FailureKind,
    FailurePolicy, LimitWindow, Manager, ManualClock, OAuthTokens, Options, OutageDetection,
    Outcome, RateLimits, Remedy, Request, Response, RetryBudget, StreamEvent,
};
use support::{Act, Fake, eventually, manual};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
const TICK: Duration = Duration::from_nanos(1);

/// The default policy, without chance and without waiting.
fn steady() -> FailurePolicy {
    FailurePolicy::default().with_jitter(0.0).without_waiting()
}

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
        // Nothing for the writer to do: the clock's timers are those of calls.
        let auth = Auth::api_key("p", "k").with_id(name(n)).runtime_only();
        manager.register(auth).unwrap();
    }
    (manager, fake, clock)
}

fn name(n: usize) -> String {
    format!("a{n:02}")
}

fn everybody(fake: &Fake, credentials: usize, act: &Act) {
    for n in 0..credentials {
        fake.on(&name(n), act.clone());
    }
}

fn ask(manager: &Manager, options: &Options) -> Result<Response, Error> {
    manager.execute(["p"], &Request::new("m", "{}"), options)
}

fn call(manager: &Manager) -> Result<String, Error> {
    ask(manager, &Options::new()).map(|response| response.auth_id.to_string())
}

fn mark(manager: &Manager, n: usize, error: Error) {
    manager.mark_result(&Outcome::failure(&name(n), "p", "m", error));
}

fn standing(manager: &Manager, n: usize) -> credpool::CredentialReport {
    manager.explain("p", "m").swap_remove(n)
}

fn just_before(time: Duration) -> Duration {
    time.saturating_sub(TICK)
}

fn limited(seconds: u64) -> Error {
    Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(seconds))
}

/// A limit of which nobody knows when it ends: guessed to last for a second.
fn busy() -> Error {
    Error::upstream(429, "slow down")
}

fn down() -> Error {
    Error::upstream(503, "down")
}

/// A fault of the provider that says for how long.
fn away() -> Error {
    down().with_retry_after(SECOND)
}

/// An executor's answer that waits until the test lets it go.
struct Door {
    entered: Arc<AtomicUsize>,
    open: crossbeam_channel::Sender<Result<(), Error>>,
}

/// One that all calls with the credential stand at.
fn door(fake: &Fake, id: &str) -> Door {
    let entered = Arc::new(AtomicUsize::new(0));
    let (open, opened) = crossbeam_channel::unbounded::<Result<(), Error>>();
    let count = Arc::clone(&entered);
    fake.on(
        id,
        Act::Do(Arc::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
            opened.recv().unwrap().map(|()| Response::new("ok"))
        })),
    );
    Door { entered, open }
}

impl Door {
    fn entered(&self) -> usize {
        self.entered.load(Ordering::SeqCst)
    }
}

mod probes {
    use super::*;

    #[test]
    fn at_the_end_of_a_cooldown_exactly_one_of_32_threads_goes_first() {
        let (manager, fake, clock) = pool(1, steady().with_max_wait(MINUTE));
        mark(&manager, 0, busy());
        let door = door(&fake, "a00");
        let callers: Vec<_> = (0..32)
            .map(|_| {
                let manager = manager.clone();
                thread::spawn(move || call(&manager))
            })
            .collect();
        eventually("all wait", || clock.timers() >= 32);
        assert_eq!(door.entered(), 0);
        clock.advance(2 * SECOND);
        eventually("one goes", || door.entered() == 1);
        // The others have seen that somebody probes, and wait for what comes of it.
        eventually("the others wait", || clock.timers() >= 31);
        assert_eq!(door.entered(), 1);
        assert_eq!(standing(&manager, 0).availability, Availability::Probing);
        for _ in 0..32 {
            door.open.send(Ok(())).unwrap();
        }
        for caller in callers {
            caller.join().unwrap().unwrap();
        }
        assert_eq!(door.entered(), 32);
        assert_eq!(standing(&manager, 0).availability, Availability::Ready);
    }

    #[test]
    fn a_probe_that_fails_keeps_the_others_out() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, limited(20));
        fake.on("a00", Act::Fail(limited(40)));
        clock.advance(20 * SECOND);
        assert_eq!(call(&manager).unwrap_err().http_status(), Some(429));
        for _ in 0..5 {
            let error = call(&manager).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
        }
        assert_eq!(fake.calls().len(), 1);
        assert_eq!(standing(&manager, 0).failures, 2);
    }

    #[test]
    fn a_probe_that_panics_or_is_cancelled_returns_its_permit() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, busy());
        clock.advance(SECOND);
        let cancel = CancelToken::new();
        let token = cancel.clone();
        fake.on(
            "a00",
            Act::Do(Arc::new(move || {
                token.cancel();
                Err(Error::new(ErrorCode::Cancelled, "enough"))
            })),
        );
        let error = ask(&manager, &Options::new().with_cancel(cancel)).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Cancelled);
        assert_eq!(standing(&manager, 0).availability, Availability::Probe);

        fake.on("a00", Act::Panic);
        assert_eq!(*call(&manager).unwrap_err().code(), ErrorCode::Panicked);
        fake.on("a00", Act::Serve);
        assert_eq!(call(&manager).unwrap(), "a00", "a panic blocks nobody");
    }

    #[test]
    fn a_probe_that_hangs_counts_as_a_success_after_ten_seconds() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, busy());
        clock.advance(SECOND);
        let door = door(&fake, "a00");
        let hanging = {
            let manager = manager.clone();
            thread::spawn(move || call(&manager))
        };
        eventually("it hangs", || door.entered() == 1);
        clock.advance(just_before(10 * SECOND));
        assert_eq!(
            *call(&manager).unwrap_err().code(),
            ErrorCode::AuthUnavailable
        );
        clock.advance(TICK);
        door.open.send(Ok(())).unwrap();
        door.open.send(Ok(())).unwrap();
        call(&manager).unwrap();
        hanging.join().unwrap().unwrap();
        assert_eq!(door.entered(), 2);
    }

    #[test]
    fn a_quota_that_is_restored_early_is_found_within_the_probe_interval() {
        let (manager, fake, clock) = pool(1, steady());
        // 18 days: believed for seven, and probed every 14 minutes.
        mark(&manager, 0, limited(18 * 24 * 3600));
        let interval = 14 * MINUTE;
        let told = standing(&manager, 0);
        assert_eq!(
            (told.fault, told.origin),
            (Some(FailureKind::Quota), Some(CooldownSource::Header))
        );
        assert_eq!(
            told.until,
            Some(credpool::Timestamp::from(clock.now()) + 7 * DAY)
        );
        fake.on("a00", Act::Fail(limited(17 * 24 * 3600)));
        for _ in 0..3 {
            clock.advance(just_before(interval));
            assert_eq!(
                *call(&manager).unwrap_err().code(),
                ErrorCode::AuthUnavailable
            );
            let before = fake.calls().len();
            clock.advance(TICK);
            assert_eq!(call(&manager).unwrap_err().http_status(), Some(429));
            assert_eq!(
                *call(&manager).unwrap_err().code(),
                ErrorCode::AuthUnavailable
            );
            assert_eq!(fake.calls().len(), before + 1, "a single probe");
        }
        fake.on("a00", Act::Serve);
        clock.advance(interval);
        call(&manager).unwrap();
        call(&manager).unwrap();
        assert_eq!(standing(&manager, 0).availability, Availability::Ready);
        assert!(!manager.get_by_id("a00").unwrap().quota.exceeded);
    }

    #[test]
    fn an_account_that_is_out_as_a_whole_is_probed_by_one_request_over_all_models() {
        let (manager, fake, clock) = pool(1, steady());
        let spent = Error::upstream(429, r#"{"error":{"code":"insufficient_quota"}}"#);
        mark(&manager, 0, spent.clone());
        fake.on("a00", Act::Fail(spent));
        let ask_for = |model: &str| {
            let request = Request::new(model, "{}");
            manager.execute(["p"], &request, &Options::new())
        };
        clock.advance(just_before(10 * MINUTE));
        for model in ["m", "n", ""] {
            assert_eq!(
                *ask_for(model).unwrap_err().code(),
                ErrorCode::AuthUnavailable
            );
        }
        clock.advance(TICK);
        assert_eq!(ask_for("n").unwrap_err().http_status(), Some(429));
        for model in ["m", "n", ""] {
            assert_eq!(
                *ask_for(model).unwrap_err().code(),
                ErrorCode::AuthUnavailable
            );
        }
        assert_eq!(fake.calls().len(), 1);
        fake.on("a00", Act::Serve);
        clock.advance(10 * MINUTE);
        for model in ["n", "m", ""] {
            ask_for(model).unwrap();
        }
    }

    #[test]
    fn a_short_quota_is_probed_every_ten_minutes() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, limited(2 * 3600));
        clock.advance(just_before(10 * MINUTE));
        call(&manager).unwrap_err();
        assert!(fake.calls().is_empty());
        clock.advance(TICK);
        call(&manager).unwrap();
    }

    #[test]
    fn at_the_time_that_a_refusal_names_the_call_is_sent_whatever_the_pace() {
        // What was learnt of its rate keeps a key for longer than its cooldown, which it comes back from by a probe.
        let (manager, fake, clock) = pool(1, steady());
        let (time, served) = (
            clock.clone(),
            Arc::new(parking_lot::Mutex::new(clock.now())),
        );
        let once_in_five_seconds = Act::Do(Arc::new(move || {
            let mut served = served.lock();
            if time.now() < *served + 5 * SECOND {
                return Err(busy());
            }
            *served = time.now();
            Ok(Response::new("ok"))
        }));
        everybody(&fake, 1, &once_in_five_seconds);
        let mut refusals = 0;
        for round in 0..200 {
            let asked = fake.calls().len();
            let result = call(&manager);
            if fake.calls().len() > asked {
                continue;
            }
            refusals += 1;
            clock.advance(result.unwrap_err().retry_after().unwrap());
            let again = call(&manager);
            assert!(fake.calls().len() > asked, "{round}: {again:?}");
        }
        assert!(refusals > 50);
    }

    #[test]
    fn a_rate_limit_is_not_probed_before_its_end() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, limited(3600));
        clock.advance(just_before(60 * MINUTE));
        call(&manager).unwrap_err();
        assert!(fake.calls().is_empty());
        clock.advance(TICK);
        call(&manager).unwrap();
    }

    #[test]
    fn healthy_limits_on_a_fault_of_the_request_end_a_quota() {
        for (remaining, ends) in [(3, true), (0, false)] {
            let (manager, fake, clock) = pool(1, steady());
            mark(&manager, 0, limited(2 * 3600));
            let window = LimitWindow::new("requests")
                .with_limit(5)
                .with_remaining(remaining);
            let limits = RateLimits::new().with_window(window);
            let bad = Error::upstream(400, "your request is wrong").with_rate_limits(limits);
            fake.on("a00", Act::Fail(bad));
            clock.advance(15 * MINUTE);
            assert_eq!(call(&manager).unwrap_err().http_status(), Some(400));
            let ready = standing(&manager, 0).availability == Availability::Ready;
            assert_eq!(ready, ends);
        }
    }

    #[test]
    fn the_first_content_of_a_stream_lets_the_others_in() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, busy());
        clock.advance(SECOND);
        let (more, rest) = crossbeam_channel::unbounded::<()>();
        fake.on(
            "a00",
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
        let mut stream = manager
            .execute_stream(["p"], &request, &Options::new())
            .unwrap();
        assert!(matches!(stream.recv(), StreamEvent::Chunk(_)));
        assert_eq!(standing(&manager, 0).availability, Availability::Ready);
        // It counts as served, and is no probe any more: two may go where it was one.
        let door = door(&fake, "a00");
        let others = [(); 2].map(|()| {
            let manager = manager.clone();
            thread::spawn(move || call(&manager))
        });
        eventually("both go", || {
            door.entered() == 2 || others.iter().any(thread::JoinHandle::is_finished)
        });
        assert_eq!(door.entered(), 2);
        call(&manager).unwrap_err();
        for _ in &others {
            door.open.send(Ok(())).unwrap();
        }
        for other in others {
            other.join().unwrap().unwrap();
        }
        more.send(()).unwrap();
        assert_eq!(stream.count(), 1);
    }
}

mod waiting {
    use super::*;

    fn patient() -> FailurePolicy {
        steady().with_max_wait(30 * SECOND)
    }

    fn in_background(
        manager: &Manager,
        options: Options,
    ) -> thread::JoinHandle<Result<Response, Error>> {
        let manager = manager.clone();
        thread::spawn(move || ask(&manager, &options))
    }

    #[test]
    fn a_call_waits_for_the_earliest_and_not_a_moment_less() {
        let (manager, fake, clock) = pool(2, patient());
        mark(&manager, 0, limited(25));
        mark(&manager, 1, limited(20));
        let caller = in_background(&manager, Options::new());
        eventually("it waits", || clock.timers() >= 1);
        clock.advance(just_before(20 * SECOND));
        assert!(fake.calls().is_empty(), "never before the server's word");
        // Chance lengthens the wait a little.
        clock.advance(2 * SECOND);
        assert_eq!(&*caller.join().unwrap().unwrap().auth_id, "a01");
    }

    #[test]
    fn it_does_not_wait_where_nobody_returns_in_time() {
        for (hint, max_wait, timeout) in [
            (31, None, None),
            (20, Some(19 * SECOND), None),
            (20, Some(Duration::ZERO), None),
            (20, None, Some(20 * SECOND)),
        ] {
            let (manager, fake, clock) = pool(1, patient());
            mark(&manager, 0, limited(hint));
            let mut options = Options::new();
            options.max_wait = max_wait;
            options.timeout = timeout;
            let error = ask(&manager, &options).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
            assert!(fake.calls().is_empty());
            assert_eq!(clock.timers(), 0);
        }
    }

    #[test]
    fn a_cancel_ends_the_wait() {
        let (manager, _, clock) = pool(1, patient());
        mark(&manager, 0, limited(20));
        let cancel = CancelToken::new();
        let caller = in_background(&manager, Options::new().with_cancel(cancel.clone()));
        eventually("it waits", || clock.timers() >= 1);
        cancel.cancel();
        let error = caller.join().unwrap().unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Cancelled);
        assert_eq!(standing(&manager, 0).failures, 1, "nobody is blamed for it");
    }

    #[test]
    fn whatever_lets_a_credential_return_earlier_ends_the_wait() {
        let resets: [fn(&Manager); 4] = [
            |manager| manager.reset("a00").unwrap(),
            |manager| manager.reset_model("a00", "m").unwrap(),
            |manager| manager.mark_result(&Outcome::success("a00", "p", "m")),
            |manager| {
                drop(
                    manager
                        .register(Auth::api_key("p", "k").with_id("new").runtime_only())
                        .unwrap(),
                );
            },
        ];
        for reset in resets {
            let (manager, _, clock) = pool(1, patient());
            mark(&manager, 0, limited(20));
            let caller = in_background(&manager, Options::new());
            eventually("it waits", || clock.timers() >= 1);
            reset(&manager);
            caller.join().unwrap().unwrap();
        }
    }

    #[test]
    fn a_call_that_waits_for_others_than_it_has_tried_keeps_nobody_from_those() {
        let (manager, fake, clock) = pool(2, patient());
        let limited_one = Auth::api_key("p", "k").with_id("a00").runtime_only();
        let limited_one = limited_one.with_attribute("max_concurrent", "5");
        manager.register(limited_one).unwrap();
        mark(&manager, 1, limited(20));
        fake.on("a00", Act::Fail(Error::message_only("odd")));
        let caller = in_background(&manager, Options::new());
        eventually("it waits", || clock.timers() >= 1);
        assert_eq!(standing(&manager, 0).availability, Availability::Ready);
        fake.on("a00", Act::Serve);
        let options = Options::new().without_waiting();
        assert_eq!(&*ask(&manager, &options).unwrap().auth_id, "a00");
        clock.advance(22 * SECOND);
        assert_eq!(&*caller.join().unwrap().unwrap().auth_id, "a01");
    }

    #[test]
    fn what_a_call_waits_in_all_is_bounded() {
        let (manager, fake, clock) = pool(1, patient());
        fake.on("a00", Act::Fail(limited(10)));
        let caller = in_background(&manager, Options::new());
        let mut advanced = 0;
        while !caller.is_finished() {
            if clock.timers() > 0 {
                clock.advance(SECOND);
                advanced += 1;
            }
            thread::yield_now();
        }
        let error = caller.join().unwrap().unwrap_err();
        assert_eq!(error.http_status(), Some(429));
        assert!(error.exhaustion().is_some());
        // At the start, and after ten, twenty and thirty seconds.
        assert_eq!(fake.calls().len(), 4);
        assert!(advanced <= 30, "{advanced}");
    }
}

mod retries {
    use super::*;

    #[test]
    fn a_transient_fault_is_tried_again_on_the_same_credential_after_a_back_off() {
        let policy = steady().with_back_off(Some(BackOff::default()));
        let (manager, fake, clock) = pool(1, policy);
        fake.on("a00", Act::Fail(down()));
        let caller = {
            let manager = manager.clone();
            thread::spawn(move || ask(&manager, &Options::new()))
        };
        for (attempts, wait) in [(1, 500), (2, 1000)] {
            eventually("it backs off", || clock.timers() == 1);
            assert_eq!(fake.calls().len(), attempts);
            // Chance takes a quarter at most.
            clock.advance(just_before(Duration::from_millis(wait * 3 / 4)));
            assert_eq!(fake.calls().len(), attempts);
            if attempts == 2 {
                fake.on("a00", Act::Serve);
            }
            clock.advance(Duration::from_millis(wait / 4) + TICK);
        }
        let response = caller.join().unwrap().unwrap();
        assert_eq!(response.attempts, 3);
        assert_eq!(standing(&manager, 0).availability, Availability::Ready);
    }

    #[test]
    fn a_key_whose_limit_ends_during_a_back_off_is_asked_after_it() {
        let policy = steady()
            .with_max_wait(30 * SECOND)
            .with_transient_failovers(Some(0))
            .with_back_off(Some(BackOff::default()));
        let (manager, fake, clock) = pool(2, policy);
        fake.on("a00", Act::Fail(limited(1)));
        fake.on("a01", Act::Fail(down().with_retry_after(5 * SECOND)));
        let caller = {
            let manager = manager.clone();
            thread::spawn(move || call(&manager))
        };
        eventually("it backs off", || clock.timers() == 1);
        assert_eq!(fake.calls(), ["a00", "a01"]);
        fake.on("a00", Act::Serve);
        fake.on("a01", Act::Fail(limited(3600)));
        while !caller.is_finished() {
            if clock.timers() > 0 {
                clock.advance(SECOND);
            }
        }
        assert_eq!(caller.join().unwrap().unwrap(), "a00");
    }

    #[test]
    fn a_model_that_nobody_is_known_to_have_is_asked_for_three_times_and_another_until_it_is_found()
    {
        let (manager, fake, _) = pool(10, steady());
        everybody(&fake, 9, &Act::Fail(Error::upstream(404, "no such model")));
        assert_eq!(call(&manager).unwrap_err().http_status(), Some(404));
        assert_eq!(fake.calls().len(), 3);
        // By another call, the one that has it is found; from then on no call ends with the word of those that do not.
        let pinned = Options::new().with_pinned("a09");
        ask(&manager, &pinned).unwrap();
        assert_eq!(call(&manager).unwrap(), "a09");
        assert_eq!(fake.calls().len(), 3 + 1 + 7);
    }

    #[test]
    fn a_call_makes_so_many_attempts_at_once_and_then_one_after_each_wait() {
        let policy = || {
            steady()
                .with_max_wait(30 * SECOND)
                .with_back_off(Some(BackOff::default()))
        };
        for (error, credentials, at_once, most) in [
            (limited(1), 1, 1, 12),
            (limited(1), 3, 3, 12),
            (limited(1), 100, 3, 12),
            (Error::upstream(401, "no"), 100, 32, 41),
            (Error::upstream(402, "no"), 100, 32, 41),
        ] {
            let (manager, fake, clock) = pool(credentials, policy());
            everybody(&fake, credentials, &Act::Fail(error.clone()));
            let caller = {
                let manager = manager.clone();
                thread::spawn(move || call(&manager))
            };
            eventually("it waits", || clock.timers() > 0);
            assert_eq!(fake.calls().len(), at_once, "{error}, {credentials}");
            let start = clock.now();
            while !caller.is_finished() {
                if clock.timers() > 0 {
                    clock.advance(Duration::from_millis(100));
                }
                thread::yield_now();
            }
            assert!(clock.now() - start <= 31 * SECOND);
            let returned = caller.join().unwrap().unwrap_err();
            assert_eq!(returned.http_status(), error.http_status());
            let attempts = fake.calls().len();
            assert!(attempts <= most, "{error}, {credentials}: {attempts}");
        }
    }

    #[test]
    fn a_credential_that_returns_while_a_call_pauses_between_attempts_is_tried_again() {
        let (manager, fake, clock) = pool(5, FailurePolicy::default());
        let (opens, time) = (clock.now() + 4 * SECOND, clock.clone());
        let limited = Act::Do(Arc::new(move || {
            if time.now() < opens {
                return Err(Error::upstream(429, "slow down"));
            }
            Ok(Response::new("ok"))
        }));
        everybody(&fake, 5, &limited);
        let caller = thread::spawn(move || call(&manager));
        eventually("it is over", || {
            if clock.timers() > 0 {
                clock.advance(Duration::from_millis(50));
            }
            caller.is_finished()
        });
        caller.join().unwrap().unwrap();
        assert!(clock.now() - opens <= 8 * SECOND);
    }

    /// Two keys meet a fault of the provider; the later one cannot be tried again, for each reason that there is.
    #[test]
    fn every_credential_that_met_a_fault_of_its_provider_may_be_tried_again() {
        type Then = fn(&Manager, &Fake);
        let unavailable: [(&str, Error, Then); 4] = [
            ("disabled", down(), |manager, _| {
                manager.set_disabled("a01", true).unwrap();
            }),
            ("removed", down(), |manager, _| {
                manager.remove("a01").unwrap();
            }),
            ("refused", down(), |_, fake| {
                fake.on("a01", Act::Fail(Error::upstream(401, "no")));
            }),
            ("away", down().with_retry_after(300 * SECOND), |_, _| {}),
        ];
        for (why, fault, then) in unavailable {
            let policy = steady()
                .with_back_off(Some(BackOff::default()))
                .with_max_wait(30 * SECOND);
            let (manager, fake, clock) = pool(2, policy);
            fake.on("a00", Act::Fail(down()));
            fake.on("a01", Act::Fail(fault));
            let caller = {
                let manager = manager.clone();
                thread::spawn(move || call(&manager))
            };
            eventually("it backs off", || clock.timers() > 0);
            assert_eq!(fake.calls(), ["a00", "a01"], "{why}");
            fake.on("a00", Act::Serve);
            then(&manager, &fake);
            eventually("it is over", || {
                if clock.timers() > 0 {
                    clock.advance(Duration::from_millis(50));
                }
                caller.is_finished()
            });
            assert_eq!(caller.join().unwrap().unwrap(), "a00", "{why}");
        }
    }

    #[test]
    fn a_server_that_asks_not_to_be_tried_again_is_not() {
        let policy = steady().with_back_off(Some(BackOff::new(Duration::ZERO, Duration::ZERO)));
        for (limits, attempts) in [
            (RateLimits::new(), 2),
            (RateLimits::new().with_should_retry(false), 1),
        ] {
            let (manager, fake, _) = pool(1, policy.clone());
            fake.on("a00", Act::Fail(down().with_rate_limits(limits)));
            call(&manager).unwrap_err();
            assert_eq!(fake.calls().len(), attempts);
        }
    }

    #[test]
    fn a_retry_after_that_is_too_long_to_wait_for_is_not_undercut() {
        let policy = steady()
            .with_back_off(Some(BackOff::default()))
            .with_max_wait(5 * SECOND);
        let (manager, fake, clock) = pool(1, policy);
        fake.on("a00", Act::Fail(down().with_retry_after(6 * SECOND)));
        let error = call(&manager).unwrap_err();
        assert_eq!(error.http_status(), Some(503));
        assert_eq!((fake.calls().len(), clock.timers()), (1, 0));
    }

    /// It may be another machine's word than the next credential's; the third attempt believes it.
    #[test]
    fn a_provider_that_says_when_it_is_back_is_asked_by_one_more_credential_before_that() {
        for credentials in [2, 3, 10] {
            let policy = steady()
                .with_back_off(Some(BackOff::default()))
                .with_max_wait(30 * SECOND);
            let (manager, fake, clock) = pool(credentials, policy);
            let away = down().with_retry_after(4 * SECOND);
            everybody(&fake, credentials, &Act::Fail(away));
            let caller = {
                let manager = manager.clone();
                thread::spawn(move || call(&manager))
            };
            eventually("it waits", || clock.timers() > 0);
            assert_eq!(fake.calls().len(), 2);
            let start = clock.now();
            while !caller.is_finished() {
                if clock.timers() > 0 && clock.now() - start < 4 * SECOND {
                    assert_eq!(fake.calls().len(), 2, "{:?}", clock.now() - start);
                }
                if clock.timers() > 0 {
                    clock.advance(Duration::from_millis(100));
                }
                thread::yield_now();
            }
            assert!(clock.now() - start >= 4 * SECOND);
            let error = caller.join().unwrap().unwrap_err();
            assert_eq!((error.http_status(), fake.calls().len()), (Some(503), 3));
        }
    }

    #[test]
    fn a_deadline_that_a_back_off_would_pass_ends_the_call_at_once() {
        let (manager, fake, clock) = pool(1, steady().with_back_off(Some(BackOff::default())));
        fake.on("a00", Act::Fail(down()));
        let options = Options::new().with_timeout(Duration::from_millis(100));
        let error = ask(&manager, &options).unwrap_err();
        assert_eq!(
            error.http_status(),
            Some(503),
            "the upstream's own word: {error}"
        );
        assert_eq!((fake.calls().len(), clock.timers()), (1, 0));
    }

    #[test]
    fn an_empty_budget_ends_retries_on_the_same_credential_too() {
        let at_once = BackOff::new(Duration::ZERO, Duration::ZERO);
        for (capacity, attempts) in [(0, 1), (14, 2), (28, 3)] {
            let policy = steady()
                .with_back_off(Some(at_once))
                .with_budget(Some(RetryBudget::new(capacity)));
            for credentials in [1, 3] {
                let (manager, fake, _) = pool(credentials, policy.clone());
                everybody(&fake, credentials, &Act::Fail(down()));
                assert_eq!(call(&manager).unwrap_err().http_status(), Some(503));
                // The only one is out after its second fault.
                let most = if credentials == 1 { 2 } else { 3 };
                let made = fake.calls().len();
                assert_eq!(made, attempts.min(most), "{capacity}, {credentials}");
            }
        }
    }

    #[test]
    fn the_budget_ends_retries_and_successes_fill_it() {
        let policy = steady()
            .with_budget(Some(RetryBudget::new(28)))
            .with_outage_detection(None);
        let (manager, fake, clock) = pool(10, policy);
        everybody(&fake, 10, &Act::Fail(down()));
        // Two calls with a retry each at fourteen, and the bucket is empty.
        for attempts in [2, 4, 5, 6] {
            assert_eq!(call(&manager).unwrap_err().http_status(), Some(503));
            assert_eq!(fake.calls().len(), attempts);
        }
        clock.advance(2 * MINUTE);
        everybody(&fake, 10, &Act::Serve);
        for _ in 0..14 {
            call(&manager).unwrap();
        }
        let before = fake.calls().len();
        everybody(&fake, 10, &Act::Fail(down()));
        for attempts in [2, 3] {
            call(&manager).unwrap_err();
            assert_eq!(fake.calls().len() - before, attempts);
        }
    }

    #[test]
    fn a_credentials_own_fault_costs_no_budget_and_a_refused_retry_nothing_else() {
        let policy = steady()
            .with_budget(Some(RetryBudget::new(0)))
            .with_outage_detection(None);
        for error in [
            limited(60),
            Error::upstream(401, "no"),
            Error::upstream(402, "no"),
            Error::upstream(403, "no"),
        ] {
            let (manager, fake, _) = pool(10, policy.clone());
            everybody(&fake, 9, &Act::Fail(error.clone()));
            assert_eq!(call(&manager).unwrap(), "a09", "{error}");
        }
        let (manager, fake, _) = pool(2, policy);
        let mut limited = (*manager.get_by_id("a01").unwrap()).clone();
        limited.attributes.insert("rpm".to_owned(), "10".to_owned());
        manager.update(limited).unwrap();
        fake.on("a00", Act::Fail(down()));
        for _ in 0..12 {
            let pinned = Options::new();
            let _ = ask(&manager, &pinned);
        }
        let asked = fake.calls();
        let of_a01 = asked.iter().filter(|id| **id == "a01").count();
        for _ in of_a01..10 {
            ask(&manager, &Options::new().with_pinned("a01")).unwrap();
        }
    }

    #[test]
    fn a_retry_is_paid_for_once_and_what_follows_for_another_reason_is_free() {
        let policy = steady().with_budget(Some(RetryBudget::new(14)));
        let (manager, fake, _) = pool(0, policy);
        for n in 0..3 {
            let tokens = OAuthTokens::new("access").with_refresh_token("refresh");
            let login = Auth::oauth("p", tokens).with_id(name(n)).runtime_only();
            manager.register(login).unwrap();
        }
        fake.on("a00", Act::Fail(down()));
        fake.on("a01", Act::Fail(Error::upstream(401, "an old token")));
        assert_eq!(call(&manager).unwrap(), "a02");
        assert_eq!(fake.calls(), ["a00", "a01", "a02"]);
    }

    #[test]
    fn a_credential_that_cannot_be_used_is_asked_once_and_no_call_fails_for_it() {
        let (manager, fake, _) = pool(2, FailurePolicy::default());
        let unusable = Error::new(ErrorCode::Config, "its URL cannot be used").with_auth_id("a00");
        fake.on("a00", Act::Fail(unusable));
        for _ in 0..2_000 {
            assert_eq!(call(&manager).unwrap(), "a01");
        }
        let of_a00 = fake.calls().iter().filter(|id| **id == "a00").count();
        assert_eq!(of_a00, 1);
        let standing = standing(&manager, 0);
        assert_eq!(standing.fault, Some(FailureKind::Misconfigured));
        assert_eq!(standing.availability, Availability::Misconfigured);
    }

    #[test]
    fn what_a_former_key_is_refused_for_is_not_held_against_the_one_that_has_replaced_it() {
        for error in [401, 402, 403, 404, 429].map(|status| Error::upstream(status, "no")) {
            for replaces in [false, true] {
                let (manager, fake, _) = pool(1, steady());
                let (registers, failure) = (manager.clone(), error.clone());
                let act = Act::Do(Arc::new(move || {
                    if replaces {
                        let auth = Auth::api_key("p", "another").with_id(name(0));
                        registers.register(auth.runtime_only()).unwrap();
                    }
                    Err(failure.clone())
                }));
                everybody(&fake, 1, &act);
                call(&manager).unwrap_err();
                let is_ready = standing(&manager, 0).availability == Availability::Ready;
                assert_eq!(is_ready, replaces, "{error}");
            }
        }
    }

    #[test]
    fn what_a_former_key_is_refused_for_in_mid_stream_is_not_held_against_the_present_one() {
        for replaces in [false, true] {
            let (manager, fake, _) = pool(1, steady());
            let registers = manager.clone();
            let act = Act::Stream(Arc::new(move |_| {
                let registers = registers.clone();
                let first = || Ok(credpool::StreamChunk::new("x").with_text("x"));
                let refused = std::iter::once_with(move || {
                    if replaces {
                        let auth = Auth::api_key("p", "another").with_id(name(0));
                        registers.register(auth.runtime_only()).unwrap();
                    }
                    Err(Error::upstream(401, "the key was revoked"))
                });
                let source = std::iter::once_with(first).chain(refused);
                Ok(Box::new(source) as credpool::ChunkSource)
            }));
            fake.on(&name(0), act);
            let request = Request::new("m", "{}");
            let stream = manager.execute_stream(["p"], &request, &Options::new());
            assert!(stream.unwrap().any(|chunk| chunk.is_err()));
            let is_ready = standing(&manager, 0).availability == Availability::Ready;
            assert_eq!(is_ready, replaces);
        }
    }

    #[test]
    fn a_setting_that_is_not_the_credentials_puts_nobody_out() {
        let (manager, fake, _) = pool(5, FailurePolicy::default());
        let wrong = Error::new(ErrorCode::Config, "the payload is not a JSON object");
        everybody(&fake, 5, &Act::Fail(wrong));
        assert_eq!(
            *ask(&manager, &Options::new()).unwrap_err().code(),
            ErrorCode::Config
        );
        assert_eq!(fake.calls().len(), 3);
        let ready =
            |standing: &credpool::CredentialReport| standing.availability == Availability::Ready;
        assert!(manager.explain("p", "m").iter().all(ready));
    }

    #[test]
    fn a_call_about_no_model_holds_what_is_not_there_against_nobody() {
        for status in [404, 405] {
            let (manager, fake, _) = pool(3, FailurePolicy::default());
            everybody(&fake, 3, &Act::Fail(Error::upstream(status, "no")));
            let request = Request::new("", "{}");
            let error = manager
                .execute(["p"], &request, &Options::new())
                .unwrap_err();
            assert_eq!((error.http_status(), fake.calls().len()), (Some(status), 1));
            let ready = |standing: &credpool::CredentialReport| {
                standing.availability == Availability::Ready
            };
            assert!(manager.explain("p", "").iter().all(ready));
        }
    }
}

mod outages {
    use super::*;

    #[test]
    fn a_provider_that_is_down_sees_little_more_than_the_callers_load_and_serves_as_soon_as_it_is_back()
     {
        let (manager, fake, clock) = pool(20, steady());
        everybody(&fake, 20, &Act::Fail(down()));
        let mut served = 0;
        for n in 0..1000 {
            served += usize::from(call(&manager).is_ok());
            for standing in manager.explain("p", "m") {
                let out = standing.until.map_or(Duration::ZERO, |until| {
                    Duration::try_from(until - clock.now()).unwrap_or_default()
                });
                assert!(out <= MINUTE, "call {n}: {standing}");
            }
            clock.advance(Duration::from_millis(700));
        }
        assert_eq!(served, 0);
        let attempts = fake.calls().len();
        assert!(attempts <= 1200, "{attempts} attempts for 1000 calls");
        everybody(&fake, 20, &Act::Serve);
        let mut waited = Duration::ZERO;
        while call(&manager).is_err() {
            clock.advance(SECOND);
            waited += SECOND;
        }
        assert!(waited <= MINUTE, "{waited:?}");
    }

    #[test]
    fn the_same_holds_where_every_answer_is_another_one() {
        let (manager, fake, clock) = pool(20, steady().with_outage_detection(None));
        everybody(&fake, 20, &Act::Fail(down()));
        for _ in 0..1000 {
            call(&manager).unwrap_err();
            for standing in manager.explain("p", "m") {
                let out = standing.until.map(|until| until - clock.now());
                assert!(out.is_none_or(|out| out <= MINUTE), "{standing}");
            }
            clock.advance(Duration::from_millis(700));
        }
        let attempts = fake.calls().len();
        assert!(attempts <= 1200, "{attempts} attempts for 1000 calls");
        everybody(&fake, 20, &Act::Serve);
        call(&manager).unwrap();
    }

    #[test]
    fn the_same_500_from_everywhere_touches_three_credentials_and_leaves_none_out() {
        let (manager, fake, _) = pool(50, steady());
        everybody(
            &fake,
            50,
            &Act::Fail(Error::upstream(500, "oops, request r1")),
        );
        assert_eq!(call(&manager).unwrap_err().http_status(), Some(500));
        assert_eq!(fake.calls(), ["a00", "a01"]);
        assert_eq!(call(&manager).unwrap_err().http_status(), Some(500));
        assert_eq!(fake.calls(), ["a00", "a01", "a02", "a03"]);
        let left: Vec<_> = manager
            .explain("p", "m")
            .into_iter()
            .filter(|standing| standing.availability != Availability::Ready)
            .collect();
        assert!(left.is_empty(), "{left:?}");
        // As long as it lasts, a call is three attempts at most and blames nobody.
        for _ in 0..20 {
            let before = fake.calls().len();
            call(&manager).unwrap_err();
            assert!(fake.calls().len() <= before + 3);
        }
        let ready =
            |standing: &credpool::CredentialReport| standing.availability == Availability::Ready;
        assert!(manager.explain("p", "m").iter().all(ready));
        for n in 0..50 {
            let auth = manager.get_by_id(&name(n)).unwrap();
            assert!(auth.last_error.is_none() && !auth.unavailable);
        }
    }

    #[test]
    fn a_call_that_has_the_same_answer_from_three_credentials_waits_for_no_retry() {
        let policy = steady()
            .with_back_off(Some(BackOff::default()))
            .with_transient_attempts(0)
            .with_transient_failovers(None);
        let (manager, fake, clock) = pool(5, policy);
        everybody(&fake, 5, &Act::Fail(Error::upstream(500, "oops")));
        let caller = {
            let manager = manager.clone();
            thread::spawn(move || call(&manager))
        };
        eventually("it is over, or waits", || {
            caller.is_finished() || clock.timers() > 0
        });
        assert_eq!(clock.timers(), 0, "a retry would change nothing");
        assert_eq!(caller.join().unwrap().unwrap_err().http_status(), Some(500));
        assert_eq!(fake.calls().len(), 3);
    }

    #[test]
    fn an_error_that_no_rule_knows_is_shared_too_and_a_key_that_is_refused_never() {
        for (error, attempts) in [
            (Error::message_only("odd"), 3),
            (Error::upstream(401, "odd"), 20),
            (Error::upstream(402, "odd"), 20),
            (Error::upstream(403, "odd"), 20),
            (limited(9), 20),
        ] {
            let (manager, fake, _) = pool(20, steady());
            everybody(&fake, 20, &Act::Fail(error.clone()));
            call(&manager).unwrap_err();
            let asked: HashSet<_> = fake.calls().into_iter().collect();
            assert_eq!(asked.len(), attempts, "{error}");
        }
    }

    #[test]
    fn what_was_seen_long_ago_or_on_too_few_is_held_against_a_credential() {
        let policy = steady().with_outage_detection(Some(OutageDetection::new(3, 10 * SECOND)));
        let (manager, fake, clock) = pool(50, policy);
        let oops = Error::upstream(500, "oops").with_retry_after(MINUTE);
        everybody(&fake, 50, &Act::Fail(oops));
        call(&manager).unwrap_err();
        clock.advance(10 * SECOND + TICK);
        call(&manager).unwrap_err();
        assert_eq!(standing(&manager, 2).availability, Availability::Cooling);
        assert_eq!(fake.calls().len(), 4);
    }

    #[test]
    fn a_pool_of_one_is_never_refused_for_a_transient_fault() {
        let (manager, fake, _) = pool(1, steady());
        fake.on("a00", Act::Fail(down()));
        for _ in 0..10 {
            assert_eq!(call(&manager).unwrap_err().http_status(), Some(503));
        }
        assert_eq!(fake.calls().len(), 10);
        fake.on("a00", Act::Serve);
        call(&manager).unwrap();
    }

    #[test]
    fn the_floor_lets_one_request_at_a_time_to_a_credential() {
        let (manager, fake, _) = pool(1, steady());
        (0..2).for_each(|_| mark(&manager, 0, down()));
        let door = door(&fake, "a00");
        let inside = {
            let manager = manager.clone();
            thread::spawn(move || call(&manager))
        };
        eventually("one is in", || door.entered() == 1);
        let error = call(&manager).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
        assert_eq!(error.http_status(), Some(503));
        door.open.send(Err(down())).unwrap();
        inside.join().unwrap().unwrap_err();
        door.open.send(Ok(())).unwrap();
        call(&manager).unwrap();
        assert_eq!(door.entered(), 2);
    }

    #[test]
    fn the_floor_is_never_used_for_keys_money_limits_and_quotas() {
        for error in [
            Error::upstream(401, "no"),
            Error::upstream(402, "no"),
            Error::upstream(403, "no"),
            limited(20),
            limited(2 * 3600),
        ] {
            let (manager, fake, _) = pool(1, steady());
            mark(&manager, 0, error.clone());
            let refused = call(&manager).unwrap_err();
            assert_eq!(*refused.code(), ErrorCode::AuthUnavailable, "{error}");
            assert!(fake.calls().is_empty());
        }
        let (manager, fake, _) = pool(1, steady().with_last_resort(false));
        mark(&manager, 0, down().with_retry_after(SECOND));
        call(&manager).unwrap_err();
        assert!(fake.calls().is_empty(), "the floor is switched off");
    }

    #[test]
    fn of_those_that_are_out_for_a_while_the_one_due_soonest_is_asked() {
        let (manager, fake, clock) = pool(3, steady());
        // One whose cooldown has doubled, and one whose has not.
        for _ in 0..4 {
            mark(&manager, 0, down());
            clock.advance(8 * SECOND);
        }
        mark(&manager, 0, down());
        mark(&manager, 2, Error::upstream(401, "no"));
        for _ in 0..2 {
            mark(&manager, 1, down());
        }
        assert_eq!(call(&manager).unwrap(), "a01");
        assert_eq!(fake.calls(), ["a01"]);
    }

    #[test]
    fn who_has_told_when_to_come_again_is_not_asked_before() {
        let (manager, fake, clock) = pool(1, steady());
        mark(&manager, 0, down().with_retry_after(30 * SECOND));
        clock.advance(just_before(30 * SECOND));
        let error = call(&manager).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
        assert!(fake.calls().is_empty());
        clock.advance(TICK);
        call(&manager).unwrap();
    }

    #[test]
    fn what_a_server_says_of_its_return_holds_beside_a_longer_guess() {
        let (manager, fake, clock) = pool(1, steady());
        for _ in 0..7 {
            mark(&manager, 0, down());
            clock.advance(standing(&manager, 0).remaining.unwrap_or_default());
        }
        mark(&manager, 0, down());
        assert_eq!(standing(&manager, 0).remaining, Some(MINUTE));
        mark(&manager, 0, limited(5));
        clock.advance(just_before(5 * SECOND));
        let error = call(&manager).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
        assert!(fake.calls().is_empty());
        // From then on nothing but a guess keeps it out.
        clock.advance(TICK);
        assert_eq!(call(&manager).unwrap(), "a00");
    }
}

mod reports {
    use super::*;

    #[test]
    fn the_error_says_of_each_credential_why_until_when_and_who_says_so() {
        let (manager, _, clock) = pool(3, steady());
        mark(&manager, 0, limited(120));
        mark(&manager, 1, limited(60));
        let in_body = RateLimits::new().with_retry_after(90 * SECOND, credpool::HintSource::Body);
        mark(
            &manager,
            2,
            Error::upstream(429, "slow down").with_rate_limits(in_body),
        );
        let error = call(&manager).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
        assert_eq!(error.http_status(), Some(429));
        assert_eq!(error.retry_after(), Some(60 * SECOND));
        assert!(error.is_retryable());
        let exhaustion = error.exhaustion().unwrap();
        assert_eq!((exhaustion.advice, exhaustion.omitted), (Remedy::Wait, 0));
        assert_eq!(exhaustion.earliest, Some(clock.now() + 60 * SECOND));
        let told: Vec<_> = exhaustion
            .standings
            .iter()
            .map(|standing| {
                let out = standing.until.unwrap() - clock.now();
                (
                    &*standing.auth_id,
                    out.whole_seconds(),
                    standing.origin.unwrap(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("a01", 60, CooldownSource::Header),
                ("a02", 90, CooldownSource::Body),
                ("a00", 120, CooldownSource::Header)
            ]
        );
        for word in [
            "a00",
            "a01",
            "a02",
            "rate_limited",
            "header",
            "body",
            "slow down",
        ] {
            let details = exhaustion.to_string();
            assert!(details.contains(word), "{word}: {details}");
        }
        // The message is fit for a client: nothing of other calls.
        let message = "no credential of provider p is available for model \"m\" (3 rate_limited of 3); retry in 60 s";
        assert_eq!(error.message(), message);
    }

    #[test]
    fn its_status_says_what_all_of_them_say() {
        for (errors, status, advice) in [
            ([limited(9), limited(7200)], 429, Remedy::Wait),
            (
                [Error::upstream(401, ""), Error::upstream(401, "")],
                401,
                Remedy::Act,
            ),
            (
                [Error::upstream(402, ""), Error::upstream(402, "")],
                402,
                Remedy::Act,
            ),
            ([Error::upstream(401, ""), away()], 503, Remedy::Wait),
            ([away(), away()], 503, Remedy::Wait),
        ] {
            let (manager, _, _) = pool(2, steady().with_last_resort(false));
            for (n, error) in errors.into_iter().enumerate() {
                mark(&manager, n, error);
            }
            let error = call(&manager).unwrap_err();
            assert_eq!(error.http_status(), Some(status));
            assert_eq!(error.exhaustion().unwrap().advice, advice);
            assert_eq!(error.is_retryable(), advice == Remedy::Wait);
        }
    }

    #[test]
    fn an_upstream_error_keeps_its_own_words_and_carries_the_report() {
        let (manager, fake, _) = pool(2, steady());
        everybody(&fake, 2, &Act::Fail(limited(20)));
        let error = call(&manager).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Upstream);
        assert_eq!(error.body(), Some("slow down"));
        assert_eq!(error.exhaustion().unwrap().standings.len(), 2);
    }

    #[test]
    fn a_large_pool_is_told_in_part() {
        let (manager, _, _) = pool(100, steady());
        (0..100).for_each(|n| mark(&manager, n, limited(20)));
        let error = call(&manager).unwrap_err();
        let exhaustion = error.exhaustion().unwrap();
        assert_eq!((exhaustion.standings.len(), exhaustion.omitted), (64, 36));
        assert_eq!(exhaustion.to_string().lines().count(), 65);
    }

    #[test]
    fn explain_does_nothing_and_says_all() {
        use Availability::{Cooling, Disabled, Probe, Ready};
        let (manager, fake, clock) = pool(4, steady());
        mark(&manager, 0, busy());
        manager.set_disabled("a01", true).unwrap();
        manager.cool_down("a02", None, MINUTE).unwrap();
        let all = || {
            let standings = manager.explain(" P ", "m");
            standings
                .into_iter()
                .map(|standing| standing.availability)
                .collect::<Vec<_>>()
        };
        assert_eq!(all(), [Cooling, Disabled, Cooling, Ready]);
        clock.advance(SECOND);
        assert_eq!(all(), [Probe, Disabled, Cooling, Ready]);
        assert_eq!(all(), [Probe, Disabled, Cooling, Ready]);
        clock.advance(59 * SECOND);
        assert_eq!(all(), [Probe, Disabled, Ready, Ready]);
        assert!(fake.calls().is_empty());
        assert!(manager.explain("nobody", "m").is_empty());
    }
}

mod operators {
    use super::*;

    #[test]
    fn a_reset_ends_every_cooldown_but_enables_nobody() {
        let (manager, _, _) = pool(1, steady());
        mark(&manager, 0, Error::upstream(401, "no"));
        mark(&manager, 0, limited(20));
        manager.reset_model("a00", "m").unwrap();
        assert_eq!(
            call(&manager).unwrap_err().http_status(),
            Some(401),
            "as a whole it is out"
        );
        manager.reset("a00").unwrap();
        let auth = manager.get_by_id("a00").unwrap();
        assert!(!auth.unavailable && auth.last_error.is_none() && auth.next_retry_after.is_none());
        call(&manager).unwrap();
        manager.set_disabled("a00", true).unwrap();
        manager.reset("a00").unwrap();
        assert_eq!(*call(&manager).unwrap_err().code(), ErrorCode::AuthNotFound);
        let unknown = manager.reset("nobody").unwrap_err();
        assert_eq!(*unknown.code(), ErrorCode::AuthNotFound);
    }

    #[test]
    fn what_the_operator_cools_down_no_result_brings_back() {
        for model in [None, Some("m")] {
            let (manager, _, clock) = pool(1, steady());
            manager.cool_down("a00", model, MINUTE).unwrap();
            manager.mark_result(&Outcome::success("a00", "p", "m"));
            assert_eq!(
                *call(&manager).unwrap_err().code(),
                ErrorCode::AuthUnavailable
            );
            let other = manager.execute(["p"], &Request::new("n", "{}"), &Options::new());
            assert_eq!(other.is_ok(), model.is_some());
            clock.advance(just_before(MINUTE));
            call(&manager).unwrap_err();
            clock.advance(TICK);
            call(&manager).unwrap();
        }
    }
}

mod restarts {
    use std::path::Path;

    use credpool::{CredentialReport, FileStore, Store};

    use super::*;

    fn manager_over(store: &Path, clock: &ManualClock) -> (Manager, Fake) {
        let manager = Manager::builder()
            .clock(clock.clone())
            .policy(steady())
            .store(FileStore::open(store).unwrap())
            .build()
            .unwrap();
        let fake = Fake::new("p");
        manager.register_executor(fake.clone());
        manager.load().unwrap();
        (manager, fake)
    }

    fn all(manager: &Manager) -> Vec<CredentialReport> {
        manager.explain("p", "m")
    }

    #[test]
    fn cooldowns_probes_and_streaks_go_on_where_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let clock = manual();
        let (manager, _) = manager_over(directory.path(), &clock);
        for n in 0..4 {
            let auth = Auth::api_key("p", "k").with_id(name(n));
            manager.register(auth).unwrap();
        }
        mark(&manager, 0, Error::upstream(401, "no"));
        mark(&manager, 1, limited(2 * 3600));
        for _ in 0..3 {
            mark(&manager, 2, Error::upstream(429, "slow down"));
            clock.advance(5 * SECOND);
        }
        manager.cool_down("a03", None, 30 * DAY).unwrap();
        let before = all(&manager);
        manager.shutdown(support::SOON).unwrap();

        let (manager, fake) = manager_over(directory.path(), &clock);
        let after = all(&manager);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.availability, after.availability, "{before}");
            assert_eq!(before.until, after.until, "{before}");
            assert_eq!(before.probe_at, after.probe_at, "{before}");
            assert_eq!(before.fault, after.fault);
            assert_eq!(before.failures, after.failures);
        }
        let origins: Vec<_> = after
            .iter()
            .map(|standing| standing.origin.unwrap())
            .collect();
        let restored = CooldownSource::Restored;
        assert_eq!(
            origins,
            [restored, restored, restored, CooldownSource::Operator]
        );
        assert_eq!(after[2].failures, 3);
        // The credential that was refused is out for every model.
        let other = Request::new("n", "{}");
        let pinned = Options::new().with_pinned("a00");
        assert!(manager.execute(["p"], &other, &pinned).is_err());
        assert!(fake.calls().is_empty());
        // The quota is probed when its time has come.
        clock.advance(15 * MINUTE);
        ask(&manager, &Options::new().with_pinned("a01")).unwrap();
        assert_eq!(all(&manager)[1].availability, Availability::Ready);
    }

    #[test]
    fn a_stored_cooldown_is_not_believed_for_longer_than_any_may_last() {
        let directory = tempfile::tempdir().unwrap();
        let clock = manual();
        let store = FileStore::open(directory.path()).unwrap();
        let mut auth = Auth::api_key("p", "k").with_id("a00");
        let state: credpool::ModelState = {
            let mut state = credpool::ModelState::default();
            state.unavailable = true;
            state.next_retry_after = Some(time::macros::utc_datetime!(9999-12-31 23:59));
            state
        };
        auth.model_states.insert("m".into(), state);
        store.save(&auth).unwrap();
        let (manager, _) = manager_over(directory.path(), &clock);
        let until = all(&manager)[0].until.unwrap();
        assert_eq!(until, clock.now() + 7 * DAY + 30 * SECOND);
        clock.advance(7 * DAY + 30 * SECOND);
        call(&manager).unwrap();
    }
}
