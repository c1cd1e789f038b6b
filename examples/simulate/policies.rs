//! The policies that are compared.

use std::time::Duration;

use credpool::{FailurePolicy, Rule};

pub(crate) const NAMES: [&str; 4] = ["default", "no-waiting", "no-probes", "reference"];

pub(crate) fn named(name: &str) -> Result<FailurePolicy, String> {
    match name {
        "default" => Ok(FailurePolicy::default()),
        "no-waiting" => Ok(FailurePolicy::default().without_waiting()),
        "no-probes" => Ok(FailurePolicy::default().with_probes(None)),
        "reference" => Ok(reference()),
        _ => Err(format!(
            "there is no policy {name}; there are {}",
            NAMES.join(", ")
        )),
    }
}

/// Fixed times, whatever the server says, and on to the next credential always: what the Go system does.
fn reference() -> FailurePolicy {
    let half_an_hour = Duration::from_secs(30 * 60);
    FailurePolicy::empty()
        .with_rule(Rule::any_of([401, 402, 403]).cooldown(half_an_hour))
        .with_rule(Rule::status(429).cooldown(half_an_hour).quota())
        .with_rule(Rule::any_of([408, 500, 502, 503, 504]).cooldown(Duration::from_secs(60)))
}
