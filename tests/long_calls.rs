//! A credential that returns serves long calls, one beside the other. One test alone: it sees by the threads of its process when all
//! of them wait.

#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a failed unwrap is a failed test, and a module is another program's"
)]

#[path = "simulation/quiet.rs"]
mod quiet;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use credpool::{
    Auth, Clock, Error, FailurePolicy, Manager, ManualClock, Options, Outcome, Request, Response,
};
use quiet::wait_until_quiet;
use support::{Act, Fake, manual};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn twenty_long_calls_are_served_after_a_rate_limit_or_an_outage_of_a_second() {
    let limited = Error::upstream(429, "slow down").with_retry_after(SECOND);
    assert_eq!(served_of_twenty(&[limited]), 20);
    let down = Error::upstream(503, "down");
    assert_eq!(served_of_twenty(&[down.clone(), down]), 20);
}

/// Twenty callers, calls of 45 s; the clock goes on second by second. How many are served by a credential that has met these errors.
fn served_of_twenty(met: &[Error]) -> usize {
    let (manager, fake, clock) = pool();
    for error in met {
        manager.mark_result(&Outcome::failure("a", "p", "m", error.clone()));
    }
    let timer = clock.clone();
    fake.on(
        "a",
        Act::Do(Arc::new(move || {
            timer.after(45 * SECOND).recv().unwrap();
            Ok(Response::new("ok"))
        })),
    );
    let served = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..20)
        .map(|_| {
            let (manager, served) = (manager.clone(), Arc::clone(&served));
            thread::spawn(move || {
                let request = Request::new("m", "{}");
                if manager.execute(["p"], &request, &Options::new()).is_ok() {
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let busy = AtomicUsize::new(0);
    for _ in 0..120 {
        wait_until_quiet(&busy);
        clock.advance(SECOND);
    }
    for caller in callers {
        caller.join().unwrap();
    }
    served.load(Ordering::SeqCst)
}

fn pool() -> (Manager, Fake, ManualClock) {
    let clock = manual();
    let policy = FailurePolicy::default()
        .with_last_resort(false)
        .with_jitter(0.0);
    let builder = Manager::builder().clock(clock.clone()).policy(policy);
    let manager = builder.seed(7).build().unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    let key = Auth::api_key("p", "k").with_id("a").runtime_only();
    manager.register(key).unwrap();
    (manager, fake, clock)
}
