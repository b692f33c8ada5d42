//! What the kernel sends, taken apart: a datagram into messages, a message's body into attributes.
//!
//! A reader looks at the attributes that it needs and at no others. So a kind of device, or a kernel, that says more
//! than this program knows, or says it in another form, is read all the same. What lacks a part that a reader needs is
//! [`Unread`]: there, but unknown, which is not the same as absent.

use super::Cause;
use netlink_packet_core::{NetlinkDeserializable, NetlinkHeader};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Length of a message's header.
pub(super) const HEADER: usize = 16;
/// `NLMSG_ERROR`: an acknowledgement, good or bad.
pub(super) const ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a list.
pub(super) const DONE: u16 = 3;
/// The bits of an attribute's kind that say how its value is built.
const FORM: u16 = 0xc000;
/// `NLMSGERR_ATTR_MSG`: the kernel's explanation, a string.
const EXPLANATION: u16 = 1;

/// One message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(super) flags: u16,
    pub(super) sequence: u32,
    /// Who caused it.
    pub(crate) port: u32,
    pub(crate) body: &'a [u8],
}

impl Message<'_> {
    /// Reads the message with all that it says.
    pub(super) fn typed(&self) -> Result<RouteNetlinkMessage, Unread> {
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        RouteNetlinkMessage::deserialize(&header, self.body).map_err(|error| Unread(error.to_string()))
    }
}

/// Why an object could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unread(pub(super) String);

/// Takes a datagram apart; stops at what does not fit.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header = datagram.first_chunk::<HEADER>()?;
        let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let body = datagram.get(HEADER..length)?;
        let message = Message { kind: half(4), flags: half(6), sequence: word(8), port: word(12), body };
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// Takes attributes apart: each one's kind and value, or that one runs over the end.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u16, &[u8]), Unread>> {
    std::iter::from_fn(move || {
        let [a, b, c, d, ..] = *bytes else { return None };
        let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]) & !FORM);
        let Some(value) = bytes.get(4..length) else {
            let left = std::mem::take(&mut bytes).len();
            return Some(Err(Unread(format!("attribute {kind} claims {length} octets of {left}"))));
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Ok((kind, value)))
    })
}

/// Reads the structure at a body's beginning, and returns what stands behind it.
pub(super) fn head<const N: usize>(body: &[u8]) -> Result<([u8; N], &[u8]), Unread> {
    let (head, rest) =
        body.split_first_chunk().ok_or_else(|| Unread(format!("{} octets where {N} begin it", body.len())))?;
    Ok((*head, rest))
}

/// Reads a number of four octets.
pub(super) fn number(kind: u16, value: &[u8]) -> Result<u32, Unread> {
    <[u8; 4]>::try_from(value).map(u32::from_ne_bytes).map_err(|_| odd(kind, value))
}

/// Reads a text with its terminator.
pub(super) fn text(kind: u16, value: &[u8]) -> Result<String, Unread> {
    let end = value.iter().position(|octet| *octet == 0).unwrap_or(value.len());
    String::from_utf8(value[..end].to_vec()).map_err(|_| odd(kind, value))
}

/// Reads an address of either family.
pub(super) fn address(kind: u16, value: &[u8]) -> Result<IpAddr, Unread> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value).map(|octets| Ipv6Addr::from(octets).into()).map_err(|_| odd(kind, value))
}

impl Unread {
    /// Says whose part it is.
    pub(super) fn of(self, what: impl std::fmt::Display) -> Unread {
        Unread(format!("{what}: {}", self.0))
    }
}

/// An attribute whose value has an unknown form.
pub(super) fn odd(kind: u16, value: &[u8]) -> Unread {
    Unread(format!("attribute {kind} of {} octets has an unknown form", value.len()))
}

/// Reads an acknowledgement; none is success.
pub(super) fn failure(message: &Message<'_>) -> Option<Cause> {
    let Some((code, rest)) = message.body.split_first_chunk() else {
        // the kernel may end a list without a word
        let fault = || Cause::Unreadable("an acknowledgement without a number".to_owned());
        return (message.kind == ERROR).then(fault);
    };
    // an error repeats the header of its request
    let attributes = if message.kind == ERROR { rest.get(HEADER..).unwrap_or_default() } else { rest };
    refusal(i32::from_ne_bytes(*code), attributes)
}

/// Reads an error code and the attributes behind it; zero is no refusal.
fn refusal(code: i32, extended: &[u8]) -> Option<Cause> {
    (code != 0)
        .then(|| Cause::Refused { errno: Errno::from_raw(code.wrapping_neg()), explanation: explanation(extended) })
}

/// Finds the kernel's explanation among the attributes of an extended acknowledgement.
fn explanation(extended: &[u8]) -> Option<String> {
    let (_, text) = attributes(extended).filter_map(Result::ok).find(|(kind, _)| *kind == EXPLANATION)?;
    Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A message as the kernel sends it: header, body.
    pub(in super::super) fn raw(kind: u16, flags: u16, sequence: u32, port: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(port.to_ne_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    /// An attribute as the kernel writes it.
    pub(in super::super) fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(4 + value.len()).expect("short").to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn explanations_are_found_behind_other_attributes() {
        // NLMSGERR_ATTR_OFFS (2), four bytes, then NLMSGERR_ATTR_MSG (1)
        let mut bytes = vec![8, 0, 2, 0, 1, 2, 3, 4];
        bytes.extend([10, 0, 1, 0]);
        bytes.extend(b"hello\0\0\0");
        assert_eq!(explanation(&bytes).as_deref(), Some("hello"));
        assert_eq!(explanation(&bytes[..8]), None);
        assert_eq!(explanation(&[255, 255, 1, 0, 9]), None);
    }

    #[test]
    fn a_refusal_reads_as_the_kernels_words() {
        let cause = refusal(-libc::ENETUNREACH, &[]).expect("not zero");
        assert_eq!(
            cause.during("add route 10.1.2.0/26 via 192.0.2.7").to_string(),
            "add route 10.1.2.0/26 via 192.0.2.7: Network is unreachable (os error 101)"
        );
    }

    #[test]
    fn a_datagram_that_is_cut_off_ends() {
        assert_eq!(messages(&[200, 0, 0, 0, 1, 2, 3]).count(), 0);
        let whole = [raw(16, 0, 1, 0, &[0; 8]), raw(16, 0, 2, 0, &[0; 8])].concat();
        assert_eq!(messages(&whole).count(), 2);
        assert_eq!(messages(&whole[..40]).count(), 1);
    }

    #[test]
    fn an_attribute_that_runs_over_the_end_is_told() {
        let bytes = [attribute(3, b"eth0\0"), vec![40, 0, 4, 0, 1]].concat();
        let read: Vec<_> = attributes(&bytes).collect();
        assert_eq!(read[0], Ok((3, b"eth0\0".as_slice())));
        assert_eq!(read[1], Err(Unread("attribute 4 claims 40 octets of 5".to_owned())));
        assert_eq!(read.len(), 2);
        assert_eq!(attributes(&[0, 0, 1, 0]).count(), 1, "a length below the header's ends it");
    }
}
