//! What the decap program does, for packets that only the network stack could put together: bytes in, bytes out.
//!
//! Follows RFC 2003 for the tunnel, RFC 6040 §4.2 for congestion, and RFC 791 §3.2 for cutting the inner packet
//! where the tunnel's device has no room for it whole.

/// The shortest IPv4 header.
const HEADER: usize = 20;
/// Flags and offset of a header's third word.
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// Congestion bits of the TOS byte.
const ECN: u8 = 3;
const NOT_ECT: u8 = 0;
const CE: u8 = 3;
/// Options that end the list or fill it, and the flag of those that every fragment repeats.
const END: u8 = 0;
const FILLER: u8 = 1;
const COPIED: u8 = 0x80;

/// Takes the inner packet out of a whole outer one; `None` if there is none, or congestion has to drop it.
pub(super) fn inner_packet(outer: &[u8]) -> Option<Vec<u8>> {
    let inner = outer.get(header_length(outer)?..)?;
    let length = usize::from(field(inner, 2)?);
    if length < header_length(inner)? || checksum(&inner[..header_length(inner)?]) != 0 {
        return None;
    }
    let mut inner = inner.get(..length)?.to_vec();
    if outer[1] & ECN == CE {
        match inner[1] & ECN {
            NOT_ECT => return None,
            CE => {}
            _ => {
                inner[1] |= CE;
                seal(&mut inner);
            }
        }
    }
    Some(inner)
}

/// Cuts a packet into fragments of at most `mtu` bytes; one that fits, or must not be cut, stays whole.
pub(super) fn fragments(packet: Vec<u8>, mtu: usize) -> Vec<Vec<u8>> {
    let (Some(length), Some(flags)) = (header_length(&packet), field(&packet, 6)) else { return Vec::new() };
    if packet.len() <= mtu || flags & DF != 0 || mtu < length + 8 {
        return vec![packet];
    }
    let (first, payload) = packet.split_at(length);
    let later = without_first_options(first);
    let (mut fragments, mut at) = (Vec::new(), 0);
    while at < payload.len() {
        let header = if at == 0 { first } else { later.as_slice() };
        let end = payload.len().min(at + (mtu - header.len()) / 8 * 8);
        let mut fragment = [header, &payload[at..end]].concat();
        let more = if end < payload.len() { MF } else { flags & MF };
        let offset = (flags & OFFSET) + u16::try_from(at / 8).expect("a packet has less than 2^16 bytes");
        put(&mut fragment, 6, more | (offset & OFFSET));
        let total = u16::try_from(fragment.len()).expect("not longer than the packet was");
        put(&mut fragment, 2, total);
        seal(&mut fragment);
        fragments.push(fragment);
        at = end;
    }
    fragments
}

/// The header of fragments behind the first: of the options only those that are repeated.
fn without_first_options(header: &[u8]) -> Vec<u8> {
    let mut kept = header[..HEADER].to_vec();
    let mut options = &header[HEADER..];
    while let Some(kind) = options.first().copied().filter(|kind| *kind != END) {
        let length = if kind == FILLER { 1 } else { usize::from(options.get(1).copied().unwrap_or(0)) };
        // a length that is none ends what can be understood
        let Some(option) = options.get(..length).filter(|option| !option.is_empty()) else { break };
        if kind & COPIED != 0 {
            kept.extend(option);
        }
        options = &options[length..];
    }
    kept.resize(kept.len().next_multiple_of(4), END);
    kept[0] = 0x40 | u8::try_from(kept.len() / 4).expect("not longer than the header was");
    kept
}

/// Returns the length of an IPv4 header that is there in full.
fn header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let length = usize::from(first & 0xf) * 4;
    (first >> 4 == 4 && length >= HEADER && packet.len() >= length).then_some(length)
}

fn field(packet: &[u8], at: usize) -> Option<u16> {
    packet.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn put(packet: &mut [u8], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Makes a header's checksum right.
fn seal(packet: &mut [u8]) {
    let length = header_length(packet).expect("only packets with a header are changed");
    put(packet, 10, 0);
    let sum = checksum(&packet[..length]);
    put(packet, 10, sum);
}

/// The checksum of a header with an even number of bytes (RFC 1071); zero over one whose checksum is right.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded above")
}

#[cfg(test)]
mod tests;
