//! Models by their publishers, and their paths.

use super::place;
use crate::auth::Auth;
use crate::error::Error;
use crate::percent::encoded;
use crate::request::Request;

/// A model, as a resource below the credential's place: `publishers/google/models/gemini-2.5-flash`.
#[derive(Debug)]
pub(super) struct Model(String);

/// Whose protocol a model speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    GenerateContent,
    Messages,
}

impl Model {
    /// The model that a request names: its resource's name; or a name alone, whose publisher the credential's attribute `publisher` says, or
    /// the name itself.
    pub(super) fn of(request: &Request, auth: &Auth) -> Result<Self, Error> {
        let asked = request.model.trim();
        let own = place::prefix(auth)?;
        let name = own.and_then(|own| asked.strip_prefix(&own));
        let name = name.unwrap_or(asked);
        let name = name.strip_prefix("models/").unwrap_or(name);
        let no_model = |what: &str| Error::config(format!("{:?} {what}", request.model));
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(no_model("is not the name of a model"));
        }
        if name.starts_with("projects/") {
            let what = "is in another project or location than the credential's";
            return Err(no_model(what));
        }
        if RESOURCES.iter().any(|kind| name.starts_with(kind)) {
            return Ok(Self(name.to_owned()));
        }
        let named = auth.attributes.filled("publisher");
        let publisher = named.unwrap_or_else(|| publisher_of(name));
        Ok(Self(format!("publishers/{publisher}/models/{name}")))
    }

    pub(super) fn protocol(&self) -> Protocol {
        match self.0.strip_prefix("publishers/anthropic/") {
            Some(_) => Protocol::Messages,
            None => Protocol::GenerateContent,
        }
    }

    /// The name alone.
    pub(super) fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or(&*self.0, |(_, name)| name)
    }

    /// The path of one of its methods.
    pub(super) fn path(&self, method: &str) -> String {
        path_of(&self.0, method)
    }

    /// The path of the method for all models beside it.
    pub(super) fn beside(&self, name: &str, method: &str) -> String {
        let (publisher, _) = self.0.rsplit_once('/').unwrap_or_default();
        path_of(&format!("{publisher}/{name}"), method)
    }
}

fn path_of(resource: &str, method: &str) -> String {
    let mut path = String::new();
    for part in resource.split('/') {
        path.push('/');
        path.extend(encoded(part));
    }
    // Versions stand behind it, as in the vendors' own requests.
    path.replace("%40", "@") + ":" + method
}

fn publisher_of(name: &str) -> &'static str {
    if name.starts_with("claude") {
        "anthropic"
    } else {
        "google"
    }
}

/// How names of resources begin in a project: models by their publishers, and models that were tuned or deployed.
const RESOURCES: [&str; 2] = ["publishers/", "endpoints/"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn auth() -> Auth {
        Auth::new("vertex").with_attribute("project", "blue")
    }

    #[test]
    fn the_name_chooses_the_publisher() {
        for (name, path, protocol) in [
            (
                "gemini-2.5-flash",
                "/publishers/google/models/gemini-2.5-flash:m",
                Protocol::GenerateContent,
            ),
            (
                " models/gemini-2.5-pro ",
                "/publishers/google/models/gemini-2.5-pro:m",
                Protocol::GenerateContent,
            ),
            (
                "claude-sonnet-4-5@20250929",
                "/publishers/anthropic/models/claude-sonnet-4-5@20250929:m",
                Protocol::Messages,
            ),
            (
                "publishers/anthropic/models/new-name",
                "/publishers/anthropic/models/new-name:m",
                Protocol::Messages,
            ),
            ("endpoints/7", "/endpoints/7:m", Protocol::GenerateContent),
            (
                "projects/blue/locations/global/endpoints/7",
                "/endpoints/7:m",
                Protocol::GenerateContent,
            ),
            (
                "a b?#:%",
                "/publishers/google/models/a%20b%3F%23%3A%25:m",
                Protocol::GenerateContent,
            ),
        ] {
            let model = Model::of(&Request::new(name, ""), &auth()).unwrap();
            assert_eq!((&*model.path("m"), model.protocol()), (path, protocol));
        }
        let named = auth().with_attribute("publisher", "anthropic");
        let model = Model::of(&Request::new("opus", ""), &named).unwrap();
        assert_eq!(model.protocol(), Protocol::Messages);
        let path = "/publishers/anthropic/models/count-tokens:rawPredict";
        assert_eq!(model.beside("count-tokens", "rawPredict"), path);
        assert_eq!(model.name(), "opus");
    }

    #[test]
    fn what_is_no_model_of_the_project_is_refused() {
        for name in [
            "",
            " ",
            "a/../b",
            "a//b",
            "x/",
            "projects/red/locations/global/endpoints/7",
        ] {
            let error = Model::of(&Request::new(name, ""), &auth()).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{name:?}");
        }
    }
}
