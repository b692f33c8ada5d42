//! Rules about routes that a BGP peer teaches or is taught (control reference §1.6, BGPFilter), IPv4.

use crate::Asn;
use ipnet::Ipv4Net;

/// One rule: what all of a route must be, and what becomes of it then. The first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What its destination must be.
    pub destination: Option<Destination>,
    /// Whether it must be one that a peer taught.
    pub from_peers: bool,
    /// The interface that it must lead to: a name with `*` for any text.
    pub interface: Option<String>,
    /// What kind of session the rule is for.
    pub session: Option<Session>,
    /// A community that it must have.
    pub community: Option<Community>,
    /// What its AS path must begin with.
    pub as_path_prefix: Vec<Asn>,
    /// What its priority must be: a metric, of which the least is preferred.
    pub priority: Option<u32>,
    /// What becomes of it.
    pub verdict: Verdict,
}

impl Rule {
    /// A rule for every route.
    pub fn new(verdict: Verdict) -> Rule {
        Rule {
            destination: None,
            from_peers: false,
            interface: None,
            session: None,
            community: None,
            as_path_prefix: Vec::new(),
            priority: None,
            verdict,
        }
    }
}

/// What a route's destination must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// What it is compared with.
    pub net: Ipv4Net,
    /// How.
    pub operator: Operator,
    /// The least and the greatest prefix length.
    pub lengths: Option<(u8, u8)>,
}

/// How destinations are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// They are the same.
    Equal,
    /// They are not.
    NotEqual,
    /// The route's is within the rule's.
    In,
    /// It is not.
    NotIn,
}

impl Destination {
    /// Whether a route's destination is such a one. Lengths belong to what is compared: `NotIn` is the contrary of `In`.
    pub fn matches(&self, prefix: &Ipv4Net) -> bool {
        let within = self.lengths.is_none_or(|(least, most)| (least..=most).contains(&prefix.prefix_len()));
        match self.operator {
            Operator::Equal => within && *prefix == self.net,
            Operator::NotEqual => !(within && *prefix == self.net),
            Operator::In => within && self.net.contains(prefix),
            Operator::NotIn => !(within && self.net.contains(prefix)),
        }
    }
}

/// What kind of session a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// With a peer of the same AS.
    Internal,
    /// With a peer of another one.
    External,
}

/// A community.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Community {
    /// RFC 1997: AS and value.
    Standard(u16, u16),
    /// RFC 8092: administrator and two values.
    Large(u32, u32, u32),
}

/// What becomes of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken or told, changed like this.
    Accept(Vec<Operation>),
    /// It is not.
    Reject,
}

/// A change of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It gets a community, if it has not.
    AddCommunity(Community),
    /// Its AS path gets these in front, the first of them first.
    PrependAsPath(Vec<Asn>),
    /// It gets this priority.
    SetPriority(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        use Operator::{Equal, In, NotEqual, NotIn};
        for (net, operator, lengths, prefix, expect) in [
            ("10.0.0.0/8", In, None, "10.1.0.0/16", true),
            ("10.0.0.0/8", In, None, "10.0.0.0/8", true),
            ("10.0.0.0/8", In, None, "0.0.0.0/0", false),
            ("10.0.0.0/8", NotIn, None, "11.0.0.0/8", true),
            ("10.0.0.0/8", In, Some((16, 24)), "10.1.0.0/16", true),
            ("10.0.0.0/8", In, Some((16, 24)), "10.0.0.0/9", false),
            ("10.0.0.0/8", NotIn, Some((16, 24)), "10.0.0.0/9", true),
            ("10.0.0.0/8", NotIn, Some((16, 24)), "10.1.0.0/24", false),
            ("10.0.0.0/8", Equal, None, "10.0.0.0/8", true),
            ("10.0.0.0/8", Equal, None, "10.0.0.0/9", false),
            ("10.0.0.0/8", NotEqual, None, "10.0.0.0/9", true),
        ] {
            let destination = Destination { net: net.parse().expect("a prefix"), operator, lengths };
            assert_eq!(destination.matches(&prefix.parse().expect("a prefix")), expect, "{destination:?} {prefix}");
        }
    }
}
