//! The default rules. What each vendor documents is named beside the rule that it gave rise to.

use std::time::Duration;

use super::{Cooldown, Fault, HintBounds, Rule, Scope};

/// The default rules, in the order in which they are tried: what a body says goes before what its status says.
pub(super) fn default_rules() -> Vec<Rule> {
    let mut rules = vec![
        Rule::named("cancelled")
            .fault(Fault::Cancelled)
            .scope(Scope::Nobody)
            .stop(),
    ];
    rules.extend(keys_and_money());
    rules.extend(limits());
    rules.extend(refusals());
    rules.extend(outages());
    rules.push(
        Rule::statuses(400..=499)
            .fault(Fault::BadRequest)
            .scope(Scope::Request)
            .stop(),
    );
    rules
}

/// Faults of the credential that come with all sorts of statuses.
fn keys_and_money() -> Vec<Rule> {
    let unauthorized = |rule: Rule| {
        rule.fault(Fault::Unauthorized)
            .scope(Scope::Credential)
            .cooldown(HALF_AN_HOUR)
            .message("unauthorized")
    };
    let billing = |rule: Rule| {
        rule.fault(Fault::Billing)
            .scope(Scope::Credential)
            .cooldown(HALF_AN_HOUR)
            .message("payment_required")
    };
    vec![
        // Gemini answers an invalid or expired key with 400: https://ai.google.dev/gemini-api/docs/troubleshooting
        unauthorized(
            Rule::any_of([400, 403])
                .or_named("api_key_invalid")
                .or_named("invalid_api_key")
                .or_named("api_key_service_blocked")
                .or_named("access_token_expired")
                .or_named("account_deactivated"),
        ),
        unauthorized(
            Rule::any_of([400, 403])
                .with_text("api key not valid")
                .with_text("api key expired")
                .with_text("invalid api key"),
        ),
        // https://platform.openai.com/docs/guides/error-codes: a 429 that no waiting heals.
        billing(
            Rule::any_of([400, 402, 403, 429])
                .or_named("insufficient_quota")
                .or_named("billing_not_active")
                .or_named("billing_hard_limit_reached")
                .or_named("billing_error")
                .or_named("billing_disabled"),
        )
        .quota(),
        // Anthropic answers a low balance with 400: https://docs.anthropic.com/en/api/errors
        billing(
            Rule::any_of([400, 403])
                .with_text("credit balance is too low")
                .with_text("billing details")
                .with_text("billing account")
                .with_text("exceeded your current quota")
                .with_text("purchase credits"),
        )
        .quota(),
        billing(Rule::status(402)),
    ]
}

/// 429, and limits that come with other statuses.
fn limits() -> Vec<Rule> {
    let quota = |rule: Rule| {
        rule.fault(Fault::Quota)
            .curve(Cooldown::Fixed(HALF_AN_HOUR).with_hint(HintBounds::QUOTA))
            .quota()
            .message("quota exhausted")
    };
    let rate = Cooldown::doubling(SECOND, HALF_AN_HOUR).with_hint(HintBounds::RATE);
    vec![
        // Windows of a whole account, such as Anthropic's five hours and seven days.
        quota(
            Rule::status(429)
                .or_named("usage_limit_reached")
                .or_named("usage_limit_exceeded"),
        )
        .scope(Scope::Credential),
        quota(
            Rule::status(429)
                .with_text("usage limit")
                .with_text("would exceed your account"),
        )
        .scope(Scope::Credential),
        // https://ai.google.dev/gemini-api/docs/rate-limits: daily quotas are kept for each model.
        quota(
            Rule::status(429)
                .with_text("perday")
                .with_text("per day")
                .with_text("(rpd)"),
        ),
        // Vertex and older Gemini models say it with 403.
        quota(Rule::status(403).with_text("quota exceeded")),
        Rule::status(429)
            .fault(Fault::RateLimited)
            .curve(rate)
            .quota()
            .message("rate limited"),
    ]
}

/// 401, 403, 404.
fn refusals() -> Vec<Rule> {
    vec![
        Rule::status(401)
            .fault(Fault::Unauthorized)
            .scope(Scope::Credential)
            .cooldown(HALF_AN_HOUR)
            .refresh()
            .message("unauthorized"),
        Rule::status(403)
            .or_named("model_not_found")
            .or_named("model_not_allowed")
            .fault(Fault::Forbidden)
            .cooldown(HALF_AN_HOUR)
            .message("forbidden"),
        Rule::status(403)
            .with_text("access to model")
            .with_text("access to this model")
            .with_text("use this model")
            .fault(Fault::Forbidden)
            .cooldown(HALF_AN_HOUR)
            .message("forbidden"),
        Rule::status(403)
            .fault(Fault::Forbidden)
            .scope(Scope::Credential)
            .cooldown(HALF_AN_HOUR)
            .message("forbidden"),
        Rule::any_of([400, 404])
            .or_named("model_not_found")
            .fault(Fault::NotFound)
            .curve(Cooldown::doubling(MINUTE, HOUR))
            .message("not found"),
        Rule::status(404)
            .fault(Fault::NotFound)
            .curve(Cooldown::doubling(MINUTE, HOUR))
            .message("not found"),
    ]
}

/// The provider's faults, and those of the way to it.
fn outages() -> Vec<Rule> {
    let curve = Cooldown::doubling(SECOND, MINUTE).with_hint(HintBounds::new(SECOND, MINUTE));
    let out = move |rule: Rule, fault| {
        rule.fault(fault)
            .scope(Scope::Provider)
            .curve(curve)
            .message("transient upstream error")
    };
    let mut rules = vec![
        out(Rule::status(529), Fault::Overloaded),
        out(
            Rule::any_of([500, 503])
                .with_text("overloaded")
                .with_text("slow_down")
                .with_text("slow down"),
            Fault::Overloaded,
        ),
        out(Rule::status(408), Fault::Transient),
        out(Rule::statuses(500..=599), Fault::Transient),
    ];
    let mut broken = Rule::named("transport");
    for name in [
        "stream_truncated",
        "stream_malformed",
        "stream_stalled",
        "stream_interrupted",
    ] {
        broken = broken.or_named(name);
    }
    rules.push(out(broken, Fault::Transient));
    rules
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);
const HOUR: Duration = Duration::from_secs(3600);
