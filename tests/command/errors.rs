//! What is wrong, what the command says of it, and its code.

use serde_json::Value;

use crate::subcommands::world;

/// Arguments, in which `$` stands for a directory, the code, and what is said. The store has keys `a` and `b` and a pending login `ada`.
const ROWS: &[(&str, i32, &[&str])] = &[
    (
        "show x",
        4,
        &["there is no credential x", "`credpool list`"],
    ),
    (
        "disable x",
        4,
        &["x: no credential x is registered", "`credpool list`"],
    ),
    ("enable x", 4, &["no credential x"]),
    ("remove x --yes", 4, &["no credential x"]),
    ("remove a", 2, &["nothing was removed", "--yes"]),
    ("reset x", 4, &["no credential x"]),
    ("cool-down x --for 1m", 4, &["no credential x"]),
    ("cool-down a", 2, &["--for"]),
    ("cool-down a --for soon", 2, &["--for"]),
    ("cool-down a --for 0s", 2, &["longer than nothing"]),
    ("refresh x", 4, &["no credential x"]),
    ("refresh a", 5, &["a:"]),
    ("refresh ada", 5, &["ada:"]),
    (
        "explain nope",
        4,
        &["no credential of provider nope", "my-llm, openai"],
    ),
    ("check x", 4, &["there is no credential x"]),
    (
        "add openai --id a",
        2,
        &["there is a credential a already", "--replace"],
    ),
    ("add openai --id new", 2, &["the key for openai is empty"]),
    ("add openai --replace", 2, &["--id"]),
    (
        "add openai --id x --replace",
        4,
        &["there is no credential x"],
    ),
    (
        "add openai --set api_key=word",
        2,
        &["setting api_key may be secret"],
    ),
    (
        "add openai --set header:x=word",
        2,
        &["setting header:x may be secret"],
    ),
    ("add openai --set novel", 2, &["NAME=VALUE"]),
    (
        "login x --device --client-id app --issuer http://127.0.0.1:9",
        4,
        &["there is no credential x", "--provider"],
    ),
    (
        "login a --device --client-id app --issuer http://127.0.0.1:9",
        2,
        &["it has a key"],
    ),
    (
        "login ada --device --client-id app --issuer http://127.0.0.1:9 --timeout 5s",
        5,
        &["ada"],
    ),
    ("login ada --client-id app", 2, &["--device"]),
    ("import $/missing", 2, &["missing"]),
    (
        "import $/strange.json",
        2,
        &["the form of no known program"],
    ),
    ("copy", 2, &["no store is named", "--to"]),
    ("copy x --to $/missing", 4, &["there is no credential x"]),
    (
        "copy --to postgres://u:canary@db/x",
        2,
        &["--to holds a password", "CREDPOOL_TO"],
    ),
    ("seal", 2, &["sealing needs a key", "--make-key"]),
    ("seal --seal-key-file $/no-key", 2, &["no-key"]),
    (
        "seal --seal-key-file $/no-key --make-key",
        2,
        &["never written over"],
    ),
    ("unseal", 2, &["sealing needs a key"]),
    (
        "list --store $/missing",
        3,
        &["there is no store", "look at the path"],
    ),
    ("list --store $/no-key", 2, &["is a file", "sqlite:"]),
    ("list --store sqlite:$/no-key", 3, &["no-key"]),
    ("list --store mysql://x", 2, &["none that is known"]),
    (
        "list --store redis://u:canary@x",
        2,
        &["--store holds a password", "CREDPOOL_STORE"],
    ),
    ("watch --store $/missing", 3, &["there is no store"]),
    ("list --nope", 2, &["--nope"]),
    ("nope", 2, &["nope"]),
    ("", 2, &["Usage"]),
];

#[test]
fn an_error_says_what_happened_and_what_to_do() {
    let world = world();
    std::fs::write(world.path("strange.json"), "{}").unwrap();
    std::fs::write(world.path("no-key"), "short").unwrap();
    let home = world.home.path().to_str().unwrap();
    for (line, code, says) in ROWS {
        let line = line.replace('$', home);
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let ran = world.run(&arguments);
        assert_eq!(ran.code, *code, "{line}: {ran:#?}");
        let said = format!("{}{}", ran.out, ran.err);
        for words in *says {
            assert!(said.contains(words), "{line} says {words}: {said}");
        }
        assert!(
            !said.contains("canary") && !said.contains("panicked"),
            "{line}: {said}"
        );

        // As a document, where the arguments could be read.
        if ran.err.contains("Usage") || ran.err.contains("--help") {
            continue;
        }
        let json = world
            .run(&[&["--json"], &arguments[..]].concat())
            .expect(*code);
        let document = json.json();
        let error = match &document["results"] {
            Value::Array(results) => &results[0]["error"],
            _ => &document["error"],
        };
        let is_told = error["code"].is_string() && error["message"].is_string();
        assert!(is_told, "{line}: {document}");
    }
    // Nothing of all that has made a store, or changed one.
    assert!(!world.path("missing").exists());
    assert_eq!(
        world.stored("a").attributes.get("api_key"),
        Some("good-canary")
    );
    let list = world.run(&["list", "--json"]).json();
    assert_eq!(list["summary"]["credentials"], 3);
}
