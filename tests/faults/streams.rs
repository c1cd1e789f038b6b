//! Streams whose reader goes, stops, or whose upstream does.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use credpool::provider::OpenAi;
use credpool::testing::{Gate, Reply, Upstream};
use credpool::{
    Auth, CancelToken, ChunkStream, Error, ErrorCode, Manager, Options, OutcomeKind, Request,
    StreamChunk, Timeouts,
};

use crate::MINUTE;
use crate::net::client::{attempt_under, get, open as open_body, read_some};
use crate::net::{Server, open_stream, silent, wait_for_end};
use crate::support::{Act, Recorder, SOON, eventually, pool_with};

/// What "at once" is, on a machine that does other things, too.
/// Milliseconds where the machine is free; no limit that could end it otherwise is as short.
const AT_ONCE: Duration = Duration::from_secs(1);

fn event(text: &str) -> String {
    let delta = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {delta}\n\n")
}

fn open(manager: &Manager, options: &Options) -> Result<ChunkStream, Error> {
    manager.execute_stream(["p"], &Request::new("m", "{}"), options)
}

/// Runs something on a thread until a token is cancelled; how long it took to end.
fn ended_after(
    token: &CancelToken,
    reached: impl FnOnce(),
    work: impl FnOnce() + Send,
) -> Duration {
    thread::scope(|scope| {
        let worker = scope.spawn(move || {
            work();
            Instant::now()
        });
        reached();
        thread::sleep(Duration::from_millis(20));
        let cancelled = Instant::now();
        token.cancel();
        worker.join().unwrap().saturating_duration_since(cancelled)
    })
}

#[test]
fn fault_15_the_reader_goes_while_the_upstream_is_silent() {
    // In the middle of the body, through the whole manager: the connection goes, the worker and the use of the credential end.
    let gate = Gate::new();
    let body = event("one") + &event("two");
    let first = event("one").len();
    let reply = Reply::new(200)
        .header("content-type", "text/event-stream")
        .body(body)
        .stall_after(first, &gate);
    let upstream = Upstream::start(move |_| reply.clone());
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(OpenAi::named("p"));
    let auth = Auth::api_key("p", "k")
        .with_id("a")
        .with_attribute("base_url", upstream.url())
        .with_attribute("max_concurrent", "1");
    manager.register(auth.runtime_only()).unwrap();
    let mut stream = open(&manager, &Options::new()).unwrap();
    assert!(stream.next().unwrap().is_ok());
    let dropped = Instant::now();
    drop(stream);
    assert!(upstream.wait_abandoned(SOON));
    assert!(dropped.elapsed() < AT_ONCE, "{:?}", dropped.elapsed());
    gate.open();
    // The one permit that there is has come back.
    let waiting = Options::new().with_max_wait(SOON);
    drop(open(&manager, &waiting).unwrap());
    manager.shutdown(SOON).unwrap();

    // Before the head, in a handshake, at a proxy: whoever has the token ends it.
    let before_the_head = Server::start(|mut stream, report| {
        let head = crate::net::read_request(&mut stream)?;
        let _ = report.send(head);
        wait_for_end(&mut stream)
    });
    let (handshake, proxy) = (silent(), silent());
    for (what, server, url, auth) in [
        (
            "the head",
            &before_the_head,
            before_the_head.url("/x"),
            Auth::new("p"),
        ),
        (
            "a handshake",
            &handshake,
            format!("https://{}/x", handshake.address()),
            Auth::new("p"),
        ),
        (
            "a proxy",
            &proxy,
            "https://127.0.0.1:9/x".to_owned(),
            Auth::new("p").with_proxy_url(format!("http://{}", proxy.address())),
        ),
    ] {
        let token = CancelToken::new();
        let attempt = attempt_under(&token);
        let limits = attempt.call_limits(&Timeouts::new());
        let took = ended_after(
            &token,
            || drop(server.next()),
            || {
                let error = attempt.send(&auth, get(&url), &limits).err().unwrap();
                assert_eq!(*error.code(), ErrorCode::Cancelled, "{what}: {error}");
            },
        );
        assert!(took < AT_ONCE, "{what}: {took:?}");
    }
    let in_the_body = Server::start(|mut stream, report| {
        let head = crate::net::read_request(&mut stream)?;
        open_stream(&mut stream)?;
        crate::net::chunk(&mut stream, "first")?;
        stream.flush()?;
        let _ = report.send(head);
        wait_for_end(&mut stream)
    });
    let token = CancelToken::new();
    let attempt = attempt_under(&token);
    let mut body = open_body(&attempt, &in_the_body.url("/x"), &Timeouts::new()).unwrap();
    assert_eq!(read_some(&mut body).unwrap(), "first");
    let took = ended_after(
        &token,
        || (),
        move || {
            let error = read_some(&mut body).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Cancelled, "{error}");
        },
    );
    assert!(took < AT_ONCE, "{took:?}");
}

/// Says when it is dropped: by then nobody holds the upstream any more.
struct Source {
    made: Arc<AtomicUsize>,
    dropped: Arc<AtomicBool>,
}

impl Iterator for Source {
    type Item = Result<StreamChunk, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.made.fetch_add(1, Ordering::SeqCst);
        Some(Ok(StreamChunk::new("x").with_text("x")))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

#[test]
fn fault_16_the_reader_stops_reading() {
    let hook = Recorder::default();
    let (manager, fake, clock) =
        pool_with(2, |builder| builder.hook(hook.clone()).stream_buffer(8));
    let (made, dropped) = (Arc::default(), Arc::default());
    let (count, flag): (Arc<AtomicUsize>, Arc<AtomicBool>) =
        (Arc::clone(&made), Arc::clone(&dropped));
    fake.on(
        "a0",
        Act::Stream(Arc::new(move |_| {
            Ok(Box::new(Source {
                made: Arc::clone(&count),
                dropped: Arc::clone(&flag),
            }))
        })),
    );
    let stalled = open(&manager, &Options::new().with_pinned("a0")).unwrap();
    eventually("a full buffer", || made.load(Ordering::SeqCst) == 9);
    // Others are not disturbed meanwhile.
    let other = open(&manager, &Options::new().with_pinned("a1")).unwrap();
    assert!(other.map(Result::unwrap).count() == 2);
    assert_eq!(made.load(Ordering::SeqCst), 9, "what waits is bounded");
    eventually("the end of patience", || {
        clock.advance(MINUTE);
        dropped.load(Ordering::SeqCst)
    });
    eventually("it is told", || hook.results() == 2);
    assert!(matches!(hook.kinds()[1], OutcomeKind::Abandoned));
    assert!(!manager.get_by_id("a0").unwrap().unavailable);
    drop(stalled);
}

#[test]
fn fault_17_the_upstream_stops_in_the_middle() {
    let done = r#"data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let whole = format!("{}{}{done}\n\ndata: [DONE]\n\n", event("one"), event("two"));
    let cut = event("one").len() + 20;
    let sse = |body: String| {
        Reply::new(200)
            .header("content-type", "text/event-stream")
            .body(body)
    };
    let error = format!(
        "{}data: {}\n\n",
        event("one"),
        r#"{"error":{"message":"oops","type":"server_error"}}"#
    );
    for (what, reply) in [
        ("ended", sse(whole.clone()).content_length().cut_after(cut)),
        ("reset", sse(whole.clone()).chunked().reset_after(cut)),
        ("without a length", sse(event("one")).close_delimited()),
        (
            "without a last event",
            sse(event("one") + &event("two")).chunked(),
        ),
        ("an error inside", sse(error).chunked()),
    ] {
        let upstream = Upstream::start(move |_| reply.clone());
        let hook = Recorder::default();
        let manager = Manager::builder().hook(hook.clone()).build().unwrap();
        manager.register_executor(OpenAi::named("p"));
        for id in ["a", "b"] {
            let auth = Auth::api_key("p", "k").with_id(id);
            let auth = auth.with_attribute("base_url", upstream.url());
            manager.register(auth.runtime_only()).unwrap();
        }
        let items: Vec<_> = open(&manager, &Options::new()).unwrap().collect();
        let (last, before) = items.split_last().unwrap();
        assert!(
            !before.is_empty() && before.iter().all(Result::is_ok),
            "{what}"
        );
        let error = last.as_ref().unwrap_err();
        assert!(
            matches!(
                error.code(),
                ErrorCode::StreamTruncated | ErrorCode::StreamInterrupted | ErrorCode::Upstream
            ),
            "{what}: {error:?}"
        );
        eventually("it is told", || hook.results() == 1);
        assert!(
            matches!(hook.kinds()[..], [OutcomeKind::Failure(_)]),
            "{what}"
        );
        assert_eq!(upstream.request_count(), 1, "{what}: nothing is sent twice");
        manager.shutdown(SOON).unwrap();
    }
}
