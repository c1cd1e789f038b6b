//! [`Builder`]: the settings of a manager.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::Secret;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::execution::StreamSettings;
use crate::observe::{Hook, NoopHook, Prices};
use crate::policy::FailurePolicy;
use crate::registry::UseLimits;
use crate::request::{ChainLink, Chains};
use crate::resources::Remembered;
use crate::runtime::{LaneLimits, PerProcess};
use crate::selection::{RoundRobin, Selector};
use crate::store::Store;
use crate::transport::{IdleConnections, TlsSettings};

use super::{Inner, Manager};

/// Settings of a [`Manager`]. Every one has a default.
///
/// ```
/// use credpool::{Manager, MemoryStore};
///
/// let manager = Manager::builder()
///     .store(MemoryStore::new())
///     .max_streams(64)
///     .build()?;
/// # drop(manager);
/// # Ok::<(), credpool::Error>(())
/// ```
#[must_use]
pub struct Builder {
    pub(super) store: Option<Arc<dyn Store>>,
    pub(super) selector: Arc<dyn Selector>,
    pub(super) hook: Arc<dyn Hook>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) policy: FailurePolicy,
    pub(super) proxy: Secret,
    pub(super) idle: IdleConnections,
    pub(super) tls: TlsSettings,
    pub(super) jobs: LaneLimits,
    pub(super) max_streams: usize,
    pub(super) refresh_threads: usize,
    pub(super) refreshes_per_client: usize,
    pub(super) min_refresh_gap: Duration,
    pub(super) streams: StreamSettings,
    pub(super) seed: Option<u64>,
    pub(super) use_limits: UseLimits,
    pub(super) remembered: Remembered,
    pub(super) chains: Chains,
    pub(super) prices: Prices,
}

impl Default for Builder {
    fn default() -> Self {
        Self::of(None, None, None)
    }
}

impl Builder {
    pub(super) fn of(
        store: Option<Arc<dyn Store>>,
        selector: Option<Arc<dyn Selector>>,
        hook: Option<Arc<dyn Hook>>,
    ) -> Self {
        Self {
            store,
            selector: selector.unwrap_or_else(|| Arc::new(RoundRobin::new())),
            hook: hook.unwrap_or_else(|| Arc::new(NoopHook)),
            clock: Arc::new(SystemClock),
            policy: FailurePolicy::default(),
            proxy: Secret::default(),
            idle: IdleConnections::default(),
            tls: TlsSettings::default(),
            jobs: LaneLimits {
                threads: 64,
                queue: 1024,
            },
            max_streams: 256,
            refresh_threads: 8,
            refreshes_per_client: 8,
            min_refresh_gap: Duration::from_secs(30),
            streams: StreamSettings {
                buffer: 256,
                consumer_timeout: Duration::from_secs(60),
            },
            seed: None,
            use_limits: UseLimits::default(),
            remembered: Remembered::default(),
            chains: Chains::default(),
            prices: Prices::default(),
        }
    }

    /// Where records are kept. Default: in memory alone.
    pub fn store(mut self, store: impl Store + 'static) -> Self {
        self.store = Some(Arc::new(store));
        self
    }

    /// The selection strategy. Default: [`RoundRobin`].
    #[doc(alias = "load balancing")]
    pub fn selector(mut self, selector: impl Selector + 'static) -> Self {
        self.selector = Arc::new(selector);
        self
    }

    /// The hook that is called with changes and results. Default: none.
    pub fn hook(mut self, hook: impl Hook + 'static) -> Self {
        self.hook = Arc::new(hook);
        self
    }

    /// The clock. Default: the machine's.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// What errors mean. Default: [`FailurePolicy::default`].
    pub fn policy(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The proxy for credentials without one of their own, as [`Auth::proxy_url`](crate::Auth::proxy_url). Default: none;
    /// the environment is not read.
    pub fn proxy(mut self, url: impl Into<Secret>) -> Self {
        self.proxy = url.into();
        self
    }

    /// Accepts the certificates of servers and proxies that one of these root certificates has signed, beside those that Mozilla
    /// accepts. `pem` is one certificate or a bundle; further calls add more. Those in the file that the environment variable
    /// `SSL_CERT_FILE` names, and in the directories of `SSL_CERT_DIR`, are added likewise; they are read once, before the first
    /// connection with TLS.
    /// A credential adds its own by attribute `ca_certificates`: PEM, or the path of a file with it, which is read again when it
    /// changes.
    ///
    /// [`build`](Self::build) fails with code `config` where no certificate can be read.
    ///
    /// ```no_run
    /// let company = std::fs::read("/etc/company/ca.pem")?;
    /// let manager = credpool::Manager::builder()
    ///     .root_certificates(company)
    ///     .build()?;
    /// # drop(manager);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls.roots.push(pem.into());
        self
    }

    /// The certificate with its chain, and its key, for servers and proxies that ask for one; both as PEM. Default: none. A
    /// credential has its own by the attributes `client_certificate` and `client_key`: PEM, or the path of a file with it, which
    /// is read again when it changes. Keys with a password cannot be read.
    ///
    /// [`build`](Self::build) fails with code `config` where they cannot be read, or do not belong together.
    ///
    /// ```no_run
    /// let certificate = std::fs::read("/etc/company/client.pem")?;
    /// let key = std::fs::read_to_string("/etc/company/client.key")?;
    /// let manager = credpool::Manager::builder()
    ///     .client_certificate(certificate, key)
    ///     .build()?;
    /// # drop(manager);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn client_certificate(mut self, chain: impl Into<Vec<u8>>, key: impl Into<Secret>) -> Self {
        self.tls.client = Some((chain.into(), key.into()));
        self
    }

    /// At most this many idle connections are kept, to all hosts together; each proxy and each TLS identity has a pool of its own.
    /// Default: 1,024. A connection that was idle for 15 s is used no more. 0: each request opens a new connection.
    ///
    /// ```
    /// let manager = credpool::Manager::builder()
    ///     .max_idle_connections(200)
    ///     .max_idle_connections_per_host(20)
    ///     .build()?;
    /// # drop(manager);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn max_idle_connections(mut self, connections: usize) -> Self {
        self.idle.in_all = connections;
        self
    }

    /// At most this many idle connections are kept to one host. Default: 1,024, so that as many are kept as were in use together.
    pub fn max_idle_connections_per_host(mut self, connections: usize) -> Self {
        self.idle.per_host = connections;
        self
    }

    /// At most this many threads for submitted calls. Default: 64.
    pub fn max_job_threads(mut self, threads: usize) -> Self {
        self.jobs.threads = threads;
        self
    }

    /// At most this many submitted calls that wait for a thread. Default: 1,024.
    pub fn job_queue(mut self, places: usize) -> Self {
        self.jobs.queue = places;
        self
    }

    /// At most this many live streams; each has a thread. Default: 256.
    pub fn max_streams(mut self, streams: usize) -> Self {
        self.max_streams = streams;
        self
    }

    /// At most this many concurrent refreshes. Default: 8. A refresh that has run for two seconds, because its token endpoint hangs, no
    /// longer counts, up to 15 of those for each one here.
    pub fn refresh_threads(mut self, threads: usize) -> Self {
        self.refresh_threads = threads;
        self
    }

    /// At most this many concurrent refreshes for one client of a token endpoint (`token_url` and `client_id`; without them, the
    /// provider). Default: 8. Of one login there is never more than one. 1 is for a token endpoint that revokes the logins of a client
    /// when two of them are refreshed concurrently.
    pub fn refreshes_per_client(mut self, refreshes: usize) -> Self {
        self.refreshes_per_client = refreshes;
        self
    }

    /// The least time between two refreshes of one credential, whatever its token endpoint says of lifetimes. Only these come
    /// sooner: [`Manager::refresh_now`]; the tries after an answer was lost; and, where the token has ended, those after a passing fault of
    /// the token endpoint (408, 429, 5xx), which back off from a second on. Default: 30 s.
    pub fn min_refresh_gap(mut self, gap: Duration) -> Self {
        self.min_refresh_gap = gap;
        self
    }

    /// At most this many chunks of a stream between its worker and its consumer. Default: 256.
    #[doc(alias = "backpressure")]
    pub fn stream_buffer(mut self, chunks: usize) -> Self {
        self.streams.buffer = chunks;
        self
    }

    /// Cancels a stream whose reader has been stalled, with the buffer full, for between one and two times this long.
    /// Default: 60 s.
    pub fn consumer_timeout(mut self, timeout: Duration) -> Self {
        self.streams.consumer_timeout = timeout;
        self
    }

    /// Makes chance (the jitter of cooldowns) repeatable: for tests and simulations. Default: none of it is foreseeable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// At most this many concurrent requests with a credential, over all models, where its attribute `max_concurrent` does not say
    /// otherwise. Default: no limit.
    pub fn max_concurrent(mut self, requests: u32) -> Self {
        self.use_limits.max_concurrent = Some(requests);
        self
    }

    /// At most this many requests a minute with a credential, for each model, where its attribute `rpm` does not say otherwise.
    /// Default: no limit.
    #[doc(alias = "rate limiting")]
    #[doc(alias = "sliding window")]
    #[doc(alias = "rpm")]
    pub fn requests_per_minute(mut self, requests: u64) -> Self {
        self.use_limits.rpm = Some(requests);
        self
    }

    /// At most this many tokens a minute with a credential, for each model, where its attribute `tpm` does not say otherwise. A
    /// request is reckoned with a token for every four bytes of its payload until its answer says what it used. Default: no
    /// limit.
    #[doc(alias = "rate limiting")]
    #[doc(alias = "sliding window")]
    #[doc(alias = "tpm")]
    pub fn tokens_per_minute(mut self, tokens: u64) -> Self {
        self.use_limits.tpm = Some(tokens);
        self
    }

    /// At most this many resources are remembered with the credential that made them: stored responses, files, batches, caches and whatever
    /// else a vendor keeps for one account alone. A request that names one goes to that credential; see
    /// [the guide](crate::guide::selecting#what-belongs-to-one-account). Those that are to be forgotten first make room. Default: 100,000.
    /// 0: none are, and such a request goes to any credential.
    ///
    /// ```
    /// let manager = credpool::Manager::builder().max_resources(0).build()?;
    /// # drop(manager);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "sticky routing")]
    #[doc(alias = "session affinity")]
    pub fn max_resources(mut self, resources: usize) -> Self {
        self.remembered.most = resources;
        self
    }

    /// For how long a resource is remembered after it was made, or used last. Default: 30 days, as long as OpenAI keeps a response.
    #[doc(alias = "sticky routing")]
    pub fn resource_expiry(mut self, expiry: Duration) -> Self {
        self.remembered.expiry = expiry;
        self
    }

    /// Gives a chain of models a name, "this, else that": a request for the model `name` asks the links in order, each with the member
    /// `model` of the payload rewritten, until a credential of one is ready. Calling it again with the same name replaces the chain. See
    /// [the guide](crate::guide::models#chains).
    ///
    /// [`build`](Self::build) fails with code `config` for a chain without links, for a link without a model, and for one that leads to a
    /// chain.
    ///
    /// ```
    /// use credpool::{ChainLink, Manager};
    ///
    /// let claude = ChainLink::new("claude-opus-4-5").with_provider("anthropic");
    /// let manager = Manager::builder()
    ///     .model_chain("cheap", ["gpt-5-mini", "gpt-5-nano"])
    ///     .model_chain("best", ["gpt-5-pro".into(), claude])
    ///     .build()?;
    /// # drop(manager);
    /// # Ok::<(), credpool::Error>(())
    /// ```
    #[doc(alias = "fallback")]
    #[doc(alias = "model groups")]
    pub fn model_chain<L: Into<ChainLink>>(
        mut self,
        name: impl Into<String>,
        links: impl IntoIterator<Item = L>,
    ) -> Self {
        let links = links.into_iter().map(Into::into);
        self.chains.insert(name.into(), links);
        self
    }

    /// Builds the manager and starts its writer.
    ///
    /// # Errors
    /// `config` for a limit of zero or beyond reason, and for certificates that cannot be used; when the system gives no thread.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use credpool::{FailurePolicy, Headroom, Manager, ManualClock, NoopHook, SystemClock, Clock};
    ///
    /// let manager = Manager::builder()
    ///     .selector(Headroom::new())
    ///     .policy(FailurePolicy::default().with_max_wait(Duration::from_secs(5)))
    ///     .hook(NoopHook)
    ///     .proxy("http://proxy.example.org:3128")
    ///     // For each credential, unless its attributes say otherwise.
    ///     .max_concurrent(4)
    ///     .requests_per_minute(60)
    ///     .tokens_per_minute(100_000)
    ///     .max_job_threads(8)
    ///     .job_queue(100)
    ///     .stream_buffer(16)
    ///     .consumer_timeout(Duration::from_secs(60))
    ///     .refresh_threads(2)
    ///     .refreshes_per_client(1)
    ///     .min_refresh_gap(Duration::from_secs(30))
    ///     // A test's clock, and the same choices in each run.
    ///     .clock(ManualClock::at(SystemClock.now()))
    ///     .seed(7)
    ///     .build()?;
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn build(self) -> Result<Manager, Error> {
        self.check()?;
        self.policy.log_lints();
        Ok(Manager {
            inner: Arc::new(PerProcess::new(Inner::new(Arc::new(self))?)),
        })
    }

    /// What could never work.
    fn check(&self) -> Result<(), Error> {
        for (name, value) in [
            ("max_job_threads", self.jobs.threads),
            ("max_streams", self.max_streams),
            ("refresh_threads", self.refresh_threads),
            ("refreshes_per_client", self.refreshes_per_client),
            ("stream_buffer", self.streams.buffer),
        ] {
            check(name, value, 1)?;
        }
        check("job_queue", self.jobs.queue, 0)?;
        let UseLimits {
            max_concurrent,
            rpm,
            tpm,
        } = self.use_limits;
        let limits = [
            ("max_concurrent", max_concurrent.map(u64::from)),
            ("requests_per_minute", rpm),
            ("tokens_per_minute", tpm),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            let what = format!("{name} is 0: no credential could ever be used");
            return Err(Error::config(what));
        }
        if self.min_refresh_gap.is_zero() {
            let what = "min_refresh_gap is zero; tokens without a lifetime would be refreshed without a pause";
            return Err(Error::config(what));
        }
        self.remembered.check()?;
        self.chains.check()?;
        if self.streams.consumer_timeout.is_zero() {
            let what = "consumer_timeout is zero; a consumer needs some time";
            return Err(Error::config(what));
        }
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("clock", &self.clock)
            .field("policy", &self.policy)
            .field("proxied", &!self.proxy.is_empty())
            .field("idle", &self.idle)
            .field("jobs", &self.jobs)
            .field("max_streams", &self.max_streams)
            .field("refresh_threads", &self.refresh_threads)
            .field("refreshes_per_client", &self.refreshes_per_client)
            .field("min_refresh_gap", &self.min_refresh_gap)
            .field("stream_buffer", &self.streams.buffer)
            .field("consumer_timeout", &self.streams.consumer_timeout)
            .field("chains", &self.chains)
            .finish_non_exhaustive()
    }
}

fn check(name: &str, value: usize, least: usize) -> Result<(), Error> {
    if (least..=MOST).contains(&value) {
        return Ok(());
    }
    let what = format!("{name} is {value}; it must be from {least} to {MOST}");
    Err(Error::config(what))
}

/// No limit may be higher: channels of this size are allocated immediately.
const MOST: usize = 1 << 20;
