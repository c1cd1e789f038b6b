//! `watch` and `check` as pictures of a terminal, wide and narrow.

use std::path::PathBuf;

use crate::terminal::Terminal;
use crate::world::{World, command};

/// Keeps a picture where a person can look at it.
fn keep(name: &str, screen: &str) {
    let pictures = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    std::fs::write(pictures.join(name), screen).unwrap();
}

/// That a table is one: every line fits, and the columns begin where their names do.
#[track_caller]
fn assert_table(screen: &str, columns: u16, names: &[&str]) {
    let mut lines = screen
        .lines()
        .skip_while(|line| !line.starts_with("CREDENTIAL"));
    let heading = lines.next().unwrap_or_else(|| panic!("no table: {screen}"));
    for name in names {
        assert!(heading.contains(name), "{name}: {screen}");
    }
    let rows: Vec<&str> = lines
        .take_while(|line| !line.is_empty() && !line.starts_with('…'))
        .collect();
    assert!(rows.len() > 5, "{screen}");
    for line in screen.lines() {
        assert!(
            line.chars().count() <= usize::from(columns),
            "{line}: {screen}"
        );
    }
    for name in names.iter().skip(1) {
        let at = heading.chars().collect::<String>().find(name).unwrap();
        for row in &rows {
            let before = row.chars().nth(at - 1).unwrap_or(' ');
            assert_eq!(before, ' ', "column {name} of {row}: {screen}");
        }
    }
}

const WIDTHS: [(u16, &[&str]); 3] = [
    (60, &["CREDENTIAL", "STATE", "RETURNS", "WHY"]),
    (80, &["CREDENTIAL", "STATE", "RETURNS", "MODELS", "WHY"]),
    (
        160,
        &[
            "CREDENTIAL",
            "PROVIDER",
            "STATE",
            "RETURNS",
            "MODELS",
            "WHY",
        ],
    ),
];

#[test]
fn a_watch_fits_its_terminal_follows_the_store_and_ends_cleanly() {
    for (columns, names) in WIDTHS {
        let world = World::new();
        world.at_night();
        let mut command = command(&world.store(), &["watch", "--interval", "100ms"]);
        command.env_remove("NO_COLOR");
        let mut terminal = Terminal::start(command, 24, columns);
        terminal.until("the whole frame", |screen| {
            screen.contents().contains("more lines")
        });
        let screen = terminal.screen();
        keep(&format!("watch-{columns}.txt"), &screen);
        assert!(
            screen.contains("40 credentials: 27 ready, 3 need you"),
            "{screen}"
        );
        assert_table(&screen, columns, names);
        assert!(!terminal.wraps(), "{screen}");
        assert_eq!(screen.lines().count(), 23, "{screen}");
        assert!(terminal.log().contains("\x1b[31m"), "colours: {screen}");
        // Another process makes a change.
        world.run(&["cool-down", "key-01", "--for", "1m"]).expect(0);
        terminal.until("the change", |screen| {
            let contents = screen.contents();
            contents
                .lines()
                .any(|line| line.starts_with("key-01") && line.contains("cooling"))
        });
        terminal.enter("\x03");
        let (code, ended) = terminal.end();
        assert_eq!(code, 0, "{}", ended.log);
        assert!(!ended.is_alternate && !ended.hides_cursor);
        let left = ended.screen.trim().trim_end_matches("^C");
        assert_eq!(left, "", "what was there before is there again");
    }
}

#[test]
fn a_watch_shows_sums_and_errands_where_there_is_room() {
    let world = World::new();
    world.at_night();
    let command = command(&world.store(), &["watch", "--unavailable"]);
    let mut terminal = Terminal::start(command, 50, 100);
    terminal.until_shown("the limit ends by itself");
    let screen = terminal.screen();
    keep("watch-unavailable.txt", &screen);
    assert!(
        screen.contains("40 credentials: 27 ready, 3 need you, 9 return by themselves, 1 disabled"),
        "{screen}"
    );
    terminal.enter("\x03");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn a_store_that_goes_away_is_told_and_watched_on() {
    let world = World::new();
    world.at_night();
    let command = command(&world.store(), &["watch", "--interval", "100ms"]);
    let mut terminal = Terminal::start(command, 24, 80);
    terminal.until_shown("CREDENTIAL");
    std::fs::rename(world.path("credentials"), world.path("away")).unwrap();
    terminal.until_shown("not up to date: ");
    keep("watch-away.txt", &terminal.screen());
    assert!(
        terminal.screen().contains("key-07"),
        "what was seen last stays"
    );
    std::fs::rename(world.path("away"), world.path("credentials")).unwrap();
    terminal.until("the store's return", |screen| {
        !screen.contents().contains("not up to date")
    });
    terminal.enter("\x03");
    assert_eq!(terminal.end().0, 0);
}

#[test]
fn a_check_shows_its_progress_and_fits_its_terminal() {
    for columns in [60, 80, 160] {
        let world = World::new();
        let manager = world.manager();
        for (id, key) in [
            ("good", "good-canary"),
            ("bad", "bad-canary"),
            ("poor", "poor-canary"),
            ("busy", "busy-canary"),
            ("broken", "broken-canary"),
            (
                "a-name-that-is-far-too-long-for-any-column-of-a-table",
                "good-canary",
            ),
        ] {
            manager.register(world.key(id, key)).unwrap();
        }
        manager.shutdown(crate::world::LONG).unwrap();
        let terminal = Terminal::start(command(&world.store(), &["check"]), 24, columns);
        let (code, ended) = terminal.end();
        keep(&format!("check-{columns}.txt"), &ended.screen);
        assert_eq!(code, 1, "{}", ended.screen);
        assert!(ended.log.contains("asking the vendors"), "{}", ended.log);
        assert!(
            !ended.screen.contains("asking the vendors"),
            "{}",
            ended.screen
        );
        assert_table(&ended.screen, columns, &["CREDENTIAL", "RESULT", "WHY"]);
        assert!(
            ended
                .screen
                .contains("6 credentials: 2 accepted, 2 refused, 2 unclear"),
            "{}",
            ended.screen
        );
        assert!(!ended.log.contains("canary"), "{}", ended.log);
    }
}

#[test]
fn without_colours_there_are_none() {
    let world = World::new();
    world.at_night();
    let mut command = command(&world.store(), &["list"]);
    command.env("NO_COLOR", "1");
    let (code, ended) = Terminal::start(command, 60, 80).end();
    assert_eq!(code, 0);
    keep("list-80.txt", &ended.screen);
    assert!(!ended.log.contains("\x1b[3"), "{:?}", ended.log);
}

#[test]
fn a_prompt_that_is_interrupted_leaves_the_terminal_as_it_was() {
    let world = World::new();
    world.at_night();
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "trap : INT; \"$0\" add openai --id new; echo code $?; stty -a | grep -o ' -\\?echo ' ",
    ]);
    shell
        .arg(env!("CARGO_BIN_EXE_credpool"))
        .env("CREDPOOL_STORE", world.store());
    let mut terminal = Terminal::start(shell, 24, 80);
    terminal.until_shown("(not shown): ");
    terminal.enter("canary\x03");
    let (_, ended) = terminal.end();
    assert!(
        ended.screen.contains("code 130") && ended.screen.trim_end().ends_with(" echo"),
        "{}",
        ended.screen
    );
    assert!(!ended.log.contains("canary"), "{}", ended.log);
    world.run(&["show", "new"]).expect(4);
}
