//! Lists of models, aliases and chains: who is asked for what, and what it is called there.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;
use std::time::Duration;

use credpool::provider::{Anthropic, Bedrock, Cohere, Gemini, OpenAi, Vertex};
use credpool::testing::{CallKind, ReceivedRequest, Reply, ScriptedExecutor, Upstream, audit};
use credpool::{
    Auth, Availability, Builder, ChainLink, Error, ErrorCode, FailurePolicy, Hook, Manager,
    ManualClock, Options, Outcome, RawRequest, Request, RequestBody, Response, StreamChunk,
    Timestamp,
};
use parking_lot::Mutex;

const START: Timestamp = time::macros::utc_datetime!(2025-01-01 10:00);

/// A pool of providers without a network, and who was asked for which model.
struct Pool {
    clock: ManualClock,
    manager: Manager,
    executors: Vec<ScriptedExecutor>,
    /// Fails for these models, with 429 and a wait of a minute.
    limited: Arc<Mutex<Vec<String>>>,
}

impl Pool {
    fn new(providers: &[&str]) -> Self {
        Self::with(providers, |builder| builder)
    }

    fn with(providers: &[&str], settings: impl FnOnce(Builder) -> Builder) -> Self {
        let clock = ManualClock::at(START);
        let builder = Manager::builder()
            .clock(clock.clone())
            .policy(FailurePolicy::default().without_waiting());
        let manager = settings(builder).build().unwrap();
        let limited = Arc::new(Mutex::new(Vec::new()));
        let executors: Vec<_> = providers
            .iter()
            .map(|provider| {
                let executor = ScriptedExecutor::new(*provider);
                let of_plain = Arc::clone(&limited);
                executor.on_execute(move |call| answer(&of_plain, &call.model));
                let of_streams = Arc::clone(&limited);
                executor.on_stream(move |call| {
                    answer(&of_streams, &call.model)?;
                    Ok(vec![Ok(StreamChunk::new("hello").with_text("hello"))])
                });
                manager.register_executor(executor.clone());
                executor
            })
            .collect();
        Self {
            clock,
            manager,
            executors,
            limited,
        }
    }

    fn register(&self, provider: &str, id: &str, models: &str) {
        let auth = Auth::api_key(provider, "key").with_id(id);
        let auth = auth.with_attribute("models", models);
        self.manager.register(auth).unwrap();
    }

    fn limit(&self, models: &[&str]) {
        *self.limited.lock() = models.iter().map(ToString::to_string).collect();
    }

    fn call(&self, providers: &[&str], request: &Request) -> Result<Response, Error> {
        let answer = self.manager.execute(providers, request, &Options::new());
        assert_eq!(audit(&self.manager), Vec::<String>::new());
        answer
    }

    /// What the executors were sent since: provider, credential, model, payload.
    fn asked(&self) -> Vec<String> {
        let calls = self.executors.iter().flat_map(|executor| {
            let calls = executor.calls();
            calls.into_iter().map(|call| {
                let payload = String::from_utf8_lossy(&call.payload).into_owned();
                format!("{} {} {payload}", call.auth_id, call.model)
            })
        });
        calls.collect()
    }

    fn availability(&self, provider: &str, model: &str) -> Vec<(String, Availability, String)> {
        let reports = self.manager.explain(provider, model).into_iter();
        let row = |report: credpool::CredentialReport| {
            let sent_as = report.sent_as.as_deref().unwrap_or_default().to_owned();
            (report.auth_id.to_string(), report.availability, sent_as)
        };
        reports.map(row).collect()
    }
}

fn answer(limited: &Mutex<Vec<String>>, model: &str) -> Result<Response, Error> {
    if limited.lock().iter().any(|limited| limited == model) {
        let error = Error::upstream(429, "slow down");
        return Err(error.with_retry_after(Duration::from_secs(60)));
    }
    Ok(Response::new(model.to_owned()).with_reply_text(model))
}

fn request(model: &str) -> Request {
    Request::new(model, format!(r#"{{"model":"{model}","n":1}}"#))
}

#[test]
fn a_credential_is_asked_for_what_it_serves_and_by_the_vendors_name() {
    let pool = Pool::new(&["p"]);
    pool.register("p", "mini", "gpt-5-mini, fast=gpt-5-mini");
    pool.register("p", "wide", "gpt-5*, !gpt-5-pro, fast=gpt-5-nano");
    for _ in 0..2 {
        let answer = pool.call(&["p"], &request("fast")).unwrap();
        let sent_as = answer.sent_as.as_deref().unwrap().to_owned();
        assert_eq!(answer.payload, sent_as);
        let served = pool.call(&["p"], &request("gpt-5")).unwrap();
        assert_eq!((&*served.auth_id, served.sent_as), ("wide", None));
    }
    let mut asked = pool.asked();
    asked.sort();
    assert_eq!(
        asked,
        [
            r#"mini gpt-5-mini {"model":"gpt-5-mini","n":1}"#,
            r#"wide gpt-5 {"model":"gpt-5","n":1}"#,
            r#"wide gpt-5 {"model":"gpt-5","n":1}"#,
            r#"wide gpt-5-nano {"model":"gpt-5-nano","n":1}"#,
        ]
    );
    let error = pool.call(&["p"], &request("gpt-5-pro")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ModelNotFound);
    assert_eq!(
        (error.http_status(), error.is_retryable()),
        (Some(404), false)
    );
    assert!(error.message().contains("gpt-5-pro"), "{error}");
    // What a call without a model asks for is no model.
    pool.call(&["p"], &Request::new("", "{}")).unwrap();
}

#[test]
fn explain_tells_lists_and_aliases() {
    use Availability::{Cooling, NotServed, Ready};

    let pool = Pool::new(&["p"]);
    pool.register("p", "a", "gpt-5*, !gpt-5-pro");
    pool.register("p", "b", "fast=gpt-5-mini, !*");
    pool.manager
        .register(Auth::api_key("p", "k").with_id("c"))
        .unwrap();
    let row =
        |id: &str, availability, sent_as: &str| (id.to_owned(), availability, sent_as.to_owned());
    for (model, rows) in [
        (
            "gpt-5-mini",
            [
                row("a", Ready, ""),
                row("b", NotServed, ""),
                row("c", Ready, ""),
            ],
        ),
        (
            "gpt-5-pro",
            [
                row("a", NotServed, ""),
                row("b", NotServed, ""),
                row("c", Ready, ""),
            ],
        ),
        (
            "fast",
            [
                row("a", NotServed, ""),
                row("b", Ready, "gpt-5-mini"),
                row("c", Ready, ""),
            ],
        ),
        (
            "",
            [
                row("a", Ready, ""),
                row("b", Ready, ""),
                row("c", Ready, ""),
            ],
        ),
    ] {
        assert_eq!(pool.availability("p", model), rows, "{model}");
    }
    pool.manager
        .cool_down("b", Some("fast"), Duration::from_secs(90))
        .unwrap();
    let reports = pool.manager.explain("p", "fast");
    assert_eq!(reports[1].availability, Cooling);
    assert!(
        reports[1].to_string().contains("as gpt-5-mini"),
        "{}",
        reports[1]
    );
    pool.manager.reset_model("b", "fast").unwrap();
    assert!(pool.manager.is_ready("p", "fast"));
}

#[test]
fn two_aliases_of_one_model_share_its_cooldown() {
    let pool = Pool::new(&["p"]);
    pool.register("p", "a", "fast=m, quick=m, slow=n");
    pool.limit(&["m"]);
    let error = pool.call(&["p"], &request("fast")).unwrap_err();
    assert_eq!((error.http_status(), error.model()), (Some(429), Some("m")));
    for model in ["fast", "quick", "m"] {
        assert!(!pool.manager.is_ready("p", model), "{model}");
    }
    assert!(pool.manager.is_ready("p", "slow"));
    let state = pool.manager.get_by_id("a").unwrap();
    assert_eq!(state.model_states.keys().collect::<Vec<_>>(), ["m"]);
    pool.clock.advance(Duration::from_secs(70));
    pool.limit(&[]);
    pool.call(&["p"], &request("quick")).unwrap();
    assert!(pool.manager.is_ready("p", "fast"));

    // The program's own results may name the alias, too.
    let failed = Error::upstream(429, "").with_retry_after(Duration::from_secs(9));
    pool.manager
        .mark_result(&Outcome::failure("a", "p", "quick", failed));
    assert!(!pool.manager.is_ready("p", "fast"));
}

#[test]
fn limits_are_of_the_vendors_model() {
    let pool = Pool::new(&["p"]);
    let auth = Auth::api_key("p", "k")
        .with_id("a")
        .with_attribute("rpm", "2");
    let auth = auth
        .with_model_alias("fast", "m")
        .with_model_alias("quick", "m");
    pool.manager.register(auth).unwrap();
    pool.call(&["p"], &request("fast")).unwrap();
    pool.call(&["p"], &request("quick")).unwrap();
    for model in ["fast", "quick", "m"] {
        let error = pool.call(&["p"], &request(model)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::LimitReached, "{model}");
    }
    pool.call(&["p"], &request("n")).unwrap();
}

#[test]
fn a_list_that_makes_no_sense_is_refused_and_a_loaded_one_serves_nothing() {
    let pool = Pool::new(&["p"]);
    for models in ["fast=", "a=b, b=a", "a*=b*", "a b"] {
        let auth = Auth::api_key("p", "k").with_id("x");
        let error = pool
            .manager
            .register(auth.with_attribute("models", models))
            .unwrap_err();
        assert_eq!(
            (error.code(), error.auth_id()),
            (&ErrorCode::Config, Some("x"))
        );
        assert!(error.message().contains("attribute `models`"), "{error}");
    }
    let store = Arc::new(credpool::MemoryStore::new());
    let auth = Auth::api_key("p", "k").with_id("x");
    credpool::Store::save(&*store, &auth.with_attribute("models", "a=b, b=a")).unwrap();
    pool.manager.set_store(Some(store));
    pool.manager.load().unwrap();
    let error = pool.call(&["p"], &request("m")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Config);
    assert_eq!(pool.asked(), Vec::<String>::new());
}

#[test]
fn a_list_that_changes_counts_from_then_on() {
    let pool = Pool::new(&["p"]);
    pool.register("p", "a", "m");
    pool.register("p", "b", "n");
    let ids = |model| {
        let mut ids: Vec<_> = (0..2)
            .map(|_| {
                pool.call(&["p"], &request(model))
                    .unwrap()
                    .auth_id
                    .to_string()
            })
            .collect();
        ids.sort();
        ids
    };
    assert_eq!(
        (ids("m"), ids("n")),
        (vec!["a".to_owned(); 2], vec!["b".to_owned(); 2])
    );
    pool.register("p", "b", "m, n");
    assert_eq!(ids("m"), ["a", "b"]);
    pool.register("p", "a", "n");
    assert_eq!(
        (ids("m"), ids("n")),
        (
            vec!["b".to_owned(); 2],
            vec!["a".to_owned(), "b".to_owned()]
        )
    );
    pool.manager.remove("b").unwrap();
    let error = pool.call(&["p"], &request("m")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ModelNotFound);
}

fn chain_of_three() -> Request {
    request("a")
        .or("b")
        .or(ChainLink::new("c").with_provider("q").with_payload("own"))
}

#[test]
fn a_chain_is_asked_in_order_and_returns_to_its_first_link() {
    let pool = Pool::new(&["p", "q"]);
    pool.register("p", "p1", "a, b");
    pool.register("q", "q1", "c");
    let served = |pool: &Pool| {
        let answer = pool.call(&["p"], &chain_of_three()).unwrap();
        (answer.provider.to_string(), answer.payload, answer.attempts)
    };
    assert_eq!(served(&pool), ("p".to_owned(), "a".into(), 1));
    pool.limit(&["a"]);
    assert_eq!(
        served(&pool),
        ("p".to_owned(), "b".into(), 2),
        "in the same call"
    );
    assert_eq!(
        served(&pool),
        ("p".to_owned(), "b".into(), 1),
        "without asking again"
    );
    pool.limit(&["a", "b"]);
    assert_eq!(served(&pool), ("q".to_owned(), "c".into(), 2));
    assert_eq!(served(&pool), ("q".to_owned(), "c".into(), 1));
    pool.limit(&["a", "b", "c"]);
    let error = pool.call(&["p"], &chain_of_three()).unwrap_err();
    assert_eq!((error.http_status(), error.model()), (Some(429), Some("c")));
    let error = pool.call(&["p"], &chain_of_three()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::AuthUnavailable);
    let models: Vec<_> = error
        .exhaustion()
        .unwrap()
        .standings
        .iter()
        .map(|standing| standing.model.to_string())
        .collect();
    assert_eq!(models, ["a", "b", "c"]);
    pool.clock.advance(Duration::from_secs(70));
    pool.limit(&[]);
    assert_eq!(
        served(&pool),
        ("p".to_owned(), "a".into(), 1),
        "the first is back"
    );
    assert!(
        pool.asked()
            .contains(&r#"p1 b {"model":"b","n":1}"#.to_owned())
    );
    assert!(pool.asked().contains(&"q1 c own".to_owned()));
}

#[test]
fn a_request_that_is_wrong_in_itself_ends_at_its_link() {
    let pool = Pool::new(&["p"]);
    pool.register("p", "a", "a, b");
    pool.executors[0].answer(Err(Error::upstream(400, "no messages")));
    let error = pool.call(&["p"], &request("a").or("b")).unwrap_err();
    assert_eq!((error.http_status(), error.model()), (Some(400), Some("a")));
    assert_eq!(pool.asked().len(), 1);
}

#[test]
fn a_link_that_nobody_serves_is_passed() {
    let pool = Pool::new(&["p", "q"]);
    pool.register("p", "a", "a");
    pool.register("q", "b", "b");
    let answer = pool.call(&["p", "q"], &request("x").or("b")).unwrap();
    assert_eq!((&*answer.auth_id, answer.attempts), ("b", 1));
    // Time may help: that tells more than that the last link has nobody.
    pool.limit(&["a"]);
    pool.call(&["p"], &request("a")).unwrap_err();
    let error = pool.call(&["p", "q"], &request("a").or("x")).unwrap_err();
    assert_eq!(
        (error.code(), error.http_status()),
        (&ErrorCode::AuthUnavailable, Some(429))
    );
    let error = pool.call(&["p", "q"], &request("x").or("y")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ModelNotFound);
}

#[test]
fn chains_have_names_and_streams_and_submitted_calls_know_them() {
    let heard = Heard::default();
    let pool = Pool::with(&["p", "q"], |builder| {
        builder.hook(heard.clone()).model_chain(
            "best",
            ["a".into(), ChainLink::new("fast").with_provider("q")],
        )
    });
    pool.register("p", "p1", "a");
    pool.register("q", "q1", "fast=c, !*");
    let best = request("best");
    assert_eq!(
        pool.call(&["p"], &best).unwrap().sent_as.as_deref(),
        Some("a")
    );
    assert!(pool.manager.is_ready("p", "best") && pool.manager.is_ready("q", "best"));
    pool.limit(&["a"]);
    let stream = pool
        .manager
        .execute_stream(["p"], &best, &Options::new())
        .unwrap();
    assert_eq!((stream.provider(), stream.sent_as()), ("q", Some("c")));
    assert_eq!(
        stream.collect_response().unwrap().sent_as.as_deref(),
        Some("c")
    );
    let submitted = pool.manager.submit(["p"], best.clone(), Options::new());
    assert_eq!(submitted.unwrap().wait().unwrap().payload, "c");
    assert!(!pool.manager.is_ready("p", "best") && pool.manager.is_ready("q", "best"));
    let rows = pool.availability("q", "best");
    let row = |availability, sent_as: &str| ("q1".to_owned(), availability, sent_as.to_owned());
    let expected = [
        row(Availability::NotServed, ""),
        row(Availability::Ready, "c"),
    ];
    assert_eq!(rows, expected, "a report for each link");
    assert_eq!(pool.executors[1].call_count(CallKind::Stream), 1);
    let sent = pool.asked().pop().unwrap();
    assert_eq!(sent, r#"q1 c {"model":"c","n":1}"#);
    let heard = heard.0.lock().clone();
    let expected = ["a best true", "a best false", "c best true", "c best true"];
    assert_eq!(heard, expected, "what the vendor and the call name it");
}

/// Hears of which models results are.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Hook for Heard {
    fn on_result(&self, outcome: &Outcome<'_>) {
        let what = format!(
            "{} {} {}",
            outcome.model,
            outcome.asked_for,
            outcome.is_success()
        );
        self.0.lock().push(what);
    }
}

#[test]
fn a_chain_over_several_providers_takes_turns_within_a_link() {
    let pool = Pool::new(&["p", "q"]);
    pool.register("p", "p1", "a, b");
    pool.register("q", "q1", "a, b");
    let request = request("a").or("b");
    let served: Vec<_> = (0..4)
        .map(|_| pool.call(&["p", "q"], &request).unwrap())
        .map(|answer| {
            format!(
                "{} {}",
                answer.auth_id,
                answer.reply_text.unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(served, ["p1 a", "q1 a", "p1 a", "q1 a"]);
    pool.limit(&["a"]);
    let answer = pool.call(&["p", "q"], &request).unwrap();
    assert_eq!((answer.attempts, &answer.payload[..]), (3, &b"b"[..]));
}

#[test]
fn a_call_that_may_wait_asks_all_links_before_it_does() {
    let pool = Pool::with(&["p"], |builder| {
        builder.policy(FailurePolicy::default().with_max_wait(Duration::from_secs(600)))
    });
    pool.register("p", "p1", "a, b");
    pool.limit(&["a"]);
    let start = credpool::Clock::now(&pool.clock);
    let answer = pool.call(&["p"], &request("a").or("b")).unwrap();
    assert_eq!(answer.payload, "b");
    assert_eq!(credpool::Clock::now(&pool.clock), start, "without a wait");
}

#[test]
fn raw_calls_know_aliases_and_chains() {
    let upstream = Upstream::start(|request: &ReceivedRequest| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        if body.contains("first") {
            return Reply::json(429, "{}").header("retry-after", "60");
        }
        Reply::json(200, body)
    });
    let clock = ManualClock::at(START);
    let manager = Manager::builder()
        .clock(clock)
        .policy(FailurePolicy::default().without_waiting())
        .model_chain("best", ["first", "fast"])
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    manager.register_executor(Gemini::new());
    for provider in ["openai", "gemini"] {
        let auth = Auth::api_key(provider, "k").with_id(provider);
        let auth = auth.with_attribute("base_url", format!("{}/v1", upstream.url()));
        let auth = auth.with_model_alias("fast", "gpt-5-mini");
        manager.register(auth).unwrap();
    }
    let send = |provider: &str, path: &str, body: RequestBody, model: &str| {
        let request = http::Request::post(path).body(body).unwrap();
        let request = RawRequest::from(request).with_model(model);
        let body = manager.execute_raw([provider], request, &Options::new())?;
        let sent_as = body.body().sent_as().map(str::to_owned);
        let text = body.into_body().into_bytes(1 << 16)?;
        Ok::<_, Error>((sent_as, String::from_utf8_lossy(&text).into_owned()))
    };
    let body = r#"{"model":"best","input":"x"}"#;
    let (sent_as, sent) = send("openai", "/v1/embeddings", body.into(), "best").unwrap();
    assert_eq!(sent_as.as_deref(), Some("gpt-5-mini"));
    assert_eq!(sent, r#"{"model":"gpt-5-mini","input":"x"}"#);
    let path = "/v1/models/fast:embedContent";
    send("gemini", path, "{}".into(), "fast").unwrap();
    let last = upstream.requests().pop().unwrap();
    assert_eq!(last.path, "/v1/models/gpt-5-mini:embedContent");
}

/// A transcription: a model, and a file whose bytes are no text.
fn form(parts: &[&str]) -> Vec<u8> {
    let mut form = Vec::new();
    for part in parts {
        form.extend(format!("--x7\r\nContent-Disposition: form-data; {part}\r\n").into_bytes());
    }
    let file = "--x7\r\nContent-Disposition: form-data; name=\"file\"; filename=\"--x7\"\r\n\r\n";
    form.extend(file.as_bytes());
    form.extend(b"\x00\xff--x7\r\r\n-\r\n--x\xf0\r\n--x7--\r\n");
    form
}

#[test]
fn raw_calls_put_the_vendors_name_into_forms() {
    let upstream = Upstream::start(|request: &ReceivedRequest| {
        let busy = request
            .body
            .windows(12)
            .any(|text| text == b"\r\nwhisper-0\r");
        let reply = if busy { 429 } else { 200 };
        Reply::json(reply, "{}").header("retry-after", "60")
    });
    let clock = ManualClock::at(START);
    let manager = Manager::builder()
        .clock(clock)
        .policy(FailurePolicy::default().without_waiting())
        .model_chain("hear", ["old", "fast"])
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    let auth = Auth::api_key("openai", "k").with_id("team-a");
    let auth = auth.with_attribute("base_url", format!("{}/v1", upstream.url()));
    let auth = auth.with_model_alias("fast", "whisper-1");
    manager
        .register(auth.with_model_alias("old", "whisper-0"))
        .unwrap();
    let send = |body: RequestBody, model: &str| {
        let request = http::Request::post("/v1/audio/transcriptions")
            .header("content-type", "multipart/form-data; boundary=\"x7\"")
            .body(body)
            .unwrap();
        let request = RawRequest::from(request).with_model(model);
        let answer = manager.execute_raw(["openai"], request, &Options::new())?;
        Ok::<_, Error>(answer.body().sent_as().map(str::to_owned))
    };
    for (named, model) in [
        ("name=\"model\"\r\n\r\n", "fast"),
        ("name=model\r\nContent-Type: text/plain\r\n\r\n", "fast"),
        ("name=\"model\"\r\n\r\n", "hear"),
    ] {
        let body = |model: &str| form(&[&format!("{named}{model}"), "name=\"language\"\r\n\r\nit"]);
        let sent_as = send(body(model).into(), model).unwrap();
        assert_eq!(sent_as.as_deref(), Some("whisper-1"));
        let sent = upstream.requests().pop().unwrap();
        assert_eq!(sent.body, body("whisper-1"), "{named:?} {model}");
        let length = sent.header("content-length").unwrap().to_owned();
        assert_eq!(length, body("whisper-1").len().to_string());
    }
    assert_eq!(
        upstream.request_count(),
        4,
        "the chain's first link was tried"
    );

    let before = upstream.request_count();
    let model = "name=\"model\"\r\n\r\nfast";
    let reader = || std::io::Cursor::new(form(&[model]));
    for (body, why) in [
        (form(&[model, model]).into(), "more than one part"),
        (
            form(&["name=\"model\"; filename=\"m\"\r\n\r\nfast"]).into(),
            "no plain text",
        ),
        (
            form(&["name=\"language\"\r\n\r\nit"]).into(),
            "neither in the path",
        ),
        (form(&[model])[..90].to_vec().into(), "no closing boundary"),
        (RequestBody::once(reader()), "comes from a reader"),
        (
            RequestBody::reopened(move || Ok(reader())),
            "comes from a reader",
        ),
    ] {
        let error = send(body, "fast").unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Unsupported, "{error}");
        assert!(error.message().contains(why), "{error}");
        assert!(error.message().contains("\"whisper-1\""), "{error}");
        assert_eq!(error.auth_id(), Some("team-a"), "{error}");
    }
    assert_eq!(upstream.request_count(), before, "nothing was sent");
    // What names the vendor's model goes out as it is, from a reader, too: the credential is not out.
    assert_eq!(
        send(RequestBody::once(reader()), "whisper-1").unwrap(),
        None
    );
    assert_eq!(upstream.requests().pop().unwrap().body, form(&[model]));
}

#[test]
fn each_vendor_is_sent_its_own_name() {
    let upstream = Upstream::start(|_| Reply::json(400, "{}"));
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::new());
    manager.register_executor(Anthropic::new());
    manager.register_executor(Gemini::new());
    for provider in ["openai", "anthropic", "gemini"] {
        let auth = Auth::api_key(provider, "k").with_attribute("base_url", upstream.url());
        manager
            .register(auth.with_model_alias("best", "the-model"))
            .unwrap();
        let request = Request::new("best", r#"{"model":"best","messages":[],"contents":[]}"#);
        let _ = manager.execute([provider], &request, &Options::new());
        let sent = upstream.requests().pop().unwrap();
        if provider == "gemini" {
            assert_eq!(sent.path, "/v1beta/models/the-model:generateContent");
        } else {
            let body = String::from_utf8_lossy(&sent.body).into_owned();
            assert!(
                body.starts_with(r#"{"model":"the-model","#),
                "{provider}: {body}"
            );
        }
    }
}

/// The lists of four vendors.
fn lists_of_models(request: &ReceivedRequest) -> Reply {
    match (&*request.path, &*request.query) {
        ("/v1/models", "") => Reply::json(200, r#"{"data":[{"id":"gpt-5"},{"id":"gpt-5-pro"}]}"#),
        ("/v1/models", "limit=1000") => Reply::json(
            200,
            r#"{"data":[{"id":"claude 1"}],"has_more":true,"last_id":"claude 1"}"#,
        ),
        ("/v1/models", "limit=1000&after_id=claude%201") => Reply::json(
            200,
            r#"{"data":[{"id":"claude 2"}],"has_more":false,"last_id":"claude 2"}"#,
        ),
        ("/v1beta/models", "pageSize=1000") => {
            Reply::json(200, r#"{"models":[{"name":"models/gemini"}]}"#)
        }
        ("/v1/models", "page_size=1000") => Reply::json(
            200,
            r#"{"models":[{"name":"command"}],"next_page_token":"more"}"#,
        ),
        ("/v1/models", "page_size=1000&page_token=more") => {
            Reply::json(200, r#"{"models":[{"name":"embed"}]}"#)
        }
        _ => Reply::json(404, "{}"),
    }
}

#[test]
fn models_come_from_lists_and_from_vendors() {
    let upstream = Upstream::start(lists_of_models);
    let clock = ManualClock::at(START);
    let manager = Manager::builder()
        .clock(clock.clone())
        .model_chain("best", ["gpt-5", "fast"])
        .build()
        .unwrap();
    manager.register_executor(OpenAi::new());
    manager.register_executor(Anthropic::new());
    manager.register_executor(Gemini::new());
    manager.register_executor(Cohere::new());
    for (provider, id, base, models) in [
        ("openai", "a", "/v1", "gpt-5*, !*-pro, fast=gpt-5-mini"),
        ("openai", "b", "/v1", "fast=gpt-5-nano, embed"),
        ("anthropic", "c", "", ""),
        ("gemini", "d", "", ""),
        ("cohere", "e", "/v2", "*, !command"),
    ] {
        let auth = Auth::api_key(provider, "k").with_id(id);
        let auth = auth.with_attribute("base_url", format!("{}{base}", upstream.url()));
        manager
            .register(auth.with_attribute("models", models))
            .unwrap();
    }
    let told = |models: Vec<credpool::Model>| -> Vec<String> {
        let row = |model: credpool::Model| {
            let providers = model.providers.iter().map(|of| {
                let sent_as = of.sent_as.join("+");
                format!("{} {}/{} {sent_as}", of.provider, of.ready, of.credentials)
            });
            let providers = providers.collect::<Vec<_>>().join("; ");
            format!("{}: {providers}{}", model.name, model.chain.join(">"))
        };
        models.into_iter().map(row).collect()
    };
    assert_eq!(
        told(manager.models()),
        [
            "best: openai 2/2 gpt-5-mini+gpt-5-nanogpt-5>fast",
            "embed: openai 1/1 ",
            "fast: openai 2/2 gpt-5-mini+gpt-5-nano",
        ]
    );
    assert_eq!(upstream.request_count(), 0, "nothing is sent");
    let refresh =
        || manager.refresh_models(["openai", "anthropic", "gemini", "cohere"], &Options::new());
    let expected = [
        "best: openai 1/1 gpt-5>fast",
        "claude 1: anthropic 1/1 ",
        "claude 2: anthropic 1/1 ",
        "embed: cohere 1/1 ; openai 1/1 ",
        "fast: openai 2/2 gpt-5-mini+gpt-5-nano",
        "gemini: gemini 1/1 ",
        "gpt-5: openai 1/1 ",
    ];
    assert_eq!(told(refresh().unwrap()), expected);
    let sent = upstream.request_count();
    clock.advance(Duration::from_secs(3599));
    refresh().unwrap();
    assert_eq!(
        upstream.request_count(),
        sent,
        "within an hour no vendor is asked again"
    );
    clock.advance(Duration::from_secs(2));
    manager.set_disabled("a", true).unwrap();
    assert_eq!(
        told(refresh().unwrap())[4..],
        ["fast: openai 1/1 gpt-5-nano", "gemini: gemini 1/1 "]
    );
    assert!(upstream.request_count() > sent);
    manager.register_executor(ScriptedExecutor::new("other"));
    manager.register_executor(Vertex::new());
    manager.register_executor(Bedrock::new());
    for provider in ["other", "vertex", "bedrock"] {
        let asked = manager.refresh_models([provider], &Options::new());
        assert_eq!(asked.unwrap_err().code(), ErrorCode::Unsupported);
    }
}

/// Names that clients invent take no memory in a pool whose credentials have lists.
#[test]
fn invented_names_are_refused_without_a_trace() {
    let pool = Pool::new(&["p"]);
    pool.register("p", "a", "gpt-5*");
    for n in 0..10_000 {
        let error = pool
            .manager
            .execute(["p"], &Request::new(format!("x-{n}"), ""), &Options::new())
            .unwrap_err();
        assert_eq!(error.code(), ErrorCode::ModelNotFound);
    }
    assert_eq!(audit(&pool.manager), Vec::<String>::new());
    assert!(pool.manager.get_by_id("a").unwrap().model_states.is_empty());
}
