//! Raw calls, which pass on what a program's own client sends and what an upstream answers.

use std::io::{self, Cursor, Read};
use std::time::Duration;

use credpool::provider::Gemini;
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{
    Auth, Error, Manager, MemoryStore, Options, RawRequest, ReadAnswer, RequestBody, ResponseBody,
    Timeouts,
};
use http::Response;

use crate::shown::{API_KEY, CLIENT_KEY, check, show, show_auth, show_error, show_headers};
use crate::{key_auth, login, manager, options, robot, secrets_in};

/// A body that panics with a secret.
pub(crate) struct Panics(pub(crate) String);

impl Read for Panics {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("{}", self.0);
    }
}

impl ReadAnswer for Panics {}

/// Raw calls of every kind, each about a model of its own.
pub(crate) fn call_each(manager: &Manager, options: &Options) {
    let requests = [
        ("raw-bytes", of_a_client("POST", RequestBody::from("abc"))),
        (
            "raw-once",
            of_a_client("PUT", RequestBody::once(Cursor::new("abc"))),
        ),
        (
            "raw-reopened",
            of_a_client(
                "POST",
                RequestBody::reopened(|| Ok(Cursor::new("abc"))).with_length(3),
            ),
        ),
        (
            "raw-unreadable",
            of_a_client(
                "POST",
                RequestBody::reopened(|| Err::<Cursor<&str>, _>(io::Error::other("it is gone"))),
            ),
        ),
        ("raw-none", of_a_client("DELETE", RequestBody::empty())),
    ];
    for (model, request) in requests {
        let request = request.with_model(model);
        show(&request);
        read(manager.execute_raw(["openai"], request, options));
    }
}

/// With all that its client shows of itself.
fn of_a_client(method: &str, body: RequestBody) -> RawRequest {
    let request = http::Request::builder()
        .method(method)
        .uri("/v1/files")
        .header("authorization", format!("Bearer {CLIENT_KEY}"))
        .header("x-api-key", CLIENT_KEY)
        .header("cookie", CLIENT_KEY);
    RawRequest::from(request.body(body).unwrap())
}

#[test]
fn raw_answers_that_break_in_every_way() {
    let gate = Gate::new();
    let whole = || Reply::json(200, r#"{"data":[]}"#);
    let breaks = [
        whole().content_length().cut_after(4),
        whole().chunked().cut_after(4),
        whole().reset(),
        whole().reset_after(4),
        whole().stall_after(4, &gate),
        whole().stall_before_head(&gate),
        whole().close_delimited(),
    ];
    for reply in breaks {
        let upstream =
            Upstream::start(move |request| reply.clone().header("x-echo", &secrets_in(request)));
        for auth in [
            key_auth(&upstream.url()),
            login(&upstream.url(), "body"),
            robot(&upstream.url()),
        ] {
            let manager = manager(MemoryStore::new());
            manager.register(auth).unwrap();
            let limits = Timeouts::new()
                .with_first_chunk(Duration::from_millis(100))
                .with_idle(Duration::from_millis(100));
            call_each(&manager, &options().with_timeouts(limits));
            manager.list().iter().for_each(|auth| show_auth(auth));
        }
        assert!(upstream.request_count() > 0);
    }
    check();
}

/// Gemini's clients may show theirs in the query.
#[test]
fn a_key_in_the_query_of_a_client_goes_nowhere() {
    let upstream = Upstream::start(|request| Reply::new(400).body(request.query.clone()));
    let manager = manager(MemoryStore::new());
    manager.register_executor(Gemini::new());
    let auth = Auth::api_key("gemini", API_KEY).with_attribute("base_url", upstream.url());
    manager.register(auth).unwrap();
    let request = http::Request::get("/v1beta/models?key=leftOfClientrightOfClient&pageSize=1");
    let request = RawRequest::from(request.body(RequestBody::empty()).unwrap());
    show(&request);
    read(manager.execute_raw(["gemini"], request, &Options::new()));
    assert_eq!(upstream.requests()[0].query, "pageSize=1");
    check();
}

/// Shows all but the body of a good answer, which is the program's own as it came.
fn read(answer: Result<Response<ResponseBody>, Error>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return show_error(&error),
    };
    show(&answer);
    show_headers(answer.headers());
    let mut body = answer.into_body();
    if let Err(error) = io::copy(&mut body, &mut io::sink()) {
        show(&error);
        show_error(&ResponseBody::error_in(error));
    }
    show(&body);
}
