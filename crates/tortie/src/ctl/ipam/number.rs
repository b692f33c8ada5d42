//! Numbers as Go's `%.5g` prints them, and shares in percent.

/// Significant digits.
const DIGITS: i32 = 5;

/// Writes a count with five significant digits: `65536`, `1.0486e+06`.
pub(super) fn count(number: u128) -> String {
    let scientific = format!("{:.*e}", DIGITS as usize - 1, number as f64);
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if exponent >= DIGITS => {
            let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
            format!("{mantissa}e+{exponent:02}")
        }
        _ => number.to_string(),
    }
}

/// Writes a count with its share of a total: `13 (20%)`.
pub(super) fn share(number: u128, total: u128) -> String {
    format!("{} ({:.0}%)", count(number), 100.0 * number as f64 / total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_go_prints_them() {
        for (number, expect) in [
            (0, "0"),
            (64, "64"),
            (65536, "65536"),
            (99_999, "99999"),
            (100_000, "1e+05"),
            (131_072, "1.3107e+05"),
            (1 << 20, "1.0486e+06"),
            (1 << 64, "1.8447e+19"),
            (u128::MAX, "3.4028e+38"),
        ] {
            assert_eq!(count(number), expect);
        }
    }

    #[test]
    fn shares_are_whole_percents() {
        for (number, total, expect) in [
            (13, 64, "13 (20%)"),
            (51, 64, "51 (80%)"),
            (1, 64, "1 (2%)"),
            (63, 64, "63 (98%)"),
            (77, 65536, "77 (0%)"),
            (64, 64, "64 (100%)"),
            (1, 200, "1 (0%)"),
        ] {
            assert_eq!(share(number, total), expect);
        }
    }
}
