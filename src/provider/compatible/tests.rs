use std::collections::BTreeSet;

use super::*;
use crate::auth::OAuthTokens;
use crate::error::ErrorCode;
use crate::provider::http::call::head as head_of;
use crate::provider::http::headers::JSON;
use crate::transport::check_url;

fn sent(vendor: &CompatibleVendor, auth: &Auth) -> Result<http::request::Parts, Error> {
    head_of(vendor, auth, "/chat/completions", JSON, &Options::new())
}

#[test]
fn every_row_is_whole_and_has_a_name_of_its_own() {
    let mut names = BTreeSet::new();
    for vendor in ALL {
        let name = &*vendor.name;
        assert!(names.insert(name.to_owned()), "{name} twice");
        assert_eq!(name.to_lowercase(), name);
        assert!(vendor.page.starts_with("https://"), "{name}");
        assert_eq!(vendor.looked_at.len(), "2026-11-27".len(), "{name}");
        match &vendor.address {
            Address::Common(base_url) => {
                let auth = Auth::new(name);
                assert!(check_url(base_url, &auth).is_ok(), "{name}");
                assert!(!base_url.ends_with('/'), "{name}");
            }
            Address::OfAccount(form) => assert!(form.starts_with("https://RESOURCE."), "{name}"),
        }
    }
}

/// A name of a vendor's is paired with one that means something.
#[test]
fn every_pair_of_a_dialect_leads_to_a_name_that_is_known() {
    const ENDS: [&str; 5] = ["stop", "length", "tool_calls", "content_filter", "error"];
    for vendor in ALL {
        let (name, dialect) = (&vendor.name, vendor.dialect);
        for (own, common) in dialect.errors {
            let is_known = *common == "account_deactivated"
                || crate::provider::http::ReportedError::named(common, None, "")
                    .status()
                    .is_some();
            assert!(is_known && own != common, "{name}: {own} {common}");
        }
        for (own, common) in dialect.ends {
            assert!(ENDS.contains(common) && own != common, "{name}: {own}");
        }
        for (own, common) in dialect.limits {
            let is_known = common.starts_with("x-ratelimit-") || *common == "retry-after";
            assert!(is_known && own != common, "{name}: {own}");
        }
    }
}

#[test]
fn a_key_travels_as_its_vendor_wants_it() {
    for vendor in ALL {
        let auth = Auth::api_key(&*vendor.name, "key-1")
            .with_attribute("base_url", "https://vendor.example/v1");
        let head = sent(&vendor, &auth).unwrap();
        let (name, expected) = match vendor.key {
            KeyPlacement::Header(name) => (name, "key-1"),
            _ => ("authorization", "Bearer key-1"),
        };
        assert_eq!(head.headers[name], expected, "{}", vendor.name);
        assert!(head.headers[name].is_sensitive(), "{}", vendor.name);
        let is_alone = |other: &str| name == other || !head.headers.contains_key(other);
        assert!(
            is_alone("authorization") && is_alone("api-key"),
            "{}",
            vendor.name
        );
        assert_eq!(head.uri, "https://vendor.example/v1/chat/completions");
    }
}

#[test]
fn where_a_key_has_a_header_of_its_own_a_token_is_the_bearer() {
    let auth = Auth::oauth("azure-openai", OAuthTokens::new("token-1"))
        .with_attribute("base_url", "https://r.openai.azure.com/openai/v1/");
    let head = sent(&AZURE_OPENAI, &auth).unwrap();
    assert_eq!(head.headers["authorization"], "Bearer token-1");
    assert!(!head.headers.contains_key("api-key"));
    let calls = Options::new().with_header("api-key", "another").unwrap();
    let head = head_of(&AZURE_OPENAI, &auth, "/chat/completions", JSON, &calls).unwrap();
    assert!(!head.headers.contains_key("api-key"));
    let by_attribute = Auth::new("azure-openai")
        .with_attribute("base_url", "https://r.openai.azure.com/openai/v1")
        .with_attribute("header:api-key", "key-1");
    let head = sent(&AZURE_OPENAI, &by_attribute).unwrap();
    assert_eq!(head.headers["api-key"], "key-1");
    let neither = by_attribute.with_attribute("header:api-key", "");
    assert!(sent(&AZURE_OPENAI, &neither).is_err());
}

#[test]
fn only_a_vendor_that_wants_no_key_does_without_one() {
    for vendor in ALL {
        let auth = Auth::new(&*vendor.name)
            .with_id("a")
            .with_attribute("api_key", "")
            .with_attribute("base_url", "http://localhost:1/v1");
        let found = sent(&vendor, &auth);
        if vendor.key == KeyPlacement::Optional {
            let head = found.unwrap();
            assert!(
                !head.headers.contains_key("authorization"),
                "{}",
                vendor.name
            );
        } else {
            let error = found.unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{}", vendor.name);
        }
    }
}

#[test]
fn a_deployment_has_its_address_and_its_date() {
    let base =
        "https://r.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21".to_owned();
    let auth = Auth::api_key("azure-openai-dated", "k").with_attribute("base_url", &base);
    let head = sent(&AZURE_OPENAI_DATED, &auth).unwrap();
    let expected =
        "https://r.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21";
    assert_eq!(head.uri, expected);
    let vendor = AZURE_OPENAI_DATED.with_base_url(base);
    let auth = Auth::api_key("azure-openai-dated", "k");
    assert_eq!(sent(&vendor, &auth).unwrap().uri, expected);
}

#[test]
fn an_address_that_is_missing_or_wrong_is_told() {
    let auth = Auth::api_key("azure-openai", "canary").with_id("a");
    for (vendor, form) in [
        (AZURE_OPENAI, "https://RESOURCE.openai.azure.com/openai/v1"),
        (AZURE_OPENAI_DATED, "/deployments/DEPLOYMENT?api-version="),
    ] {
        let error = sent(&vendor, &auth).unwrap_err();
        assert_eq!(
            (error.code(), error.auth_id()),
            (&ErrorCode::Config, Some("a"))
        );
        let text = error.to_string();
        assert!(text.contains("base_url") && text.contains(form), "{text}");
        assert!(!text.contains("canary"));
    }
    for (base_url, why) in [
        ("https://h/v1#x", "fragment"),
        ("h/v1", "URL"),
        ("", "URL"),
        ("http://h.example/v1", "https"),
    ] {
        let vendor = GROQ.with_base_url(base_url);
        let error = sent(&vendor, &auth).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Config, "{base_url}");
        assert!(error.message().contains(why), "{base_url}: {error}");
    }
}

#[test]
fn a_name_that_is_no_header_is_told() {
    const ODD: CompatibleVendor =
        CompatibleVendor::new("odd", "https://odd.example").with_key(KeyPlacement::Header("a key"));
    let error = sent(&ODD, &Auth::api_key("odd", "canary")).unwrap_err();
    assert!(error.message().contains("a key"), "{error}");
    assert!(!error.message().contains("canary"));
}
