//! Threads that call, one call after the other or one alone, and what they see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use credpool::{Availability, CancelToken, Error, Manager, Options, Request};

use super::models::{ASKED, links_of};
use super::promises::{self, Ended};
use super::upstream::{PROVIDER, Shared};
use crate::random::Random;
use crate::timeline::{Pid, Timeline};

/// Where a caller is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Its call, when that began, and when it is to be over.
    pub call: Option<Under>,
}

/// A call under way.
#[derive(Clone, Debug)]
pub struct Under {
    pub number: u64,
    pub model: &'static str,
    pub began: Duration,
    pub timeout: Option<Duration>,
    pub cancelled_at: Option<Duration>,
    pub cancel: CancelToken,
    pub may_wait: Duration,
    /// It names a file; who alone may serve it, unless the file is gone.
    pub names_file: bool,
    pub owner: Option<String>,
}

pub struct Caller {
    pub stop: Arc<AtomicBool>,
    pub place: Arc<parking_lot::Mutex<Place>>,
    pub thread: JoinHandle<()>,
}

/// What all callers have in common.
#[derive(Clone)]
pub struct Ground {
    pub pid: Pid,
    pub timeline: Arc<Timeline>,
    pub truth: Shared,
    pub manager: Manager,
    pub numbers: Arc<AtomicU64>,
    pub settled: Settled,
    /// When a call was last refused beside a ready credential because others came first, for each model.
    pub behind: Arc<parking_lot::Mutex<std::collections::BTreeMap<String, Duration>>>,
    /// How hooks and selectors behave.
    pub mischief: Arc<AtomicUsize>,
}

/// Since when each credential has been ready without a break, as seen when the world was at rest.
pub type Settled = Arc<parking_lot::Mutex<std::collections::BTreeMap<(String, String), Duration>>>;

/// How a caller calls.
#[derive(Clone, Debug)]
pub struct Manner {
    pub model: &'static str,
    pub timeout: Option<Duration>,
    pub max_wait: Option<Duration>,
    pub streams: bool,
    /// What it uses.
    pub file: Option<String>,
    /// Reads the first chunk of a stream and drops it.
    pub drops: bool,
    /// Between two calls; `None`: it makes one call alone.
    pub pause: Option<Duration>,
}

impl Manner {
    pub fn draw(random: &mut Random, files: &[String], in_a_loop: bool) -> Self {
        let millis = |ms| Some(Duration::from_millis(ms));
        Self {
            model: random.pick(&ASKED).unwrap(),
            timeout: *random
                .pick(&[None, None, millis(500), millis(5_000), millis(60_000)])
                .unwrap(),
            max_wait: *random
                .pick(&[None, None, None, millis(0), millis(3_000)])
                .unwrap(),
            streams: random.chance(1, 4),
            drops: random.chance(1, 4),
            pause: in_a_loop.then(|| random.millis(&[200, 1_000, 3_000])),
            file: random.pick(files).filter(|_| random.chance(1, 3)).cloned(),
        }
    }
}

impl Caller {
    pub fn start(ground: &Ground, manner: Manner) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let place = Arc::new(parking_lot::Mutex::new(Place::default()));
        let (ground, told, at) = (ground.clone(), Arc::clone(&stop), Arc::clone(&place));
        let thread = std::thread::spawn(move || {
            loop {
                call(&ground, &manner, &at);
                let Some(pause) = manner.pause else { return };
                if told.load(Ordering::SeqCst) || !ground.timeline.sleep(ground.pid, pause) {
                    return;
                }
            }
        });
        Self {
            stop,
            place,
            thread,
        }
    }
}

fn call(ground: &Ground, manner: &Manner, place: &parking_lot::Mutex<Place>) {
    let number = ground.numbers.fetch_add(1, Ordering::SeqCst) + 1;
    let began = ground.timeline.now();
    {
        let mut truth = ground.truth.lock();
        truth.asked.insert(number, manner.model);
        if manner.file.is_some() {
            truth.uses_file.insert(number);
        }
    }
    let cancel = CancelToken::new();
    let mut options = Options::new().with_cancel(cancel.clone());
    options.timeout = manner.timeout;
    options.max_wait = manner.max_wait;
    let owner_of = |file: &String| ground.truth.lock().files.get(file).cloned();
    let owner = manner.file.as_ref().and_then(owner_of);
    place.lock().call = Some(Under {
        names_file: manner.file.is_some(),
        owner,
        number,
        model: manner.model,
        began,
        timeout: manner.timeout,
        cancelled_at: None,
        cancel,
        may_wait: manner
            .max_wait
            .unwrap_or(Duration::from_secs(30))
            .min(manner.timeout.unwrap_or(Duration::MAX)),
    });
    let payload = match &manner.file {
        Some(file) => format!("{{\"{number}\":0,\"file_id\":\"{file}\"}}"),
        None => format!("{{\"{number}\"}}"),
    };
    let request = Request::new(manner.model, payload);
    let result = if manner.streams {
        read(ground, manner, &request, &options)
    } else {
        ground
            .manager
            .execute([PROVIDER], &request, &options)
            .map(|response| response.attempts)
    };
    let under = place.lock().call.take().unwrap();
    let of_link = |link: &&str| {
        let ready = ready(&ground.manager, link).into_iter();
        let link = (*link).to_owned();
        ready.map(move |id| (link.clone(), id))
    };
    let mut ready: Vec<_> = links_of(&manner.model).iter().flat_map(of_link).collect();
    if under.names_file {
        ready.retain(|(_, id)| under.owner.as_ref() == Some(id));
    }
    promises::check_call(
        ground,
        &Ended {
            under,
            manner,
            result,
            ready,
        },
    );
}

fn read(
    ground: &Ground,
    manner: &Manner,
    request: &Request,
    options: &Options,
) -> Result<u32, Error> {
    let stream = ground
        .manager
        .execute_stream([PROVIDER], request, options)?;
    let attempts = stream.attempts();
    let most = if manner.drops { 1 } else { usize::MAX };
    for chunk in stream.take(most) {
        chunk?;
    }
    Ok(attempts)
}

/// The credentials that a call may be served with now.
pub fn ready(manager: &Manager, model: &str) -> Vec<String> {
    let standings = manager.explain(PROVIDER, model).into_iter();
    standings
        .filter(|one| one.availability == Availability::Ready)
        .map(|one| one.auth_id.to_string())
        .collect()
}
