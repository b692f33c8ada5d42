//! The time, as the loop is told it, and as it is written.

use jiff::Timestamp;

/// Tells the time.
///
/// A block's claim time and first sequence number come from it, and the seed of the walk over single-address
/// blocks.
pub trait Clock: Send + Sync {
    /// The time of this moment.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Writes a time as Calico does in the attribute `timestamp`: `2026-11-22 23:38:32.21041792 +0000 UTC`.
pub fn attribute_timestamp(time: Timestamp) -> String {
    format!("{} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S%.f"))
}

/// Writes a time as RFC 3339 in whole seconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The time as a sequence number: nanoseconds since 1970.
pub(crate) fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_go_writes_them() {
        for (nanoseconds, attribute, claim) in [
            (1_795_390_712_210_417_920, "2026-11-22 23:38:32.21041792 +0000 UTC", "2026-11-22T23:38:32Z"),
            (1_795_390_711_208_125_312, "2026-11-22 23:38:31.208125312 +0000 UTC", "2026-11-22T23:38:31Z"),
            (1_795_390_711_000_000_000, "2026-11-22 23:38:31 +0000 UTC", "2026-11-22T23:38:31Z"),
        ] {
            let time = Timestamp::from_nanosecond(nanoseconds).unwrap();
            assert_eq!(attribute_timestamp(time), attribute);
            assert_eq!(rfc3339(time), claim);
            assert_eq!(i128::from(super::nanoseconds(time)), nanoseconds);
        }
    }
}
