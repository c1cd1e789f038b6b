//! Credentials that are encrypted at rest, and keys from mounted files: `cargo run --example sealed`.
//!
//! On a temporary directory, without an account.

use std::error::Error;
use std::fs;
use std::sync::Arc;

use credpool::{
    Auth, FileStore, Manager, MountedKeys, OAuthTokens, Sealed, SealingKey, Skipped, Store,
};

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let (directory, key_file) = (home.path().join("credentials"), home.path().join("key"));

    println!("1. A key, from a file that only its owner can read");
    let first = SealingKey::generate()?;
    fs::write(&key_file, first.to_base64().expose())?;
    // From the system's keyring, with the crate `keyring`, the source of keys is a closure as well:
    //     || {
    //         let entry = keyring::Entry::new("my-program", "credpool").map_err(credpool::Error::other)?;
    //         let text = entry.get_password().map_err(credpool::Error::other)?;
    //         Ok(vec![SealingKey::parse(&text)?])
    //     }
    let path = key_file.clone();
    let store = Sealed::new(FileStore::open(&directory)?, move || {
        SealingKey::from_file(&path)
    })?;
    let store = Arc::new(store);

    println!("2. A login goes to disk: who it is stays readable, its tokens do not");
    let manager = Manager::builder().store(Arc::clone(&store)).build()?;
    let tokens = OAuthTokens::new("access-1").with_refresh_token("refresh-1");
    manager.register(
        Auth::oauth("openai", tokens)
            .with_id("team-a")
            .with_label("Team A"),
    )?;
    let text = fs::read_to_string(directory.join("team-a.credential"))?;
    println!("{text}");
    assert!(text.contains("Team A") && !text.contains("refresh-1"));

    println!("3. Another key takes over while the program runs");
    let second = SealingKey::generate()?;
    let both = [&second, &first].map(|key| key.to_base64().expose().to_owned());
    fs::write(&key_file, both.join("\n"))?;
    store.reload_keys()?;
    assert!(store.reseal()?.is_empty());
    fs::write(&key_file, second.to_base64().expose())?;
    store.reload_keys()?;
    assert_eq!(store.list()?.records.len(), 1);

    println!("4. Without its key a record is skipped, and stays as it is");
    let stranger = Sealed::new(FileStore::open(&directory)?, move || {
        Ok(vec![first.clone()])
    })?;
    let skipped: Vec<Skipped> = stranger.list()?.skipped;
    println!("   {}", skipped[0]);

    println!("5. Keys that an orchestrator mounts, and the logins beside them");
    let mount = home.path().join("mounted");
    fs::create_dir(&mount)?;
    fs::write(mount.join("main"), "sk-mounted-1\n")?;
    let keys = MountedKeys::open(&mount, Auth::new("openai"))?.beside(store);
    let manager = Manager::builder().store(keys).build()?;
    println!("   {} credentials", manager.load()?.loaded);
    assert!(manager.get_by_id("main").is_some() && manager.get_by_id("team-a").is_some());
    Ok(())
}
