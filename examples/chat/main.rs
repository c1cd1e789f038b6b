//! A conversation in a terminal, streamed, with a tool, over all keys of two vendors: `cargo run --example chat`.
//!
//! Ctrl-C ends an answer that is under way: what came of it stays in the conversation. At the prompt it ends the program, as the end of
//! the input does.
//!
//! The keys are in `OPENAI_API_KEY` and `ANTHROPIC_API_KEY`, several separated by commas; `OPENAI_BASE_URL` and `ANTHROPIC_BASE_URL` change
//! where they are used. Without keys, a server on loopback answers.

mod conversation;
mod loopback;

use std::env;
use std::error::Error as StdError;
use std::io::{Write, stdin, stdout};
use std::process;
use std::sync::Arc;

use credpool::provider::{Anthropic, OpenAi};
use credpool::{
    Affinity, Auth, CancelToken, Clock, Error, ErrorCode, Manager, Options, RoundRobin,
    SystemClock, ToolCall,
};
use parking_lot::Mutex;
use serde_json::Value;
use time::UtcOffset;

use self::conversation::Conversation;

fn main() -> Result<(), Box<dyn StdError>> {
    env_logger::init();
    // A vendor caches a conversation for the key that sent it.
    let manager = Manager::builder()
        .selector(Affinity::new(RoundRobin::new()))
        .build()?;
    manager.register_executor(OpenAi::new());
    manager.register_executor(Anthropic::new());
    register_keys(&manager, "openai", "OPENAI")?;
    register_keys(&manager, "anthropic", "ANTHROPIC")?;
    let stand_in = loopback::start();
    if manager.list().is_empty() {
        let auth = Auth::api_key("openai", "sk-loopback");
        manager.register(auth.with_attribute("base_url", stand_in.url()))?;
    }

    let under_way = Arc::new(Mutex::new(None::<CancelToken>));
    ctrlc::set_handler({
        let under_way = Arc::clone(&under_way);
        move || {
            let answer = under_way.lock().take();
            let Some(answer) = answer else {
                println!();
                process::exit(130);
            };
            answer.cancel();
        }
    })?;

    let mut conversation = Conversation::default();
    loop {
        print!("> ");
        stdout().flush()?;
        let mut line = String::new();
        if stdin().read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            continue;
        }
        conversation.said(line.trim());
        let cancel = CancelToken::new();
        *under_way.lock() = Some(cancel.clone());
        let options = Options::new()
            .with_cancel(cancel)
            .with_session_key("the only one");
        let answered = answer(&manager, &mut conversation, &options);
        under_way.lock().take();
        match answered {
            Ok(()) => println!(),
            Err(error) if error.code() == ErrorCode::Cancelled => println!(" [interrupted]"),
            Err(error) => {
                println!(" [{error}]");
                if let Some(exhaustion) = error.exhaustion() {
                    println!("{exhaustion}");
                }
            }
        }
    }
}

/// Prints what the model says, and uses the tool for it, until it has said all.
fn answer(
    manager: &Manager,
    conversation: &mut Conversation,
    options: &Options,
) -> Result<(), Error> {
    loop {
        let mut text = String::new();
        let ended = print_stream(manager, conversation, options, &mut text);
        let calls = ended.as_deref().unwrap_or_default();
        let results: Vec<_> = calls.iter().map(|call| (call, use_tool(call))).collect();
        conversation.answered(&text, &results);
        if ended?.is_empty() {
            return Ok(());
        }
    }
}

/// The tool calls that the model asks for at the end of its text.
fn print_stream(
    manager: &Manager,
    conversation: &Conversation,
    options: &Options,
    text: &mut String,
) -> Result<Vec<ToolCall>, Error> {
    let mut deltas = Vec::new();
    let request = conversation.request();
    for chunk in manager.execute_stream(["openai"], &request, options)? {
        let chunk = chunk?;
        let piece = chunk.text.unwrap_or_default();
        print!("{piece}");
        stdout().flush().map_err(Error::other)?;
        text.push_str(&piece);
        deltas.extend(chunk.tool_calls);
    }
    Ok(ToolCall::join(deltas))
}

/// The result of a tool, or what is wrong with the call: the model reads either.
fn use_tool(call: &ToolCall) -> String {
    println!(" [{} {}]", call.name, call.arguments);
    let arguments = serde_json::from_str::<Value>(&call.arguments).unwrap_or_default();
    let hours = arguments["utc_offset"].as_i64().unwrap_or(i64::MAX);
    let offset = i8::try_from(hours).map(|hours| UtcOffset::from_hms(hours, 0, 0));
    match (call.name.as_str(), offset) {
        ("current_time", Ok(Ok(offset))) => SystemClock.now().to_offset(offset).to_string(),
        ("current_time", _) => "utc_offset must be whole hours from -25 to 25".to_owned(),
        (name, _) => format!("there is no tool {name}"),
    }
}

/// The keys in the environment.
fn register_keys(manager: &Manager, provider: &str, vendor: &str) -> Result<(), Error> {
    let variable = |name| env::var(format!("{vendor}_{name}")).unwrap_or_default();
    let (keys, base_url) = (variable("API_KEY"), variable("BASE_URL"));
    for (number, key) in (1..).zip(keys.split_terminator(',')) {
        let auth = Auth::api_key(provider, key.trim()).with_id(format!("{provider}-{number}"));
        manager.register(auth.with_attribute("base_url", &base_url))?;
    }
    Ok(())
}
