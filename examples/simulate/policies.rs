//! The policies that are compared.

use std::time::Duration;

use credpool::{Cooldown, FailureKind, FailurePolicy, Probes, RetryAfterBounds, Rule};

pub(crate) const NAMES: [&str; 5] = ["default", "former", "no-waiting", "no-probes", "reference"];

pub(crate) fn named(name: &str) -> Result<FailurePolicy, String> {
    match name {
        "default" => Ok(FailurePolicy::default()),
        "former" => Ok(former()),
        "no-waiting" => Ok(FailurePolicy::default().without_waiting()),
        "no-probes" => Ok(FailurePolicy::default().with_probes(None)),
        "reference" => Ok(reference()),
        _ => Err(format!(
            "there is no policy {name}; there are {}",
            NAMES.join(", ")
        )),
    }
}

/// The default as it was before it learnt rates: each fault of the provider puts a credential out, attempts follow each other at once as long as
/// anybody is ready, and a quota is probed as seldom as it is long.
fn former() -> FailurePolicy {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let at_once =
        Cooldown::doubling(second, minute).with_hint(RetryAfterBounds::new(second, minute));
    FailurePolicy::default()
        .with_pacing(false)
        .with_attempts(None)
        .with_probes(Some(Probes::default().with_most(Duration::MAX)))
        .with_cooldown(FailureKind::Transient, at_once)
        .with_cooldown(FailureKind::Overloaded, at_once)
}

/// Fixed times, whatever the server says, and on to the next credential always: what the Go system does.
fn reference() -> FailurePolicy {
    let half_an_hour = Duration::from_secs(30 * 60);
    FailurePolicy::empty()
        .with_rule(Rule::any_of([401, 402, 403]).cooldown(half_an_hour))
        .with_rule(Rule::status(429).cooldown(half_an_hour).quota())
        .with_rule(Rule::any_of([408, 500, 502, 503, 504]).cooldown(Duration::from_secs(60)))
}
