//! Durations as Go writes them: `1m30s`, `500ms`, `1.5h`.

use std::time::Duration;

/// Parses a Go duration; negative ones and units below the millisecond included, as Go accepts them, are refused.
pub fn parse(text: &str) -> Result<Duration, String> {
    let problem = |reason: &str| format!("{text:?} is not a duration such as 90s or 1m30s: {reason}");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.is_empty() {
        return Err(problem("it is empty"));
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| problem("a unit is missing"))?;
        let (number, tail) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| problem("a number is missing"))?;
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            _ => return Err(problem("units are h, m, s and ms")),
        };
        total += number * seconds;
        rest = tail;
    }
    Duration::try_from_secs_f64(total).map_err(|_| problem("it is too long"))
}

/// Writes a duration as Go does: `1m30s`, `500ms`, `0s`; what is finer than a millisecond is dropped.
pub fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis > 0 && millis < 1000 {
        return format!("{millis}ms");
    }
    let (seconds, fraction) = (millis / 1000, millis % 1000);
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = if fraction == 0 { String::new() } else { format!(".{fraction:03}") };
    let seconds = format!("{seconds}{}s", fraction.trim_end_matches('0'));
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, _) => format!("{minutes}m{seconds}"),
        _ => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_go_writes_them() {
        for (text, expect) in [
            ("0", "0s"),
            ("99s", "1m39s"),
            ("300s", "5m0s"),
            ("500ms", "500ms"),
            ("1.5s", "1.5s"),
            ("1h", "1h0m0s"),
            ("0.25h", "15m0s"),
            ("86400s", "24h0m0s"),
        ] {
            assert_eq!(format(parse(text).expect(text)), expect, "{text}");
        }
    }

    #[test]
    fn go_durations() {
        for (text, millis) in [("0", 0), ("0s", 0), ("90s", 90_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("2ms", 2)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "5", "s", "1x", "-1s", "1s2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
