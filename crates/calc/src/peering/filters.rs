//! BGPFilters as the speaker's rules.

use super::Tables;
use api::event::Key;
use api::kind::{BgpFilterSpec, FilterOperation, FilterRule};
use api::resource::Kind;
use ipnet::Ipv4Net;
use model::Asn;
use model::filter::{Community, Destination, Operation, Operator, Rule, Session, Verdict};

/// The longest prefix.
const LONGEST: u8 = 32;

/// What a peer's filters come to, one after the other.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) import: Vec<Rule>,
    pub(super) export: Vec<Rule>,
}

/// Reads the filters that a peer names, in their order.
///
/// # Errors
///
/// Which one is not there or cannot be read: without it the peer could say and hear what it forbids.
pub(super) fn read(names: &[String], tables: &Tables) -> Result<Filters, String> {
    let mut filters = Filters::default();
    for name in names {
        if tables.unread.contains_key(&Key::global(Kind::BGPFilter, name)) {
            return Err(format!("filter {name} cannot be read"));
        }
        let Some(spec) = tables.bgp_filters.get(name) else { return Err(format!("there is no filter {name}")) };
        let BgpFilterSpec { import_v4, export_v4, .. } = spec;
        for (list, rules, into) in
            [("importV4", import_v4, &mut filters.import), ("exportV4", export_v4, &mut filters.export)]
        {
            for (index, from) in rules.iter().enumerate() {
                into.push(
                    rule(from).map_err(|wrong| format!("filter {name}: {list}[{index}]: {wrong} makes no sense"))?,
                );
            }
        }
    }
    Ok(filters)
}

/// A rule, or the field of it that makes no sense.
fn rule(from: &FilterRule) -> Result<Rule, String> {
    // every field named, so that none is forgotten
    let FilterRule {
        cidr,
        prefix_length,
        source,
        interface,
        match_operator,
        peer_type,
        communities,
        as_path_prefix,
        priority,
        action,
        operations,
    } = from;
    let wrong = |field: &str, text: &str| format!("{field} {text:?}");
    let verdict = match action.0.as_str() {
        "Accept" => Verdict::Accept(operations.iter().map(operation).collect::<Result<_, _>>()?),
        "Reject" if operations.is_empty() => Verdict::Reject,
        "Reject" => return Err("operations of a route that is rejected".to_owned()),
        other => return Err(wrong("action", other)),
    };
    let destination = match (cidr.as_str(), match_operator.0.as_str()) {
        ("", "") if prefix_length.is_none() => None,
        (cidr, operator) => {
            let net: Ipv4Net = cidr.parse().map_err(|_| wrong("cidr", cidr))?;
            let operator = match operator {
                "Equal" => Operator::Equal,
                "NotEqual" => Operator::NotEqual,
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                other => return Err(wrong("matchOperator", other)),
            };
            let length = |bound: Option<i32>, unsaid: u8| match bound {
                None => Ok(unsaid),
                Some(bound) => u8::try_from(bound)
                    .ok()
                    .filter(|bound| *bound <= LONGEST)
                    .ok_or_else(|| wrong("prefixLength", &bound.to_string())),
            };
            let lengths = match prefix_length {
                None => None,
                Some(it) => {
                    // nothing within a network is shorter than the network
                    let (least, most) = (length(it.min, 0)?.max(net.prefix_len()), length(it.max, LONGEST)?);
                    if least > most {
                        return Err(format!("prefixLength {least} to {most} within {net}"));
                    }
                    Some((least, most))
                }
            };
            Some(Destination { net: net.trunc(), operator, lengths })
        }
    };
    Ok(Rule {
        destination,
        from_peers: match source.0.as_str() {
            "" => false,
            "RemotePeers" => true,
            other => return Err(wrong("source", other)),
        },
        interface: (!interface.is_empty()).then(|| interface.clone()),
        session: match peer_type.0.as_str() {
            "" => None,
            "eBGP" => Some(Session::External),
            "iBGP" => Some(Session::Internal),
            other => return Err(wrong("peerType", other)),
        },
        community: match communities.as_ref().map(|it| it.values.as_slice()) {
            None => None,
            Some([value]) => Some(community(value)?),
            Some(values) => return Err(format!("{} communities", values.len())),
        },
        as_path_prefix: as_path_prefix.iter().copied().map(Asn).collect(),
        priority: match priority {
            None => None,
            Some(number) => Some(u32::try_from(*number).map_err(|_| wrong("priority", &number.to_string()))?),
        },
        verdict,
    })
}

fn operation(from: &FilterOperation) -> Result<Operation, String> {
    let FilterOperation { add_community, prepend_as_path, set_priority } = from;
    match (add_community, prepend_as_path, set_priority) {
        (Some(add), None, None) => Ok(Operation::AddCommunity(community(&add.value)?)),
        (None, Some(prepend), None) => Ok(Operation::PrependAsPath(prepend.prefix.iter().copied().map(Asn).collect())),
        (None, None, Some(set)) => {
            let priority = u32::try_from(set.value).map_err(|_| format!("setPriority {}", set.value))?;
            Ok(Operation::SetPriority(priority))
        }
        _ => Err("an operation that is not exactly one".to_owned()),
    }
}

/// Reads `aa:nn` or `aa:nn:mm`.
fn community(text: &str) -> Result<Community, String> {
    let wrong = || format!("community {text:?}");
    let numbers: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
    match numbers.map_err(|_| wrong())?.as_slice() {
        [asn, value] => {
            let short = |number: u32| u16::try_from(number).map_err(|_| wrong());
            Ok(Community::Standard(short(*asn)?, short(*value)?))
        }
        [administrator, one, two] => Ok(Community::Large(*administrator, *one, *two)),
        _ => Err(wrong()),
    }
}
