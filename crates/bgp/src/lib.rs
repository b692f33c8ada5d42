//! BGP-4 without IO: wire codec, session state machine, RIB and speaker.
//!
//! [`Speaker`] is the whole of it: hand it inputs and the time, poll it for bytes to send, connections to open,
//! routes to install, and when to call again. It owns no socket, reads no clock and draws no randomness but
//! from its seed, so that a test can be a cluster and an hour a loop.
//!
//! Follows RFC 4271, with RFC 4760 (MP-BGP), 6793 (four-octet AS numbers), 2918 (route refresh), 4456 (route
//! reflection), 4724 (graceful restart, both roles), 7606 (error handling) and 5492 (capabilities). Left out on purpose: DelayOpen and
//! MinRouteAdvertisementInterval (a cluster wants its routes at once), aggregation, confederations.

mod config;
mod filter;
mod fsm;
mod policy;
mod rib;
mod session;
mod speaker;
mod status;
mod timer;
pub mod wire;

pub use config::{Config, Password, PeerConfig, PeerKind};
pub use fsm::State;
pub use model::peering::NextHopMode;
pub use policy::Passing;
pub use speaker::{ConnId, Event, Input, Speaker, Transmit};
pub use status::{PeerStatus, Trouble};
