//! No secret in any output of any subcommand, nor in an error, a log line or the list of processes.

use credpool::Auth;
use credpool::testing::service_account_file;

use crate::world::{World, login};

/// A store in which everything that may be secret has a mark.
fn world() -> World {
    let world = World::new();
    let manager = world.manager();
    let key = world
        .key("key", "bad-canary")
        .with_label("label")
        .with_attribute("header:x-team", "canary-header");
    manager
        .register(key.with_attribute("novel", "canary-novel"))
        .unwrap();
    let proxied = world
        .key("proxied", "canary-key")
        .with_proxy_url("http://u:canary-proxy@127.0.0.1:9");
    manager.register(proxied).unwrap();
    let addressed = Auth::api_key("my-llm", "canary-key").with_id("addressed");
    manager
        .register(addressed.with_attribute(
            "base_url",
            "http://u:canary-user@127.0.0.1:9/v1?key=canary-parameter",
        ))
        .unwrap();
    manager
        .register(login("http://127.0.0.1:9/token?key=canary-parameter", -60).with_id("ada"))
        .unwrap();
    let account = service_account_file("http://127.0.0.1:9/token");
    manager
        .register(
            Auth::service_account("gemini", &account)
                .unwrap()
                .with_id("robot"),
        )
        .unwrap();
    manager.shutdown(crate::world::LONG).unwrap();
    world
}

#[test]
fn no_subcommand_shows_a_secret() {
    let world = world();
    let file = world.path("auth.json");
    std::fs::write(
        &file,
        r#"{"openrouter":{"type":"api","key":"sk-canary"},"odd":{"type":"canary","key":"canary"}}"#,
    )
    .unwrap();
    std::fs::write(
        world.path("broken.json"),
        r#"{"claudeAiOauth": {"accessToken": "canary"#,
    )
    .unwrap();
    std::fs::write(
        world.path("credentials/damaged.credential"),
        r#"{"id":"damaged","api_key":"canary"#,
    )
    .unwrap();
    std::fs::write(world.path("bad-key"), "canary-sealing-key").unwrap();
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (file, broken, copy, key) = (
        path("auth.json"),
        path("broken.json"),
        path("copy"),
        path("key"),
    );
    let bad_key = path("bad-key");
    let ids = ["key", "proxied", "addressed", "ada", "robot"];
    let with_ids = |name: &'static str| [&[name][..], &ids[..]].concat();
    let lines: Vec<Vec<&str>> = vec![
        vec!["list"],
        with_ids("show"),
        vec!["show", "damaged"],
        vec!["explain"],
        with_ids("check"),
        vec!["check", "--refresh", "--timeout", "5s"],
        with_ids("refresh"),
        with_ids("disable"),
        with_ids("enable"),
        vec!["cool-down", "key", "--for", "1m"],
        with_ids("reset"),
        vec!["import", &file, "--dry-run"],
        vec!["import", &file],
        vec!["import", &broken],
        vec!["add", "openai", "--id", "added"],
        vec!["add", "openai", "--id", "added", "--replace"],
        vec!["copy", "--to", &copy],
        vec!["list", "--seal-key-file", &bad_key],
        vec!["seal", "--seal-key-file", &key, "--make-key"],
        with_ids("show"),
        vec!["list", "--seal-key-file", &key],
        vec!["unseal", "--seal-key-file", &key, "--yes"],
        vec!["remove", "--yes", "key", "proxied"],
    ];
    for line in lines {
        for more in [&[][..], &["--json"], &["--verbose"]] {
            let ran = world.run_with(&[&line[..], more].concat(), "sk-canary-of-input\n");
            let said = format!("{}{}", ran.out, ran.err);
            assert!(!said.contains("canary"), "{line:?} {more:?}: {said}");
            assert!(
                !said.contains("PRIVATE KEY") && !said.contains("panicked"),
                "{line:?}: {said}"
            );
            assert!(!said.is_empty(), "{line:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_secret_is_among_the_arguments_of_the_process() {
    use std::io::Write;
    use std::process::Stdio;

    let world = world();
    let mut child = crate::world::command(&world.store(), &["add", "openai", "--id", "slow"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"sk-canary").unwrap();
    let arguments = || {
        let bytes = std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert!(crate::beside::within(|| arguments().contains("slow")));
    assert!(!arguments().contains("canary"), "{}", arguments());
    drop(input);
    assert!(child.wait().unwrap().success());
}
