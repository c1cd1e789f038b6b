use super::*;
use crate::clock::Timestamp;
use serde_json::json;

fn login(generation: u64, token: &str) -> Auth {
    let mut auth = Auth::new("p")
        .with_id("a")
        .with_metadata("refresh_token", token)
        .with_metadata("access_token", format!("access of {token}"));
    auth.generation = generation;
    auth
}

fn with_base(mut auth: Auth) -> Auth {
    auth.set_base();
    auth
}

fn text<'a>(auth: &'a Auth, name: &str) -> Option<&'a str> {
    auth.metadata.as_ref()?.text(name)
}

/// The record after a refresh, and the answer that it was made of.
fn rotated(base: &Auth, token: &str) -> Auth {
    let mut now = base.clone();
    assert!(now.merge_refreshed(base, &answer(base, token)));
    now
}

fn answer(base: &Auth, token: &str) -> Auth {
    base.clone()
        .with_metadata("refresh_token", token)
        .with_metadata("access_token", format!("access of {token}"))
        .with_metadata("expires_at", format!("end of {token}"))
}

#[test]
fn the_stored_settings_and_the_newer_tokens_are_taken() {
    for (stored, expected, generation, renewed, behind) in [
        (login(4, "theirs"), "theirs", 4, true, false),
        (login(3, "theirs"), "theirs", 4, true, false),
        (login(0, "theirs"), "theirs", 4, true, false),
        (login(2, "theirs"), "ours", 3, false, true),
        (login(4, "ours"), "ours", 4, false, false),
        (login(2, "ours"), "ours", 3, false, true),
    ] {
        let mut current = login(3, "ours").with_label("before");
        let mut stored = stored.with_label("after").with_metadata("note", "theirs");
        stored.disabled = true;
        let merged = current.merge_stored(stored);
        assert_eq!(merged, Merged { renewed, behind });
        assert_eq!(text(&current, "refresh_token"), Some(expected));
        assert_eq!(current.generation, generation);
        assert_eq!((current.label.as_str(), current.disabled), ("after", true));
        assert_eq!(text(&current, "note"), Some("theirs"));
    }
}

#[test]
fn a_record_that_is_read_again_waits_on_for_its_token() {
    let waiting = || {
        let mut auth = login(1, "r0").with_metadata("expires_at", 1);
        auth.awaits_token = Some(Timestamp::MAX);
        auth
    };
    let waits = |durable: Auth| {
        let mut auth = waiting();
        auth.take_durable(durable);
        auth.awaits_token.is_some()
    };
    assert!(waits(waiting()) && waits(waiting().with_label("other")));
    assert!(!waits(rotated(&waiting(), "r1")));
    // What may end the wait: the end was wrong, or the place where tokens are.
    assert!(!waits(
        waiting().with_metadata("expires_at", "2100-01-01T00:00:00Z")
    ));
    assert!(!waits(
        waiting().with_attribute("token_url", "https://other.example")
    ));
}

#[test]
fn that_a_login_is_over_stays_known_as_long_as_its_tokens_are_the_same() {
    let current = login(1, "r0");
    let durable = current.clone().with_label("changed meanwhile");
    let mut revoked = current.clone();
    revoked.revoked = current.grant_token();
    revoked.take_durable(durable);
    assert!(revoked.is_revoked() && revoked.label == "changed meanwhile");
    revoked.take_durable(rotated(&current, "r1"));
    assert_eq!(revoked.revoked, None);
}

#[test]
fn an_old_copy_brings_its_settings_and_no_spent_token() {
    let base = login(1, "r0");
    let mut current = rotated(&rotated(&base, "r1"), "r2");
    for old in [base.clone(), rotated(&base, "r1")] {
        let edited = old.with_label("edited").with_metadata("max_tokens", 5);
        let merged = current.merge_stored(edited);
        assert!(merged.behind && !merged.renewed);
        assert_eq!(text(&current, "refresh_token"), Some("r2"));
        assert_eq!(text(&current, "expires_at"), Some("end of r2"));
        assert_eq!((current.label.as_str(), current.generation), ("edited", 3));
    }
    // What another process has rotated further is taken, and so is a new login.
    let further = rotated(&current, "r3");
    assert!(current.merge_stored(further).renewed);
    assert!(current.merge_stored(login(0, "another")).renewed);
    assert!(
        current.merge_stored(login(9, "r3")).behind,
        "the former login is spent"
    );
}

#[test]
fn tokens_are_kept_where_an_older_store_has_no_metadata() {
    let mut current = login(3, "ours");
    assert!(!current.merge_stored(Auth::new("p")).renewed);
    assert_eq!(text(&current, "refresh_token"), Some("ours"));
}

#[test]
fn an_edit_of_an_expiry_is_taken_and_is_no_new_login() {
    let mut current = login(3, "r").with_metadata("expires_at", "later");
    let merged = current.merge_stored(login(3, "r").with_metadata("expires_at", "now"));
    assert_eq!(merged, Merged::default());
    assert_eq!(text(&current, "expires_at"), Some("now"));
    assert_eq!(current.generation, 3);
}

#[test]
fn no_edit_keeps_the_answer_of_a_token_endpoint_out() {
    let base = login(1, "r0").with_metadata("expires_at", "soon");
    for (name, value) in [
        ("max_tokens", json!(5)),
        ("tokens_used", json!(5)),
        ("expires_at", json!("now")),
        ("access_token", json!("edited")),
        ("token_type", json!("edited")),
        ("note", json!("edited")),
    ] {
        let mut current = base.clone().with_metadata(name, value.clone());
        assert!(
            current.merge_refreshed(&base, &answer(&base, "r1")),
            "{name}"
        );
        assert_eq!(text(&current, "refresh_token"), Some("r1"));
        assert_eq!(text(&current, "access_token"), Some("access of r1"));
        assert_eq!(text(&current, "expires_at"), Some("end of r1"));
        assert_eq!(current.generation, 2);
        if !belongs_to_tokens(name) {
            assert_eq!(current.metadata.unwrap().get(name), Some(&value));
        }
    }
}

#[test]
fn a_refresh_and_the_host_keep_what_each_changed() {
    let base = login(1, "r0")
        .with_metadata("gone", 1)
        .with_metadata("both", "a");
    let mut new = answer(&base, "r1")
        .with_metadata("both", "b")
        .with_attribute("k", "v");
    new.metadata.as_mut().unwrap().remove("gone");
    let mut current = base.clone().with_metadata("both", "c").with_label("mine");
    current.disabled = true;
    assert!(current.merge_refreshed(&base, &new));
    assert_eq!(text(&current, "refresh_token"), Some("r1"));
    assert_eq!(text(&current, "both"), Some("c"));
    assert_eq!(current.metadata.as_ref().unwrap().get("gone"), None);
    assert_eq!(current.attributes.get("k"), Some("v"));
    assert!(current.label == "mine" && current.disabled);
}

#[test]
fn a_new_login_during_a_refresh_stays_whole() {
    let base = login(1, "r0");
    let mut current = login(2, "another");
    let new = answer(&base, "r1").with_metadata("email", "e");
    assert!(!current.merge_refreshed(&base, &new));
    assert_eq!(text(&current, "refresh_token"), Some("another"));
    assert_eq!(text(&current, "access_token"), Some("access of another"));
    assert_eq!(text(&current, "email"), Some("e"));
}

#[test]
fn a_copy_changes_what_was_changed_in_it() {
    let base = with_base(login(1, "r0").with_label("l").with_attribute("url", "old"));
    let mut copy = base.clone().with_metadata("max_tokens", 5);
    copy.label = "new".into();
    let mut current = rotated(&base, "r1").with_attribute("url", "new");
    current.switch(true);
    current.merge_copy(&copy).unwrap();
    assert_eq!(text(&current, "refresh_token"), Some("r1"));
    assert_eq!(current.attributes.get("url"), Some("new"));
    assert!(current.disabled && current.label == "new");
    assert_eq!(
        current.metadata.as_ref().unwrap().get("max_tokens"),
        Some(&json!(5))
    );
    // The later change of one field counts.
    let copy = base.clone().with_attribute("url", "newest");
    current.merge_copy(&copy).unwrap();
    assert_eq!(current.attributes.get("url"), Some("newest"));
}

#[test]
fn a_copy_brings_a_new_login_and_no_spent_one() {
    let base = with_base(login(1, "r0"));
    let mut current = with_base(rotated(&base, "r1"));
    let relogged = base.clone().with_metadata("refresh_token", "another");
    current.merge_copy(&relogged).unwrap();
    assert_eq!(text(&current, "refresh_token"), Some("another"));
    assert_eq!(current.generation, 3);
    let taken_now = with_base(current.clone());
    for spent in ["r0", "r1"] {
        let copy = taken_now.clone().with_metadata("refresh_token", spent);
        let error = current.merge_copy(&copy).unwrap_err();
        assert_eq!(*error.code(), ErrorCode::Conflict);
        assert_eq!(text(&current, "refresh_token"), Some("another"));
    }
}

#[test]
fn a_record_that_the_program_makes_never_enables_and_never_brings_a_spent_token() {
    let start = login(0, "r0").with_metadata("note", "made");
    let mut current = rotated(&login(1, "r0"), "r1");
    current.switch(true);
    current
        .merge_copy(&start.clone().with_label("made"))
        .unwrap();
    assert_eq!(text(&current, "refresh_token"), Some("r1"));
    assert_eq!(text(&current, "note"), Some("made"));
    assert!(current.disabled && current.label == "made");
    assert_eq!(current.generation, 2, "nothing of the tokens has changed");
    let bare = Auth::new("p").with_metadata("client_id", "c");
    current.merge_copy(&bare).unwrap();
    assert_eq!(text(&current, "refresh_token"), Some("r1"));
    let error = current.merge_copy(&login(1, "r0")).unwrap_err();
    assert_eq!(
        *error.code(),
        ErrorCode::Conflict,
        "a written copy is older"
    );
    current.merge_copy(&login(0, "another")).unwrap();
    assert_eq!(text(&current, "refresh_token"), Some("another"));
    current.merge_copy(&Auth::api_key("p", "k")).unwrap();
    assert_eq!(
        current.grant_token(),
        None,
        "a key takes the place of a login"
    );
}
