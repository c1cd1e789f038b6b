//! The program's own code calls back at the worst moment, or things happen at the same time: nobody hangs, nothing is lost.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use credpool::{
    Affinity, Auth, AuthRuntime, CancelToken, Candidate, Candidates, Clock, Error, ErrorCode,
    FileStore, Hook, Listing, Manager, MemoryStore, Message, OAuthTokens, Options, Outcome,
    RefreshEvaluator, Request, Response, RoundRobin, Selector, Status, Store, StreamChunk,
    StreamEvent, Timestamp,
};
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use support::{Act, Fake, SOON, START, eventually, manual, pool_of, pool_with};

fn login(id: &str, refresh: &str) -> Auth {
    let tokens = OAuthTokens::new("access").with_refresh_token(refresh);
    Auth::oauth("p", tokens).with_id(id)
}

fn refresh_token(manager: &Manager, id: &str) -> String {
    let auth = manager.get_by_id(id).unwrap();
    let metadata = auth.metadata.as_ref().unwrap();
    metadata.text("refresh_token").unwrap().to_owned()
}

fn call(manager: &Manager, options: &Options) -> Result<String, Error> {
    let response = manager.execute(["p"], &Request::new("m", "{}"), options);
    response.map(|response| response.auth_id.to_string())
}

/// What `work` gives, on a thread of its own, unless it hangs.
fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, finished) = bounded(1);
    std::thread::spawn(move || done.send(work()));
    finished.recv_timeout(SOON).expect("it hangs")
}

fn rotating(fake: &Fake) {
    fake.renews(|auth| Ok(auth.clone().with_metadata("refresh_token", "rotated")));
}

/// Calls the manager back from wherever it is asked or dropped.
struct Caller(Manager);

impl AuthRuntime for Caller {
    fn refresh_lead(&self) -> Option<Duration> {
        let _ = self.0.list();
        None
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let _ = self.0.list();
    }
}

#[test]
fn runtime_data_may_call_the_manager_when_asked_and_when_dropped() {
    let (manager, fake, _) = pool_of(0);
    rotating(&fake);
    let mut auth = login("a", "r").with_metadata("expires_at", "2025-01-01T12:00:00Z");
    auth.runtime = Some(Arc::new(Caller(manager.clone())));
    manager.register(auth).unwrap();
    let inner = manager.clone();
    soon(move || inner.refresh_now("a").unwrap());
    let inner = manager.clone();
    soon(move || drop(inner.update(login("a", "other")).unwrap()));
    let inner = manager.clone();
    assert_eq!(soon(move || inner.list().len()), 1);
}

struct Bomb;

impl AuthRuntime for Bomb {}

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("the destructor is told to panic");
    }
}

#[test]
fn runtime_data_that_panics_when_dropped_harms_nobody() {
    let (manager, _, _) = pool_of(0);
    let mut auth = login("a", "r");
    auth.runtime = Some(Arc::new(Bomb));
    manager.register(auth).unwrap();
    let updated = manager
        .update(login("a", "other").with_label("new"))
        .unwrap();
    assert_eq!(updated.label, "new");
    assert_eq!(manager.get_by_id("a").unwrap().label, "new");
}

#[derive(Default)]
struct Meddler {
    manager: Mutex<Option<Manager>>,
    said: Mutex<Vec<Result<(), Error>>>,
}

impl Hook for Meddler {
    fn on_auth_updated(&self, auth: &Auth) {
        let manager = self.manager.lock().take();
        if let Some(manager) = manager {
            self.said
                .lock()
                .push(manager.set_disabled(&auth.id, true).map(drop));
        }
    }
}

#[test]
fn a_hook_may_change_the_credential_that_was_just_refreshed() {
    let hook = Arc::new(Meddler::default());
    let (manager, fake, _) = pool_with(0, |builder| builder.hook(Arc::clone(&hook)));
    rotating(&fake);
    manager.register(login("a", "r")).unwrap();
    *hook.manager.lock() = Some(manager.clone());
    manager.refresh_now("a").unwrap();
    assert_eq!(hook.said.lock().len(), 1);
    assert!(hook.said.lock()[0].is_ok());
    assert!(manager.get_by_id("a").unwrap().disabled);
}

#[test]
fn a_refresh_that_asks_for_itself_gets_a_conflict() {
    let (manager, fake, _) = pool_of(0);
    let inner = manager.clone();
    fake.renews(move |auth| Err(inner.refresh_now(&auth.id).unwrap_err()));
    manager.register(login("a", "r")).unwrap();
    let asking = manager.clone();
    let error = soon(move || asking.refresh_now("a").unwrap_err());
    assert_eq!(error.code(), &ErrorCode::Conflict);
    fake.renews(|auth| Ok(auth.clone()));
}

#[test]
fn a_new_login_during_a_refresh_stays() {
    for anew in [false, true] {
        let (manager, fake, _) = pool_of(0);
        manager.register(login("a", "first")).unwrap();
        let inner = manager.clone();
        fake.renews(move |auth| {
            if anew {
                inner.remove("a").unwrap();
                inner.register(login("a", "second")).unwrap();
            } else {
                inner.update(login("a", "second")).unwrap();
            }
            Ok(auth
                .clone()
                .with_metadata("refresh_token", "from the first"))
        });
        let _ = manager.refresh_now("a");
        assert_eq!(refresh_token(&manager, "a"), "second");
        assert_eq!(manager.get_by_id("a").unwrap().status, Status::Active);
        fake.renews(|auth| Ok(auth.clone()));
    }
}

#[test]
fn a_copy_from_before_a_refresh_brings_no_old_token_back() {
    let (manager, fake, _) = pool_of(0);
    rotating(&fake);
    manager.register(login("a", "first")).unwrap();
    let copy = (*manager.get_by_id("a").unwrap()).clone();
    manager.refresh_now("a").unwrap();
    let renamed = copy
        .clone()
        .with_label("renamed")
        .with_metadata("note", "mine");
    manager.update(renamed).unwrap();
    assert_eq!(refresh_token(&manager, "a"), "rotated");
    let auth = manager.get_by_id("a").unwrap();
    assert_eq!(auth.label, "renamed");
    assert_eq!(auth.metadata.as_ref().unwrap().text("note"), Some("mine"));
    // What the grant has spent is refused, whoever brings it.
    let current = (*manager.get_by_id("a").unwrap()).clone();
    let edited = current.with_metadata("refresh_token", "first");
    let error = manager.update(edited).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Conflict);
    assert_eq!(refresh_token(&manager, "a"), "rotated");
    // A new login is the later change.
    let edited = copy.with_metadata("refresh_token", "by hand");
    manager.update(edited).unwrap();
    assert_eq!(refresh_token(&manager, "a"), "by hand");
}

/// A store whose listing can be held up after it was read.
struct Slow {
    inner: MemoryStore,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl Store for Slow {
    fn list(&self) -> Result<Listing, Error> {
        let listing = self.inner.list();
        let gate = self.gate.lock().take();
        if let Some((reached, open)) = gate {
            reached.send(()).unwrap();
            open.recv().unwrap();
        }
        listing
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        self.inner.save(auth)
    }

    fn delete(&self, id: &str) -> Result<(), Error> {
        self.inner.delete(id)
    }
}

#[test]
fn loading_undoes_neither_a_refresh_nor_a_removal_nor_what_is_in_memory_alone() {
    let store = Arc::new(Slow {
        inner: MemoryStore::new(),
        gate: Mutex::default(),
    });
    let (manager, fake, _) = pool_with(0, |builder| builder.store(Arc::clone(&store)));
    rotating(&fake);
    let mut auth = login("a", "first");
    auth.runtime = Some(Arc::new(Evaluator::new(None)));
    manager.register(auth).unwrap();
    manager.register(login("b", "first")).unwrap();
    let (reached, has_reached) = bounded(0);
    let (open, opened) = bounded(0);
    *store.gate.lock() = Some((reached, opened));
    let loading = manager.clone();
    let loading = std::thread::spawn(move || loading.load());
    has_reached.recv_timeout(SOON).unwrap();
    manager.refresh_now("a").unwrap();
    manager.remove("b").unwrap();
    open.send(()).unwrap();
    loading.join().unwrap().unwrap();
    assert_eq!(refresh_token(&manager, "a"), "rotated");
    assert!(manager.get_by_id("b").is_none());
    manager.load().unwrap();
    assert!(manager.get_by_id("a").unwrap().runtime.is_some());
}

struct Evaluator(Mutex<Option<Receiver<()>>>);

impl Evaluator {
    fn new(hold: Option<Receiver<()>>) -> Self {
        Self(Mutex::new(hold))
    }
}

impl AuthRuntime for Evaluator {
    fn refresh_evaluator(&self) -> Option<&dyn RefreshEvaluator> {
        Some(self)
    }
}

impl RefreshEvaluator for Evaluator {
    fn should_refresh(&self, _: Timestamp, _: &Auth) -> bool {
        let hold = self.0.lock().take();
        if let Some(hold) = hold {
            let _ = hold.recv();
        }
        true
    }
}

#[test]
fn an_evaluator_that_always_says_yes_does_not_spin() {
    let (manager, fake, clock) = pool_of(0);
    rotating(&fake);
    let mut auth = login("a", "r");
    auth.runtime = Some(Arc::new(Evaluator::new(None)));
    manager.register(auth).unwrap();
    manager.start_auto_refresh(Duration::from_secs(10)).unwrap();
    eventually("the refresh", || fake.refreshes("a") == 1);
    for _ in 0..29 {
        eventually("the refresher's sleep", || clock.timers() > 0);
        clock.advance(Duration::from_secs(1));
    }
    assert_eq!(fake.refreshes("a"), 1);
}

#[test]
fn a_replaced_refresher_that_ends_late_leaves_its_successor_alone() {
    let (manager, fake, _) = pool_of(0);
    let (hold, held) = bounded::<()>(0);
    let mut slow = login("slow", "r");
    slow.runtime = Some(Arc::new(Evaluator::new(Some(held))));
    manager.register(slow).unwrap();
    manager
        .start_auto_refresh(Duration::from_secs(3600))
        .unwrap();
    manager
        .start_auto_refresh(Duration::from_secs(3600))
        .unwrap();
    drop(hold);
    eventually("the slow one's refresh", || fake.refreshes("slow") > 0);
    rotating(&fake);
    manager
        .register(login("late", "another").with_metadata("expires_at", "2025-01-01T10:00:00Z"))
        .unwrap();
    eventually("the late one's refresh", || fake.refreshes("late") == 1);
}

#[test]
fn a_shutdown_takes_nothing_new_from_its_first_moment() {
    let (manager, fake, _) = pool_of(2);
    let (hold, held) = bounded::<()>(0);
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            let _ = held.recv();
            Ok(Response::new("late"))
        })),
    );
    let pinned = |id: &str| Options::new().with_pinned(id);
    let slow = manager
        .submit(["p"], Request::new("m", "{}"), pinned("a0"))
        .unwrap();
    eventually("the call", || fake.calls().len() == 1);
    let closing: Vec<_> = (0..2)
        .map(|_| {
            let manager = manager.clone();
            std::thread::spawn(move || manager.shutdown(SOON))
        })
        .collect();
    let refused = |error: Error| error.code() == ErrorCode::ShutDown;
    eventually("the closing", || {
        call(&manager, &pinned("a1")).is_err_and(refused)
    });
    let request = Request::new("m", "{}");
    let stream = manager.execute_stream(["p"], &request, &pinned("a1"));
    assert!(stream.is_err_and(refused));
    assert!(
        manager
            .submit(["p"], request, pinned("a1"))
            .is_err_and(refused)
    );
    assert!(manager.start_auto_refresh(SOON).is_err_and(refused));
    drop(hold);
    assert_eq!(&slow.wait().unwrap().payload[..], b"late");
    for thread in closing {
        thread.join().unwrap().unwrap();
    }
}

/// Saves no record whose token was rotated.
struct Full;

impl Store for Full {
    fn list(&self) -> Result<Listing, Error> {
        Ok(Listing::default())
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        match auth.metadata.as_ref().unwrap().text("refresh_token") {
            Some("rotated") => Err(Error::new(ErrorCode::Store, "the disk is full")),
            _ => Ok(String::new()),
        }
    }

    fn delete(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_shutdown_says_that_a_token_could_not_be_saved() {
    let (manager, fake, _) = pool_with(0, |builder| builder.store(Full));
    rotating(&fake);
    manager.register(login("a", "first")).unwrap();
    manager.refresh_now("a").unwrap();
    let error = manager.shutdown(Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Store);
}

#[test]
fn a_new_store_gets_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (manager, fake, _) = pool_of(1);
    manager.set_store(Some(Arc::new(FileStore::open(directory.path()).unwrap())));
    fake.on("a0", Act::Fail(Error::upstream(429, "")));
    call(&manager, &Options::new()).unwrap_err();
    manager.shutdown(SOON).unwrap();
    let listing = FileStore::open(directory.path()).unwrap().list().unwrap();
    assert_eq!(listing.records.len(), 1);
    assert!(listing.records[0].unavailable);
}

/// Offers the same candidate for ever.
#[derive(Default)]
struct Stubborn(Mutex<Option<Candidate>>);

impl Selector for Stubborn {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        let mut kept = self.0.lock();
        if kept.is_none() {
            *kept = candidates.after(None);
        }
        Ok(kept.clone())
    }
}

#[test]
fn a_candidate_that_was_kept_serves_only_while_it_is_one() {
    let (manager, _, _) = pool_with(1, |builder| builder.selector(Stubborn::default()));
    for _ in 0..2 {
        assert_eq!(call(&manager, &Options::new()).unwrap(), "a0");
    }
    manager.set_disabled("a0", true).unwrap();
    let error = call(&manager, &Options::new()).unwrap_err();
    assert_eq!(error.code(), &ErrorCode::Config);
}

#[test]
fn a_cancelled_call_is_answered_while_it_waits_for_a_worker() {
    let (manager, fake, _) = pool_with(2, |builder| builder.max_job_threads(1));
    let (hold, held) = bounded::<()>(0);
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            let _ = held.recv();
            Ok(Response::new(""))
        })),
    );
    let submit = |id: &str| {
        let pinned = Options::new().with_pinned(id);
        manager
            .submit(["p"], Request::new("m", "{}"), pinned)
            .unwrap()
    };
    let first = submit("a0");
    eventually("the first call", || fake.calls().len() == 1);
    let second = submit("a1");
    second.cancel();
    let answer = second.wait_timeout(SOON).unwrap();
    assert_eq!(answer.unwrap_err().code(), &ErrorCode::Cancelled);
    drop(hold);
    first.wait().unwrap();
    assert_eq!(fake.calls(), ["a0"]);
}

#[test]
fn a_stream_whose_source_listens_to_nobody_is_given_up_by_its_reader() {
    let (manager, fake, clock) = pool_of(1);
    let (hold, held) = bounded::<()>(0);
    fake.on(
        "a0",
        Act::Stream(Arc::new(move |_| {
            let held = held.clone();
            let rest = std::iter::once_with(move || {
                let _ = held.recv();
                Err(Error::message_only("too late"))
            });
            Ok(Box::new(
                std::iter::once(Ok(StreamChunk::new("x"))).chain(rest),
            ))
        })),
    );
    let open = |options: &Options| {
        let request = Request::new("m", "{}");
        let mut stream = manager.execute_stream(["p"], &request, options).unwrap();
        assert!(matches!(stream.recv_timeout(SOON), StreamEvent::Chunk(_)));
        stream
    };
    let code = |event: StreamEvent| match event {
        StreamEvent::Failed(error) => error.code().as_str().to_owned(),
        other => format!("{other:?}"),
    };
    let mut cancelled = open(&Options::new());
    cancelled.cancel();
    assert_eq!(code(cancelled.recv_timeout(SOON)), "cancelled");
    let mut late = open(&Options::new().with_timeout(Duration::from_secs(5)));
    clock.advance(Duration::from_secs(5));
    assert_eq!(code(late.recv_timeout(SOON)), "deadline_exceeded");
    drop(hold);
}

#[test]
fn a_conversation_is_not_bound_to_a_credential_that_went_while_it_answered() {
    let (manager, fake, _) = pool_with(2, |builder| {
        builder.selector(Affinity::new(RoundRobin::new()))
    });
    let inner = manager.clone();
    fake.on(
        "a0",
        Act::Do(Arc::new(move || {
            inner.remove("a0").unwrap();
            Ok(Response::new("x").with_reply_text("fine"))
        })),
    );
    let mut talk = vec![Message::new("user", "hello")];
    let turn = |talk: &[Message]| call(&manager, &Options::new().with_messages(talk.to_vec()));
    assert_eq!(turn(&talk).unwrap(), "a0");
    fake.on("a0", Act::Serve);
    manager
        .register(Auth::api_key("p", "k").with_id("a2"))
        .unwrap();
    let home = turn(&talk).unwrap();
    talk.push(Message::new("assistant", "fine"));
    talk.push(Message::new("user", "go on"));
    for _ in 0..4 {
        assert_eq!(turn(&talk).unwrap(), home);
    }
}

#[test]
fn a_refresh_does_not_lift_a_limit() {
    let (manager, fake, _) = pool_of(0);
    rotating(&fake);
    manager.register(login("a", "r")).unwrap();
    let limited = || Error::upstream(429, "slow down");
    manager.mark_result(&Outcome::failure("a", "p", "", limited()));
    let before = manager.get_by_id("a").unwrap();
    manager.refresh_now("a").unwrap();
    let after = manager.get_by_id("a").unwrap();
    assert!(after.unavailable && after.quota.exceeded);
    assert_eq!(after.next_retry_after, before.next_retry_after);
}

#[test]
fn a_missing_executor_marks_no_login() {
    let (manager, _, _) = pool_of(0);
    let tokens = OAuthTokens::new("old").with_refresh_token("r");
    manager
        .register(Auth::oauth("q", tokens).with_id("q0"))
        .unwrap();
    let error = manager.refresh_now("q0").unwrap_err();
    assert_eq!(error.code(), &ErrorCode::ExecutorNotFound);
    let auth = manager.get_by_id("q0").unwrap();
    assert_eq!(
        (auth.status, auth.last_error.is_none()),
        (Status::Active, true)
    );
}

/// Has a call of its own take what the caller of the first provider chooses, so many times, and lets it end when the caller has come
/// too late.
struct Rival {
    manager: OnceLock<Manager>,
    left: AtomicUsize,
    /// Its call, when that has the credential and where it is told to end.
    entered: (Sender<()>, Receiver<()>),
    end: (Sender<()>, Receiver<()>),
    call: Mutex<Option<JoinHandle<String>>>,
}

impl Rival {
    fn overtake(&self, id: &str) {
        let manager = self.manager.get().unwrap().clone();
        // Those that are pinned stand in a line of their own.
        let options = Options::new().with_pinned(id);
        let rival = std::thread::spawn(move || call(&manager, &options).unwrap());
        self.entered.1.recv_timeout(SOON).unwrap();
        *self.call.lock() = Some(rival);
    }

    fn serve(&self) {
        self.entered.0.send(()).unwrap();
        self.end.1.recv_timeout(SOON).unwrap();
    }

    fn let_go(&self) {
        if let Some(rival) = self.call.lock().take() {
            self.end.0.send(()).unwrap();
            rival.join().unwrap();
        }
    }
}

impl Selector for Rival {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        let chosen = candidates.rotate();
        if options.pinned.is_none() && candidates.provider() == "p" {
            match &chosen {
                Some(chosen) if self.left.load(Ordering::SeqCst) > 0 => self.overtake(&chosen.id),
                _ => self.let_go(),
            }
        }
        Ok(chosen)
    }
}

#[test]
fn a_race_that_is_lost_for_one_provider_is_run_again_whatever_the_others_say() {
    let long = Error::upstream(429, "slow down").with_retry_after(Duration::from_secs(3000));
    // All of q are out for longer than the call waits, and r has no executor.
    for other in ["q", "r"] {
        let rival = Arc::new(Rival {
            manager: OnceLock::new(),
            left: AtomicUsize::new(2),
            entered: bounded(1),
            end: bounded(1),
            call: Mutex::default(),
        });
        let clock = manual();
        let manager = Manager::builder()
            .clock(clock.clone())
            .selector(Arc::clone(&rival))
            .build()
            .unwrap();
        rival.manager.set(manager.clone()).unwrap();
        let fake = Fake::new("p");
        let serving = Arc::clone(&rival);
        fake.on(
            "p0",
            Act::Do(Arc::new(move || {
                let left = |left: usize| left.checked_sub(1);
                let one = Ordering::SeqCst;
                if serving.left.fetch_update(one, one, left).is_ok() {
                    serving.serve();
                }
                Ok(Response::new("ok"))
            })),
        );
        manager.register_executor(fake.clone());
        manager.register_executor(Fake::new("q"));
        let key = |provider: &str| Auth::api_key(provider, "k").runtime_only();
        let alone = key("p").with_id("p0").with_attribute("max_concurrent", "1");
        manager.register(alone).unwrap();
        manager.register(key("q").with_id("q0")).unwrap();
        manager.mark_result(&Outcome::failure("q0", "q", "m", long.clone()));
        let caller = {
            let manager = manager.clone();
            std::thread::spawn(move || {
                manager.execute(["p", other], &Request::new("m", "{}"), &Options::new())
            })
        };
        eventually("it is over", || {
            if clock.timers() > 0 {
                clock.advance(Duration::from_millis(5));
            }
            caller.is_finished()
        });
        let response = caller.join().unwrap().expect(other);
        assert_eq!(&*response.auth_id, "p0");
        assert_eq!(fake.calls().len(), 3, "twice a rival was faster");
        let waited = clock.now() - START;
        assert_eq!(
            waited.whole_milliseconds(),
            5,
            "the first time it looks again at once"
        );
    }
}

/// Has a call of its own use up what the caller chooses, and cancels the caller.
struct Canceller {
    manager: OnceLock<Manager>,
    caller: CancelToken,
}

impl Selector for Canceller {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        let chosen = candidates.rotate();
        if let Some(chosen) = chosen.as_ref().filter(|_| options.pinned.is_none()) {
            self.caller.cancel();
            let manager = self.manager.get().unwrap();
            call(manager, &Options::new().with_pinned(&*chosen.id))?;
        }
        Ok(chosen)
    }
}

#[test]
fn a_call_that_is_cancelled_while_it_loses_a_race_asks_nobody() {
    let selector = Arc::new(Canceller {
        manager: OnceLock::new(),
        caller: CancelToken::new(),
    });
    let inner = Arc::clone(&selector);
    let (manager, fake, _) = pool_with(0, |builder| builder.selector(inner));
    selector.manager.set(manager.clone()).unwrap();
    for id in ["a0", "a1"] {
        let key = Auth::api_key("p", "k").with_id(id);
        manager.register(key.with_attribute("rpm", "1")).unwrap();
    }
    let options = Options::new().with_cancel(selector.caller.clone());
    let error = call(&manager, &options).unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Cancelled, "{error}");
    assert_eq!(fake.calls().len(), 1, "the other one's");
}
