//! One grant, several processes, and everything that may happen to it, in any order: what must hold all the same.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod refresh_support;
mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use credpool::{
    Attempt, Auth, Clock, Error, ErrorCode, Manager, ManualClock, NotSent, OAuthTokens, Options,
    ProviderExecutor, RecordLock, Request, Response, Store,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use refresh_support::{Shared, call, token};
use support::{SOON, eventually, manual};

/// What a server does with a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Ok,
    /// It refuses, and the token is as good as before.
    Refuse,
    /// The request never leaves.
    NotSent,
    /// It never arrives, but nobody can tell.
    LostBefore,
    /// The refresh is done, and its answer is lost.
    LostAfter,
    /// The same, and the thread that asked is gone.
    Crash,
    NoRefreshToken,
    ShortExpiry,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// All processes ask for a refresh, each from two threads; the server does this, in this order.
    Refresh([Answer; 2]),
    /// A process makes a call.
    Call(usize),
    /// A person logs in anew through a process.
    Login(usize),
    /// A person edits the note and the label in the store.
    Edit(u8),
    /// A process takes over what is in the store.
    Load(usize),
    /// Time goes by, in seconds.
    Advance(u16),
    /// The wall clock jumps, in minutes.
    Jump(i16),
    Restart(usize),
}

/// A server with refresh tokens that serve once, which forgives another use of the last one for ever: the next answer takes
/// the place of the lost one.
#[derive(Default)]
struct Server {
    script: Vec<Answer>,
    /// The refresh tokens that are good; those that were used, and whether their answer was lost.
    used: HashMap<String, bool>,
    good: Vec<String>,
    issued: usize,
    asked_at_once: usize,
    faults: Vec<String>,
}

#[derive(Clone)]
struct Client {
    clock: ManualClock,
    server: Arc<Mutex<Server>>,
}

impl Server {
    fn login(&mut self) -> (String, String) {
        self.issued += 1;
        let refresh = format!("refresh-{}", self.issued);
        self.good.push(refresh.clone());
        (format!("access-{}", self.issued), refresh)
    }

    fn is_grant_alive(&self, refresh: &str) -> bool {
        self.good.iter().any(|good| good == refresh) || self.used.get(refresh) == Some(&true)
    }
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
        let end = auth.expiration_time().at();
        if end.is_some_and(|end| end <= self.clock.now()) {
            return Err(Error::upstream(401, "the token has ended"));
        }
        Ok(Response::new("ok"))
    }

    fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        let metadata = auth.metadata.clone().unwrap();
        let sent = metadata.text("refresh_token").unwrap().to_owned();
        let answer = {
            let mut server = self.server.lock();
            server.asked_at_once += 1;
            if server.asked_at_once > 1 {
                server.faults.push("two refreshes at once".into());
            }
            if server.script.is_empty() {
                Answer::Ok
            } else {
                server.script.remove(0)
            }
        };
        // Others may come in between.
        for _ in 0..20 {
            std::thread::yield_now();
        }
        let mut server = self.server.lock();
        server.asked_at_once -= 1;
        let lost = |what| Err(Error::new(ErrorCode::Transport, what));
        match answer {
            Answer::NotSent => {
                return Err(Error::new(ErrorCode::Transport, "offline").with_source(NotSent::new()));
            }
            Answer::LostBefore => return lost("it never arrived"),
            Answer::Refuse => {
                return Err(Error::new(ErrorCode::RefreshFailed, "no").with_http_status(400));
            }
            _ => {}
        }
        match server.used.get(&sent) {
            Some(false) => {
                let fault = format!("{sent} came again although its answer had arrived");
                server.faults.push(fault);
                return Err(Error::new(ErrorCode::NeedsLogin, "invalid_grant"));
            }
            Some(true) => {}
            None if server.good.contains(&sent) => {}
            None => return Err(Error::new(ErrorCode::NeedsLogin, "invalid_grant")),
        }
        let is_lost = matches!(answer, Answer::LostAfter | Answer::Crash);
        let mut new = auth.clone();
        if answer == Answer::NoRefreshToken {
            server.issued += 1;
            let access = format!("access-{}", server.issued);
            new = new.with_metadata("access_token", access);
        } else {
            server.good.retain(|good| *good != sent);
            server.used.insert(sent, is_lost);
            let (access, refresh) = server.login();
            new = new
                .with_metadata("access_token", access)
                .with_metadata("refresh_token", refresh);
            if is_lost {
                // What the lost answer brought, nobody has.
                server.good.pop();
            }
        }
        let lives = if answer == Answer::ShortExpiry {
            5
        } else {
            3600
        };
        let end = self.clock.now() + Duration::from_secs(lives);
        match answer {
            Answer::LostAfter => lost("the connection was reset"),
            Answer::Crash => panic!("the process is told to die"),
            _ => Ok(new.with_metadata("expires_at", end.unix_timestamp())),
        }
    }
}

struct World {
    clock: ManualClock,
    store: Shared,
    client: Client,
    processes: Vec<Manager>,
    /// The newest generation that each process, and the store, has had.
    newest: Vec<u64>,
    stored: u64,
    /// The access token of each generation in the store.
    tokens: HashMap<u64, String>,
    note: u8,
}

impl World {
    fn new() -> Self {
        let clock = manual();
        let client = Client {
            clock: clock.clone(),
            server: Arc::default(),
        };
        let mut world = Self {
            store: Shared::default(),
            processes: Vec::new(),
            newest: vec![0; PROCESSES],
            stored: 0,
            tokens: HashMap::new(),
            note: 0,
            client,
            clock,
        };
        let first = world.process();
        first.register(world.login()).unwrap();
        world.processes.push(first);
        for _ in 1..PROCESSES {
            let next = world.process();
            world.processes.push(next);
        }
        world
    }

    fn process(&self) -> Manager {
        let manager = Manager::builder()
            .clock(self.clock.clone())
            .store(self.store.clone())
            .policy(support::steady())
            .build()
            .unwrap();
        manager.register_executor(self.client.clone());
        manager.load().unwrap();
        manager
    }

    fn login(&self) -> Auth {
        let (access, refresh) = self.client.server.lock().login();
        let tokens = OAuthTokens::new(access)
            .with_refresh_token(refresh)
            .with_expires_at(self.clock.now() + Duration::from_secs(3600));
        Auth::oauth("p", tokens)
            .with_id("a")
            .with_metadata("note", self.note)
    }

    /// Runs the work of many threads while the clock moves.
    fn together(&self, threads: usize, work: impl Fn(&Manager) + Clone + Send + 'static) {
        let running: Vec<_> = (0..threads)
            .map(|n| {
                let manager = self.processes[n % PROCESSES].clone();
                let work = work.clone();
                std::thread::spawn(move || work(&manager))
            })
            .collect();
        while running.iter().any(|thread| !thread.is_finished()) {
            if self.clock.timers() > 0 {
                self.clock.advance(Duration::from_millis(100));
            }
            std::thread::yield_now();
        }
        for thread in running {
            thread.join().unwrap();
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Refresh(answers) => {
                self.client.server.lock().script = answers.to_vec();
                self.together(2 * PROCESSES, |manager| {
                    let _ = manager.refresh_now("a");
                });
                self.client.server.lock().script.clear();
            }
            Step::Call(n) => {
                let manager = &self.processes[n];
                let auth = manager.get_by_id("a").unwrap();
                let end = auth.expiration_time().at().unwrap();
                let is_good = end > self.clock.now();
                let is_out = auth.unavailable;
                let (answer, answered) = crossbeam_channel::bounded(1);
                let calling = {
                    let manager = manager.clone();
                    std::thread::spawn(move || answer.send(call(&manager).map(drop)).unwrap())
                };
                // With a token that is good no time goes by; else the call waits for another one, for a while.
                let mut outcome = None;
                eventually("the end of the call", || {
                    outcome = answered.try_recv().ok();
                    if outcome.is_none() && !is_good {
                        self.clock.advance(Duration::from_secs(1));
                    }
                    outcome.is_some()
                });
                let outcome = outcome.unwrap();
                calling.join().unwrap();
                self.let_refreshes_end();
                assert!(outcome.is_ok() || !is_good || is_out, "{outcome:?}");
            }
            Step::Login(n) => {
                let login = self.login();
                let auth = self.processes[n].register(login).unwrap();
                assert_eq!(
                    token(&self.processes[n], "a"),
                    *auth
                        .metadata
                        .as_ref()
                        .unwrap()
                        .text("access_token")
                        .unwrap()
                );
            }
            Step::Edit(note) => {
                self.note = note;
                self.store.edit("a", |json| {
                    json["metadata"]["note"] = note.into();
                    json["label"] = note.to_string().into();
                });
            }
            Step::Load(n) => drop(self.processes[n].load().unwrap()),
            Step::Advance(seconds) => self.clock.advance(Duration::from_secs(seconds.into())),
            Step::Jump(minutes) => {
                let by = time::Duration::minutes(minutes.into());
                self.clock.set_wall(self.clock.now() + by);
            }
            Step::Restart(n) => {
                let new = self.process();
                let old = std::mem::replace(&mut self.processes[n], new);
                old.shutdown(SOON).unwrap();
                self.newest[n] = 0;
            }
        }
    }

    /// What holds after every step, while no process refreshes.
    fn check(&mut self) {
        let no_refresh = self.lock();
        assert_eq!(self.client.server.lock().faults, Vec::<String>::new());
        let stored = self.store.load("a").unwrap().unwrap();
        assert!(stored.generation() >= self.stored, "the store went back");
        self.stored = stored.generation();
        let kept = self
            .tokens
            .entry(self.stored)
            .or_insert_with(|| self.store.token("a"));
        assert_eq!(*kept, self.store.token("a"), "two tokens of one generation");
        assert_eq!(
            stored.metadata.as_ref().unwrap().get("note"),
            Some(&self.note.into()),
            "an operator's edit was undone"
        );
        for (n, manager) in self.processes.iter().enumerate() {
            let auth = manager.get_by_id("a").unwrap();
            assert!(auth.generation() >= self.newest[n], "a process went back");
            assert!(
                auth.generation() <= self.stored,
                "nothing is kept from the store"
            );
            self.newest[n] = auth.generation();
            assert!(manager.refresh_health().unpersisted_rotation.is_empty());
        }
        // As long as no answer was lost, the store has a token that is good.
        let refresh = stored
            .metadata
            .as_ref()
            .unwrap()
            .text("refresh_token")
            .unwrap();
        assert!(
            self.client.server.lock().is_grant_alive(refresh),
            "{refresh} was lost"
        );
        drop(no_refresh);
        // A refresh that a call has asked for may begin after it.
        self.let_refreshes_end();
    }

    /// No lock stays.
    fn let_refreshes_end(&self) {
        drop(self.lock());
    }

    /// The lock of the grant, once those who refresh it have ended.
    fn lock(&self) -> Box<dyn RecordLock> {
        let mut lock = None;
        eventually("the end of the refresh", || {
            lock = self.store.lock("a", Duration::ZERO).unwrap();
            if lock.is_none() {
                self.clock.advance(Duration::from_secs(1));
            }
            lock.is_some()
        });
        lock.unwrap()
    }
}

const PROCESSES: usize = 3;

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => Just(Answer::Ok),
        1 => Just(Answer::Refuse),
        1 => Just(Answer::NotSent),
        1 => Just(Answer::LostBefore),
        2 => Just(Answer::LostAfter),
        1 => Just(Answer::Crash),
        1 => Just(Answer::NoRefreshToken),
        1 => Just(Answer::ShortExpiry),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::array::uniform2(answer()).prop_map(Step::Refresh),
        3 => (0..PROCESSES).prop_map(Step::Call),
        1 => (0..PROCESSES).prop_map(Step::Login),
        1 => any::<u8>().prop_map(Step::Edit),
        1 => (0..PROCESSES).prop_map(Step::Load),
        2 => (0_u16..4000).prop_map(Step::Advance),
        1 => (-240_i16..240).prop_map(Step::Jump),
        1 => (0..PROCESSES).prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_loses_a_token(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new();
        world.check();
        for step in steps {
            world.take(step);
            world.check();
        }
        for manager in world.processes {
            manager.shutdown(SOON).unwrap();
        }
    }
}
