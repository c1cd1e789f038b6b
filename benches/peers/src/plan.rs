//! What is measured, and in which order: the clients of a figure take turns, and each round begins with another one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Instant;

use crate::clients::Kind;
use crate::process::{Client, Upstream};
use crate::protocol::{Job, Load, Measured, Outcome, Setup};
use crate::stats::Series;

/// One line of the tables of calls and streams.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cell {
    pub(crate) stream: bool,
    pub(crate) tls: bool,
    pub(crate) thinks: bool,
    pub(crate) callers: usize,
}

pub(crate) type Figures = BTreeMap<Kind, Series>;

/// How much is done.
pub(crate) struct Effort {
    rounds: usize,
    window_ms: u64,
    callers: &'static [usize],
    is_quick: bool,
    has_litellm: bool,
}

/// What a start costs, and how much memory the process then has.
#[derive(Default)]
pub(crate) struct Start {
    pub(crate) millis: Vec<f64>,
    pub(crate) mebibytes: Vec<f64>,
}

/// So many callers, by raw `ureq` and by the pools of [`POOLS`].
pub(crate) struct Pools {
    pub(crate) callers: usize,
    pub(crate) raw: Series,
    pub(crate) sizes: Vec<Series>,
}

#[derive(Default)]
pub(crate) struct Run {
    pub(crate) cells: Vec<(Cell, Figures)>,
    pub(crate) pools: Vec<Pools>,
    /// Nanoseconds of a pick, by the size of the pool.
    pub(crate) picks: Vec<(usize, Vec<f64>)>,
    /// By client: no failure, 429, 500.
    pub(crate) failovers: BTreeMap<Kind, [Vec<u32>; 3]>,
    /// By client and size of the pool.
    pub(crate) starts: BTreeMap<(Kind, usize), Start>,
}

pub(crate) const POOLS: [usize; 3] = [10, 1_000, 100_000];
const THINK_MS: u64 = 20;
/// The Router is so far from the others that few rounds tell how far; each takes long.
const ROUTER_ROUNDS: usize = 3;
/// One of its streams takes tens of milliseconds of CPU.
const ROUTER_WINDOW_MS: u64 = 1000;

impl Effort {
    pub(crate) fn new(is_quick: bool, has_litellm: bool) -> Self {
        let (rounds, window_ms) = if is_quick { (3, 80) } else { (5, 250) };
        let callers: &[usize] = if is_quick { &[1, 64] } else { &[1, 8, 64, 256] };
        Self {
            rounds,
            window_ms,
            callers,
            is_quick,
            has_litellm,
        }
    }

    /// Plain HTTP without thinking is first; a quick run has thinking and TLS apart.
    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for stream in [false, true] {
            for (tls, thinks) in [(false, false), (false, true), (true, false), (true, true)] {
                let callers = self
                    .callers
                    .iter()
                    .filter(|_| !(self.is_quick && tls && thinks));
                cells.extend(callers.map(|&callers| Cell {
                    stream,
                    tls,
                    thinks,
                    callers,
                }));
            }
        }
        cells
    }

    fn kinds(&self, cell: Cell) -> Vec<Kind> {
        let mut kinds = vec![
            Kind::Pool,
            Kind::Ureq,
            Kind::ReqwestBlocking,
            Kind::ReqwestAsync,
        ];
        if self.has_litellm && self.suits_router(cell) {
            kinds.push(Kind::Litellm);
        }
        if !cell.tls && !cell.thinks {
            kinds.push(Kind::Bare);
            // A connection for almost every call: more callers would run out of ports.
            if !cell.stream && (8..=64).contains(&cell.callers) {
                kinds.push(Kind::UreqDefaults);
            }
        }
        kinds
    }

    fn router_rounds(&self) -> usize {
        if self.is_quick { 1 } else { ROUTER_ROUNDS }
    }

    /// Its calls take turns on one core, so that with more callers each only waits longer, as it does with pauses.
    fn suits_router(&self, cell: Cell) -> bool {
        let most = match (self.is_quick, cell.stream) {
            (true, _) => 1,
            (false, true) => 8,
            (false, false) => 64,
        };
        !cell.thinks && cell.callers <= most
    }
}

pub(crate) fn run(upstream: &Upstream, effort: &Effort) -> Outcome<Run> {
    let mut run = Run::default();
    let start = Instant::now();
    let tell = |what: &str| eprintln!("{:>4} s  {what}", start.elapsed().as_secs());
    tell("starts and memory");
    starts(upstream, effort, &mut run)?;
    tell("failovers");
    failovers(upstream, effort, &mut run)?;
    let mut clients = BTreeMap::new();
    for cell in effort.cells() {
        tell(&format!("{cell:?}"));
        let figures = measure(upstream, effort, cell, &mut clients)?;
        run.cells.push((cell, figures));
    }
    drop(clients);
    tell("sizes of pools");
    pools(upstream, effort, &mut run)?;
    tell("done");
    Ok(run)
}

fn measure(
    upstream: &Upstream,
    effort: &Effort,
    cell: Cell,
    clients: &mut BTreeMap<(Kind, bool), Client>,
) -> Outcome<Figures> {
    let mut figures = Figures::new();
    let kinds = effort.kinds(cell);
    for round in 0..effort.rounds {
        for turn in 0..kinds.len() {
            let kind = kinds[(round + turn) % kinds.len()];
            if kind == Kind::Litellm && round >= effort.router_rounds() {
                continue;
            }
            let client = match clients.entry((kind, cell.tls)) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => {
                    entry.insert(Client::start(kind, &upstream.setup(cell.tls, 10))?)
                }
            };
            let load = Load {
                stream: cell.stream,
                callers: cell.callers,
                think_ms: if cell.thinks { THINK_MS } else { 0 },
                window_ms: if kind == Kind::Litellm {
                    ROUTER_WINDOW_MS
                } else {
                    effort.window_ms
                },
            };
            figures
                .entry(kind)
                .or_default()
                .add(window(upstream, client, &load)?);
        }
    }
    Ok(figures)
}

/// A window of a client, with the share of its cores that the upstream was busy for.
fn window(upstream: &Upstream, client: &mut Client, load: &Load) -> Outcome<(Measured, f64)> {
    let before = upstream.used()?;
    let mut measured = client.run(&Job::Calls(load.clone()))?;
    // A machine that stood still tells nothing.
    for _ in 0..5 {
        if measured.calls == 0 {
            measured = client.run(&Job::Calls(load.clone()))?;
        }
    }
    let after = upstream.used()?;
    let requests = (after.requests - before.requests).max(1) as f64;
    let per_request = (after.cpu_seconds - before.cpu_seconds) / requests;
    let busy = per_request * measured.per_second() / upstream.cores as f64;
    Ok((measured, busy))
}

fn pools(upstream: &Upstream, effort: &Effort, run: &mut Run) -> Outcome<()> {
    let client = |kind, size| Client::start(kind, &upstream.setup(false, size));
    let mut raw = client(Kind::Ureq, 1)?;
    let mut sizes = Vec::new();
    for size in POOLS {
        sizes.push(client(Kind::Pool, size)?);
    }
    for callers in [1, 64] {
        let load = Load {
            stream: false,
            callers,
            think_ms: 0,
            window_ms: effort.window_ms,
        };
        let mut figures = Pools {
            callers,
            raw: Series::default(),
            sizes: POOLS.iter().map(|_| Series::default()).collect(),
        };
        for _ in 0..effort.rounds {
            figures.raw.add(window(upstream, &mut raw, &load)?);
            for (client, series) in sizes.iter_mut().zip(&mut figures.sizes) {
                series.add(window(upstream, client, &load)?);
            }
        }
        run.pools.push(figures);
    }
    let mut picks: Vec<_> = POOLS.iter().map(|size| (*size, Vec::new())).collect();
    for _ in 0..effort.rounds {
        for (client, (_, nanos)) in sizes.iter_mut().zip(&mut picks) {
            let measured = client.run(&Job::Picks { times: PICKS })?;
            nanos.push(1e9 / measured.per_second());
        }
    }
    run.picks = picks;
    Ok(())
}

fn failovers(upstream: &Upstream, effort: &Effort, run: &mut Run) -> Outcome<()> {
    let kinds = [Kind::Pool, Kind::Ureq]
        .into_iter()
        .chain(effort.has_litellm.then_some(Kind::Litellm));
    let mut clients = Vec::new();
    for kind in kinds {
        clients.push((kind, Client::start(kind, &upstream.setup(false, 1))?));
    }
    for _ in 0..effort.rounds {
        for (kind, client) in &mut clients {
            // A new Router each time.
            let times = if *kind == Kind::Litellm { 3 } else { 20 };
            let micros = run.failovers.entry(*kind).or_default();
            for (status, micros) in [0, 429, 500].into_iter().zip(micros) {
                let measured = client.run(&Job::Failovers { status, times })?;
                micros.extend(measured.micros);
            }
        }
    }
    Ok(())
}

fn starts(upstream: &Upstream, effort: &Effort, run: &mut Run) -> Outcome<()> {
    let mut kinds = vec![
        (Kind::Pool, 1),
        (Kind::Pool, 100_000),
        (Kind::Ureq, 1),
        (Kind::ReqwestBlocking, 1),
        (Kind::ReqwestAsync, 1),
    ];
    kinds.extend(effort.has_litellm.then_some((Kind::Litellm, 1)));
    for round in 0..effort.rounds {
        for &(kind, credentials) in &kinds {
            if kind == Kind::Litellm && round >= effort.router_rounds() {
                continue;
            }
            let setup: Setup = upstream.setup(false, credentials);
            let start = Instant::now();
            let mut client = Client::start(kind, &setup)?;
            client.run(&Job::First)?;
            let figures = run.starts.entry((kind, credentials)).or_default();
            figures.millis.push(start.elapsed().as_secs_f64() * 1e3);
            figures.mebibytes.push(client.resident());
        }
    }
    Ok(())
}

const PICKS: u32 = 200_000;
