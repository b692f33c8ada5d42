//! What an operator sees of a peer.

use crate::config::PeerKind;
use crate::fsm::State;
use std::net::IpAddr;
use std::time::Instant;

/// A peer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its address.
    pub address: IpAddr,
    /// Where it comes from.
    pub kind: PeerKind,
    /// State of its session, that of the connection which got further.
    pub state: State,
    /// When the session entered that state.
    pub since: Instant,
    /// One line about what last went wrong; none once the session is Established.
    pub last_error: Option<String>,
}
