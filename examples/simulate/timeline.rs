//! The drawing: a panel for each run, a row for each credential, colours for what it was.

use std::fmt::Write;
use std::time::Duration;

use crate::caller::Timeline;

/// What a state looks like, and what it is called.
const STATES: [(&str, &str); 9] = [
    ("ready", "#7fbf7b"),
    ("probe", "#1a6faf"),
    ("rate_limited", "#f1b84b"),
    ("quota", "#e07b39"),
    ("transient", "#9f9f9f"),
    ("overloaded", "#707070"),
    ("unauthorized", "#b2182b"),
    ("billing", "#762a83"),
    ("unknown", "#c7b299"),
];
const OTHER: &str = "#333333";

const LEFT: f64 = 90.0;
const WIDTH: f64 = 900.0;
const ROW: f64 = 14.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 22.0;

pub(crate) fn draw(panels: &[(String, Timeline)], time: Duration) -> String {
    let rows: usize = panels.iter().map(|(_, timeline)| timeline.len()).sum();
    let height = 50.0
        + f64::from(u32::try_from(rows).unwrap_or(0)) * ROW
        + f64::from(u32::try_from(panels.len()).unwrap_or(0)) * (HEAD + FOOT);
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{height}" viewBox="0 0 {w} {height}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="#ffffff"/>"##,
        w = LEFT + WIDTH + 20.0
    );
    for (place, (name, colour)) in (0_u32..).zip(STATES) {
        let x = LEFT + f64::from(place) * 98.0;
        let _ = writeln!(
            svg,
            r#"<rect x="{x}" y="14" width="10" height="10" fill="{colour}"/><text x="{}" y="23">{}</text>"#,
            x + 14.0,
            name.replace('_', " ")
        );
    }
    let mut y = 40.0;
    for (title, timeline) in panels {
        let _ = writeln!(
            svg,
            r#"<text x="{LEFT}" y="{}" font-weight="bold">{}</text>"#,
            y + 20.0,
            escaped(title)
        );
        y += HEAD;
        let top = y;
        for (id, states) in timeline {
            let _ = writeln!(
                svg,
                r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
                LEFT - 6.0,
                y + 10.0,
                escaped(id)
            );
            let ends = states.iter().skip(1).map(|(from, _)| *from).chain([time]);
            for ((from, state), to) in states.iter().zip(ends) {
                let x = |at: Duration| WIDTH * at.as_secs_f64() / time.as_secs_f64();
                let width = (x(to.min(time)) - x(*from)).max(0.4);
                let _ = writeln!(
                    svg,
                    r#"<rect x="{:.1}" y="{y}" width="{width:.1}" height="{}" fill="{}"><title>{} {state}</title></rect>"#,
                    LEFT + x(*from),
                    ROW - 2.0,
                    colour(state),
                    escaped(id)
                );
            }
            y += ROW;
        }
        for part in 0..=4_u32 {
            let x = LEFT + WIDTH * f64::from(part) / 4.0;
            let minutes = time.as_secs() * u64::from(part) / 4 / 60;
            let _ = writeln!(
                svg,
                r##"<line x1="{x}" y1="{top}" x2="{x}" y2="{y}" stroke="#000000" stroke-opacity="0.25"/><text x="{x}" y="{}" text-anchor="middle">{minutes} min</text>"##,
                y + 13.0
            );
        }
        y += FOOT;
    }
    svg.push_str("</svg>\n");
    svg
}

fn colour(state: &str) -> &'static str {
    let known = STATES.iter().find(|(name, _)| *name == state);
    known.map_or(OTHER, |(_, colour)| colour)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
