//! `seal` and `unseal`, and every other command over a sealed store.

use credpool::{FileStore, Sealed, SealingKey, Store};

use crate::world::{World, login};

#[test]
fn a_store_is_sealed_used_and_unsealed() {
    let world = World::new();
    let manager = world.manager();
    manager.register(world.key("a", "good-canary")).unwrap();
    manager.register(world.key("b", "good-canary-2")).unwrap();
    let ada = login("http://127.0.0.1:9/token", 3600).with_id("z-ada");
    manager
        .register(ada.with_attribute("base_url", "http://127.0.0.1:9"))
        .unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    let key = world.path("key");
    let key_text = key.to_str().unwrap();

    let sealed = world
        .run(&["seal", "--seal-key-file", key_text, "--make-key"])
        .expect(0);
    assert!(
        sealed.out.contains("a: sealed") && sealed.err.contains("keep it safe"),
        "{sealed:?}"
    );
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(world.stored("a").is_sealed() && world.stored("b").is_sealed());
    assert!(!format!("{sealed:?}").contains("canary"));
    assert!(!format!("{sealed:?}").contains(std::fs::read_to_string(&key).unwrap().trim()));

    // Without the key: what is not secret is told and changed, what is secret is not.
    let list = world.run(&["list", "--json"]).expect(0).json();
    let all = list["credentials"].as_array().unwrap();
    assert!(all.iter().all(|one| one["kind"] == "sealed"), "{list}");
    let ada = all.iter().find(|one| one["id"] == "z-ada").unwrap();
    assert!(ada["token_ends_at"].is_string(), "{ada}");
    assert!(
        ["ready", "sealed"].contains(&ada["state"].as_str().unwrap()),
        "{ada}"
    );
    world.run(&["disable", "b"]).expect(0);
    world.run(&["enable", "b"]).expect(0);
    let add = world
        .run_with(&["add", "openai", "--id", "c"], "sk-canary")
        .expect(2);
    assert!(
        add.err.contains("is sealed") && add.err.contains("--seal-key-file"),
        "{add:?}"
    );
    let check = world.run(&["check", "--json"]).expect(1).json();
    assert_eq!(check["checked"][0]["why"], "sealed");
    let copy = world.path("copy");
    let copy = copy.to_str().unwrap();

    // With it, everything.
    world
        .run(&["check", "a", "b", "--seal-key-file", key_text])
        .expect(0);
    world
        .run_with(
            &["add", "openai", "--id", "c", "--seal-key-file", key_text],
            "sk-canary",
        )
        .expect(0);
    assert!(world.stored("c").is_sealed());
    let refused = world
        .run(&["copy", "--to", copy, "--seal-key-file", key_text])
        .expect(2);
    assert!(refused.err.contains("--to-plain"), "{refused:?}");
    world
        .run(&[
            "copy",
            "--to",
            copy,
            "--seal-key-file",
            key_text,
            "--to-seal-key-file",
            key_text,
        ])
        .expect(0);
    assert!(
        FileStore::open(copy)
            .unwrap()
            .load("a")
            .unwrap()
            .unwrap()
            .is_sealed()
    );

    // A new key takes the place of the former.
    let new = SealingKey::generate().unwrap();
    let former = std::fs::read_to_string(&key).unwrap();
    std::fs::write(&key, format!("{}\n{former}", new.to_base64().expose())).unwrap();
    world.run(&["seal", "--seal-key-file", key_text]).expect(0);
    let store = FileStore::open(world.store()).unwrap();
    let only_new = Sealed::new(store, move || Ok(vec![new.clone()])).unwrap();
    assert_eq!(only_new.list().unwrap().records.len(), 4);

    world
        .run(&["unseal", "--seal-key-file", key_text])
        .expect(2);
    let unsealed = world
        .run(&["unseal", "--seal-key-file", key_text, "--yes"])
        .expect(0);
    assert!(unsealed.out.contains("a: readable"), "{unsealed:?}");
    assert_eq!(
        world.stored("a").attributes.get("api_key"),
        Some("good-canary")
    );
    world.run(&["check", "a", "b"]).expect(0);
}
