//! [`Manager`]: the public handle. Thin: the work is done in the rooms below.

mod builder;
mod login;
mod models;
mod parts;
mod records;
mod reload;
mod report;
mod shutdown;
mod stats;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use builder::Builder;
pub use models::{Model, ModelProvider};
use parts::Inner;
pub use records::LoadReport;
use shutdown::THREAD_END;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::execution::{CallHandle, ChunkStream, Plain, Providers, ResponseBody};
use crate::executor::ProviderExecutor;
use crate::observe::{Hook, Outcome, RefreshHealth};
use crate::panic::guard;
use crate::persistence::StoreHealth;
use crate::request::{Options, RawRequest, Request, Response};
use crate::runtime::PerProcess;
use crate::selection::{Affinity, Selector};
use crate::store::Store;
use crate::transport::TransportProvider;

/// Holds credentials and makes calls with them: selects one, fails over, tracks cooldowns, refreshes
/// tokens before they expire, saves everything in a store, calls a hook.
///
/// A handle: clones share everything, and it may be used from any number of threads. When the last clone goes, the manager is
/// [shut down](Manager::shutdown) with two seconds to spare.
///
/// A child that is forked while no call is under way in another thread uses it as if it had just been built there: with the same executors,
/// settings and credentials, the cooldowns and tokens that were known, and threads, connections and places of its own. See
/// [the guide](crate::guide::fleets#after-a-fork).
///
/// ```no_run
/// use credpool::{Auth, Manager, Options, Request};
///
/// # fn main() -> Result<(), credpool::Error> {
/// let manager = Manager::builder().build()?;
/// manager.register_executor(credpool::provider::OpenAi::new());
/// manager.register(Auth::api_key("openai", "sk-first"))?;
/// manager.register(Auth::api_key("openai", "sk-second"))?;
///
/// let request = Request::new("gpt-5", r#"{"model":"gpt-5","messages":[{"role":"user","content":"Hi"}]}"#);
/// let response = manager.execute(["openai"], &request, &Options::new())?;
/// println!("{}", response.reply_text.unwrap_or_default());
///
/// for chunk in manager.execute_stream(["openai"], &request, &Options::new())? {
///     print!("{}", chunk?.text.unwrap_or_default());
/// }
/// # Ok(())
/// # }
/// ```
#[doc(alias = "pool")]
#[doc(alias = "failover")]
#[doc(alias = "load balancing")]
#[derive(Clone)]
pub struct Manager {
    inner: Arc<PerProcess<Inner>>,
}

impl Manager {
    /// A manager with a store, a selector and a hook, the rest by default. Without a store, records live in memory alone;
    /// without a selector, it is [`RoundRobin`](crate::RoundRobin).
    ///
    /// # Errors
    /// When the system gives no thread.
    #[doc(alias = "NewManager")]
    pub fn new(
        store: Option<Arc<dyn Store>>,
        selector: Option<Arc<dyn Selector>>,
        hook: Option<Arc<dyn Hook>>,
    ) -> Result<Self, Error> {
        Builder::of(store, selector, hook).build()
    }

    /// A manager with more settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Adds an executor; a former one for the same provider is replaced.
    pub fn register_executor(&self, executor: impl ProviderExecutor + 'static) {
        self.view()
            .services
            .executors
            .register(&(Arc::new(executor) as Arc<dyn ProviderExecutor>));
    }

    /// Replaces the store. What is registered stays registered, and the writer takes all of it to the new store.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use credpool::{Auth, Manager, MemoryStore, Store};
    ///
    /// let (manager, store) = (Manager::builder().build()?, Arc::new(MemoryStore::new()));
    /// manager.set_store(Some(store.clone()));
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("a"))?;
    /// assert_eq!(store.list()?.records[0].id, "a");
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn set_store(&self, store: Option<Arc<dyn Store>>) {
        let services = &self.view().services;
        services.store_handle.set_store(store);
        for id in services.registry.all_unsaved() {
            services.store_handle.note(id);
        }
        services.resources.save_all();
    }

    /// Gives credentials their own HTTP agents.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use credpool::{Auth, Error, Manager, TransportProvider, agent_config, cancellable_agent};
    ///
    /// /// One client identity for all credentials of a provider.
    /// struct OwnAgent(ureq::Agent);
    /// impl TransportProvider for OwnAgent {
    ///     fn agent_for(&self, auth: &Auth) -> Result<Option<ureq::Agent>, Error> {
    ///         Ok((auth.provider == "openai").then(|| self.0.clone()))
    ///     }
    /// }
    ///
    /// let manager = Manager::builder().build()?;
    /// let agent = cancellable_agent(agent_config().user_agent("my-program/1").build());
    /// manager.set_transport_provider(Some(Arc::new(OwnAgent(agent))));
    /// # Ok::<(), Error>(())
    /// ```
    #[doc(alias = "SetRoundTripperProvider")]
    pub fn set_transport_provider(&self, provider: Option<Arc<dyn TransportProvider>>) {
        self.view().services.transport.set_provider(provider);
    }

    /// Keeps conversations of the provider `gemini-web` on their credential: wraps the selector in an [`Affinity`] for it.
    ///
    /// ```
    /// let manager = credpool::Manager::builder().build()?;
    /// manager.enable_gemini_web_sticky_selector();
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn enable_gemini_web_sticky_selector(&self) {
        self.view()
            .engine
            .stick(|selector| Arc::new(Affinity::new(selector).for_provider("gemini-web")));
    }

    /// Makes a call and waits for its whole answer, on this thread.
    ///
    /// The providers are tried in turn, beginning with another one at each call for the same model; within a provider, one
    /// credential after the other, as long as the policy says that an error is worth another try.
    ///
    /// Where all credentials are cooling down or at their limits, the call waits for the first to return, as long as
    /// [`FailurePolicy::with_max_wait`](crate::FailurePolicy::with_max_wait) and [`Options::max_wait`] say and its deadline allows.
    ///
    /// # Errors
    /// The last upstream error, when an attempt was made; otherwise why none could be: `provider_not_found`,
    /// `executor_not_found`, `auth_not_found`, `auth_unavailable`, `limit_reached`, `unsupported_format`. Also
    /// `deadline_exceeded`, `cancelled`, `panicked`, `shut_down`, `forked`. Where no credential was left,
    /// [`Error::exhaustion`] says of each credential why and until when.
    pub fn execute<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let inner = self.inner()?;
        let providers = inner.distinct(providers)?;
        inner
            .engine
            .plain(Plain::Execute, providers, request, options)
    }

    /// Makes any request of the provider's API: an upload, an embedding, a list of models. Returns as soon as the head of a good answer is
    /// there; the caller reads the body.
    ///
    /// The credential is selected as for [`execute`](Self::execute), with the same limits, cooldowns and failover, until then: an answer with
    /// another status than 2xx and 304 is an error, with its [`head`](Error::head) and its [`body`](Error::body). What can be sent once
    /// ([`RequestBody::once`](crate::RequestBody::once)) is sent once. [`Timeouts`](crate::Timeouts) are those of streams: so long to the head, and between two reads.
    ///
    /// # Errors
    /// Those of [`execute`](Self::execute); `unsupported` where no provider's executor makes raw calls; `config` for a path with dot segments.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let manager = credpool::Manager::builder().build()?;
    /// let request = http::Request::get("/v1/models").body(())?;
    /// let answer = manager.execute_raw(["openai"], request, &credpool::Options::new())?;
    /// println!("{:?}", answer.headers().get("x-request-id"));
    /// println!("{:?}", answer.into_body().into_bytes(1 << 20)?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn execute_raw<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
        request: impl Into<RawRequest>,
        options: &Options,
    ) -> Result<http::Response<ResponseBody>, Error> {
        let inner = self.inner()?;
        let providers = inner.distinct(providers)?;
        inner.engine.raw(providers, &request.into(), options)
    }

    /// Counts the tokens of a request at the provider; otherwise as [`execute`](Self::execute).
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `unsupported` where no provider of the call can count.
    ///
    /// ```
    /// use credpool::testing::ScriptedExecutor;
    /// use credpool::{Auth, Manager, Options, Request, Response, Usage};
    ///
    /// let executor = ScriptedExecutor::new("p");
    /// executor.count(Ok(Response::new(r#"{"input_tokens": 12}"#).with_usage(Usage::new(12, 0))));
    /// let manager = Manager::builder().build()?;
    /// manager.register_executor(executor);
    /// manager.register(Auth::api_key("p", "key"))?;
    /// let answer = manager.execute_count(["p"], &Request::new("m", "{}"), &Options::new())?;
    /// assert_eq!(answer.usage.map(|usage| usage.input), Some(12));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "count_tokens")]
    #[doc(alias = "ExecuteCount")]
    pub fn execute_count<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let inner = self.inner()?;
        let providers = inner.distinct(providers)?;
        inner
            .engine
            .plain(Plain::CountTokens, providers, request, options)
    }

    /// Makes a call and returns its answer as it arrives.
    ///
    /// The stream is opened on this thread, failover included, up to its first chunk of content (see
    /// [`StreamCommit`](crate::StreamCommit)). From there a worker reads it, and nothing is retried.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); `pool_saturated` (503, worth a retry) when all stream workers are busy, for as long as the call may
    /// wait for a credential: [`Options::max_wait`] or the policy's, and its deadline; and when the system gives no thread.
    pub fn execute_stream<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
        request: &Request,
        options: &Options,
    ) -> Result<ChunkStream, Error> {
        let inner = self.inner()?;
        let providers = inner.distinct(providers)?;
        inner.engine.stream(providers, request, options)
    }

    /// Starts an [`execute`](Self::execute) on a worker and returns as soon as there is a place for it, which is immediately unless the
    /// queue is full.
    ///
    /// # Errors
    /// `provider_not_found`; `pool_saturated` as for [`execute_stream`](Self::execute_stream), when the queue is full; `shut_down`.
    pub fn submit<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
        request: Request,
        options: Options,
    ) -> Result<CallHandle, Error> {
        let inner = self.inner()?;
        let providers = inner.distinct(providers)?;
        inner.engine.submit(providers, request, options)
    }

    /// Records the result of an attempt that the program made itself. An unknown credential changes nothing; hooks receive the
    /// result all the same. The model may be an alias of the credential: the result is one of the vendor's model.
    #[doc(alias = "MarkResult")]
    pub fn mark_result(&self, outcome: &Outcome<'_>) {
        let inner = self.view();
        let registry = &inner.services.registry;
        let model = registry.unaliased(outcome.auth_id, outcome.model);
        let mut outcome: Outcome<'_> = outcome.clone();
        if let Some(model) = &model {
            outcome.model = model;
        }
        inner.engine.record(outcome);
    }

    /// Puts a credential into an HTTP request that the program sends by itself.
    ///
    /// # Errors
    /// `auth_not_found`, `executor_not_found`; `unsupported` when the executor has no preparer; what the preparer says. The
    /// request is then as it was.
    ///
    /// ```
    /// use credpool::provider::OpenAi;
    /// use credpool::{Auth, Manager};
    ///
    /// let manager = Manager::builder().build()?;
    /// manager.register_executor(OpenAi::new());
    /// manager.register(Auth::api_key("openai", "sk-1").with_id("a"))?;
    ///
    /// let request = http::Request::get("https://api.openai.com/v1/models");
    /// let (mut head, ()) = request.body(()).unwrap().into_parts();
    /// manager.inject_credentials(&mut head, "a")?;
    /// assert_eq!(head.headers["authorization"], "Bearer sk-1");
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn inject_credentials(
        &self,
        request: &mut http::request::Parts,
        auth_id: &str,
    ) -> Result<(), Error> {
        let auth = self.known(auth_id)?;
        let provider = self.inner()?.services.executors.provider(&auth.provider);
        let (name, executor) = (&provider.name, provider.executor()?);
        let mut changed = request.clone();
        guard(
            || format!("the executor for {name}"),
            || match executor.request_preparer() {
                Some(preparer) => preparer.prepare_request(&mut changed, &auth),
                None => {
                    let what = format!("the executor for {name} prepares no requests");
                    Err(Error::new(ErrorCode::Unsupported, what))
                }
            },
        )
        .flatten()
        .map_err(|error| error.about(auth_id))?;
        *request = changed;
        Ok(())
    }

    /// Refreshes tokens in the background from now on: one thread sleeps until the next credential is due. Calling it again
    /// replaces the running one.
    ///
    /// `interval` is how often a credential is asked whose [`RefreshEvaluator`](crate::RefreshEvaluator) decides by itself;
    /// all others are refreshed when they are due, and cost nothing before.
    ///
    /// # Errors
    /// When the system gives no thread; `shut_down`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let manager = credpool::Manager::builder().build()?;
    /// manager.start_auto_refresh(Duration::from_secs(60))?;
    /// // … as long as the program runs; then, or with the manager's end:
    /// manager.stop_auto_refresh();
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "StartAutoRefresh")]
    pub fn start_auto_refresh(&self, interval: Duration) -> Result<(), Error> {
        self.inner()?.start_refresher(interval)
    }

    /// Ends refreshing in the background. Refreshes in flight come to their end.
    pub fn stop_auto_refresh(&self) {
        self.view().refresher.stop(THREAD_END);
    }

    /// Refreshes one credential now, due or not, and waits for the outcome. When it is in flight already, this waits for that.
    /// Where another process has refreshed it meanwhile, its tokens are taken over. A login that is known to be over is sent to its token
    /// endpoint by this alone.
    ///
    /// # Errors
    /// `auth_not_found`, `executor_not_found`, `unsupported`; `needs_login` when a person must log in again; why else there
    /// are no new tokens.
    ///
    /// ```
    /// use credpool::testing::ScriptedExecutor;
    /// use credpool::{Auth, Manager, OAuthTokens};
    ///
    /// let executor = ScriptedExecutor::new("p");
    /// executor.on_refresh(|auth| Ok(auth.clone().with_metadata("access_token", "new")));
    /// let manager = Manager::builder().build()?;
    /// manager.register_executor(executor);
    /// let auth = manager.register(Auth::oauth("p", OAuthTokens::new("old").with_refresh_token("refresh")))?;
    /// let auth = manager.refresh_now(&auth.id)?;
    /// assert_eq!(auth.metadata.as_ref().unwrap().text("access_token"), Some("new"));
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "single-flight")]
    pub fn refresh_now(&self, id: &str) -> Result<Arc<Auth>, Error> {
        self.inner()?.refresh.refresh_now(id)
    }

    /// Health of the refreshes: tokens that are not saved, logins that a person must renew.
    pub fn refresh_health(&self) -> RefreshHealth {
        self.view().refresh.health()
    }

    /// Health of the store: whether it fails or hangs, and how much it lacks.
    #[doc(alias = "write-behind")]
    #[doc(alias = "health")]
    pub fn store_health(&self) -> StoreHealth {
        self.view().services.store_handle.health()
    }

    /// The parts of this process.
    fn inner(&self) -> Result<&Inner, Error> {
        self.inner.get(Inner::of_child)
    }

    /// The same for what gives no error: a child that cannot have its own sees its parent's as they were.
    fn view(&self) -> &Inner {
        self.inner().unwrap_or_else(|error| {
            log::warn!("{error}");
            self.inner.inherited()
        })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn engine(&self) -> &crate::execution::Engine {
        &self.view().engine
    }

    fn known(&self, id: &str) -> Result<Arc<Auth>, Error> {
        self.get_by_id(id).ok_or_else(|| Error::not_registered(id))
    }
}

impl Inner {
    /// The providers of a call in normal form: trimmed, lower-cased, without blanks and repeats. Every call begins here.
    fn distinct<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
    ) -> Result<Providers, Error> {
        let mut distinct = Providers::new();
        for provider in providers {
            let provider = self.services.executors.provider(provider.as_ref());
            let is_new = distinct.iter().all(|known| known.name != provider.name);
            if is_new && !provider.name.is_empty() {
                distinct.push(provider);
            }
        }
        if distinct.is_empty() {
            let what = "the call names no provider; give at least one";
            return Err(Error::new(ErrorCode::ProviderNotFound, what));
        }
        Ok(distinct)
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("executors", &self.view().services.executors)
            .field("engine", &self.view().engine)
            .finish_non_exhaustive()
    }
}
