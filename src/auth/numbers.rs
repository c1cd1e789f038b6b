//! Attributes that are numbers, validated when a credential is registered.

use std::ops::RangeInclusive;

use super::Auth;
use crate::error::Error;

impl Auth {
    /// Refuses attributes that must be numbers and are not.
    pub(crate) fn check_numbers(&self) -> Result<(), Error> {
        for (name, range) in NUMBERS {
            let Some(text) = self.attributes.get(name) else {
                continue;
            };
            let number = text.trim().parse::<i64>();
            if !number.is_ok_and(|number| range.contains(&number)) {
                let (least, most) = (range.start(), range.end());
                let what = format!(
                    "attribute `{name}` of credential {} is {text:?}; it must be a whole number from {least} to {most}",
                    self.id
                );
                return Err(Error::config(what).with_auth_id(&self.id));
            }
        }
        Ok(())
    }
}

/// Whether an attribute of this name must be a number.
pub(super) fn is_number(name: &str) -> bool {
    NUMBERS.iter().any(|(number, _)| *number == name)
}

const NUMBERS: [(&str, RangeInclusive<i64>); 5] = [
    ("priority", -1_000_000..=1_000_000),
    ("weight", 0..=1_000_000),
    ("max_concurrent", 1..=1_000_000),
    ("rpm", 1..=1_000_000_000),
    ("tpm", 1..=1_000_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn numbers_are_numbers_in_their_range() {
        let check = |name: &str, value: &str| {
            let auth = Auth::api_key("p", "sk-canary")
                .with_id("a")
                .with_attribute(name, value);
            auth.check_numbers()
        };
        for (name, value) in [
            ("priority", "-3"),
            ("weight", "0"),
            ("weight", " 1000000 "),
            ("max_concurrent", "1"),
            ("rpm", "60"),
            ("tpm", "30000"),
            ("base_url", "no number"),
        ] {
            check(name, value).unwrap();
        }
        for (name, value) in [
            ("priority", "high"),
            ("weight", "-1"),
            ("weight", "1000001"),
            ("weight", "0.5"),
            ("max_concurrent", "0"),
            ("rpm", ""),
            ("tpm", "99999999999999999999"),
        ] {
            let error = check(name, value).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
