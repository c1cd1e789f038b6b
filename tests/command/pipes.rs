//! Output that goes elsewhere than to a terminal.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::world::{LONG, World, command};

#[test]
fn a_pipe_that_is_closed_ends_the_command_without_a_word() {
    let world = World::new();
    world.at_night();
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["show", "key-01", "key-02"],
        &["watch"],
        &["explain"],
        &["--help"],
    ] {
        let mut child = command(&world.store(), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        if arguments == ["watch"] {
            // It next writes when something has changed.
            world.run(&["disable", "key-01"]).expect(0);
        }
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        let ended = child.wait().unwrap();
        assert!(
            ended.success() && said.is_empty(),
            "{arguments:?}: {ended} {said}"
        );
    }
}

#[test]
fn colours_are_for_terminals_alone() {
    let world = World::new();
    world.at_night();
    let plain = world.run(&["list"]).expect(0).out;
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let forced = world.run(&["list", "--color", "always"]).expect(0).out;
    assert!(
        forced.contains("\x1b[31m") && forced.contains("\x1b[33m"),
        "{forced:?}"
    );
    // But for the seconds that have gone by.
    let timeless = |text: &str| text.replace(|sign: char| sign.is_ascii_digit(), "");
    let stripped = console::strip_ansi_codes(&forced);
    assert!(stripped.lines().count() == plain.lines().count() && stripped.contains("What to do"));
    assert_eq!(
        timeless(&stripped).split_whitespace().count(),
        timeless(&plain).split_whitespace().count()
    );
    let json = world
        .run(&["list", "--json", "--color", "always"])
        .expect(0);
    assert!(!json.out.contains('\x1b') && json.json()["credentials"].is_array());
}

#[test]
fn a_program_that_watches_gets_a_line_for_each_change() {
    let world = World::new();
    let manager = world.manager();
    manager.register(world.key("a", "good-canary")).unwrap();
    let mut child = command(&world.store(), &["watch", "--json", "--interval", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    assert_eq!(next()["summary"]["ready"], 1);
    manager.set_disabled("a", true).unwrap();
    assert_eq!(next()["summary"]["disabled"], 1);
    manager.shutdown(LONG).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn many_warnings_are_few_lines() {
    use std::os::unix::fs::PermissionsExt;

    let world = World::new();
    world.at_night();
    let open_all = || {
        for number in 1..=39 {
            let path = world.path(&format!("credentials/key-{number:02}.credential"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
    };
    open_all();
    let few = world.run(&["list"]).expect(0).err;
    assert_eq!(few.lines().count(), 11, "{few}");
    assert!(
        few.contains("29 more warnings: `--verbose` shows all"),
        "{few}"
    );
    open_all();
    let all = world.run(&["list", "--verbose"]).expect(0).err;
    assert!(
        all.matches("was accessible to other users").count() == 39,
        "{all}"
    );
}
