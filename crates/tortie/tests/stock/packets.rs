//! Captures, and the IPv4 headers in them.

use crate::mixed::Mixed;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::net::Ipv4Addr;
use std::process::Stdio;

/// The bytes of an IPv4 packet, from its header on.
#[derive(Clone)]
pub(crate) struct Packet(Vec<u8>);

/// What two ends may do differently is left out: addresses, identification, and the checksum over them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Header {
    version_and_length: u8,
    /// DSCP and ECN.
    pub(crate) tos: u8,
    total_length: u16,
    pub(crate) flags_and_offset: u16,
    pub(crate) ttl: u8,
    protocol: u8,
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Header { version_and_length, tos, total_length, flags_and_offset, ttl, protocol } = self;
        write!(
            f,
            "{version_and_length:#04x} tos {tos:#04x} length {total_length} flags {flags_and_offset:#06x} ttl {ttl} \
             protocol {protocol}"
        )
    }
}

impl Packet {
    pub(crate) fn header(&self) -> Header {
        let bytes = &self.0;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Header {
            version_and_length: bytes[0],
            tos: bytes[1],
            total_length: word(2),
            flags_and_offset: word(6),
            ttl: bytes[8],
            protocol: bytes[9],
        }
    }

    pub(crate) fn identification(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    pub(crate) fn source(&self) -> Ipv4Addr {
        Ipv4Addr::new(self.0[12], self.0[13], self.0[14], self.0[15])
    }

    /// Returns the packet that this one carries.
    pub(crate) fn inner(&self) -> Packet {
        Packet(self.0[usize::from(self.0[0] & 0xf) * 4..].to_vec())
    }
}

impl Mixed {
    /// Returns the `count` packets that match a filter while `traffic` runs, as tcpdump in a pod or on a node sees them.
    pub(crate) fn capture(
        &self,
        place: &str,
        interface: &str,
        filter: &str,
        count: usize,
        traffic: impl FnOnce(),
    ) -> Vec<Packet> {
        let count_word = count.to_string();
        let tcpdump = ["tcpdump", "-n", "-U", "-p", "-i", interface, "-c", &count_word, "-w", "-", filter];
        let place_words = if place.starts_with("k8s-") { vec!["--node", place] } else { vec![place] };
        let words = [&["exec"], place_words.as_slice(), &["--", "timeout", "60"], &tcpdump].concat();
        let mut command = self.lab.command(&words);
        let mut capture = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut errors = BufReader::new(capture.stderr.take().expect("stderr is piped"));
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            assert!(errors.read_line(&mut line).expect("tcpdump's messages are text") > 0, "tcpdump does not start");
        }
        traffic();
        let mut file = Vec::new();
        capture.stdout.take().expect("stdout is piped").read_to_end(&mut file).expect("tcpdump's file can be read");
        capture.wait().expect("tcpdump ends");
        let packets = packets(&file);
        assert_eq!(packets.len(), count, "packets at {place} matching {filter:?}");
        packets
    }
}

/// Takes the IPv4 packets out of a capture of Ethernet frames in pcap's classic format.
fn packets(file: &[u8]) -> Vec<Packet> {
    const FILE_HEADER: usize = 24;
    const RECORD_HEADER: usize = 16;
    const ETHERNET_HEADER: usize = 14;
    const ETHERNET: u32 = 1;
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(number(file), 0xa1b2_c3d4, "a capture with microseconds, in this machine's byte order");
    assert_eq!(number(&file[20..]), ETHERNET);
    let mut rest = &file[FILE_HEADER..];
    let mut packets = Vec::new();
    while !rest.is_empty() {
        let length = number(&rest[8..]) as usize;
        let frame = &rest[RECORD_HEADER..RECORD_HEADER + length];
        packets.push(Packet(frame[ETHERNET_HEADER..].to_vec()));
        rest = &rest[RECORD_HEADER + length..];
    }
    packets
}
