//! What every selector promises, against a plain model that scans; and what each of them is for.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use credpool::{
    Affinity, Auth, Candidate, Candidates, Clock, Error, ErrorCode, FillFirst, Headroom, LeastBusy,
    LimitWindow, LowestLatency, Manager, ManualClock, Message, Options, Outcome, RateLimits,
    Request, Response, RoundRobin, Selector, Weighted,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use support::{Act, Fake, eventually, manual, steady};

fn all() -> Vec<(&'static str, Arc<dyn Selector>)> {
    vec![
        ("RoundRobin", Arc::new(RoundRobin::new())),
        ("FillFirst", Arc::new(FillFirst::new())),
        ("Weighted", Arc::new(Weighted::new())),
        ("LeastBusy", Arc::new(LeastBusy::new())),
        ("LowestLatency", Arc::new(LowestLatency::new())),
        ("Headroom", Arc::new(Headroom::new())),
        (
            "Affinity over RoundRobin",
            Arc::new(Affinity::new(RoundRobin::new())),
        ),
        (
            "Affinity over FillFirst",
            Arc::new(Affinity::new(FillFirst::new())),
        ),
        (
            "Affinity over Headroom",
            Arc::new(Affinity::new(Headroom::new()).with_expiry(Duration::from_secs(100))),
        ),
    ]
}

fn manager_with(selector: Arc<dyn Selector>) -> (Manager, Fake, ManualClock) {
    let clock = manual();
    let manager = Manager::builder()
        .clock(clock.clone())
        .policy(steady())
        .selector(selector)
        .build()
        .unwrap();
    let fake = Fake::new("p");
    manager.register_executor(fake.clone());
    (manager, fake, clock)
}

fn name(n: usize) -> String {
    format!("a{n}")
}

/// Weights of 1 to 3, and two tiers.
fn key(n: usize) -> Auth {
    Auth::api_key("p", "k")
        .with_id(name(n))
        .with_attribute("weight", (n % 3 + 1).to_string())
        .with_attribute("priority", (n % 2).to_string())
        .runtime_only()
}

#[derive(Clone, Debug)]
enum Step {
    Register(usize),
    Remove(usize),
    Disable(usize, bool),
    Fails(usize, usize),
    Serves(usize, usize),
    Pass(u64),
    /// A call for a model, in a session; these fail in it, each once.
    Call(usize, usize, Vec<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = || 0..6_usize;
    let model = || 0..2_usize;
    let step = prop_oneof![
        3 => id().prop_map(Step::Register),
        1 => id().prop_map(Step::Remove),
        1 => (id(), any::<bool>()).prop_map(|(id, on)| Step::Disable(id, on)),
        2 => (id(), model()).prop_map(|(id, model)| Step::Fails(id, model)),
        1 => (id(), model()).prop_map(|(id, model)| Step::Serves(id, model)),
        2 => (0..90_u64).prop_map(Step::Pass),
        6 => (model(), 0..3_usize, prop::collection::vec(id(), 0..3))
            .prop_map(|(model, session, failing)| Step::Call(model, session, failing)),
    ];
    prop::collection::vec(step, 1..60)
}

/// A map that every pick scans: since when each is there, whether it is disabled, and until when it is out for a model.
#[derive(Default)]
struct Plain {
    disabled: BTreeMap<usize, bool>,
    out: HashMap<(usize, usize), u64>,
    now: u64,
}

impl Plain {
    fn ready(&self, model: usize, tried: &[usize]) -> Vec<usize> {
        let is_out = |id: usize| {
            self.out
                .get(&(id, model))
                .is_some_and(|until| *until > self.now)
        };
        self.disabled
            .iter()
            .filter(|(id, disabled)| !**disabled && !is_out(**id) && !tried.contains(id))
            .map(|(id, _)| *id)
            .collect()
    }

    fn fails(&mut self, id: usize, model: usize) {
        if self.disabled.contains_key(&id) {
            let until = self.out.entry((id, model)).or_default();
            *until = (*until).max(self.now + 60);
        }
    }

    fn serves(&mut self, id: usize, model: usize) {
        self.out.remove(&(id, model));
    }
}

const MODELS: [&str; 2] = ["m", "n"];

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        cases: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn nobody_who_is_out_is_picked_and_nobody_who_is_ready_is_overlooked(steps in steps()) {
        for (selector_name, selector) in all() {
            let (manager, fake, clock) = manager_with(selector);
            let mut plain = Plain::default();
            for step in &steps {
                match step {
                    Step::Register(id) => {
                        if !plain.disabled.contains_key(id) {
                            manager.register(key(*id)).unwrap();
                            plain.disabled.insert(*id, false);
                        }
                    }
                    Step::Remove(id) => {
                        prop_assert_eq!(manager.remove(&name(*id)).is_ok(), plain.disabled.remove(id).is_some());
                        plain.out.retain(|(other, _), _| other != id);
                    }
                    Step::Disable(id, disabled) => {
                        if let Some(known) = plain.disabled.get_mut(id) {
                            manager.set_disabled(&name(*id), *disabled).unwrap();
                            *known = *disabled;
                        }
                    }
                    Step::Fails(id, model) => {
                        let error = Error::upstream(500, "oops");
                        manager.mark_result(&Outcome::failure(&name(*id), "p", MODELS[*model], error));
                        plain.fails(*id, *model);
                    }
                    Step::Serves(id, model) => {
                        manager.mark_result(&Outcome::success(&name(*id), "p", MODELS[*model]));
                        plain.serves(*id, *model);
                    }
                    Step::Pass(seconds) => {
                        clock.advance(Duration::from_secs(*seconds));
                        plain.now += seconds;
                    }
                    Step::Call(model, session, failing) => {
                        for id in 0..6 {
                            let act = if failing.contains(&id) {
                                Act::Fail(Error::upstream(500, "oops"))
                            } else {
                                Act::Serve
                            };
                            fake.on(&name(id), act);
                        }
                        let before = fake.calls().len();
                        let options = Options::new().with_session_key(session.to_string());
                        let answer = manager.execute(["p"], &Request::new(MODELS[*model], "{}"), &options);
                        let mut tried = Vec::new();
                        for called in &fake.calls()[before..] {
                            let called: usize = called[1..].parse().unwrap();
                            let ready = plain.ready(*model, &tried);
                            prop_assert!(ready.contains(&called), "{selector_name}: {called} is not in {ready:?}");
                            if failing.contains(&called) {
                                plain.fails(called, *model);
                            } else {
                                plain.serves(called, *model);
                            }
                            tried.push(called);
                        }
                        if answer.is_err() {
                            let left = plain.ready(*model, &tried);
                            prop_assert!(left.is_empty(), "{selector_name}: {left:?} were overlooked");
                        }
                    }
                }
            }
        }
    }
}

fn shares(manager: &Manager, calls: usize) -> HashMap<String, usize> {
    let mut shares = HashMap::new();
    for _ in 0..calls {
        let answer = manager.execute(["p"], &Request::new("m", "{}"), &Options::new());
        *shares
            .entry(answer.unwrap().auth_id.to_string())
            .or_default() += 1;
    }
    shares
}

#[test]
fn round_robin_asks_everybody_once_before_anybody_twice() {
    let (manager, fake, _) = manager_with(Arc::new(RoundRobin::new()));
    for n in 0..7 {
        manager
            .register(Auth::api_key("p", "k").with_id(name(n)))
            .unwrap();
    }
    for _ in 0..70 {
        manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap();
    }
    for round in fake.calls().chunks(7) {
        let mut round = round.to_vec();
        round.sort_unstable();
        round.dedup();
        assert_eq!(round.len(), 7);
    }
}

#[test]
fn weights_are_met_within_a_hundredth() {
    let (manager, _, _) = manager_with(Arc::new(Weighted::new()));
    let weights = [1, 2, 3, 5, 10, 100, 0];
    for (n, weight) in weights.iter().enumerate() {
        let auth = Auth::api_key("p", "k").with_id(name(n));
        manager
            .register(auth.with_attribute("weight", weight.to_string()))
            .unwrap();
    }
    let total: usize = weights.iter().sum();
    let calls = 100 * total;
    let shares = shares(&manager, calls);
    for (n, weight) in weights.iter().enumerate() {
        let share = shares.get(&name(n)).copied().unwrap_or(0);
        assert!(
            share.abs_diff(100 * weight) * 100 <= 100 * weight,
            "{n}: {share}"
        );
    }
}

#[test]
fn those_of_weight_nothing_serve_nobody_even_alone() {
    let (manager, _, _) = manager_with(Arc::new(Weighted::new()));
    let auth = Auth::api_key("p", "k")
        .with_id("a")
        .with_attribute("weight", "0");
    manager.register(auth).unwrap();
    let error = manager
        .execute(["p"], &Request::new("m", "{}"), &Options::new())
        .unwrap_err();
    assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
}

#[test]
fn fill_first_uses_one_up_and_comes_back_to_it() {
    let (manager, fake, clock) = manager_with(Arc::new(FillFirst::new()));
    for n in 0..3 {
        manager
            .register(Auth::api_key("p", "k").with_id(name(n)))
            .unwrap();
    }
    assert_eq!(shares(&manager, 5), HashMap::from([("a0".to_owned(), 5)]));
    fake.on("a0", Act::Fail(Error::upstream(429, "no more")));
    assert_eq!(shares(&manager, 5), HashMap::from([("a1".to_owned(), 5)]));
    fake.on("a0", Act::Serve);
    clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(shares(&manager, 5), HashMap::from([("a0".to_owned(), 5)]));
}

#[test]
fn the_highest_priority_serves_as_long_as_anybody_of_it_can() {
    for (selector_name, selector) in all() {
        let (manager, fake, clock) = manager_with(selector);
        for n in 0..4 {
            let priority = if n < 2 { "10" } else { "-1" };
            let auth = Auth::api_key("p", "k").with_id(name(n));
            manager
                .register(auth.with_attribute("priority", priority))
                .unwrap();
        }
        let of = |shares: HashMap<String, usize>, ids: [&str; 2]| {
            shares.keys().all(|id| ids.contains(&id.as_str()))
        };
        assert!(of(shares(&manager, 10), ["a0", "a1"]), "{selector_name}");
        for id in ["a0", "a1"] {
            fake.on(id, Act::Fail(Error::upstream(500, "down")));
        }
        assert!(of(shares(&manager, 10), ["a2", "a3"]), "{selector_name}");
        for id in ["a0", "a1"] {
            fake.on(id, Act::Serve);
        }
        clock.advance(Duration::from_secs(60));
        assert!(of(shares(&manager, 10), ["a0", "a1"]), "{selector_name}");
    }
}

#[test]
fn the_least_busy_is_asked_and_others_take_turns() {
    let (manager, fake, _) = manager_with(Arc::new(LeastBusy::new()));
    for n in 0..3 {
        manager
            .register(Auth::api_key("p", "k").with_id(name(n)))
            .unwrap();
    }
    assert_eq!(
        shares(&manager, 9),
        HashMap::from([0, 1, 2].map(|n| (name(n), 3)))
    );
    let (open, opened) = crossbeam_channel::unbounded::<()>();
    let before = fake.calls().len();
    for n in 0..2 {
        let opened = opened.clone();
        fake.on(
            &name(n),
            Act::Do(Arc::new(move || {
                opened.recv().unwrap();
                Ok(Response::new("ok"))
            })),
        );
    }
    let busy: Vec<_> = (0..2)
        .map(|n| {
            let caller = manager.clone();
            let thread = thread::spawn(move || {
                caller.execute(["p"], &Request::new("m", "{}"), &Options::new())
            });
            eventually("it is busy", || fake.calls().len() == before + n + 1);
            thread
        })
        .collect();
    assert_eq!(shares(&manager, 6), HashMap::from([(name(2), 6)]));
    for _ in &busy {
        open.send(()).unwrap();
    }
    for thread in busy {
        thread.join().unwrap().unwrap();
    }
}

#[test]
fn the_quicker_of_two_is_asked_and_a_slow_one_is_tried_again_after_a_while() {
    let (manager, fake, clock) = manager_with(Arc::new(LowestLatency::new()));
    for (n, seconds) in [1, 5, 1].into_iter().enumerate() {
        manager
            .register(Auth::api_key("p", "k").with_id(name(n)).runtime_only())
            .unwrap();
        let clock = clock.clone();
        fake.on(
            &name(n),
            Act::Do(Arc::new(move || {
                clock.advance(Duration::from_secs(seconds));
                Ok(Response::new("ok"))
            })),
        );
    }
    let first = shares(&manager, 60);
    assert!(first["a1"] <= 2, "{first:?}");
    assert!(first["a0"] > 10 && first["a2"] > 10, "{first:?}");
    // Each call takes a second: what was slow has faded after a hundred of them.
    let later = shares(&manager, 300);
    assert!((1..=10).contains(&later["a1"]), "{later:?}");
}

fn told(id: &str, windows: &[LimitWindow]) -> (String, RateLimits) {
    let limits = windows.iter().fold(RateLimits::new(), |limits, window| {
        limits.with_window(window.clone())
    });
    (id.to_owned(), limits)
}

fn hear(manager: &Manager, (id, limits): &(String, RateLimits)) {
    let mut outcome = Outcome::success(id, "p", "m");
    outcome.rate_limits = Some(limits);
    manager.mark_result(&outcome);
}

#[test]
fn what_would_expire_is_spent_and_what_is_scarce_is_spared() {
    let (manager, _, clock) = manager_with(Arc::new(Headroom::new()));
    for n in 0..3 {
        manager
            .register(Auth::api_key("p", "k").with_id(name(n)).runtime_only())
            .unwrap();
    }
    let window = |used: f64, hours: u64| {
        LimitWindow::new("unified-7d")
            .with_used_ratio(used)
            .with_resets_at(clock.now() + Duration::from_secs(hours * 3600))
    };
    hear(&manager, &told("a0", &[window(0.1, 144)]));
    hear(&manager, &told("a1", &[window(0.5, 1)]));
    // Of a2 nothing is known.
    assert_eq!(shares(&manager, 5), HashMap::from([(name(1), 5)]));
    hear(&manager, &told("a1", &[window(0.999, 1)]));
    assert_eq!(shares(&manager, 5), HashMap::from([(name(0), 5)]));
    hear(&manager, &told("a0", &[window(0.2, 144)]));
    assert_eq!(shares(&manager, 5), HashMap::from([(name(2), 5)]));
    // An hour later a1 has all of it again, and no more than that is known of a2.
    clock.advance(Duration::from_secs(3600));
    let equal = shares(&manager, 200);
    assert!(equal[&name(1)] > 50 && equal[&name(2)] > 50, "{equal:?}");
}

fn serve_session(manager: &Manager, session: &str) -> Result<String, Error> {
    let options = Options::new().with_session_key(session);
    let answer = manager.execute(["p"], &Request::new("m", "{}"), &options)?;
    Ok(answer.auth_id.to_string())
}

fn pool(manager: &Manager, members: usize) {
    for n in 0..members {
        manager
            .register(Auth::api_key("p", "k").with_id(name(n)).runtime_only())
            .unwrap();
    }
}

#[test]
fn a_session_moves_once_when_its_home_is_lost_and_returns_once() {
    let (manager, fake, clock) = manager_with(Arc::new(Affinity::new(RoundRobin::new())));
    pool(&manager, 5);
    let served = || serve_session(&manager, "s").unwrap();
    let home = served();
    assert!((0..10).all(|_| served() == home));
    fake.on(&home, Act::Fail(Error::upstream(500, "down")));
    let away = served();
    assert_ne!(away, home);
    // Others move the rotation on.
    for other in 0..10 {
        serve_session(&manager, &format!("other {other}")).unwrap();
        assert_eq!(served(), away);
    }
    fake.on(&home, Act::Serve);
    clock.advance(Duration::from_secs(60));
    assert!((0..10).all(|_| served() == home));
    manager.remove(&home).unwrap();
    assert!((0..10).all(|_| served() == away));
}

#[test]
fn a_conversation_moves_once_when_its_home_is_lost_and_returns_once() {
    let (manager, fake, clock) = manager_with(Arc::new(Affinity::new(RoundRobin::new())));
    pool(&manager, 5);
    let mut talk = vec![Message::new("user", "hello")];
    let mut turn = || {
        let options = Options::new().with_messages(talk.clone());
        let answer = manager.execute(["p"], &Request::new("m", "{}"), &options);
        let answer = answer.unwrap();
        talk.push(Message::new("assistant", answer.reply_text.unwrap()));
        talk.push(Message::new("user", format!("and {}?", talk.len())));
        manager
            .execute(["p"], &Request::new("m", "{}"), &Options::new())
            .unwrap();
        answer.auth_id.to_string()
    };
    let home = turn();
    assert!((0..5).all(|_| turn() == home));
    fake.on(&home, Act::Fail(Error::upstream(500, "down")));
    let away = turn();
    assert_ne!(away, home);
    assert!((0..5).all(|_| turn() == away));
    fake.on(&home, Act::Serve);
    clock.advance(Duration::from_secs(60));
    assert!((0..5).all(|_| turn() == home));
}

#[test]
fn ten_thousand_sessions_stay_within_the_bound() {
    for inner in [
        Affinity::new(RoundRobin::new()),
        Affinity::new(FillFirst::new()),
        Affinity::new(LowestLatency::new()),
    ] {
        let (manager, _, _) = manager_with(Arc::new(inner));
        pool(&manager, 10);
        let mut homes = HashMap::new();
        let mut held = HashMap::<String, usize>::new();
        for n in 1..=10_000_usize {
            let session = format!("session {n}");
            let home = serve_session(&manager, &session).unwrap();
            let held = held.entry(home.clone()).or_default();
            *held += 1;
            // 1.25 times the mean, rounded up.
            assert!(*held <= (n * 125).div_ceil(1000), "{n}: {held}");
            homes.insert(session, home);
        }
        for (session, home) in homes {
            assert_eq!(serve_session(&manager, &session).unwrap(), home);
        }
    }
}

#[test]
fn sessions_that_begin_at_once_stay_within_the_bound() {
    let (manager, _, _) = manager_with(Arc::new(
        Affinity::new(FillFirst::new()).with_most_sessions(25),
    ));
    pool(&manager, 10);
    let homes: Vec<Vec<String>> = thread::scope(|scope| {
        let threads = (0..8).map(|thread| {
            let manager = &manager;
            scope.spawn(move || {
                let sessions = (0..25).map(|n| format!("{thread}/{n}"));
                let homes = sessions.map(|session| serve_session(manager, &session).unwrap());
                homes.collect()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut held = HashMap::<String, usize>::new();
    for home in homes.concat() {
        *held.entry(home).or_default() += 1;
    }
    assert!(held.values().all(|held| *held <= 25), "{held:?}");
}

/// Whoever decides at the same moment decides by the same counts.
#[test]
fn sessions_that_begin_at_the_same_moment_share_no_last_place() {
    for round in 0..300 {
        let selector = Affinity::new(FillFirst::new()).with_bound(None);
        let (manager, _, _) = manager_with(Arc::new(selector.with_most_sessions(1)));
        pool(&manager, 4);
        let together = Barrier::new(4);
        let (manager, together) = (&manager, &together);
        let mut homes: Vec<String> = thread::scope(|scope| {
            let begin = |n: usize| {
                scope.spawn(move || {
                    together.wait();
                    serve_session(manager, &n.to_string()).unwrap()
                })
            };
            let threads: Vec<_> = (0..4).map(begin).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        homes.sort_unstable();
        homes.dedup();
        assert_eq!(homes.len(), 4, "round {round}: {homes:?}");
    }
}

#[test]
fn no_credential_holds_more_sessions_than_its_cap_until_one_expires() {
    let selector = Affinity::new(RoundRobin::new())
        .with_bound(None)
        .with_most_sessions(2)
        .with_expiry(Duration::from_secs(600));
    let (manager, _, clock) = manager_with(Arc::new(selector));
    pool(&manager, 2);
    for session in ["1", "2", "3", "4"] {
        serve_session(&manager, session).unwrap();
    }
    let error = serve_session(&manager, "5").unwrap_err();
    assert_eq!(*error.code(), ErrorCode::AuthUnavailable);
    assert!(
        error
            .to_string()
            .contains("the selector rejected every ready credential"),
        "{error}"
    );
    // Who is known is served, and so is who has no session.
    clock.advance(Duration::from_secs(300));
    serve_session(&manager, "1").unwrap();
    manager
        .execute(["p"], &Request::new("m", "{}"), &Options::new())
        .unwrap();
    clock.advance(Duration::from_secs(300));
    serve_session(&manager, "1").unwrap();
    for session in ["5", "6", "7"] {
        serve_session(&manager, session).unwrap();
    }
    assert!(serve_session(&manager, "8").is_err());
}

#[test]
fn a_busy_home_sends_its_session_elsewhere_for_the_moment() {
    let (manager, fake, _) = manager_with(Arc::new(Affinity::new(FillFirst::new())));
    pool(&manager, 4);
    let home = serve_session(&manager, "s").unwrap();
    let (open, opened) = crossbeam_channel::unbounded::<()>();
    for n in 0..4 {
        let opened = opened.clone();
        fake.on(
            &name(n),
            Act::Do(Arc::new(move || {
                opened.recv().unwrap();
                Ok(Response::new("ok"))
            })),
        );
    }
    let before = fake.calls().len();
    let calls: Vec<_> = (1..=12)
        .map(|n| {
            let manager = manager.clone();
            let call = thread::spawn(move || serve_session(&manager, "s"));
            eventually("it is under way", || fake.calls().len() == before + n);
            let mut busy = HashMap::<String, usize>::new();
            for id in &fake.calls()[before..] {
                *busy.entry(id.clone()).or_default() += 1;
            }
            let bound = (n * 125).div_ceil(400);
            assert!(busy.values().all(|busy| *busy <= bound), "{n}: {busy:?}");
            call
        })
        .collect();
    for _ in &calls {
        open.send(()).unwrap();
    }
    for call in calls {
        call.join().unwrap().unwrap();
    }
    for n in 0..4 {
        fake.on(&name(n), Act::Serve);
    }
    assert_eq!(serve_session(&manager, "s").unwrap(), home);
}

/// What a sample has, noted at each pick.
struct Sampling(crossbeam_channel::Sender<Vec<String>>);

impl Selector for Sampling {
    fn pick(&self, candidates: &Candidates<'_>, _: &Options) -> Result<Option<Candidate>, Error> {
        for most in [0, 1, 2, 5, 16, usize::MAX] {
            let sample = candidates.sample(most).map(|one| one.id.clone());
            self.0.send(sample.collect()).unwrap();
        }
        Ok(candidates.after(None))
    }
}

#[test]
fn a_sample_has_each_candidate_once_and_none_is_left_out_for_ever() {
    for members in [1, 2, 5, 40] {
        let (sender, samples) = crossbeam_channel::unbounded();
        let (manager, _, _) = manager_with(Arc::new(Sampling(sender)));
        pool(&manager, members);
        let mut seen = HashMap::<String, usize>::new();
        for _ in 0..400 {
            manager
                .execute(["p"], &Request::new("m", "{}"), &Options::new())
                .unwrap();
            for most in [0, 1, 2, 5, 16, 16] {
                let mut sample = samples.recv().unwrap();
                let len = sample.len();
                sample.sort_unstable();
                sample.dedup();
                assert_eq!(sample.len(), len);
                assert!(len <= most.min(members));
                if members <= most {
                    assert_eq!(len, members);
                }
                for id in sample {
                    *seen.entry(id).or_default() += 1;
                }
            }
        }
        let (least, most) = (seen.values().min(), seen.values().max());
        assert_eq!(seen.len(), members);
        assert!(2 * least.unwrap() > *most.unwrap(), "{seen:?}");
    }
}

#[test]
fn a_number_that_is_none_is_refused() {
    let (manager, _, _) = manager_with(Arc::new(Weighted::new()));
    let auth = Auth::api_key("p", "sk-canary").with_id("a");
    for name in ["weight", "priority", "max_concurrent", "rpm", "tpm"] {
        let wrong = auth.clone().with_attribute(name, "many");
        let error = manager.register(wrong).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config);
        assert!(
            error.to_string().contains(name) && error.auth_id() == Some("a"),
            "{error}"
        );
        assert!(manager.list().is_empty());
    }
    manager.register(auth.clone()).unwrap();
    assert!(
        manager
            .update(auth.with_attribute("weight", "many"))
            .is_err()
    );
}
