//! The plot `benches/scaling.svg`: cost against the size of the pool.

use std::fmt::Write as _;

/// What a series costs at each size, in nanoseconds.
#[derive(Default)]
pub(crate) struct Plot {
    series: Vec<(String, Vec<(usize, f64)>)>,
}

impl Plot {
    pub(crate) fn add(&mut self, series: &str, size: usize, nanos: f64) {
        let known = self.series.iter_mut().find(|(name, _)| name == series);
        match known {
            Some((_, points)) => points.push((size, nanos)),
            None => self.series.push((series.to_owned(), vec![(size, nanos)])),
        }
    }

    /// Both scales are logarithmic.
    pub(crate) fn svg(&self, mutex: f64) -> String {
        let mut svg = String::new();
        let _ = writeln!(
            svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="20" font-size="14">What it costs against the size of the pool (all ready, one thread; a mutex takes {mutex:.1} ns)</text>"##
        );
        for power in 0..=5_u8 {
            let x = x(10_f64.powi(power.into()));
            let _ = writeln!(
                svg,
                r##"<line x1="{x:.1}" y1="{TOP}" x2="{x:.1}" y2="{BOTTOM}" stroke="#dddddd"/><text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"##,
                BOTTOM + 18.0,
                10_u32.pow(power.into())
            );
        }
        for power in 1..=4_u8 {
            let y = y(10_f64.powi(power.into()));
            let _ = writeln!(
                svg,
                r##"<line x1="{LEFT}" y1="{y:.1}" x2="{RIGHT}" y2="{y:.1}" stroke="#dddddd"/><text x="{}" y="{:.1}" text-anchor="end">{} ns</text>"##,
                LEFT - 6.0,
                y + 4.0,
                10_u32.pow(power.into())
            );
        }
        for ((name, points), colour) in self.series.iter().zip(COLOURS) {
            let mut line = String::new();
            for (size, nanos) in points {
                let size = f64::from(u32::try_from(*size).unwrap());
                let _ = write!(line, "{:.1},{:.1} ", x(size), y(*nanos));
            }
            let end = points.last().map_or(0.0, |(_, nanos)| *nanos);
            let _ = writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/><text x="{}" y="{:.1}" fill="{colour}">{name}</text>"#,
                line.trim_end(),
                RIGHT + 6.0,
                y(end) + 4.0
            );
        }
        let _ = writeln!(
            svg,
            r#"<text x="{:.1}" y="{}" text-anchor="middle">credentials</text>
</svg>"#,
            f64::midpoint(LEFT, RIGHT),
            BOTTOM + 38.0
        );
        svg
    }
}

fn x(size: f64) -> f64 {
    LEFT + size.log10() / 5.0 * (RIGHT - LEFT)
}

fn y(nanos: f64) -> f64 {
    BOTTOM - (nanos.max(10.0).log10() - 1.0) / 3.0 * (BOTTOM - TOP)
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 600.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 300.0;
const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];
