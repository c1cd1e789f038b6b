//! A person with forty keys at three in the morning, in a shell: which are unavailable, why, until when; what to do; done; checked.

use std::path::Path;
use std::process::Command;

use crate::terminal::Terminal;
use crate::world::{World, command};

/// A shell in which the command is found.
fn shell(world: &World) -> Terminal {
    let template = command(&world.store(), &[]);
    let mut shell = Command::new("sh");
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_credpool")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    shell.env("PATH", format!("{}:{path}", bin.display()));
    shell.env("PS1", "night$ ").env("ENV", "");
    let mut terminal = Terminal::start(shell, 200, 120);
    terminal.until_shown("night$ ");
    terminal
}

/// Enters a line, and gives what stands between it and the next prompt.
#[track_caller]
fn after(terminal: &mut Terminal, line: &str) -> String {
    terminal.enter("clear\r");
    terminal.until("an empty screen", |screen| {
        screen.contents().trim() == "night$"
    });
    terminal.enter(&format!("{line}\r"));
    said(terminal)
}

#[track_caller]
fn said(terminal: &mut Terminal) -> String {
    terminal.until("the next prompt", |screen| {
        let text = screen.contents();
        text.matches("night$ ").count() > 1
            || text.trim_end().ends_with("night$") && text.matches("night$").count() > 1
    });
    let screen = terminal.screen();
    eprintln!("{screen}\n");
    screen
}

#[test]
fn forty_keys_at_three_in_the_morning() {
    let world = World::new();
    world.at_night();
    let mut terminal = shell(&world);

    // Which are unavailable, why, until when, and what to do.
    let list = after(&mut terminal, "credpool list --unavailable");
    for line in [
        "40 credentials: 27 ready, 3 need you, 9 return by themselves, 1 disabled",
        "refused: Incorrect API key provided (HTTP 401)",
        "no credit: Your account has no credit (HTTP 402)",
        "rate limited: Rate limit reached for gpt-5",
        "quota used up: You exceeded your current quota",
        "What to do",
        "ada: log in for the first time: `credpool login ada`",
        "key-07: make a new key at the vendor: `credpool add openai --id key-07 --replace`",
        "key-12: pay at the vendor, then `credpool reset key-12`",
    ] {
        assert!(list.contains(line), "{line}: {list}");
    }
    let row = |id: &str| {
        list.lines()
            .find(|line| line.starts_with(id))
            .unwrap_or_default()
    };
    let limited = row("key-20");
    assert!(
        limited.contains(" in ") && limited.contains(" UTC"),
        "{list}"
    );
    assert!(
        row("key-33").contains("disabled") && !list.contains("key-01"),
        "{list}"
    );
    let place = |id: &str| list.find(&format!("\n{id}")).unwrap();
    assert!(place("key-07") < place("key-20") && place("key-20") < place("key-30"));
    assert!(place("key-30") < place("key-33"), "{list}");

    // Can a call be served at all?
    let explained = after(
        &mut terminal,
        "credpool explain openai gpt-5 | head -1; echo",
    );
    assert!(
        explained.contains("openai for gpt-5: 27 of 40 credentials can serve"),
        "{explained}"
    );

    // One of them in full.
    let shown = after(&mut terminal, "credpool show key-07");
    assert!(
        shown.contains("why: refused: Incorrect API key provided (HTTP 401)"),
        "{shown}"
    );
    assert!(
        shown.contains("api_key         ***") && !shown.contains("canary"),
        "{shown}"
    );

    // A new key, from the prompt.
    terminal.enter("clear\r");
    terminal.until("an empty screen", |screen| {
        screen.contents().trim() == "night$"
    });
    terminal.enter("credpool add openai --id key-07 --replace\r");
    terminal.until_shown("the key for openai (not shown): ");
    terminal.enter("good-canary-new\r");
    let added = said(&mut terminal);
    assert!(
        added.contains("key-07: has the new key; `credpool check key-07` asks the vendor"),
        "{added}"
    );

    // Does the vendor take it? And the one that was paid for?
    let checked = after(&mut terminal, "credpool check key-07 key-12; echo code $?");
    assert!(
        checked.contains("2 credentials: 2 accepted") && checked.contains("code 0"),
        "{checked}"
    );
    let reset = after(&mut terminal, "credpool reset key-12");
    assert!(
        reset.contains("key-12: reset: the next call tries it"),
        "{reset}"
    );
    let enabled = after(&mut terminal, "credpool enable key-33");
    assert!(enabled.contains("key-33: enabled"), "{enabled}");

    // What is left returns by itself, but for the person who has to log in.
    let list = after(&mut terminal, "credpool list | tail -8");
    assert!(
        list.contains("40 credentials: 30 ready, 1 need you, 9 return by themselves"),
        "{list}"
    );
    for id in ["key-07", "key-12", "key-33"] {
        let line = format!("{id} ");
        assert!(!list.contains(&line), "{list}");
    }

    terminal.enter("exit\r");
    let (code, ended) = terminal.end();
    assert_eq!(code, 0);
    assert!(
        !ended.log.contains("canary"),
        "no secret was shown or echoed"
    );
    assert_eq!(
        world.stored("key-07").attributes.get("api_key"),
        Some("good-canary-new")
    );
    assert!(!world.stored("key-33").disabled);
}
