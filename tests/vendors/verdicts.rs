//! A verdict depends on what the server said, and on nothing of the credential.

use credpool::testing::{Reply, Upstream};
use credpool::{
    AccountKind, Auth, FailureKind, FailurePolicy, Manager, Options, Request, provider::OpenAi,
};

use crate::replay::{Api, Play};

const BILLING: &str = r#"{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}"#;

/// The tags are those of the products' own pages: <https://openrouter.ai/docs/api/reference/overview> (HTTP-Referer, X-Title),
/// <https://portkey.ai/docs/api-reference/inference-api/headers>, <https://platform.openai.com/docs/api-reference>.
#[test]
fn neither_a_tag_nor_a_key_changes_what_an_answer_means() {
    for (name, value) in [
        ("header:x-cost-center", "billing"),
        ("header:X-Title", "billing_hard_limit_reached"),
        ("header:x-portkey-provider", "openai"),
        ("header:HTTP-Referer", "https://billing.example"),
        // Even where the secrets are among the words: what is cut out is cut from what is shown.
        ("header:x-gateway-key", "billing_hard"),
        ("header:x-gateway-token", "invalid_request_error"),
        ("header:cookie", "hard limit"),
    ] {
        let played = Play::new(Api::Chat)
            .attribute(name, value)
            .plain(Reply::json(429, BILLING));
        assert_eq!(played.standing.fault, Some(FailureKind::Billing), "{name}");
        assert_eq!((played.first, played.second), (1, 1), "{name}");
        assert_eq!(played.text, "fine");
    }
}

#[test]
fn what_is_shown_of_an_error_holds_no_secret_and_all_else() {
    for (attribute, value, gone) in [
        ("header:x-cost-center", "billing", false),
        ("header:x-gateway-key", "billing_hard", true),
    ] {
        let played = Play::new(Api::Chat)
            .alone()
            .attribute(attribute, value)
            .plain(Reply::json(429, BILLING));
        let error = played.error.unwrap();
        let shown = format!("{error} {error:?} {:?}", error.body());
        assert_eq!(!shown.contains("billing_hard"), gone, "{shown}");
        // And it means the same to whoever asks the policy again.
        let verdict = FailurePolicy::default().classify(&error);
        assert_eq!(verdict.fault, FailureKind::Billing, "{attribute}");
    }
}

/// Azure takes the key in `api-key` (<https://learn.microsoft.com/azure/ai-foundry/openai/reference>), API management in
/// `Ocp-Apim-Subscription-Key` (<https://learn.microsoft.com/azure/api-management/api-management-subscriptions>).
#[test]
fn a_key_in_a_header_is_a_key_and_no_login() {
    let upstream = Upstream::start(|_| {
        Reply::json(
            401,
            r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint."}}"#,
        )
    });
    for header in ["api-key", "x-api-key", "authorization"] {
        let manager = Manager::builder()
            .policy(FailurePolicy::default().without_waiting())
            .build()
            .unwrap();
        manager.register_executor(OpenAi::new());
        let auth = Auth::new("openai")
            .with_id("k0")
            .with_attribute("base_url", upstream.url())
            .with_attribute(format!("header:{header}"), "wrong");
        let account = auth.account_info().unwrap();
        assert_eq!(account.kind, AccountKind::ApiKey, "{header}");
        assert_eq!(account.text.expose(), "wrong");
        manager.register(auth).unwrap();
        let options = Options::new();
        let request = Request::new("m", "{}");
        let error = manager.execute(["openai"], &request, &options).unwrap_err();
        assert_eq!(error.http_status(), Some(401));
        let standing = &manager.explain("openai", "m")[0];
        assert_eq!(standing.fault, Some(FailureKind::Unauthorized), "{header}");
        let health = manager.refresh_health();
        assert!(health.needs_login.is_empty(), "{header}: {health:?}");
    }
    // A tag is none, and beside a login it is a header like any other.
    let tagged = Auth::new("openai").with_attribute("header:x-title", "wrong");
    assert_eq!(tagged.account_info(), None);
}

#[test]
fn the_body_of_an_error_is_whole_where_it_fits_and_told_where_it_is_cut() {
    for (length, cut) in [
        (100, false),
        (57_345, false),
        (64 * 1024, false),
        (64 * 1024 + 1, true),
        (100_000, true),
        (1_000_000, true),
    ] {
        let frame = r#"{"error":{"message":"","code":"invalid_api_key"}}"#.len();
        let long = "x".repeat(length - frame);
        let body = format!(r#"{{"error":{{"message":"{long}","code":"invalid_api_key"}}}}"#);
        let played = Play::new(Api::Chat)
            .alone()
            .plain(Reply::json(400, body.clone()));
        let error = played.error.unwrap();
        assert_eq!(error.is_body_cut(), cut, "{length}");
        let shown = error.body().unwrap();
        assert_eq!(shown.len(), length.min(64 * 1024), "{length}");
        assert!(body.starts_with(shown));
    }
}
