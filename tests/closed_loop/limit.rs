//! Limits as vendors have them.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

/// A kind of limit.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// A bucket of `burst` requests that fills at `rate` a second.
    Requests { rate: f64, burst: f64 },
    /// A bucket of `burst` tokens that fills at `rate` a second.
    Tokens { rate: f64, burst: f64 },
    /// So many requests in each `length` of time, counted anew at its end.
    Window { most: u64, length: Duration },
    /// So many requests at once.
    AtOnce { most: u64 },
}

/// A limit, and how much of it is used.
#[derive(Debug)]
pub struct Limited {
    limit: Limit,
    /// What is left of a bucket, at the time `at`.
    level: f64,
    at: Duration,
    /// When windows begin, as a part of their length.
    shift: f64,
    window: u64,
    /// In the window; at once.
    used: u64,
}

impl Limited {
    pub fn new(limit: Limit, shift: f64) -> Self {
        let level = match limit {
            Limit::Requests { burst, .. } | Limit::Tokens { burst, .. } => burst,
            Limit::Window { .. } | Limit::AtOnce { .. } => 0.0,
        };
        Self {
            limit,
            level,
            at: Duration::ZERO,
            shift,
            window: 0,
            used: 0,
        }
    }

    /// Takes what a request needs, or says how long until it is there.
    pub fn take(&mut self, now: Duration, tokens: u64) -> Result<(), Duration> {
        let missing = self.missing(now, tokens);
        if let Some(wait) = missing {
            return Err(wait);
        }
        self.level -= self.cost(tokens);
        self.used += 1;
        Ok(())
    }

    /// Whether a request would be served.
    pub fn has(&mut self, now: Duration, tokens: u64) -> bool {
        self.missing(now, tokens).is_none()
    }

    /// A request that was served has ended.
    pub fn ended(&mut self) {
        if let Limit::AtOnce { .. } = self.limit {
            self.used -= 1;
        }
    }

    fn cost(&self, tokens: u64) -> f64 {
        match self.limit {
            Limit::Requests { .. } => 1.0,
            Limit::Tokens { .. } => tokens as f64,
            Limit::Window { .. } | Limit::AtOnce { .. } => 0.0,
        }
    }

    fn missing(&mut self, now: Duration, tokens: u64) -> Option<Duration> {
        self.advance(now);
        let cost = self.cost(tokens);
        match self.limit {
            Limit::Requests { rate, .. } | Limit::Tokens { rate, .. } => {
                (self.level < cost).then(|| Duration::from_secs_f64((cost - self.level) / rate))
            }
            Limit::Window { most, .. } => {
                (self.used >= most).then(|| self.window_ends().saturating_sub(now))
            }
            Limit::AtOnce { most } => (self.used >= most).then_some(Duration::from_secs(1)),
        }
    }

    fn advance(&mut self, now: Duration) {
        match self.limit {
            Limit::Requests { rate, burst } | Limit::Tokens { rate, burst } => {
                let passed = now.saturating_sub(self.at).as_secs_f64();
                self.level = (self.level + passed * rate).min(burst);
            }
            Limit::Window { length, .. } => {
                let window = now.div_duration_f64(length) + self.shift;
                let window = window.floor() as u64;
                if window != self.window {
                    (self.window, self.used) = (window, 0);
                }
            }
            Limit::AtOnce { .. } => {}
        }
        self.at = now;
    }

    fn window_ends(&self) -> Duration {
        match self.limit {
            Limit::Window { length, .. } => {
                length.mul_f64((self.window + 1) as f64 - self.shift) + Duration::from_micros(1)
            }
            _ => Duration::ZERO,
        }
    }

    /// What is left, and when it is whole again. Of requests at once no vendor tells.
    pub fn headers(&mut self, now: Duration) -> HeaderMap {
        self.advance(now);
        let (what, limit, left, whole_in) = match self.limit {
            Limit::Requests { rate, burst } => {
                ("requests", burst, self.level, (burst - self.level) / rate)
            }
            Limit::Tokens { rate, burst } => {
                ("tokens", burst, self.level, (burst - self.level) / rate)
            }
            Limit::Window { most, .. } => (
                "requests",
                most as f64,
                (most - self.used) as f64,
                self.window_ends().saturating_sub(now).as_secs_f64(),
            ),
            Limit::AtOnce { .. } => return HeaderMap::new(),
        };
        let header = |part: &str, value: String| {
            let name: HeaderName = format!("x-ratelimit-{part}-{what}").parse().unwrap();
            (name, value.parse().unwrap())
        };
        HeaderMap::from_iter([
            header("limit", format!("{limit:.0}")),
            header("remaining", format!("{:.0}", left.floor())),
            header("reset", format!("{whole_in:.3}s")),
        ])
    }

    /// How many calls a second it allows.
    pub fn rate(&self, takes: Duration, tokens: f64) -> f64 {
        match self.limit {
            Limit::Requests { rate, .. } => rate,
            Limit::Tokens { rate, .. } => rate / tokens,
            Limit::Window { most, length } => most as f64 / length.as_secs_f64(),
            Limit::AtOnce { most } => most as f64 / takes.as_secs_f64(),
        }
    }
}

#[test]
fn each_limit_serves_what_it_allows_and_says_when_more_is_there() {
    let second = Duration::from_secs(1);
    let bucket = Limit::Requests {
        rate: 2.0,
        burst: 3.0,
    };
    let tokens = Limit::Tokens {
        rate: 200.0,
        burst: 300.0,
    };
    for limit in [bucket, tokens] {
        let mut limited = Limited::new(limit, 0.0);
        let served = (0..5).filter(|_| limited.take(second, 100).is_ok());
        assert_eq!(served.count(), 3);
        assert_eq!(limited.take(second, 100), Err(second / 2));
        assert!(limited.take(second + second / 2, 100).is_ok());
        let headers = limited.headers(2 * second);
        let text = |name: &str| headers.iter().find(|(key, _)| key.as_str().contains(name));
        let value = |name| text(name).unwrap().1.to_str().unwrap();
        assert!(matches!(value("remaining"), "1" | "100"));
        assert_eq!(value("reset"), "1.000s");
    }
    let window = Limit::Window {
        most: 2,
        length: 10 * second,
    };
    let mut limited = Limited::new(window, 0.5);
    assert!(limited.take(second, 0).is_ok() && limited.take(second, 0).is_ok());
    let wait = limited.take(second, 0).unwrap_err();
    assert!(wait > 4 * second && wait < 5 * second);
    assert!(limited.take(second + wait, 0).is_ok());
    let mut limited = Limited::new(Limit::AtOnce { most: 1 }, 0.0);
    assert!(limited.take(second, 0).is_ok() && limited.take(second, 0).is_err());
    limited.ended();
    assert!(limited.has(second, 0));
}
