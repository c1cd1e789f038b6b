//! Serves the metrics of a pool as Prometheus' text, from one thread, without an async runtime:
//! `cargo run --example metrics --features metrics`, then `curl http://127.0.0.1:9464/metrics`.
//!
//! Without an account, its calls go to an upstream on loopback. With `OPENAI_API_KEYS` (separated by commas) they go to those accounts;
//! `OPENAI_BASE_URL` and `OPENAI_MODEL` change where and what, `METRICS_ADDRESS` where the text is served. `--once` makes its calls, prints
//! the text and ends.

mod recorder;

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use credpool::metrics::Metrics;
use credpool::provider::OpenAi;
use credpool::testing::{KeyBehaviour, OpenAiUpstream};
use credpool::{Auth, ChunkStream, Manager, Options, Request, Usage};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let prometheus = recorder::install()?;
    let metrics = Arc::new(Metrics::new());
    let manager = Manager::builder()
        .hook(Arc::clone(&metrics))
        .price(|_, _, usage| Some(price(usage)))
        .build()?;
    manager.register_executor(OpenAi::new());
    let _upstream = add_credentials(&manager)?;
    let text = {
        let manager = manager.clone();
        move || {
            metrics.publish(&manager.stats());
            prometheus.render()
        }
    };
    if env::args().any(|argument| argument == "--once") {
        (0..10).for_each(|_| call(&manager));
        print!("{}", text());
        return Ok(());
    }
    let address = env::var("METRICS_ADDRESS").unwrap_or_else(|_| "127.0.0.1:9464".to_owned());
    let listener = TcpListener::bind(&address)?;
    println!("http://{}/metrics", listener.local_addr()?);
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            if let Err(error) = answer(&connection, &text) {
                eprintln!("a scrape failed: {error}");
            }
        }
    });
    loop {
        call(&manager);
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// For a million tokens: 1.25 in, a tenth of that from a cache, 10 out.
#[expect(clippy::cast_precision_loss, reason = "no answer has that many tokens")]
fn price(usage: &Usage) -> f64 {
    let fresh = usage.input.saturating_sub(usage.cached) as f64;
    (1.25 * fresh + 0.125 * usage.cached as f64 + 10.0 * usage.output as f64) / 1e6
}

fn call(manager: &Manager) {
    let model = env::var("OPENAI_MODEL").unwrap_or_else(|_| "gpt-5-mini".to_owned());
    let payload = json!({"model": model, "messages": [{"role": "user", "content": "Hello"}]});
    let request = Request::new(model, payload.to_string());
    let options = Options::new().with_timeout(Duration::from_secs(60));
    let plain = manager.execute(["openai"], &request, &options);
    let stream = manager.execute_stream(["openai"], &request, &options);
    let streamed = stream.and_then(ChunkStream::collect_response);
    for error in [plain, streamed].into_iter().filter_map(Result::err) {
        eprintln!("{error}");
    }
}

/// The accounts that the environment names, or two keys of an upstream on loopback, one of which is limited.
fn add_credentials(manager: &Manager) -> Result<Option<OpenAiUpstream>, Box<dyn Error>> {
    if let Ok(keys) = env::var("OPENAI_API_KEYS") {
        for (number, key) in (1..).zip(keys.split(',')) {
            let mut auth = Auth::api_key("openai", key).with_id(format!("key-{number}"));
            if let Ok(base_url) = env::var("OPENAI_BASE_URL") {
                auth = auth.with_attribute("base_url", base_url);
            }
            manager.register(auth)?;
        }
        return Ok(None);
    }
    let upstream = OpenAiUpstream::start();
    upstream.set_key("limited", KeyBehaviour::RateLimited { retry_after: 20 });
    upstream.set_key("healthy", KeyBehaviour::Serve);
    for key in ["limited", "healthy"] {
        let auth = Auth::api_key("openai", key).with_id(format!("key-{key}"));
        manager.register(auth.with_attribute("base_url", upstream.base_url()))?;
    }
    Ok(Some(upstream))
}

/// One request, one answer. Scrapes come one after the other.
fn answer(mut connection: &TcpStream, text: &impl Fn() -> String) -> std::io::Result<()> {
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = BufReader::new(connection).lines();
    let request = head.next().transpose()?.unwrap_or_default();
    while head
        .next()
        .transpose()?
        .is_some_and(|line| !line.is_empty())
    {}
    let (status, body) = match request.split(' ').nth(1) {
        Some("/metrics") => ("200 OK", text()),
        _ => ("404 Not Found", "see /metrics\n".to_owned()),
    };
    write!(
        connection,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
