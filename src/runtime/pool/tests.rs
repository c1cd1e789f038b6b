use super::*;
use crate::clock::{ManualClock, Timestamp};
use crossbeam_channel::{bounded, unbounded};

fn pool(threads: usize, queue: usize) -> (Pool, ManualClock) {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let limits = LaneLimits { threads, queue };
    (
        Pool::new(Arc::new(clock.clone()), limits, limits, limits),
        clock,
    )
}

#[test]
fn a_full_lane_says_so_and_the_others_go_on() {
    let (pool, _) = pool(1, 1);
    let (hold, held) = bounded::<()>(0);
    for _ in 0..2 {
        let held = held.clone();
        let slot = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap();
        pool.run(slot, move |_| {
            let _ = held.recv();
        })
        .unwrap();
    }
    let error = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::PoolSaturated);
    let (done, finished) = bounded(1);
    let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
    pool.run(slot, move |_| done.send(()).unwrap()).unwrap();
    finished.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(hold);
    assert!(pool.shut_down(Duration::from_secs(10)));
}

#[test]
fn a_place_is_waited_for_so_long_and_no_longer() {
    let (pool, clock) = pool(1, 0);
    let (hold, held) = bounded::<()>(0);
    let (begin, begun) = bounded(1);
    let slot = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap();
    assert!(slot.waited().is_zero());
    pool.run(slot, move |_| {
        begin.send(()).unwrap();
        let _ = held.recv();
    })
    .unwrap();
    // From then on the worker sets no timer.
    begun.recv().unwrap();
    let error = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::PoolSaturated);
    assert!(error.is_retryable() && error.retry_after().is_some());
    let at_most = Duration::from_secs(60);
    let token = CancelToken::new();
    token.cancel();
    let cancelled = WaitFor {
        at_most,
        cancel: Some(&token),
    };
    assert_eq!(
        pool.reserve(Lane::Jobs, cancelled).unwrap_err().code(),
        &ErrorCode::Cancelled
    );
    let patient = WaitFor {
        at_most,
        cancel: None,
    };
    let timers = clock.timers();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.reserve(Lane::Jobs, patient));
        while clock.timers() == timers {
            std::thread::yield_now();
        }
        clock.advance(at_most);
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.code(), &ErrorCode::PoolSaturated);
    });
    drop(hold);
    pool.reserve(Lane::Jobs, patient).unwrap();
}

fn no_thread(_: String, _: Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>> {
    Err(io::Error::other("there are too many already"))
}

#[test]
fn without_a_thread_there_is_no_place_and_the_error_names_the_cause() {
    let (mut pool, _) = pool(2, 0);
    let (hold, held) = bounded::<()>(0);
    for lane in [Lane::Streams, Lane::Refreshes] {
        for busy in [false, true] {
            if busy {
                let held = held.clone();
                let slot = pool.reserve(lane, WaitFor::NOTHING).unwrap();
                pool.run(slot, move |_| {
                    let _ = held.recv();
                })
                .unwrap();
            }
            let start = std::mem::replace(&mut pool.start, no_thread);
            for _ in 0..5 {
                let error = pool.reserve(lane, WaitFor::NOTHING).unwrap_err();
                assert_eq!(error.code(), &ErrorCode::PoolSaturated);
                assert!(error.to_string().contains("too many already"), "{error}");
                assert!(error.is_retryable());
            }
            pool.start = start;
        }
        // The place that was not to be had is not lost.
        drop(pool.reserve(lane, WaitFor::NOTHING).unwrap());
        // A thread that is idle already serves.
        let start = std::mem::replace(&mut pool.start, no_thread);
        drop(pool.reserve(lane, WaitFor::NOTHING).unwrap());
        pool.start = start;
    }
    drop(hold);
    assert!(pool.shut_down(Duration::from_secs(10)));
}

#[test]
fn a_job_that_may_wait_in_the_queue_waits_for_the_threads_that_there_are() {
    let (mut pool, _) = pool(2, 4);
    let (hold, held) = bounded::<()>(0);
    let slot = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap();
    pool.run(slot, move |_| {
        let _ = held.recv();
    })
    .unwrap();
    pool.start = no_thread;
    let slot = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap();
    let (done, finished) = bounded(1);
    pool.run(slot, move |_| done.send(()).unwrap()).unwrap();
    drop(hold);
    finished.recv_timeout(Duration::from_secs(10)).unwrap();
    assert!(pool.shut_down(Duration::from_secs(10)));
}

#[test]
fn a_place_that_was_given_back_is_used_while_its_job_goes_on() {
    let (pool, _) = pool(1, 0);
    let pool = Arc::new(pool);
    let (hold, held) = bounded::<()>(0);
    let (given, is_given) = bounded(1);
    let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
    pool.run(slot, move |place| {
        place.give_back_for(|| {
            given.send(()).unwrap();
            let _ = held.recv();
        });
    })
    .unwrap();
    is_given.recv_timeout(Duration::from_secs(10)).unwrap();
    // Another thread does what comes next, again and again.
    for _ in 0..50 {
        let (done, finished) = bounded(1);
        let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
        pool.run(slot, move |place| {
            place.end();
            done.send(()).unwrap();
        })
        .unwrap();
        finished.recv_timeout(Duration::from_secs(10)).unwrap();
    }
    // Not more than twice as many threads as places: then a place is held to the end.
    let (hold_too, held_too) = bounded::<()>(0);
    let (entered, is_entered) = bounded(1);
    let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
    pool.run(slot, move |place| {
        place.give_back_for(|| {
            entered.send(()).unwrap();
            let _ = held_too.recv();
        });
    })
    .unwrap();
    is_entered.recv_timeout(Duration::from_secs(10)).unwrap();
    let refused = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap_err();
    assert_eq!(refused.code(), &ErrorCode::PoolSaturated);
    drop((hold, hold_too));
    assert!(pool.shut_down(Duration::from_secs(10)));
    assert_eq!(pool.lanes[1].live(), 0);
}

#[test]
fn a_worker_that_shuts_its_pool_down_does_not_wait_for_itself() {
    for lane in [Lane::Jobs, Lane::Streams, Lane::Refreshes] {
        let (pool, _) = pool(1, 0);
        let pool = Arc::new(pool);
        let (done, finished) = bounded(1);
        let (begin, begun) = bounded::<()>(0);
        let own = Arc::clone(&pool);
        let slot = pool.reserve(lane, WaitFor::NOTHING).unwrap();
        pool.run(slot, move |_| {
            // A pool that was shut down meanwhile says so to who gives it work.
            let _ = begun.recv();
            let whole = own.shut_down(Duration::from_secs(600));
            done.send(whole && !own.stopping().is_cancelled()).unwrap();
        })
        .unwrap();
        drop(begin);
        assert!(finished.recv_timeout(Duration::from_secs(10)).unwrap());
    }
}

#[test]
fn panicking_jobs_leave_the_lane_working_and_slots_come_back() {
    let (pool, _) = pool(2, 2);
    let (done, finished) = unbounded();
    for round in 0..20 {
        let done = done.clone();
        let slot = pool
            .reserve(
                Lane::Jobs,
                WaitFor {
                    at_most: Duration::from_secs(60),
                    cancel: None,
                },
            )
            .unwrap();
        pool.run(slot, move |_| {
            done.send(round).unwrap();
            assert!(round % 2 == 1, "an odd round");
        })
        .unwrap();
    }
    let rounds: std::collections::BTreeSet<_> = (0..20)
        .map(|_| finished.recv_timeout(Duration::from_secs(10)).unwrap())
        .collect();
    assert_eq!(rounds.len(), 20);
    assert!(pool.shut_down(Duration::from_secs(10)));
    assert_eq!(pool.lanes[0].live(), 0);
}

#[test]
fn idle_threads_leave() {
    let (pool, clock) = pool(4, 4);
    let (done, finished) = unbounded();
    let slot = pool.reserve(Lane::Jobs, WaitFor::NOTHING).unwrap();
    pool.run(slot, move |_| done.send(()).unwrap()).unwrap();
    finished.recv_timeout(Duration::from_secs(10)).unwrap();
    while pool.lanes[0].live() > 0 {
        clock.advance(worker::IDLE);
        std::thread::yield_now();
    }
    assert!(pool.shut_down(Duration::from_secs(10)));
}

#[test]
fn threads_leave_that_were_only_needed_for_a_peak() {
    let (pool, clock) = pool(8, 0);
    let lane = &pool.lanes[Lane::Streams as usize];
    let (hold, held) = bounded::<()>(0);
    let (done, finished) = bounded(8);
    for _ in 0..8 {
        let (held, done) = (held.clone(), done.clone());
        let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
        pool.run(slot, move |_| {
            let _ = held.recv();
            done.send(()).unwrap();
        })
        .unwrap();
    }
    assert_eq!(lane.live(), 8);
    drop(hold);
    (0..8).for_each(|_| finished.recv().unwrap());
    // One job at a time, of which each thread gets one before it is idle for long.
    for _ in 0..40 {
        let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
        let done = done.clone();
        pool.run(slot, move |place| {
            place.give_back_for(|| done.send(()).unwrap());
        })
        .unwrap();
        finished.recv().unwrap();
        while !lane.are_all_idle() {
            std::thread::yield_now();
        }
        clock.advance(Duration::from_secs(1));
    }
    assert!(lane.live() <= 3, "{} threads", lane.live());
    assert!(pool.shut_down(Duration::from_secs(10)));
}

#[test]
fn shutdown_cancels_what_does_not_end_and_refuses_the_rest() {
    let (pool, _) = pool(1, 1);
    let token = pool.stopping().child();
    let slot = pool.reserve(Lane::Streams, WaitFor::NOTHING).unwrap();
    pool.run(slot, move |_| {
        let _ = token.cancelled().recv();
    })
    .unwrap();
    assert!(!pool.shut_down(Duration::from_millis(1)));
    assert_eq!(
        pool.reserve(Lane::Jobs, WaitFor::NOTHING)
            .unwrap_err()
            .code(),
        &ErrorCode::ShutDown
    );
    assert_eq!(pool.lanes[1].live(), 0);
}
