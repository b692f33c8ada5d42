//! OPEN (RFC 4271 §4.2), with the long form of its optional parameters (RFC 9072).

use super::capability::{Capability, GracefulRestart};
use super::nlri::Family;
use super::notification::{Notification, Reason};
use super::reader::Reader;
use model::Asn;
use std::net::Ipv4Addr;
use std::time::Duration;

/// The protocol version.
const VERSION: u8 = 4;
/// Optional parameter that holds capabilities (RFC 5492 §4).
const CAPABILITIES: u8 = 2;
/// Marks the long form where a parameter's type would be (RFC 9072 §2).
const EXTENDED: u8 = 255;

/// The OPEN message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// My Autonomous System: two octets, [`Asn::TRANS`] for a number that does not fit.
    pub my_as: u16,
    /// Proposed hold time, whole seconds; zero turns keepalives off.
    pub hold_time: Duration,
    /// BGP Identifier.
    pub identifier: Ipv4Addr,
    /// Capabilities of all optional parameters, in order.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// Returns the sender's AS number, from the four-octet capability if it sent that.
    pub fn asn(&self) -> Asn {
        self.four_octet_as().unwrap_or(Asn(self.my_as.into()))
    }

    /// Finds the four-octet AS number, if the sender speaks those.
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            Capability::Multiprotocol(_)
            | Capability::RouteRefresh
            | Capability::GracefulRestart(_)
            | Capability::Other { .. } => None,
        })
    }

    /// Finds the Graceful Restart capability.
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            Capability::Multiprotocol(_)
            | Capability::RouteRefresh
            | Capability::FourOctetAs(_)
            | Capability::Other { .. } => None,
        })
    }

    /// Whether the sender carries a family; without any Multiprotocol capability that is IPv4 unicast alone.
    pub fn carries(&self, family: Family) -> bool {
        let mut named = false;
        for capability in &self.capabilities {
            if let Capability::Multiprotocol(carried) = capability {
                named = true;
                if *carried == family {
                    return true;
                }
            }
        }
        !named && family == Family::IPV4_UNICAST
    }

    /// Reads a message body, applying the checks of RFC 4271 §6.2 that need no configuration.
    pub(super) fn decode(body: &[u8]) -> Result<Open, Notification> {
        let mut reader = Reader::new(body);
        let malformed = || Notification::from(Reason::OPEN_UNSPECIFIC);
        let version = reader.u8().ok_or_else(malformed)?;
        if version != VERSION {
            return Err(Reason::UNSUPPORTED_VERSION.with(u16::from(VERSION).to_be_bytes()));
        }
        let my_as = reader.u16().ok_or_else(malformed)?;
        if my_as == 0 {
            return Err(Reason::BAD_PEER_AS.into());
        }
        let hold_time = reader.u16().ok_or_else(malformed)?;
        if matches!(hold_time, 1 | 2) {
            return Err(Reason::UNACCEPTABLE_HOLD_TIME.into());
        }
        let identifier = Ipv4Addr::from(reader.u32().ok_or_else(malformed)?);
        if identifier.is_unspecified() {
            return Err(Reason::BAD_BGP_IDENTIFIER.into());
        }
        let capabilities = decode_parameters(&mut reader)?;
        let hold_time = Duration::from_secs(hold_time.into());
        let open = Open { my_as, hold_time, identifier, capabilities };
        if open.four_octet_as() == Some(Asn(0)) {
            return Err(Reason::BAD_PEER_AS.into());
        }
        Ok(open)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend(self.my_as.to_be_bytes());
        out.extend((self.hold_time.as_secs().min(u16::MAX.into()) as u16).to_be_bytes());
        out.extend(self.identifier.octets());
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            capability.encode(&mut capabilities);
        }
        if capabilities.is_empty() {
            out.push(0);
        } else if capabilities.len() <= 253 {
            out.extend([capabilities.len() as u8 + 2, CAPABILITIES, capabilities.len() as u8]);
        } else {
            let length = capabilities.len() as u16;
            out.extend([EXTENDED, EXTENDED]);
            out.extend((length + 3).to_be_bytes());
            out.push(CAPABILITIES);
            out.extend(length.to_be_bytes());
        }
        out.extend(capabilities);
    }
}

/// Reads the optional parameters, which must fill the rest of the message exactly.
fn decode_parameters(reader: &mut Reader<'_>) -> Result<Vec<Capability>, Notification> {
    let malformed = || Notification::from(Reason::OPEN_UNSPECIFIC);
    let mut length = usize::from(reader.u8().ok_or_else(malformed)?);
    let mut probe = *reader;
    let extended = length != 0 && probe.u8() == Some(EXTENDED);
    if extended {
        length = probe.u16().ok_or_else(malformed)?.into();
        *reader = probe;
    }
    if reader.remaining() != length {
        return Err(malformed());
    }
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or_else(malformed)?;
        let length = if extended { reader.u16() } else { reader.u8().map(u16::from) };
        let value = length.and_then(|length| reader.take(length.into())).ok_or_else(malformed)?;
        if kind != CAPABILITIES {
            return Err(Reason::UNSUPPORTED_PARAMETER.into());
        }
        Capability::decode_all(value, &mut capabilities).ok_or_else(malformed)?;
    }
    Ok(capabilities)
}
