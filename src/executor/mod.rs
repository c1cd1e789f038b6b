//! The [`ProviderExecutor`] trait, which calls a provider, and the [`Attempt`] that an executor gets.

mod attempt;
mod raw;
mod send;

pub use attempt::Attempt;
pub(crate) use attempt::Context;
pub use raw::{RawAnswer, ReadAnswer};
pub use send::Body;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::panic::guard;
use crate::per_thread::PerThread;
use crate::request::{Format, Options, RawRequest, Request, Response, StreamChunk, normalized};

/// Calls one provider: the seam between the pool and an upstream.
///
/// Only [`identifier`](Self::identifier) and [`execute`](Self::execute) must be written; the others default to what an upstream without
/// streams, counts, raw calls and logins can do.
///
/// Methods block. They are called concurrently from many threads, with no lock held, and a panic in one is an error of that call
/// with code `panicked`. See the [guide](crate::guide::providers) for a whole executor.
///
/// ```
/// use credpool::{
///     Attempt, Auth, ChunkSource, Error, Format, Options, ProviderExecutor, Request, Response, StreamChunk,
/// };
///
/// /// Answers with what it gets.
/// struct Echo;
///
/// impl ProviderExecutor for Echo {
///     fn identifier(&self) -> &str {
///         "echo"
///     }
///
///     fn execute(&self, _: &Attempt, _: &Auth, request: &Request, _: &Options) -> Result<Response, Error> {
///         Ok(Response::new(request.payload.clone()))
///     }
///
///     fn execute_stream(&self, _: &Attempt, _: &Auth, request: &Request, _: &Options) -> Result<ChunkSource, Error> {
///         Ok(Box::new([Ok(StreamChunk::new(request.payload.clone()))].into_iter()))
///     }
///
///     fn refresh(&self, _: &Attempt, auth: &Auth) -> Result<Auth, Error> {
///         Ok(auth.clone().with_metadata("access_token", "new"))
///     }
///
///     fn speaks(&self, _: &Format) -> bool {
///         true
///     }
/// }
///
/// let manager = credpool::Manager::builder().build()?;
/// manager.register_executor(Echo);
/// manager.register(Auth::api_key("echo", "key"))?;
/// let answer = manager.execute(["echo"], &Request::new("m", "hello"), &Options::new())?;
/// assert_eq!(answer.payload, "hello");
/// # Ok::<(), Error>(())
/// ```
pub trait ProviderExecutor: Send + Sync {
    /// The provider's key that this executor serves; trimmed and lower-cased by the manager.
    fn identifier(&self) -> &str;

    /// Makes the call and returns the whole answer.
    ///
    /// # Errors
    /// What the policy is to classify: [`Error::upstream`] for an answer with an error status, code `transport` where there
    /// was none.
    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error>;

    /// Starts a stream. The returned iterator blocks for each chunk, owns what it needs, and is read until its first error
    /// or its end.
    ///
    /// When [`Attempt::cancel_token`] is cancelled, an iterator gives up with code `cancelled`, whatever it waits for: that is how a caller
    /// dropping the stream ends it.
    ///
    /// The default returns code `unsupported`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); an error here, or before the first content chunk, fails over.
    fn execute_stream(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<ChunkSource, Error> {
        let _ = (attempt, auth, request, options);
        Err(unsupported(self.identifier(), "stream"))
    }

    /// Counts the tokens of a request without running it.
    ///
    /// The default returns code `unsupported`.
    ///
    /// # Errors
    /// Code `unsupported` where the upstream cannot count.
    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let _ = (attempt, auth, request, options);
        Err(unsupported(self.identifier(), "count tokens"))
    }

    /// Sends any request of the provider's API, and returns the answer as soon as its head is there: method, path, query, headers and body as
    /// they are, below the credential's address and with its key in place of any other; redirects are not followed. The body of the answer is
    /// passed on as it comes; a cancel or the deadline ends a read of it, and dropping it closes the connection.
    ///
    /// The default returns code `unsupported`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute): an answer with another status than 2xx and 304 is an [`Error::upstream`], so that the call fails over.
    /// Code `config` for a path that would leave the credential's address, and for a body that cannot be read.
    ///
    /// ```
    /// use credpool::{Attempt, Auth, Error, Options, RateLimits, RawAnswer, RawRequest, ResponseHead};
    ///
    /// /// Answers every request with `pong`.
    /// fn execute_raw(attempt: &Attempt, auth: &Auth, request: &RawRequest, options: &Options) -> Result<RawAnswer, Error> {
    ///     # let _ = (attempt, auth, request, options);
    ///     let head = ResponseHead::new(http::StatusCode::OK);
    ///     let limits = RateLimits::from_headers(&head.headers, attempt.clock().now());
    ///     Ok(RawAnswer::new(head, &b"pong"[..]).with_rate_limits(limits))
    /// }
    /// ```
    fn execute_raw(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &RawRequest,
        options: &Options,
    ) -> Result<RawAnswer, Error> {
        let _ = (attempt, auth, request, options);
        Err(unsupported(self.identifier(), "make raw calls"))
    }

    /// Where the provider lists its models, with the query that a raw `GET` needs: [`Manager::refresh_models`](crate::Manager::refresh_models)
    /// asks there, for the pages that follow, too. The answer is JSON with `data` or `models`, whose items have an `id` or a `name`.
    ///
    /// `None` by default: it lists none.
    ///
    /// ```
    /// /// As of most compatible servers.
    /// fn models_path() -> Option<&'static str> {
    ///     Some("/models")
    /// }
    /// # assert!(models_path().is_some());
    /// ```
    fn models_path(&self) -> Option<&str> {
        None
    }

    /// Gets new tokens and returns the record with them.
    ///
    /// The default returns code `unsupported`.
    ///
    /// # Errors
    /// Why there are no new tokens; code `needs_login` where a person must log in again.
    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        let _ = (attempt, auth);
        Err(unsupported(self.identifier(), "refresh"))
    }

    /// Whether the executor understands payloads of this format; by default, only the one named like the provider.
    fn speaks(&self, format: &Format) -> bool {
        format.as_str().eq_ignore_ascii_case(self.identifier())
    }

    /// How this executor puts credentials into an HTTP request that the program sends itself, if it can.
    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        None
    }
}

fn unsupported(provider: &str, what: &str) -> Error {
    let message = format!("the executor for {provider} cannot {what}");
    Error::new(ErrorCode::Unsupported, message)
}

/// The chunks of a stream, one blocking call each.
///
/// ```
/// use credpool::{ChunkSource, StreamChunk};
///
/// let source: ChunkSource = Box::new(["a", "b"].map(|text| Ok(StreamChunk::new(text).with_text(text))).into_iter());
/// assert_eq!(source.count(), 2);
/// ```
pub type ChunkSource = Box<dyn Iterator<Item = Result<StreamChunk, Error>> + Send>;

/// Puts a credential into an HTTP request that the program sends by itself; see
/// [`Manager::inject_credentials`](crate::Manager::inject_credentials).
///
/// ```
/// use credpool::provider::http::key_value;
/// use credpool::{Auth, Error, RequestPreparer};
///
/// /// The key goes into a header of the vendor's.
/// struct KeyHeader;
/// impl RequestPreparer for KeyHeader {
///     fn prepare_request(&self, request: &mut http::request::Parts, auth: &Auth) -> Result<(), Error> {
///         let mut value = key_value(auth, auth.attributes.get("api_key").unwrap_or_default())?;
///         value.set_sensitive(true);
///         request.headers.insert("x-key", value);
///         Ok(())
///     }
/// }
///
/// let (mut head, ()) = http::Request::get("https://llm.example.org/").body(()).unwrap().into_parts();
/// KeyHeader.prepare_request(&mut head, &Auth::api_key("p", "key"))?;
/// assert_eq!(head.headers["x-key"], "key");
/// # Ok::<(), Error>(())
/// ```
pub trait RequestPreparer: Send + Sync {
    /// Changes the head of the request.
    ///
    /// # Errors
    /// Code `config` when the credential has nothing fit to send.
    fn prepare_request(&self, request: &mut http::request::Parts, auth: &Auth)
    -> Result<(), Error>;
}

type ByProvider = HashMap<Arc<str>, PerThread<Arc<Provider>>, foldhash::fast::RandomState>;

/// The executors of a manager, by provider.
#[derive(Default)]
pub(crate) struct Executors {
    by_provider: ArcSwap<ByProvider>,
}

/// A provider that a call asks. On a cache line of its own: calls count themselves in and out of it.
#[repr(align(128))]
pub(crate) struct Provider {
    /// In normal form.
    pub(crate) name: Arc<str>,
    executor: Option<Arc<dyn ProviderExecutor>>,
}

impl Executors {
    /// Adds an executor; a former one for the same provider is replaced. One that does not say which provider it is for is not
    /// taken.
    pub(crate) fn register(&self, executor: &Arc<dyn ProviderExecutor>) {
        let identifier = guard(
            || "an executor's identifier".to_owned(),
            || normalized(executor.identifier()),
        );
        let provider = match identifier {
            Ok(provider) if !provider.is_empty() => provider,
            _ => {
                log::error!("an executor without an identifier cannot be registered");
                return;
            }
        };
        let copies = copies(&provider, executor);
        self.by_provider.rcu(|present| {
            let mut changed = ByProvider::clone(present);
            changed.insert(provider.as_str().into(), copies.clone());
            changed
        });
    }

    /// The same executors.
    pub(crate) fn copy(&self) -> Self {
        let by_provider = self.by_provider.load();
        let executors = by_provider.iter().filter_map(|(name, of_provider)| {
            let executor = of_provider.own().executor.as_ref()?;
            Some((name.clone(), copies(name, executor)))
        });
        Self {
            by_provider: ArcSwap::from_pointee(executors.collect()),
        }
    }

    /// A provider by its name, in any form.
    pub(crate) fn provider(&self, name: &str) -> Arc<Provider> {
        let by_provider = self.by_provider.load();
        // The name of an executor is in normal form.
        if let Some(copies) = by_provider.get(name) {
            return Arc::clone(copies.own());
        }
        let name = normalized(name);
        by_provider.get(&*name).map_or_else(
            || {
                Arc::new(Provider {
                    name: name.as_str().into(),
                    executor: None,
                })
            },
            |copies| Arc::clone(copies.own()),
        )
    }
}

/// Each user of a provider counts, each copy for fewer.
fn copies(name: &str, executor: &Arc<dyn ProviderExecutor>) -> PerThread<Arc<Provider>> {
    PerThread::new(|| {
        Arc::new(Provider {
            name: name.into(),
            executor: Some(Arc::clone(executor)),
        })
    })
}

impl Provider {
    /// What calls it.
    pub(crate) fn executor(&self) -> Result<&Arc<dyn ProviderExecutor>, Error> {
        self.executor.as_ref().ok_or_else(|| {
            let what = format!("no executor is registered for provider {}", self.name);
            Error::new(ErrorCode::ExecutorNotFound, what)
        })
    }
}

impl fmt::Debug for Executors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.by_provider.load().keys())
            .finish()
    }
}
