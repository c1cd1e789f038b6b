//! The rows of the table: what users meet, and what they are promised of it.

use std::time::Duration;

use super::callers::Load;
use super::figures::{Bar, Span};
use super::limit::Limit;
use super::upstream::{Fault, Key, Manner, Says};

/// One row.
pub struct Row {
    pub name: String,
    pub keys: Box<dyn Fn() -> Vec<Key>>,
    pub manner: Manner,
    pub load: Load,
    /// The fewest and the most tokens of a call.
    pub tokens: (u64, u64),
    /// The keys say that they share a limit.
    pub group: bool,
    /// How long a call may wait, where it is not the default.
    pub max_wait: Option<Duration>,
    pub span: Span,
    pub bars: Vec<Bar>,
    /// It runs when no variable asks for all.
    pub quick: bool,
}

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

/// Two minutes, after one to warm up.
const USUAL: Span = Span {
    from: Duration::from_secs(60),
    until: Duration::from_secs(180),
    trouble: None,
};

/// All of them, in the order of the table.
pub fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    limited(&mut rows);
    long_calls_at_once(&mut rows);
    one_account(&mut rows);
    faults(&mut rows);
    rows.extend([
        outage(),
        unusable(),
        long_calls(),
        without_waiting(),
        quota_that_is_back_early(),
    ]);
    rows
}

fn row(name: String, keys: impl Fn() -> Vec<Key> + 'static, load: Load) -> Row {
    Row {
        name,
        keys: Box::new(keys),
        manner: Manner {
            says: Says::RetryAfter,
            takes: TENTH,
            outage: None,
        },
        load,
        tokens: (1, 1),
        group: false,
        max_wait: None,
        span: USUAL,
        bars: Vec::new(),
        quick: false,
    }
}

const BUCKET: Limit = Limit::Requests {
    rate: 1.0,
    burst: 3.0,
};

fn limited(rows: &mut Vec<Row>) {
    let windows = Limit::Window {
        most: 10,
        length: Duration::from_secs(10),
    };
    let tokens = Limit::Tokens {
        rate: 1000.0,
        burst: 3000.0,
    };
    let at_once = |most| Limit::AtOnce { most };
    let kinds = [
        ("1/s, burst 3", BUCKET, [5, 8, 24, 64].as_slice()),
        ("10 in each 10 s", windows, &[8, 64]),
        ("60,000 tokens/min", tokens, &[8, 64]),
        ("1 at once", at_once(1), &[24, 64]),
        ("2 at once", at_once(2), &[64]),
    ];
    for (kind, limit, numbers) in kinds {
        for says in [Says::RetryAfter, Says::Headers, Says::Nothing] {
            if says == Says::Headers && matches!(limit, Limit::AtOnce { .. }) {
                continue;
            }
            for threads in numbers {
                let told = match says {
                    Says::RetryAfter => "retry-after",
                    Says::Headers => "headers",
                    Says::Nothing => "nothing told",
                };
                let name = format!("40 keys, {kind}, {told}, {threads} threads");
                let load = Load::Closed { threads: *threads };
                let mut row = row(name, move || Key::limited(40, limit), load);
                row.manner.says = says;
                if let Limit::Tokens { .. } = limit {
                    row.tokens = (800, 1200);
                }
                row.bars = match (says, limit) {
                    (Says::Nothing, _) => vec![Bar::Errors(0.0), Bar::Requests(1.5)],
                    // How many tokens are left does not say whether the next call needs more.
                    (Says::Headers, Limit::Requests { .. } | Limit::Window { .. }) => {
                        vec![Bar::Errors(0.0), Bar::Share(0.95), Bar::Requests(1.05)]
                    }
                    _ => vec![Bar::Errors(0.0), Bar::Share(0.95), Bar::Requests(1.3)],
                };
                row.quick = match limit {
                    Limit::Requests { .. } => matches!(
                        (says, threads),
                        (Says::RetryAfter, 8 | 64) | (Says::Headers, 8) | (Says::Nothing, 64)
                    ),
                    Limit::AtOnce { .. } => says == Says::RetryAfter && *threads == 64,
                    _ => false,
                };
                rows.push(row);
            }
        }
    }
}

/// As many again wait as are served at once.
fn long_calls_at_once(rows: &mut Vec<Row>) {
    for says in [Says::RetryAfter, Says::Nothing] {
        for takes in [SECOND, 10 * SECOND] {
            let load = Load::Closed { threads: 40 };
            let told = if says == Says::Nothing {
                "nothing told"
            } else {
                "retry-after"
            };
            let name = format!("5 keys, 4 at once, calls of {takes:?}, {told}, 40 threads");
            let limit = Limit::AtOnce { most: 4 };
            let mut row = row(name, move || Key::limited(5, limit), load);
            row.manner.says = says;
            row.manner.takes = takes;
            row.bars = match says {
                Says::Nothing => vec![Bar::Requests(1.5)],
                _ => vec![Bar::Errors(0.0), Bar::Share(0.95), Bar::Requests(1.3)],
            };
            row.quick = says == Says::RetryAfter && takes > SECOND;
            rows.push(row);
        }
    }
}

fn one_account(rows: &mut Vec<Row>) {
    for (rate, burst, threads) in [(40.0, 120.0, 8), (40.0, 120.0, 64), (5.0, 3.0, 24)] {
        let limit = Limit::Requests { rate, burst };
        for (group, most) in [(true, 1.3), (false, 2.0)] {
            let attribute = if group { "with" } else { "without" };
            let name = format!(
                "40 keys, one account, {rate}/s, {attribute} limit_group, {threads} threads"
            );
            let load = Load::Closed { threads };
            let mut row = row(name, move || Key::of_one_account(40, limit), load);
            row.group = group;
            row.bars = vec![Bar::Errors(0.0), Bar::Requests(most)];
            row.quick = rate > 5.0 && threads == 64 && group;
            rows.push(row);
        }
    }
}

fn faults(rows: &mut Vec<Row>) {
    let load = Load::Closed { threads: 4 };
    for keys in [3, 10] {
        let faults = move || Key::faulty(vec![Fault::At(0.05); keys]);
        let mut row = row(format!("{keys} keys, 5 % random 500"), faults, load);
        row.bars = vec![Bar::Errors(0.003)];
        rows.push(row);
    }
    let faults = || {
        let others = std::iter::repeat_n(Fault::At(0.01), 9);
        Key::faulty(std::iter::once(Fault::Always).chain(others))
    };
    let name = "10 keys, one always 500, others 1 %".to_owned();
    let mut row = row(name, faults, load);
    row.bars = vec![Bar::Errors(0.002)];
    rows.push(row);
    for row in rows.iter_mut().rev().take(3) {
        row.manner.takes = TENTH / 2;
        row.quick = true;
    }
}

fn outage() -> Row {
    let keys = || Key::faulty([Fault::None; 10]);
    let load = Load::Open {
        rate: 50.0,
        threads: 256,
    };
    let trouble = (60 * SECOND, 120 * SECOND);
    let mut row = row(
        "10 keys, 50 calls/s, an outage of 60 s".to_owned(),
        keys,
        load,
    );
    row.manner.outage = Some(trouble);
    row.span.trouble = Some(trouble);
    row.bars = vec![Bar::Load(1.2), Bar::Back(SECOND), Bar::NoneAfter];
    row.quick = true;
    row
}

fn unusable() -> Row {
    let keys = || Key::faulty([Fault::None, Fault::Unusable]);
    let load = Load::Counted {
        threads: 1,
        calls: 2000,
    };
    let mut row = row(
        "an unusable key beside a good one, 2,000 calls".to_owned(),
        keys,
        load,
    );
    row.manner.takes = TENTH / 10;
    row.span.from = Duration::ZERO;
    row.bars = vec![Bar::Calls(2000), Bar::Errors(0.0)];
    row.quick = true;
    row
}

fn long_calls() -> Row {
    let keys = || Key::faulty([Fault::FirstLimited]);
    let load = Load::Counted {
        threads: 20,
        calls: 1,
    };
    let mut row = row("1 key, one 429, 20 calls of 45 s".to_owned(), keys, load);
    row.manner.takes = 45 * SECOND;
    row.span.from = Duration::ZERO;
    row.bars = vec![Bar::Calls(20), Bar::Errors(0.0)];
    row.quick = true;
    row
}

fn without_waiting() -> Row {
    let load = Load::Open {
        rate: 48.0,
        threads: 64,
    };
    let name = "40 keys, 1/s, burst 3, 64 threads that cannot wait, demand 1.2".to_owned();
    let mut row = row(name, || Key::limited(40, BUCKET), load);
    row.max_wait = Some(Duration::ZERO);
    row.bars = vec![Bar::NoneBesideReady];
    row.quick = true;
    row
}

fn quota_that_is_back_early() -> Row {
    let back = 30 * 60 * SECOND;
    let keys = move || Key::faulty([Fault::QuotaUntil(back)]);
    let load = Load::Open {
        rate: 0.2,
        threads: 4,
    };
    let name = "1 key, a quota said to last 5 h, back after 30 min".to_owned();
    let mut row = row(name, keys, load);
    row.span = Span {
        from: Duration::ZERO,
        until: 60 * 60 * SECOND,
        trouble: Some((Duration::ZERO, back)),
    };
    row.bars = vec![Bar::Back(15 * 60 * SECOND)];
    row.quick = true;
    row
}
