//! Our OPEN, the peer's, and what the two agree on (RFC 4271 §§4.2, 6.2, RFC 5492).

use crate::config::PeerConfig;
use crate::wire::capability::{Capability, Forwarding, GracefulRestart, Restarting};
use crate::wire::nlri::Family;
use crate::wire::notification::{Notification, Reason};
use crate::wire::open::Open;
use crate::wire::{AsWidth, Context, PeerType};
use model::Asn;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Who we are, on every session alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) asn: Asn,
    pub(crate) router_id: Ipv4Addr,
    pub(crate) restart_time: Duration,
    /// Whether we are still collecting routes after a restart.
    pub(crate) restarting: Restarting,
    /// Our cluster, if we are a route reflector.
    pub(crate) cluster_id: Option<Ipv4Addr>,
}

/// What holds for a connection once both OPENs are known.
#[derive(Clone, Debug)]
pub(crate) struct Negotiated {
    /// The peer's BGP Identifier.
    pub(crate) identifier: Ipv4Addr,
    /// Our end of the connection.
    pub(crate) local_address: Option<IpAddr>,
    /// The smaller of the two proposals; zero for no keepalives.
    pub(crate) hold_time: Duration,
    /// How often we send something; `None` for no keepalives.
    pub(crate) keepalive: Option<Duration>,
    /// How UPDATEs are coded.
    pub(crate) context: Context,
    /// Whether the peer carries IPv4 unicast at all.
    pub(crate) ipv4_unicast: bool,
    /// The peer's capability, if we have it configured too.
    pub(crate) graceful_restart: Option<GracefulRestart>,
}

impl Negotiated {
    /// What the peer says of its IPv4 forwarding state; `None` if its routes do not outlive a session.
    pub(crate) fn forwarding(&self) -> Option<Forwarding> {
        self.graceful_restart.as_ref()?.forwarding(Family::IPV4_UNICAST)
    }
}

/// Makes our OPEN.
///
/// The F bit is always set: the kernel keeps forwarding by its routes whatever becomes of this process.
pub(super) fn open(config: &PeerConfig, local: &Local) -> Open {
    let mut capabilities = vec![
        Capability::Multiprotocol(Family::IPV4_UNICAST),
        Capability::RouteRefresh,
        Capability::FourOctetAs(local.asn),
    ];
    if config.graceful_restart {
        capabilities.push(Capability::GracefulRestart(GracefulRestart {
            restarting: local.restarting,
            time: local.restart_time,
            families: vec![(Family::IPV4_UNICAST, Forwarding::Preserved)],
        }));
    }
    Open {
        my_as: u16::try_from(local.asn.0).unwrap_or(Asn::TRANS.0 as u16),
        hold_time: config.hold_time,
        identifier: local.router_id,
        capabilities,
    }
}

/// Checks the peer's OPEN against the configuration.
pub(super) fn negotiate(
    open: &Open,
    config: &PeerConfig,
    local: &Local,
    peer: PeerType,
) -> Result<Negotiated, Notification> {
    if open.asn() != config.remote_as {
        return Err(Reason::BAD_PEER_AS.into());
    }
    // RFC 6286 §2.2: identifiers are unique within an AS
    if peer == PeerType::Internal && open.identifier == local.router_id {
        return Err(Reason::BAD_BGP_IDENTIFIER.into());
    }
    let hold_time = open.hold_time.min(config.hold_time);
    let third = hold_time / 3;
    let keepalive = config.keepalive_time.map_or(third, |wanted| wanted.min(third));
    let as_width = if open.four_octet_as().is_some() { AsWidth::Four } else { AsWidth::Two };
    Ok(Negotiated {
        identifier: open.identifier,
        local_address: None,
        hold_time,
        keepalive: (!keepalive.is_zero()).then_some(keepalive),
        context: Context { as_width, peer },
        ipv4_unicast: open.carries(Family::IPV4_UNICAST),
        graceful_restart: open.graceful_restart().filter(|_| config.graceful_restart).cloned(),
    })
}
