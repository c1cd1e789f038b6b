//! `login`: on any device, and in a browser.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use credpool::testing::{Reply, Upstream};
use serde_json::json;

use crate::terminal::Terminal;
use crate::world::{World, command};

/// An authorization server: the person is done at once.
fn server() -> Upstream {
    Upstream::start(|request| {
        match request.path.as_str() {
        "/device" => Reply::json(
            200,
            json!({
                "device_code": "canary-device", "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 600,
                "verification_uri": "https://login.example.org/device",
            })
            .to_string(),
        ),
        "/token" => Reply::json(
            200,
            json!({ "access_token": "canary-access", "refresh_token": "canary-refresh", "expires_in": 3600, "token_type": "Bearer" })
                .to_string(),
        ),
        _ => Reply::new(404),
    }
    })
}

#[test]
fn a_person_logs_in_on_any_device() {
    let (world, server) = (World::new(), server());
    let (begin, token) = (
        format!("{}/device", server.url()),
        format!("{}/token", server.url()),
    );
    let arguments = [
        "login",
        "ada",
        "--provider",
        "my-llm",
        "--device",
        "--client-id",
        "my-app",
        "--client-secret",
        "--begin-url",
        &begin,
        "--token-url",
        &token,
        "--scope",
        "offline_access",
        "--parameter",
        "audience=llm",
    ];
    let ran = world.run_with(&arguments, "canary-client\n").expect(0);
    assert!(
        ran.err
            .contains("open https://login.example.org/device and enter the code WDJB-MJHT"),
        "{ran:?}"
    );
    assert!(
        ran.out.starts_with("ada: logged in, the token ends at "),
        "{ran:?}"
    );
    assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
    let auth = world.stored("ada");
    let metadata = auth.metadata.as_ref().unwrap();
    assert_eq!(metadata.text("refresh_token"), Some("canary-refresh"));
    assert_eq!(auth.attributes.get("client_secret"), Some("canary-client"));
    let list = world.run(&["list", "--json"]).expect(0).json();
    assert_eq!(list["credentials"][0]["kind"], "login");
    assert_eq!(list["credentials"][0]["state"], "ready");
    let asked = server.requests();
    let body = String::from_utf8(asked[0].body.to_vec()).unwrap();
    assert!(
        body.contains("audience=llm") && body.contains("scope=offline_access"),
        "{body}"
    );
}

#[test]
fn a_person_logs_in_in_a_browser() {
    let (world, server) = (World::new(), server());
    let (begin, token) = (
        format!("{}/authorize", server.url()),
        format!("{}/token", server.url()),
    );
    let arguments = [
        "login",
        "ada",
        "--provider",
        "my-llm",
        "--browser",
        "--client-id",
        "my-app",
        "--begin-url",
        &begin,
        "--token-url",
        &token,
    ];
    let mut child = command(&world.store(), &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let prompt = lines.find_map(|line| {
        let line = line.unwrap();
        line.strip_prefix("To log in, open ").map(str::to_owned)
    });
    let prompt = prompt.unwrap();
    let parameter = |name: &str| {
        let pairs = prompt.split_once('?').unwrap().1.split('&');
        let mut values = pairs.filter_map(|pair| pair.strip_prefix(&format!("{name}=")));
        values.next().unwrap().to_owned()
    };
    // The browser comes back.
    let redirect = parameter("redirect_uri")
        .replace("%3A", ":")
        .replace("%2F", "/");
    let place = redirect
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap();
    let mut browser = TcpStream::connect(place).unwrap();
    let state = parameter("state");
    write!(browser, "GET /callback?code=canary-code&state={state} HTTP/1.1\r\nhost: {place}\r\nconnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).unwrap();
    assert!(page.contains("logged in"), "{page}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(world.stored("ada").generation(), 1);
}

#[test]
fn a_login_that_is_interrupted_leaves_nothing_behind() {
    let server = Upstream::start(|request| {
        match request.path.as_str() {
        "/device" => Reply::json(
            200,
            json!({
                "device_code": "canary-device", "user_code": "WDJB-MJHT", "interval": 1, "expires_in": 600,
                "verification_uri": "https://login.example.org/device",
            })
            .to_string(),
        ),
        _ => Reply::json(400, r#"{"error":"authorization_pending"}"#),
    }
    });
    let world = World::new();
    let (begin, token) = (
        format!("{}/device", server.url()),
        format!("{}/token", server.url()),
    );
    let login = "login ada --provider my-llm --device --client-id my-app --begin-url";
    let mut arguments: Vec<&str> = login.split(' ').collect();
    arguments.extend([&*begin, "--token-url", &*token]);
    let mut terminal = Terminal::start(command(&world.store(), &arguments), 24, 100);
    terminal.until_shown("Ctrl-C ends it");
    terminal.enter("\x03");
    let (code, ended) = terminal.end();
    assert_eq!(code, 130, "{}", ended.screen);
    assert!(
        ended
            .screen
            .contains("credential ada: the login was cancelled"),
        "{}",
        ended.screen
    );
    world.run(&["show", "ada"]).expect(4);
}
