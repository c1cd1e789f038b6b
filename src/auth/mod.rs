//! The credential record: [`Auth`] and its parts. Prose calls it a *credential*.

mod account;
mod aws;
mod check;
mod duration;
mod exchange;
mod expiry;
mod fields;
mod grant;
mod half_open;
mod held;
mod identity;
mod json;
mod login;
mod merge;
mod model_list;
mod model_state;
mod numbers;
mod outage;
mod public;
mod recovery;
mod runtime;
mod scrub;
mod secret;
mod service_account;
mod status;
mod subject_token;
mod tokens;
mod version;
mod wipe;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use account::{AccountInfo, AccountKind};
pub(crate) use aws::AwsKey;
pub(crate) use duration::refresh_interval;
pub use exchange::Exchange;
pub(crate) use exchange::{
    BodyForm, CLOUD_PLATFORM, ExchangeGrant, GOOGLE_METADATA_HOST, Impersonation, JWT_BEARER,
};
pub use expiry::Expiry;
pub(crate) use expiry::{
    EXPIRY_DATE, EXPIRY_NAMES, read_lifetime, read_text as read_time_text, read_value as read_time,
};
pub(crate) use fields::TOKEN_OBJECTS;
pub use fields::{Attributes, Metadata};
pub(crate) use grant::{GrantToken, SpentTokens, has_tokens, same_tokens};
pub(crate) use half_open::HalfOpen;
pub(crate) use identity::{Identity, first_eight};
pub(crate) use json::{from_json, state_from_json, state_to_json, to_json};
pub(crate) use merge::Base;
pub(crate) use model_list::ModelList;
pub use model_state::{ModelState, QuotaState};
pub(crate) use outage::BreakerState;
pub(crate) use public::{ENVELOPE, is_public, is_public_value};
pub(crate) use recovery::{add_recoveries, recoveries_to_json};
pub use runtime::{AuthRuntime, RefreshEvaluator, TokenStorage};
pub(crate) use scrub::{Secrets, scrub};
pub use secret::Secret;
pub(crate) use service_account::ServiceAccount;
pub use status::Status;
pub(crate) use subject_token::Source;
pub use subject_token::SubjectToken;
pub use tokens::OAuthTokens;
pub(crate) use version::{OrderedBy, Version, Versions, add_versions, versions_to_json};
pub(crate) use wipe::{Wipe, Wiped, WipedBytes, make_room, read_wiped, wiped_json};

use serde_json::Value;

use crate::clock::{Timestamp, time_text};
use crate::error::Error;

/// A credential: an API key or a login, with its settings, its tokens and its state.
///
/// The manager hands out shared snapshots (`Arc<Auth>`). A program that wants to change a credential clones the record,
/// changes the copy and gives it to [`Manager::update`](crate::Manager::update); the copy never changes the original.
///
/// In JSON the record has the reference's field names. An unset time is `None` here and `0001-01-01T00:00:00Z` there. Members
/// that this crate does not know survive reading and writing. `file_name`, `storage` and `runtime` are never written.
///
/// ```
/// use credpool::{AccountKind, Auth};
///
/// let auth = Auth::api_key("openai", "sk-123")
///     .with_id("team-a")
///     .with_label("Team A")
///     .with_attribute("base_url", "https://llm.example.org/v1");
/// assert_eq!(auth.attributes.get("api_key"), Some("sk-123"));
/// assert!(!format!("{auth:?}").contains("sk-123"));
/// ```
#[doc(alias = "Credential")]
#[doc(alias = "key rotation")]
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Auth {
    /// Identifies the credential, also across restarts. Empty on a new one: [`register`](crate::Manager::register)
    /// then makes a unique id.
    pub id: String,
    /// The provider's key, such as `openai`; trimmed and lower-cased when registered.
    pub provider: String,
    /// The backing file, relative to the store's directory, where a file store set it.
    pub file_name: Option<String>,
    /// How a login's token file is written, where the program has a format of its own. Not the credential store.
    pub storage: Option<Arc<dyn TokenStorage>>,
    /// A name for people.
    pub label: String,
    /// Lifecycle status.
    pub status: Status,
    /// A short description of the status.
    pub status_message: String,
    /// Switched off by the operator. Only the operator switches it on again.
    pub disabled: bool,
    /// Observed to be unavailable: every known model is.
    pub unavailable: bool,
    /// The proxy for this credential alone: `http`, `https`, `socks4`, `socks4a`, `socks5` or `socks5h`, with
    /// `user:password@` where it needs it. Empty: the manager's proxy, if any.
    pub proxy_url: Secret,
    /// Configuration that executors read.
    pub attributes: Attributes,
    /// Changing state such as tokens. `None` is not the same as empty: a record without metadata is *runtime-only*, as one with
    /// [`Auth::runtime_only`] is, and is never written to a store.
    pub metadata: Option<Metadata>,
    /// The quota, over all models.
    pub quota: QuotaState,
    /// The last failure of a use or a refresh.
    pub last_error: Option<Error>,
    /// When the record was made.
    pub created_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Option<Timestamp>,
    /// The last successful refresh.
    pub last_refreshed_at: Option<Timestamp>,
    /// No refresh before this moment.
    pub next_refresh_after: Option<Timestamp>,
    /// The earliest return, over all models.
    pub next_retry_after: Option<Timestamp>,
    /// What is known per model.
    pub model_states: BTreeMap<String, ModelState>,
    /// User-supplied data, in memory only.
    pub runtime: Option<Arc<dyn AuthRuntime>>,
    /// Why the credential is cooling down for every model.
    pub(crate) outage: Option<BreakerState>,
    /// The half-open state of that cooldown. Never stored.
    pub(crate) outage_half_open: HalfOpen,
    /// What failed of calls without a model.
    pub(crate) cause: Option<BreakerState>,
    /// The half-open state of their cooldown. Never stored.
    pub(crate) half_open: HalfOpen,
    /// When the last of these two was over.
    pub(crate) recovered_at: Option<Timestamp>,
    /// Counts what has made the credential unavailable: its failures, and those that other processes have recorded.
    pub(crate) setbacks: u32,
    /// The last of these that another process has recorded.
    pub(crate) learned: u32,
    /// The order of what has happened to its state, as all processes see it.
    pub(crate) versions: Versions,
    /// What the writer of a stored state kept of that order.
    pub(crate) ordered_by: OrderedBy,
    /// Counts changes of the tokens.
    pub(crate) generation: u64,
    /// The tokens that its grant has spent.
    pub(crate) spent: SpentTokens,
    /// The token that the token endpoint refused for good: a person must log in, as long as the record has it. Or what
    /// [`login_token`](Auth::login_token) says where there is none.
    pub(crate) revoked: Option<GrantToken>,
    /// Its token has ended, and it is not ready until a refresh brings another one, or until then. Never stored.
    pub(crate) awaits_token: Option<Timestamp>,
    /// The error in the credential's settings: it is unavailable until the record changes. Never stored.
    pub(crate) misconfigured: Option<Arc<Error>>,
    /// What this copy was taken with: what the host changed in it shows against this.
    pub(crate) base: Option<Arc<Base>>,
    /// Members of a stored record that this crate does not know.
    pub(crate) extra: Option<Metadata>,
    /// Kept out of stores, metadata or not.
    pub(crate) runtime_only: bool,
}

impl Auth {
    /// An empty record for `provider`: no key, no tokens, no metadata.
    pub fn new(provider: impl Into<String>) -> Self {
        Self {
            provider: provider.into(),
            status: Status::Active,
            ..Self::default()
        }
    }

    /// A credential that is one API key, in attribute `api_key`. It is stored, so that its cooldowns survive a restart; see
    /// [`Auth::runtime_only`] for one that is not.
    pub fn api_key(provider: impl Into<String>, key: impl Into<String>) -> Self {
        let mut auth = Self::new(provider);
        auth.attributes.insert("api_key", key);
        auth.metadata = Some(Metadata::default());
        auth
    }

    /// A credential whose person has not logged in yet: it is stored, shown as pending and not selected, until
    /// [`Manager::log_in`](crate::Manager::log_in) has given it tokens.
    ///
    /// ```
    /// use credpool::{Auth, Status};
    ///
    /// let auth = Auth::pending("openai").with_id("ada").with_label("Ada");
    /// assert_eq!(auth.status, Status::Pending);
    /// ```
    pub fn pending(provider: impl Into<String>) -> Self {
        let mut auth = Self::new(provider);
        auth.status = Status::Pending;
        auth.metadata = Some(Metadata::default());
        auth
    }

    /// A credential with tokens of an OAuth login, in metadata `access_token`, `refresh_token` and `expires_at`.
    ///
    /// ```
    /// use credpool::{Auth, OAuthTokens};
    ///
    /// let auth = Auth::oauth("openai", OAuthTokens::new("access").with_refresh_token("refresh"))
    ///     .with_attribute("token_url", "https://login.example.org/token")
    ///     .with_attribute("client_id", "my-app");
    /// assert_eq!(auth.metadata.unwrap().text("refresh_token"), Some("refresh"));
    /// ```
    ///
    /// With a refresh token alone ([`OAuthTokens::refresh_only`]) the first call gets the access token, with or without the
    /// refresher.
    pub fn oauth(provider: impl Into<String>, tokens: OAuthTokens) -> Self {
        let mut metadata = Metadata::default();
        if !tokens.access_token.is_empty() {
            metadata.insert("access_token", tokens.access_token.expose());
        }
        if let Some(refresh_token) = tokens.refresh_token {
            metadata.insert("refresh_token", refresh_token.expose());
        }
        if let Some(at) = tokens.expires_at {
            metadata.insert("expires_at", time_text(at));
        }
        let mut auth = Self::new(provider);
        auth.metadata = Some(metadata);
        auth
    }

    /// Sets the id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets the label.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets one attribute.
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name, value);
        self
    }

    /// Lets the credential serve these models alone, beside its aliases. Each is a name, or a pattern in which `*` stands for any text;
    /// further calls add more. Default: every model.
    ///
    /// They are kept in attribute `models`, separated by commas. See [the guide](crate::guide::models).
    ///
    /// ```
    /// let auth = credpool::Auth::api_key("openai", "sk-1")
    ///     .with_models(["gpt-5*", "o4-mini"])
    ///     .without_models(["gpt-5-pro"])
    ///     .with_model_alias("fast", "gpt-5-mini");
    /// assert_eq!(auth.attributes.get("models"), Some("gpt-5*, o4-mini, !gpt-5-pro, fast=gpt-5-mini"));
    /// ```
    #[doc(alias = "allowed models")]
    pub fn with_models<N: AsRef<str>>(mut self, models: impl IntoIterator<Item = N>) -> Self {
        let entries = models.into_iter().map(|name| name.as_ref().to_owned());
        model_list::push(&mut self, entries);
        self
    }

    /// Excludes models: names, or patterns with `*`. A name that is listed by itself, or is an alias, counts before an excluding pattern.
    #[doc(alias = "excluded models")]
    pub fn without_models<N: AsRef<str>>(mut self, models: impl IntoIterator<Item = N>) -> Self {
        let entries = models.into_iter().map(|name| format!("!{}", name.as_ref()));
        model_list::push(&mut self, entries);
        self
    }

    /// Serves requests for `alias` with `model`, as the vendor calls it. An alias alone excludes nothing: without
    /// [`with_models`](Self::with_models) the credential serves every other model, too.
    #[doc(alias = "model mapping")]
    pub fn with_model_alias(mut self, alias: impl AsRef<str>, model: impl AsRef<str>) -> Self {
        let entry = format!("{}={}", alias.as_ref(), model.as_ref());
        model_list::push(&mut self, [entry]);
        self
    }

    /// Sets one metadata value. A record that has metadata is stored, unless it is [`runtime_only`](Self::runtime_only).
    ///
    /// ```
    /// let auth = credpool::Auth::new("p").with_metadata("region", "eu");
    /// assert_eq!(auth.metadata.unwrap().text("region"), Some("eu"));
    /// ```
    pub fn with_metadata(
        mut self,
        name: impl Into<String>,
        value: impl Into<serde_json::Value>,
    ) -> Self {
        self.metadata.get_or_insert_default().insert(name, value);
        self
    }

    /// Sets this credential's own proxy.
    ///
    /// ```
    /// let auth = credpool::Auth::api_key("p", "key").with_proxy_url("socks5h://proxy.example.org:1080");
    /// assert!(!auth.proxy_url.is_empty());
    /// ```
    pub fn with_proxy_url(mut self, url: impl Into<Secret>) -> Self {
        self.proxy_url = url.into();
        self
    }

    /// Keeps the record in memory alone: it is used, and its tokens are refreshed, but neither is ever written to a store.
    ///
    /// Its JSON form does not tell: a copy that is read from there is an ordinary record.
    ///
    /// ```
    /// use credpool::{Auth, OAuthTokens};
    ///
    /// let auth = Auth::oauth("openai", OAuthTokens::new("access")).runtime_only();
    /// assert!(auth.is_runtime_only());
    /// assert_eq!(auth.metadata.unwrap().text("access_token"), Some("access"));
    /// ```
    pub fn runtime_only(mut self) -> Self {
        self.runtime_only = true;
        self
    }

    /// Counts the changes of the tokens: every refresh and every new login raises it. 0 for a record that was never changed.
    ///
    /// Of two copies of a record, the one with the higher generation has the newer tokens. It is part of the record's JSON
    /// form, so that stores, and the processes that share one, can tell them apart.
    #[doc(alias = "fencing token")]
    #[doc(alias = "optimistic locking")]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether the record lives in memory alone: it is [`runtime_only`](Self::runtime_only), or has no metadata.
    pub fn is_runtime_only(&self) -> bool {
        self.runtime_only || self.metadata.is_none()
    }

    /// What kind of account this is and what names it: an e-mail, a key, a cookie's label. `None` when nothing tells.
    ///
    /// An API key counts only for a record that is [runtime-only](Self::is_runtime_only) and whose metadata names no account.
    #[doc(alias = "AccountInfo")]
    pub fn account_info(&self) -> Option<AccountInfo> {
        account::account_info(self)
    }

    /// When the tokens end, as far as the metadata tells: members `expired`, `expire`, `expires_at`, `expiresAt`,
    /// `expiry`, `expires`, then the same inside `token` or `Token`.
    #[doc(alias = "ExpirationTime")]
    pub fn expiration_time(&self) -> Expiry {
        self.metadata
            .as_ref()
            .map_or(Expiry::Unknown, |metadata| expiry::find(metadata.as_map()))
    }

    /// How often the record itself asks to be refreshed: `refresh_interval_seconds`, `refreshIntervalSeconds`,
    /// `refresh_interval` or `refreshInterval` of the metadata, then of the attributes.
    pub fn preferred_refresh_interval(&self) -> Option<Duration> {
        refresh_interval(self)
    }

    /// The user-supplied runtime data, where it is of type `T`.
    pub fn runtime_as<T: AuthRuntime>(&self) -> Option<&T> {
        let runtime: &dyn Any = self.runtime.as_deref()?;
        runtime.downcast_ref()
    }

    /// The access token, at the top of the metadata or in a nested token object.
    pub(crate) fn access_token(&self) -> Option<&str> {
        self.texts("access_token").next()
    }

    /// The texts of the metadata by this name, at its top and in the objects that logins keep their tokens in.
    pub(crate) fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let metadata = self.metadata.as_ref();
        let top = metadata.and_then(|metadata| metadata.get(name));
        let nested = TOKEN_OBJECTS.iter();
        let nested = nested.filter_map(move |object| metadata?.get(object)?.get(name));
        top.into_iter().chain(nested).filter_map(Value::as_str)
    }

    /// A setting of a login: an attribute, or else a text of the metadata; without space around it.
    pub(crate) fn setting<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let mut values = self
            .attributes
            .get(name)
            .into_iter()
            .chain(self.texts(name));
        values.find_map(|value| Some(value.trim()).filter(|value| !value.is_empty()))
    }

    /// The key, wherever it stands: in attribute `api_key`, else in a header for one; of an access key of AWS, its id.
    pub(crate) fn key(&self) -> Option<&str> {
        let attributes = || {
            self.attributes
                .iter()
                .filter(|(_, value)| !value.trim().is_empty())
        };
        let own = self.attributes.get("api_key").filter(|key| !key.is_empty());
        let in_header = || attributes().find(|(name, _)| is_key_header(name));
        own.or_else(|| in_header().map(|(_, value)| value))
            .or_else(|| self.aws_key().map(|key| key.id))
    }

    /// Whether only a key speaks for this credential: there is nothing that a refresh could renew.
    pub(crate) fn is_api_key(&self) -> bool {
        let mut tokens = ["refresh_token", "access_token", "token", "Token"].iter();
        let has_token = |metadata: &Metadata| tokens.any(|name| metadata.get(name).is_some());
        self.key().is_some_and(|key| !key.trim().is_empty())
            && !self.metadata.as_ref().is_some_and(has_token)
            && !self.gets_own_tokens()
    }
}

/// Whether an attribute is a header (`header:NAME`) in which a key goes.
fn is_key_header(attribute: &str) -> bool {
    let (kind, header) = attribute.split_once(':').unwrap_or_default();
    kind.eq_ignore_ascii_case("header")
        && KEY_HEADERS
            .iter()
            .any(|name| header.eq_ignore_ascii_case(name))
}

/// The headers in which keys go, at one vendor or another.
const KEY_HEADERS: [&str; 5] = [
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "ocp-apim-subscription-key",
];

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("id", &self.id)
            .field("provider", &self.provider)
            .field("label", &self.label)
            .field("status", &self.status)
            .field("status_message", &self.status_message)
            .field("disabled", &self.disabled)
            .field("unavailable", &self.unavailable)
            .field("proxied", &!self.proxy_url.is_empty())
            .field("attributes", &self.attributes)
            .field("metadata", &self.metadata)
            .field("quota", &self.quota)
            .field("last_error", &self.last_error)
            .field("last_refreshed_at", &self.last_refreshed_at)
            .field("next_refresh_after", &self.next_refresh_after)
            .field("next_retry_after", &self.next_retry_after)
            .field("model_states", &self.model_states)
            .finish_non_exhaustive()
    }
}
