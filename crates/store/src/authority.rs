//! Makes gRPC clients welcome whatever they send as `:authority`.
//!
//! Many send what is no authority (RFC 9113 §8.3.1): clients written in Go, up to etcd's client 3.4, a unix socket's
//! path or, where the endpoint is given as one, a whole URL; others a path in percent-encoding. The HTTP/2 library resets
//! such streams. etcd does not look at it, and to this server it means nothing either, so this filter puts a placeholder
//! of equal length in its place, before the library reads it. Equal length, because both ends count the bytes of their
//! header tables (RFC 7541 §4.1). Nothing else is touched, and what the filter does not understand, HTTP/1 for one, it
//! passes on for the library to judge.

use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use crate::metrics::{Metrics, RECEIVED, SENT};

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// Frames are this long at most unless a server allows more, which this one does not.
const MAX_FRAME_BYTES: usize = 1 << 14;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Index of `:authority` in the static table.
const AUTHORITY: usize = 1;
/// What says that a string is Huffman-coded (RFC 7541 §5.2).
const HUFFMAN: u8 = 0x80;

/// A connection whose incoming `:authority` is a valid one, and whose bytes are counted.
pub(crate) struct Connection<S> {
    stream: S,
    metrics: Arc<Metrics>,
    filter: Filter,
    /// Filtered bytes the library has not taken yet.
    ready: Vec<u8>,
    taken: usize,
}

impl<S> Connection<S> {
    pub(crate) fn new(stream: S, metrics: Arc<Metrics>) -> Self {
        Self { stream, metrics, filter: Filter::new(), ready: Vec::new(), taken: 0 }
    }
}

impl<S> Connection<S> {
    fn count_sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.metrics.count(SENT, count as u64);
        }
        written
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.taken == this.ready.len() {
            this.ready.clear();
            this.taken = 0;
            let mut chunk = [0; 8192];
            let mut read = ReadBuf::new(&mut chunk);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.metrics.count(RECEIVED, read.filled().len() as u64);
            this.filter.push(read.filled(), &mut this.ready);
        }
        let count = buffer.remaining().min(this.ready.len() - this.taken);
        buffer.put_slice(&this.ready[this.taken..this.taken + count]);
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.count_sent(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count_sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Follows the frames of one direction.
#[derive(Debug)]
struct Filter {
    /// How much of the preface has come.
    preface: usize,
    /// Bytes to pass on before the next frame begins.
    pass: usize,
    /// The frame being collected.
    held: Vec<u8>,
}

impl Filter {
    fn new() -> Self {
        Self { preface: 0, pass: 0, held: Vec::new() }
    }

    fn push(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while let (Some(expect), Some((byte, rest))) = (PREFACE.get(self.preface), input.split_first()) {
            out.push(*byte);
            input = rest;
            self.preface += 1;
            if byte != expect {
                // this is no HTTP/2, so it has no frames
                (self.preface, self.pass) = (PREFACE.len(), usize::MAX);
            }
        }
        while !input.is_empty() {
            let wanted = if self.pass > 0 { self.pass } else { self.frame_bytes() - self.held.len() };
            let (part, rest) = input.split_at(wanted.min(input.len()));
            input = rest;
            if self.pass > 0 {
                out.extend_from_slice(part);
                self.pass -= part.len();
                continue;
            }
            self.held.extend_from_slice(part);
            if self.held.len() < self.frame_bytes() {
                continue;
            }
            if self.held.len() == FRAME_HEAD_BYTES {
                self.pass = self.payload_bytes();
                out.append(&mut self.held);
            } else {
                out.extend(replace_authority(&self.held).as_ref().unwrap_or(&self.held));
                self.held.clear();
            }
        }
    }

    /// How much of the frame to collect: all of a HEADERS frame, the head of any other.
    fn frame_bytes(&self) -> usize {
        let whole =
            self.held.len() >= FRAME_HEAD_BYTES && self.held[3] == HEADERS && self.payload_bytes() <= MAX_FRAME_BYTES;
        FRAME_HEAD_BYTES + if whole { self.payload_bytes() } else { 0 }
    }

    fn payload_bytes(&self) -> usize {
        usize::from(self.held[0]) << 16 | usize::from(self.held[1]) << 8 | usize::from(self.held[2])
    }
}

/// Rewrites a HEADERS frame that spells an authority out; nothing when it does not.
fn replace_authority(frame: &[u8]) -> Option<Vec<u8>> {
    let flags = frame[4];
    let mut start = FRAME_HEAD_BYTES;
    if flags & PADDED != 0 {
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    let value = authority(frame, start)?;
    let length = decoded_length(&value, frame)?;
    let mut rewritten = frame[..value.field.start].to_vec();
    push_placeholder(length, &mut rewritten);
    rewritten.extend_from_slice(&frame[value.field.end..]);
    // the placeholder never takes more than what it replaces, so the frame keeps below its limit
    let payload = rewritten.len() - FRAME_HEAD_BYTES;
    rewritten[..3].copy_from_slice(&u32::try_from(payload).ok()?.to_be_bytes()[1..]);
    Some(rewritten)
}

/// Writes so many times `0`, whose code is five bits of zero, the shortest there is (RFC 7541 appendix B).
fn push_placeholder(length: usize, out: &mut Vec<u8>) {
    let bits = 5 * length;
    let bytes = bits.div_ceil(8);
    push_integer(bytes, HUFFMAN, 7, out);
    out.resize(out.len() + bytes, 0);
    if let (Some(last), used @ 1..) = (out.last_mut(), bits % 8) {
        // what is left of the last byte is ones
        *last = 0xff >> used;
    }
}

/// Writes a prefixed integer (RFC 7541 §5.1) below the bits that share its first byte.
fn push_integer(value: usize, first: u8, prefix_bits: u32, out: &mut Vec<u8>) {
    let mask = (1_usize << prefix_bits) - 1;
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or_default();
    if value < mask {
        out.push(first | low(value));
        return;
    }
    out.push(first | low(mask));
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(0x80 | low(rest));
        rest >>= 7;
    }
    out.push(low(rest));
}

/// A string of a header block (RFC 7541 §5.2).
struct Text {
    /// With its length.
    field: Range<usize>,
    bytes: Range<usize>,
    huffman: bool,
}

/// Finds the value of the literal field named `:authority` (RFC 7541 §6).
fn authority(block: &[u8], mut at: usize) -> Option<Text> {
    loop {
        let index_bits = match *block.get(at)? {
            0x80.. => {
                (_, at) = integer(block, at, 7)?;
                continue;
            }
            0x20..0x40 => {
                (_, at) = integer(block, at, 5)?;
                continue;
            }
            0x40..0x80 => 6,
            0x00..0x20 => 4,
        };
        let (name, mut end) = integer(block, at, index_bits)?;
        if name == 0 {
            end = text(block, end)?.field.end;
        }
        let value = text(block, end)?;
        if name == AUTHORITY {
            return Some(value);
        }
        at = value.field.end;
    }
}

fn text(block: &[u8], at: usize) -> Option<Text> {
    let huffman = block.get(at)? & HUFFMAN != 0;
    let (length, start) = integer(block, at, 7)?;
    let end = start.checked_add(length).filter(|end| *end <= block.len())?;
    Some(Text { field: at..end, bytes: start..end, huffman })
}

/// Reads a prefixed integer (RFC 7541 §5.1); returns it and where the next thing begins.
fn integer(block: &[u8], mut at: usize, prefix_bits: u32) -> Option<(usize, usize)> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(at)?) & mask;
    at += 1;
    if value < mask {
        return Some((value, at));
    }
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

/// How many symbols have a code of each length, from 5 to 30 bits (RFC 7541 appendix B). The code is canonical: the
/// codes of a length are consecutive, and follow those of the length before.
const CODES: [u32; 26] = [10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];

/// Counts the characters of a string.
fn decoded_length(text: &Text, block: &[u8]) -> Option<usize> {
    if !text.huffman {
        return Some(text.bytes.len());
    }
    let bytes = &block[text.bytes.clone()];
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let mut symbols = 0;
    'symbol: loop {
        let (mut code, mut first) = (0, 0);
        for _ in 0..4 {
            // what ends inside a code is padding
            let Some(bit) = bits.next() else { return Some(symbols) };
            code = code << 1 | bit;
        }
        for count in CODES {
            let Some(bit) = bits.next() else { return Some(symbols) };
            code = code << 1 | bit;
            first <<= 1;
            if code < first + count {
                symbols += 1;
                continue 'symbol;
            }
            first += count;
        }
        return None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Preface, SETTINGS, the HEADERS of a Put and its DATA, as etcdctl 3.4.23 sent them to /tmp/cap.sock.
    const ETCDCTL: &str = "505249202a20485454502f322e300d0a0d0a534d0d0a0d0a\
        000000040000000000000000040100000000000069010400000001\
        8386458f60a924882d9dcb6571af9b8b1aed4f418a6134d6c1075ae8393aff5f8b1d75d0620d263d4c4d65647a8b9acac8b4c7602bb2caecff\
        40027465864d833505b11f40899acac8b24d494f6a7f8613efbe17816f408d25062d495875996ee5b1063d5f03332e34\
        00000b00010000000100000000060a0161120162";

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<_> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
        digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
    }

    #[test]
    fn a_path_becomes_a_name_of_equal_length() {
        // "/tmp/cap.sock" is 13 characters, Huffman-coded in 10 bytes; 13 times five bits are 9, with seven of padding
        let expect =
            ETCDCTL.replace("0000690104", "0000680104").replace("418a6134d6c1075ae8393aff", "418900000000000000007f");
        for step in [1, 7, 8192] {
            let (mut filter, mut out) = (Filter::new(), Vec::new());
            for part in hex(ETCDCTL).chunks(step) {
                filter.push(part, &mut out);
            }
            assert_eq!(out, hex(&expect), "in parts of {step}");
        }
    }

    /// The form of every authority that some client sends, each as a literal without Huffman coding.
    #[test]
    fn any_form_keeps_its_length() {
        let long = "%2Fvar%2Frun".repeat(40);
        let forms = [
            "a",
            "ab",
            "localhost:2379",
            "http://127.0.0.1:23790",
            "[fe80::1%25eth0]:2379",
            "::1",
            "%2Frun%2Ftortie%2Fstore.sock",
            "unix:///run/tortie/store.sock",
            "passthrough:///unix:store.sock",
            "etcd-endpoints://0xc0000b2000/127.0.0.1:2379",
            "name with blanks",
            long.as_str(),
        ];
        for form in forms {
            let field = |out: &mut Vec<u8>| {
                out.push(0x41);
                push_integer(form.len(), 0, 7, out);
                out.extend_from_slice(form.as_bytes());
            };
            // HEADERS: `:method: POST`, the authority, `:scheme: http`
            let mut payload = vec![0x83];
            field(&mut payload);
            payload.push(0x86);
            let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
            frame.extend_from_slice(&[HEADERS, 4, 0, 0, 0, 1]);
            frame.extend_from_slice(&payload);
            let rewritten = replace_authority(&frame).unwrap();
            assert!(rewritten.len() <= frame.len(), "{form}");
            let value = authority(&rewritten, FRAME_HEAD_BYTES).unwrap();
            assert_eq!(decoded_length(&value, &rewritten), Some(form.len()), "{form}");
            assert_eq!(rewritten[value.field.end..], [0x86], "{form}: what follows");
            let length = usize::from(rewritten[1]) << 8 | usize::from(rewritten[2]);
            assert_eq!(length, rewritten.len() - FRAME_HEAD_BYTES, "{form}");
        }
    }

    #[test]
    fn huffman_strings_are_counted() {
        // the examples of RFC 7541, appendix C
        let cases = [
            ("f1e3c2e5f23a6ba0ab90f4ff", "www.example.com"),
            ("a8eb10649cbf", "no-cache"),
            ("d07abe941054d444a8200595040b8166e082a62d1bff", "Mon, 21 Oct 2013 20:13:21 GMT"),
            (
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
            ),
        ];
        for (coded, plain) in cases {
            let block = hex(coded);
            let text = Text { field: 0..block.len(), bytes: 0..block.len(), huffman: true };
            assert_eq!(decoded_length(&text, &block), Some(plain.len()), "{plain}");
        }
    }

    #[test]
    fn http_1_passes_unchanged() {
        // whatever the cut, and also where it begins as the preface does
        for request in ["GET /health HTTP/1.1\r\n\r\n", "PRI / HTTP/1.1\r\n\r\n", "PUT / HTTP/1.1\r\n\r\nabcdefghijkl"]
        {
            for cut in 0..request.len() {
                let (mut filter, mut out) = (Filter::new(), Vec::new());
                filter.push(&request.as_bytes()[..cut], &mut out);
                filter.push(&request.as_bytes()[cut..], &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), request);
            }
        }
    }

    #[test]
    fn what_is_not_understood_passes_unchanged() {
        for frames in [
            // HEADERS whose fields are cut off, empty HEADERS, an unknown frame
            "000003010400000001 418a61",
            "000000010400000001",
            "0000020f0000000000 abcd",
        ] {
            let (mut filter, mut out) = (Filter { preface: PREFACE.len(), pass: 0, held: Vec::new() }, Vec::new());
            filter.push(&hex(frames), &mut out);
            assert_eq!(out, hex(frames));
        }
    }
}
