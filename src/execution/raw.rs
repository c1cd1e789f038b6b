//! Raw calls: any request of a provider's API; the caller reads the answer, on a thread of its own.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::uri::PathAndQuery;

use super::context::Call;
use super::report::{End, Report};
use super::{Engine, Held, Providers};
use crate::cancel::{CancelToken, OnCancel};
use crate::error::{Error, ErrorCode};
use crate::executor::{Body, RawAnswer, ReadAnswer};
use crate::observe::Operation;
use crate::panic::guard;
use crate::request::{Options, RawRequest, Usage};
use crate::resources::AnswerReader;
use crate::runtime::Process;

/// The body of the answer to a raw call, read with [`Read`] on any thread, or as a whole with [`into_bytes`](Self::into_bytes).
///
/// The call lasts until the body has been read to its end (to its announced length, where it has one) or is dropped: until then its
/// credential's permit is taken. A failed read
/// returns an [`io::Error`] around an [`Error`] of this crate; [`error_in`](Self::error_in) takes it out. Nothing is tried again then:
/// a call fails over only until the head of a good answer has come. Dropping the body early closes the connection, and changes
/// no credential's state.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let manager = credpool::Manager::builder().build()?;
/// let request = http::Request::get("/v1/files/file-1/content").body(())?;
/// let answer = manager.execute_raw(["openai"], request, &credpool::Options::new())?;
/// println!("{} from {}", answer.status(), answer.body().auth_id());
/// std::io::copy(&mut answer.into_body(), &mut std::fs::File::create("file-1")?)?;
/// # Ok(())
/// # }
/// ```
pub struct ResponseBody {
    source: Option<Box<dyn ReadAnswer>>,
    /// Looks for what the answer names.
    reader: Option<AnswerReader>,
    engine: Arc<Engine>,
    report: Report,
    /// Until the end is recorded.
    held: Option<Held>,
    cancel: CancelToken,
    deadline: Option<Instant>,
    process: Process,
    /// Ends the call when the manager shuts down.
    _stopping: OnCancel,
}

impl Engine {
    /// A raw call: sent on this thread, failover included, until the head of a good answer is there.
    pub(crate) fn raw(
        self: &Arc<Self>,
        providers: Providers,
        request: &RawRequest,
        options: &Options,
    ) -> Result<Response<ResponseBody>, Error> {
        let cancel = options
            .cancel
            .as_ref()
            .map_or_else(CancelToken::new, CancelToken::child);
        let stopping = self.services.pool.stopping().on_cancel({
            let cancel = cancel.clone();
            move || cancel.cancel()
        });
        let asked = request.outline();
        let mut call = Call::begin(
            Operation::Raw,
            &self.services,
            providers,
            &asked,
            options,
            Some(cancel.clone()),
        );
        call.body = Some(&request.body);
        let uri = &request.head.uri;
        let url = uri.path_and_query().map(PathAndQuery::as_str);
        self.route(&mut call, url)?;
        let mut answer = None;
        let served = self.run(&call, &mut |executor, attempt, auth, asked| {
            let request = request
                .addressed(asked)
                .map_err(|refused| refused.with_auth_id(&auth.id))?;
            answer = Some(executor.execute_raw(attempt, auth, &request, options)?);
            Ok(())
        })?;
        let RawAnswer {
            head,
            body,
            rate_limits,
        } = answer.ok_or_else(|| Error::new(ErrorCode::Unsupported, "there was no answer"))?;
        let mut report = Report::of(&served, &call);
        report.rate_limits = rate_limits;
        let mut held = served.held;
        self.commit(&report, &mut held);
        let reader = self.read_along(&report, &request.head, &head.headers);
        let limits = report.rate_limits.as_deref();
        self.hold(
            &report.auth_id,
            &report.model,
            limits,
            self.services.moment(),
        );
        let body = ResponseBody {
            source: Some(body),
            reader,
            engine: Arc::clone(self),
            report,
            held: Some(held),
            cancel,
            deadline: call.deadline,
            process: self.services.process,
            _stopping: stopping,
        };
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }
}

impl ResponseBody {
    /// The provider that serves.
    pub fn provider(&self) -> &str {
        &self.report.provider
    }

    /// The credential that serves.
    pub fn auth_id(&self) -> &str {
        &self.report.auth_id
    }

    /// The model that serves, as the vendor calls it, where that is another name than the request's.
    pub fn sent_as(&self) -> Option<&str> {
        self.report.sent_as()
    }

    /// How many attempts it took.
    pub fn attempts(&self) -> u32 {
        self.report.attempt
    }

    /// The tokens used, as far as what was read so far tells.
    pub fn usage(&self) -> Option<Usage> {
        match &self.source {
            Some(source) => source.usage(),
            None => self.report.usage,
        }
    }

    /// Ends the call from any thread: a read that waits returns the error `cancelled`.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// All that is left of the body.
    ///
    /// # Errors
    /// Code `upstream`, not retryable, for more than `limit` bytes; else why it could not be read.
    ///
    /// ```
    /// use credpool::provider::OpenAi;
    /// use credpool::testing::{Reply, Upstream};
    /// use credpool::{Auth, Manager, Options};
    ///
    /// let upstream = Upstream::start(|_| Reply::json(200, r#"{"data": []}"#));
    /// let manager = Manager::builder().build()?;
    /// manager.register_executor(OpenAi::new());
    /// let auth = Auth::api_key("openai", "sk-1").with_attribute("base_url", format!("{}/v1", upstream.url()));
    /// manager.register(auth.with_attribute("allow_http", "true"))?;
    ///
    /// let request = http::Request::get("/models").body(()).unwrap();
    /// let answer = manager.execute_raw(["openai"], request, &Options::new())?;
    /// assert_eq!(answer.into_body().into_bytes(1 << 20)?, r#"{"data": []}"#);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn into_bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        let mut bytes = Vec::with_capacity(limit.min(AT_FIRST));
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        (&mut self)
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(Self::error_in)?;
        if bytes.len() > limit {
            let what = format!("the answer has more than {limit} bytes, a limit of the caller");
            let error = Error::new(ErrorCode::Upstream, what).with_retryable(false);
            return Err(error.with_auth_id(self.auth_id()));
        }
        Ok(bytes.into())
    }

    /// The error of this crate inside one that a read returned.
    ///
    /// ```
    /// use std::io::Read;
    ///
    /// use credpool::{Error, ResponseBody};
    ///
    /// /// Reads what comes next, with the call's error where the read fails.
    /// fn next(body: &mut ResponseBody, buffer: &mut [u8]) -> Result<usize, Error> {
    ///     body.read(buffer).map_err(ResponseBody::error_in)
    /// }
    /// ```
    pub fn error_in(error: io::Error) -> Error {
        Body::error_in(error)
    }

    /// Before the caller has them: the next request may name what they give.
    fn learn(&mut self, bytes: &[u8]) {
        if let Some(reader) = &mut self.reader {
            let mentions = reader.read(bytes);
            let (provider, auth_id) = (&self.report.provider, &self.report.auth_id);
            self.engine.learn(provider, auth_id, &mentions);
        }
    }

    fn ended_by_caller(&self) -> Option<Error> {
        if self.cancel.is_cancelled() {
            let is_stopping = self.engine.services.pool.stopping().is_cancelled();
            return Some(if is_stopping {
                let what = "the manager was shut down before the answer was read";
                Error::new(ErrorCode::ShutDown, what)
            } else {
                Error::new(ErrorCode::Cancelled, "the call was cancelled")
            });
        }
        let deadline = self.deadline?;
        let is_late = self.engine.services.clock.monotonic() >= deadline;
        let what = "the call's deadline has passed before the answer was read";
        is_late.then(|| Error::new(ErrorCode::DeadlineExceeded, what))
    }

    /// Closes the source, records the end, gives back what the call held, and tells the hook. The error as the caller is to see it.
    fn settle(&mut self, end: End) -> Option<Error> {
        let held = self.held.take()?;
        if let Some(source) = self.source.take() {
            let what = || "the body of an answer".to_owned();
            self.report.usage = guard(what, || {
                let usage = source.usage();
                drop(source);
                usage
            })
            .unwrap_or_default();
        }
        let concluded = self.engine.conclude(&self.report, held, end);
        let error = concluded.result.as_ref().err().cloned();
        self.engine.tell_concluded(&self.report, concluded);
        error
    }
}

impl Read for ResponseBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.source.is_none() || buffer.is_empty() {
            return Ok(0);
        }
        self.process.check().map_err(io::Error::other)?;
        if let Some(error) = self.ended_by_caller() {
            self.settle(End::Abandoned(error.clone()));
            return Err(io::Error::other(error));
        }
        let what = || "the body of an answer".to_owned();
        let source = &mut self.source;
        let read = guard(what, || match source {
            Some(source) => source.read(buffer).map(|count| (count, source.is_ended())),
            None => Ok((0, true)),
        });
        let error = match read {
            Ok(Ok((count, is_ended))) => {
                self.learn(buffer.get(..count).unwrap_or_default());
                // A gateway passes the last piece on to its reader, which may well be gone by the next read.
                if count == 0 || is_ended {
                    self.settle(End::Complete);
                }
                return Ok(count);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Ok(Err(error)) => Self::error_in(error),
            Err(error) => error,
        };
        let end = match self.ended_by_caller() {
            Some(by_caller) => End::Abandoned(by_caller),
            None => End::Failed(error.clone().about(&self.report.auth_id)),
        };
        let error = self.settle(end).unwrap_or(error);
        Err(io::Error::other(error))
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let what = "the answer was not read to its end";
        self.settle(End::Abandoned(Error::new(ErrorCode::Cancelled, what)));
    }
}

/// Room for most answers.
const AT_FIRST: usize = 4 * 1024;

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("provider", &self.report.provider)
            .field("auth_id", &self.report.auth_id)
            .field("ended", &self.source.is_none())
            .finish_non_exhaustive()
    }
}
