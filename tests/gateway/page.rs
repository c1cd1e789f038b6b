//! The gateway's page, in a browser: what a person at night wants to know, and can click on.
//!
//! It needs Chromium: `chromium-headless-shell`, `chromium`, or what `CREDPOOL_CHROMIUM` names. Where there is none this is left out, unless
//! `CREDPOOL_REQUIRE_SERVERS` is set. Pictures of the page are left in Cargo's folder for them, `target/tmp`.

use std::sync::atomic::{AtomicBool, Ordering};

use credpool::testing::{ReceivedRequest, Reply, Upstream};
use serde_json::json;

use crate::browser::Browser;
use crate::programs::{Gateway, left_out};

const SERVED: &str = r#"{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],
    "usage":{"prompt_tokens":1200,"completion_tokens":30,"prompt_tokens_details":{"cached_tokens":1000}}}"#;

/// A key that is limited for some seconds once, one that is refused, and one that serves.
fn upstream() -> Upstream {
    let was_limited = AtomicBool::new(false);
    Upstream::start(move |request| {
        let error =
            |text: &str| json!({ "error": { "message": text, "type": "error" } }).to_string();
        match key(request) {
            "sk-refused" => Reply::json(401, error("Incorrect API key provided: sk-refused.")),
            "sk-limited" if !was_limited.swap(true, Ordering::SeqCst) => {
                Reply::json(429, error("Rate limit reached for gpt-5.")).header("retry-after", "6")
            }
            _ => Reply::json(200, SERVED),
        }
    })
}

fn key(request: &ReceivedRequest) -> &str {
    let bearer = request.header("authorization").unwrap_or_default();
    bearer.strip_prefix("Bearer ").unwrap_or_default()
}

fn ask(gateway: &Gateway) {
    let mut answer = ureq::post(format!("{}/v1/chat/completions", gateway.url()))
        .send(r#"{"model":"gpt-5","messages":[]}"#)
        .unwrap();
    assert_eq!(answer.body_mut().read_to_string().unwrap(), SERVED);
}

#[test]
fn the_page_shows_which_credentials_are_out_why_until_when_and_what_was_used() {
    let upstream = upstream();
    let base = format!("{}/v1", upstream.url());
    let of = |provider, id: &str| (provider, id.to_owned(), base.clone());
    let gateway = Gateway::start([
        of("openai", "limited"),
        of("openai", "refused"),
        of("openai", "steady"),
        of(
            "anthropic",
            "a-rather-long-name-of-a-credential@example.com",
        ),
    ]);
    let Some(mut page) = Browser::open(gateway.url()) else {
        return left_out("Chromium");
    };
    page.resize(1200, 800);
    page.until("document.title === '4/4 ready · gateway'");
    page.until("document.querySelectorAll('details').length === 4");
    assert_eq!(
        page.text("summary > :nth-child(2)"),
        ["ready"; 4].join("\n")
    );

    // Each key is asked once; a cooldown appears, and what has to be done by a person.
    for _ in 0..3 {
        ask(&gateway);
    }
    let limited = "[...document.querySelectorAll('details')].find(one => one.innerText.startsWith('limited'))";
    page.until(&format!("{limited}.innerText.includes('cooling')"));
    page.picture("gateway.png");
    let cooling = page.value(&format!("{limited}.innerText"));
    for part in [
        "gpt-5: cooling, rate limited, time from the server",
        "until ",
        "1 failed",
    ] {
        assert!(
            cooling.as_str().unwrap().contains(part),
            "{part} in {cooling}"
        );
    }

    page.click("[data-filter=out]");
    assert_eq!(page.text("[data-filter=out]"), "Unavailable 2");
    assert_eq!(page.text("summary > b"), "limited\nrefused");
    let details = "details:last-of-type";
    page.click(&format!("{details} summary"));
    let refused = page.text(details);
    for part in ["unauthorized", "401", "Incorrect API key provided: ***."] {
        assert!(refused.contains(part), "{part} in {refused}");
    }
    page.resize(390, 844);
    page.until("document.documentElement.scrollWidth <= 390");
    page.until("[...document.querySelectorAll('button')].every(one => one.offsetHeight >= 40)");
    page.picture("gateway-phone.png");

    // The cooldown ends by itself; what is open stays open.
    page.until(&format!("!{limited}"));
    assert_eq!(page.text("[data-filter=out]"), "Unavailable 1");
    assert_eq!(page.value("document.querySelector('details').open"), true);

    page.click("[data-filter=anthropic]");
    assert_eq!(page.value("document.querySelectorAll('details').length"), 1);
    page.click("[data-filter=all]");
    page.click("#search");
    page.type_text("steady");
    assert_eq!(page.text("summary > b"), "steady");
    page.click("summary");
    let shown = page.text("details");
    let served = upstream.requests();
    let served = served
        .iter()
        .filter(|sent| key(sent) == "sk-steady")
        .count();
    assert!(shown.contains(&format!("{served} served")), "{shown}");
    let used = format!("{}0 out", 3 * served);
    assert!(
        shown.contains(&used) && shown.contains("K cached"),
        "{used} in {shown}"
    );

    // Nothing changes while it is paused.
    page.click("#pause");
    let before = upstream.request_count();
    ask(&gateway);
    ask(&gateway);
    assert_eq!(upstream.request_count(), before + 2);
    assert_eq!(page.text("details"), shown);
    page.click("#pause");
    let now = format!("{} served", served + 1);
    page.until(&format!(
        "document.querySelector('details').innerText.includes('{now}')"
    ));
    page.picture("gateway-phone-details.png");

    let secrets = page.value("document.documentElement.outerHTML + JSON.stringify(latest)");
    assert!(!secrets.as_str().unwrap().contains("sk-"), "{secrets}");
    assert_eq!(page.complaints, Vec::<String>::new());
    drop(gateway);
    page.until("document.getElementById('at').innerText === 'the gateway does not answer'");
}
