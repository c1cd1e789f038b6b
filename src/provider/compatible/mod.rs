//! Vendors and servers that speak OpenAI's API, as data: [`CompatibleVendor`], and a table of those that this crate knows.
//!
//! One line makes an executor of each: its credentials need a key and nothing else.
//!
//! ```
//! use credpool::provider::compatible::{GROQ, OLLAMA, OPENROUTER};
//! use credpool::{Auth, Manager};
//!
//! let manager = Manager::builder().build()?;
//! manager.register_executor(OPENROUTER.executor());
//! manager.register_executor(GROQ.executor());
//! manager.register_executor(OLLAMA.executor());
//! manager.register(Auth::api_key("openrouter", "sk-or-…"))?;
//! manager.register(Auth::api_key("groq", "gsk_…"))?;
//! // A server on this machine wants no key.
//! manager.register(Auth::new("ollama"))?;
//! # Ok::<(), credpool::Error>(())
//! ```
//!
//! Another vendor is a constant of your program:
//!
//! ```
//! use credpool::ProviderExecutor;
//! use credpool::provider::compatible::{CompatibleVendor, KeyPlacement};
//! use credpool::provider::http::Dialect;
//!
//! const ACME: CompatibleVendor = CompatibleVendor::new("acme", "https://llm.acme.example/v1")
//!     .with_key(KeyPlacement::Header("x-acme-key"))
//!     .with_dialect(
//!         Dialect::new()
//!             .with_limits(&[("x-acme-left", "x-ratelimit-remaining-requests")])
//!             .with_errors(&[("wallet_empty", "insufficient_quota")])
//!             .with_ends(&[("gpu_lost", "error")]),
//!     )
//!     .with_page("https://llm.acme.example/docs", "2026-11-27");
//!
//! assert_eq!(ACME.executor().identifier(), "acme");
//! ```

mod vendors;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use serde_json::Value;

use super::http::{
    Dialect, HttpExecutor, Vendor, VendorCall, configured_headers, key_value, secret_of,
};
use super::openai::OpenAiApi;
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::request::{Options, Request, Response, Usage};

pub use vendors::*;

/// A vendor, or a server, that speaks OpenAI's API: where it is, how a key travels, and what it calls by names of its own.
///
/// Requests, answers and streams are those of [`OpenAi`](crate::provider::OpenAi), and so are the attributes of credentials. See the
/// [module](self) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompatibleVendor {
    /// The provider key of its credentials, in lower case.
    pub name: Cow<'static, str>,
    /// Where its API is.
    pub address: Address,
    /// How a key travels. Default: as a bearer token.
    pub key: KeyPlacement,
    /// Which API is called where [`Options::alt`] does not say; `None`: chat completions.
    pub alt: Option<&'static str>,
    /// What it calls otherwise than OpenAI does. Default: nothing.
    pub dialect: Dialect,
    /// The vendor's page that says so. Default: empty.
    pub page: &'static str,
    /// The day on which the page, or a copy of it, was looked at: `2026-11-27`. Default: empty.
    pub looked_at: &'static str,
    /// What else there is to know. Default: empty.
    pub note: &'static str,
}

/// Where a vendor's API is. Attribute `base_url` of a credential goes before it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// At one address, with its version: `https://api.groq.com/openai/v1`.
    Common(Cow<'static, str>),
    /// Each account has its own. So it looks, with what is the account's in capitals: `https://RESOURCE.openai.azure.com/openai/v1`. A
    /// credential without attribute `base_url` cannot be used.
    OfAccount(&'static str),
}

/// How a key travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyPlacement {
    /// As `Authorization: Bearer`.
    Bearer,
    /// Attribute `api_key` in the header of this name, in lower case; an access token as `Authorization: Bearer`.
    Header(&'static str),
    /// As `Authorization: Bearer` where the credential has one. It need not.
    Optional,
}

impl CompatibleVendor {
    /// A vendor with the same address for all accounts.
    pub const fn new(name: &'static str, base_url: &'static str) -> Self {
        Self::at(name, Address::Common(Cow::Borrowed(base_url)))
    }

    /// Sets another provider key.
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the address for all credentials that do not have their own.
    ///
    /// ```
    /// use credpool::provider::compatible::AZURE_OPENAI;
    ///
    /// let executor = AZURE_OPENAI.with_base_url("https://contoso.openai.azure.com/openai/v1").executor();
    /// ```
    pub fn with_base_url(mut self, base_url: impl Into<Cow<'static, str>>) -> Self {
        self.address = Address::Common(base_url.into());
        self
    }

    /// A vendor with an address for each account, which looks like `form`, with what is the account's in capitals.
    ///
    /// ```
    /// use credpool::provider::compatible::CompatibleVendor;
    ///
    /// const ACME: CompatibleVendor = CompatibleVendor::of_accounts("acme", "https://ACCOUNT.llm.acme.example/v1");
    /// assert_eq!(ACME.name, "acme");
    /// ```
    pub const fn of_accounts(name: &'static str, form: &'static str) -> Self {
        Self::at(name, Address::OfAccount(form))
    }

    const fn at(name: &'static str, address: Address) -> Self {
        Self {
            name: Cow::Borrowed(name),
            address,
            key: KeyPlacement::Bearer,
            alt: None,
            dialect: Dialect::new(),
            page: "",
            looked_at: "",
            note: "",
        }
    }

    /// Sets how a key travels.
    pub const fn with_key(mut self, key: KeyPlacement) -> Self {
        self.key = key;
        self
    }

    /// Sets which API is called where [`Options::alt`] does not say: `responses`.
    pub const fn with_alt(mut self, alt: &'static str) -> Self {
        self.alt = Some(alt);
        self
    }

    /// Sets what the vendor calls otherwise than OpenAI does.
    pub const fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Sets the vendor's page, and the day on which it was looked at.
    pub const fn with_page(mut self, page: &'static str, day: &'static str) -> Self {
        self.page = page;
        self.looked_at = day;
        self
    }

    /// Sets what else there is to know.
    pub const fn with_note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }

    /// The executor for the credentials of provider [`name`](Self::name).
    pub fn executor(&self) -> HttpExecutor<Self> {
        HttpExecutor::of(self.clone()).with_identifier(self.name.clone())
    }

    /// The options with the API that this vendor has.
    fn options<'a>(&self, options: &'a Options) -> Cow<'a, Options> {
        match self.alt.filter(|_| options.alt.is_none()) {
            Some(alt) => Cow::Owned(options.clone().with_alt(alt)),
            None => Cow::Borrowed(options),
        }
    }
}

impl Vendor for CompatibleVendor {
    fn format(&self) -> &'static str {
        OpenAiApi.format()
    }

    fn base_url(&self) -> &str {
        match &self.address {
            Address::Common(base_url) => base_url,
            Address::OfAccount(_) => "",
        }
    }

    fn address(&self, auth: &Auth) -> Result<String, Error> {
        match (auth.attributes.filled("base_url"), &self.address) {
            (Some(base_url), _) => Ok(base_url.to_owned()),
            (None, Address::Common(base_url)) => Ok(base_url.trim().to_owned()),
            (None, Address::OfAccount(form)) => {
                let what = format!("attribute base_url is missing: it looks like {form}");
                Err(auth.unfit(&what))
            }
        }
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        match self.key {
            KeyPlacement::Header(name) => headers_with(name, auth),
            KeyPlacement::Optional if secret_of(auth).is_none() => configured_headers(auth, &[]),
            KeyPlacement::Bearer | KeyPlacement::Optional => OpenAiApi.credential_headers(auth),
        }
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        OpenAiApi.usage_reader()
    }

    fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// A call brings no credential.
    fn merge(&self, _: &mut HeaderMap, call: &mut HeaderMap) {
        if let KeyPlacement::Header(name) = self.key {
            call.remove(name);
        }
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let options = self.options(call.options());
        OpenAiApi.execute(&call.with_options(&options), request)
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        let options = self.options(call.options());
        OpenAiApi.stream(&call.with_options(&options), request)
    }

    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let options = self.options(call.options());
        OpenAiApi.count_tokens(&call.with_options(&options), request)
    }
}

/// The key in a header of its own, or else the token as the bearer.
fn headers_with(name: &'static str, auth: &Auth) -> Result<HeaderMap, Error> {
    let Ok(name) = HeaderName::try_from(name) else {
        let what = format!("its vendor's key would travel in {name:?}, which is no header");
        return Err(auth.unfit(&what));
    };
    let mut headers = configured_headers(auth, &[])?;
    if let Some(key) = auth.attributes.filled("api_key") {
        headers.insert(name, key_value(auth, key)?);
    } else if !headers.contains_key(&name) {
        return OpenAiApi.credential_headers(auth);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests;
