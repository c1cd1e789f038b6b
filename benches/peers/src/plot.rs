//! Bars in groups, as SVG: black on white, or white on black where the reader's system is dark.

use std::fmt::Write as _;

pub(crate) struct Chart {
    pub(crate) title: String,
    /// Below the title: what a bar is, and where it was measured.
    pub(crate) subtitle: String,
    pub(crate) series: Vec<&'static str>,
    /// A name, and a figure for each of the series.
    pub(crate) groups: Vec<(String, Vec<Option<f64>>)>,
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let figures = self
            .groups
            .iter()
            .flat_map(|(_, figures)| figures)
            .flatten();
        let top = nice(figures.copied().fold(0.0, f64::max));
        let y = |figure: f64| BOTTOM - figure / top * (BOTTOM - TOP);
        let (title, subtitle) = (&self.title, &self.subtitle);
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="14" role="img" aria-label="{title}">
<style>{STYLE}</style>
<rect class="back" width="{WIDTH}" height="{HEIGHT}" rx="6"/>
<text x="16" y="28" font-size="18" font-weight="bold">{title}</text>
<text x="16" y="48" class="faint">{subtitle}</text>
"#
        );
        for step in 0..=4 {
            let figure = top * f64::from(step) / 4.0;
            let _ = writeln!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{0:.1}" y2="{0:.1}"/><text class="faint" x="{1}" y="{2:.1}" text-anchor="end">{3}</text>"#,
                y(figure),
                LEFT - 8.0,
                y(figure) + 5.0,
                short(figure),
            );
        }
        let room = (RIGHT - LEFT) / self.groups.len() as f64;
        let width = (room * 0.9 / self.series.len() as f64).min(64.0);
        for (at, (name, figures)) in self.groups.iter().enumerate() {
            let middle = LEFT + room * (at as f64 + 0.5);
            let left = middle - width * figures.len() as f64 / 2.0;
            let _ = writeln!(
                svg,
                r#"<text x="{middle:.1}" y="{:.1}" text-anchor="middle">{name}</text>"#,
                BOTTOM + 22.0
            );
            for (bar, figure) in figures.iter().enumerate() {
                let x = left + width * bar as f64;
                let centre = x + width / 2.0;
                let (height, label) = figure.map_or((BOTTOM, "–".to_owned()), |figure| {
                    (y(figure), short(figure))
                });
                let _ = writeln!(
                    svg,
                    r#"<rect class="s{bar}" x="{:.1}" y="{height:.1}" width="{:.1}" height="{:.1}"/><text x="{centre:.1}" y="{:.1}" text-anchor="middle" font-size="12">{label}</text>"#,
                    x + 1.0,
                    width - 2.0,
                    BOTTOM - height,
                    height - 4.0,
                );
            }
        }
        let mut x = LEFT;
        for (at, name) in self.series.iter().enumerate() {
            let y = BOTTOM + 44.0;
            let _ = writeln!(
                svg,
                r#"<rect class="s{at}" x="{x:.1}" y="{y:.1}" width="14" height="14"/><text x="{:.1}" y="{:.1}">{name}</text>"#,
                x + 20.0,
                y + 12.0
            );
            x += 44.0 + 7.6 * name.chars().count() as f64;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The next figure above with one digit that the axis can divide by four.
fn nice(figure: f64) -> f64 {
    let power = 10_f64.powf(figure.max(1e-9).log10().floor());
    let steps = [1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0, 12.0];
    // Space for the label above the highest bar.
    let step = steps.into_iter().find(|step| step * power >= figure * 1.04);
    step.unwrap_or(12.0) * power
}

fn short(figure: f64) -> String {
    match figure {
        _ if figure == 0.0 => "0".to_owned(),
        _ if figure >= 1e6 => format!("{:.1}M", figure / 1e6),
        _ if figure >= 99_950.0 => format!("{:.0}k", figure / 1e3),
        _ if figure >= 1e3 => format!("{:.1}k", figure / 1e3),
        _ if figure >= 10.0 => format!("{figure:.0}"),
        _ => format!("{figure:.1}"),
    }
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 844.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 328.0;
const STYLE: &str = ".back{fill:#ffffff}text{fill:#1f2328}.faint{fill:#59636e}.grid{stroke:#d1d9e0}\
    .s0{fill:#d9480f}.s1{fill:#3b7dd8}.s2{fill:#2f9e60}.s3{fill:#9066d0}.s4{fill:#848d97}\
    @media(prefers-color-scheme:dark){.back{fill:#0d1117}text{fill:#f0f6fc}.faint{fill:#9198a1}.grid{stroke:#3d444d}}";
