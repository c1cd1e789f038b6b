//! What becomes of each fault, for every executor: the table that stands in the guide.
//!
//! The answers are those that the vendors document: <https://platform.openai.com/docs/api-reference/chat>,
//! <https://platform.openai.com/docs/api-reference/responses>, <https://docs.anthropic.com/en/api/messages>,
//! <https://ai.google.dev/api/generate-content>.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::time::Duration;

use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{Attempt, Auth, Error, Options, ProviderExecutor, Request, SystemClock, Timeouts};
use serde_json::{Value, json};

/// One API: who calls it, and how it says things.
struct Api {
    name: &'static str,
    executor: Box<dyn ProviderExecutor>,
    alt: Option<&'static str>,
    /// A whole answer.
    plain: Value,
    /// A piece of a stream that is content, and the end of a stream.
    piece: fn(&str) -> String,
    end: Vec<String>,
    /// An error, as a body and as an event.
    error: Value,
}

fn apis() -> Vec<Api> {
    fn chat(text: &str) -> String {
        event(&json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
    }
    fn response(text: &str) -> String {
        event(&json!({"type": "response.output_text.delta", "delta": text}))
    }
    fn message(text: &str) -> String {
        let delta = json!({"type": "text_delta", "text": text});
        named(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
    }
    fn generate(text: &str) -> String {
        event(&json!({"candidates": [{"index": 0, "content": {"parts": [{"text": text}]}}]}))
    }
    let output = json!([{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]);
    let completed =
        json!({"id": "r", "object": "response", "status": "completed", "output": output});
    let finished = json!({"candidates": [{"index": 0, "content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]});
    vec![
        Api {
            name: "chat completions",
            executor: Box::new(OpenAi::named("p")),
            alt: None,
            plain: json!({"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]}),
            piece: chat,
            end: vec![
                event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})),
                "data: [DONE]\n\n".to_owned(),
            ],
            error: json!({"error": {"message": "It says why.", "type": "server_error", "code": "server_error"}}),
        },
        Api {
            name: "Responses",
            executor: Box::new(OpenAi::named("p")),
            alt: Some("responses"),
            plain: completed.clone(),
            piece: response,
            end: vec![event(
                &json!({"type": "response.completed", "response": completed}),
            )],
            error: json!({"error": {"message": "It says why.", "type": "server_error", "code": "server_error"}}),
        },
        Api {
            name: "Anthropic",
            executor: Box::new(Anthropic::named("p")),
            alt: None,
            plain: json!({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "a"}], "stop_reason": "end_turn"}),
            piece: message,
            end: vec![
                named(&json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}})),
                named(&json!({"type": "message_stop"})),
            ],
            error: json!({"type": "error", "error": {"type": "overloaded_error", "message": "It says why."}}),
        },
        Api {
            name: "Gemini",
            executor: Box::new(Gemini::named("p")),
            alt: None,
            plain: finished.clone(),
            piece: generate,
            end: vec![event(&finished)],
            error: json!({"error": {"code": 503, "message": "It says why.", "status": "UNAVAILABLE"}}),
        },
    ]
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

fn named(data: &Value) -> String {
    format!(
        "event: {}\ndata: {data}\n\n",
        data["type"].as_str().unwrap()
    )
}

fn events(parts: &[&str]) -> Reply {
    Reply::new(200)
        .header("content-type", "text/event-stream")
        .body(parts.concat())
        .chunked()
}

type Fault = fn(&Api, &Gate) -> (Reply, Reply);

fn plain(api: &Api) -> Reply {
    Reply::json(200, api.plain.to_string())
}

fn stream(api: &Api) -> Reply {
    let first = (api.piece)("a");
    let mut parts = vec![first.as_str()];
    parts.extend(api.end.iter().map(String::as_str));
    events(&parts)
}

/// Into the stream's second event.
fn within(api: &Api) -> usize {
    (api.piece)("a").len() + 9
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
        let first = (api.piece)("a");
        (Reply::json(200, "{{"), events(&[&first, "data: {{\n\n"]))
    }),
    ("error in a 200, before content", |api, _| {
        let error = api.error.to_string();
        (Reply::json(200, error), events(&[&event(&api.error)]))
    }),
    ("error in a 200, after content", |api, _| {
        let first = (api.piece)("a");
        (
            Reply::json(200, api.error.to_string()),
            events(&[&first, &event(&api.error)]),
        )
    }),
    ("no end event", |api, _| {
        let first = (api.piece)("a");
        (Reply::json(200, ""), events(&[&first]))
    }),
    ("event over its limit", |api, _| {
        let large = (api.piece)(&"x".repeat(256 * 1024));
        (Reply::json(500, large.clone()), events(&[&large]))
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

/// What came out, in a word: `served`, or the error's code and status.
fn outcome(api: &Api, base_url: &str, streamed: bool) -> String {
    let second = Duration::from_secs(1);
    let timeouts = if streamed {
        Timeouts::new().with_first_chunk(second).with_idle(second)
    } else {
        Timeouts::new().with_total(2 * second)
    };
    let mut options = Options::new().with_timeouts(timeouts);
    options.alt = api.alt.map(str::to_owned);
    options.event_limit = Some(64 * 1024);
    let auth = Auth::api_key("p", "canary-of-the-table")
        .with_id("team-a")
        .with_attribute("base_url", base_url);
    let request = Request::new("m", r#"{"model":"m","messages":[],"contents":[]}"#);
    let attempt = Attempt::for_tests(SystemClock);
    let result = if streamed {
        let stream = api
            .executor
            .execute_stream(&attempt, &auth, &request, &options);
        stream.and_then(|stream| stream.collect::<Result<Vec<_>, _>>().map(drop))
    } else {
        let response = api.executor.execute(&attempt, &auth, &request, &options);
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
    let apis = apis();
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
            let ask = |api: &Api| (api.name, outcome(api, &nowhere, streamed));
            apis.iter().map(ask).collect()
        }),
    );
    for (name, fault) in FAULTS {
        let cells = [false, true].map(|streamed| {
            let ask = |api: &Api| {
                let gate = Gate::new();
                let (plain, stream) = fault(api, &gate);
                let reply = if streamed { stream } else { plain };
                let upstream = Upstream::start(move |_| reply.clone());
                (api.name, outcome(api, &upstream.url(), streamed))
            };
            apis.iter().map(ask).collect()
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
