//! UPDATE (RFC 4271 §4.3, RFC 4760 §§3–4), and what a faulty one asks for (RFC 7606).

use super::attribute::{self, Attributes, NextHop};
use super::nlri;
use super::notification::{Notification, Reason};
use super::reader::Reader;
use super::{Context, MAX_MESSAGE};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Destinations of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reachability {
    /// IPv4 unicast.
    Ipv4Unicast(Vec<Ipv4Net>),
    /// IPv6 unicast.
    Ipv6Unicast(Vec<Ipv6Net>),
}

/// MP_UNREACH_NLRI: withdrawn destinations; none at all is the family's End-of-RIB (RFC 4724 §2).
pub type MpUnreach = Reachability;

/// MP_REACH_NLRI: announced destinations with their next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MpReach {
    /// IPv4 unicast.
    Ipv4Unicast {
        /// Next hop.
        next_hop: Ipv4Addr,
        /// Destinations.
        prefixes: Vec<Ipv4Net>,
    },
    /// IPv6 unicast.
    Ipv6Unicast {
        /// Global next hop.
        next_hop: Ipv6Addr,
        /// Link-local next hop (RFC 2545 §3).
        link_local: Option<Ipv6Addr>,
        /// Destinations.
        prefixes: Vec<Ipv6Net>,
    },
}

/// The UPDATE message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Withdrawn Routes field.
    pub withdrawn: Vec<Ipv4Net>,
    /// Attributes of what is announced, in whichever field; `None` if nothing is.
    pub attributes: Option<Attributes>,
    /// Network Layer Reachability Information field.
    pub announced: Vec<Ipv4Net>,
    /// MP_REACH_NLRI.
    pub reach: Option<MpReach>,
    /// MP_UNREACH_NLRI.
    pub unreach: Option<MpUnreach>,
    /// Attributes that were dropped on the way in (RFC 7606 "attribute discard").
    pub discarded: Vec<Fault>,
}

/// What RFC 7606 §2 wants done about a faulty attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Drop the attribute, keep the routes.
    Discard,
    /// Handle every route of the message as withdrawn.
    TreatAsWithdraw,
}

/// A faulty attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its type code; 0 if the list itself is broken.
    pub code: u8,
    /// What to do about it.
    pub remedy: Remedy,
    /// What is wrong.
    pub reason: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attribute {}: {}", self.code, self.reason)
    }
}

/// Why an UPDATE cannot be taken as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// Close the session with this.
    #[error("{0}")]
    Reset(Notification),
    /// Handle the routes as withdrawn and go on.
    #[error("routes handled as withdrawn: {fault}")]
    TreatAsWithdraw {
        /// Every route the message names, announced or withdrawn.
        routes: Vec<IpNet>,
        /// The first fault that asks for it.
        fault: Fault,
    },
}

impl From<Notification> for UpdateError {
    fn from(notification: Notification) -> Self {
        UpdateError::Reset(notification)
    }
}

impl From<Reason> for UpdateError {
    fn from(reason: Reason) -> Self {
        UpdateError::Reset(reason.into())
    }
}

impl Update {
    /// Makes the End-of-RIB marker of IPv4 unicast: an UPDATE with nothing in it (RFC 4724 §2).
    pub fn end_of_rib() -> Update {
        Update::default()
    }

    /// Whether this is the End-of-RIB marker of IPv4 unicast, in either form.
    pub fn is_end_of_rib(&self) -> bool {
        let empty = self.withdrawn.is_empty() && self.announced.is_empty() && self.reach.is_none();
        let marker = match &self.unreach {
            None => true,
            Some(Reachability::Ipv4Unicast(prefixes)) => prefixes.is_empty(),
            Some(Reachability::Ipv6Unicast(_)) => false,
        };
        empty && marker && self.attributes.is_none() && self.discarded.is_empty()
    }

    /// Reads a message body.
    ///
    /// # Errors
    ///
    /// What RFC 7606 wants: a session reset, or the routes to handle as withdrawn.
    pub(super) fn decode(body: &[u8], context: Context) -> Result<Update, UpdateError> {
        let mut reader = Reader::new(body);
        let overrun = UpdateError::from(Reason::MALFORMED_ATTRIBUTE_LIST);
        let field = |reader: &mut Reader<'_>| {
            let length = reader.u16()?;
            reader.take(length.into()).map(<[u8]>::to_vec)
        };
        let withdrawn = field(&mut reader).ok_or_else(|| overrun.clone())?;
        let list = field(&mut reader).ok_or(overrun)?;
        let withdrawn = nlri::decode_ipv4(&withdrawn).map_err(|_| Reason::INVALID_NETWORK)?;
        let announced = nlri::decode_ipv4(reader.rest()).map_err(|_| Reason::INVALID_NETWORK)?;
        let scan = attribute::scan(&list, context)?;

        let mut fault = scan.faults.iter().find(|fault| fault.remedy == Remedy::TreatAsWithdraw).copied();
        let mut attributes = None;
        if !announced.is_empty() || scan.reach.is_some() {
            let mp_next_hop = match scan.reach {
                Some(MpReach::Ipv4Unicast { next_hop, .. }) if announced.is_empty() => Some(next_hop),
                // NEXT_HOP has no meaning beside an IPv6 next hop
                Some(MpReach::Ipv6Unicast { .. }) if announced.is_empty() => Some(Ipv4Addr::UNSPECIFIED),
                Some(MpReach::Ipv4Unicast { .. } | MpReach::Ipv6Unicast { .. }) | None => None,
            };
            match scan.attributes(mp_next_hop) {
                Ok(complete) => attributes = Some(complete),
                Err(missing) => fault = fault.or(Some(missing)),
            }
        }
        let discarded = scan.faults;
        let update = Update { withdrawn, attributes, announced, reach: scan.reach, unreach: scan.unreach, discarded };
        match fault {
            Some(fault) => Err(UpdateError::TreatAsWithdraw { routes: update.routes(), fault }),
            None => Ok(update),
        }
    }

    /// Lists every destination the message names.
    fn routes(&self) -> Vec<IpNet> {
        let mut routes: Vec<IpNet> =
            self.withdrawn.iter().chain(&self.announced).map(|prefix| (*prefix).into()).collect();
        match &self.reach {
            Some(MpReach::Ipv4Unicast { prefixes, .. }) => {
                routes.extend(prefixes.iter().map(|prefix| IpNet::V4(*prefix)))
            }
            Some(MpReach::Ipv6Unicast { prefixes, .. }) => {
                routes.extend(prefixes.iter().map(|prefix| IpNet::V6(*prefix)))
            }
            None => {}
        }
        match &self.unreach {
            Some(Reachability::Ipv4Unicast(prefixes)) => {
                routes.extend(prefixes.iter().map(|prefix| IpNet::V4(*prefix)))
            }
            Some(Reachability::Ipv6Unicast(prefixes)) => {
                routes.extend(prefixes.iter().map(|prefix| IpNet::V6(*prefix)))
            }
            None => {}
        }
        routes
    }

    pub(super) fn encode(&self, context: Context, out: &mut Vec<u8>) {
        let mut withdrawn = Vec::new();
        self.withdrawn.iter().for_each(|prefix| nlri::encode(IpNet::V4(*prefix), &mut withdrawn));
        let mut list = Vec::new();
        if let Some(attributes) = &self.attributes {
            let next_hop = if self.announced.is_empty() { NextHop::Omitted } else { NextHop::Written };
            attribute::encode(attributes, next_hop, context, &mut list);
        }
        if let Some(reach) = &self.reach {
            attribute::encode_reach(reach, &mut list);
        }
        if let Some(unreach) = &self.unreach {
            attribute::encode_unreach(unreach, &mut list);
        }
        out.extend((withdrawn.len() as u16).to_be_bytes());
        out.extend(withdrawn);
        out.extend((list.len() as u16).to_be_bytes());
        out.extend(list);
        self.announced.iter().for_each(|prefix| nlri::encode(IpNet::V4(*prefix), out));
    }

    /// Withdraws prefixes in as few messages as their size allows.
    pub fn withdraw(prefixes: &[Ipv4Net]) -> Vec<Update> {
        chunks(prefixes, MAX_MESSAGE - 23)
            .map(|withdrawn| Update { withdrawn: withdrawn.to_vec(), ..Update::default() })
            .collect()
    }

    /// Announces prefixes that share their attributes in as few messages as their size allows.
    pub fn announce(attributes: &Attributes, prefixes: &[Ipv4Net], context: Context) -> Vec<Update> {
        let mut list = Vec::new();
        attribute::encode(attributes, NextHop::Written, context, &mut list);
        // attributes that leave no room for one prefix cannot be announced at all (RFC 4271 §9.2)
        let room = (MAX_MESSAGE - 23).saturating_sub(list.len());
        let prefixes = if room < 5 { &[] } else { prefixes };
        chunks(prefixes, room)
            .map(|announced| Update {
                attributes: Some(attributes.clone()),
                announced: announced.to_vec(),
                ..Update::default()
            })
            .collect()
    }
}

/// Cuts a list of prefixes into parts of at most `room` octets each.
fn chunks(prefixes: &[Ipv4Net], room: usize) -> impl Iterator<Item = &[Ipv4Net]> {
    let mut rest = prefixes;
    std::iter::from_fn(move || {
        let mut used = 0;
        let fits = |prefix: &&Ipv4Net| {
            used += nlri::encoded_len(prefix);
            used <= room
        };
        let count = rest.iter().take_while(fits).count();
        let (head, tail) = rest.split_at(count);
        rest = tail;
        (!head.is_empty()).then_some(head)
    })
}
