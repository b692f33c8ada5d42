//! Who owns blocks.

use api::event::{Key, OwnerType};
use ipnet::IpNet;
use std::fmt;

/// An owner of blocks: a node, or all load balancers together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Host or virtual.
    pub kind: OwnerType,
    /// The node's name, or `load-balancer`.
    pub name: String,
}

impl Owner {
    /// A node.
    pub fn host(name: &str) -> Self {
        Owner { kind: OwnerType::Host, name: name.to_owned() }
    }

    /// The owner of the blocks that services' addresses come from.
    pub fn load_balancer() -> Self {
        Owner { kind: OwnerType::Virtual, name: "load-balancer".to_owned() }
    }

    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        let kind = match kind {
            "host" => OwnerType::Host,
            "virtual" => OwnerType::Virtual,
            _ => return None,
        };
        Some(Owner { kind, name: name.to_owned() })
    }

    /// The key of the owner's affinity for a block.
    pub(crate) fn key(&self, block: IpNet) -> Key {
        Key::Affinity { owner_type: self.kind, owner: self.name.clone(), block }
    }
}

/// `host:NODE` or `virtual:NAME`, as a block names its owner.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            OwnerType::Host => "host",
            OwnerType::Virtual => "virtual",
        };
        write!(f, "{kind}:{}", self.name)
    }
}
