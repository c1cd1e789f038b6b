//! Logins of persons, by the device flow at a server on loopback that answers without a pause: a login waits by the clock of its process alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use credpool::Login;
use credpool::testing::{ReceivedRequest, Reply, Upstream};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::endpoint::{access_token, refresh_token};
use crate::jobs::Change;
use crate::random::Random;
use crate::steps::pick_running;
use crate::truth::{Shared, Truth};
use crate::world::World;

/// The authorization server.
pub struct LoginServer {
    upstream: Upstream,
    persons: Arc<Mutex<BTreeMap<String, Person>>>,
}

/// What a person does.
#[derive(Clone, Copy, Debug)]
struct Person {
    /// How often the process asks before that.
    asked_before: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Logs in: the process gets the first tokens of this grant.
    LogsIn(usize),
    Declines,
    NeverComes,
}

impl LoginServer {
    pub fn start(truth: &Shared) -> Self {
        let persons: Arc<Mutex<BTreeMap<String, Person>>> = Arc::default();
        let upstream = Upstream::start({
            let (truth, persons) = (Arc::clone(truth), Arc::clone(&persons));
            move |request| {
                let name = field(request, "device_code").or_else(|| field(request, "person"));
                let name = name.unwrap_or_default();
                if request.path == "/device" {
                    let answer = json!({
                        "device_code": name, "user_code": name, "verification_uri": "https://login.example/",
                        "expires_in": LIFETIME.as_secs(), "interval": INTERVAL.as_secs(),
                    });
                    return Reply::json(200, answer.to_string());
                }
                let mut persons = persons.lock();
                let Some(person) = persons.get_mut(&name) else {
                    return refused("expired_token");
                };
                match (person.asked_before.checked_sub(1), person.end) {
                    (Some(left), _) => {
                        person.asked_before = left;
                        refused("authorization_pending")
                    }
                    (None, End::LogsIn(grant)) => {
                        Reply::json(200, tokens(&mut truth.lock(), grant).to_string())
                    }
                    (None, End::Declines) => refused("access_denied"),
                    (None, End::NeverComes) => refused("authorization_pending"),
                }
            }
        });
        Self { upstream, persons }
    }

    fn login(&self, person: Person) -> Login {
        let mut persons = self.persons.lock();
        let name = format!("person-{}", persons.len());
        persons.insert(name.clone(), person);
        let url = self.upstream.url();
        Login::by_device("app")
            .with_endpoints(format!("{url}/device"), format!("{url}/token"))
            .with_parameter("person", name)
    }
}

fn tokens(truth: &mut Truth, grant: usize) -> Value {
    let now = truth.now();
    let left = truth.endpoint.grants[grant].tokens[0]
        .ends
        .saturating_sub(now);
    truth.note(format!("  a person has logged in: grant {grant}"));
    json!({
        "access_token": access_token(grant, 0), "refresh_token": refresh_token(grant, 0), "expires_in": left.as_secs(),
    })
}

fn refused(error: &str) -> Reply {
    Reply::json(400, json!({ "error": error }).to_string())
}

fn field(request: &ReceivedRequest, name: &str) -> Option<String> {
    let form = std::str::from_utf8(&request.body).ok()?;
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

/// A process has a person log in, for the record that waits for its first login or for another one. A login that does not end well changes
/// nothing: neither the person's absence nor the end of the process is a change.
pub fn log_in(world: &mut World, random: &mut Random) {
    let Some(place) = pick_running(world, random) else {
        return;
    };
    let id = *random.pick(&[PENDING, PENDING, "a", "b"]).unwrap();
    let process = world.processes[place].as_ref().unwrap();
    if process.manager.get_by_id(id).is_none() {
        return;
    }
    let cancel = process.cancel.clone();
    let end = match random.below(5) {
        0..3 => End::LogsIn(world.log_in()),
        3 => End::Declines,
        _ => End::NeverComes,
    };
    let person = Person {
        asked_before: random.below(3),
        end,
    };
    let login = world.logins.login(person).with_cancel(cancel);
    let changes = match end {
        End::LogsIn(grant) => vec![Change::Login(id.into(), grant)],
        End::Declines | End::NeverComes => Vec::new(),
    };
    world.start(
        place,
        format!("log in {id}: {end:?}"),
        changes,
        move |manager| manager.log_in(id, &login, |_| {}).map(drop),
    );
}

/// The record that waits for its first login.
pub const PENDING: &str = "new";

const INTERVAL: Duration = Duration::from_secs(2);
const LIFETIME: Duration = Duration::from_secs(20);
