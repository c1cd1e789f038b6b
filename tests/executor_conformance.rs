//! The executors of this crate keep what every executor promises.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod executor_support;

use credpool::testing::conformance::check_executor;

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

fn keeps_every_promise(api: &str) {
    let apis = executor_support::apis();
    let (_, fixture) = apis.iter().find(|(name, _)| *name == api).unwrap();
    let report = check_executor(&**fixture);
    println!("{report}");
    assert_eq!(report.skipped, []);
}
