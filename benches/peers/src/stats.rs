//! Medians, and how far the rounds lie apart.

use std::fmt;

use crate::protocol::Measured;

/// The rounds of one client in one figure.
#[derive(Debug, Default)]
pub(crate) struct Series {
    pub(crate) per_second: Vec<f64>,
    pub(crate) cpu_micros: Vec<f64>,
    /// The share of its cores that the upstream was busy for.
    pub(crate) upstream_busy: Vec<f64>,
    /// Of all rounds.
    pub(crate) micros: Vec<u32>,
}

impl Series {
    pub(crate) fn add(&mut self, (measured, busy): (Measured, f64)) {
        self.per_second.push(measured.per_second());
        self.cpu_micros.push(measured.cpu_micros());
        self.upstream_busy.push(busy);
        self.micros.extend(measured.micros);
    }

    /// How many times as many calls as `peer`: round by round, since what disturbs one disturbs its neighbour, too.
    pub(crate) fn beside(&self, peer: &Self) -> Ratio {
        if self.per_second.len() == peer.per_second.len() {
            let pairs = self.per_second.iter().zip(&peer.per_second);
            return Ratio::of(
                &pairs
                    .map(|(ours, theirs)| ours / theirs)
                    .collect::<Vec<_>>(),
            );
        }
        let ours = median(&self.per_second);
        let theirs = peer.per_second.iter();
        Ratio::of(&theirs.map(|theirs| ours / theirs).collect::<Vec<_>>())
    }

    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        percentile(&self.micros, percent)
    }
}

pub(crate) fn percentile(micros: &[u32], percent: usize) -> f64 {
    let mut sorted = micros.to_vec();
    sorted.sort_unstable();
    let last = sorted.len().saturating_sub(1);
    let at = (sorted.len() * percent / 100).min(last);
    sorted.get(at).copied().map_or(f64::NAN, f64::from)
}

pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A median with the least and the greatest of its rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    least: f64,
    greatest: f64,
}

impl Ratio {
    fn of(figures: &[f64]) -> Self {
        Self {
            median: median(figures),
            least: figures.iter().copied().fold(f64::INFINITY, f64::min),
            greatest: figures.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, least, greatest] = [self.median, self.least, self.greatest].map(ratio);
        write!(f, "{median} ({least}–{greatest})")
    }
}

/// With as many digits as mean something.
pub(crate) fn ratio(figure: f64) -> String {
    if figure >= 10.0 {
        format!("{figure:.0}")
    } else {
        format!("{figure:.2}")
    }
}

/// A whole number in groups of three digits.
pub(crate) fn count(figure: f64) -> String {
    if figure.is_nan() {
        return "–".to_owned();
    }
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
