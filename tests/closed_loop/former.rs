//! The figures of version 0.1.0, measured by this program over that version's public interface.

/// The columns of a row: calls, errors in percent, requests a call, share.
pub fn of(name: &str) -> Option<String> {
    let (_, figures) = FIGURES.iter().find(|(row, _)| *row == name)?;
    Some((*figures).to_owned())
}

const FIGURES: &[(&str, &str)] = &[];
