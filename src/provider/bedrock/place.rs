//! Where a credential's Bedrock is: its region and its address.

use crate::auth::Auth;
use crate::error::Error;

/// Attribute `base_url`, else the address of the region
/// (<https://docs.aws.amazon.com/general/latest/gr/bedrock.html>; read on 2026-11-27).
pub(super) fn address(auth: &Auth) -> Result<String, Error> {
    if let Some(base) = auth.attributes.filled("base_url") {
        return Ok(base.to_owned());
    }
    let region = region(auth)?;
    let end = if region.starts_with("cn-") { ".cn" } else { "" };
    Ok(format!(
        "https://bedrock-runtime.{region}.amazonaws.com{end}"
    ))
}

/// Attribute `region`, else the one that the address names. It becomes a part of the host and of signatures: nothing but a name may be in
/// it.
pub(super) fn region(auth: &Auth) -> Result<&str, Error> {
    let named = auth.attributes.filled("region");
    let region = named.or_else(|| of_address(auth.attributes.filled("base_url")?));
    let fit = |sign: u8| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'-';
    match region {
        Some(region) if region.bytes().all(fit) => Ok(region),
        Some(_) => Err(auth.unfit("attribute region is no name of a region, such as us-east-1")),
        None => {
            Err(auth.unfit("it names no region: set attribute region, to us-east-1 for example"))
        }
    }
}

/// The region in a host of AWS: `bedrock-runtime.us-east-1.amazonaws.com`, `vpce-….bedrock-runtime.us-east-1.vpce.amazonaws.com`.
fn of_address(base_url: &str) -> Option<&str> {
    let (_, rest) = base_url.split_once("://")?;
    let host = rest.split(['/', '?', ':']).next()?;
    if !host.contains(".amazonaws.com") {
        return None;
    }
    let mut labels = host.split('.');
    labels.find(|label| label.starts_with("bedrock-runtime"))?;
    labels.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn with(attributes: &[(&str, &str)]) -> Auth {
        let add = |auth: Auth, (name, value): &(&str, &str)| auth.with_attribute(*name, *value);
        attributes.iter().fold(Auth::new("bedrock"), add)
    }

    #[test]
    fn the_address_is_that_of_the_region() {
        for (attributes, expected) in [
            (
                &[("region", " eu-central-1 ")][..],
                "https://bedrock-runtime.eu-central-1.amazonaws.com",
            ),
            (
                &[("region", "cn-north-1")],
                "https://bedrock-runtime.cn-north-1.amazonaws.com.cn",
            ),
            (&[("base_url", "http://localhost:1")], "http://localhost:1"),
        ] {
            assert_eq!(address(&with(attributes)).unwrap(), expected);
        }
    }

    #[test]
    fn the_region_is_the_attributes_else_that_of_the_address() {
        for (base_url, expected) in [
            (
                "https://bedrock-runtime.us-west-2.amazonaws.com/",
                "us-west-2",
            ),
            (
                "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
                "us-gov-west-1",
            ),
            (
                "https://vpce-1-a.bedrock-runtime.eu-west-1.vpce.amazonaws.com:443",
                "eu-west-1",
            ),
        ] {
            let auth = with(&[("base_url", base_url)]);
            assert_eq!(region(&auth).unwrap(), expected);
            let auth = auth.with_attribute("region", "us-east-1");
            assert_eq!(region(&auth).unwrap(), "us-east-1");
        }
        for attributes in [
            &[][..],
            &[("base_url", "https://bedrock-runtime.evil.example")],
            &[("region", "evil.example/")],
            &[("region", "a#")],
        ] {
            let error = region(&with(attributes)).unwrap_err();
            assert_eq!(*error.code(), ErrorCode::Config, "{attributes:?}");
        }
    }
}
