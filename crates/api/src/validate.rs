//! Defaults and validation, field by field.

use serde::{Deserialize, Deserializer};

/// Reads an AS number: a number, or text `N` or `HI.LO` with 16-bit halves (control reference §1.1).
pub fn as_number_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let Some(value) = Option::<serde_json::Value>::deserialize(deserializer)? else { return Ok(None) };
    let text = match &value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    parse_as_number(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Parses `N` or `HI.LO`.
pub fn parse_as_number(text: &str) -> Result<u32, String> {
    let problem = || format!("AS Number {text:?} is not a number up to 4294967295, nor two up to 65535 with a dot");
    match text.split_once('.') {
        None => text.parse().map_err(|_| problem()),
        Some((high, low)) => {
            let high: u16 = high.parse().map_err(|_| problem())?;
            let low: u16 = low.parse().map_err(|_| problem())?;
            Ok((u32::from(high) << 16) | u32::from(low))
        }
    }
}
