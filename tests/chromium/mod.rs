//! A headless Chromium for tests of pages, driven by its own protocol over two pipes: <https://chromedevtools.github.io/devtools-protocol/>.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tempfile::TempDir;

/// One page of it. Runs until it is dropped.
pub(crate) struct Browser {
    process: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    session: Value,
    sent: u64,
    /// What went wrong on the page.
    pub(crate) complaints: Vec<String>,
    _profile: TempDir,
}

impl Browser {
    /// None where there is no Chromium.
    pub(crate) fn open(url: &str) -> Option<Self> {
        let named = std::env::var("CREDPOOL_CHROMIUM").ok();
        let usual = ["chromium-headless-shell", "chromium"].map(str::to_owned);
        let program = named.into_iter().chain(usual).find(|program| {
            let mut version = Command::new(program);
            let version = version.arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        })?;
        let profile = tempfile::tempdir().unwrap();
        // The protocol's pipes are the descriptors 3 and 4.
        let mut process = Command::new("sh")
            .args([
                "-c",
                r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#,
            ])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, messages) = channel();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            let mut message = Vec::new();
            while output
                .read_until(0, &mut message)
                .is_ok_and(|count| count > 0)
            {
                message.pop();
                if sender
                    .send(serde_json::from_slice(&message).unwrap())
                    .is_err()
                {
                    return;
                }
                message.clear();
            }
        });
        let mut browser = Self {
            requests: process.stdin.take().unwrap(),
            process,
            messages,
            session: Value::Null,
            sent: 0,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session = browser.ask("Target.attachToTarget", &attach)["sessionId"].take();
        for domain in ["Runtime", "Log", "Page"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        browser.ask("Page.navigate", &json!({ "url": url }));
        Some(browser)
    }

    /// The result of a command.
    fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        self.try_ask(method, parameters)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The result of a command, or the error of one that met a page on its way to another.
    fn try_ask(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.sent += 1;
        let mut request = json!({ "id": self.sent, "method": method, "params": parameters });
        if !self.session.is_null() {
            request["sessionId"] = self.session.clone();
        }
        let request = request.to_string() + "\0";
        self.requests.write_all(request.as_bytes()).unwrap();
        loop {
            let message = self.messages.recv_timeout(LONG);
            let mut message = message.unwrap_or_else(|error| panic!("{method}: {error}"));
            match message["method"].as_str() {
                Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                    self.complaints.push(message["params"].to_string());
                }
                _ if message["id"] == self.sent => {
                    return if message["error"].is_null() {
                        Ok(message["result"].take())
                    } else {
                        Err(message["error"].take())
                    };
                }
                _ => {}
            }
        }
    }

    /// The value of an expression of the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let expression = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.ask("Runtime.evaluate", &expression);
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{exception}");
        answer["result"]["value"].take()
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        let selector = json!(selector);
        let all = format!("[...document.querySelectorAll({selector})]");
        let text = self.value(&format!("{all}.map(one => one.innerText).join('\\n')"));
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an expression of the page is true.
    pub(crate) fn until(&mut self, holds: &str) {
        let start = Instant::now();
        let expression = json!({ "expression": holds, "returnByValue": true });
        while !self
            .try_ask("Runtime.evaluate", &expression)
            .is_ok_and(|answer| answer["result"]["value"] == true)
        {
            let shown = if start.elapsed() > LONG {
                self.value("location.href + ' ' + document.documentElement.innerHTML")
                    .to_string()
            } else {
                String::new()
            };
            assert!(start.elapsed() < LONG, "{holds}\n{shown}");
            thread::yield_now();
        }
    }

    /// Clicks, as a finger or a mouse does, in the middle of what the selector finds.
    pub(crate) fn click(&mut self, selector: &str) {
        let selector = json!(selector);
        let place = self.value(&format!(
            "(one => {{ one.scrollIntoView({{ block: 'center' }}); const box = one.getBoundingClientRect();
               const at = [box.x + box.width / 2, box.y + box.height / 2];
               return one.contains(document.elementFromPoint(...at)) ? at : null; }})(document.querySelector({selector}))"
        ));
        assert!(place.is_array(), "{selector} can be clicked");
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", &event);
        }
    }

    pub(crate) fn type_text(&mut self, text: &str) {
        self.ask("Input.insertText", &json!({ "text": text }));
    }

    /// Shows the page as wide as a device is.
    pub(crate) fn resize(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Leaves a picture of the page, for whoever wants to look.
    pub(crate) fn picture(&mut self, name: &str) {
        let picture = self.ask("Page.captureScreenshot", &json!({ "format": "png" }));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let picture = BASE64_STANDARD.decode(picture["data"].as_str().unwrap());
        fs::write(file, picture.unwrap()).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const LONG: Duration = Duration::from_secs(30);
