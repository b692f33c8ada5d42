//! NOTIFICATION: why a session ends (RFC 4271 §4.5 and §6, RFC 4486, RFC 6608, RFC 7313).

use super::reader::Reader;
use std::fmt;

/// An error code with its subcode, as the IANA registry numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Which kind of error.
    pub code: u8,
    /// Which one of that kind; 0 is "unspecific".
    pub subcode: u8,
}

/// Declares the known reasons once, as constants and as names for the log.
macro_rules! reasons {
    ($($constant:ident = $code:literal / $subcode:literal $name:literal;)*) => {
        impl Reason {
            $(
                #[doc = concat!($name, ".")]
                pub const $constant: Reason = Reason { code: $code, subcode: $subcode };
            )*

            /// Spells the reason as the RFCs do; `None` for one no RFC we know names.
            pub fn name(self) -> Option<&'static str> {
                match (self.code, self.subcode) {
                    $(($code, $subcode) => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

reasons! {
    NOT_SYNCHRONIZED = 1 / 1 "Message Header Error/Connection Not Synchronized";
    BAD_MESSAGE_LENGTH = 1 / 2 "Message Header Error/Bad Message Length";
    BAD_MESSAGE_TYPE = 1 / 3 "Message Header Error/Bad Message Type";
    OPEN_UNSPECIFIC = 2 / 0 "OPEN Message Error";
    UNSUPPORTED_VERSION = 2 / 1 "OPEN Message Error/Unsupported Version Number";
    BAD_PEER_AS = 2 / 2 "OPEN Message Error/Bad Peer AS";
    BAD_BGP_IDENTIFIER = 2 / 3 "OPEN Message Error/Bad BGP Identifier";
    UNSUPPORTED_PARAMETER = 2 / 4 "OPEN Message Error/Unsupported Optional Parameter";
    UNACCEPTABLE_HOLD_TIME = 2 / 6 "OPEN Message Error/Unacceptable Hold Time";
    UNSUPPORTED_CAPABILITY = 2 / 7 "OPEN Message Error/Unsupported Capability";
    MALFORMED_ATTRIBUTE_LIST = 3 / 1 "UPDATE Message Error/Malformed Attribute List";
    UNRECOGNIZED_WELL_KNOWN = 3 / 2 "UPDATE Message Error/Unrecognized Well-known Attribute";
    MISSING_WELL_KNOWN = 3 / 3 "UPDATE Message Error/Missing Well-known Attribute";
    ATTRIBUTE_FLAGS = 3 / 4 "UPDATE Message Error/Attribute Flags Error";
    ATTRIBUTE_LENGTH = 3 / 5 "UPDATE Message Error/Attribute Length Error";
    INVALID_ORIGIN = 3 / 6 "UPDATE Message Error/Invalid ORIGIN Attribute";
    INVALID_NEXT_HOP = 3 / 8 "UPDATE Message Error/Invalid NEXT_HOP Attribute";
    OPTIONAL_ATTRIBUTE = 3 / 9 "UPDATE Message Error/Optional Attribute Error";
    INVALID_NETWORK = 3 / 10 "UPDATE Message Error/Invalid Network Field";
    MALFORMED_AS_PATH = 3 / 11 "UPDATE Message Error/Malformed AS_PATH";
    HOLD_TIMER_EXPIRED = 4 / 0 "Hold Timer Expired";
    FSM_ERROR = 5 / 0 "Finite State Machine Error";
    FSM_OPEN_SENT = 5 / 1 "Finite State Machine Error/Unexpected Message in OpenSent";
    FSM_OPEN_CONFIRM = 5 / 2 "Finite State Machine Error/Unexpected Message in OpenConfirm";
    FSM_ESTABLISHED = 5 / 3 "Finite State Machine Error/Unexpected Message in Established";
    CEASE = 6 / 0 "Cease";
    MAXIMUM_PREFIXES = 6 / 1 "Cease/Maximum Number of Prefixes Reached";
    ADMINISTRATIVE_SHUTDOWN = 6 / 2 "Cease/Administrative Shutdown";
    PEER_DECONFIGURED = 6 / 3 "Cease/Peer De-configured";
    ADMINISTRATIVE_RESET = 6 / 4 "Cease/Administrative Reset";
    CONNECTION_REJECTED = 6 / 5 "Cease/Connection Rejected";
    OTHER_CONFIGURATION_CHANGE = 6 / 6 "Cease/Other Configuration Change";
    COLLISION_RESOLUTION = 6 / 7 "Cease/Connection Collision Resolution";
    OUT_OF_RESOURCES = 6 / 8 "Cease/Out of Resources";
    HARD_RESET = 6 / 9 "Cease/Hard Reset";
    ROUTE_REFRESH_LENGTH = 7 / 1 "ROUTE-REFRESH Message Error/Invalid Message Length";
}

impl Reason {
    /// Whether the sender closed the session on purpose, nothing being wrong with what it received.
    pub fn is_cease(self) -> bool {
        self.code == Reason::CEASE.code
    }

    /// Adds the data field that the RFC asks for with this reason.
    pub fn with(self, data: impl Into<Vec<u8>>) -> Notification {
        Notification { reason: self, data: data.into() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "error {}/{}", self.code, self.subcode),
        }
    }
}

/// The NOTIFICATION message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// What went wrong.
    pub reason: Reason,
    /// Whatever the reason's definition puts here.
    pub data: Vec<u8>,
}

impl From<Reason> for Notification {
    fn from(reason: Reason) -> Self {
        reason.with([])
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(f)
    }
}

impl Notification {
    /// Reads a message body; `None` if it is shorter than the two codes.
    pub(super) fn decode(body: &[u8]) -> Option<Notification> {
        let mut reader = Reader::new(body);
        let reason = Reason { code: reader.u8()?, subcode: reader.u8()? };
        Some(reason.with(reader.rest()))
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.reason.code, self.reason.subcode]);
        out.extend(&self.data);
    }
}
