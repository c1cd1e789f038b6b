//! The stream worker: opens and commits a stream on the caller's thread, then reads it on a worker (backpressure by a bounded channel).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Sender, TrySendError, select};

use crate::cancel::{CancelToken, OnCancel};
use crate::error::{Error, ErrorCode};
use crate::executor::ChunkSource;
use crate::observe::Operation;
use crate::panic::guard;
use crate::policy::StreamCommit;
use crate::request::{Options, Request, StreamChunk};
use crate::runtime::{Lane, Place};

use super::context::Call;
use super::report::{End, Report};
use super::stream::{ChunkStream, Completion, late_in_stream, why_cancelled};
use super::{Engine, Held, Providers};

/// A stream that is committed to its credential: what was read of it so far, and the rest.
#[derive(Default)]
struct Committed {
    read: VecDeque<StreamChunk>,
    rest: Option<ChunkSource>,
}

/// Moves chunks from the source to the caller, and records how it ended: exactly once.
struct StreamWorker {
    engine: Arc<Engine>,
    committed: Committed,
    /// Dropped when all has been said.
    chunks: Option<Sender<Box<StreamChunk>>>,
    ending: Arc<Completion>,
    cancel: CancelToken,
    deadline: Option<Instant>,
    report: Option<Report>,
    /// Until the result is recorded.
    held: Option<Held>,
    /// Ends the stream when the manager shuts down.
    _stopping: OnCancel,
}

impl Engine {
    /// A stream: opened here, failover included, then pumped by a worker.
    pub(crate) fn stream(
        self: &Arc<Self>,
        providers: Providers,
        request: &Request,
        options: &Options,
    ) -> Result<ChunkStream, Error> {
        let cancel = options
            .cancel
            .as_ref()
            .map_or_else(CancelToken::new, CancelToken::child);
        let pool = &self.services.pool;
        let stopping = pool.stopping().on_cancel({
            let cancel = cancel.clone();
            move || cancel.cancel()
        });
        let mut call = Call::begin(
            Operation::Stream,
            &self.services,
            providers,
            request,
            options,
            Some(cancel.clone()),
        );
        // A worker first: a stream that no worker can read must not be opened.
        let slot = self.place(Lane::Streams, options, call.deadline, &cancel)?;
        call.waited = slot.waited();
        if !call.waited.is_zero() {
            self.services.call_counters.waited(call.waited);
        }
        self.route(&mut call, None)?;
        let commit = self.policy.commit();
        let mut committed = Committed::default();
        let served = self.run(&call, &mut |executor, attempt, auth, request| {
            let source = executor.execute_stream(attempt, auth, request, options)?;
            committed = Committed::read_until(commit, source)?;
            Ok(())
        })?;
        let report = Report::of(&served, &call);
        let (sender, chunks) = crossbeam_channel::bounded(self.streams.buffer);
        let ending = Arc::new(Completion::new());
        let stream = ChunkStream {
            chunks,
            ending: Arc::clone(&ending),
            cancel: cancel.clone(),
            stopping: pool.stopping().clone(),
            late: call
                .deadline
                .map_or_else(crossbeam_channel::never, |deadline| {
                    let clock = &self.services.clock;
                    clock.after(deadline.saturating_duration_since(clock.monotonic()))
                }),
            is_late: false,
            end: None,
            fused: false,
            provider: Arc::clone(served.provider),
            auth_id: Arc::clone(served.held.lease.id()),
            sent_as: report.sent_as().map(Into::into),
            attempts: served.attempts,
            head: committed.read.iter().find_map(|chunk| chunk.head.clone()),
            process: self.services.process,
        };
        let mut held = served.held;
        if commit == StreamCommit::FirstContent {
            self.commit(&report, &mut held);
        }
        for chunk in &committed.read {
            self.learn_from_chunk(&report.provider, &report.auth_id, chunk);
        }
        let mut limits = committed.read.iter().map(|chunk| &chunk.rate_limits);
        if let Some(limits) = limits.find_map(Option::as_deref) {
            let now = self.services.moment();
            self.hold(&report.auth_id, &report.model, Some(limits), now);
        }
        let pump = StreamWorker {
            engine: Arc::clone(self),
            committed,
            chunks: Some(sender),
            ending,
            cancel,
            deadline: call.deadline,
            report: Some(report),
            held: Some(held),
            _stopping: stopping,
        };
        pool.run(slot, move |place| pump.run(place))?;
        Ok(stream)
    }
}

impl Committed {
    /// Reads as far as an error may still fail over.
    fn read_until(commit: StreamCommit, mut source: ChunkSource) -> Result<Self, Error> {
        let mut read = VecDeque::new();
        let mut bytes = 0;
        if commit == StreamCommit::FirstContent {
            loop {
                let Some(chunk) = source.next().transpose()? else {
                    return Ok(Self { read, rest: None });
                };
                let content = !chunk.preamble && !chunk.payload.is_empty();
                bytes += chunk.payload.len();
                read.push_back(chunk);
                if content || read.len() >= MOST_PREAMBLE_CHUNKS || bytes >= MOST_PREAMBLE_BYTES {
                    break;
                }
            }
        }
        Ok(Self {
            read,
            rest: Some(source),
        })
    }

    fn next(&mut self) -> Option<Result<StreamChunk, Error>> {
        match self.read.pop_front() {
            Some(chunk) => Some(Ok(chunk)),
            None => self.rest.as_mut()?.next(),
        }
    }
}

impl StreamWorker {
    fn run(mut self, place: &Place) {
        let end = loop {
            if let Some(end) = self.ended_by_caller() {
                break end;
            }
            let next = guard(
                || "a stream's iterator".to_owned(),
                || self.committed.next(),
            );
            let chunk = match next {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(None) => break self.ended_by_caller().unwrap_or(End::Complete),
                Ok(Some(Err(error))) | Err(error) => {
                    break self
                        .ended_by_caller()
                        .unwrap_or_else(|| End::Failed(self.about(error)));
                }
            };
            if let Some(report) = &mut self.report {
                report.note(&chunk);
                let (provider, auth_id) = (&report.provider, &report.auth_id);
                self.engine.learn_from_chunk(provider, auth_id, &chunk);
            }
            if let Err(end) = self.deliver(chunk) {
                break end;
            }
        };
        self.settle(end, Some(place));
    }

    fn ended_by_caller(&self) -> Option<End> {
        if self.cancel.is_cancelled() {
            return Some(End::Abandoned(self.why_cancelled()));
        }
        let deadline = self.deadline?;
        (self.engine.services.clock.monotonic() >= deadline)
            .then(|| End::Abandoned(late_in_stream()))
    }

    fn why_cancelled(&self) -> Error {
        why_cancelled(self.engine.services.pool.stopping())
    }

    /// Hands a chunk to the reader; waits while the channel is full.
    fn deliver(&self, chunk: StreamChunk) -> Result<(), End> {
        let Some(chunks) = &self.chunks else {
            return Ok(());
        };
        let gone = || End::Abandoned(Error::new(ErrorCode::Cancelled, "the stream was dropped"));
        let chunk = match chunks.try_send(Box::new(chunk)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Disconnected(_)) => return Err(gone()),
            Err(TrySendError::Full(chunk)) => chunk,
        };
        let clock = &self.engine.services.clock;
        let patience = self.engine.streams.consumer_timeout;
        let late = self
            .deadline
            .map_or_else(crossbeam_channel::never, |deadline| {
                clock.after(deadline.saturating_duration_since(clock.monotonic()))
            });
        select! {
            send(chunks, chunk) -> sent => sent.map_err(|_| gone()),
            recv(self.cancel.cancelled()) -> _ => Err(End::Abandoned(self.why_cancelled())),
            recv(late) -> _ => Err(End::Abandoned(late_in_stream())),
            // A reader that made room meanwhile has read.
            recv(clock.after(patience)) -> _ => chunks.try_send(chunk).map_err(|unsent| match unsent {
                TrySendError::Disconnected(_) => gone(),
                TrySendError::Full(_) => End::Abandoned(Error::new(
                    ErrorCode::Cancelled,
                    format!("the stream's consumer read nothing for {patience:?}"),
                )),
            }),
        }
    }

    fn about(&self, error: Error) -> Error {
        match &self.report {
            Some(report) => error.about(&report.auth_id),
            None => error,
        }
    }

    /// Closes the source, records the outcome, gives back what the stream held, notifies the hook and then the caller: a caller that sees
    /// the end sees its effects, too.
    fn settle(&mut self, end: End, place: Option<&Place>) {
        let (Some(report), Some(held)) = (self.report.take(), self.held.take()) else {
            return;
        };
        let rest = self.committed.rest.take();
        let _ = guard(|| "a stream's iterator".to_owned(), || drop(rest));
        let concluded = self.engine.conclude(&report, held, end);
        // It stays true whatever the hook does: shut the manager down, for example.
        let _ = self.ending.set(concluded.result.clone());
        let tell = || self.engine.tell_concluded(&report, concluded);
        match place {
            Some(place) => place.give_back_for(tell),
            None => tell(),
        }
        self.chunks = None;
    }
}

impl Drop for StreamWorker {
    fn drop(&mut self) {
        let error = Error::new(
            ErrorCode::ShutDown,
            "the manager was shut down before the stream was read",
        );
        self.settle(End::Abandoned(error), None);
    }
}

/// What may come before content and still be held back.
const MOST_PREAMBLE_CHUNKS: usize = 64;
const MOST_PREAMBLE_BYTES: usize = 1 << 20;
