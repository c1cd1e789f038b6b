//! A store over another database than the crate's own: `cargo run --example redb_store`.
//!
//! `store.rs` is all that an author writes. `tests/seams.rs` holds it to the promises of every store.

mod store;

use credpool::{Auth, Manager, Store};
use store::RedbStore;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    env_logger::init();
    let home = tempfile::tempdir()?;
    let path = home.path().join("credentials.redb");

    let manager = Manager::builder().store(RedbStore::open(&path)?).build()?;
    manager.register(Auth::api_key("openai", "sk-123").with_id("team-a"))?;
    manager.set_disabled("team-a", true)?;
    drop(manager);

    // The next process.
    let stored = RedbStore::open(&path)?;
    for auth in stored.list()?.records {
        println!(
            "{} of {}, disabled: {}",
            auth.id, auth.provider, auth.disabled
        );
        assert!(auth.id == "team-a" && auth.disabled);
    }
    let manager = Manager::builder().store(stored).build()?;
    println!("loaded: {:?}", manager.load()?);
    Ok(())
}
