//! [`Exchange`]: how a workload trades an identity that it has for an access token. Data alone: the requests are made elsewhere.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::service_account::object;
use super::subject_token::{SubjectToken, texts};
use super::{Auth, Metadata};
use crate::error::Error;

/// How a workload gets its access tokens: with an identity that it has where it runs, and no static secret.
///
/// It is data, a member `exchange` of the record's metadata, so that it is stored with the record. See
/// [`refresh_tokens`](crate::provider::refresh_tokens) for what is sent.
///
/// | constructor | grant | body | as documented at (read in November 2026) |
/// |---|---|---|---|
/// | [`token_exchange`](Self::token_exchange) | token exchange | form | [RFC 8693 section 2.1](https://www.rfc-editor.org/rfc/rfc8693#section-2.1) |
/// | [`jwt_bearer`](Self::jwt_bearer) | JWT as authorization grant | form | [RFC 7523 section 2.1](https://www.rfc-editor.org/rfc/rfc7523#section-2.1) |
/// | [`client_assertion`](Self::client_assertion) | client credentials with a JWT | form | [RFC 7523 section 2.2](https://www.rfc-editor.org/rfc/rfc7523#section-2.2) |
/// | [`metadata_server`](Self::metadata_server) | none: the machine vouches for the workload | `GET` | |
/// | [`openai`](Self::openai) | token exchange | JSON | <https://developers.openai.com/api/reference/workload-identity-federation> |
/// | [`anthropic`](Self::anthropic) | JWT | JSON | <https://platform.claude.com/docs/en/manage-claude/wif-reference> |
/// | [`openrouter`](Self::openrouter) | token exchange | form | <https://openrouter.ai/docs/guides/overview/auth/workload-identity-federation> |
/// | [`entra`](Self::entra) | client assertion | form | <https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow> |
/// | [`managed_identity`](Self::managed_identity) | metadata server | `GET` | <https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token> |
/// | [`google_metadata_server`](Self::google_metadata_server) | metadata server | `GET` | <https://cloud.google.com/compute/docs/access/authenticate-workloads> |
/// | [`Auth::external_account`] | token exchange, impersonation | form, JSON | <https://google.aip.dev/auth/4117> |
///
/// ```
/// use credpool::{Auth, Exchange, SubjectToken};
///
/// // The orchestrator replaces the file before the token in it ends.
/// let identity = SubjectToken::file("/var/run/secrets/tokens/openai");
/// let auth = Auth::workload("openai", Exchange::openai("wip_1", "svc_1", identity)).with_id("batch-job");
/// assert!(auth.attributes.is_empty());
///
/// let own = Exchange::token_exchange("https://sts.example.org/token", SubjectToken::variable("CI_JOB_JWT"))
///     .with_parameter("audience", "llm")
///     .with_json_body();
/// let auth = Auth::workload("my-llm", own);
/// assert!(auth.metadata.unwrap().get("exchange").is_some());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    pub(crate) grant: ExchangeGrant,
    pub(crate) token_url: String,
    pub(crate) body: BodyForm,
    /// Sent beside what the grant calls for.
    pub(crate) parameters: BTreeMap<String, String>,
    pub(crate) headers: BTreeMap<String, String>,
    /// None of a metadata server.
    pub(crate) subject: Option<SubjectToken>,
    pub(crate) subject_token_type: String,
    pub(crate) impersonation: Option<Impersonation>,
}

/// The grant of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExchangeGrant {
    TokenExchange,
    JwtBearer,
    ClientAssertion,
    MetadataServer,
}

/// How fields are written into the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyForm {
    Form,
    Json,
}

/// A second step: the token that was got is traded for one of a service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Impersonation {
    pub(crate) url: String,
    /// In seconds.
    pub(crate) lifetime: u64,
}

impl Exchange {
    /// Token exchange at an authorization server of any vendor, the subject token being a JWT.
    pub fn token_exchange(token_url: impl Into<String>, subject: SubjectToken) -> Self {
        Self::new(ExchangeGrant::TokenExchange, token_url, Some(subject))
    }

    /// The subject token as an authorization grant: field `assertion`.
    pub fn jwt_bearer(token_url: impl Into<String>, subject: SubjectToken) -> Self {
        Self::new(ExchangeGrant::JwtBearer, token_url, Some(subject))
    }

    /// The client credentials grant, the subject token standing in for the client's secret.
    pub fn client_assertion(
        token_url: impl Into<String>,
        client_id: impl Into<String>,
        subject: SubjectToken,
    ) -> Self {
        Self::new(ExchangeGrant::ClientAssertion, token_url, Some(subject))
            .with_parameter("client_id", client_id)
    }

    /// A server of the machine that gives tokens to the workloads on it. `GET`, past every proxy; plain `http` is allowed to link-local
    /// addresses (`169.254.0.0/16`) and to `metadata.google.internal`.
    pub fn metadata_server(url: impl Into<String>) -> Self {
        Self::new(ExchangeGrant::MetadataServer, url, None)
    }

    /// OpenAI: a workload identity provider and a service account that it is mapped to.
    pub fn openai(
        identity_provider_id: impl Into<String>,
        service_account_id: impl Into<String>,
        subject: SubjectToken,
    ) -> Self {
        Self::token_exchange("https://auth.openai.com/oauth/token", subject)
            .with_parameter("identity_provider_id", identity_provider_id)
            .with_parameter("service_account_id", service_account_id)
            .with_json_body()
    }

    /// Anthropic: a federation rule, the organization and one of its service accounts. Where the rule is enabled for several workspaces,
    /// add parameter `workspace_id`. Calls with such a token need attribute `anthropic_beta` = `oauth-2025-04-20`.
    pub fn anthropic(
        federation_rule_id: impl Into<String>,
        organization_id: impl Into<String>,
        service_account_id: impl Into<String>,
        subject: SubjectToken,
    ) -> Self {
        Self::jwt_bearer("https://api.anthropic.com/v1/oauth/token", subject)
            .with_parameter("federation_rule_id", federation_rule_id)
            .with_parameter("organization_id", organization_id)
            .with_parameter("service_account_id", service_account_id)
            // As in https://github.com/anthropics/anthropic-sdk-typescript/blob/main/src/lib/credentials/types.ts
            .with_header(
                "anthropic-beta",
                "oauth-2025-04-20,oidc-federation-2026-04-01",
            )
            .with_json_body()
    }

    /// OpenRouter: a federation policy. Its tokens live for 15 minutes at most.
    pub fn openrouter(federation_policy_id: impl Into<String>, subject: SubjectToken) -> Self {
        Self::token_exchange("https://openrouter.ai/api/v1/oauth/token", subject)
            .with_parameter("federation_policy_id", federation_policy_id)
    }

    /// Microsoft Entra: a federated credential of an application. `scope` is `https://ai.azure.com/.default`, for example.
    pub fn entra(
        tenant: &str,
        client_id: impl Into<String>,
        scope: impl Into<String>,
        subject: SubjectToken,
    ) -> Self {
        let url = format!("https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token");
        Self::client_assertion(url, client_id, subject).with_parameter("scope", scope)
    }

    /// The managed identity of an Azure machine. `resource` is `https://ai.azure.com`, for example. An identity that is assigned by
    /// a user is named by parameter `client_id`.
    pub fn managed_identity(resource: impl Into<String>) -> Self {
        Self::metadata_server("http://169.254.169.254/metadata/identity/oauth2/token")
            .with_parameter("api-version", "2018-02-01")
            .with_parameter("resource", resource)
            .with_header("metadata", "true")
    }

    /// The service account of a Google machine. Parameter `scopes` restricts the token, where the machine's kind allows it.
    pub fn google_metadata_server() -> Self {
        let path = "computeMetadata/v1/instance/service-accounts/default/token";
        Self::metadata_server(format!("http://{GOOGLE_METADATA_HOST}/{path}"))
            .with_header("metadata-flavor", "Google")
    }

    fn new(
        grant: ExchangeGrant,
        token_url: impl Into<String>,
        subject: Option<SubjectToken>,
    ) -> Self {
        Self {
            grant,
            token_url: token_url.into(),
            body: BodyForm::Form,
            parameters: BTreeMap::new(),
            headers: BTreeMap::new(),
            subject,
            subject_token_type: JWT_TYPE.to_owned(),
            impersonation: None,
        }
    }

    /// Sends one more parameter: a field of the body, or of the query of a metadata server.
    pub fn with_parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// Sends one more header.
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sends the fields as a JSON object instead of a form.
    pub fn with_json_body(mut self) -> Self {
        self.body = BodyForm::Json;
        self
    }

    /// Sends the request to another place: a sovereign cloud, a private endpoint.
    pub fn with_token_url(mut self, url: impl Into<String>) -> Self {
        self.token_url = url.into();
        self
    }

    /// What kind of token the subject token is. Default: `urn:ietf:params:oauth:token-type:jwt`.
    pub fn with_subject_token_type(mut self, kind: impl Into<String>) -> Self {
        self.subject_token_type = kind.into();
        self
    }

    /// The exchange of a record, if it has one: member `exchange` of the metadata, or a Google file of type `external_account`. The
    /// error says what is wrong with it and quotes nothing.
    pub(crate) fn of(auth: &Auth) -> Option<Result<Self, String>> {
        Some(match place(auth)? {
            Place::Own(object) => Self::read(object),
            Place::Google(object) => Self::read_google(object, auth.attributes.filled("scope")),
        })
    }

    /// Whether the metadata holds one, fit for use or not.
    pub(super) fn is_in(auth: &Auth) -> bool {
        place(auth).is_some()
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut json = json!({
            "grant": self.grant.name(),
            "token_url": self.token_url,
            "body": if self.body == BodyForm::Json { "json" } else { "form" },
            "parameters": self.parameters,
            "headers": self.headers,
        });
        if let Some(subject) = &self.subject {
            json["credential_source"] = subject.to_json();
            json["subject_token_type"] = self.subject_token_type.as_str().into();
        }
        json
    }

    fn read(object: &Map<String, Value>) -> Result<Self, String> {
        let grant = required(object, "grant")?;
        let grant = ExchangeGrant::named(grant).ok_or("its grant is unknown")?;
        let subject = match object.get("credential_source") {
            Some(source) => Some(SubjectToken::read(source)?),
            None if grant == ExchangeGrant::MetadataServer => None,
            None => return Err("credential_source is missing".to_owned()),
        };
        let mut exchange = Self::new(grant, required(object, "token_url")?, subject);
        exchange.body = match text(object, "body") {
            None | Some("form") => BodyForm::Form,
            Some("json") => BodyForm::Json,
            Some(_) => return Err("its body is neither form nor json".to_owned()),
        };
        exchange.parameters = texts(object, "parameters")?;
        exchange.headers = texts(object, "headers")?;
        if let Some(kind) = text(object, "subject_token_type") {
            kind.clone_into(&mut exchange.subject_token_type);
        }
        Ok(exchange)
    }

    /// A file of type `external_account`: <https://google.aip.dev/auth/4117>.
    fn read_google(object: &Map<String, Value>, scope: Option<&str>) -> Result<Self, String> {
        let source = object.get("credential_source");
        let source = source.ok_or("credential_source is missing")?;
        let subject = SubjectToken::read(source)?;
        let token_url = text(object, "token_url").unwrap_or(GOOGLE_STS);
        let impersonation = match text(object, "service_account_impersonation_url") {
            Some(url) => {
                let lifetime = object
                    .get("service_account_impersonation")
                    .and_then(|object| object.get("token_lifetime_seconds")?.as_u64());
                Some(Impersonation {
                    url: url.to_owned(),
                    lifetime: lifetime.unwrap_or(3600),
                })
            }
            None => None,
        };
        let scope = scope.filter(|_| impersonation.is_none());
        let mut exchange = Self::token_exchange(token_url, subject)
            .with_subject_token_type(required(object, "subject_token_type")?)
            .with_parameter("audience", required(object, "audience")?)
            .with_parameter("scope", scope.unwrap_or(CLOUD_PLATFORM))
            .with_parameter("requested_token_type", ACCESS_TOKEN_TYPE);
        // Only where no client stands for the project already.
        if let Some(project) = text(object, "workforce_pool_user_project")
            && text(object, "client_id").is_none()
        {
            let options = json!({ "userProject": project }).to_string();
            let encoded = crate::percent::encoded(&options).to_string();
            exchange = exchange.with_parameter("options", encoded);
        }
        exchange.impersonation = impersonation;
        Ok(exchange)
    }
}

impl ExchangeGrant {
    /// What `grant_type` says.
    pub(crate) fn grant_type(self) -> Option<&'static str> {
        match self {
            Self::TokenExchange => Some("urn:ietf:params:oauth:grant-type:token-exchange"),
            Self::JwtBearer => Some(JWT_BEARER),
            Self::ClientAssertion => Some("client_credentials"),
            Self::MetadataServer => None,
        }
    }

    fn name(self) -> &'static str {
        let known = NAMES.iter().find(|(grant, _)| *grant == self);
        known.map_or("", |(_, name)| name)
    }

    fn named(name: &str) -> Option<Self> {
        let known = NAMES.iter().find(|(_, known)| *known == name);
        known.map(|(grant, _)| *grant)
    }
}

impl Auth {
    /// A credential of a workload: it gets its access tokens by an exchange of what it is where it runs, and holds no secret.
    ///
    /// The credential has no access token yet: its first call gets one, with or without the refresher, which gets one as soon
    /// as the credential is registered. Access tokens are stored as those of a login are; a record that is
    /// [`runtime_only`](Self::runtime_only) keeps them in memory.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the exchange is given away, as tokens are to `oauth`"
    )]
    pub fn workload(provider: impl Into<String>, exchange: Exchange) -> Self {
        let mut metadata = Metadata::default();
        metadata.insert(EXCHANGE, exchange.to_json());
        let mut auth = Self::new(provider);
        auth.metadata = Some(metadata);
        auth
    }

    /// A credential that is a workload or a person of another identity provider at Google, from a JSON file of type
    /// `external_account` (<https://google.aip.dev/auth/4117>). The file's members become the metadata.
    ///
    /// The subject token comes from a file, which is read anew each time, or a URL; a service account is impersonated where the file says
    /// so. Attribute `scope` is as for a service account, by default `https://www.googleapis.com/auth/cloud-platform`.
    ///
    /// A file from elsewhere says what is read on this machine and where it is sent: check it first.
    ///
    /// ```
    /// use credpool::Auth;
    ///
    /// let file = r#"{
    ///     "type": "external_account", "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    ///     "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
    ///     "token_url": "https://sts.googleapis.com/v1/token", "credential_source": {"file": "/var/run/token"}
    /// }"#;
    /// let auth = Auth::external_account("gemini", file)?.with_id("batch-job");
    /// assert!(auth.metadata.unwrap().get("credential_source").is_some());
    /// # Ok::<(), credpool::Error>(())
    /// ```
    ///
    /// # Errors
    /// Code `config` when the text is not such a file, or its subject token comes from AWS, an executable or a certificate, which are not
    /// supported. Messages quote nothing of it.
    pub fn external_account(provider: impl Into<String>, file: &str) -> Result<Self, Error> {
        let unfit = |what: &str| {
            let what = format!("the external account cannot be used: {what}");
            Error::config(what)
        };
        let members = object(file).map_err(unfit)?;
        if text(&members, "type") != Some(EXTERNAL_ACCOUNT) {
            return Err(unfit("its type is another than external_account"));
        }
        Exchange::read_google(&members, None).map_err(|what| unfit(&what))?;
        let mut auth = Self::new(provider);
        auth.metadata = Some(members.into());
        Ok(auth)
    }
}

enum Place<'a> {
    Own(&'a Map<String, Value>),
    Google(&'a Map<String, Value>),
}

fn place(auth: &Auth) -> Option<Place<'_>> {
    let metadata = auth.metadata.as_ref()?;
    if let Some(Value::Object(own)) = metadata.get(EXCHANGE) {
        return Some(Place::Own(own));
    }
    let is_google = metadata.text("type") == Some(EXTERNAL_ACCOUNT);
    is_google.then(|| Place::Google(metadata.as_map()))
}

/// A member that is text and not empty.
fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let text = object.get(name)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

fn required<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    text(object, name).ok_or_else(|| format!("{name} is missing"))
}

/// The host of Google's metadata server: <https://cloud.google.com/compute/docs/metadata/overview>.
pub(crate) const GOOGLE_METADATA_HOST: &str = "metadata.google.internal";

/// `grant_type` of [RFC 7523 section 2.1](https://www.rfc-editor.org/rfc/rfc7523#section-2.1).
pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What Google's services take, and what an impersonation needs.
pub(crate) const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// [RFC 8693 section 3](https://www.rfc-editor.org/rfc/rfc8693#section-3).
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

const GOOGLE_STS: &str = "https://sts.googleapis.com/v1/token";
const EXCHANGE: &str = "exchange";
const EXTERNAL_ACCOUNT: &str = "external_account";

const NAMES: [(ExchangeGrant, &str); 4] = [
    (ExchangeGrant::TokenExchange, "token_exchange"),
    (ExchangeGrant::JwtBearer, "jwt_bearer"),
    (ExchangeGrant::ClientAssertion, "client_assertion"),
    (ExchangeGrant::MetadataServer, "metadata_server"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn what_is_built_reads_as_it_was_written() {
        let source = || {
            SubjectToken::url("https://idp/token")
                .with_member("value")
                .with_header("x", "y")
        };
        for exchange in [
            Exchange::openai("wip", "svc", SubjectToken::file("/a/b")),
            Exchange::anthropic("fdrl", "org", "svac", SubjectToken::variable("JWT")),
            Exchange::openrouter("policy", SubjectToken::callback()),
            Exchange::entra("t", "c", "s/.default", source()),
            Exchange::managed_identity("https://r"),
            Exchange::google_metadata_server(),
            Exchange::token_exchange("https://h/t", source()).with_subject_token_type("urn:x"),
        ] {
            let auth = Auth::workload("p", exchange.clone());
            assert_eq!(Exchange::of(&auth), Some(Ok(exchange)));
            assert!(auth.gets_own_tokens() && auth.awaits_first_token() && !auth.is_api_key());
            assert!(!auth.has_nothing_to_send() && auth.grant_token().is_none());
            let with_token = auth.with_metadata("access_token", "t");
            assert!(!with_token.awaits_first_token());
        }
        assert_eq!(Exchange::of(&Auth::api_key("p", "k")), None);
    }

    fn google() -> Value {
        json!({
            "type": EXTERNAL_ACCOUNT, "audience": "//iam/pool", "subject_token_type": JWT_TYPE,
            "token_url": "https://sts.example/v1/token",
            "credential_source": {"file": "/token", "format": {"type": "json", "subject_token_field_name": "id"}},
        })
    }

    #[test]
    fn a_file_of_googles_is_an_exchange() {
        let auth = Auth::external_account("gemini", &google().to_string()).unwrap();
        let auth = auth.with_attribute("scope", "own");
        let exchange = Exchange::of(&auth).unwrap().unwrap();
        assert_eq!(exchange.parameters["audience"], "//iam/pool");
        assert_eq!(exchange.parameters["scope"], "own");
        assert_eq!(
            exchange.subject,
            Some(SubjectToken::file("/token").with_member("id"))
        );
        assert_eq!(exchange.impersonation, None);
        let mut file = google();
        file["service_account_impersonation_url"] = "https://iam/x:generateAccessToken".into();
        file["service_account_impersonation"] = json!({"token_lifetime_seconds": 900});
        file["workforce_pool_user_project"] = "proj".into();
        let auth = Auth::external_account("gemini", &file.to_string()).unwrap();
        let exchange = Exchange::of(&auth.with_attribute("scope", "own"))
            .unwrap()
            .unwrap();
        assert_eq!(exchange.parameters["scope"], CLOUD_PLATFORM);
        assert_eq!(exchange.impersonation.unwrap().lifetime, 900);
        assert_eq!(
            exchange.parameters["options"],
            "%7B%22userProject%22%3A%22proj%22%7D"
        );
    }

    #[test]
    fn what_is_wrong_is_told_without_quotes() {
        for (name, value, problem) in [
            ("type", json!("canary"), "its type is another"),
            ("audience", json!(["canary"]), "audience is missing"),
            (
                "subject_token_type",
                json!(null),
                "subject_token_type is missing",
            ),
            ("credential_source", json!({"file": ""}), "names neither"),
            (
                "credential_source",
                json!({"environment_id": "aws1", "url": "canary"}),
                "AWS",
            ),
            (
                "credential_source",
                json!({"executable": {"command": "canary"}}),
                "executable",
            ),
            (
                "credential_source",
                json!({"certificate": {}}),
                "certificate",
            ),
            (
                "credential_source",
                json!({"url": "https://h", "headers": 7}),
                "headers is no object",
            ),
            (
                "credential_source",
                json!({"file": "/f", "format": {"type": "xml"}}),
                "format",
            ),
        ] {
            let mut file = google();
            file[name] = value;
            let error = Auth::external_account("p", &file.to_string()).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
            assert!(error.to_string().contains(problem), "{error}");
            assert!(!format!("{error:?}").contains("canary"));
        }
        for (own, problem) in [
            (json!({}), "grant is missing"),
            (json!({"grant": "canary"}), "its grant is unknown"),
            (
                json!({"grant": "jwt_bearer", "token_url": "u"}),
                "credential_source is missing",
            ),
            (json!({"grant": "metadata_server"}), "token_url is missing"),
            (
                json!({"grant": "metadata_server", "token_url": "u", "body": "canary"}),
                "neither form nor json",
            ),
            (
                json!({"grant": "metadata_server", "token_url": "u", "parameters": {"a": 7}}),
                "other than text",
            ),
        ] {
            let auth = Auth::new("p").with_metadata(EXCHANGE, own);
            let error = Exchange::of(&auth).unwrap().unwrap_err();
            assert!(
                error.contains(problem) && !error.contains("canary"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_source_may_be_a_path() {
        let path = std::path::Path::new("/var/run/token");
        assert_eq!(
            SubjectToken::file(path),
            SubjectToken::file("/var/run/token")
        );
    }
}
