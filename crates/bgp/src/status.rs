//! What an operator sees of a peer.

use crate::config::PeerKind;
use crate::fsm::State;
use crate::wire::notification::Reason;
use model::Asn;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A peer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its address and port.
    pub peer: SocketAddr,
    /// Where it comes from.
    pub kind: PeerKind,
    /// The AS it should be in.
    pub remote_as: Asn,
    /// The AS we are in towards it.
    pub local_as: Asn,
    /// Whether only the peer opens connections.
    pub passive: bool,
    /// State of its session, that of the connection which got further.
    pub state: State,
    /// When the session entered that state.
    pub since: Instant,
    /// How many routes it announces to us.
    pub received: usize,
    /// How many routes we announce to it.
    pub announced: usize,
    /// What last went wrong; none once the session is Established.
    pub trouble: Option<Trouble>,
}

/// What went wrong with a session; `Display` says it in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The connection could not be had, or broke, for this reason.
    Socket(String),
    /// The peer sent a NOTIFICATION.
    Received(Reason),
    /// We sent one, with what we know beyond its name.
    Sent(Reason, Option<String>),
    /// Nothing came from the peer for so long.
    Silence(Duration),
    /// The configuration does not let a session be.
    Obstacle(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Socket(reason) | Trouble::Obstacle(reason) => f.write_str(reason),
            Trouble::Received(reason) => write!(f, "received {reason}"),
            Trouble::Sent(reason, None) => write!(f, "sent {reason}"),
            Trouble::Sent(reason, Some(detail)) => write!(f, "sent {reason}: {detail}"),
            Trouble::Silence(time) => write!(f, "hold timer expired after {}s without a message", time.as_secs()),
        }
    }
}
