//! Each subcommand's help, errors and documents.

use credpool::testing::TokenServer;
use credpool::{Auth, SealingKey};
use serde_json::{Value, json};

use crate::world::{World, command, login, run_with};

const ALL: [&str; 17] = [
    "list",
    "show",
    "explain",
    "add",
    "login",
    "import",
    "disable",
    "enable",
    "remove",
    "refresh",
    "reset",
    "cool-down",
    "check",
    "watch",
    "copy",
    "seal",
    "unseal",
];

#[test]
fn each_subcommand_has_a_help_with_an_example() {
    let world = World::new();
    let all = world.run(&["--help"]).expect(0).out;
    assert!(
        all.contains("Exit codes:") && all.contains("CREDPOOL_STORE"),
        "{all}"
    );
    for name in ALL {
        assert!(all.contains(&format!("  {name} ")), "{name}: {all}");
        for flag in ["--help", "-h"] {
            let help = world.run(&[name, flag]).expect(0).out;
            assert!(help.contains(&format!("Usage: credpool {name}")), "{help}");
            assert!(help.contains("Example:\n  credpool "), "{help}");
            assert!(
                help.lines()
                    .all(|line| line.starts_with("Usage:") || line.chars().count() <= 100),
                "{help}"
            );
        }
    }
    let version = world.run(&["--version"]).expect(0).out;
    assert_eq!(
        version.trim(),
        format!("credpool {}", env!("CARGO_PKG_VERSION"))
    );
}

/// A store with a key, a pending login and one that is limited.
pub(crate) fn world() -> World {
    let world = World::new();
    let manager = world.manager();
    manager.register(world.key("a", "good-canary")).unwrap();
    manager.register(world.key("b", "bad-canary")).unwrap();
    manager
        .register(Auth::pending("my-llm").with_id("ada"))
        .unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    world
}

#[test]
fn no_store_is_an_error_that_says_how_to_name_one() {
    let mut named_none = command("", &["list"]);
    named_none.env_remove("CREDPOOL_STORE");
    let ran = run_with(named_none, "").expect(2);
    assert!(
        ran.err.contains("--store STORE") && ran.err.contains("CREDPOOL_STORE"),
        "{}",
        ran.err
    );
}

#[test]
fn a_refused_login_leaves_no_record_behind() {
    let world = world();
    let arguments = [
        "login",
        "new",
        "--provider",
        "my-llm",
        "--device",
        "--client-id",
        "app",
        "--begin-url",
        "http://127.0.0.1:9/device",
        "--token-url",
        "http://127.0.0.1:9/token",
        "--timeout",
        "5s",
    ];
    world.run(&arguments).expect(5);
    world.run(&["show", "new"]).expect(4);
}

/// The documents' members: that a program can rely on them.
#[test]
fn documents_have_their_members() {
    let world = world();
    world
        .run(&["cool-down", "b", "--for", "10m", "--model", "gpt-5"])
        .expect(0);

    let list = world.run(&["list", "--json"]).expect(0).json();
    assert_eq!(list["store"], world.store());
    assert_eq!(
        list["summary"],
        json!({ "credentials": 3, "ready": 1, "act": 1, "wait": 1, "disabled": 0 })
    );
    let of = |id: &str| {
        let mut all = list["credentials"].as_array().unwrap().iter();
        all.find(|credential| credential["id"] == id).unwrap()
    };
    let (ada, b) = (of("ada"), of("b"));
    assert_eq!(
        (&ada["state"], &ada["action"], &ada["serves"]),
        (&json!("pending"), &json!("act"), &json!("none"))
    );
    assert_eq!(
        (&b["state"], &b["action"], &b["serves"]),
        (&json!("cooling"), &json!("wait"), &json!("some"))
    );
    assert_eq!(
        (&b["kind"], &b["provider"], &b["source"]),
        (&json!("key"), &json!("openai"), &json!("operator"))
    );
    assert!(
        b["until"].is_string() && b["remaining_seconds"].as_u64().unwrap() > 500,
        "{b}"
    );
    assert_eq!(b["models"].as_array().unwrap().len(), 2);
    assert_eq!(b["models"][1]["model"], "gpt-5");
    assert_eq!(
        list["credentials"][0]["id"], "ada",
        "what needs a person comes first"
    );
    let unavailable = world
        .run(&["list", "--json", "--unavailable", "--provider", "OpenAI"])
        .expect(0)
        .json();
    assert_eq!(unavailable["credentials"].as_array().unwrap().len(), 1);
    assert_eq!(unavailable["summary"]["credentials"], 2);

    let shown = world.run(&["show", "b", "--json"]).expect(0).json();
    let shown = &shown["credentials"][0];
    assert_eq!(shown["settings"]["api_key"], "***");
    assert!(
        shown["generation"].is_u64()
            && shown["metadata"].is_array()
            && shown["file"] == "b.credential",
        "{shown}"
    );

    let explained = world
        .run(&["explain", "openai", "gpt-5", "--json"])
        .expect(0)
        .json();
    let explained = &explained["explained"][0];
    assert_eq!(
        (&explained["ready"], &explained["model"]),
        (&json!(1), &json!("gpt-5"))
    );
    assert_eq!(explained["credentials"][0]["id"], "b");
    let none = world.run(&["explain", "my-llm", "--json"]).expect(1).json();
    assert_eq!(none["explained"][0]["ready"], 0);

    for (arguments, done) in [
        (&["disable", "a"][..], "disabled"),
        (&["enable", "a"], "enabled"),
        (&["reset", "b"], "reset"),
        (&["cool-down", "a", "--for", "1m"], "cooling down for 1m"),
    ] {
        let document = world
            .run(&[arguments, &["--json"]].concat())
            .expect(0)
            .json();
        let result = &document["results"][0];
        assert_eq!(
            (&result["id"], &result["ok"]),
            (&json!(arguments[1]), &json!(true))
        );
        assert!(
            result["done"].as_str().unwrap().starts_with(done),
            "{result}"
        );
    }
    // One that is there, and one that is not: the first is done, and the code tells of the second.
    let both = world.run(&["disable", "a", "x", "--json"]).expect(4).json();
    assert_eq!(
        (&both["results"][0]["ok"], &both["results"][1]["ok"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(both["results"][1]["error"]["code"], "auth_not_found");
    let removed = world
        .run(&["remove", "a", "--yes", "--json"])
        .expect(0)
        .json();
    assert_eq!(removed["results"][0]["done"], "removed");
    world.run(&["show", "a"]).expect(4);
}

#[test]
fn a_key_is_added_from_standard_input_and_replaced() {
    let world = World::new();
    let added = [
        "add", "openai", "--id", "a", "--label", "Team A", "--set", "rpm=60", "--model", "gpt-5*",
        "--json",
    ];
    let document = world.run_with(&added, "  sk-canary-1\n").expect(0).json();
    assert_eq!(document["results"][0]["id"], "a");
    let auth = world.stored("a");
    let attribute = |name| auth.attributes.get(name);
    assert_eq!(
        (attribute("api_key"), attribute("rpm"), attribute("models")),
        (Some("sk-canary-1"), Some("60"), Some("gpt-5*"))
    );
    assert_eq!(
        (auth.label.as_str(), auth.provider.as_str()),
        ("Team A", "openai")
    );

    // A new key ends what the former one was refused for; what is not named stays.
    let manager = world.manager();
    let refused = credpool::Error::upstream(401, "");
    manager.mark_result(&credpool::Outcome::failure("a", "openai", "gpt-5", refused));
    manager.shutdown(crate::world::LONG).unwrap();
    assert_eq!(world.run(&["list", "--json"]).json()["summary"]["act"], 1);
    world
        .run_with(&["add", "openai", "--id", "a", "--replace"], "sk-canary-2")
        .expect(0);
    let auth = world.stored("a");
    assert_eq!(
        (auth.attributes.get("api_key"), auth.attributes.get("rpm")),
        (Some("sk-canary-2"), Some("60"))
    );
    assert_eq!(auth.label, "Team A");
    assert_eq!(world.run(&["list", "--json"]).json()["summary"]["ready"], 1);

    // Without an id one is made; another provider's credential is not written over.
    let made = world
        .run_with(&["add", "openai", "--json"], "sk-canary-3")
        .expect(0)
        .json();
    assert!(
        made["results"][0]["id"]
            .as_str()
            .unwrap()
            .starts_with("openai-"),
        "{made}"
    );
    let other = world
        .run_with(
            &["add", "anthropic", "--id", "a", "--replace"],
            "sk-canary-4",
        )
        .expect(2);
    assert!(
        other.err.contains("credential a is one of provider openai"),
        "{}",
        other.err
    );
    // A value that cannot be one is refused by the library, in its words.
    let wrong = world
        .run_with(&["add", "openai", "--set", "rpm=many"], "sk-canary-5")
        .expect(2);
    assert!(wrong.err.contains("rpm"), "{}", wrong.err);
}

#[test]
fn a_login_is_refreshed_by_the_rules_of_the_fleet() {
    let world = World::new();
    let server = TokenServer::start();
    let manager = world.manager();
    manager.register_executor(credpool::provider::OpenAi::named("my-llm"));
    manager.register(server.login("my-llm", "ada")).unwrap();
    let former = manager.get_by_id("ada").unwrap();
    let refreshed = world.run(&["refresh", "ada", "--json"]).expect(0).json();
    assert!(
        refreshed["results"][0]["done"]
            .as_str()
            .unwrap()
            .starts_with("refreshed"),
        "{refreshed}"
    );
    assert_eq!((server.refreshes(), server.replays()), (1, 0));
    let stored = world.stored("ada");
    assert_eq!(stored.generation(), former.generation() + 1);
    // The running program refreshes what the command has left, and loses nothing.
    assert!(crate::beside::within(|| manager
        .get_by_id("ada")
        .unwrap()
        .generation()
        == stored.generation()));
    manager.refresh_now("ada").unwrap();
    assert_eq!((server.refreshes(), server.replays()), (2, 0));
    manager.shutdown(crate::world::LONG).unwrap();

    server.revoke("ada");
    let ended = world.run(&["refresh", "ada"]).expect(5);
    assert!(
        ended.out.contains("ada:") && ended.out.contains("credpool login ada"),
        "{ended:?}"
    );
    let list = world.run(&["list"]).expect(0).out;
    assert!(
        list.contains("needs-login") && list.contains("ada: log in again: `credpool login ada`"),
        "{list}"
    );
}

#[test]
fn what_another_program_holds_is_imported() {
    let world = World::new();
    let file = world.path("auth.json");
    let text = r#"{"openrouter":{"type":"api","key":"sk-or-canary"},"anthropic":{"type":"oauth","access":"canary-a","refresh":"canary-r","expires":1795730400000}}"#;
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();

    let found = world
        .run(&["import", file, "--dry-run", "--json"])
        .expect(0)
        .json();
    let found = found["found"].as_array().unwrap();
    let renewals: Vec<_> = found
        .iter()
        .map(|found| found["renewal"].as_str().unwrap())
        .collect();
    assert!(
        renewals.contains(&"owner") && renewals.contains(&"none"),
        "{found:?}"
    );
    assert!(
        !world.path("credentials").exists(),
        "a dry run writes nothing"
    );

    world.run(&["import", file]).expect(0);
    let held = world.stored("opencode-anthropic");
    assert_eq!(held.attributes.get("held_by"), Some("opencode"));
    assert_eq!(held.metadata.unwrap().text("refresh_token"), None);
    assert_eq!(
        world
            .stored("opencode-openrouter")
            .attributes
            .get("api_key"),
        Some("sk-or-canary")
    );
    let again = world.run(&["import", file]).expect(1);
    assert!(again.out.contains("already"), "{again:?}");

    let taken = world
        .run(&["import", file, "--prefix", "mine", "--take-over"])
        .expect(0);
    assert!(taken.out.contains("opencode loses its login"), "{taken:?}");
    assert_eq!(
        world
            .stored("mine-anthropic")
            .metadata
            .unwrap()
            .text("refresh_token"),
        Some("canary-r")
    );
}

#[test]
fn credentials_are_copied_with_their_state() {
    let world = world();
    world.run(&["cool-down", "b", "--for", "10m"]).expect(0);
    let manager = world.manager();
    manager
        .register(login("http://127.0.0.1:9/token", 3600).with_id("eve"))
        .unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    let database = format!("sqlite:{}", world.path("copy.db").display());

    let copied = world.run(&["copy", "--to", &database]).expect(0);
    assert!(
        copied
            .err
            .contains("1 login with a refresh token now in two stores (eve)"),
        "{copied:?}"
    );
    let list = |store: &str| {
        run_with(command(store, &["list", "--json"]), "")
            .expect(0)
            .json()
    };
    let states = |list: &Value| {
        let all = list["credentials"].as_array().unwrap().clone();
        all.into_iter()
            .map(|mut credential| {
                for model in credential["models"].as_array_mut().unwrap() {
                    model.as_object_mut().unwrap().remove("remaining_seconds");
                }
                credential
                    .as_object_mut()
                    .unwrap()
                    .remove("remaining_seconds");
                credential
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(states(&list(&database)), states(&list(&world.store())));

    // What is there stays, unless it is to be replaced.
    world
        .run_with(
            &["add", "openai", "--id", "a", "--replace"],
            "good-canary-2",
        )
        .expect(0);
    world.run(&["copy", "--to", &database]).expect(1);
    let key = || {
        let store = credpool::SqliteStore::open(world.path("copy.db")).unwrap();
        let auth = credpool::Store::load(&store, "a").unwrap().unwrap();
        auth.attributes.get("api_key").unwrap().to_owned()
    };
    assert_eq!(key(), "good-canary");
    world
        .run(&["copy", "a", "--to", &database, "--replace"])
        .expect(0);
    assert_eq!(key(), "good-canary-2");
}

#[test]
fn the_address_of_a_store_may_hold_a_password_in_the_environment_alone() {
    let world = World::new();
    for store in [
        "redis://u:canary@127.0.0.1:9",
        "postgres://u:canary@127.0.0.1:9/x?connect_timeout=2",
    ] {
        let ran = run_with(command(store, &["list"]), "").expect(3);
        assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
    }
    let key = SealingKey::generate().unwrap().to_base64();
    let mut sealed = command(&world.store(), &["add", "openai", "--id", "a"]);
    sealed.env("CREDPOOL_SEAL_KEY", key.expose());
    run_with(sealed, "sk-canary").expect(0);
    assert!(world.stored("a").is_sealed());
}
