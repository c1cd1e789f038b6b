//! [`ScriptedExecutor`]: an executor without a network.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource, ProviderExecutor};
use crate::request::{Format, Options, Request, Response, StreamChunk};

/// An executor without a network: it answers what the test wrote down, and notes every call.
///
/// Each kind of call has a queue of answers; when its queue is empty, the closure for that kind answers; without one, the
/// call fails with code `unscripted`, and a refresh with `unsupported`. Clones are the same executor, so that a test keeps one
/// and gives another to the manager. Any format is spoken.
///
/// ```
/// use credpool::testing::{CallKind, ScriptedExecutor};
/// use credpool::{Attempt, Auth, Error, Options, ProviderExecutor, Request, Response, SystemClock};
///
/// let executor = ScriptedExecutor::new("openai");
/// executor
///     .answer(Err(Error::upstream(429, "slow down")))
///     .answer(Ok(Response::new("{}")));
///
/// let attempt = Attempt::for_tests(SystemClock);
/// let auth = Auth::new("openai").with_id("a");
/// let call = || executor.execute(&attempt, &auth, &Request::new("gpt-5", "{}"), &Options::new());
/// assert_eq!(call().unwrap_err().http_status(), Some(429));
/// assert_eq!(call().unwrap().payload, "{}");
/// assert_eq!(call().unwrap_err().code().as_str(), "unscripted");
///
/// let calls = executor.calls();
/// assert_eq!(calls.len(), 3);
/// assert_eq!((calls[0].kind, calls[0].auth_id.as_str()), (CallKind::Execute, "a"));
/// ```
#[derive(Clone)]
pub struct ScriptedExecutor {
    identifier: Arc<str>,
    script: Arc<Mutex<Script>>,
}

/// A call that a [`ScriptedExecutor`] got.
///
/// ```
/// use credpool::testing::ScriptedExecutor;
/// use credpool::{Auth, Manager, Options, Request, Response};
///
/// let executor = ScriptedExecutor::new("p");
/// executor.answer(Ok(Response::new("pong")));
/// let manager = Manager::builder().build()?;
/// manager.register_executor(executor.clone());
/// manager.register(Auth::api_key("p", "key").with_id("a"))?;
/// manager.execute(["p"], &Request::new("m", "ping"), &Options::new())?;
/// let call = &executor.calls()[0];
/// assert_eq!((call.auth_id.as_str(), call.model.as_str(), call.attempt), ("a", "m", 1));
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The operation of a call.
    pub kind: CallKind,
    /// The credential's id.
    pub auth_id: String,
    /// The model; empty for a refresh.
    pub model: String,
    /// The payload; empty for a refresh.
    pub payload: Bytes,
    /// The attempt's number within its call.
    pub attempt: u32,
}

/// The methods of an executor.
///
/// ```
/// use credpool::testing::{CallKind, ScriptedExecutor};
/// use credpool::{Auth, Error, Manager, Options, Request, Response, StreamChunk};
///
/// let executor = ScriptedExecutor::new("p");
/// executor
///     .on_count(|call| Ok(Response::new(call.payload.clone())))
///     .on_stream(|_| Ok(vec![Ok(StreamChunk::new("hello"))]))
///     .on_refresh(|auth| Ok(auth.clone()));
/// executor.refreshed(Err(Error::upstream(503, "later")));
/// let manager = Manager::builder().build()?;
/// manager.register_executor(executor.clone());
/// manager.register(Auth::api_key("p", "key"))?;
/// manager.execute_count(["p"], &Request::new("m", "{}"), &Options::new())?;
/// assert_eq!(executor.call_count(CallKind::Count), 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CallKind {
    /// [`ProviderExecutor::execute`].
    Execute,
    /// [`ProviderExecutor::execute_stream`].
    Stream,
    /// [`ProviderExecutor::count_tokens`].
    Count,
    /// [`ProviderExecutor::refresh`].
    Refresh,
}

#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    answers: VecDeque<Result<Response, Error>>,
    counts: VecDeque<Result<Response, Error>>,
    streams: VecDeque<StreamScript>,
    refreshes: VecDeque<Result<Auth, Error>>,
    on_execute: Option<Closure<Result<Response, Error>>>,
    on_count: Option<Closure<Result<Response, Error>>>,
    on_stream: Option<Closure<StreamScript>>,
    on_refresh: Option<RefreshClosure>,
}

/// An error of the call, or what the stream gives.
type StreamScript = Result<Vec<Result<StreamChunk, Error>>, Error>;
type Closure<T> = Arc<dyn Fn(&Call) -> T + Send + Sync>;
type RefreshClosure = Arc<dyn Fn(&Auth) -> Result<Auth, Error> + Send + Sync>;

impl ScriptedExecutor {
    /// An executor for a provider, with nothing written down.
    pub fn new(identifier: impl Into<Arc<str>>) -> Self {
        Self {
            identifier: identifier.into(),
            script: Arc::default(),
        }
    }

    /// Writes down the answer to one more `execute`.
    pub fn answer(&self, answer: Result<Response, Error>) -> &Self {
        self.script.lock().answers.push_back(answer);
        self
    }

    /// Writes down the answer to one more `count_tokens`.
    ///
    /// ```
    /// use credpool::testing::ScriptedExecutor;
    /// use credpool::{Response, Usage};
    ///
    /// let executor = ScriptedExecutor::new("p");
    /// executor.count(Ok(Response::new("{}").with_usage(Usage::new(12, 0))));
    /// ```
    pub fn count(&self, answer: Result<Response, Error>) -> &Self {
        self.script.lock().counts.push_back(answer);
        self
    }

    /// Writes down what one more `execute_stream` gives: an immediate error, or items.
    ///
    /// ```
    /// use credpool::testing::ScriptedExecutor;
    /// use credpool::{Attempt, Auth, Error, ErrorCode, Options, ProviderExecutor, Request, StreamChunk, SystemClock};
    ///
    /// let executor = ScriptedExecutor::new("openai");
    /// executor.stream(Ok(vec![
    ///     Ok(StreamChunk::new("{}").with_text("Hel")),
    ///     Err(Error::new(ErrorCode::StreamInterrupted, "gone")),
    /// ]));
    /// let attempt = Attempt::for_tests(SystemClock);
    /// let request = Request::new("gpt-5", "{}");
    /// let mut stream = executor.execute_stream(&attempt, &Auth::new("openai"), &request, &Options::new())?;
    /// assert_eq!(stream.next().unwrap()?.text.as_deref(), Some("Hel"));
    /// assert!(stream.next().unwrap().is_err());
    /// # Ok::<(), Error>(())
    /// ```
    pub fn stream(&self, items: Result<Vec<Result<StreamChunk, Error>>, Error>) -> &Self {
        self.script.lock().streams.push_back(items);
        self
    }

    /// Writes down the answer to one more `refresh`.
    pub fn refreshed(&self, answer: Result<Auth, Error>) -> &Self {
        self.script.lock().refreshes.push_back(answer);
        self
    }

    /// Answers each `execute` for which nothing is written down.
    ///
    /// ```
    /// use credpool::testing::ScriptedExecutor;
    /// use credpool::{Error, Response};
    ///
    /// let executor = ScriptedExecutor::new("openai");
    /// executor.on_execute(|call| match call.auth_id.as_str() {
    ///     "broken" => Err(Error::upstream(500, "")),
    ///     _ => Ok(Response::new("{}")),
    /// });
    /// ```
    pub fn on_execute(
        &self,
        answer: impl Fn(&Call) -> Result<Response, Error> + Send + Sync + 'static,
    ) -> &Self {
        self.script.lock().on_execute = Some(Arc::new(answer));
        self
    }

    /// Answers each `count_tokens` for which nothing is written down.
    pub fn on_count(
        &self,
        answer: impl Fn(&Call) -> Result<Response, Error> + Send + Sync + 'static,
    ) -> &Self {
        self.script.lock().on_count = Some(Arc::new(answer));
        self
    }

    /// Answers each `execute_stream` for which nothing is written down.
    pub fn on_stream(
        &self,
        answer: impl Fn(&Call) -> Result<Vec<Result<StreamChunk, Error>>, Error> + Send + Sync + 'static,
    ) -> &Self {
        self.script.lock().on_stream = Some(Arc::new(answer));
        self
    }

    /// Answers each `refresh` for which nothing is written down.
    pub fn on_refresh(
        &self,
        answer: impl Fn(&Auth) -> Result<Auth, Error> + Send + Sync + 'static,
    ) -> &Self {
        self.script.lock().on_refresh = Some(Arc::new(answer));
        self
    }

    /// All calls so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.script.lock().calls.clone()
    }

    /// How many calls of one kind there were.
    pub fn call_count(&self, kind: CallKind) -> usize {
        let script = self.script.lock();
        script.calls.iter().filter(|call| call.kind == kind).count()
    }

    /// Notes the call and finds its answer: what is written down, else the closure's, which runs without a lock.
    fn play<T>(
        &self,
        call: &Call,
        find: impl FnOnce(&mut Script) -> (Option<Result<T, Error>>, Option<Closure<Result<T, Error>>>),
    ) -> Result<T, Error> {
        let (written, closure) = {
            let mut script = self.script.lock();
            script.calls.push(call.clone());
            find(&mut script)
        };
        if let Some(answer) = written {
            return answer;
        }
        closure.map_or_else(
            || {
                let code = ErrorCode::from("unscripted");
                let what = format!("no answer is written down for {:?}", call.kind);
                Err(Error::new(code, what))
            },
            |closure| closure(call),
        )
    }
}

impl Call {
    fn new(kind: CallKind, attempt: &Attempt, auth: &Auth, request: Option<&Request>) -> Self {
        Self {
            kind,
            auth_id: auth.id.clone(),
            model: request.map_or_else(String::new, |request| request.model.clone()),
            payload: request.map_or_else(Bytes::new, |request| request.payload.clone()),
            attempt: attempt.number(),
        }
    }
}

impl ProviderExecutor for ScriptedExecutor {
    fn identifier(&self) -> &str {
        &self.identifier
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        _options: &Options,
    ) -> Result<Response, Error> {
        let call = Call::new(CallKind::Execute, attempt, auth, Some(request));
        self.play(&call, |script| {
            (script.answers.pop_front(), script.on_execute.clone())
        })
    }

    fn execute_stream(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        _options: &Options,
    ) -> Result<ChunkSource, Error> {
        let call = Call::new(CallKind::Stream, attempt, auth, Some(request));
        let items = self.play(&call, |script| {
            (script.streams.pop_front(), script.on_stream.clone())
        })?;
        Ok(Box::new(items.into_iter()))
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        _options: &Options,
    ) -> Result<Response, Error> {
        let call = Call::new(CallKind::Count, attempt, auth, Some(request));
        self.play(&call, |script| {
            (script.counts.pop_front(), script.on_count.clone())
        })
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        let call = Call::new(CallKind::Refresh, attempt, auth, None);
        let auth = auth.clone();
        self.play(&call, move |script| {
            let closure = script.on_refresh.clone();
            let closure = closure.map(|closure| -> Closure<Result<Auth, Error>> {
                Arc::new(move |_| closure(&auth))
            });
            let unsupported = || {
                let what = "no answer is written down for Refresh";
                Err(Error::new(ErrorCode::Unsupported, what))
            };
            let written = script.refreshes.pop_front();
            let written = written.or_else(|| closure.is_none().then(unsupported));
            (written, closure)
        })
    }

    fn speaks(&self, _format: &Format) -> bool {
        true
    }
}

impl fmt::Debug for ScriptedExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedExecutor")
            .field("identifier", &self.identifier)
            .field("calls", &self.script.lock().calls.len())
            .finish_non_exhaustive()
    }
}
