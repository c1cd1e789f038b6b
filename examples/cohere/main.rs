//! An executor for a vendor that the crate has none for: `cargo run --example cohere`.
//!
//! `executor.rs` is all that an author writes. `tests/seams.rs` holds it to the promises of every executor.

mod executor;

use credpool::provider::http::HttpExecutor;
use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{Auth, Manager, Options, Request};
use executor::Cohere;
use serde_json::json;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let upstream = Upstream::start(serve);
    let manager = Manager::builder().build()?;
    manager.register_executor(HttpExecutor::of(Cohere));
    for key in ["busy", "healthy"] {
        let auth = Auth::api_key("cohere", key).with_id(key);
        // Without this attribute, the vendor's own address.
        manager.register(auth.with_attribute("base_url", upstream.url()))?;
    }
    let payload = r#"{"model":"command-a","messages":[{"role":"user","content":"Hello"}]}"#;
    let request = Request::new("command-a", payload);
    let response = manager.execute(["cohere"], &request, &Options::new())?;
    println!("{:?} from {}", response.reply_text, response.auth_id);
    assert_eq!(response.reply_text.as_deref(), Some("Hello!"));
    let stream = manager.execute_stream(["cohere"], &request, &Options::new())?;
    let chunks = stream.collect::<Result<Vec<_>, _>>()?;
    let texts: Vec<_> = chunks
        .iter()
        .filter_map(|chunk| chunk.text.as_deref())
        .collect();
    println!("streamed: {texts:?}");
    assert_eq!(texts, ["Hel", "lo!"]);
    Ok(())
}

/// What stands for the vendor here.
fn serve(request: &ReceivedRequest) -> Reply {
    if request.bearer() == Some("busy") {
        return Reply::json(429, r#"{"message":"you are calling too fast"}"#);
    }
    let usage = json!({"tokens": {"input_tokens": 1, "output_tokens": 2}});
    if request.json()["stream"] != true {
        let message = json!({"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]});
        let reply = json!({"finish_reason": "COMPLETE", "message": message, "usage": usage});
        return Reply::json(200, reply.to_string());
    }
    let piece = |text: &str| {
        let delta = json!({"message": {"content": {"text": text}}});
        json!({"type": "content-delta", "index": 0, "delta": delta}).to_string()
    };
    let end =
        json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}});
    Reply::sse([piece("Hel"), piece("lo!"), end.to_string()])
}
