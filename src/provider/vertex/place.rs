//! Where a credential's project is: host, version, project and location.

use serde_json::Value;

use crate::auth::Auth;
use crate::error::Error;
use crate::percent::encoded;

/// The address below which the models of the credential's project are:
/// `https://HOST/v1/projects/PROJECT/locations/LOCATION`. An API key without a project has none of its own
/// (<https://cloud.google.com/vertex-ai/generative-ai/docs/start/express-mode/overview>).
pub(super) fn address(auth: &Auth) -> Result<String, Error> {
    let location = location(auth)?;
    let own = auth.attributes.filled("base_url").map(str::to_owned);
    let base = own.unwrap_or_else(|| format!("https://{}", host(location)));
    let (place, query) = base.split_at(base.find('?').unwrap_or(base.len()));
    let mut address = place.trim_end_matches('/').to_owned();
    if !address.contains("/projects/") {
        address.push_str(&version(auth, &address));
        match project(auth) {
            Some(project) => {
                address.push_str("/projects/");
                address.extend(encoded(&project));
                address.push_str("/locations/");
                address.push_str(location);
            }
            None if auth.attributes.filled("api_key").is_some() => {}
            None => {
                let what = "it names no project: set attribute project";
                return Err(auth.unfit(what));
            }
        }
    }
    address.push_str(query);
    Ok(address)
}

/// The part of a resource's whole name in front of what is in the credential's place.
pub(super) fn prefix(auth: &Auth) -> Result<Option<String>, Error> {
    let location = location(auth)?;
    Ok(project(auth).map(|project| format!("projects/{project}/locations/{location}/")))
}

/// The host of a location: the global one, those of the two multi-regions, and one for each region
/// (<https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations>,
/// <https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai>; read on 2026-11-27).
fn host(location: &str) -> String {
    match location {
        GLOBAL => "aiplatform.googleapis.com".to_owned(),
        "us" | "eu" => format!("aiplatform.{location}.rep.googleapis.com"),
        region => format!("{region}-aiplatform.googleapis.com"),
    }
}

/// A location becomes a part of the host: nothing but a name may be in it.
fn location(auth: &Auth) -> Result<&str, Error> {
    let location = auth.attributes.filled("location").unwrap_or(GLOBAL);
    let fit = |sign: u8| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'-';
    if location.bytes().all(fit) {
        Ok(location)
    } else {
        Err(auth.unfit("attribute location is no name of a location, such as us-east5 or global"))
    }
}

/// Attribute `project`, else the project of the service account or of the login.
fn project(auth: &Auth) -> Option<String> {
    if let Some(project) = auth.attributes.filled("project") {
        return Some(project.to_owned());
    }
    let metadata = auth.metadata.as_ref()?;
    let of_account = || match metadata.get("service_account")? {
        Value::String(text) => {
            let account: Value = serde_json::from_str(text).ok()?;
            Some(account["project_id"].as_str()?.to_owned())
        }
        account => Some(account["project_id"].as_str()?.to_owned()),
    };
    let own = |name| metadata.text(name).map(str::to_owned);
    let projects = [own("project_id"), of_account(), own("quota_project_id")];
    let named = projects.into_iter().flatten();
    named
        .map(|project| project.trim().to_owned())
        .find(|project| !project.is_empty())
}

/// Attribute `api_version`, else `v1` where the address has no path.
fn version(auth: &Auth, address: &str) -> String {
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    let own = auth.attributes.filled("api_version");
    match own.map(|version| version.trim_matches('/')) {
        Some(version) => std::iter::once("/").chain(encoded(version)).collect(),
        None if host.contains('/') => String::new(),
        None => "/v1".to_owned(),
    }
}

const GLOBAL: &str = "global";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;
    use serde_json::json;

    fn at(attributes: &[(&str, &str)]) -> String {
        let auth = Auth::new("vertex").with_metadata("project_id", "blue");
        let with = |auth: Auth, (name, value): &(&str, &str)| auth.with_attribute(*name, *value);
        address(&attributes.iter().fold(auth, with)).unwrap()
    }

    #[test]
    fn each_kind_of_location_has_its_host() {
        for (location, host) in [
            ("", "aiplatform.googleapis.com"),
            ("global", "aiplatform.googleapis.com"),
            ("us", "aiplatform.us.rep.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
            ("us-east5", "us-east5-aiplatform.googleapis.com"),
            ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ] {
            let shown = if location.is_empty() {
                "global"
            } else {
                location
            };
            assert_eq!(
                at(&[("location", location)]),
                format!("https://{host}/v1/projects/blue/locations/{shown}")
            );
        }
    }

    #[test]
    fn a_location_cannot_lead_to_another_host() {
        for location in ["evil.example/", "a#", "us east", "US", "a@b", "a/b", "é"] {
            let auth = Auth::new("vertex").with_attribute("location", location);
            let auth = auth.with_attribute("project", "blue");
            let error = address(&auth).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{location}");
        }
    }

    #[test]
    fn the_address_and_its_version_can_be_set() {
        let place = "projects/blue/locations/global";
        for (attributes, expected) in [
            (
                &[("base_url", "https://h/")][..],
                format!("https://h/v1/{place}"),
            ),
            (
                &[("base_url", "https://h/vertex/v1")],
                format!("https://h/vertex/v1/{place}"),
            ),
            (
                &[("base_url", "https://h?x=1"), ("api_version", "v1beta1")],
                format!("https://h/v1beta1/{place}?x=1"),
            ),
            (
                &[("base_url", "https://h/v1/projects/red/locations/eu")],
                "https://h/v1/projects/red/locations/eu".to_owned(),
            ),
            (
                &[("project", "example.org:red")],
                "https://aiplatform.googleapis.com/v1/projects/example.org%3Ared/locations/global"
                    .to_owned(),
            ),
        ] {
            assert_eq!(at(attributes), expected);
        }
    }

    #[test]
    fn the_project_is_that_of_the_service_account_wherever_it_is_kept() {
        let account = json!({"project_id": " green ", "client_email": "a@example.org"});
        for auth in [
            Auth::new("p").with_metadata("project_id", "green"),
            Auth::new("p").with_metadata("service_account", account.clone()),
            Auth::new("p").with_metadata("service_account", account.to_string()),
            Auth::new("p").with_metadata("quota_project_id", "green"),
            Auth::new("p")
                .with_attribute("project", "green")
                .with_metadata("project_id", "red"),
        ] {
            assert_eq!(project(&auth).as_deref(), Some("green"));
        }
        let none = address(&Auth::new("p").with_id("a")).unwrap_err();
        assert!(none.message().contains("project"), "{none}");
        let key = Auth::api_key("p", "k");
        let express = "https://aiplatform.googleapis.com/v1";
        assert_eq!(address(&key).unwrap(), express);
    }
}
