//! Netlink attributes: written into a buffer, and taken apart without trusting their lengths.

use crate::netlink::attributes;
use std::collections::BTreeMap;

const HEADER: usize = 4;
const ALIGN: usize = 4;
const NESTED: u16 = 0x8000;

/// A sequence of attributes being written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// The bytes as they go on the wire.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds raw bytes.
    pub(super) fn raw(mut self, kind: u16, value: &[u8]) -> Self {
        let length = u16::try_from(HEADER + value.len()).expect("an attribute is shorter than 64 KiB");
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
        self
    }

    /// Adds a number in network order.
    pub(super) fn number(self, kind: u16, value: u32) -> Self {
        self.raw(kind, &value.to_be_bytes())
    }

    /// Adds a number of eight octets in network order.
    pub(super) fn long(self, kind: u16, value: u64) -> Self {
        self.raw(kind, &value.to_be_bytes())
    }

    /// Adds a text with its terminator.
    pub(super) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.raw(kind, &bytes)
    }

    /// Adds attributes inside an attribute.
    pub(super) fn nest(self, kind: u16, inner: &Attributes) -> Self {
        self.raw(kind | NESTED, &inner.0)
    }
}

/// Iterates over the attributes in `bytes`, in order; stops at the first that does not fit.
pub(super) fn iterate(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    attributes(bytes).map_while(Result::ok)
}

/// Attributes of which each kind occurs once, by kind.
pub(super) struct Parsed<'a>(BTreeMap<u16, &'a [u8]>);

impl<'a> Parsed<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Parsed(iterate(bytes).collect())
    }

    pub(super) fn raw(&self, kind: u16) -> Option<&'a [u8]> {
        self.0.get(&kind).copied()
    }

    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.raw(kind)?.try_into().ok()?))
    }

    pub(super) fn long(&self, kind: u16) -> Option<u64> {
        Some(u64::from_be_bytes(self.raw(kind)?.try_into().ok()?))
    }

    pub(super) fn text(&self, kind: u16) -> Option<String> {
        text(self.raw(kind)?)
    }

    pub(super) fn nest(&self, kind: u16) -> Option<Parsed<'a>> {
        self.raw(kind).map(Parsed::new)
    }

    /// Whether no kinds but the given ones occur.
    pub(super) fn only(&self, kinds: &[u16]) -> bool {
        self.0.keys().all(|kind| kinds.contains(kind))
    }
}

/// Reads a text up to its terminator.
pub(super) fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let inner = Attributes::default().number(1, 7);
        let bytes = Attributes::default().text(3, "calico").nest(4, &inner);
        assert_eq!(bytes.bytes().len(), 12 + 12, "a text of 7 octets is padded to 8");
        let parsed = Parsed::new(bytes.bytes());
        assert_eq!(parsed.text(3).as_deref(), Some("calico"));
        assert_eq!(parsed.nest(4).and_then(|inner| inner.number(1)), Some(7));
        assert_eq!(parsed.number(3), None);
        assert!(parsed.only(&[3, 4]));
        assert!(!parsed.only(&[3]));
    }

    #[test]
    fn nonsense_ends_the_iteration() {
        for bytes in [&[][..], &[0, 0, 0, 0], &[3, 0, 1, 0], &[200, 0, 1, 0, 1], &[8, 0]] {
            assert_eq!(iterate(bytes).count(), 0, "{bytes:?}");
        }
    }
}
