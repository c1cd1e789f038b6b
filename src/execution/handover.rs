//! From the worker that reads a stream to the caller: a bounded queue of which the reader fetches many at once.
//!
//! A channel costs a wake-up for every chunk of a reader that is faster than the stream, and a lock for every chunk of one that is
//! slower. Here the reader is only woken when it waits, and comes for chunks once for as many as there are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::Mutex;

use crate::request::StreamChunk;

/// The two ends of a new queue. Between them are at most `capacity` chunks; one in any case.
pub(super) fn handover(capacity: usize) -> (Feed, Intake) {
    let (wake_reader, reader_woken) = crossbeam_channel::bounded(1);
    let (wake_writer, writer_woken) = crossbeam_channel::bounded(1);
    let queue = Arc::new(Queue {
        capacity: capacity.max(1),
        read: OwnLine::default(),
        given: OwnLine::default(),
        inner: Mutex::default(),
    });
    let feed = Feed {
        queue: Arc::clone(&queue),
        wake_reader,
        woken: writer_woken,
    };
    let intake = Intake {
        taken: VecDeque::new(),
        read: 0,
        room_at: 0,
        seen: 0,
        keeps_up: false,
        queue,
        wake_writer,
        woken: reader_woken,
    };
    (feed, intake)
}

/// The worker's end. Dropping it ends the stream.
pub(super) struct Feed {
    queue: Arc<Queue>,
    wake_reader: Sender<()>,
    woken: Receiver<()>,
}

/// The caller's end.
pub(super) struct Intake {
    taken: VecDeque<StreamChunk>,
    /// How many chunks have been read.
    read: usize,
    /// When so many have been, a writer that waits for room has it.
    room_at: usize,
    /// How many chunks had been given when it last looked.
    seen: usize,
    /// The writer was nearly as fast, the last time.
    keeps_up: bool,
    queue: Arc<Queue>,
    wake_writer: Sender<()>,
    woken: Receiver<()>,
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    Taken,
    /// There is no room for it now.
    Full,
    /// Nobody reads any more.
    Gone,
}

/// What there is for the reader.
pub(super) enum Arrived {
    Chunk(StreamChunk),
    Nothing,
    /// Nothing, and nothing will come.
    Ended,
}

struct Queue {
    capacity: usize,
    /// How many chunks have been read, for a writer that waits.
    read: OwnLine,
    /// How many have been given, and one for the end: a reader that looks again needs no lock to see that there is nothing.
    given: OwnLine,
    inner: Mutex<Inner>,
}

/// A count that one side writes and the other looks at, with nothing else on its cache line.
#[derive(Default)]
#[repr(align(128))]
struct OwnLine(AtomicUsize);

#[derive(Default)]
struct Inner {
    chunks: VecDeque<StreamChunk>,
    given: usize,
    /// How many had been read when the reader last made room.
    room_from: usize,
    /// Who is to be woken: the reader waits where there is nothing, the writer where there is no room.
    waits: Option<Side>,
    reader_gone: bool,
    writer_gone: bool,
}

#[derive(PartialEq, Eq)]
enum Side {
    Reader,
    Writer,
}

impl Feed {
    /// Gives the reader a chunk, if there is room for it. `more` says that another one follows at once: then a reader that waits
    /// need not be woken yet.
    pub(super) fn push(&self, chunk: &mut Option<StreamChunk>, more: bool) -> Pushed {
        let mut queue = self.queue.inner.lock();
        if queue.reader_gone {
            return Pushed::Gone;
        }
        let full = queue.given - queue.room_from >= self.queue.capacity;
        if !full {
            queue.chunks.extend(chunk.take());
            queue.given += 1;
            self.queue.given.0.store(queue.given, Ordering::Release);
        }
        let wake = queue.waits == Some(Side::Reader) && (full || !more);
        if wake {
            queue.waits = None;
        }
        if full {
            queue.waits = Some(Side::Writer);
        }
        drop(queue);
        if wake {
            let _ = self.wake_reader.try_send(());
        }
        if full { Pushed::Full } else { Pushed::Taken }
    }

    /// How many chunks the reader has read.
    pub(super) fn read(&self) -> usize {
        self.queue.read.0.load(Ordering::Relaxed)
    }

    /// Gets a message when there may be room again after a chunk was refused, or nobody reads any more.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }
}

impl Intake {
    /// A chunk that was fetched already.
    pub(super) fn fetched(&mut self) -> Option<StreamChunk> {
        let chunk = self.taken.pop_front()?;
        self.read += 1;
        self.queue.read.0.store(self.read, Ordering::Relaxed);
        if self.read == self.room_at {
            self.make_room();
        }
        Some(chunk)
    }

    /// Tells the writer of room, which need not wait until all that was fetched is read.
    #[cold]
    fn make_room(&self) {
        let wake = self.queue.inner.lock().make_room(self.read);
        if wake {
            let _ = self.wake_writer.try_send(());
        }
    }

    /// Waits for a very short while: a writer that is nearly as fast is not worth going to sleep for. From one that keeps being so,
    /// several chunks are fetched together.
    pub(super) fn linger(&mut self) {
        let spin = |times: u32| (0..times).for_each(|_| std::hint::spin_loop());
        for step in 0..STEPS {
            if self.queue.given.0.load(Ordering::Acquire) != self.seen {
                if self.keeps_up {
                    spin(FOR_MORE);
                }
                self.keeps_up = true;
                return;
            }
            spin(1 << step);
        }
        self.keeps_up = false;
    }

    /// What has arrived, without waiting.
    pub(super) fn next(&mut self) -> Arrived {
        if let Some(chunk) = self.fetched() {
            return Arrived::Chunk(chunk);
        }
        let wake = {
            let mut queue = self.queue.inner.lock();
            self.seen = self.queue.given.0.load(Ordering::Relaxed);
            let wake = queue.make_room(self.read);
            if queue.chunks.is_empty() && queue.writer_gone {
                return Arrived::Ended;
            }
            if queue.chunks.is_empty() {
                queue.waits = Some(Side::Reader);
            } else {
                std::mem::swap(&mut self.taken, &mut queue.chunks);
                self.room_at = self.read + self.taken.len().div_ceil(2);
            }
            wake
        };
        if wake {
            let _ = self.wake_writer.try_send(());
        }
        self.fetched().map_or(Arrived::Nothing, Arrived::Chunk)
    }

    /// Gets a message when something may have arrived since there was nothing.
    pub(super) fn woken(&self) -> &Receiver<()> {
        &self.woken
    }

    /// How many chunks wait to be read.
    pub(super) fn len(&self) -> usize {
        self.taken.len() + self.queue.inner.lock().chunks.len()
    }
}

impl Inner {
    /// So many have been read. Whether the writer waits and is to be woken.
    fn make_room(&mut self, read: usize) -> bool {
        let more = read != self.room_from;
        self.room_from = read;
        more && self.waits.take_if(|side| *side == Side::Writer).is_some()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        {
            let mut queue = self.queue.inner.lock();
            queue.writer_gone = true;
            self.queue.given.0.store(queue.given + 1, Ordering::Release);
        }
        let _ = self.wake_reader.try_send(());
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        let unread = {
            let mut queue = self.queue.inner.lock();
            queue.reader_gone = true;
            std::mem::take(&mut queue.chunks)
        };
        drop(unread);
        let _ = self.wake_writer.try_send(());
    }
}

/// About half a microsecond, all together.
const STEPS: u32 = 6;
const FOR_MORE: u32 = 96;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn texts(intake: &mut Intake) -> Vec<String> {
        let mut texts = Vec::new();
        while let Arrived::Chunk(chunk) = intake.next() {
            texts.push(String::from_utf8(chunk.payload.to_vec()).unwrap());
        }
        texts
    }

    fn chunk(text: &str) -> StreamChunk {
        StreamChunk::new(text.to_owned())
    }

    fn push(feed: &Feed, text: &str) -> bool {
        feed.push(&mut Some(chunk(text)), false) == Pushed::Taken
    }

    #[test]
    fn chunks_keep_their_order_and_their_number_is_bounded() {
        let (feed, mut intake) = handover(4);
        assert!(["a", "b", "c", "d"].iter().all(|text| push(&feed, text)));
        assert!(!push(&feed, "e"));
        assert!(matches!(intake.next(), Arrived::Chunk(_)));
        assert!(!push(&feed, "e"), "room is made for several");
        assert!(matches!(intake.next(), Arrived::Chunk(_)));
        assert!(feed.woken().try_recv().is_ok());
        assert!(push(&feed, "e") && push(&feed, "f") && !push(&feed, "g"));
        assert_eq!(intake.len(), 4);
        assert_eq!(texts(&mut intake), ["c", "d", "e", "f"]);
        assert!(feed.woken().try_recv().is_ok());
        assert!(matches!(intake.next(), Arrived::Nothing));
        drop(feed);
        assert!(matches!(intake.next(), Arrived::Ended));
    }

    #[test]
    fn a_reader_is_woken_only_when_it_waits() {
        let (feed, mut intake) = handover(8);
        assert!(push(&feed, "a"));
        assert!(intake.woken().try_recv().is_err());
        assert_eq!(texts(&mut intake), ["a"]);
        assert_eq!(feed.push(&mut Some(chunk("b")), true), Pushed::Taken);
        assert!(intake.woken().try_recv().is_err(), "more follows at once");
        assert!(push(&feed, "c"));
        assert!(intake.woken().try_recv().is_ok());
        assert_eq!(texts(&mut intake), ["b", "c"]);
        drop(feed);
        assert!(intake.woken().try_recv().is_ok());
    }

    #[test]
    fn a_full_queue_wakes_a_reader_that_was_to_wait_for_more() {
        let (feed, mut intake) = handover(1);
        assert!(matches!(intake.next(), Arrived::Nothing));
        assert_eq!(feed.push(&mut Some(chunk("a")), true), Pushed::Taken);
        assert_eq!(feed.push(&mut Some(chunk("b")), true), Pushed::Full);
        assert!(intake.woken().try_recv().is_ok());
    }

    #[test]
    fn nobody_sleeps_through_what_the_other_does() {
        const CHUNKS: usize = 20_000;
        let patience = Duration::from_secs(30);
        for capacity in [1, 2, 3, 7, 256] {
            let (feed, mut intake) = handover(capacity);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    for number in 0..CHUNKS {
                        let mut chunk = Some(chunk(&number.to_string()));
                        while feed.push(&mut chunk, number % 3 == 0) != Pushed::Taken {
                            feed.woken().recv_timeout(patience).unwrap();
                        }
                    }
                });
                let mut read = 0;
                loop {
                    if read % 5 == 0 {
                        intake.linger();
                    }
                    match intake.next() {
                        Arrived::Chunk(chunk) => {
                            assert_eq!(chunk.payload, read.to_string().as_bytes());
                            read += 1;
                        }
                        Arrived::Nothing => intake.woken().recv_timeout(patience).unwrap(),
                        Arrived::Ended => break,
                    }
                }
                assert_eq!(read, CHUNKS);
            });
        }
    }

    #[test]
    fn nothing_is_kept_for_a_reader_that_is_gone() {
        let (feed, intake) = handover(8);
        assert!(push(&feed, "a"));
        drop(intake);
        assert!(feed.woken().try_recv().is_ok());
        assert_eq!(feed.push(&mut Some(chunk("b")), false), Pushed::Gone);
        assert!(feed.queue.inner.lock().chunks.is_empty());
    }
}
