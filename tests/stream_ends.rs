//! What is there when a caller sees the end of its call, and what hooks may do meanwhile.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Auth, Availability, ChunkStream, Error, ErrorCode, FailurePolicy, Hook, Manager, Options,
    Outcome, Request, Response, StreamChunk, StreamCommit, StreamEvent, Usage,
};
use crossbeam_channel::bounded;
use parking_lot::Mutex;
use serde_json::json;
use support::{Act, Recorder, SOON, chunks, eventually, pool_with};

const MOMENT: Duration = Duration::from_millis(50);

/// A hook that does what it is told.
#[derive(Clone)]
struct Does(Arc<dyn Fn(&Outcome<'_>) + Send + Sync>);

impl Does {
    fn this(act: impl Fn(&Outcome<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(act))
    }
}

impl Hook for Does {
    fn on_result(&self, outcome: &Outcome<'_>) {
        (self.0)(outcome);
    }
}

impl fmt::Debug for Does {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Does")
    }
}

fn at_once() -> Options {
    Options::new().with_max_wait(Duration::ZERO)
}

fn open_with(manager: &Manager, options: &Options) -> Result<ChunkStream, Error> {
    manager.execute_stream(["p"], &Request::new("m", "{}"), options)
}

fn open(manager: &Manager) -> Result<ChunkStream, Error> {
    open_with(manager, &at_once())
}

fn ask(manager: &Manager) -> Result<Response, Error> {
    manager.execute(["p"], &Request::new("m", "{}"), &at_once())
}

/// A stream that gives one chunk and then none until it is cancelled.
fn endless() -> Act {
    Act::Stream(Arc::new(|attempt| {
        let token = attempt.cancel_token().clone();
        let first = std::iter::once(Ok(StreamChunk::new("first")));
        Ok(Box::new(first.chain(std::iter::once_with(move || {
            let _ = token.cancelled().recv();
            Err(Error::new(ErrorCode::Transport, "closed"))
        }))))
    }))
}

#[test]
fn who_sees_the_end_of_a_call_finds_its_credential_and_its_worker_free() {
    let (manager, _, _) = pool_with(1, |builder| {
        let builder = builder.max_concurrent(1).max_streams(1);
        builder.max_job_threads(1).job_queue(0)
    });
    for number in 0..3000 {
        let stream = open(&manager).unwrap_or_else(|error| panic!("stream {number}: {error}"));
        assert_eq!(stream.map(Result::unwrap).count(), 2);
        if number % 10 == 0 {
            let standing = manager.explain("p", "m").remove(0);
            assert_eq!(standing.availability, Availability::Ready);
            ask(&manager).unwrap();
            let call = manager.submit(["p"], Request::new("m", "{}"), at_once());
            call.unwrap().wait().unwrap();
        }
    }
}

#[test]
fn as_many_readers_as_workers_never_meet_a_worker_that_is_taken() {
    let (manager, _, _) = pool_with(1, |builder| builder.max_concurrent(8).max_streams(8));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..300 {
                    assert_eq!(open(&manager).unwrap().map(Result::unwrap).count(), 2);
                }
            });
        }
    });
}

#[test]
fn a_stream_that_was_dropped_is_waited_for_by_the_next() {
    let (manager, fake, _) = pool_with(1, |builder| builder.max_concurrent(1).max_streams(1));
    fake.on("a0", endless());
    for _ in 0..300 {
        let patient = Options::new().with_max_wait(SOON);
        let mut stream = open_with(&manager, &patient).unwrap();
        assert!(stream.next().unwrap().is_ok());
    }
}

#[test]
fn a_call_waits_for_a_worker_as_long_as_it_may_wait_in_all() {
    for by_policy in [false, true] {
        let most = 10 * MOMENT;
        let (manager, fake, clock) = pool_with(1, |builder| {
            let builder = builder.max_streams(1).max_job_threads(1).job_queue(0);
            if by_policy {
                builder.policy(FailurePolicy::default().with_max_wait(most))
            } else {
                builder
            }
        });
        fake.on("a0", endless());
        let (hold, held) = bounded::<()>(0);
        let mut options = Options::new();
        options.max_wait = (!by_policy).then_some(most);
        let busy = open_with(&manager, &options).unwrap();
        let error = open(&manager).unwrap_err();
        assert_eq!(error.code(), &ErrorCode::PoolSaturated);
        assert_eq!(error.http_status(), Some(503));
        assert!(error.is_retryable() && error.retry_after().is_some());
        // A deadline that comes first, and one that comes later.
        for (timeout, wait) in [(most / 2, most / 2), (2 * most, most)] {
            let options = options.clone().with_timeout(timeout);
            let timers = clock.timers();
            thread::scope(|scope| {
                let waiting = scope.spawn(|| open_with(&manager, &options));
                eventually("it waits", || clock.timers() > timers);
                clock.advance(wait / 2);
                assert!(!waiting.is_finished());
                clock.advance(wait / 2);
                let error = waiting.join().unwrap().unwrap_err();
                assert_eq!(error.code(), &ErrorCode::PoolSaturated);
            });
        }
        let timers = clock.timers();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| open_with(&manager, &options));
            eventually("it waits", || clock.timers() > timers);
            drop(busy);
            waiting.join().unwrap().unwrap();
        });
        fake.on(
            "a0",
            Act::Do(Arc::new(move || {
                let _ = held.recv();
                Ok(Response::new("ok"))
            })),
        );
        let submit = |options| manager.submit(["p"], Request::new("m", "{}"), options);
        let first = submit(at_once()).unwrap();
        let refused = submit(at_once()).unwrap_err();
        assert_eq!(refused.code(), &ErrorCode::PoolSaturated);
        let timers = clock.timers();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| submit(options.clone()));
            eventually("it waits", || clock.timers() > timers);
            drop(hold);
            waiting.join().unwrap().unwrap().wait().unwrap();
        });
        first.wait().unwrap();
    }
}

#[test]
fn what_a_call_has_waited_for_a_worker_it_does_not_wait_for_a_credential() {
    let most = 10 * MOMENT;
    let (manager, fake, clock) = pool_with(2, |builder| builder.max_streams(1));
    manager.set_disabled("a1", true).unwrap();
    fake.on("a0", endless());
    let busy = open(&manager).unwrap();
    let (waited, cooling) = (most / 2, most / 2 + MOMENT);
    manager.set_disabled("a0", true).unwrap();
    manager.set_disabled("a1", false).unwrap();
    let options = Options::new().with_max_wait(most);
    thread::scope(|scope| {
        let timers = clock.timers();
        let waiting = scope.spawn(|| open_with(&manager, &options));
        eventually("it waits", || clock.timers() > timers);
        clock.advance(waited);
        manager.cool_down("a1", None, cooling).unwrap();
        drop(busy);
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.code(), &ErrorCode::AuthUnavailable, "{error}");
    });
}

#[test]
fn chunks_that_have_come_are_read_while_a_hook_takes_its_time() {
    let event = |delta: serde_json::Value, end: serde_json::Value| {
        let chunk = json!({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]});
        format!("data: {chunk}\n\n")
    };
    let body = event(json!({"content": "one"}), json!(null))
        + &event(json!({"content": "two"}), json!("stop"))
        + "data: [DONE]\n\n";
    let reply = Reply::new(200)
        .header("content-type", "text/event-stream")
        .body(body.clone())
        .in_pieces(body.len());
    let upstream = Upstream::start(move |_| reply.clone());
    let (gate, opens) = bounded::<()>(0);
    let (begun, has_begun) = bounded(1);
    let manager = Manager::builder()
        .hook(Does::this(move |_| {
            begun.send(()).unwrap();
            let _ = opens.recv();
        }))
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "k").with_attribute("base_url", upstream.url());
    manager.register(auth).unwrap();
    let request = Request::new("m", "{}");
    let mut stream = manager
        .execute_stream(["openai"], &request, &Options::new())
        .unwrap();
    has_begun.recv_timeout(SOON).unwrap();
    for text in ["one", "two"] {
        match stream.try_recv() {
            StreamEvent::Chunk(chunk) => assert_eq!(chunk.text.as_deref(), Some(text)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(stream.try_recv(), StreamEvent::Pending));
    drop(gate);
    assert!(matches!(stream.recv_timeout(SOON), StreamEvent::Ended));
}

type Results = Arc<Mutex<Vec<Result<(), Error>>>>;

/// A hook that makes calls of its own when it is told of the first result.
fn calls_itself(
    call: impl Fn(&Manager) -> Result<(), Error> + Send + Sync + 'static,
) -> (Manager, Results) {
    let inner: Arc<Mutex<Option<Manager>>> = Arc::default();
    let results = Results::default();
    let (own, told) = (Arc::clone(&inner), Arc::clone(&results));
    let hook = Does::this(move |_| {
        let first = own.lock().take();
        if let Some(manager) = first {
            let result = call(&manager);
            told.lock().push(result);
        }
    });
    let (manager, _, _) = pool_with(1, |builder| {
        let builder = builder.hook(hook).max_concurrent(1).max_streams(1);
        builder.max_job_threads(1).job_queue(1)
    });
    *inner.lock() = Some(manager.clone());
    (manager, results)
}

#[test]
fn a_hook_may_use_what_its_own_call_has_used() {
    type Call = fn(&Manager) -> Result<(), Error>;
    let plain: Call = |manager| ask(manager).map(drop);
    let streamed: Call = |manager| open(manager)?.try_for_each(|chunk| chunk.map(drop));
    for outer in [plain, streamed] {
        for inner in [plain, streamed] {
            let (manager, results) = calls_itself(inner);
            outer(&manager).unwrap();
            let results = std::mem::take(&mut *results.lock());
            assert!(matches!(results[..], [Ok(())]), "{results:?}");
        }
    }
}

#[test]
fn a_hook_that_drops_the_last_handle_on_a_worker_waits_for_nobody() {
    for submitted in [false, true] {
        let last: Arc<Mutex<Option<Manager>>> = Arc::default();
        let (dropped, was_dropped) = bounded(1);
        let own = Arc::clone(&last);
        let (manager, fake, _) = pool_with(1, |builder| {
            builder.hook(Does::this(move |_| {
                let manager = own.lock().take();
                let begun = Instant::now();
                drop(manager);
                dropped.send(begun.elapsed()).unwrap();
            }))
        });
        let (gate, opens) = bounded::<()>(0);
        if submitted {
            fake.on(
                "a0",
                Act::Do(Arc::new(move || {
                    let _ = opens.recv();
                    Ok(Response::new("ok"))
                })),
            );
            let request = Request::new("m", "{}");
            let call = manager.submit(["p"], request, Options::new()).unwrap();
            *last.lock() = Some(manager);
            drop(gate);
            call.wait().unwrap();
        } else {
            fake.on(
                "a0",
                Act::Stream(Arc::new(move |_| {
                    let opens = opens.clone();
                    let end = std::iter::from_fn(move || {
                        let _ = opens.recv();
                        None
                    });
                    Ok(Box::new(chunks(["one", "two"]).chain(end)))
                })),
            );
            let stream = open(&manager).unwrap();
            *last.lock() = Some(manager);
            drop(gate);
            // It is told as it was.
            assert_eq!(stream.map(Result::unwrap).count(), 2);
        }
        let took = was_dropped.recv_timeout(SOON).unwrap();
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn a_shutdown_waits_for_hooks_that_are_being_told() {
    let (gate, opens) = bounded::<()>(0);
    let hook = Recorder::default();
    let counted = hook.clone();
    let (begun, has_begun) = bounded(1);
    let (manager, _, _) = pool_with(1, |builder| {
        builder.hook(Does::this(move |outcome| {
            begun.send(()).unwrap();
            let _ = opens.recv();
            counted.on_result(outcome);
        }))
    });
    let stream = open(&manager).unwrap();
    has_begun.recv_timeout(SOON).unwrap();
    thread::scope(|scope| {
        let shut = scope.spawn(|| manager.shutdown(SOON));
        eventually("the shutdown has begun", || {
            manager.start_auto_refresh(SOON).is_err()
        });
        assert!(!shut.is_finished());
        drop(gate);
        shut.join().unwrap().unwrap();
        assert_eq!(hook.results(), 1);
    });
    assert_eq!(stream.map(Result::unwrap).count(), 2);
}

#[test]
fn one_stream_probes_a_credential_that_returns_until_its_success_is_known() {
    for commit in [StreamCommit::FirstContent, StreamCommit::OnOpen] {
        let policy = FailurePolicy::default().with_jitter(0.0);
        let (manager, fake, clock) =
            pool_with(1, |builder| builder.policy(policy.with_commit(commit)));
        fake.on("a0", Act::Fail(Error::upstream(403, "not today")));
        ask(&manager).unwrap_err();
        let out = manager.explain("p", "m").remove(0);
        let until = out.until.unwrap();
        clock.advance((until - credpool::Clock::now(&clock)).try_into().unwrap());
        let asked = fake.calls().len();
        let (gate, opens) = bounded::<()>(0);
        fake.on(
            "a0",
            Act::Stream(Arc::new(move |_| {
                let opens = opens.clone();
                let late = std::iter::once_with(move || {
                    let _ = opens.recv();
                    Ok(StreamChunk::new("late"))
                });
                Ok(match commit {
                    StreamCommit::OnOpen => Box::new(late),
                    _ => Box::new(chunks(["one"]).chain(late)),
                })
            })),
        );
        let probe = open(&manager).unwrap();
        let others: Vec<_> = (0..4).map(|_| open(&manager)).collect();
        let admitted = others.iter().filter(|stream| stream.is_ok()).count();
        let expected = if commit == StreamCommit::OnOpen { 0 } else { 4 };
        assert_eq!(admitted, expected, "{commit:?}");
        assert_eq!(fake.calls().len(), asked + 1 + expected);
        drop(gate);
        assert!(probe.map(Result::unwrap).count() > 0);
        drop(others);
        let stream = open(&manager).unwrap();
        assert!(stream.map(Result::unwrap).count() > 0);
    }
}

/// What a hook was told of an attempt: the credential, the call, the attempt and how long it took.
type Told = (String, u64, u32, Duration);

#[test]
fn the_attempts_of_a_call_are_numbered_and_timed() {
    let told: Arc<Mutex<Vec<Told>>> = Arc::default();
    let notes = Arc::clone(&told);
    let (manager, fake, clock) = pool_with(3, |builder| {
        builder.hook(Does::this(move |outcome| {
            let Outcome {
                call_id,
                attempt,
                elapsed,
                ..
            } = *outcome;
            let told = (outcome.auth_id.to_owned(), call_id, attempt, elapsed);
            notes.lock().push(told);
        }))
    });
    let taken = |told: &Mutex<Vec<Told>>| std::mem::take(&mut *told.lock());
    for (id, fails) in [("a0", true), ("a1", true), ("a2", false)] {
        let clock = clock.clone();
        fake.on(
            id,
            Act::Do(Arc::new(move || {
                clock.advance(MOMENT);
                if fails {
                    Err(Error::upstream(429, "slow down"))
                } else {
                    Ok(Response::new("ok").with_usage(Usage::new(1, 1)))
                }
            })),
        );
    }
    ask(&manager).unwrap();
    let first = taken(&told);
    let call = first[0].1;
    assert_ne!(call, 0);
    let expected = [("a0", 1), ("a1", 2), ("a2", 3)]
        .map(|(id, attempt)| (id.to_owned(), call, attempt, MOMENT));
    assert_eq!(first, expected);
    ask(&manager).unwrap();
    let second = taken(&told);
    assert!(matches!(&second[..], [(_, other, 1, MOMENT)] if *other != call));
    let late = clock.clone();
    fake.on(
        "a2",
        Act::Stream(Arc::new(move |_| {
            let late = late.clone();
            late.advance(MOMENT);
            let then = std::iter::once_with(move || {
                late.advance(MOMENT);
                Ok(StreamChunk::new("late"))
            });
            Ok(Box::new(chunks(["one"]).chain(then)))
        })),
    );
    assert_eq!(open(&manager).unwrap().map(Result::unwrap).count(), 2);
    let streamed = taken(&told);
    assert!(
        matches!(&streamed[..], [(_, other, 1, took)] if *other != call && *took == 2 * MOMENT)
    );
    manager.mark_result(&Outcome::success("a2", "p", "m"));
    let marked = taken(&told);
    assert_eq!(marked, [("a2".to_owned(), 0, 0, Duration::ZERO)]);
}

#[test]
fn calls_of_many_threads_have_numbers_of_their_own() {
    let calls: Arc<Mutex<Vec<u64>>> = Arc::default();
    let notes = Arc::clone(&calls);
    let hook = Does::this(move |outcome| notes.lock().push(outcome.call_id));
    let (manager, _, _) = pool_with(1, |builder| builder.hook(hook));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..3000).for_each(|_| drop(ask(&manager).unwrap())));
        }
    });
    let mut calls = std::mem::take(&mut *calls.lock());
    assert_eq!(calls.len(), 12_000);
    calls.sort_unstable();
    calls.dedup();
    assert_eq!(calls.len(), 12_000);
}

#[test]
fn nothing_is_lost_of_a_stream_that_is_cancelled_as_it_ends() {
    let (manager, fake, _) = pool_with(1, |builder| builder);
    fake.on(
        "a0",
        Act::Stream(Arc::new(|_| Ok(chunks(["one", "two", "three"])))),
    );
    let whole = AtomicUsize::new(0);
    for spins in 0..2000_u32 {
        let stream = open(&manager).unwrap();
        for _ in 0..spins % 200 {
            std::hint::spin_loop();
        }
        stream.cancel();
        let all: Vec<_> = stream.collect();
        match all.last().unwrap() {
            Ok(_) => {
                assert_eq!(all.len(), 3, "it has been cut, and does not say so");
                whole.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => assert_eq!(error.code(), &ErrorCode::Cancelled),
        }
    }
    assert!(
        whole.into_inner() > 0,
        "some ended before they were cancelled"
    );
}
