//! Rights, links and pipes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use credpool::{FileStore, Store};

use crate::place::{Place, sample, trace};
use crate::storage::{own_form, with_storage};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn everything_is_private() {
    let place = Place::new();
    let store = FileStore::open(place.path("deep")).unwrap();
    let mut auth = with_storage(sample("b"), |auth, path| {
        own_form(auth, path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))
    });
    auth.file_name = Some("sub/b.json".into());
    store.save(&sample("a")).unwrap();
    store.save(&auth).unwrap();
    for dir in ["", "deep", "deep/sub"] {
        assert_eq!(mode(&place.path(dir)), 0o700, "{dir}");
    }
    for file in ["a.credential", "a.state", "sub/b.json", "sub/b.json.state"] {
        assert_eq!(mode(&place.path("deep").join(file)), 0o600, "{file}");
    }
}

#[test]
fn wider_rights_are_taken_away() {
    let place = Place::new();
    place.open().save(&sample("a")).unwrap();
    set_mode(&place.dir, 0o755);
    set_mode(&place.path("a.credential"), 0o644);
    let before = trace(&place.path("a.credential"));
    let store = place.open();
    assert_eq!(mode(&place.dir), 0o700);
    store.list().unwrap();
    assert_eq!(mode(&place.path("a.credential")), 0o600);
    assert_eq!(trace(&place.path("a.credential")), before);
}

#[test]
fn links_are_not_followed() {
    let place = Place::new();
    let store = place.open();
    let outside = place.dir.with_extension("outside");
    fs::create_dir(&outside).unwrap();
    let token = outside.join("t.json");
    fs::write(&token, r#"{"type":"gemini"}"#).unwrap();
    set_mode(&token, 0o644);
    place.put("real.json", r#"{"type":"gemini"}"#);
    symlink(&token, place.path("out.json")).unwrap();
    symlink(&outside, place.path("dir")).unwrap();
    symlink(place.path("real.json"), place.path("in.json")).unwrap();
    symlink("missing", place.path("dangling.credential")).unwrap();
    symlink(&token, place.path("native.credential")).unwrap();

    let listing = store.list().unwrap();
    assert_eq!(listing.records.len(), 1);
    let locations: Vec<_> = listing
        .skipped
        .iter()
        .map(|bad| bad.location.as_str())
        .collect();
    assert_eq!(
        locations,
        [
            "dangling.credential",
            "dir",
            "in.json",
            "native.credential",
            "out.json"
        ]
    );
    // Such an id is stored under a name of its own; a link that stands there is refused, and nothing goes through it.
    for id in ["out.json", "dir/t.json"] {
        store.save(&sample(id)).unwrap();
        store.delete(id).unwrap();
    }
    for id in ["native", "dangling"] {
        let error = store.save(&sample(id)).unwrap_err();
        assert!(error.message().contains("symbolic link"), "{error}");
    }
    let mut through = with_storage(sample("z"), own_form);
    for file_name in ["dir/new.json", "out.json"] {
        through.file_name = Some(file_name.into());
        store.save(&through).unwrap_err();
    }
    store.delete("native").unwrap();
    assert!(place.path("native.credential").symlink_metadata().is_err());
    assert_eq!(fs::read_to_string(&token).unwrap(), r#"{"type":"gemini"}"#);
    assert_eq!(mode(&token), 0o644);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_directory_that_becomes_a_link_is_not_followed() {
    let place = Place::new();
    place.put("sub/t.json", r#"{"type":"gemini"}"#);
    let store = place.open();
    let tokens = store.list().unwrap().records.pop().unwrap();
    let outside = place.dir.with_extension("outside");
    fs::rename(place.path("sub"), &outside).unwrap();
    symlink(&outside, place.path("sub")).unwrap();
    let changed = tokens.with_metadata("x", 1);
    store.save(&changed).unwrap_err();
    store.save_state(&changed).unwrap_err();
    store.delete("sub/t.json").unwrap_err();
    assert_eq!(
        fs::read_to_string(outside.join("t.json")).unwrap(),
        r#"{"type":"gemini"}"#
    );
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn the_directory_itself_may_be_a_link() {
    let place = Place::new();
    place.open();
    let link = place.dir.with_extension("link");
    symlink(&place.dir, &link).unwrap();
    FileStore::open(&link).unwrap().save(&sample("a")).unwrap();
    assert_eq!(place.listed().len(), 1);
}

#[test]
fn what_is_no_regular_file_is_not_opened() {
    let place = Place::new();
    place.open().save(&sample("good")).unwrap();
    for name in ["pipe.json", "pipe.credential", "good.state"] {
        let _ = fs::remove_file(place.path(name));
        assert!(
            Command::new("mkfifo")
                .arg(place.path(name))
                .status()
                .unwrap()
                .success()
        );
    }
    let listing = place.open().list().unwrap();
    assert_eq!(listing.records.len(), 1);
    let locations: Vec<_> = listing
        .skipped
        .iter()
        .map(|bad| bad.location.as_str())
        .collect();
    assert_eq!(locations, ["good.state", "pipe.credential", "pipe.json"]);
    place.open().save(&sample("pipe")).unwrap_err();
}

#[test]
fn an_unreadable_file_is_skipped() {
    let place = Place::new();
    place.put("a.json", r#"{"type":"gemini"}"#);
    set_mode(&place.path("a.json"), 0);
    // Rights do not bind the superuser.
    let readable = fs::read(place.path("a.json")).is_ok();
    let listing = place.open().list().unwrap();
    assert_eq!(listing.records.len(), usize::from(readable));
    assert_eq!(listing.skipped.len(), usize::from(!readable));
}

#[test]
fn a_name_that_is_no_text_is_skipped() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let store = place.open();
    fs::write(place.dir.join(OsStr::from_bytes(b"\xff.json")), "{}").unwrap();
    let listing = store.list().unwrap();
    assert!(listing.records.is_empty());
    assert!(
        listing.skipped[0].reason.contains("Unicode"),
        "{:?}",
        listing.skipped
    );
}
