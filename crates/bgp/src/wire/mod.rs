//! The BGP-4 codec: message framing here, one file per chapter of RFC 4271 §4 beside it.
//!
//! Decoding reads any bytes without a panic, and its error is what the RFC wants done: the NOTIFICATION to
//! send, or (in [`update`]) routes to handle as withdrawn. Nothing here knows a session's state; what two
//! peers negotiated comes in as [`Context`].

pub mod attribute;
pub mod capability;
pub mod nlri;
pub mod notification;
pub mod open;
mod reader;
pub mod update;

#[cfg(test)]
mod tests;

use nlri::Family;
use notification::{Notification, Reason};
use open::Open;
use reader::Reader;
use update::{Update, UpdateError};

/// Octets of a message header: marker, length, type.
pub const HEADER: usize = 19;
/// Largest message; extended messages (RFC 8654) are not negotiated.
pub const MAX_MESSAGE: usize = 4096;

/// How wide AS numbers are on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsWidth {
    /// Two octets, for a peer without the capability.
    Two,
    /// Four octets (RFC 6793).
    Four,
}

/// Which side of the AS border a peer is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerType {
    /// In this AS: iBGP.
    Internal,
    /// In another one: eBGP.
    External,
}

/// What the meaning of an UPDATE depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Width of AS numbers.
    pub as_width: AsWidth,
    /// Who sent it, or gets it.
    pub peer: PeerType,
}

impl Context {
    /// For messages whose coding depends on nothing negotiated: all but UPDATE.
    pub const UNNEGOTIATED: Context = Context { as_width: AsWidth::Four, peer: PeerType::External };
}

/// ROUTE-REFRESH (RFC 2918 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// Which family to send again.
    pub family: Family,
    /// 0 asks for it; other values belong to enhanced route refresh (RFC 7313), which is not negotiated.
    pub subtype: u8,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "most messages are UPDATEs, and none is stored")]
pub enum Message {
    /// OPEN.
    Open(Open),
    /// UPDATE.
    Update(Update),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
}

/// A message's type octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OPEN.
    Open = 1,
    /// UPDATE.
    Update = 2,
    /// NOTIFICATION.
    Notification = 3,
    /// KEEPALIVE.
    Keepalive = 4,
    /// ROUTE-REFRESH.
    RouteRefresh = 5,
}

/// A whole message whose header has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: Kind,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Finds the next message at the start of a stream, and how many octets it takes (RFC 4271 §§4.1, 6.1).
    ///
    /// `None` asks for more octets.
    ///
    /// # Errors
    ///
    /// The NOTIFICATION to close the session with.
    pub fn next(stream: &'a [u8]) -> Result<Option<(Frame<'a>, usize)>, Notification> {
        let Some((header, _)) = stream.split_first_chunk::<HEADER>() else {
            // a wrong marker is told at once: whoever does not speak BGP may never send 19 octets
            let wrong = stream.iter().take(16).any(|octet| *octet != 0xff);
            return if wrong { Err(Reason::NOT_SYNCHRONIZED.into()) } else { Ok(None) };
        };
        if header[..16] != [0xff; 16] {
            return Err(Reason::NOT_SYNCHRONIZED.into());
        }
        let [high, low, kind] = [header[16], header[17], header[18]];
        let length = usize::from(u16::from_be_bytes([high, low]));
        let bad_length = || Reason::BAD_MESSAGE_LENGTH.with([high, low]);
        if !(HEADER..=MAX_MESSAGE).contains(&length) {
            return Err(bad_length());
        }
        let (kind, minimum, maximum) = match kind {
            1 => (Kind::Open, 29, MAX_MESSAGE),
            2 => (Kind::Update, 23, MAX_MESSAGE),
            3 => (Kind::Notification, 21, MAX_MESSAGE),
            4 => (Kind::Keepalive, HEADER, HEADER),
            5 => (Kind::RouteRefresh, HEADER, MAX_MESSAGE),
            unknown => return Err(Reason::BAD_MESSAGE_TYPE.with([unknown])),
        };
        if !(minimum..=maximum).contains(&length) {
            return Err(bad_length());
        }
        Ok(stream.get(HEADER..length).map(|body| (Frame { kind, body }, length)))
    }
}

impl Message {
    /// Reads a framed message.
    ///
    /// # Errors
    ///
    /// The NOTIFICATION to send, or routes to handle as withdrawn.
    pub fn decode(frame: Frame<'_>, context: Context) -> Result<Message, UpdateError> {
        Ok(match frame.kind {
            Kind::Open => Message::Open(Open::decode(frame.body)?),
            Kind::Update => Message::Update(Update::decode(frame.body, context)?),
            Kind::Notification => {
                let notification = Notification::decode(frame.body);
                Message::Notification(notification.ok_or(Reason::BAD_MESSAGE_LENGTH)?)
            }
            Kind::Keepalive => Message::Keepalive,
            Kind::RouteRefresh => Message::RouteRefresh(RouteRefresh::decode(frame.body)?),
        })
    }

    /// Writes the message with its header.
    ///
    /// Lists must fit [`MAX_MESSAGE`]; [`Update::announce`] and [`Update::withdraw`] see to that.
    pub fn encode(&self, context: Context) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend([0, 0]);
        match self {
            Message::Open(open) => {
                bytes.push(Kind::Open as u8);
                open.encode(&mut bytes);
            }
            Message::Update(update) => {
                bytes.push(Kind::Update as u8);
                update.encode(context, &mut bytes);
            }
            Message::Notification(notification) => {
                bytes.push(Kind::Notification as u8);
                notification.encode(&mut bytes);
            }
            Message::Keepalive => bytes.push(Kind::Keepalive as u8),
            Message::RouteRefresh(RouteRefresh { family, subtype }) => {
                bytes.push(Kind::RouteRefresh as u8);
                bytes.extend(family.afi.to_be_bytes());
                bytes.extend([*subtype, family.safi]);
            }
        }
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[16..18].copy_from_slice(&length);
        bytes
    }
}

impl RouteRefresh {
    fn decode(body: &[u8]) -> Result<RouteRefresh, Notification> {
        let mut reader = Reader::new(body);
        let mut read = || Some((reader.u16()?, reader.u8()?, reader.u8()?));
        let Some((afi, subtype, safi)) = read() else {
            return Err(Reason::ROUTE_REFRESH_LENGTH.with(body));
        };
        Ok(RouteRefresh { family: Family { afi, safi }, subtype })
    }
}
