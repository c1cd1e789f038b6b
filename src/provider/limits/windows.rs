//! The headers that count.

use http::HeaderMap;

use super::read;
use crate::clock::Timestamp;
use crate::limits::LimitWindow;

/// The windows that the headers speak of, by name.
pub(super) fn read(headers: &HeaderMap, now: Timestamp) -> Vec<LimitWindow> {
    let mut windows = Vec::new();
    for (name, value) in headers {
        let Some((window, field)) = parts(name.as_str()) else {
            continue;
        };
        let Some(said) = value.to_str().ok().and_then(|text| said(field, text, now)) else {
            continue;
        };
        if let Some(window) = entry(&mut windows, window) {
            note(window, said);
        }
    }
    windows.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    windows
}

/// The unified windows that reject requests, if the whole does. (With paid overage it may not, although one does.)
pub(super) fn rejected(windows: &[LimitWindow]) -> impl Iterator<Item = &LimitWindow> {
    let whole = windows.iter().find(|window| window.name == UNIFIED);
    let rejects = whole.is_none_or(|window| window.status.is_none() || window.is_used_up());
    windows.iter().filter(move |window| {
        rejects && is_unified(window) && window.name != OVERAGE && window.is_used_up()
    })
}

/// When the last of the windows that are used up resets.
pub(super) fn latest_reset(windows: &[LimitWindow]) -> Option<Timestamp> {
    let counted = windows
        .iter()
        .filter(|window| !is_unified(window) && window.is_used_up());
    rejected(windows)
        .chain(counted)
        .filter_map(|window| window.resets_at)
        .max()
}

/// What one header says.
enum Said {
    Limit(u64),
    Remaining(u64),
    ResetsAt(Timestamp),
    UsedRatio(f64),
    Status(String),
}

/// A header's window and field. OpenAI puts the field first
/// (<https://platform.openai.com/docs/guides/rate-limits>), Anthropic last (<https://docs.anthropic.com/en/api/rate-limits>).
fn parts(header: &str) -> Option<(&str, &str)> {
    if let Some(rest) = header.strip_prefix("x-ratelimit-") {
        let (field, window) = rest.split_once('-').unwrap_or((rest, "default"));
        return matches!(field, "limit" | "remaining" | "reset").then_some((window, field));
    }
    header
        .strip_prefix("anthropic-ratelimit-")?
        .rsplit_once('-')
}

fn said(field: &str, text: &str, now: Timestamp) -> Option<Said> {
    match field {
        "limit" => read::count(text).map(Said::Limit),
        "remaining" => read::count(text).map(Said::Remaining),
        "reset" => read::reset(text, now).map(Said::ResetsAt),
        "utilization" => read::ratio(text).map(Said::UsedRatio),
        "status" => word(text).map(Said::Status),
        _ => None,
    }
}

/// The window with this name, a new one if need be; `None` when that would be one too many.
fn entry<'a>(windows: &'a mut Vec<LimitWindow>, name: &str) -> Option<&'a mut LimitWindow> {
    if let Some(at) = windows.iter().position(|window| window.name == name) {
        return windows.get_mut(at);
    }
    if windows.len() >= MOST_WINDOWS || name.is_empty() || name.len() > LONGEST_NAME {
        return None;
    }
    windows.push(LimitWindow::new(name));
    windows.last_mut()
}

fn note(window: &mut LimitWindow, said: Said) {
    match said {
        Said::Limit(limit) => window.limit = window.limit.or(Some(limit)),
        Said::Remaining(remaining) => window.remaining = window.remaining.or(Some(remaining)),
        Said::ResetsAt(at) => window.resets_at = window.resets_at.or(Some(at)),
        Said::UsedRatio(ratio) => window.note_used_ratio(ratio),
        Said::Status(status) => {
            window.status.get_or_insert(status);
        }
    }
}

/// A status: one short word.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = (1..=LONGEST_STATUS).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    plain.then(|| text.to_ascii_lowercase())
}

fn is_unified(window: &LimitWindow) -> bool {
    window.name == UNIFIED || window.name.starts_with("unified-")
}

const UNIFIED: &str = "unified";
/// Whether one may pay for more: it rejects where one may not.
const OVERAGE: &str = "unified-overage";

const MOST_WINDOWS: usize = 32;
const LONGEST_NAME: usize = 64;
const LONGEST_STATUS: usize = 32;
