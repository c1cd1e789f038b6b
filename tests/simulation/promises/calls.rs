//! Promises about calls.

use std::time::Duration;

use credpool::{Auth, Availability, Clock, Error, Expiry};

use super::{breach_all, running};
use crate::executor::{MODEL, PROVIDER};
use crate::process::Process;
use crate::timeline::Pid;
use crate::world::World;

/// The credentials with which a call must be served at this moment: keys, and logins whose tokens are fresh by every clock.
pub fn ready(world: &World, process: &Process) -> Vec<String> {
    let truth = world.truth().lock();
    let (now, half) = (truth.now(), truth.endpoint.lifetime / 2);
    let is_fresh = |auth: &Auth| {
        let access = auth
            .metadata
            .as_ref()
            .and_then(|all| all.text("access_token"));
        let serves = access.is_some_and(|access| truth.endpoint.serves(access, now + half));
        let ends = auth.expiration_time();
        serves && matches!(ends, Expiry::At(end) if end > process.clock.now() + half)
    };
    let standings = process.manager.explain(PROVIDER, MODEL).into_iter();
    standings
        .filter(|one| one.availability == Availability::Ready)
        .filter(|one| {
            truth
                .limited
                .get(&*one.auth_id)
                .is_none_or(|end| *end < now)
        })
        .filter_map(|one| process.manager.get_by_id(&one.auth_id))
        .filter(|auth| auth.attributes.get("api_key").is_some() || is_fresh(auth))
        .map(|auth| auth.id.clone())
        .collect()
}

/// A call has ended.
pub fn check_call(
    world: &World,
    pid: Pid,
    ready_then: &[String],
    began: Duration,
    result: &Result<(), Error>,
) {
    let Some(process) = running(world).find(|one| one.pid == pid) else {
        return;
    };
    let ready_now = ready(world, process);
    let still = ready_then.iter().find(|id| ready_now.contains(id));
    let waited = world.now().saturating_sub(began);
    if process.thawed > began {
        return;
    }
    let what =
        format!("a call of p{pid} took {waited:?} and ended {result:?}; {still:?} was ready");
    if still.is_some() && (waited > Duration::from_secs(1) || result.is_err()) {
        let refused = world.truth().lock().refused.get(&pid).copied();
        let promise = if refused.is_some_and(|at| at >= began) {
            "a_call_whose_token_is_refused_goes_on_with_a_ready_credential"
        } else {
            "a_call_is_served_while_any_credential_is_ready"
        };
        breach_all(world, promise, vec![what]);
    } else if waited > MAX_WAIT && world.disturbed < began {
        breach_all(world, "a_call_waits_no_longer_than_max_wait", vec![what]);
    }
}

/// `FailurePolicy::max_wait` by default, and something for attempts.
pub const MAX_WAIT: Duration = Duration::from_secs(32);
