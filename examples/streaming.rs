//! A stream as it arrives, with limits, a progress tick and a cancel: `cargo run --example streaming`.
//!
//! It runs against a server on loopback. With `OPENAI_API_KEY` set, the first stage streams from that account instead;
//! `OPENAI_BASE_URL` and `OPENAI_MODEL` change where and what.

use std::env;
use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{Auth, ErrorCode, Manager, Options, Request, StreamEvent, Timeouts};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let gate = Gate::new();
    let upstream = loopback(&gate);
    let manager = Manager::builder().build()?;
    manager.register_executor(OpenAi::new());
    let (auth, model) = match env::var("OPENAI_API_KEY") {
        Ok(key) => {
            let base_url = env::var("OPENAI_BASE_URL").unwrap_or_default();
            let auth = Auth::api_key("openai", key).with_attribute("base_url", base_url);
            let model = env::var("OPENAI_MODEL").unwrap_or_else(|_| "gpt-5-mini".to_owned());
            (auth, model)
        }
        Err(_) => {
            let auth = Auth::api_key("openai", "key-on-loopback");
            (
                auth.with_attribute("base_url", upstream.url()),
                "whole".to_owned(),
            )
        }
    };
    manager.register(auth.with_id("mine").runtime_only())?;
    let on_loopback = Auth::api_key("loopback", "key-on-loopback").with_id("loopback");
    manager.register_executor(OpenAi::named("loopback"));
    manager.register(on_loopback.with_attribute("base_url", upstream.url()))?;

    // Each attempt has these limits; the call as a whole has one too.
    let timeouts = Timeouts::new()
        .with_connect(Duration::from_secs(5))
        .with_first_chunk(Duration::from_secs(60))
        .with_idle(Duration::from_secs(30));
    let options = Options::new()
        .with_timeouts(timeouts)
        .with_timeout(Duration::from_secs(300));

    println!("1. A stream as it arrives");
    let stream = manager.execute_stream(["openai"], &chat(&model), &options)?;
    println!("   {} serves it:", stream.auth_id());
    print!("   ");
    let mut usage = None;
    for chunk in stream {
        let chunk = chunk?;
        print!("{}", chunk.text.unwrap_or_default());
        stdout().flush()?;
        usage = chunk.usage.or(usage);
    }
    println!();
    if let Some(usage) = usage {
        println!("   {} tokens in, {} out", usage.input, usage.output);
    }

    println!("2. A tick while nothing comes, then a cancel in mid-stream");
    let mut stream = manager.execute_stream(["loopback"], &chat("slow"), &options)?;
    let mut ticks = 0;
    let ended = loop {
        match stream.recv_timeout(Duration::from_millis(100)) {
            StreamEvent::Chunk(chunk) => println!("   {:?}", chunk.text.unwrap_or_default()),
            StreamEvent::Pending if ticks < 3 => {
                ticks += 1;
                println!("   … still waiting");
            }
            StreamEvent::Pending => {
                println!("   enough: cancelled");
                stream.cancel();
            }
            StreamEvent::Failed(error) => break error,
            other => return Err(format!("a cancelled stream did not say so: {other:?}").into()),
        }
    };
    check(
        *ended.code() == ErrorCode::Cancelled,
        "a cancel shows as an error of its own",
    )?;
    check(
        upstream.wait_abandoned(Duration::from_secs(10)),
        "the connection is closed, so that nobody pays for the rest",
    )?;

    println!("3. A stream that is cut never looks like one that ended");
    let mut text = String::new();
    let mut failure = None;
    for chunk in manager.execute_stream(["loopback"], &chat("cut"), &options)? {
        match chunk {
            Ok(chunk) => text += &chunk.text.unwrap_or_default(),
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.ok_or("a cut stream ended without an error")?;
    println!("   {text:?}, and then: {failure}");
    check(
        *failure.code() == ErrorCode::StreamTruncated && failure.is_retryable(),
        "the error is the last item, and says that trying again can help",
    )?;
    println!("All stages did what they should.");
    Ok(())
}

fn chat(model: &str) -> Request {
    let payload = json!({
        "model": model,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "Say hello in five words."}],
    });
    Request::new(model, payload.to_string())
}

/// A server whose model `whole` answers, `slow` stops for as long as the gate is closed, and `cut` loses the connection.
fn loopback(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    let words = ["Hello", " from", " a", " loopback", " server."];
    let delta = |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    let mut events: Vec<_> = words.map(|word| delta(word).to_string()).into();
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 5}});
    events.extend([end.to_string(), usage.to_string(), "[DONE]".to_owned()]);
    Upstream::start(move |request| {
        let reply = Reply::sse(&events);
        let two_events = 2 * "data: \n\n".len() + events[0].len() + events[1].len();
        match request.json()["model"].as_str() {
            Some("slow") => reply.stall_after(two_events, &gate),
            Some("cut") => reply.close_delimited().cut_after(two_events),
            _ => reply,
        }
    })
}

fn check(holds: bool, what: &str) -> Result<(), Box<dyn Error>> {
    if !holds {
        return Err(format!("this should hold: {what}").into());
    }
    println!("   ✓ {what}");
    Ok(())
}
