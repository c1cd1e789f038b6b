//! The executors of this crate keep what every executor promises.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod executor_support;

use credpool::testing::conformance::check_executor;
use credpool::testing::{Reply, Upstream};
use credpool::{Attempt, ErrorCode, SystemClock};

#[test]
fn chat_completions() {
    keeps_every_promise("chat completions");
}

#[test]
fn responses() {
    keeps_every_promise("Responses");
}

#[test]
fn messages() {
    keeps_every_promise("Anthropic");
}

#[test]
fn generate_content() {
    keeps_every_promise("Gemini");
}

#[test]
fn cohere() {
    keeps_every_promise("Cohere");
}

#[test]
fn gemini_on_vertex() {
    keeps_every_promise("Gemini on Vertex");
}

#[test]
fn claude_on_vertex() {
    keeps_every_promise("Claude on Vertex");
}

#[test]
fn bedrock_converse() {
    keeps_every_promise_that_applies("Bedrock Converse", &NO_ERROR_IN_A_REPLY);
}

#[test]
fn bedrock_invoke_model() {
    keeps_every_promise_that_applies("Bedrock InvokeModel", &NO_ERROR_IN_A_REPLY);
}

#[test]
fn bedrock_signed() {
    let skipped = [
        NO_ERROR_IN_A_REPLY[0],
        "another request gets the credential",
    ];
    keeps_every_promise_that_applies("Bedrock by signature", &skipped);
}

/// Its errors have an error's status, or are exceptions.
const NO_ERROR_IN_A_REPLY: [&str; 1] = ["an error inside a success is an error"];

fn keeps_every_promise(api: &str) {
    keeps_every_promise_that_applies(api, &[]);
}

fn keeps_every_promise_that_applies(api: &str, skipped: &[&str]) {
    let apis = executor_support::apis();
    let (_, fixture) = apis.iter().find(|(name, _)| *name == api).unwrap();
    let report = check_executor(&**fixture);
    println!("{report}");
    let found: Vec<_> = report
        .skipped
        .iter()
        .map(|(promise, _)| &**promise)
        .collect();
    assert_eq!(found, skipped);
}

/// The codes that stand in the guide, where an executor of another crate has a choice.
#[test]
fn what_is_no_stream_has_the_same_code_for_every_api() {
    for (name, api) in executor_support::apis() {
        let mut events = api.stream_start();
        events.push(api.stream_piece("a"));
        events.push(("", "[DONE]".to_owned()));
        let page = Reply::new(200).header("content-type", "text/html");
        for (reply, code) in [
            (api.stream_of(events), ErrorCode::StreamTruncated),
            (Reply::json(200, api.reply("a")), ErrorCode::StreamMalformed),
            (Reply::json(200, api.error("m")), ErrorCode::Upstream),
            (page.body("<html>"), ErrorCode::Upstream),
        ] {
            let upstream = Upstream::start(move |_| reply.clone());
            let result = api.executor().execute_stream(
                &Attempt::for_tests(SystemClock),
                &api.credential(&upstream.url(), "k"),
                &api.request(),
                &api.options(),
            );
            let items = result.and_then(Iterator::collect::<Result<Vec<_>, _>>);
            assert_eq!(*items.unwrap_err().code(), code, "{name}");
        }
    }
}
