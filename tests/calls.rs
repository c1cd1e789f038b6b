//! Plain calls: which credential serves, what fails over, what the caller gets.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Affinity, Auth, CancelToken, Candidate, Candidates, Clock, Error, ErrorCode, Format, Manager,
    MemoryStore, Message, Options, Outcome, OutcomeKind, Request, Response, RoundRobin, Selector,
};
use parking_lot::Mutex;
use support::{Act, Fake, Recorder, START, manual, pool_of, pool_with};

fn request() -> Request {
    Request::new("m", "{}")
}

fn options() -> Options {
    Options::new()
}

#[test]
fn credentials_take_turns() {
    let (manager, fake, _) = pool_of(3);
    let served: Vec<String> = (0..6)
        .map(|_| {
            let response = manager.execute(["p"], &request(), &options()).unwrap();
            response.auth_id.to_string()
        })
        .collect();
    assert_eq!(served, ["a0", "a1", "a2", "a0", "a1", "a2"]);
    assert_eq!(fake.calls().len(), 6);
}

#[test]
fn a_limited_credential_is_passed_over_until_its_time_is_up() {
    let (manager, fake, clock) = pool_of(2);
    fake.on("a0", Act::Fail(Error::upstream(429, "slow down")));
    let response = manager.execute(["p"], &request(), &options()).unwrap();
    assert_eq!((&*response.auth_id, response.attempts), ("a1", 2));
    fake.on("a0", Act::Serve);
    for _ in 0..3 {
        let response = manager.execute(["p"], &request(), &options()).unwrap();
        assert_eq!(&*response.auth_id, "a1");
    }
    clock.advance(Duration::from_secs(30 * 60) - Duration::from_nanos(1));
    assert_eq!(
        &*manager
            .execute(["p"], &request(), &options())
            .unwrap()
            .auth_id,
        "a1"
    );
    clock.advance(Duration::from_nanos(1));
    assert_eq!(
        &*manager
            .execute(["p"], &request(), &options())
            .unwrap()
            .auth_id,
        "a0"
    );
}

#[test]
fn an_exhausted_pool_says_who_is_out_why_and_until_when() {
    let (manager, fake, _) = pool_of(2);
    fake.on("a0", Act::Fail(Error::upstream(429, "slow down")));
    fake.on("a1", Act::Fail(Error::upstream(500, "oops")));
    let error = manager.execute(["p"], &request(), &options()).unwrap_err();
    assert_eq!(error.http_status(), Some(500), "the last upstream error");
    assert_eq!(error.auth_id(), Some("a1"));
    let error = manager.execute(["p"], &request(), &options()).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::AuthUnavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    let details = error.exhaustion().unwrap().to_string();
    for part in ["a0", "slow down", "a1", "oops"] {
        assert!(details.contains(part), "{part} in {details}");
        assert!(!error.message().contains(part), "fit for a client: {error}");
    }
    assert!(error.message().contains("retry in 60 s"), "{error}");
}

#[test]
fn providers_take_turns_and_stand_in_for_each_other() {
    let (clock, hook) = (manual(), Recorder::default());
    let manager = Manager::builder()
        .clock(clock)
        .hook(hook.clone())
        .build()
        .unwrap();
    let (p, q) = (Fake::new("p"), Fake::new("q"));
    manager.register_executor(p.clone());
    manager.register_executor(q.clone());
    manager
        .register(Auth::api_key(" P ", "k").with_id("p0"))
        .unwrap();
    manager
        .register(Auth::api_key("Q", "k").with_id("q0"))
        .unwrap();
    let ask = || {
        let response = manager.execute([" P", "q", "P ", ""], &request(), &options());
        response.map(|response| response.provider.to_string())
    };
    assert_eq!(ask().unwrap(), "p");
    assert_eq!(ask().unwrap(), "q");
    p.on("p0", Act::Fail(Error::upstream(503, "down")));
    assert_eq!(ask().unwrap(), "q");
    assert_eq!(hook.results(), 4);
}

#[test]
fn nothing_to_try_is_told_apart() {
    let (manager, _, _) = pool_of(1);
    let code = |providers: &[&str]| {
        let error = manager
            .execute(providers, &request(), &options())
            .unwrap_err();
        error.code().clone()
    };
    assert_eq!(code(&[]), ErrorCode::ProviderNotFound);
    assert_eq!(code(&["", "  "]), ErrorCode::ProviderNotFound);
    assert_eq!(code(&["unheard-of"]), ErrorCode::ExecutorNotFound);
    manager.register_executor(Fake::new("empty"));
    assert_eq!(code(&["empty"]), ErrorCode::AuthNotFound);
    manager.set_disabled("a0", true).unwrap();
    assert_eq!(code(&["p"]), ErrorCode::AuthNotFound);
}

#[test]
fn a_format_that_nobody_speaks_sends_and_marks_nothing() {
    let (manager, fake, _) = pool_of(1);
    let foreign = request().with_format(Format::new("q"));
    let error = manager.execute(["p"], &foreign, &options()).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::UnsupportedFormat);
    assert!(fake.calls().is_empty());
    let own = request().with_format(Format::new("p"));
    manager.execute(["p"], &own, &options()).unwrap();
}

#[test]
fn what_an_executor_cannot_do_is_nobodys_fault() {
    let (manager, fake, _) = pool_of(2);
    fake.on(
        "a0",
        Act::Fail(Error::new(ErrorCode::Unsupported, "cannot count")),
    );
    let error = manager
        .execute_count(["p"], &request(), &options())
        .unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Unsupported);
    assert_eq!(
        fake.calls().len(),
        1,
        "no other credential can do it either"
    );
    assert!(!manager.get_by_id("a0").unwrap().unavailable);
}

/// Takes turns, and keeps what it is told.
#[derive(Default)]
struct Listening {
    turns: RoundRobin,
    heard: Mutex<Vec<OutcomeKind>>,
}

impl Selector for Listening {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        self.turns.pick(candidates, options)
    }

    fn observe(&self, outcome: &Outcome<'_>) {
        self.heard.lock().push(outcome.kind.clone());
    }
}

#[test]
fn the_selector_hears_of_each_attempt_as_the_hook_does() {
    let coded = |code| Error::new(code, "no");
    for error in [
        coded(ErrorCode::Unsupported),
        coded(ErrorCode::UnsupportedFormat),
        coded(ErrorCode::Cancelled),
        coded(ErrorCode::Config),
        coded(ErrorCode::Transport),
        Error::upstream(400, "no"),
        Error::upstream(401, "no"),
        Error::upstream(404, "no"),
        Error::upstream(429, "no"),
        Error::upstream(500, "no"),
    ] {
        let (selector, hook) = (Arc::new(Listening::default()), Recorder::default());
        let (told, heard) = (hook.clone(), Arc::clone(&selector));
        let (manager, fake, _) = pool_with(2, |builder| builder.selector(heard).hook(told));
        fake.on("a0", Act::Fail(error.clone()));
        for _ in 0..3 {
            let _ = manager.execute(["p"], &request(), &options().with_max_attempts(2));
        }
        let as_text = |kinds: &[OutcomeKind]| format!("{kinds:?}");
        let heard = selector.heard.lock();
        assert_eq!(heard.len(), fake.calls().len(), "{error}");
        assert_eq!(as_text(&heard), as_text(&hook.kinds()), "{error}");
    }
}

#[test]
fn an_error_of_an_executor_stays_as_it_is_whatever_its_code() {
    let (manager, fake, _) = pool_of(2);
    for code in [ErrorCode::AuthUnavailable, ErrorCode::LimitReached] {
        let own = Error::new(code.clone(), "of my own").with_retryable(true);
        for id in ["a0", "a1"] {
            fake.on(id, Act::Fail(own.clone()));
        }
        let calls = fake.calls().len();
        let no_wait = options().without_waiting();
        let error = manager.execute(["p"], &request(), &no_wait).unwrap_err();
        assert_eq!(fake.calls().len() - calls, 2, "{error}");
        let says = (error.code(), error.http_status(), error.retry_after());
        assert_eq!(says, (&code, None, None));
        assert!(
            error.is_retryable() && error.exhaustion().is_some(),
            "{error}"
        );
    }
}

#[test]
fn a_passed_deadline_ends_the_call_with_the_last_error_below() {
    let (manager, fake, clock) = pool_of(3);
    let slow = clock.clone();
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            slow.advance(Duration::from_secs(10));
            Err(Error::upstream(500, "late"))
        })),
    );
    let hurried = options().with_timeout(Duration::from_secs(5));
    let error = manager.execute(["p"], &request(), &hurried).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::DeadlineExceeded);
    let below = std::error::Error::source(&error).unwrap();
    assert!(below.to_string().contains("late"));
    assert_eq!(fake.calls().len(), 1);
    // The upstream did answer: that is on record.
    assert!(manager.get_by_id("a0").unwrap().model_states["m"].unavailable);
    let over = options().with_deadline(clock.monotonic());
    assert_eq!(
        manager
            .execute(["p"], &request(), &over)
            .unwrap_err()
            .code(),
        &ErrorCode::DeadlineExceeded
    );
    assert_eq!(fake.calls().len(), 1, "nothing is sent after the deadline");
}

#[test]
fn a_cancelled_call_marks_nobody_and_tries_nobody_else() {
    let hook = Recorder::default();
    let (manager, fake, _) = support::pool_with(3, |builder| builder.hook(hook.clone()));
    let token = CancelToken::new();
    let cancel = token.clone();
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            cancel.cancel();
            Err(Error::new(ErrorCode::Transport, "connection closed"))
        })),
    );
    let cancelled = options().with_cancel(token);
    let error = manager.execute(["p"], &request(), &cancelled).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Cancelled);
    assert_eq!(fake.calls().len(), 1);
    assert!(manager.get_by_id("a0").unwrap().model_states.is_empty());
    assert!(matches!(hook.kinds()[..], [OutcomeKind::Abandoned]));
}

#[test]
fn attempts_can_be_limited_and_credentials_pinned() {
    let (manager, fake, _) = pool_of(3);
    for id in ["a0", "a1", "a2"] {
        fake.on(id, Act::Fail(Error::upstream(500, id)));
    }
    let twice = options().with_max_attempts(2);
    let error = manager.execute(["p"], &request(), &twice).unwrap_err();
    assert_eq!(error.auth_id(), Some("a1"));
    assert_eq!(fake.calls().len(), 2);
    fake.on("a2", Act::Serve);
    let pinned = options().with_pinned("a2");
    for _ in 0..2 {
        let response = manager.execute(["p"], &request(), &pinned).unwrap();
        assert_eq!(&*response.auth_id, "a2");
    }
    let error = manager
        .execute(["p"], &request(), &options().with_pinned("nobody"))
        .unwrap_err();
    assert_eq!(error.code(), &ErrorCode::AuthNotFound);
    assert!(error.to_string().contains("nobody"));
}

#[test]
fn submitted_calls_answer_through_their_handle() {
    let (manager, fake, _) = pool_of(2);
    let handles: Vec<_> = (0..10)
        .map(|_| manager.submit(["p"], request(), options()).unwrap())
        .collect();
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(fake.calls().len(), 10);
    let (hold, held) = crossbeam_channel::bounded::<()>(0);
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            let _ = held.recv();
            Ok(Response::new("late"))
        })),
    );
    let handle = manager
        .submit(["p"], request(), options().with_pinned("a0"))
        .unwrap();
    let handle = handle.wait_timeout(Duration::from_millis(1)).unwrap_err();
    drop(hold);
    assert_eq!(&handle.wait().unwrap().payload[..], b"late");
    let error = manager.submit([""], request(), options()).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::ProviderNotFound);
}

#[test]
fn a_submitted_call_can_be_cancelled() {
    let (manager, fake, _) = pool_of(1);
    let (started, has_started) = crossbeam_channel::bounded(1);
    fake.on_attempt(
        "a0",
        Arc::new(move |attempt: &credpool::Attempt| {
            let _ = started.send(());
            let _ = attempt.cancel_token().cancelled().recv();
            Err(Error::new(ErrorCode::Cancelled, "stopped"))
        }),
    );
    let handle = manager.submit(["p"], request(), options()).unwrap();
    has_started.recv_timeout(support::SOON).unwrap();
    handle.cancel();
    assert_eq!(handle.wait().unwrap_err().code(), &ErrorCode::Cancelled);
}

#[test]
fn a_conversation_stays_on_its_credential() {
    let (manager, fake, clock) = support::pool_with(3, |builder| {
        builder.selector(Affinity::new(RoundRobin::new()))
    });
    let mut talk = vec![Message::new("user", "hello")];
    let turn = |talk: &[Message]| {
        let options = options().with_messages(talk.to_vec());
        let response = manager.execute(["p"], &request(), &options).unwrap();
        (response.auth_id.to_string(), response.reply_text.unwrap())
    };
    let (home, reply) = turn(&talk);
    for round in 0..3 {
        // Others come in between and move the rotation on.
        manager.execute(["p"], &request(), &options()).unwrap();
        talk.push(Message::new(
            "assistant",
            format!("<think>hm</think> {reply} "),
        ));
        talk.push(Message::new("user", format!("and {round}?")));
        let (served, again) = turn(&talk);
        assert_eq!(served, home);
        assert_eq!(again, reply);
    }
    // While the home is out another one serves; afterwards the longest known part decides.
    fake.on(&home, Act::Fail(Error::upstream(500, "down")));
    talk.push(Message::new("assistant", reply));
    talk.push(Message::new("user", "still there?"));
    assert_ne!(turn(&talk).0, home);
    clock.advance(Duration::from_secs(60));
    let session = options().with_session_key("s");
    let first = manager
        .execute(["p"], &request(), &session)
        .unwrap()
        .auth_id;
    for _ in 0..3 {
        assert_eq!(
            manager
                .execute(["p"], &request(), &session)
                .unwrap()
                .auth_id,
            first
        );
    }
}

#[test]
fn the_sticky_selector_is_for_gemini_web_alone() {
    let manager = Manager::builder().clock(manual()).build().unwrap();
    manager.enable_gemini_web_sticky_selector();
    for provider in ["gemini-web", "p"] {
        manager.register_executor(Fake::new(provider));
        for n in 0..3 {
            let id = format!("{provider}-{n}");
            manager
                .register(Auth::api_key(provider, "k").with_id(id))
                .unwrap();
        }
    }
    let distinct = |provider: &str| {
        let mut talk = vec![Message::new("user", "hello")];
        let mut served = std::collections::BTreeSet::new();
        for _ in 0..3 {
            let options = options().with_messages(talk.clone());
            let response = manager.execute([provider], &request(), &options).unwrap();
            talk.push(Message::new("assistant", response.reply_text.unwrap()));
            talk.push(Message::new("user", "go on"));
            served.insert(response.auth_id);
        }
        served.len()
    };
    assert_eq!(distinct("gemini-web"), 1);
    assert_eq!(distinct("p"), 3);
}

#[test]
fn results_from_outside_count_and_unknown_ones_reach_the_hook_alone() {
    let hook = Recorder::default();
    let (manager, _, _) = support::pool_with(1, |builder| builder.hook(hook.clone()));
    let failure = || Error::upstream(401, "no");
    manager.mark_result(&credpool::Outcome::failure("a0", "p", "m", failure()));
    manager.mark_result(&credpool::Outcome::failure("ghost", "p", "m", failure()));
    manager.mark_result(&credpool::Outcome::failure("", "p", "m", failure()));
    assert_eq!(hook.results(), 2);
    assert!(manager.get_by_id("a0").unwrap().unavailable);
    assert!(manager.get_by_id("ghost").is_none());
    assert_eq!(manager.get_by_id("a0").unwrap().updated_at, Some(START));
}

#[test]
fn a_manager_is_a_handle_that_threads_share() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Manager>();
    shared::<Auth>();
    shared::<Error>();
    shared::<credpool::ChunkStream>();
    shared::<credpool::CallHandle>();
    let manager = Manager::new(Some(Arc::new(MemoryStore::new())), None, None).unwrap();
    let clone = manager.clone();
    clone.register(Auth::api_key("p", "k")).unwrap();
    drop(clone);
    assert_eq!(manager.list().len(), 1);
}
