//! Capabilities of an OPEN (RFC 5492): the four this speaker uses, and all others kept as they came.
//!
//! A capability that is unknown, or whose value has a length its RFC does not give it, is [`Capability::Other`]
//! and never a reason to refuse a peer: BIRD, FRR and GoBGP send many (add-path, extended messages, enhanced
//! refresh, long-lived graceful restart, host name).

use super::nlri::Family;
use super::reader::Reader;
use model::Asn;
use std::time::Duration;

const MULTIPROTOCOL: u8 = 1;
const ROUTE_REFRESH: u8 = 2;
const GRACEFUL_RESTART: u8 = 64;
const FOUR_OCTET_AS: u8 = 65;

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// RFC 4760 §8: the sender carries this family.
    Multiprotocol(Family),
    /// RFC 2918 §2: the sender answers ROUTE-REFRESH.
    RouteRefresh,
    /// RFC 4724 §3.
    GracefulRestart(GracefulRestart),
    /// RFC 6793 §3: the sender speaks four-octet AS numbers, and this is its own.
    FourOctetAs(Asn),
    /// Anything else.
    Other {
        /// IANA's number.
        code: u8,
        /// The value, uninterpreted.
        value: Vec<u8>,
    },
}

/// Whether the sender of an OPEN has just restarted (the R bit of RFC 4724 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarting {
    /// It has, and does not need our End-of-RIB before it advertises.
    Yes,
    /// It has not.
    No,
}

/// What happened to a family's forwarding state while the sender was away (the F bit of RFC 4724 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Packets kept flowing.
    Preserved,
    /// Routes have to be learned again first.
    Lost,
}

/// The Graceful Restart capability's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The R bit.
    pub restarting: Restarting,
    /// How long the sender expects to be away; whole seconds, at most 4095.
    pub time: Duration,
    /// Families whose forwarding state survives a restart.
    pub families: Vec<(Family, Forwarding)>,
}

impl Capability {
    /// Reads all capabilities of one optional parameter; `None` if a length does not fit the parameter.
    pub(super) fn decode_all(parameter: &[u8], capabilities: &mut Vec<Capability>) -> Option<()> {
        let mut reader = Reader::new(parameter);
        while !reader.is_empty() {
            let code = reader.u8()?;
            let length = reader.u8()?;
            let value = reader.take(length.into())?;
            let known = Capability::decode(code, value);
            capabilities.push(known.unwrap_or_else(|| Capability::Other { code, value: value.to_vec() }));
        }
        Some(())
    }

    fn decode(code: u8, value: &[u8]) -> Option<Capability> {
        let mut reader = Reader::new(value);
        let capability = match code {
            MULTIPROTOCOL => {
                let (afi, _reserved, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
                Capability::Multiprotocol(Family { afi, safi })
            }
            ROUTE_REFRESH => Capability::RouteRefresh,
            GRACEFUL_RESTART => {
                let head = reader.u16()?;
                let mut families = Vec::new();
                while !reader.is_empty() {
                    let family = Family::decode(&mut reader)?;
                    let preserved = reader.u8()? & 0x80 != 0;
                    families.push((family, if preserved { Forwarding::Preserved } else { Forwarding::Lost }));
                }
                Capability::GracefulRestart(GracefulRestart {
                    restarting: if head & 0x8000 != 0 { Restarting::Yes } else { Restarting::No },
                    time: Duration::from_secs(u64::from(head & 0x0fff)),
                    families,
                })
            }
            FOUR_OCTET_AS => Capability::FourOctetAs(Asn(reader.u32()?)),
            _ => return None,
        };
        reader.is_empty().then_some(capability)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let (code, value) = match self {
            Capability::Multiprotocol(Family { afi, safi }) => {
                let [high, low] = afi.to_be_bytes();
                (MULTIPROTOCOL, vec![high, low, 0, *safi])
            }
            Capability::RouteRefresh => (ROUTE_REFRESH, Vec::new()),
            Capability::GracefulRestart(restart) => (GRACEFUL_RESTART, restart.encode()),
            Capability::FourOctetAs(asn) => (FOUR_OCTET_AS, asn.0.to_be_bytes().to_vec()),
            Capability::Other { code, value } => (*code, value.clone()),
        };
        out.push(code);
        out.push(value.len() as u8);
        out.extend(value);
    }
}

impl GracefulRestart {
    /// Finds what became of a family's forwarding state; `None` if the capability does not name the family.
    pub fn forwarding(&self, family: Family) -> Option<Forwarding> {
        self.families.iter().find(|(named, _)| *named == family).map(|(_, forwarding)| *forwarding)
    }

    fn encode(&self) -> Vec<u8> {
        let restarting = if self.restarting == Restarting::Yes { 0x8000 } else { 0 };
        let mut value = (restarting | self.time.as_secs().min(0x0fff) as u16).to_be_bytes().to_vec();
        for (family, forwarding) in &self.families {
            family.encode(&mut value);
            value.push(if *forwarding == Forwarding::Preserved { 0x80 } else { 0 });
        }
        value
    }
}
