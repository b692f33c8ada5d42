//! Captures through tcpdump, read back from its pcap file, and packets made by hand.

use crate::lab::{Lab, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A tcpdump that runs until it is dropped.
pub(crate) struct Capture {
    child: Child,
    directory: TempDir,
    namespace: String,
}

/// An IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet(pub(crate) Vec<u8>);

impl Capture {
    /// Starts a capture of both directions; returns once tcpdump listens.
    pub(crate) fn start(lab: &Lab, namespace: &str, device: &str, filter: &str) -> Capture {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("packets.pcap");
        // headers are enough, and let the kernel's buffer hold a burst; the directory is root's alone, hence -Z
        let options = "-n -U --immediate-mode -s 200 -B 8192 -Z root";
        let line = format!("tcpdump -i {device} {options} -w {} {filter}", file.display());
        let mut command = lab.command(namespace, &line);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("nsenter and tcpdump are needed");
        let mut heard = String::new();
        let mut stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        while !heard.contains("listening on") {
            let read = stderr.read_line(&mut heard).expect("tcpdump's stderr is text");
            assert!(read > 0, "tcpdump is needed, and ended: {heard}");
        }
        Capture { child, directory, namespace: lab.namespace(namespace) }
    }

    /// Returns the packets seen so far, without their Ethernet headers.
    pub(crate) fn packets(&self) -> Vec<Packet> {
        let bytes = fs::read(self.directory.path().join("packets.pcap")).unwrap_or_default();
        let mut rest = bytes.get(24..).unwrap_or_default();
        let mut packets = Vec::new();
        while let Some(length) = rest.get(8..12) {
            let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
            let Some(frame) = rest.get(16..16 + length) else { break };
            packets.push(Packet(frame[14..].to_vec()));
            rest = &rest[16 + length..];
        }
        packets
    }

    /// Waits for a number of packets and returns them.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Packet> {
        eventually(&format!("{count} packets captured"), || self.packets().len() >= count);
        self.packets()
    }

    /// Lets tcpdump say what it captured.
    pub(crate) fn text(&self) -> String {
        let file = self.directory.path().join("packets.pcap");
        // there a link's number has its name
        let mut tcpdump = Command::new("nsenter");
        tcpdump.arg(format!("--net=/run/netns/{}", self.namespace)).args(["tcpdump", "-n", "-v", "-r"]).arg(file);
        let output = tcpdump.output().expect("nsenter and tcpdump are needed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

impl Packet {
    /// Makes a packet around a payload, without options; `fragment` is flags and offset as on the wire.
    pub(crate) fn new(tos: u8, fragment: u16, protocol: u8, from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Packet {
        let length = u16::try_from(20 + payload.len()).expect("a short payload");
        let mut bytes = vec![0x45, tos];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0]);
        bytes.extend(from.octets());
        bytes.extend(to.octets());
        let sum = !sum(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(payload);
        Packet(bytes)
    }

    /// Makes a UDP datagram without checksum.
    pub(crate) fn udp(tos: u8, from: Ipv4Addr, to: Ipv4Addr, port: u16) -> Packet {
        let mut payload = vec![0x9c, 0x40];
        payload.extend(port.to_be_bytes());
        payload.extend([0, 8, 0, 0]);
        Packet::new(tos, 0, 17, from, to, &payload)
    }

    pub(crate) fn tos(&self) -> u8 {
        self.0[1]
    }

    pub(crate) fn total_length(&self) -> usize {
        usize::from(u16::from_be_bytes([self.0[2], self.0[3]]))
    }

    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.0[4], self.0[5]])
    }

    /// Flags and fragment offset.
    pub(crate) fn fragment(&self) -> u16 {
        u16::from_be_bytes([self.0[6], self.0[7]])
    }

    pub(crate) fn ttl(&self) -> u8 {
        self.0[8]
    }

    pub(crate) fn protocol(&self) -> u8 {
        self.0[9]
    }

    /// The destination port of a UDP packet.
    pub(crate) fn port(&self) -> u16 {
        u16::from_be_bytes([self.0[22], self.0[23]])
    }

    /// The packet inside, after a header without options.
    pub(crate) fn inner(&self) -> Packet {
        Packet(self.0[20..].to_vec())
    }

    /// Whether the header's checksum is right.
    pub(crate) fn is_sound(&self) -> bool {
        sum(&self.0[..20]) == 0xffff
    }
}

/// One's complement sum (RFC 1071).
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded above")
}
