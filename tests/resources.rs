//! Resource affinity: what one account has made is asked of that account, and of no other.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod account_support;

use std::collections::BTreeSet;
use std::time::Duration;

use account_support::{Accounts, KEYS, ask, request};
use credpool::provider::{Anthropic, Gemini, OpenAi};
use credpool::{
    Builder, Error, ErrorCode, FailurePolicy, Manager, ManualClock, Options, Request, Timestamp,
};
use http::Method;
use serde_json::{Value, json};

struct Pool {
    accounts: Accounts,
    manager: Manager,
    clock: ManualClock,
}

impl Pool {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(settings: impl FnOnce(Builder) -> Builder) -> Self {
        let accounts = Accounts::start();
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH + time::Duration::days(20_000));
        let builder = Manager::builder()
            .clock(clock.clone())
            .policy(FailurePolicy::default().without_waiting());
        let manager = settings(builder).build().unwrap();
        manager.register_executor(OpenAi::new());
        manager.register_executor(Anthropic::new());
        manager.register_executor(Gemini::new());
        for vendor in ["openai", "anthropic", "gemini"] {
            for key in KEYS {
                let mut auth = accounts.credential(vendor, key).runtime_only();
                auth.id = format!("{vendor}-{key}");
                manager.register(auth).unwrap();
            }
        }
        Self {
            accounts,
            manager,
            clock,
        }
    }

    fn post(&self, vendor: &str, url: &str, body: &Value) -> (String, Value) {
        let request = request(&Method::POST, url, Some(body));
        ask(&self.manager, vendor, request, &Options::new()).unwrap()
    }

    fn send(&self, method: &Method, url: &str) -> Result<(String, Value), Error> {
        let request = request(method, url, None);
        ask(&self.manager, "openai", request, &Options::new())
    }

    /// A file of one credential.
    fn file_of(&self, id: &str) -> String {
        let request = request(&Method::POST, "/v1/files", Some(&json!({})));
        let options = Options::new().with_pinned(id);
        let (by, file) = ask(&self.manager, "openai", request, &options).unwrap();
        assert_eq!(by, id);
        file["id"].as_str().unwrap().to_owned()
    }

    /// Who serves a file.
    fn server_of(&self, file: &str) -> Result<String, Error> {
        let served = self.send(&Method::GET, &format!("/v1/files/{file}/content"));
        served.map(|(by, _)| by)
    }

    /// Who serves the same request again and again.
    fn servers_of(&self, file: &str) -> BTreeSet<String> {
        (0..6).map(|_| self.server_of(file).unwrap()).collect()
    }
}

const A: &str = "openai-key-a";
const B: &str = "openai-key-b";

/// What is made, where the answer gives its id, and how it is used.
struct Shape {
    vendor: &'static str,
    made_at: &'static str,
    with: Value,
    id: &'static str,
    uses: &'static [(&'static str, &'static str, &'static str)],
}

fn shape(
    vendor: &'static str,
    made_at: &'static str,
    with: Value,
    id: &'static str,
    uses: &'static [(&'static str, &'static str, &'static str)],
) -> Shape {
    Shape {
        vendor,
        made_at,
        with,
        id,
        uses,
    }
}

fn of_openai() -> Vec<Shape> {
    vec![
        shape(
            "openai",
            "/v1/responses",
            json!({"model": "m", "input": "hi"}),
            "/id",
            &[
                ("GET", "/v1/responses/{}", ""),
                ("POST", "/v1/responses/{}/cancel", ""),
                (
                    "POST",
                    "/v1/responses",
                    r#"{"model":"m","previous_response_id":"{}"}"#,
                ),
            ],
        ),
        shape(
            "openai",
            "/v1/files",
            json!({}),
            "/id",
            &[
                ("GET", "/v1/files/{}/content", ""),
                ("POST", "/v1/batches", r#"{"input_file_id":"{}"}"#),
                (
                    "POST",
                    "/v1/responses",
                    r#"{"input":[{"content":[{"type":"input_file","file_id":"{}"}]}]}"#,
                ),
            ],
        ),
        shape(
            "openai",
            "/v1/batches",
            json!({}),
            "/output_file_id",
            &[("GET", "/v1/files/{}/content", "")],
        ),
        shape(
            "openai",
            "/v1/containers",
            json!({}),
            "/id",
            &[("GET", "/v1/containers/{}/files", "")],
        ),
        shape(
            "openai",
            "/v1/videos",
            json!({}),
            "/id",
            &[("GET", "/v1/videos/{}/content", "")],
        ),
        shape(
            "openai",
            "/v1/conversations",
            json!({}),
            "/id",
            &[
                ("GET", "/v1/conversations/{}", ""),
                ("POST", "/v1/responses", r#"{"conversation":{"id":"{}"}}"#),
            ],
        ),
        shape(
            "openai",
            "/v1/vector_stores",
            json!({}),
            "/id",
            &[(
                "POST",
                "/v1/responses",
                r#"{"tools":[{"vector_store_ids":["{}"]}]}"#,
            )],
        ),
        shape(
            "openai",
            "/v1/threads",
            json!({}),
            "/id",
            &[("POST", "/v1/threads/{}/messages", "{}")],
        ),
    ]
}

fn of_anthropic_and_gemini() -> Vec<Shape> {
    vec![
        shape(
            "anthropic",
            "/v1/files",
            json!({}),
            "/id",
            &[(
                "POST",
                "/v1/messages",
                r#"{"messages":[{"content":[{"source":{"type":"file","file_id":"{}"}}]}]}"#,
            )],
        ),
        shape(
            "anthropic",
            "/v1/messages/batches",
            json!({}),
            "/id",
            &[("GET", "/v1/messages/batches/{}/results", "")],
        ),
        shape(
            "anthropic",
            "/v1/messages",
            json!({}),
            "/container/id",
            &[("POST", "/v1/messages", r#"{"container":"{}"}"#)],
        ),
        shape(
            "gemini",
            "/v1beta/cachedContents",
            json!({}),
            "/name",
            &[
                ("PATCH", "/v1beta/{}?updateMask=ttl", "{}"),
                (
                    "POST",
                    "/v1beta/models/m:generateContent",
                    r#"{"cachedContent":"{}"}"#,
                ),
            ],
        ),
        shape(
            "gemini",
            "/upload/v1beta/files",
            json!({}),
            "/upload",
            &[("POST", "{}&upload_protocol=resumable", "{}")],
        ),
        shape(
            "gemini",
            "/upload/v1beta/files?upload_id=new",
            json!({}),
            "/file/uri",
            &[(
                "POST",
                "/v1beta/models/m:generateContent",
                r#"{"contents":[{"parts":[{"fileData":{"fileUri":"{}"}}]}]}"#,
            )],
        ),
        shape(
            "gemini",
            "/v1beta/interactions",
            json!({}),
            "/id",
            &[(
                "POST",
                "/v1beta/interactions",
                r#"{"previous_interaction_id":"{}"}"#,
            )],
        ),
    ]
}

#[test]
fn what_an_account_has_made_is_asked_of_that_account() {
    let pool = Pool::new();
    for shape in of_openai().into_iter().chain(of_anthropic_and_gemini()) {
        let mut makers = BTreeSet::new();
        for _ in 0..2 {
            let (maker, answer) = pool.post(shape.vendor, shape.made_at, &shape.with);
            let id = answer.pointer(shape.id).and_then(Value::as_str);
            let id = id.unwrap_or_else(|| panic!("{}: {answer}", shape.made_at));
            for (method, url, body) in shape.uses {
                let method: Method = method.parse().unwrap();
                let url = url.replace("{}", id);
                for _ in 0..5 {
                    let body = match *body {
                        "" => None,
                        "{}" => Some(json!({})),
                        body => Some(serde_json::from_str(&body.replace("{}", id)).unwrap()),
                    };
                    let request = request(&method, &url, body.as_ref());
                    let used = ask(&pool.manager, shape.vendor, request, &Options::new());
                    let (by, _) = used.unwrap_or_else(|error| panic!("{url} {body:?}: {error}"));
                    assert_eq!(by, maker, "{url} {body:?}");
                }
            }
            makers.insert(maker);
        }
        assert!(!makers.is_empty());
    }
}

#[test]
fn a_stored_response_is_continued_by_its_account() {
    let pool = Pool::new();
    let options = Options::new().with_alt("responses");
    let text = |json: &Value| Request::new("m", json.to_string());
    for streams in [false, true] {
        for owner in [A, B] {
            let first = text(&json!({"model": "m", "input": "hi"}));
            let pinned = options.clone().with_pinned(owner);
            let id = if streams {
                let stream = pool.manager.execute_stream(["openai"], &first, &pinned);
                let chunk = stream.unwrap().next().unwrap().unwrap();
                let event: Value = serde_json::from_slice(&chunk.payload).unwrap();
                event["response"]["id"].as_str().unwrap().to_owned()
            } else {
                let response = pool.manager.execute(["openai"], &first, &pinned).unwrap();
                let response: Value = serde_json::from_slice(&response.payload).unwrap();
                response["id"].as_str().unwrap().to_owned()
            };
            let next = text(&json!({"model": "m", "input": "more", "previous_response_id": id}));
            for _ in 0..5 {
                let response = pool.manager.execute(["openai"], &next, &options).unwrap();
                assert_eq!(&*response.auth_id, owner);
                let stream = pool.manager.execute_stream(["openai"], &next, &options);
                assert_eq!(stream.unwrap().auth_id(), owner);
                let submitted = pool
                    .manager
                    .submit(["openai"], next.clone(), options.clone());
                assert_eq!(&*submitted.unwrap().wait().unwrap().auth_id, owner);
                let fetched = pool.send(&Method::GET, &format!("/v1/responses/{id}"));
                assert_eq!(fetched.unwrap().0, owner);
            }
        }
    }
}

#[test]
fn what_is_unknown_is_asked_of_any_credential() {
    let pool = Pool::new();
    assert_eq!(pool.servers_of("file-elsewhere").len(), 2);
    // A stored response says so; one that is not stored is no account's.
    let (_, response) = pool.post("openai", "/v1/responses", &json!({}));
    assert!(response["id"].is_string());
}

#[test]
fn none_is_remembered_where_that_is_set() {
    let pool = Pool::with(|builder| builder.max_resources(0));
    let file = pool.file_of(B);
    let served: BTreeSet<_> = (0..4).map(|_| pool.server_of(&file).is_ok()).collect();
    assert_eq!(served.len(), 2, "the other account does not find it");
    let zero = Manager::builder().resource_expiry(Duration::ZERO).build();
    assert_eq!(zero.unwrap_err().code(), ErrorCode::Config);
}

#[test]
fn an_owner_that_cannot_serve_is_named() {
    let pool = Pool::new();
    let file = pool.file_of(B);
    pool.manager
        .cool_down(B, None, Duration::from_secs(90))
        .unwrap();
    let error = pool.server_of(&file).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AuthUnavailable);
    assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
    for part in [B, &format!("files/{file}"), "retry in 90 s"] {
        assert!(error.message().contains(part), "{error}");
    }

    pool.manager.reset(B).unwrap();
    assert_eq!(pool.server_of(&file).unwrap(), B);
    pool.manager.set_disabled(B, true).unwrap();
    let error = pool.server_of(&file).unwrap_err();
    let told = (error.code(), error.auth_id(), error.is_retryable());
    assert_eq!(told, (&ErrorCode::AuthUnavailable, Some(B), false));
    assert!(error.message().contains("disabled"), "{error}");

    pool.manager.set_disabled(B, false).unwrap();
    assert_eq!(pool.server_of(&file).unwrap(), B);
    pool.manager.remove(B).unwrap();
    let error = pool.server_of(&file).unwrap_err();
    let told = (error.code(), error.auth_id(), error.is_retryable());
    assert_eq!(told, (&ErrorCode::AuthNotFound, Some(B), false));
    assert!(error.message().contains("removed"), "{error}");
    assert_eq!(
        pool.accounts.last_key(),
        "key-b",
        "no other account was asked"
    );

    let auth = pool.accounts.credential("openai", "key-b").with_id(B);
    pool.manager.register(auth.runtime_only()).unwrap();
    assert_eq!(pool.server_of(&file).unwrap(), B);
}

#[test]
fn a_call_waits_for_the_owner_as_for_any_credential() {
    let pool = Pool::with(|builder| builder.policy(FailurePolicy::default()));
    let file = pool.file_of(B);
    pool.manager
        .cool_down(B, None, Duration::from_secs(2))
        .unwrap();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| pool.server_of(&file));
        while pool.clock.timers() == 0 {
            std::thread::yield_now();
        }
        pool.clock.advance(Duration::from_secs(3));
        assert_eq!(call.join().unwrap().unwrap(), B);
    });
}

#[test]
fn a_program_that_pins_a_call_has_the_last_word() {
    let pool = Pool::new();
    let file = pool.file_of(B);
    let request = request(&Method::GET, &format!("/v1/files/{file}"), None);
    let error = ask(
        &pool.manager,
        "openai",
        request,
        &Options::new().with_pinned(A),
    )
    .unwrap_err();
    assert_eq!((error.http_status(), error.auth_id()), (Some(404), Some(A)));
}

#[test]
fn resources_of_two_accounts_are_not_used_together() {
    let pool = Pool::new();
    let (of_a, of_b) = (pool.file_of(A), pool.file_of(B));
    let before = pool.accounts.upstream.request_count();
    let both = json!({"model": "m", "input": [{"file_id": of_a}, {"file_id": of_b}]});
    let request = Request::new("m", both.to_string());
    let options = Options::new().with_alt("responses");
    let error = pool
        .manager
        .execute(["openai"], &request, &options)
        .unwrap_err();
    assert_eq!(error.code(), ErrorCode::Config);
    for part in [A, B, &of_a, &of_b] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(pool.accounts.upstream.request_count(), before);
}

#[test]
fn what_was_deleted_is_forgotten() {
    let pool = Pool::new();
    let file = pool.file_of(B);
    // That removes it from the vector store alone.
    let (owner, store) = pool.post("openai", "/v1/vector_stores", &json!({}));
    let store = store["id"].as_str().unwrap();
    let detached = format!("/v1/vector_stores/{store}/files/file-elsewhere");
    assert_eq!(pool.send(&Method::DELETE, &detached).unwrap().0, owner);
    let searched = format!("/v1/vector_stores/{store}/search");
    for _ in 0..4 {
        assert_eq!(pool.send(&Method::POST, &searched).unwrap().0, owner);
    }
    let deleted = pool.send(&Method::DELETE, &format!("/v1/files/{file}"));
    assert_eq!(deleted.unwrap().0, B);
    pool.accounts.made.lock().unwrap().remove(&file);
    assert_eq!(pool.servers_of(&file).len(), 2);
}

#[test]
fn credentials_of_one_account_serve_for_each_other() {
    let pool = Pool::new();
    for id in ["openai-key-c", B] {
        let auth = pool.accounts.credential("openai", "key-b").with_id(id);
        let auth = auth.with_attribute("limit_group", "team-b").runtime_only();
        pool.manager.register(auth).unwrap();
    }
    let file = pool.file_of(B);
    assert_eq!(pool.servers_of(&file), [B.to_owned()].into());
    pool.manager
        .cool_down(B, None, Duration::from_secs(90))
        .unwrap();
    assert_eq!(pool.servers_of(&file), ["openai-key-c".to_owned()].into());
    // It is still the owner's.
    pool.manager.reset(B).unwrap();
    assert_eq!(pool.servers_of(&file), [B.to_owned()].into());
    pool.manager.remove(B).unwrap();
    assert_eq!(pool.servers_of(&file), ["openai-key-c".to_owned()].into());
    pool.manager.remove("openai-key-c").unwrap();
    let error = pool.server_of(&file).unwrap_err();
    assert_eq!(
        (error.code(), error.auth_id()),
        (&ErrorCode::AuthNotFound, Some(B))
    );
}

#[test]
fn a_resource_is_forgotten_a_while_after_its_last_use() {
    let day = Duration::from_secs(24 * 60 * 60);
    let pool = Pool::with(|builder| builder.resource_expiry(10 * day));
    let file = pool.file_of(B);
    for _ in 0..10 {
        pool.clock.advance(9 * day);
        assert_eq!(pool.server_of(&file).unwrap(), B);
    }
    pool.clock.advance(10 * day);
    pool.accounts.made.lock().unwrap().clear();
    assert_eq!(pool.servers_of(&file).len(), 2);
}

#[test]
fn the_oldest_make_room() {
    let pool = Pool::with(|builder| builder.max_resources(2));
    let files: Vec<_> = (0..3)
        .map(|_| {
            pool.clock.advance(Duration::from_secs(1));
            pool.file_of(B)
        })
        .collect();
    pool.accounts.made.lock().unwrap().clear();
    let servers = files.iter().map(|file| pool.servers_of(file).len());
    assert_eq!(servers.collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn another_provider_serves_what_names_nothing() {
    let pool = Pool::new();
    let file = pool.file_of(B);
    pool.manager.set_disabled(A, true).unwrap();
    let named = json!({"model": "m", "input": [{"file_id": file}]}).to_string();
    let request = Request::new("m", named.clone());
    let options = Options::new().with_alt("responses");
    let both = ["anthropic", "openai"];
    for _ in 0..4 {
        let response = pool.manager.execute(both, &request, &options).unwrap();
        assert_eq!(&*response.auth_id, B);
    }
    pool.manager
        .cool_down(B, None, Duration::from_secs(90))
        .unwrap();
    assert!(pool.manager.execute(both, &request, &options).is_err());
    let whole = r#"{"model":"c","max_tokens":9,"messages":[]}"#;
    let request = request.for_provider("anthropic", "c", whole);
    let options = Options::new();
    let response = pool.manager.execute(both, &request, &options);
    let by = response.map(|response| response.provider.to_string());
    assert_eq!(by.unwrap(), "anthropic");
}

#[test]
fn an_id_is_known_before_its_reader_has_all_of_the_answer() {
    use std::io::Read as _;

    let pool = Pool::new();
    let request = request(&Method::POST, "/v1/files", Some(&json!({})));
    let options = Options::new().with_pinned(B);
    let answer = pool
        .manager
        .execute_raw(["openai"], request, &options)
        .unwrap();
    let mut body = answer.into_body();
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        let mut byte = [0];
        body.read_exact(&mut byte).unwrap();
        text.push(byte[0]);
    }
    let file: Value = serde_json::from_slice(&text).unwrap();
    let file = file["id"].as_str().unwrap();
    assert_eq!(pool.servers_of(file), [B.to_owned()].into());
    drop(body);
}
