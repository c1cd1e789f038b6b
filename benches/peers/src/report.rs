//! The results as Markdown, and what is drawn of them.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::macros::format_description;

use crate::clients::Kind;
use crate::machine;
use crate::plan::{Cell, Figures, POOLS, Run};
use crate::plot::Chart;
use crate::readme::{BEGIN, END};
use crate::stats::{Series, count, median, percentile, ratio};

/// When, where and with what it was measured.
pub(crate) struct About {
    is_quick: bool,
    pub(crate) litellm: Option<String>,
    date: String,
    machine: String,
    load: f64,
}

const PEERS: [(Kind, &str); 4] = [
    (Kind::Ureq, "raw `ureq`"),
    (Kind::ReqwestBlocking, "`reqwest`, blocking"),
    (Kind::ReqwestAsync, "`reqwest`, async"),
    (Kind::Litellm, "LiteLLM's Router"),
];

impl About {
    pub(crate) fn new(is_quick: bool, litellm: Option<String>) -> Self {
        let date = OffsetDateTime::now_utc().format(format_description!("[year]-[month]-[day]"));
        Self {
            is_quick,
            litellm,
            date: date.unwrap_or_default(),
            machine: machine::description(),
            load: machine::load(),
        }
    }

    fn versions(&self) -> String {
        let version = |name| format!("{name} {}", machine::version(name));
        let mut versions = ["credpool", "ureq", "reqwest", "hyper", "tokio", "rustls"]
            .map(version)
            .join(", ");
        if let Some(litellm) = &self.litellm {
            versions = format!("{versions}, {litellm}");
        }
        versions
    }
}

impl Cell {
    fn name(self) -> String {
        let scheme = if self.tls { "TLS" } else { "HTTP" };
        let think = if self.thinks { "20 ms" } else { "none" };
        format!("{scheme} | {think} | {}", self.callers)
    }
}

impl Run {
    fn find(&self, stream: bool, tls: bool, thinks: bool, callers: usize) -> Option<&Figures> {
        let wanted = Cell {
            stream,
            tls,
            thinks,
            callers,
        };
        self.cells
            .iter()
            .find(|(cell, _)| *cell == wanted)
            .map(|(_, figures)| figures)
    }

    /// The numbers of callers.
    fn callers(&self) -> Vec<usize> {
        let mut callers: Vec<usize> = self.cells.iter().map(|(cell, _)| cell.callers).collect();
        callers.sort_unstable();
        callers.dedup();
        callers
    }

    /// What a failure adds to a call, in microseconds: of 429 and of 500.
    fn failover(&self, kind: Kind) -> Option<[f64; 2]> {
        let [ordinary, limited, broken] = self.failovers.get(&kind)?;
        let added = |micros| percentile(micros, 50) - percentile(ordinary, 50);
        Some([added(limited), added(broken)])
    }
}

pub(crate) fn markdown(about: &About, run: &Run) -> String {
    let mut text = String::from("# credpool beside its peers\n\n");
    let mode = if about.is_quick {
        "a quick run"
    } else {
        "a full run"
    };
    let _ = writeln!(
        text,
        "{}, {mode} of `benches/peers`. {}. {}. The machine's load before: {:.2}.\n\n\
         What each figure means: [README](../README.md). Ratios are calls a second, of `credpool` by the peer: above 1 the pool makes more. \
         In brackets: the least and the greatest of the rounds.\n",
        about.date,
        about.machine,
        about.versions(),
        about.load,
    );
    let _ = writeln!(
        text,
        "## In short\n\n{BEGIN}\n{}{END}\n",
        in_short(about, run)
    );
    for (stream, title) in [(false, "Calls"), (true, "Streams")] {
        let _ = writeln!(text, "## {title}\n\n{}", ratios(run, stream));
    }
    let _ = writeln!(text, "## Where the pool is slower\n\n{}", slower(run));
    let _ = writeln!(text, "## Size of the pool\n\n{}", sizes(run));
    let _ = writeln!(text, "## Failover\n\n{}", failovers(run));
    let _ = writeln!(text, "## Start and memory\n\n{}", starts(run));
    let _ = writeln!(text, "## Every figure\n\n{}", every_figure(run));
    text
}

/// What the README of the crate shows.
fn in_short(about: &About, run: &Run) -> String {
    let callers = run.callers();
    let mut text = format!(
        "| calls a second, `credpool` by the peer | {} |\n|---",
        header(&callers)
    );
    text.push_str(&"|--:".repeat(callers.len()));
    text.push_str("|\n");
    for (kind, name) in PEERS {
        for (stream, what) in [(false, "calls"), (true, "streams")] {
            let ratio = |callers: &usize| {
                let figures = run.find(stream, false, false, *callers)?;
                let pool = figures.get(&Kind::Pool)?;
                Some(ratio(pool.beside(figures.get(&kind)?).median))
            };
            let ratios: Vec<_> = callers.iter().map(ratio).collect();
            if ratios.iter().any(Option::is_some) {
                let ratios = ratios
                    .into_iter()
                    .map(|ratio| ratio.unwrap_or_else(|| "–".to_owned()));
                let ratios = ratios.collect::<Vec<_>>().join(" | ");
                let _ = writeln!(text, "| {name}, {what} | {ratios} |");
            }
        }
    }
    let first = run.find(false, false, false, callers[0]);
    let of = |kind, figure: fn(&Series) -> f64| {
        first
            .and_then(|figures| figures.get(&kind))
            .map_or(f64::NAN, figure)
    };
    let p50 = |kind| count(of(kind, |series| series.percentile(50)));
    let p99 = |kind| count(of(kind, |series| series.percentile(99)));
    let cpu = |kind| count(of(kind, |series| median(&series.cpu_micros)));
    let memory = |kind, size| {
        count(
            run.starts
                .get(&(kind, size))
                .map_or(f64::NAN, |start| median(&start.mebibytes)),
        )
    };
    let [limited, broken] = run.failover(Kind::Pool).unwrap_or([f64::NAN; 2]);
    let [by_hand, _] = run.failover(Kind::Ureq).unwrap_or([f64::NAN; 2]);
    let pick = |size| {
        run.picks
            .iter()
            .find(|(at, _)| *at == size)
            .map_or(f64::NAN, |(_, nanos)| median(nanos))
    };
    let _ = writeln!(
        text,
        "\nOver HTTP on loopback, without a pause between calls.\n\n\
         * One call at a time takes {} µs at the median and {} µs at the 99th percentile (`ureq`: {} and {}).\n\
         * It takes {} µs of CPU (`ureq`: {}; `reqwest`, blocking: {}; async: {}).\n\
         * A pick takes {} ns among 10 credentials and {} ns among 100,000.\n\
         * A key that answers 429 adds {} µs to the call, one that answers 500 adds {} µs; a second request by hand adds {} µs.\n\
         * The process takes {} MiB with one key and {} MiB with 100,000 (`ureq`: {}; `reqwest`, async: {}).\n",
        p50(Kind::Pool),
        p99(Kind::Pool),
        p50(Kind::Ureq),
        p99(Kind::Ureq),
        cpu(Kind::Pool),
        cpu(Kind::Ureq),
        cpu(Kind::ReqwestBlocking),
        cpu(Kind::ReqwestAsync),
        count(pick(10)),
        count(pick(100_000)),
        count(limited),
        count(broken),
        count(by_hand),
        memory(Kind::Pool, 1),
        memory(Kind::Pool, 100_000),
        memory(Kind::Ureq, 1),
        memory(Kind::ReqwestAsync, 1),
    );
    let _ = writeln!(
        text,
        "{}; {}; {}.",
        about.machine,
        about.versions(),
        about.date
    );
    text
}

fn header(callers: &[usize]) -> String {
    let name = |callers: &usize| match callers {
        1 => "1 thread".to_owned(),
        _ => callers.to_string(),
    };
    callers.iter().map(name).collect::<Vec<_>>().join(" | ")
}

/// A line for each way to call.
fn ratios(run: &Run, stream: bool) -> String {
    let mut text = String::from("| | pause | threads | `credpool`, calls a second |");
    for (_, name) in PEERS {
        let _ = write!(text, " by {name} |");
    }
    text.push_str("\n|---|---|--:|--:|--:|--:|--:|--:|\n");
    for (cell, figures) in run.cells.iter().filter(|(cell, _)| cell.stream == stream) {
        let Some(pool) = figures.get(&Kind::Pool) else {
            continue;
        };
        let _ = write!(
            text,
            "| {} | {} |",
            cell.name(),
            count(median(&pool.per_second))
        );
        for (kind, _) in PEERS {
            let ratio = figures.get(&kind).map(|peer| pool.beside(peer).to_string());
            let _ = write!(text, " {} |", ratio.unwrap_or_else(|| "–".to_owned()));
        }
        text.push('\n');
    }
    text
}

/// By more than a twentieth.
fn slower(run: &Run) -> String {
    let mut text = String::new();
    for (cell, figures) in &run.cells {
        let Some(pool) = figures.get(&Kind::Pool) else {
            continue;
        };
        for (kind, name) in PEERS {
            let Some(ratio) = figures.get(&kind).map(|peer| pool.beside(peer)) else {
                continue;
            };
            if ratio.median < 0.95 {
                let what = if cell.stream { "streams" } else { "calls" };
                let _ = writeln!(text, "| {what} | {} | {name} | {ratio} |", cell.name());
            }
        }
    }
    if text.is_empty() {
        return "Nowhere by more than a twentieth.\n".to_owned();
    }
    format!(
        "By more than a twentieth:\n\n| | | pause | threads | than | ratio |\n|---|---|---|--:|---|--:|\n{text}"
    )
}

fn sizes(run: &Run) -> String {
    let mut text = String::from("| calls a second | raw `ureq` |");
    for size in POOLS {
        let _ = write!(text, " {} credentials |", count(size as f64));
    }
    text.push_str("\n|---|--:|--:|--:|--:|\n");
    for figures in &run.pools {
        let raw = &figures.raw;
        let _ = write!(
            text,
            "| {} | {} |",
            header(&[figures.callers]),
            count(median(&raw.per_second))
        );
        for series in &figures.sizes {
            let _ = write!(
                text,
                " {}, by `ureq` {} |",
                count(median(&series.per_second)),
                series.beside(raw)
            );
        }
        text.push('\n');
    }
    text.push_str("| a pick alone, in ns | |");
    for (_, nanos) in &run.picks {
        let _ = write!(text, " {} |", count(median(nanos)));
    }
    text.push('\n');
    text
}

fn failovers(run: &Run) -> String {
    let mut text = String::from(
        "| µs, medians | without a failure | 429 adds | 500 adds |\n|---|--:|--:|--:|\n",
    );
    for (kind, [ordinary, ..]) in &run.failovers {
        let [limited, broken] = run.failover(*kind).unwrap_or([f64::NAN; 2]);
        let by_hand = if *kind == Kind::Ureq { ", by hand" } else { "" };
        let _ = writeln!(
            text,
            "| {}{by_hand} | {} | {} | {} |",
            kind.label(),
            count(percentile(ordinary, 50)),
            count(limited),
            count(broken)
        );
    }
    text
}

fn starts(run: &Run) -> String {
    let mut text = String::from(
        "| | keys | from the start to the first answer, ms | resident memory then, MiB |\n|---|--:|--:|--:|\n",
    );
    for ((kind, credentials), start) in &run.starts {
        let (credentials, memory) = (count(*credentials as f64), median(&start.mebibytes));
        let millis = median(&start.millis);
        let _ = writeln!(
            text,
            "| {} | {credentials} | {millis:.1} | {memory:.1} |",
            kind.label()
        );
    }
    text
}

fn every_figure(run: &Run) -> String {
    let mut text = String::from(
        "| | | pause | threads | client | calls a second | p50, µs | p99, µs | CPU a call, µs | upstream busy |\n\
         |---|---|---|--:|---|--:|--:|--:|--:|--:|\n",
    );
    for (cell, figures) in &run.cells {
        let what = if cell.stream { "streams" } else { "calls" };
        for (kind, series) in figures {
            let _ = writeln!(
                text,
                "| {what} | {} | {} | {} | {} | {} | {} | {:.0} % |",
                cell.name(),
                kind.label(),
                count(median(&series.per_second)),
                count(series.percentile(50)),
                count(series.percentile(99)),
                count(median(&series.cpu_micros)),
                100.0 * median(&series.upstream_busy),
            );
        }
    }
    text
}

pub(crate) fn charts(about: &About, run: &Run) -> Vec<(&'static str, Chart)> {
    let callers = run.callers();
    let mut kinds = vec![Kind::Pool];
    kinds.extend(PEERS.map(|(kind, _)| kind));
    kinds.retain(|kind| *kind != Kind::Litellm || about.litellm.is_some());
    let series: Vec<_> = kinds.iter().map(|kind| kind.label()).collect();
    let of = |kinds: &[Kind], figures: Option<&Figures>, figure: &dyn Fn(&Series) -> f64| {
        let of = |kind| Some(figure(figures?.get(kind)?));
        kinds.iter().map(of).collect::<Vec<_>>()
    };
    let (date, machine) = (&about.date, &about.machine);
    let by_callers = |stream| {
        let group = |callers: &usize| {
            let figures = run.find(stream, false, false, *callers);
            let name = header(&[*callers]);
            let name = if *callers == 1 {
                name
            } else {
                format!("{name} threads")
            };
            (
                name,
                of(&kinds, figures, &|series| median(&series.per_second)),
            )
        };
        callers.iter().map(group).collect::<Vec<_>>()
    };
    let chart = |title: &str, what: &str, series, groups| Chart {
        title: title.to_owned(),
        subtitle: format!("{what}. {machine}, {date}"),
        series,
        groups,
    };
    let busy = callers
        .iter()
        .copied()
        .find(|callers| *callers >= 8)
        .unwrap_or(1);
    // Beside the Router's bars no other could be seen.
    let native: Vec<_> = kinds
        .iter()
        .copied()
        .filter(|kind| *kind != Kind::Litellm)
        .collect();
    let native_series = native.iter().map(|kind| kind.label()).collect();
    let cpu = [
        ("a call", false, false),
        ("a call, TLS", false, true),
        ("a stream", true, false),
        ("a stream, TLS", true, true),
    ];
    let cpu = cpu.map(|(name, stream, tls)| {
        let figures = run.find(stream, tls, false, busy);
        (
            name.to_owned(),
            of(&native, figures, &|series| median(&series.cpu_micros)),
        )
    });
    let pools = run.pools.iter().map(|figures| {
        let all = std::iter::once(&figures.raw).chain(&figures.sizes);
        let rates = all.map(|series| Some(median(&series.per_second)));
        (header(&[figures.callers]), rates.collect())
    });
    let sizes = vec!["ureq, one key", "10 credentials", "1,000", "100,000"];
    vec![
        (
            "calls.svg",
            chart(
                "Calls a second",
                "HTTP, no pause",
                series.clone(),
                by_callers(false),
            ),
        ),
        (
            "streams.svg",
            chart(
                "Streams a second",
                "101 events each; HTTP, no pause",
                series,
                by_callers(true),
            ),
        ),
        (
            "cpu.svg",
            chart(
                "CPU, in microseconds",
                &format!("{busy} threads, no pause"),
                native_series,
                cpu.to_vec(),
            ),
        ),
        (
            "pool.svg",
            chart(
                "Calls a second, by the size of the pool",
                "HTTP, no pause",
                sizes,
                pools.collect(),
            ),
        ),
    ]
}
