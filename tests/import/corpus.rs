//! What is said of each file.

use std::fmt::Write as _;

use credpool::import::{self, Renewal};
use credpool::{Auth, Expiry};

use crate::files;

/// What [`import::read`] says of each file, line by line.
const SAYS: &str = include_str!("says.txt");

#[test]
fn each_file_is_told_as_the_table_has_it() {
    let mut told = String::new();
    let home = tempfile::tempdir().unwrap();
    files::copy_to(home.path());
    for (name, _) in files::all() {
        let path = home.path().join(&name);
        let text = match import::read(&path) {
            Ok(import) => {
                files::holds_no_secret(&format!("{import:?}"));
                import.to_string()
            }
            Err(error) => {
                files::holds_no_secret(&format!("{error:?}"));
                let message = error.message().to_owned();
                format!("{}\n", message.replace(path.to_str().unwrap(), "it"))
            }
        };
        files::holds_no_secret(&text);
        write!(told, "{name}\n{text}\n").unwrap();
    }
    assert_eq!(told.trim_end(), SAYS.trim_end(), "\n{told}");
}

#[test]
fn a_record_that_its_owner_renews_has_nothing_to_renew_it_with() {
    let mut owners = 0;
    for (name, bytes) in files::all() {
        let Ok(import) = import::parse(&bytes) else {
            continue;
        };
        for credential in import.credentials() {
            let auth = credential.auth();
            let json = serde_json::to_string(&auth).unwrap();
            let whole = credential.take_over();
            assert_eq!(auth.expiration_time(), credential.expires_at(), "{name}");
            if credential.renewal() != Renewal::Owner {
                assert_eq!(json, serde_json::to_string(&whole.auth).unwrap(), "{name}");
                continue;
            }
            owners += 1;
            assert!(auth.attributes.get("held_by").is_some(), "{name}");
            for secret in renewing(&whole.auth) {
                assert!(!json.contains(&secret), "{name} has what renews it");
            }
        }
    }
    assert!(owners > 8, "{owners}");
}

fn renewing(auth: &Auth) -> Vec<String> {
    let metadata = auth.metadata.as_ref().unwrap();
    let names = ["refresh_token", "client_secret"].into_iter();
    names
        .filter_map(|name| metadata.text(name).map(str::to_owned))
        .collect()
}

#[test]
fn what_a_take_over_does_to_the_owner_is_said() {
    let said = |name: &str| {
        let import = import::parse(&files::one(name)).unwrap();
        import.credentials()[0].take_over().consequence
    };
    let codex = said("codex-chatgpt.json");
    assert!(
        codex.contains("Codex loses its login and has to log in again"),
        "{codex}"
    );
    assert!(
        codex.ends_with("the record needs token_url, client_id"),
        "{codex}"
    );
    let aws = said("sso/d033e22ae348aeb5660fc2140aec35850c4da997.json");
    assert!(aws.contains("may serve once"), "{aws}");
    assert!(said("clasp-users.clasprc.json").contains("nothing changes for clasp"));
    assert!(said("copilot-hosts.json").contains("no refresh token to take over"));
}

#[test]
fn what_becomes_a_record_is_fit_for_the_grants() {
    let import = import::parse(&files::one("clasp-local.clasprc.json")).unwrap();
    let auth = import.credentials()[0].auth();
    let metadata = auth.metadata.as_ref().unwrap();
    assert_eq!(
        metadata.text("client_id"),
        Some("c.apps.googleusercontent.com")
    );
    assert_eq!(metadata.text("type"), Some("authorized_user"));
    assert!(matches!(auth.expiration_time(), Expiry::At(_)));
    let import = import::parse(&files::one("codex-chatgpt.json")).unwrap();
    let auth = import.credentials()[0].auth();
    assert_eq!(
        auth.metadata.as_ref().unwrap().text("account_id"),
        Some("acc-1")
    );
    assert_eq!(
        (auth.provider.as_str(), auth.label.as_str()),
        ("codex", "ada@example.org")
    );
}
