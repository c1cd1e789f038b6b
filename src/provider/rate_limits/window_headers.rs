//! Headers of limit windows: limit, remaining, reset.

use std::time::Duration;

use http::HeaderMap;

use super::fields::Field;
use super::{fields, times};
use crate::clock::{Timestamp, later};
use crate::limits::LimitWindow;

/// The windows that the headers speak of, by name.
pub(crate) fn read(headers: &HeaderMap, now: Timestamp) -> Vec<LimitWindow> {
    let mut windows = Vec::new();
    for (header, value) in headers {
        let Ok(text) = value.to_str() else {
            continue;
        };
        for (name, said) in fields::read(header.as_str(), text, now) {
            if let Some(window) = entry(&mut windows, &name) {
                note(window, said);
            }
        }
    }
    for window in &mut windows {
        window.length = window.length.or_else(|| times::length_in(&window.name));
    }
    windows.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    windows
}

/// The unified windows that reject requests, if the whole does. (With paid overage it may not, although one does.)
pub(crate) fn rejected(windows: &[LimitWindow]) -> impl Iterator<Item = &LimitWindow> {
    let whole = windows.iter().find(|window| window.name == UNIFIED);
    let rejects = whole.is_none_or(|window| window.status.is_none() || window.is_used_up());
    windows.iter().filter(move |window| {
        rejects && is_unified(window) && window.name != OVERAGE && window.is_used_up()
    })
}

/// When the last of the windows that are used up resets. One that is short, and does not say when, is whole again once its time is over.
pub(crate) fn latest_reset(windows: &[LimitWindow], now: Timestamp) -> Option<Timestamp> {
    let counted = windows
        .iter()
        .filter(|window| !is_unified(window) && window.is_used_up());
    let is_back = |window: &LimitWindow| {
        let short = window.length.filter(|length| *length <= SHORT);
        window.resets_at.or_else(|| Some(later(now, short?)))
    };
    rejected(windows).chain(counted).filter_map(is_back).max()
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

fn note(window: &mut LimitWindow, said: Field) {
    match said {
        Field::Limit(limit) => window.limit = window.limit.or(Some(limit)),
        Field::Remaining(remaining) => window.remaining = window.remaining.or(Some(remaining)),
        Field::ResetsAt(at) => window.resets_at = window.resets_at.or(Some(at)),
        Field::UsedRatio(ratio) => window.note_used_ratio(ratio),
        Field::Length(length) => window.length = window.length.or(Some(length)),
        Field::Status(status) => {
            window.status.get_or_insert(status);
        }
    }
}

fn is_unified(window: &LimitWindow) -> bool {
    window.name == UNIFIED || window.name.starts_with("unified-")
}

const UNIFIED: &str = "unified";
/// Whether one may pay for more: it rejects where one may not.
const OVERAGE: &str = "unified-overage";

/// A window that says nothing of its reset is waited for where it is no longer.
const SHORT: Duration = Duration::from_secs(60);

const MOST_WINDOWS: usize = 32;
const LONGEST_NAME: usize = 64;
