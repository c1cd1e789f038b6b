//! The world: processes, one store, a token endpoint, and time, which goes on from timer to timer whenever all is quiet.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use credpool::{Auth, Error, OAuthTokens};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::backend::{self, Backend, Saving};
use crate::endpoint::{Endpoint, Mood, access_token, refresh_token};
use crate::executor::PROVIDER;
use crate::gate::Stops;
use crate::handle::Switches;
use crate::jobs::{Done, Job};
use crate::process::{Plant, Process};
use crate::promises;
use crate::quiet::wait_until_quiet;
use crate::random::Random;
use crate::timeline::{Pid, Setting, Timeline};
use crate::truth::{Expected, Field, Presence, Shared, Slot, Truth};

pub struct World {
    pub plant: Plant,
    pub backend: Box<dyn Backend>,
    pub processes: Vec<Option<Process>>,
    /// For each place of a process, the clocks of its machine.
    settings: Vec<Setting>,
    next_pid: Pid,
    pub jobs: Vec<Job>,
    pub done: Arc<Mutex<Vec<Done>>>,
    pub threads: Vec<JoinHandle<()>>,
    /// Copies that operators hold.
    pub copies: Vec<Copy>,
    /// Text that editors hold: the record's id, and what it was.
    pub buffers: Vec<(String, Value)>,
    /// An editor has saved half of this, and will save the whole.
    pub half_saved: Option<(String, Value)>,
    pub has_snapshot: bool,
    pub unmounted: bool,
    /// Since when the store has been away.
    pub away_since: Option<Duration>,
    /// When the store was last in trouble, or a process last stood still.
    pub disturbed: Duration,
    /// Gives values that no other change gives.
    next_value: u64,
}

/// A copy of a record, and whose it is.
pub struct Copy {
    pub pid: Pid,
    pub auth: Auth,
}

impl World {
    pub fn new(kind: &str, seed: u64) -> Self {
        let mut random = Random::seeded(seed ^ 0x5eed);
        let timeline = Timeline::new();
        let leeway = random.chance(1, 4).then(|| Duration::from_secs(10));
        let lifetime = random.millis(&[60_000, 120_000, 600_000, 3_600_000]);
        let usual = Mood::Answer(random.millis(&[100, 400, 1_500, 6_000]));
        let endpoint = Endpoint::new(leeway, lifetime, usual);
        let truth: Shared = Arc::new(Mutex::new(Truth::new(&timeline, endpoint)));
        let plant = Plant {
            timeline,
            truth: Arc::clone(&truth),
            trouble: Arc::default(),
            gap: random.millis(&[1_000, 30_000]),
            reload: random.millis(&[1_000, 1_000, 200]),
            refreshes: random.chance(4, 5),
        };
        truth.lock().gap = plant.gap;
        let count = 1 + random.below(3);
        let mut world = Self {
            backend: backend::create(kind, &truth),
            plant,
            processes: (0..count).map(|_| None).collect(),
            settings: (0..count).map(|_| draw_setting(&mut random)).collect(),
            next_pid: 1,
            jobs: Vec::new(),
            done: Arc::default(),
            threads: Vec::new(),
            copies: Vec::new(),
            buffers: Vec::new(),
            half_saved: None,
            has_snapshot: false,
            unmounted: false,
            away_since: None,
            disturbed: Duration::ZERO,
            next_value: 0,
        };
        world.describe(kind, seed);
        world.populate();
        world
    }

    fn describe(&self, kind: &str, seed: u64) {
        let mut truth = self.truth().lock();
        let Endpoint {
            leeway,
            lifetime,
            usual,
            ..
        } = &truth.endpoint;
        let endpoint = format!("leeway {leeway:?}, lifetime {lifetime:?}, usually {usual:?}");
        let Plant {
            gap,
            reload,
            refreshes,
            ..
        } = &self.plant;
        truth.note(format!("world {seed} over {kind}; endpoint: {endpoint}"));
        truth.note(format!(
            "clocks {:?}; gap {gap:?}, reload {reload:?}, refresher {refreshes}",
            self.settings
        ));
    }

    /// The first records and processes.
    fn populate(&mut self) {
        if self.backend.is_token_file(TOKEN_FILE) {
            let grant = self.log_in();
            let file = json!({
                "type": PROVIDER, "label": "", "disabled": false,
                "access_token": access_token(grant, 0), "refresh_token": refresh_token(grant, 0),
            });
            self.backend.put(TOKEN_FILE, &file, Saving::ByRename);
            self.expect(TOKEN_FILE, Some(grant), &Auth::new(PROVIDER));
        }
        for place in 0..self.processes.len() {
            self.start_process(place);
            if place == 0 {
                for id in ["a", "b"] {
                    let grant = self.log_in();
                    let auth = self.login(id, grant);
                    self.register(0, auth, Some(grant));
                }
                self.register(0, key("k", "sk-0"), None);
            }
        }
        self.rest();
    }

    fn register(&mut self, place: usize, auth: Auth, grant: Option<usize>) {
        self.expect(&auth.id.clone(), grant, &auth);
        let process = self.processes[place].as_ref().unwrap();
        process.manager.register(auth).unwrap();
        self.rest();
    }

    /// From now on the store must have this record.
    pub fn expect(&mut self, id: &str, grant: Option<usize>, auth: &Auth) {
        let slot = |field: Field| Slot {
            value: Some(field.of(auth)),
            ..Slot::default()
        };
        let expected = Expected {
            presence: Presence::Present,
            fields: Field::ALL.map(|field| (field, slot(field))).into(),
            grant,
            since: self.now(),
            ..Expected::default()
        };
        self.truth().lock().records.insert(id.to_owned(), expected);
    }

    pub fn truth(&self) -> &Shared {
        &self.plant.truth
    }

    pub fn now(&self) -> Duration {
        self.plant.timeline.now()
    }

    pub fn note(&self, what: impl AsRef<str>) {
        self.truth().lock().note(what);
    }

    pub fn log_in(&self) -> usize {
        let now = self.now();
        self.truth().lock().endpoint.log_in(now)
    }

    /// A record with the first tokens of a grant, as a program makes it.
    pub fn login(&self, id: &str, grant: usize) -> Auth {
        let end = self.truth().lock().endpoint.grants[grant].tokens[0].ends;
        let end = time::macros::utc_datetime!(2025-01-01 10:00) + end;
        let tokens = OAuthTokens::new(access_token(grant, 0))
            .with_refresh_token(refresh_token(grant, 0))
            .with_expires_at(end);
        Auth::oauth(PROVIDER, tokens)
            .with_id(id)
            .with_label("configured")
            .with_attribute("base_url", "https://configured.example")
    }

    /// A value that nobody has written before.
    pub fn new_value(&mut self, field: Field) -> Value {
        self.next_value += 1;
        match field {
            Field::Disabled => Value::from(self.next_value.is_multiple_of(2)),
            Field::MaxTokens => Value::from(1_000 + self.next_value),
            _ => Value::from(format!("{field:?}-{}", self.next_value)),
        }
    }

    /// Whether all machines tell about the same time.
    pub fn clocks_agree(&self) -> bool {
        let offsets = self.processes.iter().flatten().map(|one| {
            let setting = one.clock.setting();
            (setting.offset, setting.was_set)
        });
        let offsets: Vec<_> = offsets.collect();
        let most = offsets.iter().map(|(offset, _)| offset).max();
        let least = offsets.iter().map(|(offset, _)| offset).min();
        // Where what was over is not kept, the state that was written last is believed, by its own clock.
        let allowed = if self.backend.keeps_recoveries() {
            2_000
        } else {
            0
        };
        most.zip(least)
            .is_none_or(|(most, least)| most - least <= allowed)
            && !offsets.iter().any(|(_, was_set)| *was_set)
    }

    pub fn is_troubled(&self) -> bool {
        self.plant.trouble.is_present() || self.unmounted
    }
}

impl World {
    pub fn start_process(&mut self, place: usize) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let stops = Stops {
            switches: Switches::new(&self.plant.trouble),
            timeline: Arc::clone(&self.plant.timeline),
            pid,
        };
        let store = self.backend.open_before(&stops);
        let process = Process::start(&self.plant, store, stops, self.settings[place]);
        self.note(format!("p{pid} starts"));
        if self.unmounted
            && let Some(life) = self.truth().lock().lives.get_mut(&pid)
        {
            life.began_astray = true;
        }
        match process {
            Ok(process) => self.processes[place] = Some(process),
            Err(error) => self.note(format!("p{pid} does not start: {error}")),
        }
        self.rest();
    }

    pub fn kill_process(&mut self, place: usize) {
        let Some(process) = self.processes[place].take() else {
            return;
        };
        self.note(format!("p{} is killed", process.pid));
        self.abandon_jobs(process.pid);
        let Setting { offset, drift, .. } = process.clock.setting();
        self.settings[place] = Setting {
            offset,
            drift,
            ..Setting::default()
        };
        self.threads.push(process.kill(&self.plant));
        promises::forgiven::forgive_what_only_the_dead_knew(self);
    }

    /// Ends a process as a program does, in its own time.
    pub fn shut_down_process(&mut self, place: usize) -> Option<Result<(), Error>> {
        let process = self.processes[place].as_mut()?;
        process.thaw(&self.plant);
        let (manager, pid) = (process.manager.clone(), process.pid);
        self.note(format!("p{pid} shuts down"));
        let ending = std::thread::spawn(move || manager.shutdown(Duration::from_secs(30)));
        let end = self.now() + Duration::from_secs(120);
        loop {
            self.rest();
            if ending.is_finished() || !self.plant.timeline.fire_next(end) {
                break;
            }
        }
        let ended = ending.join().unwrap();
        self.note(format!("p{pid} has shut down: {ended:?}"));
        self.rest();
        Some(ended)
    }

    /// A process that has shut down is no more.
    pub fn drop_process(&mut self, place: usize) {
        self.kill_process(place);
    }

    /// Waits until nothing more happens at this moment.
    pub fn rest(&mut self) {
        wait_until_quiet(&self.plant.trouble.busy);
        let done = std::mem::take(&mut *self.done.lock());
        for (number, result) in done {
            self.end_job(number, &result);
        }
    }

    /// Lets time go on, from timer to timer.
    pub fn advance(&mut self, span: Duration) {
        let end = self.now() + span;
        let mut fired = 0;
        loop {
            self.rest();
            if !self.plant.timeline.fire_next(end) {
                return;
            }
            fired += 1;
            assert!(fired < 100_000, "the world never comes to {end:?}");
        }
    }

    /// Ends every process and thread.
    pub fn end(mut self) {
        self.plant.trouble.end();
        for place in 0..self.processes.len() {
            self.kill_process(place);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

pub fn key(id: &str, key: &str) -> Auth {
    Auth::api_key(PROVIDER, key)
        .with_id(id)
        .with_label("configured")
        .with_attribute("base_url", "https://configured.example")
}

/// The record that another program keeps, where the store is a directory.
pub const TOKEN_FILE: &str = "t.json";

fn draw_setting(random: &mut Random) -> Setting {
    let offsets = [0, 0, 0, 2_000, -2_000, 300_000, -300_000];
    Setting {
        offset: *random.pick(&offsets).unwrap(),
        drift: *random.pick(&[0, 0, 100, -100]).unwrap(),
        ..Setting::default()
    }
}
