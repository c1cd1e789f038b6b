//! The world: processes, one store, a token endpoint, and time, which goes on from timer to timer whenever all is quiet.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use credpool::{Auth, Error, ErrorCode, Manager, OAuthTokens};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::backend::{self, Backend, Saving};
use crate::endpoint::{Endpoint, Mood, access_token, refresh_token};
use crate::executor::PROVIDER;
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
    jobs: Vec<Job>,
    done: Arc<Mutex<Vec<(usize, Result<(), Error>)>>>,
    threads: Vec<JoinHandle<()>>,
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

/// Something that a process has been asked to do.
struct Job {
    pid: Pid,
    what: String,
    changes: Vec<Change>,
    /// The number of the last change when it began.
    began: u64,
    at: Duration,
    over: bool,
}

/// What is so once a job has been acknowledged.
#[derive(Clone, Debug)]
pub enum Change {
    Field(String, Field, Value),
    /// The change says nothing of this field, or two say different things.
    Blur(String, Field),
    Login(String, usize),
    BlurLogin(String),
    Registered(String),
    Removed(String),
    /// A cooldown that was known was reset.
    Reset(String),
    Cooled(String, Duration),
    /// A call; the credentials that were ready when it began.
    Called(Vec<String>),
    /// A refresh by command.
    Refreshed(String),
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
        most.zip(least)
            .is_none_or(|(most, least)| most - least <= 2_000)
            && !offsets.iter().any(|(_, was_set)| *was_set)
    }

    pub fn is_troubled(&self) -> bool {
        self.plant.trouble.state() != Default::default() || self.unmounted
    }
}

impl World {
    pub fn start_process(&mut self, place: usize) {
        let pid = self.next_pid;
        self.next_pid += 1;
        let store = self.backend.open(pid);
        let process = Process::start(&self.plant, store, pid, self.settings[place]);
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
        promises::forgive_what_only_the_dead_knew(self);
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

    fn abandon_jobs(&mut self, pid: Pid) {
        let mut jobs = std::mem::take(&mut self.jobs);
        self.truth()
            .lock()
            .commanded
            .retain(|(other, _)| *other != pid);
        for job in jobs.iter_mut().filter(|job| job.pid == pid && !job.over) {
            job.over = true;
            for change in &job.changes {
                self.blur(change);
            }
        }
        self.jobs = jobs;
    }

    /// Asks a process to do something, on a thread of its own.
    pub fn start(
        &mut self,
        place: usize,
        what: impl Into<String>,
        changes: Vec<Change>,
        work: impl FnOnce(&Manager) -> Result<(), Error> + Send + 'static,
    ) {
        let Some(process) = &self.processes[place] else {
            return;
        };
        let (pid, what) = (process.pid, what.into());
        self.note(format!("p{pid} is asked: {what}"));
        for change in &changes {
            if let Change::Refreshed(id) = change {
                self.truth().lock().commanded.push((pid, id.clone()));
            }
        }
        let number = self.jobs.len();
        let job = Job {
            pid,
            what,
            changes,
            began: self.truth().lock().next_change,
            at: self.now(),
            over: false,
        };
        self.jobs.push(job);
        let (manager, done) = (process.manager.clone(), Arc::clone(&self.done));
        self.threads.push(std::thread::spawn(move || {
            let result = work(&manager);
            drop(manager);
            done.lock().push((number, result));
        }));
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

    fn end_job(&mut self, number: usize, result: &Result<(), Error>) {
        let job = &mut self.jobs[number];
        if std::mem::replace(&mut job.over, true) {
            return;
        }
        let (pid, what, began, at) = (job.pid, job.what.clone(), job.began, job.at);
        let changes = job.changes.clone();
        let outcome = match result {
            Ok(()) => "done".to_owned(),
            Err(error) => format!("{error}"),
        };
        self.truth().lock().tell(pid, format!("{what}: {outcome}"));
        for change in changes {
            if let Change::Called(ready) = &change {
                promises::check_call(self, pid, ready, at, result);
            } else if let Change::Refreshed(id) = change {
                let commanded = &mut self.truth().lock().commanded;
                let this = commanded.iter().position(|one| *one == (pid, id.clone()));
                this.map(|this| commanded.remove(this));
            } else if result.is_ok() && !self.unmounted {
                self.acknowledge(change, began);
            } else if result.is_ok() || !leaves_all_as_it_was(result) {
                self.blur(&change);
            }
        }
    }

    pub fn acknowledge(&self, change: Change, began: u64) {
        let mut truth = self.truth().lock();
        let now = truth.now();
        match change {
            Change::Field(id, field, value) => truth.set_field(&id, field, value, began),
            Change::Blur(id, field) => truth.blur_field(&id, field),
            Change::Login(id, grant) => truth.set_login(&id, grant, began),
            Change::BlurLogin(id) => {
                if let Some(expected) = truth.records.get_mut(&id) {
                    expected.grant = None;
                }
            }
            Change::Registered(id) => {
                if let Some(expected) = truth.records.get_mut(&id) {
                    expected.presence = Presence::Present;
                    expected.since = now;
                }
            }
            Change::Removed(id) => {
                if let Some(expected) = truth.records.get_mut(&id) {
                    expected.presence = Presence::Removed;
                    expected.since = now;
                }
            }
            Change::Reset(id) => {
                let cooldowns = truth.cooldowns.entry(id).or_default();
                cooldowns.reset = Some(now);
            }
            Change::Cooled(id, length) => truth.cool(&id, length),
            Change::Called(_) | Change::Refreshed(_) => {}
        }
    }

    fn blur(&self, change: &Change) {
        let mut truth = self.truth().lock();
        match change {
            Change::Field(id, field, _) | Change::Blur(id, field) => truth.blur_field(id, *field),
            Change::Registered(id) | Change::Removed(id) => truth.blur_record(id),
            Change::Login(id, _) | Change::BlurLogin(id) => {
                if let Some(expected) = truth.records.get_mut(id) {
                    expected.grant = None;
                }
            }
            Change::Cooled(id, length) => truth.cool(id, *length),
            Change::Reset(_) | Change::Called(_) | Change::Refreshed(_) => {}
        }
    }

    /// Ends every process and thread.
    pub fn end(mut self) {
        self.plant.trouble.set(|state| *state = Default::default());
        for place in 0..self.processes.len() {
            self.kill_process(place);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// These errors promise that nothing has changed.
fn leaves_all_as_it_was(result: &Result<(), Error>) -> bool {
    let Err(error) = result else {
        return false;
    };
    matches!(
        error.code(),
        ErrorCode::Store | ErrorCode::Conflict | ErrorCode::AuthNotFound | ErrorCode::Config
    )
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
