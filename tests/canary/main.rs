//! Secrets that must be nowhere: not in what errors and types print, not in log lines, not in what a hook could render, not in what the client of
//! a gateway is told, not in files outside the store, not on another host. Each has marks at both ends, so that a piece of one shows, too.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod raw;
mod sealed;
mod shown;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Gate, ReceivedRequest, Reply, Upstream, service_account_file};
use credpool::{
    Affinity, Attempt, Auth, Candidate, Candidates, ChunkSource, Error, ErrorCode, FileStore, Hook,
    JsonLines, Listing, Manager, MemoryStore, OAuthTokens, Options, Outcome, ProviderExecutor,
    RawAnswer, RawRequest, Request, Response, ResponseHead, RoundRobin, Selector, Store,
    StreamChunk, SystemClock, Timeouts,
};
use serde_json::json;

use self::shown::{
    ACCESS_TOKEN, API_KEY, CALL_HEADER, CLIENT_SECRET, HEADER, PRIVATE_KEY, PROXY_PASSWORD,
    REFRESH_TOKEN, ROTATED_ACCESS, ROTATED_REFRESH, begin, check, note, say, show, show_auth,
    show_error,
};

const LONG: Duration = Duration::from_secs(20);

/// Renders all that it hears.
struct Renders;

impl Hook for Renders {
    fn on_auth_registered(&self, auth: &Auth) {
        show_auth(auth);
    }

    fn on_auth_updated(&self, auth: &Auth) {
        show_auth(auth);
    }

    fn on_auth_removed(&self, auth: &Auth) {
        show_auth(auth);
    }

    fn on_result(&self, outcome: &Outcome<'_>) {
        show(outcome);
        outcome.error().into_iter().for_each(show_error);
        outcome.cause().into_iter().for_each(show_error);
    }
}

/// Notes the lines of a log.
struct Says;

impl std::io::Write for Says {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        note(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Renders what it chooses from.
struct RendersCandidates;

impl Selector for RendersCandidates {
    fn pick(
        &self,
        candidates: &Candidates<'_>,
        options: &Options,
    ) -> Result<Option<Candidate>, Error> {
        show(candidates);
        show(options);
        let picked = candidates.after(None);
        show(&picked);
        Ok(picked)
    }
}

fn key_auth(base_url: &str) -> Auth {
    Auth::api_key("openai", API_KEY)
        .with_id("key")
        .with_attribute("base_url", base_url)
        .with_attribute("count_tokens_path", "/count")
        .with_attribute("header:x-team-key", HEADER)
}

fn login(base_url: &str, client_auth: &str) -> Auth {
    let tokens = OAuthTokens::new(ACCESS_TOKEN).with_refresh_token(REFRESH_TOKEN);
    show(&tokens);
    Auth::oauth("openai", tokens)
        .with_id("login")
        .with_attribute("base_url", base_url)
        .with_attribute("token_url", format!("{base_url}/token"))
        .with_attribute("count_tokens_path", "/count")
        .with_attribute("client_id", "app")
        .with_attribute("client_secret", CLIENT_SECRET)
        .with_attribute("client_auth", client_auth)
}

fn robot(base_url: &str) -> Auth {
    let file = service_account_file(&format!("{base_url}/token"));
    Auth::service_account("openai", &file)
        .unwrap()
        .with_id("robot")
        .with_metadata("access_token", ACCESS_TOKEN)
        .with_attribute("base_url", base_url)
        .with_attribute("count_tokens_path", "/count")
        .with_attribute("header:x-team-key", HEADER)
}

fn options() -> Options {
    Options::new()
        .with_header("x-trace", CALL_HEADER)
        .unwrap()
        .with_timeouts(Timeouts::new().with_connect(Duration::from_millis(300)))
}

fn request() -> Request {
    Request::new("gpt-5", r#"{"messages":[]}"#)
}

fn manager(store: impl Store + 'static) -> Manager {
    begin();
    let builder = Manager::builder()
        .store(store)
        .hook((Renders, JsonLines::new(Says)))
        .selector(RendersCandidates)
        .policy(credpool::FailurePolicy::empty())
        .proxy("");
    show(&builder);
    let manager = builder.build().unwrap();
    manager.register_executor(OpenAi::new());
    manager
}

/// Every kind of call, and all that comes of it. Returns how many failed.
fn call_all(manager: &Manager) -> usize {
    let mut failures = 0;
    let mut failed = |error: &Error| {
        show_error(error);
        failures += 1;
    };
    let (request, options) = (request(), options());
    show(&request);
    show(&options);
    // Of one model each: what one of them does to the credential is not in the way of the next.
    let model = |name: &str| Request::new(name, request.payload.clone());
    for answer in [
        manager.execute(["openai"], &model("a"), &options),
        manager.execute_count(["openai"], &model("b"), &options),
        manager
            .submit(["openai"], model("c"), options.clone())
            .and_then(|handle| {
                show(&handle);
                handle.wait()
            }),
    ] {
        match answer {
            Ok(response) => show(&response),
            Err(error) => failed(&error),
        }
    }
    match manager.execute_stream(["openai"], &model("d"), &options) {
        Ok(stream) => {
            show(&stream);
            for item in stream {
                match item {
                    Ok(chunk) => show(&chunk),
                    Err(error) => failed(&error),
                }
            }
        }
        Err(error) => failed(&error),
    }
    raw::call_each(manager, &options);
    let stats = manager.stats();
    show(&stats);
    say(&serde_json::to_value(&stats).unwrap());
    for auth in manager.list() {
        show_auth(&auth);
        let (mut head, ()) = http::Request::get("https://api.openai.com/v1/models")
            .body(())
            .unwrap()
            .into_parts();
        match manager.inject_credentials(&mut head, &auth.id) {
            Ok(()) => show(&head),
            Err(error) => show_error(&error),
        }
        // What stands in the way of the next round goes.
        manager.remove(&auth.id).unwrap();
    }
    show(manager);
    failures
}

/// All that a credential put into a request, as a careless server writes it into its error messages.
fn secrets_in(request: &ReceivedRequest) -> String {
    let headers = request.headers.iter();
    let headers = headers.filter(|(name, _)| *name != "x-trace");
    let texts = headers.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned());
    texts.collect::<Vec<_>>().join(" ") + &String::from_utf8_lossy(&request.body)
}

fn escaped(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    units.collect()
}

#[test]
fn an_upstream_that_echoes_everything() {
    type Echo = fn(&str) -> Reply;
    let echoes: [(&str, Echo); 13] = [
        ("text", |text| Reply::new(400).body(text.to_owned())),
        ("JSON", |text| {
            Reply::json(
                401,
                json!({"error": {"message": text, "code": text, "type": text}}).to_string(),
            )
        }),
        ("JSON, escaped", |text| {
            Reply::json(
                429,
                format!(r#"{{"error":{{"message":"{}"}}}}"#, escaped(text)),
            )
        }),
        ("OAuth's form", |text| {
            Reply::json(
                403,
                json!({"error": text, "error_description": text}).to_string(),
            )
        }),
        ("in pieces", |text| {
            Reply::json(500, json!({"error": {"message": text}}).to_string())
                .chunked()
                .in_pieces(5)
        }),
        ("cut", |text| {
            Reply::new(502)
                .body(text.to_owned())
                .cut_after(text.len() / 2)
        }),
        ("long", |text| {
            Reply::new(503).body("x".repeat(64 * 1024 - 100) + text)
        }),
        ("error in 200", |text| {
            Reply::json(200, json!({"error": {"message": text}}).to_string())
        }),
        ("web page", |text| {
            Reply::new(200)
                .header("content-type", "text/html")
                .body(format!("<p>{text}</p>"))
        }),
        ("hints", |text| {
            Reply::new(429)
                .header("retry-after", text)
                .header("x-request-id", text)
        }),
        ("head of a good answer", |text| {
            Reply::json(200, "{}")
                .header("x-echo", text)
                .header("set-cookie", text)
        }),
        ("event", |text| {
            Reply::sse([json!({"error": {"message": text, "code": text}}).to_string()])
        }),
        ("not an event", |text| Reply::sse([text])),
    ];
    for (name, echo) in echoes {
        let upstream = Upstream::start(move |request| echo(&secrets_in(request)));
        for auth in [
            key_auth(&upstream.url()),
            login(&upstream.url(), "body"),
            robot(&upstream.url()),
        ] {
            let manager = manager(MemoryStore::new());
            let id = manager.register(auth).unwrap().id.clone();
            if id != "key" {
                show_error(&manager.refresh_now(&id).unwrap_err());
            }
            let before = upstream.request_count();
            assert_eq!(call_all(&manager), 4, "{name}");
            assert!(upstream.request_count() - before >= 3, "{name}");
        }
    }
    check();
}

#[test]
fn a_stream_that_breaks_in_every_way() {
    let delta =
        |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}]}).to_string();
    let gate = Gate::new();
    let breaks: [Reply; 5] = [
        Reply::sse([delta("a"), "[DONE]".to_owned()]),
        Reply::sse([delta("a"), delta("b")]).cut_after(60),
        Reply::sse([delta("a"), delta("b")]).reset_after(60),
        Reply::sse([delta("a"), "not JSON".to_owned()]),
        Reply::sse([delta("a")]).stall_after(5, &gate),
    ];
    for reply in breaks {
        let upstream = Upstream::start(move |_| reply.clone());
        let manager = manager(MemoryStore::new());
        manager.register(key_auth(&upstream.url())).unwrap();
        let limits = Timeouts::new()
            .with_first_chunk(Duration::from_millis(200))
            .with_idle(Duration::from_millis(200));
        match manager.execute_stream(["openai"], &request(), &options().with_timeouts(limits)) {
            Ok(mut stream) => loop {
                let event = stream.recv();
                show(&event);
                match event {
                    credpool::StreamEvent::Chunk(_) => {}
                    credpool::StreamEvent::Failed(error) => break show_error(&error),
                    _ => break,
                }
            },
            Err(error) => show_error(&error),
        }
        manager.list().iter().for_each(|auth| show_auth(auth));
    }
    check();
}

#[test]
fn a_redirect_takes_nothing_along() {
    let elsewhere = Upstream::start(|_| Reply::json(200, "{}"));
    for status in [301, 302, 303, 307, 308] {
        let target = elsewhere.url();
        let upstream = Upstream::start(move |request| {
            Reply::new(status)
                .header("location", &format!("{target}{}", request.path))
                .body(secrets_in(request))
        });
        for auth in [
            key_auth(&upstream.url()),
            login(&upstream.url(), "basic"),
            robot(&upstream.url()),
        ] {
            let manager = manager(MemoryStore::new());
            let id = manager.register(auth).unwrap().id.clone();
            if id != "key" {
                show_error(&manager.refresh_now(&id).unwrap_err());
            }
            assert_eq!(call_all(&manager), 4);
        }
    }
    assert_eq!(
        (elsewhere.request_count(), elsewhere.connections_opened()),
        (0, 0)
    );
    check();
}

#[test]
fn refreshes_that_fail_and_that_succeed() {
    type Answer = fn(&str) -> Reply;
    let answers: [(bool, Answer); 7] = [
        (false, |text| {
            Reply::json(
                400,
                json!({"error": "invalid_grant", "error_description": text}).to_string(),
            )
        }),
        (false, |text| {
            Reply::json(401, json!({"error": text}).to_string())
        }),
        (false, |text| {
            Reply::json(400, format!(r#"{{"error":"{}"}}"#, escaped(text)))
        }),
        (false, |text| Reply::new(500).body(text.to_owned())),
        (false, |text| {
            Reply::json(200, json!({"said": text}).to_string())
        }),
        (false, |text| Reply::new(200).body(text.to_owned())),
        (true, |_| {
            let tokens = json!({"access_token": ROTATED_ACCESS, "refresh_token": ROTATED_REFRESH, "expires_in": 3600});
            Reply::json(200, tokens.to_string())
        }),
    ];
    for (succeeds, answer) in answers {
        for kind in ["body", "basic", "nonsense", "robot"] {
            let upstream = Upstream::start(move |request| {
                // Encoded as it came, and decoded.
                let own = match kind {
                    "robot" => PRIVATE_KEY.join("\n"),
                    _ => format!("{REFRESH_TOKEN}{CLIENT_SECRET}"),
                };
                let text = secrets_in(request) + &own;
                match request.path.as_str() {
                    "/token" => answer(&text),
                    _ => Reply::new(500).body(secrets_in(request)),
                }
            });
            let manager = manager(MemoryStore::new());
            let auth = match kind {
                "robot" => robot(&upstream.url()),
                client_auth => login(&upstream.url(), client_auth),
            };
            let id = manager.register(auth).unwrap().id.clone();
            match manager.refresh_now(&id) {
                Ok(auth) => {
                    assert!(succeeds);
                    let metadata = auth.metadata.as_ref().unwrap();
                    assert_eq!(metadata.text("access_token"), Some(ROTATED_ACCESS));
                    show_auth(&auth);
                }
                Err(error) => {
                    assert!(!succeeds || kind == "nonsense", "{error}");
                    show_error(&error);
                }
            }
            call_all(&manager);
        }
    }
    check();
}

#[test]
fn proxies_that_fail() {
    // It refuses every login, and says which one.
    let proxy = Upstream::start(|request| Reply::new(407).body(secrets_in(request)));
    let at = proxy.address();
    let upstream = Upstream::start(|_| Reply::json(200, "{}"));
    let urls = [
        format!("http://user:{PROXY_PASSWORD}@{at}"),
        format!("socks5h://user:{PROXY_PASSWORD}@{at}"),
        format!("socks4://user:{PROXY_PASSWORD}@{at}"),
        format!("http://user:{PROXY_PASSWORD}@127.0.0.1:1"),
        format!("socks5://user:{PROXY_PASSWORD}@127.0.0.1:1"),
        format!("bogus://user:{PROXY_PASSWORD}@{at}"),
        format!("http://user:{PROXY_PASSWORD}@host:port"),
        format!("user:{PROXY_PASSWORD}@{at}"),
        format!("http://{PROXY_PASSWORD} {PROXY_PASSWORD}@"),
        PROXY_PASSWORD.to_owned(),
    ];
    for url in urls {
        let auth = key_auth("https://api.example.invalid/v1").with_proxy_url(url.clone());
        let own = manager(MemoryStore::new());
        match own.register(auth) {
            Ok(_) => {
                let robot = robot("https://api.example.invalid/v1").with_proxy_url(url.clone());
                own.register(robot).unwrap();
                show_error(&own.refresh_now("robot").unwrap_err());
                assert_eq!(
                    call_all(&own),
                    4,
                    "a proxy that does not work is not gone around"
                );
            }
            Err(refused) => show_error(&refused),
        }
        let builder = Manager::builder()
            .proxy(url)
            .hook(Renders)
            .policy(credpool::FailurePolicy::default().without_waiting());
        show(&builder);
        let global = builder.build().unwrap();
        global.register_executor(OpenAi::new());
        global
            .register(key_auth("https://api.example.invalid/v1"))
            .unwrap();
        call_all(&global);
    }
    assert_eq!(upstream.request_count(), 0);
    check();
}

/// Panics everywhere, with a secret each time.
struct Panics;

impl ProviderExecutor for Panics {
    fn identifier(&self) -> &'static str {
        "openai"
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        show(attempt);
        panic!("{}", auth.attributes.get("api_key").unwrap());
    }

    fn execute_stream(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        let auth = auth.clone();
        let mut chunks = vec![StreamChunk::new("{}")].into_iter();
        Ok(Box::new(std::iter::from_fn(move || {
            let secret = || auth.attributes.get("api_key").unwrap();
            Some(Ok(chunks.next().unwrap_or_else(|| panic!("{}", secret()))))
        })))
    }

    fn count_tokens(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        std::panic::panic_any(auth.attributes.get("api_key").unwrap().to_owned());
    }

    fn execute_raw(
        &self,
        _: &Attempt,
        auth: &Auth,
        _: &RawRequest,
        _: &Options,
    ) -> Result<RawAnswer, Error> {
        let secret = auth.attributes.get("api_key").unwrap().to_owned();
        Ok(RawAnswer::new(
            ResponseHead::new(http::StatusCode::OK),
            raw::Panics(secret),
        ))
    }

    fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        let metadata = auth.metadata.as_ref().unwrap();
        panic!(
            "{:?} {:?}",
            metadata.text("refresh_token"),
            metadata.text("private_key")
        );
    }
}

/// A store that fails, or panics, with the secret that it was to save.
struct Fails {
    panics: bool,
}

impl Store for Fails {
    fn list(&self) -> Result<Listing, Error> {
        Ok(Listing::default())
    }

    fn save(&self, auth: &Auth) -> Result<String, Error> {
        assert!(
            !self.panics,
            "{}",
            auth.attributes.get("header:x-team-key").unwrap()
        );
        Err(Error::new(ErrorCode::Store, "the disk is full"))
    }

    fn delete(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn panics_and_failing_stores() {
    begin();
    // What they panic with is the program's own: none of it may come back from the library.
    let manager = manager(MemoryStore::new());
    manager.register_executor(Panics);
    manager.register(key_auth("http://127.0.0.1:1")).unwrap();
    manager
        .register(login("http://127.0.0.1:1", "body").with_attribute("api_key", API_KEY))
        .unwrap();
    let robot = robot("http://127.0.0.1:1").with_attribute("api_key", API_KEY);
    manager.register(robot).unwrap();
    for id in ["login", "robot"] {
        show_error(&manager.refresh_now(id).unwrap_err());
    }
    assert_eq!(call_all(&manager), 4);
    for panics in [false, true] {
        let failing = self::manager(Fails { panics });
        show_error(
            &failing
                .register(key_auth("http://127.0.0.1:1"))
                .unwrap_err(),
        );
        assert!(failing.list().is_empty());
    }
    check();
}

#[test]
fn a_store_of_files() {
    begin();
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("store");
    let upstream = Upstream::start(|request| match request.path.as_str() {
        "/token" => {
            let tokens = json!({"access_token": ROTATED_ACCESS, "refresh_token": ROTATED_REFRESH, "expires_in": 3600});
            Reply::json(200, tokens.to_string())
        }
        _ => Reply::json(
            429,
            json!({"error": {"message": secrets_in(request)}}).to_string(),
        ),
    });
    {
        let store = FileStore::open(&directory).unwrap();
        show(&store);
        let manager = manager(store);
        let key = manager
            .register(key_auth(&upstream.url()).with_proxy_url(""))
            .unwrap();
        let login = manager.register(login(&upstream.url(), "basic")).unwrap();
        manager.register(robot(&upstream.url())).unwrap();
        for id in ["login", "robot"] {
            manager.refresh_now(id).unwrap();
        }
        let proxy = format!("http://user:{PROXY_PASSWORD}@127.0.0.1:1");
        manager
            .update((*key).clone().with_proxy_url(proxy))
            .unwrap();
        show_error(
            &manager
                .execute(["openai"], &request(), &options())
                .unwrap_err(),
        );
        manager.set_disabled(&login.id, true).unwrap();
        manager.shutdown(LONG).unwrap();
    }
    assert!(
        files(&directory)
            .iter()
            .any(|text| text.contains("leftNewRefresh")),
        "the store keeps secrets"
    );
    for (name, text) in [
        ("cut.json", json!({"id": "cut", "type": "openai", "access_token": ACCESS_TOKEN}).to_string()[..70].to_owned()),
        ("text.json", ACCESS_TOKEN.to_owned()),
        ("list.json", json!([API_KEY]).to_string()),
        ("types.json", json!({"id": "types", "provider": "openai", "disabled": API_KEY, "attributes": API_KEY, "metadata": [API_KEY]}).to_string()),
        ("times.json", json!({"id": "times", "provider": "openai", "created_at": API_KEY, "status": API_KEY}).to_string()),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
    let manager = manager(FileStore::open(&directory).unwrap());
    let report = manager.load().unwrap();
    show(&report);
    report.skipped.iter().for_each(|skipped| say(skipped));
    assert!(
        report.loaded >= 2 && !report.skipped.is_empty(),
        "{report:?}"
    );
    manager.list().iter().for_each(|auth| show_auth(auth));
    // Where the directory should be there is a file now: nothing can be saved.
    fs::remove_dir_all(&directory).unwrap();
    fs::write(&directory, "").unwrap();
    show_error(
        &manager
            .register(key_auth(&upstream.url()).with_id("late"))
            .unwrap_err(),
    );
    for id in ["login", "robot"] {
        match manager.refresh_now(id) {
            Ok(auth) => show_auth(&auth),
            Err(error) => show_error(&error),
        }
    }
    manager.shutdown(LONG).ok();
    fs::remove_file(&directory).ok();
    for text in files(root.path()) {
        note(text);
    }
    check();
}

/// What is in the files below a directory, and what they are called.
fn files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.push(path.display().to_string());
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());
        }
    }
    found
}

#[test]
fn types_that_hold_secrets() {
    begin();
    let selector: Arc<dyn Selector> = Arc::new(RoundRobin::new());
    show(&Affinity::new(selector));
    show(&MemoryStore::new());
    show(&OpenAi::new());
    show_auth(&key_auth("https://llm.example"));
    show_auth(&robot("https://llm.example"));
    show(&Response::new("{}").with_metadata([("token", API_KEY)].into_iter().collect()));
    show(&request().with_metadata([("token", API_KEY)].into_iter().collect()));
    let mut options = options();
    options.query = vec![("key".to_owned(), API_KEY.to_owned())];
    options.metadata = Some([("token", API_KEY)].into_iter().collect());
    show(&options);
    let attempt = Attempt::for_tests(SystemClock);
    show(&attempt);
    let upstream = Upstream::start(|request| Reply::new(200).body(secrets_in(request)));
    let request = http::Request::post(upstream.url()).header("x-api-key", API_KEY);
    let auth = key_auth(&upstream.url());
    let limits = attempt.call_limits(&Timeouts::new());
    let request = request.body(bytes::Bytes::from(API_KEY)).unwrap();
    let answer = attempt.send(&auth, request, &limits).unwrap();
    show(answer.body());
    let error = answer.into_body().into_bytes(1).unwrap_err();
    show_error(&error);
    show(&upstream);
}
