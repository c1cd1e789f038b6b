//! Gemini's model names, and the paths of their methods.

use crate::error::Error;
use crate::percent::encoded;
use crate::request::Request;

/// A model's resource name, `models/gemini-2.5-flash` for example.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Model(String);

impl Model {
    /// The model that a request names.
    pub(super) fn of(request: &Request) -> Result<Self, Error> {
        let name = request.model.trim();
        if name.is_empty() {
            let what = "the request names no model, which Gemini's URLs need";
            return Err(Error::config(what));
        }
        let name = if KINDS.iter().any(|kind| name.starts_with(kind)) {
            name.to_owned()
        } else {
            format!("models/{name}")
        };
        // A server would read a step up as another method than the one that is meant.
        if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
            let what = format!("{:?} is not the name of a model", request.model);
            return Err(Error::config(what));
        }
        Ok(Self(name))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Whether it is a model of the Gemini API itself, and not of Vertex AI.
    pub(super) fn is_plain(&self) -> bool {
        self.0.starts_with(KINDS[0]) || self.0.starts_with(KINDS[1])
    }

    /// The path of one of its methods, below the version.
    pub(super) fn path(&self, method: &str) -> String {
        let mut path = String::new();
        for part in self.0.split('/') {
            path.push('/');
            path.extend(encoded(part));
        }
        path + ":" + method
    }
}

/// How resource names begin: those of the Gemini API, then those of Vertex AI.
const KINDS: [&str; 4] = ["models/", "tunedModels/", "publishers/", "projects/"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn names_become_paths() {
        for (name, path) in [
            ("gemini-2.5-flash", "/models/gemini-2.5-flash:m"),
            (" models/gemini-2.5-pro ", "/models/gemini-2.5-pro:m"),
            ("tunedModels/mine-7", "/tunedModels/mine-7:m"),
            (
                "publishers/google/models/g",
                "/publishers/google/models/g:m",
            ),
            ("team/g", "/models/team/g:m"),
            ("a b?c#d:e%", "/models/a%20b%3Fc%23d%3Ae%25:m"),
            ("ü", "/models/%C3%BC:m"),
        ] {
            let model = Model::of(&Request::new(name, "")).unwrap();
            assert_eq!(model.path("m"), path);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in [
            "",
            "  ",
            "models/",
            "models/../keys",
            "a//b",
            ".",
            "/x",
            "x/",
        ] {
            let error = Model::of(&Request::new(name, "")).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{name:?}");
        }
    }
}
