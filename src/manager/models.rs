//! What can be asked: [`Manager::models`], from the credentials' lists and from those of the vendors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::Value;

use crate::error::{Error, ErrorCode};
use crate::json::parse_lenient;
use crate::panic::guard;
use crate::percent::encoded;
use crate::request::{Options, RawRequest, RequestBody};

use super::Manager;

/// A model that calls can ask for, from [`Manager::models`].
///
/// ```
/// use credpool::{Auth, Manager};
///
/// let manager = Manager::builder().model_chain("best", ["gpt-5", "fast"]).build()?;
/// let auth = Auth::api_key("openai", "sk-1").with_models(["gpt-5"]).with_model_alias("fast", "gpt-5-mini");
/// manager.register(auth)?;
/// let models = manager.models();
/// let names: Vec<_> = models.iter().map(|model| &*model.name).collect();
/// assert_eq!(names, ["best", "fast", "gpt-5"]);
/// assert_eq!(models[0].chain, ["gpt-5", "fast"]);
/// let of_fast = &models[1].providers[0];
/// assert_eq!((&*of_fast.provider, of_fast.credentials, of_fast.ready), ("openai", 1, 1));
/// assert_eq!(&*of_fast.sent_as[0], "gpt-5-mini");
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Model {
    /// What a call asks for.
    pub name: String,
    /// The providers whose credentials serve it, in the order of their names. Of a chain of models: for each provider, the credentials of the
    /// first link that has ready ones there.
    pub providers: Vec<ModelProvider>,
    /// The models of the links, where it is a chain.
    pub chain: Vec<String>,
}

/// The credentials of one provider that serve a [`Model`].
///
/// ```
/// use credpool::{Auth, Manager};
///
/// let manager = Manager::builder().build()?;
/// manager.register(Auth::api_key("openai", "sk-1").with_models(["gpt-5"]))?;
/// manager.register(Auth::api_key("openai", "sk-2"))?;
/// let of_openai = &manager.models()[0].providers[0];
/// // One lists it, the other one serves every model.
/// assert_eq!(of_openai.credentials, 2);
/// # Ok::<(), credpool::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelProvider {
    /// The provider.
    pub provider: Arc<str>,
    /// How many of its enabled credentials serve the model.
    pub credentials: usize,
    /// How many of these are ready.
    pub ready: usize,
    /// What the vendor calls the model, where credentials have it as an alias.
    pub sent_as: Vec<Arc<str>>,
}

/// The lists of the vendors, by provider, as they were fetched last.
#[derive(Debug, Default)]
pub(super) struct VendorModels(Mutex<BTreeMap<Arc<str>, Fetched>>);

#[derive(Debug)]
struct Fetched {
    at: Instant,
    names: BTreeSet<String>,
}

/// A model's name, and of each provider what the vendor calls it, where that is another name.
type Names = BTreeMap<String, BTreeMap<Arc<str>, BTreeSet<Arc<str>>>>;

impl Manager {
    /// The models that calls can ask for, in the order of their names: those that credentials list by name, their aliases, the chains of
    /// models, and what [`refresh_models`](Self::refresh_models) has fetched from vendors, as far as credentials serve it. A model that only
    /// a pattern or a credential without a list serves is not known by name before that.
    ///
    /// It looks at every credential for each model, and sends nothing.
    pub fn models(&self) -> Vec<Model> {
        let names = self.names();
        let chains = &self.view().services.chains;
        let mut models: Vec<Model> = names
            .iter()
            .filter(|(name, _)| chains.get(name).is_none())
            .map(|(name, providers)| Model {
                name: name.clone(),
                providers: self.serving(name, providers),
                chain: Vec::new(),
            })
            .filter(|model| !model.providers.is_empty())
            .collect();
        models.extend(chains.iter().map(|(name, links)| {
            let mut providers: BTreeMap<Arc<str>, ModelProvider> = BTreeMap::new();
            for link in links.iter() {
                let named = link
                    .provider
                    .as_deref()
                    .map(|provider| BTreeMap::from([(Arc::from(provider), BTreeSet::new())]));
                let known = names.get(&link.model).cloned().unwrap_or_default();
                for found in self.serving(&link.model, &named.unwrap_or(known)) {
                    let first = providers.entry(Arc::clone(&found.provider));
                    let first = first.or_insert_with(|| found.clone());
                    if first.ready == 0 {
                        *first = found;
                    }
                }
            }
            Model {
                name: name.to_owned(),
                providers: providers.into_values().collect(),
                chain: links.iter().map(|link| link.model.clone()).collect(),
            }
        }));
        models.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        models
    }

    /// Asks the vendors of some providers for their lists of models, each by a [raw call](Self::execute_raw) with one of its credentials, and
    /// returns [`models`](Self::models). A list is kept until the next one replaces it, and is not fetched again within an hour.
    ///
    /// A vendor's list is that of the credential that was selected for the call: other accounts may have other models.
    ///
    /// # Errors
    /// Those of [`execute_raw`](Self::execute_raw), `unsupported` for a provider whose executor does not say where the list is
    /// ([`ProviderExecutor::models_path`](crate::ProviderExecutor::models_path)), and `upstream` for an answer that is none. The first of
    /// them, after all providers were asked; the lists of the others are there.
    ///
    /// ```
    /// use credpool::provider::OpenAi;
    /// use credpool::testing::{Reply, Upstream};
    /// use credpool::{Auth, Manager, Options};
    ///
    /// let upstream = Upstream::start(|_| Reply::json(200, r#"{"data": [{"id": "gpt-5"}, {"id": "gpt-5-pro"}]}"#));
    /// let manager = Manager::builder().build()?;
    /// manager.register_executor(OpenAi::new());
    /// let auth = Auth::api_key("openai", "sk-1").with_attribute("base_url", format!("{}/v1", upstream.url()));
    /// manager.register(auth.without_models(["*-pro"]))?;
    ///
    /// let models = manager.refresh_models(["openai"], &Options::new())?;
    /// assert_eq!(models.len(), 1);
    /// assert_eq!(models[0].name, "gpt-5");
    /// # Ok::<(), credpool::Error>(())
    /// ```
    pub fn refresh_models<P: AsRef<str>>(
        &self,
        providers: impl IntoIterator<Item = P>,
        options: &Options,
    ) -> Result<Vec<Model>, Error> {
        let mut first = Ok(());
        let inner = self.inner()?;
        for provider in inner.distinct(providers)? {
            let now = inner.services.clock.monotonic();
            let is_new = |fetched: &Fetched| now.saturating_duration_since(fetched.at) < LIFETIME;
            if inner
                .vendor_models
                .0
                .lock()
                .get(&provider.name)
                .is_some_and(is_new)
            {
                continue;
            }
            match self.fetch_models(&provider.name, options) {
                Ok(names) => {
                    let fetched = Fetched { at: now, names };
                    let name = Arc::clone(&provider.name);
                    inner.vendor_models.0.lock().insert(name, fetched);
                }
                Err(error) => first = first.and(Err(error)),
            }
        }
        first.map(|()| self.models())
    }

    /// All pages of a vendor's list.
    fn fetch_models(&self, provider: &str, options: &Options) -> Result<BTreeSet<String>, Error> {
        let known = self.inner()?.services.executors.provider(provider);
        let executor = known.executor()?;
        let path = guard(
            || format!("the executor for {provider}"),
            || executor.models_path().map(str::to_owned),
        )?;
        let Some(path) = path else {
            let what =
                format!("the executor for {provider} does not say where the models are listed");
            return Err(Error::new(ErrorCode::Unsupported, what));
        };
        let (mut names, mut next) = (BTreeSet::new(), String::new());
        for _ in 0..MOST_PAGES {
            let request = http::Request::get(format!("{path}{next}")).body(RequestBody::empty());
            let request =
                request.map_err(|_| Error::config("the path of the list of models is none"))?;
            let answer = self.execute_raw([provider], RawRequest::from(request), options)?;
            let page = answer.into_body().into_bytes(LARGEST_PAGE)?;
            let page = parse_lenient(&page).unwrap_or_default();
            let listed = ["data", "models"]
                .iter()
                .find_map(|name| page[*name].as_array());
            let Some(listed) = listed else {
                let what = format!("the answer of {provider} is no list of models");
                return Err(Error::new(ErrorCode::Upstream, what).with_provider(provider));
            };
            names.extend(listed.iter().filter_map(name_of).map(str::to_owned));
            match next_page(&page) {
                Some((parameter, value)) => {
                    let separator = if path.contains('?') { '&' } else { '?' };
                    let value: String = encoded(value).collect();
                    next = format!("{separator}{parameter}={value}");
                }
                None => break,
            }
        }
        Ok(names)
    }

    /// All names that are known, by the lists of credentials and of vendors.
    fn names(&self) -> Names {
        let mut names = Names::new();
        for (provider, name, alias_of) in self.view().services.registry.listed_models() {
            let known = names.entry(name.to_string()).or_default();
            known.entry(provider).or_default().extend(alias_of);
        }
        for (provider, fetched) in &*self.view().vendor_models.0.lock() {
            for name in &fetched.names {
                let known = names.entry(name.clone()).or_default();
                known.entry(Arc::clone(provider)).or_default();
            }
        }
        names
    }

    fn serving(
        &self,
        model: &str,
        providers: &BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    ) -> Vec<ModelProvider> {
        let services = &self.view().services;
        let now = services.moment();
        let counted = providers.iter().map(|(provider, sent_as)| {
            let (credentials, ready) = services.registry.count_ready(provider, model, now);
            ModelProvider {
                provider: Arc::clone(provider),
                credentials,
                ready,
                sent_as: sent_as.iter().cloned().collect(),
            }
        });
        counted.filter(|found| found.credentials > 0).collect()
    }
}

/// OpenAI, Anthropic and compatible servers give an `id`, Gemini a resource name.
fn name_of(model: &Value) -> Option<&str> {
    let name = model["id"].as_str().or_else(|| model["name"].as_str())?;
    Some(name.strip_prefix("models/").unwrap_or(name))
}

/// The parameter that asks for what comes after a page.
///
/// Anthropic: <https://platform.claude.com/docs/en/api/models-list>. Gemini: <https://ai.google.dev/api/rest/v1/models/list>. Cohere:
/// <https://docs.cohere.com/v1/reference/list-models>. All looked at on 2026-11-27; OpenAI's list has one page.
fn next_page(page: &Value) -> Option<(&'static str, &str)> {
    let mut places = NEXT_PAGE.iter().filter_map(|(member, parameter)| {
        let value = page[*member].as_str().filter(|value| !value.is_empty())?;
        (*member != "last_id" || page["has_more"] == true).then_some((*parameter, value))
    });
    places.next()
}

/// The member of a page that says where the next one begins, and the parameter that takes it.
const NEXT_PAGE: [(&str, &str); 3] = [
    ("nextPageToken", "pageToken"),
    ("next_page_token", "page_token"),
    ("last_id", "after_id"),
];

/// For so long a vendor is not asked again.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A list that never ends is cut.
const MOST_PAGES: usize = 50;
const LARGEST_PAGE: usize = 16 << 20;
