//! What becomes of each fault, for every executor: the table that stands in the guide.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod executor_support;

use std::time::Duration;

use credpool::testing::conformance::{Event, ExecutorFixture};
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{Attempt, Error, SystemClock, Timeouts};

type Api = dyn ExecutorFixture;

type Fault = fn(&Api, &Gate) -> (Reply, Reply);

fn plain(api: &Api) -> Reply {
    Reply::json(200, api.reply("a"))
}

/// The events up to the first text.
fn begun(api: &Api) -> Vec<Event> {
    let mut events = api.stream_start();
    events.push(api.stream_piece("a"));
    events
}

fn stream(api: &Api) -> Reply {
    let mut events = begun(api);
    events.extend(api.stream_end());
    api.stream_of(events)
}

/// As [`begun`], and one more event.
fn with(api: &Api, event: Event) -> Reply {
    let mut events = begun(api);
    events.push(event);
    api.stream_of(events)
}

/// Into the stream's first event after the text.
fn within(api: &Api) -> usize {
    api.stream_of(begun(api)).size() + 9
}

fn error(api: &Api) -> String {
    api.error("It says why.")
}

fn error_event(api: &Api) -> Event {
    let named = api.error_in_stream("It says why.");
    named.unwrap_or_else(|| ("", error(api)))
}

const FAULTS: [(&str, Fault); 13] = [
    ("reset before the head", |api, _| {
        (plain(api).reset(), stream(api).reset())
    }),
    ("reset in the body", |api, _| {
        (
            plain(api).reset_after(9),
            stream(api).reset_after(within(api)),
        )
    }),
    ("FIN in a chunk", |api, _| {
        (
            plain(api).chunked().cut_after(9),
            stream(api).cut_after(within(api)),
        )
    }),
    ("cut, without length or chunks", |api, _| {
        let cut = |reply: Reply, at| reply.close_delimited().cut_after(at);
        (cut(plain(api), 9), cut(stream(api), within(api)))
    }),
    ("stall before the head", |api, gate| {
        (
            plain(api).stall_before_head(gate),
            stream(api).stall_before_head(gate),
        )
    }),
    ("stall in the body", |api, gate| {
        (
            plain(api).stall_after(9, gate),
            stream(api).stall_after(within(api), gate),
        )
    }),
    ("garbage JSON", |api, _| {
        (Reply::json(200, "{{"), with(api, ("", "{{".to_owned())))
    }),
    ("error in a 200, before content", |api, _| {
        (
            Reply::json(200, error(api)),
            api.stream_of(vec![error_event(api)]),
        )
    }),
    ("error in a 200, after content", |api, _| {
        (Reply::json(200, error(api)), with(api, error_event(api)))
    }),
    ("no end event", |api, _| {
        (Reply::json(200, ""), api.stream_of(begun(api)))
    }),
    ("event over its limit", |api, _| {
        let (name, large) = api.stream_piece(&"x".repeat(256 * 1024));
        let events = api.stream_of(vec![(name, large.clone())]);
        (Reply::json(500, large), events)
    }),
    ("headers of 1 MB", |api, _| {
        let large = "h".repeat(1024 * 1024);
        (
            plain(api).header("x-large", &large),
            stream(api).header("x-large", &large),
        )
    }),
    ("slow drip, a byte at a time", |api, gate| {
        gate.open();
        (
            plain(api).in_pieces(1).drip(gate),
            stream(api).in_pieces(1).drip(gate),
        )
    }),
];

/// Which of them another try would bring again, and whether in a stream.
const FINAL: [(&str, bool); 3] = [
    ("event over its limit", true),
    ("headers of 1 MB", false),
    ("headers of 1 MB", true),
];

/// What came out, in a word: `served`, or the error's code and status.
fn outcome(api: &Api, base_url: &str, fault: &str, streamed: bool) -> String {
    let second = Duration::from_secs(1);
    let timeouts = if streamed {
        Timeouts::new().with_first_chunk(second).with_idle(second)
    } else {
        Timeouts::new().with_total(2 * second)
    };
    let options = api.options().with_timeouts(timeouts);
    let options = options.with_event_limit(64 * 1024);
    let auth = api.credential(base_url, "canary-of-the-table");
    let auth = auth.with_id("team-a");
    let (executor, request) = (api.executor(), api.request());
    let attempt = Attempt::for_tests(SystemClock);
    let result = if streamed {
        let stream = executor.execute_stream(&attempt, &auth, &request, &options);
        stream.and_then(|stream| stream.collect::<Result<Vec<_>, _>>().map(drop))
    } else {
        let response = executor.execute(&attempt, &auth, &request, &options);
        response.map(drop)
    };
    let Err(error) = result else {
        return "served".to_owned();
    };
    assert!(
        !format!("{error} {error:?}").contains("canary"),
        "{error:?}"
    );
    assert_eq!(error.auth_id(), Some("team-a"), "{error}");
    let is_final = FINAL.contains(&(fault, streamed));
    assert_eq!(error.is_retryable(), !is_final, "{fault}: {error}");
    said(&error)
}

fn said(error: &Error) -> String {
    let status = error
        .http_status()
        .map_or_else(String::new, |status| format!(" {status}"));
    format!("`{}{status}`", error.code())
}

/// Each outcome once, with the names of those who had it where they differ.
fn cell(outcomes: &[(&'static str, String)]) -> String {
    let mut different: Vec<(&String, Vec<&str>)> = Vec::new();
    for (name, outcome) in outcomes {
        match different.iter_mut().find(|(known, _)| *known == outcome) {
            Some((_, names)) => names.push(name),
            None => different.push((outcome, vec![name])),
        }
    }
    if let [(outcome, _)] = different.as_slice() {
        return (*outcome).clone();
    }
    let parts = different
        .iter()
        .map(|(outcome, names)| format!("{outcome} ({})", names.join(", ")));
    parts.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_table_in_the_guide_is_what_comes_out() {
    let apis = executor_support::apis();
    let mut lines = vec![
        "| fault | plain call | stream |".to_owned(),
        "|---|---|---|".to_owned(),
    ];
    let mut line = |name: &str, cells: [Vec<(&'static str, String)>; 2]| {
        let [plain, streamed] = cells.map(|outcomes| cell(&outcomes));
        lines.push(format!("| {name} | {plain} | {streamed} |"));
    };
    let nowhere = Upstream::start(|_| Reply::new(200)).url();
    line(
        "connection refused",
        [false, true].map(|streamed| {
            let ask = |api: &Api| outcome(api, &nowhere, "connection refused", streamed);
            let apis = apis.iter();
            apis.map(|(name, api)| (*name, ask(&**api))).collect()
        }),
    );
    for (name, fault) in FAULTS {
        let cells = [false, true].map(|streamed| {
            let ask = |api: &Api| {
                let gate = Gate::new();
                let (plain, stream) = fault(api, &gate);
                let reply = if streamed { stream } else { plain };
                let upstream = Upstream::start(move |_| reply.clone());
                outcome(api, &upstream.url(), name, streamed)
            };
            let apis = apis.iter();
            apis.map(|(name, api)| (*name, ask(&**api))).collect()
        });
        line(name, cells);
    }
    let table = lines.join("\n");
    println!("{table}");
    let guide = include_str!("../src/guide/streams.md");
    assert!(
        guide.contains(&table),
        "the guide has another table than:\n{table}"
    );
}
