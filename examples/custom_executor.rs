//! A provider that the library does not know: `cargo run --example custom_executor`.
//!
//! An invented API: `POST` of `{"text", "stream"}`, with the key in `x-acme-key`. Its executor is all that a program has to
//! write: choosing credentials, failing over, deadlines, cancelling and cooldowns come with the pool.

use credpool::provider::{SseEvent, SseReader};
use credpool::testing::{ReceivedRequest, Reply, Upstream};
use credpool::{
    Attempt, Auth, Body, ChunkSource, Error, ErrorCode, Limits, Manager, Options, ProviderExecutor,
    Request, RequestPreparer, Response, StreamChunk,
};
use http::{HeaderValue, request::Parts};
use serde_json::{Value, json};

struct Acme;
const END: &str = r#"{"end":true}"#;

#[rustfmt::skip] // One line for each signature.
impl ProviderExecutor for Acme {
    fn identifier(&self) -> &'static str {
        "acme"
    }

    fn execute(&self, attempt: &Attempt, auth: &Auth, request: &Request, options: &Options) -> Result<Response, Error> {
        let limits = attempt.call_limits(&options.timeouts);
        let payload = self.post(attempt, auth, request, &limits)?.into_bytes(1024 * 1024)?;
        let text = text_of(&payload, "said")?;
        Ok(Response::new(payload).with_reply_text(text))
    }

    fn execute_stream(&self, attempt: &Attempt, auth: &Auth, request: &Request, options: &Options) -> Result<ChunkSource, Error> {
        let limits = attempt.stream_limits(&options.timeouts);
        let mut events = SseReader::new(self.post(attempt, auth, request, &limits)?);
        Ok(Box::new(std::iter::from_fn(move || match events.next_event() {
            Ok(Some(event)) if event.data == END => None,
            Ok(Some(event)) => Some(chunk(event)),
            // The end is an event of this API: a stream that stops without it is not whole.
            Ok(None) => Some(Err(Error::new(ErrorCode::StreamTruncated, "no end event came"))),
            Err(error) => Some(Err(error)),
        })))
    }

    fn count_tokens(&self, _: &Attempt, _: &Auth, _: &Request, _: &Options) -> Result<Response, Error> {
        Err(Error::new(ErrorCode::Unsupported, "this API does not count tokens"))
    }

    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        Some(self)
    }
}

impl RequestPreparer for Acme {
    fn prepare_request(&self, request: &mut Parts, auth: &Auth) -> Result<(), Error> {
        let key = auth.attributes.get("api_key").unwrap_or_default();
        // No message holds the key itself, and no debug form of the request either.
        let mut key = HeaderValue::from_str(key)
            .map_err(|_| Error::new(ErrorCode::Config, "the key does not fit into a header"))?;
        key.set_sensitive(true);
        request.headers.insert("x-acme-key", key);
        Ok(())
    }
}

impl Acme {
    /// Sends the payload; an answer without success becomes an error that the policy judges by its status.
    fn post(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        limits: &Limits,
    ) -> Result<Body, Error> {
        let url = auth.attributes.get("base_url");
        let request = http::Request::post(url.unwrap_or("https://acme.example/say"))
            .header("content-type", "application/json")
            .body(request.payload.clone())
            .map_err(|_| Error::new(ErrorCode::Config, "base_url is not a URL"))?;
        let (mut head, body) = request.into_parts();
        self.prepare_request(&mut head, auth)?;
        let answer = attempt.send(auth, http::Request::from_parts(head, body), limits)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        // This API never echoes a key; where one does, cut it out here.
        let body = answer.into_body().into_bytes(64 * 1024)?;
        Err(Error::upstream(
            status.as_u16(),
            String::from_utf8_lossy(&body),
        ))
    }
}

fn chunk(event: SseEvent) -> Result<StreamChunk, Error> {
    let text = text_of(&event.data, "word")?;
    Ok(StreamChunk::new(event.data).with_text(text))
}

fn text_of(json: &[u8], member: &str) -> Result<String, Error> {
    let json: Value = serde_json::from_slice(json).unwrap_or_default();
    let text = json[member].as_str().map(str::to_owned);
    text.ok_or_else(|| Error::new(ErrorCode::Upstream, "not what this API documents"))
}

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
