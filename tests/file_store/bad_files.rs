//! Files that are no records.

use std::fs;

use credpool::{Status, Store};

use crate::place::{Place, sample};

#[test]
fn bad_files_hide_no_other_and_stay() {
    let place = Place::new();
    place.open().save(&sample("good")).unwrap();
    let whole = fs::read_to_string(place.path("good.credential")).unwrap();
    let bad = [
        ("empty.json", String::new()),
        ("blank.credential", " \n".into()),
        ("cut.credential", whole[..whole.len() / 2].into()),
        ("text.json", "sk-canary".into()),
        ("quoted.json", "{\"a\": sk-canary}".into()),
        ("list.json", "[\"sk-canary\"]".into()),
        ("renamed.credential", whole.clone()),
        ("anonymous.credential", "{}".into()),
        (
            "large.json",
            format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 20)),
        ),
        ("sub/cut.json", "{\"token\":\"sk-canary".into()),
        (
            "form.json",
            r#"{"id":"f","provider":"p","metadata":"sk-canary"}"#.into(),
        ),
        ("number.json", r#"{"id":7,"provider":"p"}"#.into()),
    ];
    for (name, content) in &bad {
        place.put(name, content);
    }
    place.put("binary.json", b"\xff\xfe{}");
    fs::create_dir(place.path("dir.json")).unwrap();
    fs::create_dir(place.path("dir.credential")).unwrap();

    let listing = place.open().list().unwrap();
    assert_eq!(listing.records.len(), 1);
    assert_eq!(listing.records[0].id, "good");
    let mut expected: Vec<_> = bad.iter().map(|(name, _)| *name).collect();
    expected.extend(["binary.json", "dir.json", "dir.credential"]);
    expected.sort_unstable();
    let locations: Vec<_> = listing
        .skipped
        .iter()
        .map(|bad| bad.location.as_str())
        .collect();
    assert_eq!(locations, expected);
    for skipped in &listing.skipped {
        assert!(
            !skipped.reason.is_empty() && !skipped.reason.contains("canary"),
            "{skipped}"
        );
    }
    for (name, content) in &bad {
        assert_eq!(&fs::read_to_string(place.path(name)).unwrap(), content);
    }
}

#[test]
fn a_damaged_state_costs_the_state_alone() {
    let place = Place::new();
    place.put("tokens.json", r#"{"type":"gemini"}"#);
    for (number, content) in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"id":"other"}"#,
        r#"{"id":"ID","quota":"sk-canary"}"#,
    ]
    .into_iter()
    .enumerate()
    {
        let mut auth = sample(&number.to_string());
        auth.disabled = number % 2 == 0;
        place.open().save(&auth).unwrap();
        place.put(&format!("{number}.state"), content.replace("ID", &auth.id));
        let listed = &place.listed()[&auth.id];
        assert_eq!(listed.metadata, auth.metadata);
        assert_eq!(listed.status == Status::Disabled, auth.disabled);
        let skipped = place.skipped();
        assert_eq!(skipped.len(), 1, "{skipped:?}");
        assert_eq!(skipped[0].location, format!("{number}.state"));
        assert!(!skipped[0].reason.contains("canary"));
        // A save repairs it.
        place.open().save(&auth).unwrap();
        assert!(place.skipped().is_empty());
    }
    place.put("tokens.json.state", "{");
    assert_eq!(place.listed()["tokens.json"].provider, "gemini");
    assert_eq!(place.skipped()[0].location, "tokens.json.state");
}

#[test]
fn files_of_others_are_ignored() {
    let place = Place::new();
    for name in [
        "README.md",
        ".credpool-0123456789abcdef.tmp",
        "a.state",
        "a.lock",
        "sub/a.credential",
        "json",
    ] {
        place.put(name, "x");
    }
    let listing = place.open().list().unwrap();
    assert!(
        listing.records.is_empty() && listing.skipped.is_empty(),
        "{listing:?}"
    );
}
