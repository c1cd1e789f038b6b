//! A gateway on loopback: `/v1/*` for OpenAI and Anthropic and `/v1beta/*` for Gemini, over one pool of credentials.
//!
//! `cargo run --example gateway` shows a few requests against a server of its own; `cargo run --example gateway -- 127.0.0.1:8080 DIRECTORY`
//! serves with the credential files of a directory until it is ended. Each `NAME=MODEL,MODEL` behind them is a chain of models. `/` is a page that shows credentials, cooldowns and usage, `/health`
//! says whether anything can be served.
//!
//! What it proves: raw calls pass on whatever the vendors' own SDKs send, errors have the form that these understand, and a client that goes
//! away ends the work upstream.

mod http;
mod models;
mod status;

use std::error::Error as StdError;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ::http::header::ORIGIN;
use ::http::{Request, Response};
use bytes::Bytes;
use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::testing::{KeyBehaviour, OpenAiUpstream};
use credpool::{
    Auth, CancelToken, Error, FileStore, Format, Manager, Options, RawRequest, RequestBody,
    ResponseBody,
};

use self::http::Client;
use self::status::Status;

type Failure = Box<dyn StdError + Send + Sync>;

/// What all connections share.
struct Gateway {
    manager: Manager,
    status: Status,
}

fn main() -> Result<(), Failure> {
    let status = Status::default();
    let builder = Manager::builder().hook(status.clone());
    let mut arguments = std::env::args().skip(1);
    let Some(address) = arguments.next() else {
        return show(Gateway::new(builder.build()?, status));
    };
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let chains = arguments.filter_map(|chain| {
        let (name, links) = chain.split_once('=')?;
        Some((
            name.to_owned(),
            links.split(',').map(str::to_owned).collect(),
        ))
    });
    let builder = chains.fold(builder, |builder, (name, links): (String, Vec<String>)| {
        builder.model_chain(name, links)
    });
    let manager = builder.store(FileStore::open(directory)?).build()?;
    println!("{:?}", manager.load()?);
    manager.start_auto_refresh(Duration::from_secs(60))?;
    serve(&TcpListener::bind(address)?, &Gateway::new(manager, status))
}

impl Gateway {
    fn new(manager: Manager, status: Status) -> Arc<Self> {
        manager.register_executor(OpenAi::new());
        manager.register_executor(Anthropic::new());
        manager.register_executor(Gemini::new());
        Arc::new(Self { manager, status })
    }

    /// A call of the pool, cancelled when the client goes.
    fn call(
        &self,
        provider: &str,
        request: Request<RequestBody>,
        cancel: &CancelToken,
    ) -> Result<Response<ResponseBody>, Error> {
        let options = Options::new().with_cancel(cancel.clone());
        let request = RawRequest::from(request).with_named_model();
        self.manager.execute_raw([provider], request, &options)
    }
}

/// A thread for each connection.
fn serve(listener: &TcpListener, gateway: &Arc<Gateway>) -> Result<(), Failure> {
    println!("http://{}", listener.local_addr()?);
    for stream in listener.incoming().flatten() {
        let gateway = Arc::clone(gateway);
        thread::spawn(move || {
            if let Err(error) = converse(stream, &gateway) {
                log::debug!("a connection ended: {error}");
            }
        });
    }
    Ok(())
}

fn converse(stream: TcpStream, gateway: &Gateway) -> io::Result<()> {
    let mut client = Client::new(stream)?;
    while let Some(request) = client.request()? {
        if let Some(page) = gateway.status.page(&gateway.manager, request.uri().path()) {
            client.say(page)?;
            continue;
        }
        let provider = provider_of(&request);
        let format = Format::new(provider);
        if request.headers().contains_key(ORIGIN) {
            // A page of another site in a browser on this machine, which may not spend what is another's.
            let refused = Error::upstream(403, "The gateway serves no web pages.");
            client.say(refused.to_http_response(&format))?;
            continue;
        }
        let cancel = CancelToken::new();
        let _watch = client.watch(&cancel)?;
        let is_list = models::is_list(&request);
        let names = is_list.then(|| models::own_names(&gateway.manager, provider));
        let names = names.unwrap_or_default();
        match gateway.call(provider, request, &cancel) {
            Ok(list) if !names.is_empty() && list.status() == 200 => {
                match models::with_own(list, provider, &names) {
                    Ok(list) => client.say(list)?,
                    Err(error) => client.say(error.to_http_response(&format))?,
                }
            }
            Ok(answer) if says_stream(&answer) => {
                let last = |error| ResponseBody::error_in(error).to_sse_event(&format);
                client.answer(answer, last)?;
            }
            Ok(answer) => client.answer(answer, |_| Bytes::new())?,
            Err(_) if cancel.is_cancelled() => return Ok(()),
            Err(error) => client.say(error.to_http_response(&format))?,
        }
    }
    client.close()
}

/// Anthropic's clients name the version of its API in a header, Gemini's show their key in one of its own.
fn provider_of(request: &Request<RequestBody>) -> &'static str {
    let (path, headers) = (request.uri().path(), request.headers());
    if headers.contains_key("anthropic-version") {
        "anthropic"
    } else if headers.contains_key("x-goog-api-key") || path.contains("/v1beta/") {
        "gemini"
    } else {
        "openai"
    }
}

fn says_stream(answer: &Response<ResponseBody>) -> bool {
    let media_type = answer.headers().get("content-type");
    let media_type = media_type.and_then(|value| value.to_str().ok());
    media_type.is_some_and(|value| value.contains("event-stream"))
}

/// A few requests against a server of its own, whose first key is out of quota.
fn show(gateway: Arc<Gateway>) -> Result<(), Failure> {
    let upstream = OpenAiUpstream::start();
    upstream.set_key("sk-1", KeyBehaviour::QuotaUsedUp);
    upstream.set_key("sk-2", KeyBehaviour::Serve);
    for (id, key) in [("first", "sk-1"), ("second", "sk-2")] {
        let auth = Auth::api_key("openai", key).with_id(id);
        let auth = auth.with_attribute("base_url", upstream.base_url());
        gateway.manager.register(auth)?;
    }
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || serve(&listener, &gateway).map_err(|error| eprintln!("{error}")));
    let chat = r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hello"}]}"#;
    let mut answer = ureq::post(format!("{url}/v1/chat/completions")).send(chat)?;
    println!("{}", answer.body_mut().read_to_string()?);
    for path in ["/health", "/status.json"] {
        let mut answer = ureq::get(format!("{url}{path}")).call()?;
        println!("{path}: {}", answer.body_mut().read_to_string()?);
    }
    Ok(())
}
