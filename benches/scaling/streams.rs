//! What a chunk costs from the executor's iterator to the caller, beside a bare channel of the same capacity.

use std::hint::black_box;
use std::sync::Arc;

use credpool::{Options, Request, RoundRobin, StreamChunk};

use crate::measure::{Effort, Line, median, timed};
use crate::pools::{MODEL, Order, State, pool};
use crate::support::CHUNKS;

pub(crate) fn bench(effort: &Effort) {
    let manager = pool(1, State::Ready, Order::Id, Arc::new(RoundRobin::new()));
    let request = Request::new(MODEL, "");
    let each = |nanos: f64, chunks: usize| nanos / f64::from(u32::try_from(chunks).unwrap());
    let open = || {
        manager
            .execute_stream(["p"], &request, &Options::new())
            .unwrap()
    };
    let ours = || {
        let all = timed(1, || assert_eq!(open().map(Result::unwrap).count(), CHUNKS));
        each(all, CHUNKS)
    };
    let raw = || {
        let all = timed(1, || {
            let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for _ in 0..CHUNKS {
                        sender.send(StreamChunk::new("x")).unwrap();
                    }
                });
                assert_eq!(receiver.iter().count(), CHUNKS);
            });
        });
        each(all, CHUNKS)
    };
    print("as fast as it can", effort, ours, raw);

    // The producer has filled the queue before the first chunk is read.
    let ours_behind = || {
        let mut stream = open();
        stream.next().unwrap().unwrap();
        while format!("{stream:?}").contains("waiting: 0") {
            std::thread::yield_now();
        }
        let mut before = String::new();
        loop {
            let now = format!("{stream:?}");
            if now == before {
                break;
            }
            before = now;
            std::thread::yield_now();
        }
        let read = CAPACITY / 2;
        let all = timed(1, || {
            (0..read).for_each(|_| drop(black_box(stream.next().unwrap().unwrap())));
        });
        each(all, read)
    };
    let raw_behind = || {
        let (sender, receiver) = crossbeam_channel::bounded(CAPACITY);
        // By another thread, too: what one has written is not in the other's cache.
        let fill = move || {
            for _ in 0..CAPACITY {
                sender.send(StreamChunk::new("x")).unwrap();
            }
            sender
        };
        let _sender = std::thread::spawn(fill).join().unwrap();
        let read = CAPACITY / 2;
        let all = timed(1, || {
            (0..read).for_each(|_| drop(black_box(receiver.recv().unwrap())));
        });
        each(all, read)
    };
    print("the producer is ahead", effort, ours_behind, raw_behind);
}

/// In turns: the bare channel has two speeds.
fn print(
    state: &str,
    effort: &Effort,
    mut ours: impl FnMut() -> f64,
    mut raw: impl FnMut() -> f64,
) {
    let pairs: Vec<(f64, f64)> = (0..effort.rounds * 5).map(|_| (ours(), raw())).collect();
    let ours = median(pairs.iter().map(|(ours, _)| *ours).collect());
    let raw = median(pairs.iter().map(|(_, raw)| *raw).collect());
    Line::of("stream")
        .text("state", state)
        .number("ns", ours)
        .number("channel_ns", raw)
        .number("ratio", ours / raw)
        .print();
}

/// That of a stream by default.
const CAPACITY: usize = 256;
