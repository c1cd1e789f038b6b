//! A provider that the library does not know: `cargo run --example custom_executor`.
//!
//! `executor.rs` is all that a program has to write: choosing credentials, failing over, deadlines, cancelling and cooldowns come with
//! the pool. `tests/seams.rs` holds it to the promises of every executor. For an API that answers in JSON and events, `src/provider/cohere` is
//! shorter.

mod executor;

use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{Auth, Manager, Options, Request};
use executor::{Acme, END};
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let upstream = Upstream::start(serve);
    let manager = Manager::builder().build()?;
    manager.register_executor(Acme);
    for key in ["busy", "healthy"] {
        let auth = Auth::api_key("acme", key).with_id(key);
        manager.register(auth.with_attribute("base_url", upstream.url()))?;
    }
    let (whole, options) = (r#"{"text":"hello there"}"#, Options::new());
    let streamed = r#"{"text":"hello there","stream":true}"#;
    let response = manager.execute(["acme"], &Request::new("parrot", whole), &options)?;
    let said = response.reply_text.unwrap_or_default();
    println!(
        "{said:?} from {}, the second that was tried",
        response.auth_id
    );
    assert_eq!((said.as_str(), response.attempts), ("hello there", 2));
    let mut words = Vec::new();
    for chunk in manager.execute_stream(["acme"], &Request::new("parrot", streamed), &options)? {
        words.extend(chunk?.text);
    }
    println!("streamed: {words:?}");
    assert_eq!(words, ["hello ", "there"]);
    // The pool's credential in a request that the program sends by itself.
    let (mut head, ()) = http::Request::new(()).into_parts();
    manager.inject_credentials(&mut head, "healthy")?;
    println!("injected: {:?}", head.headers);
    assert_eq!(head.headers["x-acme-key"], "healthy");
    Ok(())
}

/// What stands for the vendor here.
fn serve(request: &ReceivedRequest) -> Reply {
    let asked = request.json();
    let text = asked["text"].as_str().unwrap_or_default();
    if request.header("x-acme-key") == Some("busy") {
        return Reply::json(429, r#"{"problem":"too many requests"}"#);
    }
    if asked["stream"] != true {
        return Reply::json(200, json!({"said": text}).to_string());
    }
    let words = text.split_inclusive(' ');
    let events = words.map(|word| json!({"word": word}).to_string());
    Reply::sse(events.chain([END.to_owned()]))
}
