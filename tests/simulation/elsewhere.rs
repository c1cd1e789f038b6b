//! Another program, with a login of its own in a file of its own that lies in the store's directory: it rotates its tokens, or logs in
//! anew, and processes use what it has.

use std::time::Duration;

use credpool::Auth;
use serde_json::json;

use crate::backend::Saving;
use crate::endpoint::{access_token, refresh_token};
use crate::executor::PROVIDER;
use crate::promises::{breach_all, running};
use crate::random::Random;
use crate::world::World;

/// What it has, and has written.
pub struct Elsewhere {
    grant: usize,
    number: usize,
    text: String,
}

/// Its first login, where the store is a directory.
pub fn begin(world: &mut World) {
    if !world.backend.is_token_file(FILE) {
        return;
    }
    let grant = world.log_in();
    write(world, grant, 0, Saving::ByRename);
    world.expect(ID, None, &Auth::new(PROVIDER));
}

/// It refreshes its login, or its person logs in again.
pub fn rotate(world: &mut World, random: &mut Random) {
    let lifetime = world.truth().lock().endpoint.lifetime;
    let how = *random.pick(&[Saving::InPlace, Saving::ByRename]).unwrap();
    if random.chance(1, 4) {
        log_in(world, how);
    } else {
        refresh(world, lifetime, how);
    }
}

fn log_in(world: &mut World, how: Saving) {
    if world.elsewhere.is_some() && !world.unmounted {
        let grant = world.log_in();
        world.note(format!("another program logs in anew: {grant} ({how:?})"));
        write(world, grant, 0, how);
    }
}

/// It refreshes its login for so long.
pub fn refresh(world: &mut World, lifetime: Duration, how: Saving) {
    let Some(Elsewhere { grant, .. }) = world.elsewhere else {
        return;
    };
    if world.unmounted {
        return;
    }
    let now = world.now();
    let number = {
        let mut truth = world.truth().lock();
        truth.endpoint.issue(grant, now, lifetime);
        truth.endpoint.live(grant)
    };
    world.note(format!(
        "another program rotates grant {grant} to {number} ({how:?})"
    ));
    write(world, grant, number, how);
}

fn write(world: &mut World, grant: usize, number: usize, how: Saving) {
    let ends = {
        let mut truth = world.truth().lock();
        truth.elsewhere.insert(grant);
        truth.endpoint.grants[grant].tokens[number].ends
    };
    let end = time::macros::utc_datetime!(2025-01-01 10:00) + ends;
    let milliseconds = end.unix_timestamp_nanos() / 1_000_000;
    // As opencode has it.
    let file = json!({PROVIDER: {
        "type": "oauth", "access": access_token(grant, number), "refresh": refresh_token(grant, number),
        "expires": i64::try_from(milliseconds).unwrap(),
    }});
    let text = file.to_string();
    world.backend.put_file(FILE, &text, how);
    world.elsewhere = Some(Elsewhere {
        grant,
        number,
        text,
    });
}

pub fn another_programs_file_is_as_that_program_wrote_it(world: &mut World) {
    let Some(elsewhere) = world.elsewhere.as_ref().filter(|_| !world.unmounted) else {
        return;
    };
    let found = world.backend.file(FILE);
    if found.as_ref() != Some(&elsewhere.text) {
        let what = vec![format!("{FILE} is {found:?}")];
        breach_all(
            world,
            "another_programs_file_is_as_that_program_wrote_it",
            what,
        );
    }
}

/// Every process has the access token that the other program has, and nothing to renew it with.
pub fn another_programs_login_is_followed(world: &mut World) {
    let Some(Elsewhere { grant, number, .. }) = world.elsewhere else {
        return;
    };
    let access = access_token(grant, number);
    let mut breaches = Vec::new();
    for process in running(world) {
        let auth = process.manager.get_by_id(ID).unwrap_or_default();
        let metadata = auth.metadata.clone().unwrap_or_default();
        let ours = metadata.text("access_token").unwrap_or_default();
        if ours != access || metadata.get("refresh_token").is_some() {
            breaches.push(format!(
                "p{} has {ours} of {ID}, whose owner has {access}",
                process.pid
            ));
        }
    }
    breach_all(world, "another_programs_login_is_followed", breaches);
}

/// The file.
const FILE: &str = "o.json";

/// The credential in it.
pub const ID: &str = "o.json#p";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::endpoint::{Endpoint, Mood, arrive};
    use crate::timeline::Timeline;
    use crate::truth::{Shared, Truth};

    #[test]
    fn a_request_with_another_programs_token_is_a_breach() {
        let timeline = Timeline::new();
        let second = Duration::from_secs(1);
        let mut endpoint = Endpoint::new(None, 60 * second, Mood::Answer(second));
        let (theirs, ours) = (
            endpoint.log_in(Duration::ZERO),
            endpoint.log_in(Duration::ZERO),
        );
        let truth: Shared = Arc::new(Mutex::new(Truth::new(&timeline, endpoint)));
        truth.lock().elsewhere.insert(theirs);
        for (grant, breaches) in [(ours, 0), (theirs, 1)] {
            arrive(&truth, second, 1, "a", &refresh_token(grant, 0));
            let promise = "a_token_that_another_program_rotates_is_not_spent_by_us";
            let truth = truth.lock();
            let found = truth.breaches.iter();
            let found = found.filter(|breach| breach.promise == promise);
            assert_eq!(found.count(), breaches);
        }
    }
}
