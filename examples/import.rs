//! The logins of command-line tools in a pool: `cargo run --example import`, on a temporary directory and without any account.
//!
//! With paths as arguments it says what is in these files instead: `cargo run --example import ~/.codex/auth.json`.

use std::error::Error;
use std::fs;
use std::path::Path;

use credpool::import::{self, Renewal};
use credpool::provider::Anthropic;
use credpool::{FileStore, Manager};

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<_> = std::env::args().skip(1).collect();
    for path in &paths {
        tell(Path::new(path))?;
    }
    if !paths.is_empty() {
        return Ok(());
    }

    // What Claude Code would have written, with another token.
    let home = tempfile::tempdir()?;
    let file = home.path().join(".credentials.json");
    fs::write(
        &file,
        r#"{"claudeAiOauth": {"accessToken": "first", "refreshToken": "one-time", "expiresAt": 4102444800000}}"#,
    )?;
    let login = tell(&file)?.remove(0);

    let store = FileStore::open(home.path().join("pool"))?;
    let manager = Manager::builder().store(store).build()?;
    manager.register_executor(Anthropic::new());
    manager.register(login.with_id("ada"))?;

    // Claude Code renews its login, and the pool follows.
    let text = fs::read_to_string(&file)?.replace("first", "second");
    fs::write(&file, text)?;
    let followed = manager.refresh_now("ada")?;
    let metadata = followed.metadata.clone().unwrap_or_default();
    println!(
        "followed: {}",
        metadata.text("access_token") == Some("second")
    );

    // An operator decides otherwise.
    let taken = import::take_over(&followed)?;
    println!("taken over: {}", taken.consequence);
    let auth = taken
        .auth
        .with_attribute("token_url", "https://login.example.org/token")
        .with_attribute("client_id", "my-app");
    manager.update(auth)?;
    Ok(())
}

/// Says what is in a file, and gives the records.
fn tell(path: &Path) -> Result<Vec<credpool::Auth>, credpool::Error> {
    let import = import::read(path)?;
    print!("{import}");
    for credential in import.credentials() {
        if credential.renewal() == Renewal::Owner {
            for missing in credential.missing() {
                println!("  to refresh it here: {missing}");
            }
        }
    }
    let credentials = import.credentials().iter();
    Ok(credentials.map(import::Credential::auth).collect())
}
