//! No token stays in memory once the manager and all copies of its records are gone: a process looks through its own memory.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use credpool::provider::OpenAi;
use credpool::testing::{Reply, Upstream};
use credpool::{
    Attempt, Auth, FileStore, Manager, MemoryStore, OAuthTokens, Options, ProviderExecutor,
    Request, Sealed, SealingKey, Store, SystemClock,
};
use parking_lot::Mutex;
use serde_json::json;

const SEED: &str = "CREDPOOL_WIPED_SEED";
const ADDRESS: &str = "CREDPOOL_WIPED_ADDRESS";
const BY: &str = "CREDPOOL_WIPED_BY";
const PLACE: &str = "CREDPOOL_WIPED_PLACE";
const LONG: Duration = Duration::from_secs(20);

/// How many tokens of a kind there are.
const ROUNDS: u64 = 5;
const LENGTH: u64 = 56;
const HEAD: u64 = 24;
const MASK: u8 = 0x80;

/// One byte of a token: tokens are made byte by byte, so that the search needs no whole one.
fn byte(seed: u64, number: u64, at: u64) -> u8 {
    let mut x = seed ^ (number << 32) ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    b'a' + u8::try_from((x ^ (x >> 31)) % 26).unwrap()
}

fn token(seed: u64, number: u64) -> String {
    let mut token = String::with_capacity(usize::try_from(LENGTH).unwrap());
    token.extend((0..LENGTH).map(|at| char::from(byte(seed, number, at))));
    token
}

/// The numbers of the tokens of a round.
fn access(round: u64) -> u64 {
    2 * round
}

fn refresh(round: u64) -> u64 {
    2 * round + 1
}

/// The ends of all tokens, in a form in which they are not found. What is freed loses its first bytes to the allocator.
fn masked(seed: u64) -> Vec<Vec<u8>> {
    (0..2 * ROUNDS + 2)
        .map(|number| {
            (HEAD..LENGTH)
                .map(|at| byte(seed, number, at) ^ MASK)
                .collect()
        })
        .collect()
}

/// How often each of them is in the memory of this process.
fn copies(masked: &[Vec<u8>]) -> Vec<usize> {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut found = vec![0; masked.len()];
    let length = masked[0].len();
    let mut chunk = vec![0; 1024 * 1024];
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split_whitespace().next().unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let mut at = u64::from_str_radix(start, 16).unwrap();
        let end = u64::from_str_radix(end, 16).unwrap();
        while at < end {
            let size = chunk.len().min(usize::try_from(end - at).unwrap());
            let Ok(count) = memory.read_at(&mut chunk[..size], at) else {
                break;
            };
            for start in 0..(count + 1).saturating_sub(length) {
                if !chunk[start].is_ascii_lowercase() {
                    continue;
                }
                let window = &chunk[start..start + length];
                for (needle, found) in masked.iter().zip(&mut found) {
                    if window
                        .iter()
                        .zip(needle)
                        .all(|(byte, masked)| byte ^ MASK == *masked)
                    {
                        *found += 1;
                    }
                }
            }
            chunk.fill(0);
            // What lies across two chunks is in the next one.
            at += u64::try_from(chunk.len() - length).unwrap();
            if count < chunk.len() {
                break;
            }
        }
    }
    found
}

/// The process that looks. Without an address, it is an ordinary run of the tests and has nothing to do.
#[test]
fn child() {
    let variable = |name| std::env::var(name).ok();
    let (Some(address), Some(seed)) = (variable(ADDRESS), variable(SEED)) else {
        return;
    };
    let seed = seed.parse().unwrap();
    let masked = masked(seed);
    assert_eq!(copies(&masked), vec![0; masked.len()]);
    let login = Auth::oauth("p", OAuthTokens::refresh_only(token(seed, refresh(0))))
        .with_id("a")
        .with_attribute("base_url", address.clone() + "/v1")
        .with_attribute("token_url", address + "/token");
    let are_live = || {
        let live = copies(&masked);
        let last = usize::try_from(2 * ROUNDS).unwrap();
        assert!(live[last] > 0 && live[last + 1] > 0, "{live:?}");
    };
    match variable(BY).as_deref() {
        Some("executor") => by_executor(login, are_live),
        Some("manager") => by_manager(MemoryStore::new(), Some(login), are_live),
        Some("files") => by_manager(files(), Some(login), are_live),
        Some("sealed files") => by_manager(sealed(files()), Some(login), are_live),
        Some("token files") => {
            drop(login);
            by_manager(files(), None, are_live);
        }
        other => panic!("no such program: {other:?}"),
    }
    println!("\nleft behind: {:?}", copies(&masked));
}

fn request() -> Request {
    Request::new("m", r#"{"messages":[{"role":"user","content":"Hi"}]}"#)
}

/// Refreshes and calls as a program does that keeps its records itself.
fn by_executor(mut auth: Auth, are_live: impl FnOnce()) {
    let (executor, store) = (OpenAi::named("p"), MemoryStore::new());
    let attempt = Attempt::for_tests(SystemClock);
    for _ in 0..ROUNDS {
        auth = executor.refresh(&attempt, &auth).unwrap();
        store.save(&auth).unwrap();
        auth = store.load("a").unwrap().unwrap();
        let note = auth.clone().with_metadata("note", 1);
        store.save(&note).unwrap();
        let text = serde_json::to_value(&auth).unwrap();
        let mut copy: Auth = serde_json::from_value(text).unwrap();
        copy.metadata.as_mut().unwrap().remove("access_token");
        executor
            .execute(&attempt, &auth, &request(), &Options::new())
            .unwrap();
    }
    are_live();
}

fn files() -> FileStore {
    FileStore::open(std::env::var(PLACE).unwrap()).unwrap()
}

fn sealed(store: impl Store) -> impl Store {
    Sealed::new(store, || Ok(vec![SealingKey::from_bytes([7; 32])])).unwrap()
}

/// With a login that it registers, or with the one that the store has.
fn by_manager(store: impl Store + 'static, auth: Option<Auth>, are_live: impl FnOnce()) {
    let manager = Manager::builder()
        .store(store)
        .min_refresh_gap(Duration::from_millis(1))
        .build()
        .unwrap();
    manager.register_executor(OpenAi::named("p"));
    let id = match auth {
        Some(auth) => manager.register(auth).unwrap().id.clone(),
        None => {
            manager.load().unwrap();
            TOKEN_FILE.to_owned()
        }
    };
    let call = || manager.execute(["p"], &request(), &Options::new()).unwrap();
    call();
    let generation = || manager.get_by_id(&id).unwrap().generation();
    for _ in 1..ROUNDS {
        // One that joins the end of the refresh before it brings no other tokens.
        let before = generation();
        while generation() == before {
            manager.refresh_now(&id).unwrap();
        }
        call();
    }
    let copy = manager.get_by_id(&id).unwrap();
    // To bring the login in, where it was, has changed its tokens too.
    assert!(copy.generation() >= ROUNDS, "{}", copy.generation());
    are_live();
    drop(copy);
    manager.shutdown(LONG).unwrap();
}

#[test]
fn a_program_of_its_own_leaves_no_token_behind() {
    assert_none_is_left("executor");
}

#[test]
fn a_manager_leaves_no_token_behind() {
    assert_none_is_left("manager");
}

#[test]
fn a_store_of_files_leaves_no_token_behind() {
    assert_none_is_left("files");
}

#[test]
fn a_sealed_store_leaves_no_token_behind() {
    assert_none_is_left("sealed files");
}

#[test]
fn a_store_of_token_files_leaves_no_token_behind() {
    assert_none_is_left("token files");
}

/// The token file of another program, and what is beside it.
fn put_token_file(place: &Path, seed: u64, address: &str) {
    let refresh = token(seed, refresh(0));
    let tokens = json!({"type": "p", "access_token": "old", "refresh_token": refresh,
        "expires_at": "2020-01-01T00:00:00Z"});
    fs::write(place.join(TOKEN_FILE), tokens.to_string()).unwrap();
    let attributes =
        json!({"base_url": format!("{address}/v1"), "token_url": format!("{address}/token")});
    let state = json!({"id": TOKEN_FILE, "status": "active", "quota": {}, "generation": 0,
        "record": {"attributes": attributes}});
    fs::write(place.join(format!("{TOKEN_FILE}.state")), state.to_string()).unwrap();
}

const TOKEN_FILE: &str = "a.json";

fn assert_none_is_left(by: &str) {
    let seed = std::process::id().into();
    let round = Mutex::new(0);
    let upstream = Upstream::start(move |request| {
        if !request.path.ends_with("/token") {
            let body = r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}"#;
            return Reply::json(200, body);
        }
        let mut round = round.lock();
        *round += 1;
        let access = token(seed, access(*round));
        let refresh = token(seed, refresh(*round));
        let body = format!(
            r#"{{"access_token":"{access}","refresh_token":"{refresh}","expires_in":3600}}"#
        );
        Reply::json(200, body)
    });
    let place = tempfile::tempdir().unwrap();
    if by == "token files" {
        put_token_file(place.path(), seed, &upstream.url());
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(ADDRESS, upstream.url())
        .env(SEED, seed.to_string())
        .env(BY, by)
        .env(PLACE, place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    let left = said
        .lines()
        .find_map(|line| line.strip_prefix("left behind: "));
    let none = format!("{:?}", vec![0; masked(seed).len()]);
    assert_eq!(left, Some(none.as_str()), "{said}");
}
