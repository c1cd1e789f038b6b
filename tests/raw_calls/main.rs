//! Raw calls: any request of a provider's API, pooled like every other call.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod endpoints;

use std::io::{self, Cursor, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::testing::{Gate, Reply, ScriptedExecutor, Upstream};
use credpool::{
    Auth, CancelToken, Error, ErrorCode, FailurePolicy, Hook, Manager, Options, Outcome,
    OutcomeKind, ProviderExecutor, RawRequest, RequestBody, ResponseBody, Usage,
};
use http::Method;

const LONG: Duration = Duration::from_secs(20);

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<Told>>>);

/// Of which credential, how it ended, and what it used.
type Told = (String, &'static str, Option<Usage>);

impl Hook for Heard {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let kind = match outcome.kind {
            OutcomeKind::Success => "success",
            OutcomeKind::Failure(_) => "failure",
            _ => "abandoned",
        };
        let heard = (outcome.auth_id.to_owned(), kind, outcome.usage);
        self.0.lock().unwrap().push(heard);
    }
}

impl Heard {
    fn last(&self) -> Told {
        self.0.lock().unwrap().last().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Two keys of one provider; the first one that is asked gets a 429 where the upstream says so.
struct Pool {
    provider: String,
    manager: Manager,
    heard: Heard,
}

impl Pool {
    fn of(executor: impl ProviderExecutor + 'static, base_url: &str) -> Self {
        let provider = executor.identifier().to_owned();
        let heard = Heard::default();
        let manager = Manager::builder()
            .policy(FailurePolicy::default().without_waiting())
            .hook(heard.clone())
            .build()
            .unwrap();
        manager.register_executor(executor);
        for id in ["a", "b"] {
            let auth = Auth::api_key(&provider, format!("sk-canary-{id}"))
                .with_id(id)
                .with_attribute("base_url", base_url)
                .runtime_only();
            manager.register(auth).unwrap();
        }
        Self {
            provider,
            manager,
            heard,
        }
    }

    fn openai(upstream: &Upstream) -> Self {
        Self::of(OpenAi::new(), &format!("{}/v1", upstream.url()))
    }

    fn ask(&self, request: impl Into<RawRequest>) -> Result<http::Response<ResponseBody>, Error> {
        self.ask_with(request, &Options::new())
    }

    fn ask_with(
        &self,
        request: impl Into<RawRequest>,
        options: &Options,
    ) -> Result<http::Response<ResponseBody>, Error> {
        self.manager.execute_raw([&self.provider], request, options)
    }
}

fn text(answer: http::Response<ResponseBody>) -> String {
    let bytes = answer.into_body().into_bytes(1 << 20).unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn vendor(name: &str, upstream: &Upstream) -> Pool {
    match name {
        "openai" => Pool::openai(upstream),
        "anthropic" => Pool::of(Anthropic::new(), &upstream.url()),
        _ => Pool::of(Gemini::new(), &format!("{}/v1beta", upstream.url())),
    }
}

#[test]
fn a_request_is_taken_as_it_is_but_for_what_shows_a_credential() {
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    let pool = Pool::openai(&upstream);
    let request = http::Request::post("https://api.openai.com/v1/things?b=2&a=1")
        .header("authorization", "Bearer of-the-client")
        .header("x-api-key", "of-the-client")
        .header("cookie", "of-the-client")
        .header("connection", "x-hop")
        .header("x-hop", "of-the-client")
        .header("accept-encoding", "gzip")
        .header("x-twice", "1")
        .header("x-twice", "2")
        .header("user-agent", "mine")
        .body("{}")
        .unwrap();
    text(pool.ask(request).unwrap());
    let sent = &upstream.requests()[0];
    assert_eq!((&*sent.path, &*sent.query), ("/v1/things", "b=2&a=1"));
    assert!(sent.header("authorization").unwrap().contains("canary"));
    let headers = format!("{:?}", sent.headers);
    assert!(!headers.contains("of-the-client"), "{headers}");
    assert_eq!(sent.header("accept-encoding"), Some("identity"));
    assert_eq!(sent.header("user-agent"), Some("mine"));
    assert!(
        headers.contains("\"1\"") && headers.contains("\"2\""),
        "{headers}"
    );
    assert!(!headers.contains("content-type"), "{headers}");

    let pool = Pool::of(Gemini::new(), &upstream.url());
    let request = http::Request::get("/v1beta/models?key=of-the-client&pageSize=1")
        .body(())
        .unwrap();
    text(pool.ask(request).unwrap());
    assert_eq!(upstream.requests().last().unwrap().query, "pageSize=1");
}

#[test]
fn a_head_has_no_body_and_a_304_is_an_answer() {
    let upstream = Upstream::start(|request| match &*request.method {
        "HEAD" => Reply::new(200).header("x-size", "12"),
        _ => Reply::new(304).header("etag", "\"1\""),
    });
    let pool = Pool::openai(&upstream);
    let head = http::Request::head("/v1/files/file-1").body(()).unwrap();
    let answer = pool.ask(head).unwrap();
    assert_eq!(answer.headers()["x-size"], "12");
    assert_eq!(text(answer), "");
    let get = http::Request::get("/v1/files/file-1").header("if-none-match", "\"1\"");
    let answer = pool.ask(get.body(()).unwrap()).unwrap();
    assert_eq!(answer.status(), 304);
    assert_eq!(text(answer), "");
    for method in [Method::CONNECT, Method::TRACE] {
        let request = http::Request::builder()
            .method(method)
            .uri("/x")
            .body(())
            .unwrap();
        let error = pool.ask(request).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config, "{error}");
    }
    for path in ["/v1/../admin", "/v1/files/%2E%2e/x", "/./v1"] {
        let request = http::Request::get(path).body(()).unwrap();
        let error = pool.ask(request).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config, "{path}: {error}");
    }
    assert_eq!(upstream.request_count(), 2);
}

/// Answers the first request with a 429 and the others well.
fn refuses_first() -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::json(429, "{}").header("retry-after", "30"),
        _ => Reply::json(200, "{}"),
    })
}

fn upload(body: RequestBody) -> http::Request<RequestBody> {
    http::Request::post("/v1/files").body(body).unwrap()
}

#[test]
fn what_can_be_sent_once_is_sent_once() {
    let upstream = refuses_first();
    let pool = Pool::openai(&upstream);
    let error = pool
        .ask(upload(RequestBody::once(Cursor::new("abc"))))
        .unwrap_err();
    assert_eq!(error.http_status(), Some(429));
    assert_eq!(upstream.request_count(), 1);
    assert_eq!(upstream.requests()[0].body, "abc");
    assert_eq!(pool.heard.count(), 1);
    // The key was refused, as for any other call.
    let answer = pool
        .ask(upload(RequestBody::once(Cursor::new("abc")).with_length(3)))
        .unwrap();
    assert_ne!(answer.body().auth_id(), error.auth_id().unwrap());
    text(answer);
    let sent = &upstream.requests()[1];
    assert_eq!(sent.header("content-length"), Some("3"));
    assert_eq!(sent.body, "abc");
}

#[test]
fn what_is_opened_anew_fails_over_and_so_does_what_was_not_read_yet() {
    let upstream = refuses_first();
    let pool = Pool::openai(&upstream);
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let body = RequestBody::reopened(move || {
        count.fetch_add(1, Ordering::SeqCst);
        Ok(Cursor::new("abc"))
    });
    text(pool.ask(upload(body)).unwrap());
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    assert!(upstream.requests().iter().all(|sent| sent.body == "abc"));

    // A key whose address nobody listens at.
    let pool = Pool::openai(&upstream);
    let dead = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    {
        let id = "c";
        let auth = Auth::api_key("openai", "k").with_id(id);
        let auth = auth
            .with_attribute("base_url", format!("http://{dead}/v1"))
            .with_attribute("priority", "9");
        pool.manager.register(auth.runtime_only()).unwrap();
    }
    let answer = pool
        .ask(upload(RequestBody::once(Cursor::new("abc"))))
        .unwrap();
    assert!(["a", "b"].contains(&answer.body().auth_id()));
    text(answer);
    assert_eq!(upstream.requests().last().unwrap().body, "abc");
}

#[test]
fn a_body_that_cannot_be_read_is_held_against_no_credential() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    let pool = Pool::openai(&upstream);
    for body in [
        RequestBody::once(Broken),
        RequestBody::reopened(|| Ok(Broken)),
        RequestBody::reopened(|| Err::<Broken, _>(io::Error::other("the disk is gone"))),
    ] {
        let error = pool.ask(upload(body)).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config, "{error}");
        assert!(error.message().contains("the disk is gone"), "{error}");
    }
    let ready = pool.manager.explain("openai", "");
    assert!(
        ready
            .iter()
            .all(|one| one.availability == credpool::Availability::Ready),
        "{ready:?}"
    );
}

#[test]
fn the_permit_is_taken_until_the_body_was_read_or_dropped() {
    let upstream = Upstream::start(|_| Reply::json(200, r#"{"usage":{"prompt_tokens":1}}"#));
    let pool = Pool::openai(&upstream);
    for id in ["a", "b"] {
        let auth = pool.manager.get_by_id(id).unwrap();
        pool.manager
            .register((*auth).clone().with_attribute("max_concurrent", "1"))
            .unwrap();
    }
    let get = || http::Request::get("/v1/models").body(()).unwrap();
    let first = pool.ask(get()).unwrap();
    let second = pool.ask(get()).unwrap();
    assert_eq!(
        *pool.ask(get()).unwrap_err().code(),
        ErrorCode::LimitReached
    );
    let id = first.body().auth_id().to_owned();
    text(first);
    let third = pool.ask(get()).unwrap();
    assert_eq!(third.body().auth_id(), id);
    assert_eq!(
        *pool.ask(get()).unwrap_err().code(),
        ErrorCode::LimitReached
    );
    drop(second);
    let (_, kind, _) = pool.heard.last();
    assert_eq!(kind, "abandoned");
    text(pool.ask(get()).unwrap());
}

#[test]
fn a_cancel_or_a_drop_closes_the_connection_and_blames_nobody() {
    let gate = Gate::new();
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |_| {
            Reply::new(200)
                .body("x".repeat(1000))
                .stall_after(10, &gate)
        }
    });
    let pool = Pool::openai(&upstream);
    let get = || http::Request::get("/v1/files/f/content").body(()).unwrap();
    let ended = |drops: bool| {
        let token = CancelToken::new();
        let options = Options::new().with_cancel(token.clone());
        let mut body = pool.ask_with(get(), &options).unwrap().into_body();
        body.read_exact(&mut [0; 10]).unwrap();
        let began = Instant::now();
        if drops {
            drop(body);
        } else {
            let waits = std::thread::spawn(move || body.read(&mut [0; 10]));
            token.cancel();
            let error = ResponseBody::error_in(waits.join().unwrap().unwrap_err());
            assert_eq!(*error.code(), ErrorCode::Cancelled, "{error}");
        }
        assert!(upstream.wait_abandoned(LONG));
        let took = began.elapsed();
        assert_eq!(pool.heard.last().1, "abandoned");
        took
    };
    for drops in [true, false] {
        // A machine that is busy may be late now and then.
        let fastest = (0..10).map(|_| ended(drops)).min().unwrap();
        assert!(fastest < Duration::from_millis(50), "{drops}: {fastest:?}");
    }
    let late = Options::new().with_timeout(Duration::from_millis(50));
    let error = match pool.ask_with(get(), &late) {
        Ok(answer) => answer.into_body().into_bytes(1 << 20).unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(*error.code(), ErrorCode::DeadlineExceeded, "{error}");
    let ready = pool.manager.explain("openai", "");
    assert!(
        ready
            .iter()
            .all(|one| one.availability == credpool::Availability::Ready),
        "{ready:?}"
    );
}

#[test]
fn comments_and_ids_of_events_come_as_they_are_and_while_the_stream_waits() {
    let pieces = [
        ": OPENROUTER PROCESSING\n\n",
        "id: 7\r\nretry: 500\r\nevent: delta\r\ndata: {}\r\n\r\n",
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n",
        "data: [DONE]\n\n",
    ];
    let gate = Gate::new();
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::start({
        let gate = gate.clone();
        move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::json(429, "{}").header("retry-after", "30"),
            _ => Reply::sse([""; 0])
                .body(pieces.concat())
                .stall_after(pieces[0].len(), &gate),
        }
    });
    let pool = Pool::openai(&upstream);
    let request = http::Request::post("/v1/chat/completions").body(r#"{"stream":true}"#);
    let mut body = pool.ask(request.unwrap()).unwrap().into_body();
    assert_eq!(body.attempts(), 2);
    let mut first = vec![0; pieces[0].len()];
    body.read_exact(&mut first).unwrap();
    assert_eq!(first, pieces[0].as_bytes());
    gate.open();
    assert_eq!(body.into_bytes(1 << 20).unwrap(), pieces[1..].concat());
    let (_, kind, usage) = pool.heard.last();
    assert_eq!((kind, usage), ("success", Some(Usage::new(3, 4))));
}

/// Whoever passes an answer on loses its client with the last byte, and asks for no more.
#[test]
fn an_answer_that_was_read_to_its_announced_length_has_ended_well() {
    let upstream = Upstream::start(|_| Reply::json(200, r#"{"usage":{"prompt_tokens":1}}"#));
    let pool = Pool::openai(&upstream);
    let get = || http::Request::get("/v1/models").body(()).unwrap();
    for round in 1..=4 {
        let token = CancelToken::new();
        let options = Options::new().with_cancel(token.clone());
        let answer = pool.ask_with(get(), &options).unwrap();
        let length = answer.headers()["content-length"].to_str().unwrap();
        let mut whole = vec![0; length.parse().unwrap()];
        let mut body = answer.into_body();
        body.read_exact(&mut whole).unwrap();
        token.cancel();
        assert_eq!(pool.heard.count(), round);
        let (_, kind, usage) = pool.heard.last();
        assert_eq!((kind, usage), ("success", Some(Usage::new(1, 0))));
        assert_eq!(body.read(&mut [0]).unwrap(), 0);
        assert_eq!(body.usage(), usage);
        drop(body);
        assert_eq!(pool.heard.count(), round);
    }
    assert_eq!(upstream.connections_opened(), 1);
}

#[test]
fn a_body_that_is_cut_is_an_error_that_is_told_once() {
    let upstream = Upstream::start(|_| {
        Reply::new(200)
            .body("x".repeat(100))
            .content_length()
            .cut_after(50)
    });
    let pool = Pool::openai(&upstream);
    let get = http::Request::get("/v1/files/f/content").body(()).unwrap();
    let mut body = pool.ask(get).unwrap().into_body();
    let mut read = Vec::new();
    let error = ResponseBody::error_in(body.read_to_end(&mut read).unwrap_err());
    assert_eq!(read.len(), 50);
    assert!(
        error.code() == ErrorCode::Transport || error.code() == ErrorCode::StreamTruncated,
        "{error}"
    );
    assert!(error.auth_id().is_some());
    drop(body);
    assert_eq!(pool.heard.count(), 1);
    assert_eq!(pool.heard.last().1, "failure");
}

#[test]
fn a_limit_of_the_caller_is_not_the_credentials_fault() {
    let upstream = Upstream::start(|_| Reply::new(200).body("x".repeat(100)));
    let pool = Pool::openai(&upstream);
    let get = || http::Request::get("/v1/files/f/content").body(()).unwrap();
    let error = pool
        .ask(get())
        .unwrap()
        .into_body()
        .into_bytes(99)
        .unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Upstream);
    assert!(!error.is_retryable());
    assert_eq!(
        pool.ask(get())
            .unwrap()
            .into_body()
            .into_bytes(100)
            .unwrap()
            .len(),
        100
    );
}

#[test]
fn who_makes_no_raw_calls_says_so_and_the_next_provider_is_asked() {
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    let pool = Pool::openai(&upstream);
    pool.manager
        .register_executor(ScriptedExecutor::new("plain"));
    pool.manager
        .register(Auth::api_key("plain", "k").with_id("p").runtime_only())
        .unwrap();
    let get = || http::Request::get("/v1/models").body(()).unwrap();
    let error = pool
        .manager
        .execute_raw(["plain"], get(), &Options::new())
        .unwrap_err();
    assert_eq!(*error.code(), ErrorCode::Unsupported, "{error}");
    for _ in 0..4 {
        let answer = pool
            .manager
            .execute_raw(["plain", "openai"], get(), &Options::new())
            .unwrap();
        assert_eq!(answer.body().provider(), "openai");
    }
}
