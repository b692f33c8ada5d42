//! An allocated address, with what its block says of it.

use crate::block;
use api::ipam::Block;
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

/// An allocated address.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The address.
    pub address: IpAddr,
    /// The block that records it.
    pub block: IpNet,
    /// The handle that holds it, as written in the block.
    pub handle: Option<String>,
    /// The block's sequence number when it was given out.
    pub sequence: Option<u64>,
    /// `pod`, `namespace`, `node`, `timestamp`, `type`; none if the block has lost them.
    pub attributes: Option<BTreeMap<String, String>>,
    /// The node it is held on: the attribute, or else the block's owner; may be empty.
    pub node: String,
    /// Whether that node is not the block's owner.
    pub borrowed: bool,
}

impl Allocation {
    /// An attribute that is there and not empty.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let attributes = self.attributes.as_ref()?;
        attributes.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// `Main:HANDLE Extra:KEY=VALUE,…`, as Calico writes it.
impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(attributes) = &self.attributes else { return f.write_str("<missing>") };
        let extra: Vec<String> = attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        write!(f, "Main:{} Extra:{}", self.handle.as_deref().unwrap_or("<none>"), extra.join(","))
    }
}

/// Every allocation, block by block.
pub(crate) fn all(blocks: &[Block]) -> impl Iterator<Item = Allocation> {
    blocks.iter().flat_map(|block| {
        let held = block.allocations.iter().enumerate().filter(|(_, slot)| slot.is_some());
        held.map(|(ordinal, _)| of(block, ordinal))
    })
}

fn of(block: &Block, ordinal: usize) -> Allocation {
    let holder = block::holder(block, ordinal);
    let attributes = holder.map(|holder| holder.secondary.clone().unwrap_or_default());
    let owner = block::owner(block).and_then(|owner| owner.strip_prefix("host:")).unwrap_or_default();
    let node = attributes.as_ref().and_then(|attributes| attributes.get("node")).filter(|node| !node.is_empty());
    let node = node.map_or(owner, String::as_str).to_owned();
    Allocation {
        address: block::address(block, ordinal),
        block: block.cidr,
        handle: holder.and_then(|holder| holder.handle_id.clone()),
        sequence: block.sequence_number_for_allocation.get(&ordinal.to_string()).copied(),
        borrowed: node != owner,
        node,
        attributes,
    }
}
