//! What the upstream answers, and when: the truth that policies do not know.

use std::time::Duration;

use credpool::Error;
use serde_json::Value;

/// Who fails how, and from when to when.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) credentials: Vec<String>,
    pub(crate) faults: Vec<Fault>,
    /// How many requests a minute each credential takes, and whether a refusal says how long to wait.
    pub(crate) limit: Option<(usize, bool)>,
    /// Each so many-th request is wrong in itself.
    pub(crate) wrong_every: Option<u64>,
}

/// An answer that is no success, in a span of time.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// A credential; `None`: all.
    pub(crate) who: Option<String>,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) status: u16,
    pub(crate) body: String,
    /// What the upstream says of when it will be over, which need not be true.
    pub(crate) says_until: Option<Duration>,
}

pub(crate) const NAMES: [&str; 6] = [
    "limits",
    "hints",
    "early-quota",
    "outage",
    "revoked",
    "bad-requests",
];

impl Script {
    /// A built-in one, or one from a file: a JSON object on each line with `from_s`, `to_s`, `status`, and as it may be `who` (a
    /// credential's number, from 0), `body` and `says_until_s`; times count from the start.
    pub(crate) fn named(name: &str, credentials: u64) -> Result<Self, String> {
        let ids = (0..credentials).map(|n| format!("key-{n:02}")).collect();
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let fault = |status, from, to| Fault {
            who: None,
            from: minutes(from),
            to: minutes(to),
            status,
            body: String::new(),
            says_until: None,
        };
        let script = |about: &str, faults| Self {
            name: name.to_owned(),
            about: about.to_owned(),
            credentials: ids,
            faults,
            limit: None,
            wrong_every: None,
        };
        Ok(match name {
            "limits" => Self {
                limit: Some((8, false)),
                ..script(
                    "each key takes 8 requests a minute; a refusal says nothing of when",
                    vec![],
                )
            },
            "hints" => Self {
                limit: Some((8, true)),
                ..script(
                    "each key takes 8 requests a minute; a refusal says when",
                    vec![],
                )
            },
            "early-quota" => {
                let said = Fault {
                    body: "You have reached your usage limit.".into(),
                    says_until: Some(minutes(5 * 60)),
                    ..fault(429, 10, 40)
                };
                script(
                    "every key's quota is said to be gone for five hours, and is back after half an hour",
                    vec![said],
                )
            }
            "outage" => script(
                "the provider answers 503 for a quarter of an hour",
                vec![fault(503, 10, 25)],
            ),
            "revoked" => {
                let one = Fault {
                    who: Some("key-00".into()),
                    ..fault(401, 5, u64::from(u32::MAX))
                };
                script("one key is revoked after five minutes", vec![one])
            }
            "bad-requests" => Self {
                wrong_every: Some(7),
                ..script("every seventh request is wrong in itself", vec![])
            },
            file => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    format!(
                        "there is no scenario {file} ({}), and as a file: {error}",
                        NAMES.join(", ")
                    )
                })?;
                let faults = text.lines().filter(|line| !line.trim().is_empty());
                script(
                    "from a file",
                    faults.map(read_fault).collect::<Result<_, _>>()?,
                )
            }
        })
    }

    /// What the upstream answers; `recent` is how many requests it has taken from the credential within a minute, and when the
    /// oldest of them leaves that.
    pub(crate) fn answer(
        &self,
        who: &str,
        at: Duration,
        number: u64,
        recent: (usize, Duration),
    ) -> Result<(), Error> {
        if self
            .wrong_every
            .is_some_and(|every| number.is_multiple_of(every))
        {
            return Err(Error::upstream(
                400,
                r#"{"error":{"message":"`temperature` must be below 2"}}"#,
            ));
        }
        if let Some(fault) = self.fault(who, at) {
            let error = Error::upstream(fault.status, fault.body.clone());
            return Err(match fault.says_until {
                Some(until) => error.with_retry_after(until.saturating_sub(at)),
                None => error,
            });
        }
        match self.limit {
            Some((limit, says)) if recent.0 >= limit => {
                let error = Error::upstream(429, "slow down");
                Err(if says {
                    error.with_retry_after(recent.1)
                } else {
                    error
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether a credential would serve a request that is right.
    pub(crate) fn is_healthy(&self, who: &str, at: Duration, recent: usize) -> bool {
        self.fault(who, at).is_none() && self.limit.is_none_or(|(limit, _)| recent < limit)
    }

    fn fault(&self, who: &str, at: Duration) -> Option<&Fault> {
        self.faults.iter().find(|fault| {
            (fault.from..fault.to).contains(&at)
                && fault.who.as_deref().is_none_or(|other| other == who)
        })
    }
}

fn read_fault(line: &str) -> Result<Fault, String> {
    let json: Value = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
    let seconds = |name: &str| {
        json.get(name)
            .and_then(Value::as_u64)
            .map(Duration::from_secs)
    };
    let needed = |name: &str| seconds(name).ok_or_else(|| format!("{line}: no `{name}`"));
    let status = json
        .get("status")
        .and_then(Value::as_u64)
        .and_then(|status| u16::try_from(status).ok());
    Ok(Fault {
        who: json
            .get("who")
            .and_then(Value::as_u64)
            .map(|n| format!("key-{n:02}")),
        from: needed("from_s")?,
        to: needed("to_s")?,
        status: status.ok_or_else(|| format!("{line}: no `status`"))?,
        body: json
            .get("body")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        says_until: seconds("says_until_s"),
    })
}
