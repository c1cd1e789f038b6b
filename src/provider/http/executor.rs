//! [`HttpExecutor`]: the executor that all vendors share: credentials, headers, URLs, plain calls, streams, refreshes.

use http::request::Parts;

use super::call::{Vendor, VendorCall};
use super::sse::DEFAULT_EVENT_LIMIT;
use crate::auth::Auth;
use crate::error::{Error, ErrorCode};
use crate::executor::{Attempt, ChunkSource, ProviderExecutor, RawAnswer, RequestPreparer};
use crate::provider::oauth;
use crate::request::{Format, Options, RawRequest, Request, Response};
use crate::transport::check_url;

/// The [`ProviderExecutor`] of a [`Vendor`]: [`OpenAi`](crate::provider::OpenAi), [`Anthropic`](crate::provider::Anthropic) and
/// [`Gemini`](crate::provider::Gemini) are such executors.
///
/// It sends requests with the credential's connections, adds [`Options::headers`] and [`Options::query`] (but for headers that the
/// credential sets or that belong to the connection), follows no redirects, reads what the headers say of limits, and refreshes tokens
/// with [`refresh_tokens`](crate::provider::refresh_tokens).
///
/// ```
/// use credpool::ProviderExecutor;
/// use credpool::provider::http::HttpExecutor;
/// use credpool::provider::{OpenAi, OpenAiApi};
///
/// // A server that speaks OpenAI's protocol, under a name of its own: attribute `base_url` has its address.
/// let executor = OpenAi::named("groq").with_event_limit(1 << 20);
/// assert_eq!(executor.identifier(), "groq");
/// let same = HttpExecutor::of(OpenAiApi::default()).with_identifier("groq");
/// assert_eq!(same.identifier(), "groq");
/// ```
#[derive(Clone, Debug)]
pub struct HttpExecutor<V> {
    vendor: V,
    identifier: String,
    event_limit: usize,
}

impl<V: Vendor> HttpExecutor<V> {
    /// The executor for the provider of the vendor's own name. See [`Vendor`] for an example.
    pub fn of(vendor: V) -> Self {
        let identifier = vendor.format().to_owned();
        Self {
            vendor,
            identifier,
            event_limit: DEFAULT_EVENT_LIMIT,
        }
    }

    /// Sets the provider key, for credentials of another server with the same API: they need attribute `base_url`.
    ///
    /// ```
    /// use credpool::ProviderExecutor;
    /// use credpool::provider::OpenAi;
    ///
    /// assert_eq!(OpenAi::new().with_identifier("my-llm").identifier(), "my-llm");
    /// ```
    pub fn with_identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = identifier.into();
        self
    }

    /// Sets how many bytes one event of a stream may have, where the call does not say ([`Options::event_limit`]): a longer one ends
    /// the call with `stream_malformed`, is held against no credential and not retried. Default: 64 MiB, as for a plain answer;
    /// images come as events of several MiB.
    ///
    /// ```
    /// let executor = credpool::provider::OpenAi::new().with_event_limit(16 * 1024 * 1024);
    /// ```
    pub fn with_event_limit(mut self, bytes: usize) -> Self {
        self.event_limit = bytes;
        self
    }

    fn call<'a>(
        &'a self,
        attempt: &'a Attempt,
        auth: &'a Auth,
        options: &'a Options,
    ) -> VendorCall<'a> {
        VendorCall {
            vendor: &self.vendor,
            identifier: &self.identifier,
            attempt,
            auth,
            options,
            event_limit: self.event_limit,
        }
    }
}

impl<V: Vendor + Default> HttpExecutor<V> {
    /// The executor for the provider of the vendor's own name: `openai`, `anthropic`, `gemini`.
    ///
    /// ```
    /// use credpool::ProviderExecutor;
    /// use credpool::provider::{Anthropic, Gemini, OpenAi};
    ///
    /// assert_eq!(OpenAi::new().identifier(), "openai");
    /// assert_eq!(Anthropic::new().identifier(), "anthropic");
    /// assert_eq!(Gemini::new().identifier(), "gemini");
    /// ```
    pub fn new() -> Self {
        Self::of(V::default())
    }

    /// An executor for another provider key, with the same API. Its credentials need attribute `base_url`, unless they are for the vendor
    /// itself.
    ///
    /// ```
    /// use credpool::{ProviderExecutor, provider::OpenAi};
    ///
    /// assert_eq!(OpenAi::named("my-llm").identifier(), "my-llm");
    /// ```
    pub fn named(identifier: impl Into<String>) -> Self {
        Self::new().with_identifier(identifier)
    }
}

impl<V: Vendor + Default> Default for HttpExecutor<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Vendor> ProviderExecutor for HttpExecutor<V> {
    fn identifier(&self) -> &str {
        &self.identifier
    }

    fn execute(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let call = self.call(attempt, auth, options);
        self.vendor.execute(&call, request)
    }

    fn execute_stream(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<ChunkSource, Error> {
        let call = self.call(attempt, auth, options);
        self.vendor.stream(&call, request)
    }

    fn count_tokens(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &Request,
        options: &Options,
    ) -> Result<Response, Error> {
        let call = self.call(attempt, auth, options);
        self.vendor.count_tokens(&call, request)
    }

    fn execute_raw(
        &self,
        attempt: &Attempt,
        auth: &Auth,
        request: &RawRequest,
        options: &Options,
    ) -> Result<RawAnswer, Error> {
        self.call(attempt, auth, options).raw(request)
    }

    fn models_path(&self) -> Option<&str> {
        self.vendor.models_path()
    }

    fn refresh(&self, attempt: &Attempt, auth: &Auth) -> Result<Auth, Error> {
        oauth::refresh_tokens(attempt, auth)
    }

    fn speaks(&self, format: &Format) -> bool {
        let name = format.as_str();
        let mut others = self.vendor.other_formats().iter();
        name.eq_ignore_ascii_case(self.vendor.format())
            || name.eq_ignore_ascii_case(&self.identifier)
            || others.any(|other| name.eq_ignore_ascii_case(other))
    }

    fn request_preparer(&self) -> Option<&dyn RequestPreparer> {
        Some(self)
    }
}

impl<V: Vendor> RequestPreparer for HttpExecutor<V> {
    /// Puts the credential's headers in place of those of the request. A request whose URL says where it goes must go over `https`, or
    /// stay on this machine.
    fn prepare_request(&self, request: &mut Parts, auth: &Auth) -> Result<(), Error> {
        if self.vendor.signer(auth).is_some() {
            let what = "the credential signs requests with their bodies: make a raw call instead";
            return Err(Error::new(ErrorCode::Unsupported, what).with_auth_id(&auth.id));
        }
        if request.uri.authority().is_some() {
            check_url(&request.uri.to_string(), auth)?;
        }
        let mut own = self.vendor.credential_headers(auth)?;
        self.vendor.merge(&mut own, &mut request.headers);
        request.headers.extend(own);
        Ok(())
    }
}
