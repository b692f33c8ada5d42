//! Which keys a request means: one key, an interval, or everything from a key on.

use std::ops::Bound;

/// A set of consecutive keys, as a request's `key` and `range_end` name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    start: Vec<u8>,
    end: End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// The start alone.
    Single,
    /// Up to, and without, this key.
    Before(Vec<u8>),
    /// No end.
    Open,
}

impl KeyRange {
    /// Reads `range_end`: empty means the single key, one zero byte means from the key on.
    pub(crate) fn new(key: &[u8], range_end: &[u8]) -> Self {
        let end = match range_end {
            [] => End::Single,
            [0] => End::Open,
            end => End::Before(end.to_vec()),
        };
        Self { start: key.to_vec(), end }
    }

    /// Returns the key when the range is that key alone.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        matches!(self.end, End::Single).then_some(&self.start)
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Single => key == self.start,
            End::Before(end) => self.start.as_slice() <= key && key < end.as_slice(),
            End::Open => self.start.as_slice() <= key,
        }
    }

    /// Returns the bounds for an ordered table; an empty range must be sorted out before.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let start = Bound::Included(self.start.as_slice());
        let end = match &self.end {
            End::Single => start,
            End::Before(end) => Bound::Excluded(end.as_slice()),
            End::Open => Bound::Unbounded,
        };
        (start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, end: &str, inside: &[&str], outside: &[&str]) {
        let range = KeyRange::new(key.as_bytes(), end.as_bytes());
        for key in inside {
            assert!(range.contains(key.as_bytes()), "{range:?} {key:?}");
        }
        for key in outside {
            assert!(!range.contains(key.as_bytes()), "{range:?} {key:?}");
        }
        assert_eq!(range.is_empty(), inside.is_empty(), "{range:?}");
    }

    #[test]
    fn range_end_follows_etcd() {
        check("a", "", &["a"], &["", "aa", "b"]);
        check("a", "b", &["a", "a\u{7f}"], &["b", "A"]);
        check("a", "\0", &["a", "b", "\u{7f}"], &["A", ""]);
        check("\0", "\0", &["\0", "zz"], &[""]);
        check("b", "a", &[], &["a", "b", "aa"]);
        check("b", "b", &[], &["a", "b"]);
    }
}
