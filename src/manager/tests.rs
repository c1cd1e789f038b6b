//! What a manager does in a child that was forked after it was built.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::execution::StreamEvent;
use crate::executor::{Attempt, ChunkSource};
use crate::request::StreamChunk;
use crate::runtime::process::testing::forked;

/// Serves, or holds on until it is told or cancelled.
struct Upstream {
    asked: Arc<AtomicUsize>,
    go_on: Receiver<Never>,
}

impl ProviderExecutor for Upstream {
    fn identifier(&self) -> &'static str {
        "p"
    }

    fn execute(
        &self,
        attempt: &Attempt,
        _: &Auth,
        request: &Request,
        _: &Options,
    ) -> Result<Response, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if &*request.payload == b"wait" {
            wait(attempt, &self.go_on)?;
        }
        Ok(Response::new("whole"))
    }

    fn execute_stream(
        &self,
        attempt: &Attempt,
        _: &Auth,
        _: &Request,
        _: &Options,
    ) -> Result<ChunkSource, Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let (attempt, go_on) = (attempt.clone(), self.go_on.clone());
        let first = std::iter::once(Ok(StreamChunk::new("first")));
        let second = std::iter::once_with(move || {
            wait(&attempt, &go_on).map(|()| StreamChunk::new("second"))
        });
        Ok(Box::new(first.chain(second)))
    }
}

fn wait(attempt: &Attempt, go_on: &Receiver<Never>) -> Result<(), Error> {
    crossbeam_channel::select! {
        recv(go_on) -> _ => Ok(()),
        recv(attempt.cancel_token().cancelled()) -> _ => {
            Err(Error::new(ErrorCode::Transport, "the connection was closed"))
        }
    }
}

fn code<T>(result: Result<T, Error>) -> ErrorCode {
    result.map(drop).unwrap_err().code().clone()
}

#[test]
fn a_forked_child_gets_a_plain_error_and_the_parent_goes_on() {
    let (go_on, goes_on) = crossbeam_channel::bounded(0);
    let asked = Arc::new(AtomicUsize::new(0));
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Upstream {
        asked: Arc::clone(&asked),
        go_on: goes_on,
    });
    manager
        .register(Auth::api_key("p", "k").with_id("a"))
        .unwrap();
    let (request, options) = (Request::new("m", ""), Options::new());
    let stream = || manager.execute_stream(["p"], &request, &options);
    let submit =
        |payload: &'static str| manager.submit(["p"], Request::new("m", payload), Options::new());
    manager.execute(["p"], &request, &options).unwrap();
    let first = |stream: &mut ChunkStream| match stream.recv() {
        StreamEvent::Chunk(chunk) => assert_eq!(&chunk.payload[..], b"first"),
        other => panic!("{other:?}"),
    };
    let (mut kept, mut read, mut dropped) =
        (stream().unwrap(), stream().unwrap(), stream().unwrap());
    first(&mut kept);
    first(&mut read);
    let (kept_call, waited_for, cancelled) = (
        submit("wait").unwrap(),
        submit("wait").unwrap(),
        submit("wait").unwrap(),
    );
    while asked.load(Ordering::SeqCst) < 7 {
        std::thread::yield_now();
    }
    forked(|| {
        let codes = [
            code(manager.execute(["p"], &request, &options)),
            code(manager.execute_count(["p"], &request, &options)),
            code(stream()),
            code(submit("")),
            code(manager.refresh_now("a")),
            code(manager.start_auto_refresh(Duration::from_secs(60))),
            code(manager.shutdown(Duration::from_secs(60))),
        ];
        assert_eq!(codes, std::array::from_fn(|_| ErrorCode::Forked));
        // What the parent has begun is not there: nothing waits for it, and nothing ends it.
        match read.recv() {
            StreamEvent::Failed(error) => assert_eq!(error.code(), &ErrorCode::Forked),
            other => panic!("{other:?}"),
        }
        // Of another one, the parent may have had something to read by then.
        match dropped.recv() {
            StreamEvent::Chunk(chunk) => assert_eq!(&chunk.payload[..], b"first"),
            StreamEvent::Failed(error) => assert_eq!(error.code(), &ErrorCode::Forked),
            other => panic!("{other:?}"),
        }
        drop(dropped);
        kept.cancel();
        assert_eq!(code(waited_for.wait()), ErrorCode::Forked);
        cancelled.cancel();
        assert_eq!(code(cancelled.wait()), ErrorCode::Forked);
    });
    assert_eq!(asked.load(Ordering::SeqCst), 7, "nothing was sent");
    drop(go_on);
    let rest: Vec<_> = kept.map(|chunk| chunk.unwrap().payload).collect();
    assert_eq!(rest, [&b"second"[..]]);
    assert_eq!(&kept_call.wait().unwrap().payload[..], b"whole");
    manager.execute(["p"], &request, &options).unwrap();
}

#[test]
fn a_forked_child_drops_the_last_handle_at_once() {
    let (go_on, goes_on) = crossbeam_channel::bounded::<Never>(0);
    let manager = Manager::builder().build().unwrap();
    manager.register_executor(Upstream {
        asked: Arc::default(),
        go_on: goes_on,
    });
    manager.register(Auth::api_key("p", "k")).unwrap();
    manager.start_auto_refresh(Duration::from_secs(60)).unwrap();
    let call = manager
        .submit(["p"], Request::new("m", "wait"), Options::new())
        .unwrap();
    let begun = Instant::now();
    forked(|| drop(manager));
    assert!(begun.elapsed() < Duration::from_secs(1));
    // The parent's call is none the wiser.
    drop(go_on);
    assert_eq!(&call.wait().unwrap().payload[..], b"whole");
}
