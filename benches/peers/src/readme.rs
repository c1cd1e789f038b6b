//! The figures in the README of the crate: those of the results, between two comments.

use std::fs;
use std::path::Path;

use crate::protocol::Outcome;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
pub(crate) const BEGIN: &str = "<!-- figures of benches/peers -->";
pub(crate) const END: &str = "<!-- end of the figures -->";
const SECTION: &str = "\n## How fast\n";

/// Fails where the README has other figures than the results, or figures beside them.
pub(crate) fn check(results: &str) -> Outcome<()> {
    let readme = fs::read_to_string(README)?;
    let results = fs::read_to_string(Path::new(results).join("results.md"))?;
    let [before, figures, after] = parts(&readme)?;
    let [_, measured, _] = parts(&results)?;
    if figures != measured {
        return Err(
            "README.md has other figures than results.md: --write-readme takes those".into(),
        );
    }
    let (_, before) = before
        .rsplit_once(SECTION)
        .ok_or("README.md has no section \"How fast\"")?;
    let after = after.split("\n## ").next().unwrap_or_default();
    for text in [before, after] {
        if text.contains(|sign: char| sign.is_ascii_digit()) {
            return Err(
                "section \"How fast\" of README.md has a figure that results.md does not give"
                    .into(),
            );
        }
    }
    println!("The README's figures are those of the results.");
    Ok(())
}

/// Puts the figures of the results into the README.
pub(crate) fn write(results: &str) -> Outcome<()> {
    let readme = fs::read_to_string(README)?;
    let measured = fs::read_to_string(Path::new(results).join("results.md"))?;
    let [before, _, after] = parts(&readme)?;
    let [_, figures, _] = parts(&measured)?;
    fs::write(README, format!("{before}{BEGIN}{figures}{END}{after}"))?;
    check(results)
}

/// What stands before, between and behind the two comments.
fn parts(text: &str) -> Outcome<[&str; 3]> {
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or("a text has no figures of this bench")?;
    let (figures, after) = rest.split_once(END).ok_or("the figures do not end")?;
    Ok([before, figures, after])
}
