//! `check`: what the vendor says of each credential.

use credpool::testing::TokenServer;
use credpool::{Auth, FileStore, Store};
use serde_json::json;

use crate::world::{World, login};

#[test]
fn each_credentials_vendor_is_asked_and_nothing_is_written() {
    let world = World::new();
    let manager = world.manager();
    for (id, key) in [
        ("good", "good-canary"),
        ("bad", "bad-canary"),
        ("poor", "poor-canary"),
        ("busy", "busy-canary"),
        ("broken", "broken-canary"),
        ("off", "bad-canary-2"),
    ] {
        manager.register(world.key(id, key)).unwrap();
    }
    manager.set_disabled("off", true).unwrap();
    manager.cool_down("good", None, crate::world::LONG).unwrap();
    manager
        .register(
            world
                .key("away", "good-canary")
                .with_attribute("base_url", "http://127.0.0.1:9/v1"),
        )
        .unwrap();
    manager
        .register(Auth::api_key("zai", "sk-canary").with_id("unasked"))
        .unwrap();
    manager
        .register(Auth::api_key("my-llm", "sk-canary").with_id("unknown"))
        .unwrap();
    manager
        .register(Auth::pending("openai").with_id("ada"))
        .unwrap();
    manager
        .register(
            login("http://127.0.0.1:9/token", -60)
                .with_id("ended")
                .with_attribute("base_url", format!("{}/v1", world.vendor.url())),
        )
        .unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    let before = texts(&world);

    let ran = world.run(&["check", "--json"]).expect(1);
    let document = ran.json();
    let of = |id: &str| {
        let mut checked = document["checked"].as_array().unwrap().iter();
        checked
            .find(|checked| checked["id"] == id)
            .unwrap_or_else(|| panic!("{id}: {document}"))
    };
    for (id, result, action) in [
        ("good", "accepted", "none"),
        ("bad", "refused", "act"),
        ("poor", "refused", "act"),
        ("busy", "unclear", "wait"),
        ("broken", "unclear", "wait"),
        ("away", "unclear", "wait"),
        ("off", "not-asked", "none"),
        ("unasked", "not-asked", "none"),
        ("unknown", "not-asked", "none"),
        ("ada", "refused", "act"),
        ("ended", "not-asked", "wait"),
    ] {
        let checked = of(id);
        assert_eq!(
            (&checked["result"], &checked["action"]),
            (&json!(result), &json!(action)),
            "{checked}"
        );
    }
    assert_eq!(
        of("bad")["what_to_do"],
        "make a new key at the vendor: `credpool add openai --id bad --replace`"
    );
    assert!(
        of("bad")["why"]
            .as_str()
            .unwrap()
            .contains("Incorrect API key provided")
    );
    assert!(of("busy")["fault"] == "rate_limited" && of("broken")["error"]["http_status"] == 500);
    assert_eq!(
        document["checked"][0]["action"], "act",
        "what needs a person comes first"
    );
    assert!(
        !ran.out.contains("canary") && !ran.err.contains("canary"),
        "{ran:#?}"
    );
    assert_eq!(texts(&world), before);
    // Each was asked once, and no token was spent.
    assert_eq!(world.vendor.request_count(), 5);

    let text = world.run(&["check"]).expect(1).out;
    assert!(
        text.contains("11 credentials: 1 accepted, 3 refused, 3 unclear, 4 not asked"),
        "{text}"
    );
    world.run(&["check", "good", "unasked"]).expect(0);
    // One that is named is asked although it is disabled.
    let named = world.run(&["check", "off", "--json"]).expect(1).json();
    assert_eq!(named["checked"][0]["result"], "refused");
}

#[test]
fn a_login_whose_token_has_ended_is_refreshed_where_that_is_asked_for() {
    let world = World::new();
    let tokens = TokenServer::start();
    let manager = world.manager();
    let mut login = tokens
        .login("openai", "ada")
        .with_attribute("base_url", format!("{}/v1", world.vendor.url()));
    let metadata = login.metadata.as_mut().unwrap();
    metadata.insert("expires_at", "2026-01-01T00:00:00Z");
    manager.register(login).unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    let before = world.run(&["check", "--json"]).expect(0).json();
    assert_eq!(before["checked"][0]["why"], "the token has ended");
    assert_eq!(tokens.refreshes(), 0);
    // The vendor of this test knows no such token, which is another matter.
    let after = world
        .run(&["check", "--refresh", "--json"])
        .expect(1)
        .json();
    assert_eq!(after["checked"][0]["result"], "refused", "{after}");
    assert_eq!((tokens.refreshes(), tokens.replays()), (1, 0));
    assert_eq!(world.vendor.request_count(), 1);
}

fn texts(world: &World) -> Vec<String> {
    let store = FileStore::open(world.store()).unwrap();
    let records = store.list().unwrap().records;
    records
        .iter()
        .map(|auth| serde_json::to_string(auth).unwrap())
        .collect()
}

#[test]
fn a_list_beside_the_version_of_an_api_is_found() {
    use credpool::testing::{Reply, Upstream};

    let cohere = Upstream::start(|request| match request.path.as_str() {
        "/v1/models" => Reply::json(200, r#"{"models":[]}"#),
        _ => Reply::new(404),
    });
    let world = World::new();
    let manager = world.manager();
    let auth = Auth::api_key("cohere", "good-canary").with_id("a");
    let address = format!("{}/v2/", cohere.url());
    manager
        .register(auth.with_attribute("base_url", address))
        .unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    world.run(&["check"]).expect(0);
    assert_eq!(cohere.request_count(), 1);
}
