//! The executor for Vertex AI: Gemini and Claude in a project of Google Cloud.

mod model;
mod place;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use self::model::{Model, Protocol};
use super::http::{HttpExecutor, Vendor, VendorCall, payload, streaming_payload};
use super::{anthropic, gemini};
use crate::auth::Auth;
use crate::error::Error;
use crate::executor::ChunkSource;
use crate::request::{Request, Response, Usage};

/// Calls [Vertex AI](https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference): Gemini by `generateContent`, Claude by
/// [Anthropic's Messages](https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai).
///
/// ```
/// use credpool::Auth;
/// use credpool::testing::service_account_file;
///
/// // In a program: std::fs::read_to_string("service-account.json")?
/// let file = service_account_file("https://oauth2.googleapis.com/token");
/// let credentials = [
///     // The project is that of the file; the location is `global`.
///     Auth::service_account("vertex", &file)?.with_id("robot"),
///     Auth::service_account("vertex", &file)?.with_id("robot-eu").with_attribute("location", "europe-west4"),
///     // A key of the express mode.
///     Auth::api_key("vertex", "AQ.…").with_id("key"),
/// ];
/// # Ok::<(), credpool::Error>(())
/// ```
///
/// # Credentials
///
/// The access token of a service account ([`Auth::service_account`]), of `gcloud`'s login ([`Auth::authorized_user`]) or of another login is the
/// bearer token; attribute `api_key` goes into `x-goog-api-key` instead. Attributes, all optional:
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `project` | the project | `project_id` of the service account, else `quota_project_id` of the login; a key needs none |
/// | `location` | a region such as `us-east5`, a multi-region (`us`, `eu`), or `global` | `global` |
/// | `publisher` | whose model it is, where the request names the model alone | `anthropic` for models that begin with `claude`, else `google` |
/// | `quota_project` | the `x-goog-user-project` header | `quota_project_id` of the login, else not sent |
/// | `base_url` | where the API is; one with `/projects/` in it is taken as it is | `https://aiplatform.googleapis.com`, for a region `https://REGION-aiplatform.googleapis.com`, for a multi-region `https://aiplatform.REGION.rep.googleapis.com` |
/// | `api_version` | the version, put behind `base_url` | `v1` where `base_url` has no path, else nothing |
/// | `header:NAME` | one more header | |
/// | `allow_http` | `true` allows plain `http` to other machines | only to this one |
///
/// # Requests
///
/// [`Request::model`](crate::Request::model) is a model's name (`gemini-2.5-flash`, `claude-sonnet-4-5@20250929`), or that of a resource in the
/// project: `publishers/google/models/…`, `endpoints/…`. Models of publisher `anthropic` take the payload of Anthropic's Messages: its
/// `model` is taken out, and `"anthropic_version": "vertex-2023-10-16"` is put in where there is none. All others take that of
/// `generateContent`, unchanged. So requests in the formats `anthropic` and `gemini` can be served. Token counts go to `countTokens`, for Claude
/// to `count-tokens`. [`Options::headers`](crate::Options::headers) (`anthropic-beta`, for example) and
/// [`Options::query`](crate::Options::query) are added, as for [`Gemini`](super::Gemini).
///
/// The path of a raw call is one below the project and location, `/publishers/google/models/text-embedding-005:predict` for example, or
/// the same with version, project and location of the credential in front.
///
/// # Answers and streams
///
/// Those of [`Gemini`](super::Gemini), and for Claude of [`Anthropic`](super::Anthropic): see there for what a whole stream is.
pub type Vertex = HttpExecutor<VertexApi>;

/// The API that [`Vertex`] calls.
///
/// ```
/// use credpool::provider::VertexApi;
/// use credpool::provider::http::Vendor;
///
/// assert_eq!(VertexApi::default().format(), "vertex");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct VertexApi;

impl Vendor for VertexApi {
    fn format(&self) -> &'static str {
        "vertex"
    }

    fn other_formats(&self) -> &'static [&'static str] {
        &["gemini", "anthropic"]
    }

    fn base_url(&self) -> &'static str {
        "https://aiplatform.googleapis.com"
    }

    fn address(&self, auth: &Auth) -> Result<String, Error> {
        place::address(auth)
    }

    // Publishers' models are listed outside of the project.
    fn models_path(&self) -> Option<&'static str> {
        None
    }

    fn key_parameters(&self) -> &'static [&'static str] {
        &["key", "access_token", "oauth_token"]
    }

    fn usage_reader(&self) -> fn(&Value) -> Option<Usage> {
        |answer| gemini::usage(answer).or_else(|| anthropic::usage(answer))
    }

    fn credential_headers(&self, auth: &Auth) -> Result<HeaderMap, Error> {
        gemini::credential_headers(auth)
    }

    fn merge(&self, _: &mut HeaderMap, call: &mut HeaderMap) {
        gemini::merge(call);
    }

    fn execute(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let model = Model::of(request, call.auth())?;
        match model.protocol() {
            Protocol::GenerateContent => {
                gemini::generate(call, &model.path(gemini::GENERATE), request)
            }
            Protocol::Messages => {
                let options = gemini::without_credential(call.options());
                let payload = message_payload(&request.payload)?;
                anthropic::message(
                    &call.with_options(&options),
                    &model.path("rawPredict"),
                    payload,
                )
            }
        }
    }

    fn stream(&self, call: &VendorCall<'_>, request: &Request) -> Result<ChunkSource, Error> {
        let model = Model::of(request, call.auth())?;
        match model.protocol() {
            Protocol::GenerateContent => gemini::stream(call, &model.path(gemini::STREAM), request),
            Protocol::Messages => {
                let options = gemini::without_credential(call.options());
                let payload = streaming_payload(&message_payload(&request.payload)?)?;
                let path = model.path("streamRawPredict");
                let call = call.with_options(&options);
                call.stream(&path, payload, anthropic::message_events())
            }
        }
    }

    fn count_tokens(&self, call: &VendorCall<'_>, request: &Request) -> Result<Response, Error> {
        let model = Model::of(request, call.auth())?;
        match model.protocol() {
            Protocol::GenerateContent => {
                gemini::count(call, &model.path(gemini::COUNT), request.payload.clone())
            }
            Protocol::Messages => {
                let options = gemini::without_credential(call.options());
                // https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens: one path for all models.
                let path = model.beside("count-tokens", "rawPredict");
                let name = Value::from(model.name()).to_string();
                let payload = payload::with(&request.payload, "model", &name);
                let payload = versioned(payload.ok_or_else(no_object)?)?;
                anthropic::count(&call.with_options(&options), &path, &payload)
            }
        }
    }
}

/// The payload of a message without `model`, which the path has, and with the version, which is a header elsewhere.
fn message_payload(payload: &Bytes) -> Result<Bytes, Error> {
    versioned(payload::without(payload, &["model"]).ok_or_else(no_object)?)
}

fn versioned(payload: Bytes) -> Result<Bytes, Error> {
    if payload::has(&payload, "anthropic_version") {
        return Ok(payload);
    }
    payload::with(&payload, "anthropic_version", VERSION).ok_or_else(no_object)
}

fn no_object() -> Error {
    Error::config("the request's payload is not a JSON object")
}

const VERSION: &str = "\"vertex-2023-10-16\"";
