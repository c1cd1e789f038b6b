//! A person logs in on any device, and the login is refreshed from then on.
//!
//! `LOGIN_ISSUER` and `LOGIN_CLIENT` name a real authorization server and the client that is registered there; without them a server on
//! loopback takes their place.

use std::env;
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};

use credpool::provider::OpenAi;
use credpool::testing::{Reply, Upstream};
use credpool::{Auth, FileStore, Login, Manager};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let stand_in = authorization_server();
    let issuer = env::var("LOGIN_ISSUER").unwrap_or_else(|_| stand_in.url());
    let client = env::var("LOGIN_CLIENT").unwrap_or_else(|_| "my-app".to_owned());
    let folder = tempfile::tempdir()?;

    // What a program of your own needs begins here.
    let manager = Manager::builder()
        .store(FileStore::open(folder.path())?)
        .build()?;
    manager.register_executor(OpenAi::new());
    manager.load()?;
    if manager.get_by_id("ada").is_none() {
        manager.register(Auth::pending("openai").with_id("ada"))?;
    }
    let login = Login::by_device(client)
        .with_issuer(issuer)
        .with_scope("openid offline_access");
    let auth = manager.log_in("ada", &login, |prompt| println!("{prompt}"))?;
    // And ends here: the tokens are in the store, and each is replaced before it ends.

    println!(
        "{} is {}, until {:?}",
        auth.id,
        auth.status,
        auth.expiration_time().at()
    );
    let refreshed = manager.refresh_now("ada")?;
    println!("refreshed once: generation {}", refreshed.generation());
    Ok(())
}

/// Publishes its endpoints; its person is done when it is asked for the second time.
fn authorization_server() -> Upstream {
    let was_asked = AtomicBool::new(false);
    Upstream::start(move |request| {
        let url = format!("http://{}", request.header("host").unwrap_or_default());
        let answer = match request.path.as_str() {
            "/.well-known/openid-configuration" => json!({
                "issuer": url, "token_endpoint": format!("{url}/token"),
                "device_authorization_endpoint": format!("{url}/device_authorization"),
            }),
            "/device_authorization" => json!({
                "device_code": "device-1", "user_code": "WDJB-MJHT", "verification_uri": format!("{url}/device"),
                "expires_in": 600, "interval": 1,
            }),
            "/token" if was_asked.swap(true, Ordering::Relaxed) => json!({
                "access_token": "access", "refresh_token": "refresh", "expires_in": 3600, "token_type": "Bearer",
            }),
            "/token" => return Reply::json(400, r#"{"error":"authorization_pending"}"#),
            _ => return Reply::new(404),
        };
        Reply::json(200, answer.to_string())
    })
}
