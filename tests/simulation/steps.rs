//! What happens in a world, drawn from a seed: each step has random numbers of its own, so that the others stay what they are when
//! one is left out.

use crate::accidents;
use crate::editors;
use crate::files;
use crate::operators;
use crate::pool::{self, Pool};
use crate::random::Random;
use crate::sealed;
use crate::world::World;

/// A kind of step. It does nothing where it does not fit.
pub struct Kind {
    pub name: &'static str,
    weight: usize,
    apply: Apply,
}

/// In which kind of world it happens.
enum Apply {
    Fleet(fn(&mut World, &mut Random)),
    Pool(fn(&mut Pool, &mut Random)),
}

#[derive(Clone, Copy)]
pub struct Step {
    pub kind: &'static Kind,
    seed: u64,
}

const fn kind(name: &'static str, weight: usize, apply: fn(&mut World, &mut Random)) -> Kind {
    let apply = Apply::Fleet(apply);
    Kind {
        name,
        weight,
        apply,
    }
}

pub const fn pool_kind(
    name: &'static str,
    weight: usize,
    apply: fn(&mut Pool, &mut Random),
) -> Kind {
    Kind {
        apply: Apply::Pool(apply),
        ..kind(name, weight, time_passes)
    }
}

/// The kinds of steps in a world over a store, or in that of a pool, and how many of the first are in each.
fn kinds_of(store: &str) -> (Vec<&'static Kind>, usize) {
    let (first, all): (&[Kind], &[Kind]) = match store {
        POOL => (&[], pool::KINDS),
        _ if store.starts_with("sealed") => (SEALED_KINDS, KINDS),
        _ => (&[], KINDS),
    };
    (first.iter().chain(all).collect(), first.len() + 2)
}

/// Names the world of one process under load, where others are named by their store.
pub const POOL: &str = "pool";

const KINDS: &[Kind] = &[
    kind("time passes", 6, time_passes),
    kind("refresh", 10, operators::refresh),
    kind("call", 6, operators::call),
    kind("make a file", 3, files::make),
    kind("ask for a file", 4, files::ask_for),
    kind("update a fresh copy", 10, operators::update_fresh),
    kind("take a copy", 4, operators::take_copy),
    kind("update an old copy", 5, operators::update_old),
    kind("disable or enable", 6, operators::set_disabled),
    kind("register again", 2, operators::register_again),
    kind("log in again", 4, operators::log_in_again),
    kind("replace a key", 3, operators::replace_key),
    kind("remove", 1, operators::remove),
    kind(
        "register another id with the same login",
        1,
        operators::register_same_login,
    ),
    kind("cool down", 3, operators::cool_down),
    kind("reset", 5, operators::reset),
    kind("mark a result", 3, operators::mark_result),
    kind("edit", 8, editors::edit),
    kind("edit a new login in", 2, editors::log_in),
    kind("open in an editor", 4, editors::open),
    kind("save an old buffer", 5, editors::save_buffer),
    kind("save half a file", 2, editors::save_half),
    kind("save the whole file", 3, editors::save_whole),
    kind("restore an older copy", 2, editors::restore),
    kind("remove a file", 2, editors::remove),
    kind("back up into a subdirectory", 2, editors::back_up),
    kind("unmount", 2, accidents::unmount),
    kind("mount", 3, accidents::mount),
    kind("the endpoint hangs", 3, accidents::endpoint_hangs),
    kind("an answer is lost", 2, accidents::answer_is_lost),
    kind("the endpoint refuses", 3, accidents::endpoint_refuses),
    kind("an odd lifetime", 2, accidents::odd_lifetime),
    kind("the provider revokes a login", 3, accidents::revoke),
    kind("the upstream limits", 3, accidents::upstream_limits),
    kind("the store is away", 2, accidents::store_is_away),
    kind("the store is full", 2, accidents::store_is_full),
    kind("the store hangs", 2, accidents::store_hangs),
    kind(
        "a record cannot be saved",
        2,
        accidents::record_cannot_be_saved,
    ),
    kind("the store is well", 5, accidents::store_is_well),
    kind("the last write is lost", 2, accidents::last_write_is_lost),
    kind("all is lost", 1, accidents::all_is_lost),
    kind("a snapshot", 2, accidents::snapshot),
    kind("fail over to the snapshot", 2, accidents::fail_over),
    kind(
        "the store forgets its locks",
        2,
        accidents::locks_are_forgotten,
    ),
    kind("kill", 3, accidents::kill),
    kind("start", 5, accidents::start),
    kind("restart", 2, accidents::restart),
    kind("freeze", 4, accidents::freeze),
    kind("thaw", 5, accidents::thaw),
    kind("set a clock", 2, accidents::set_clock),
];

/// Where records are sealed.
const SEALED_KINDS: &[Kind] = &[kind("change the keys", 20, sealed::change_keys)];

/// The steps of a seed. A part of the kinds is left out for each: what happens more often meets more often.
pub fn draw(store: &str, seed: u64, count: usize) -> Vec<Step> {
    let (all, always) = kinds_of(store);
    let mut random = Random::seeded(seed);
    let kinds = all.iter().enumerate();
    let kinds: Vec<_> = kinds
        .filter(|(index, _)| *index < always || random.chance(3, 5))
        .map(|(_, kind)| *kind)
        .collect();
    let whole: usize = kinds.iter().map(|kind| kind.weight).sum();
    let draw_kind = |mut at: usize| {
        for kind in &kinds {
            if at < kind.weight {
                return *kind;
            }
            at -= kind.weight;
        }
        all[0]
    };
    (0..count)
        .map(|_| Step {
            kind: draw_kind(random.below(whole)),
            seed: random.next(),
        })
        .collect()
}

impl Step {
    /// Does it, and lets some time pass.
    pub fn apply(&self, world: &mut World) {
        let mut random = Random::seeded(self.seed);
        if let Apply::Fleet(apply) = self.kind.apply {
            apply(world, &mut random);
        }
        world.rest();
        let span = random.millis(&[0, 20, 100, 100, 300, 300, 700, 1_500, 4_000]);
        world.advance(span);
    }

    /// As [`apply`](Self::apply), in the world of a pool.
    pub fn apply_to_pool(&self, pool: &mut Pool) {
        let mut random = Random::seeded(self.seed);
        if let Apply::Pool(apply) = self.kind.apply {
            apply(pool, &mut random);
        }
        pool.rest();
        let span = random.millis(&[0, 20, 100, 300, 700, 1_500, 4_000]);
        pool.advance(span);
    }
}

fn time_passes(world: &mut World, random: &mut Random) {
    let span = random.millis(&[1_000, 3_000, 10_000, 31_000, 70_000]);
    world.note(format!("{span:?} pass"));
    world.advance(span);
}

/// The places of processes that run.
pub fn running(world: &World) -> Vec<usize> {
    let places = world.processes.iter().enumerate();
    places
        .filter(|(_, process)| process.as_ref().is_some_and(|one| one.frozen.is_none()))
        .map(|(place, _)| place)
        .collect()
}

/// A process that runs.
pub fn pick_running(world: &World, random: &mut Random) -> Option<usize> {
    random.pick(&running(world)).copied()
}

/// A record that should be there.
pub fn pick_record(world: &World, random: &mut Random) -> Option<String> {
    let truth = world.truth().lock();
    let ids: Vec<_> = truth.records.keys().cloned().collect();
    // Often the same one: what happens to one record is what meets.
    if random.chance(1, 2) {
        return ids.first().cloned();
    }
    random.pick(&ids).cloned()
}
