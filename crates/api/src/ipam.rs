//! IPAM's stored objects, byte for byte as Calico's etcd datastore has them (dataplane reference §2.1).

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An IPAM block: who owns it and which of its addresses are taken by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// The block's CIDR.
    pub cidr: IpNet,
    /// `host:NODE` or `virtual:NAME`; none when nobody owns it.
    pub affinity: Option<String>,
    /// When the affinity was claimed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity_claim_time: Option<String>,
    /// One entry per address: an index into `attributes`, or none when free.
    pub allocations: Vec<Option<usize>>,
    /// Free ordinals, next to be given out first.
    pub unallocated: Vec<usize>,
    /// Who holds addresses.
    pub attributes: Vec<Attribute>,
    /// Grows by one with each change.
    #[serde(default, rename = "sequenceNumber")]
    pub sequence_number: u64,
    /// Ordinal → the block's sequence number when it was given out.
    #[serde(default, rename = "sequenceNumberForAllocation", deserialize_with = "null_as_default")]
    pub sequence_number_for_allocation: BTreeMap<String, u64>,
    /// A tombstone of the Kubernetes datastore.
    #[serde(default)]
    pub deleted: bool,
    /// Calico 2's name for `affinity`, read only.
    #[serde(default, rename = "hostAffinity", skip_serializing_if = "Option::is_none")]
    pub host_affinity: Option<String>,
}

impl Block {
    /// Fails where the block contradicts its key or itself, and says how: nobody may work with such numbers.
    ///
    /// An address that is neither allocated nor free does no harm and is no contradiction.
    pub fn agree(&self, key: &IpNet) -> Result<(), String> {
        if *key != key.trunc() {
            return Err(format!("{key} has bits beyond its prefix length"));
        }
        if self.cidr != *key {
            return Err(format!("cidr {} is not the key's", self.cidr));
        }
        let count = self.allocations.len();
        let size = 1_u128.checked_shl(u32::from(key.max_prefix_len() - key.prefix_len()));
        if size != Some(count as u128) {
            let size = size.map_or("2^128".to_owned(), |size| size.to_string());
            return Err(format!("allocations has {count} entries instead of {size}"));
        }
        let holders = self.attributes.len();
        for (ordinal, slot) in self.allocations.iter().enumerate() {
            if let Some(index) = slot.filter(|index| *index >= holders) {
                return Err(format!("allocations[{ordinal}] is {index}, and there are {holders} attributes"));
            }
        }
        let mut offered = vec![false; count];
        for &ordinal in &self.unallocated {
            let named = |what: &str| Err(format!("unallocated names address {ordinal}{what}"));
            match offered.get_mut(ordinal) {
                None => return named(&format!(", and there are {count}")),
                Some(_) if self.allocations[ordinal].is_some() => return named(", which is allocated"),
                Some(offered) if *offered => return named(" twice"),
                Some(offered) => *offered = true,
            }
        }
        Ok(())
    }
}

/// The holder of one or more addresses of a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// The handle, if any.
    pub handle_id: Option<String>,
    /// The active owner's attributes: `pod`, `namespace`, `node`, `timestamp`, `type`.
    pub secondary: Option<BTreeMap<String, String>>,
    /// A migrating virtual machine's other owner.
    #[serde(default, rename = "alternateOwnerAttrs", skip_serializing_if = "Option::is_none")]
    pub alternate_owner_attrs: Option<BTreeMap<String, String>>,
}

/// State of an affinity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AffinityState {
    /// The block is the owner's. Also what an empty state means.
    #[default]
    #[serde(alias = "")]
    Confirmed,
    /// The owner is about to create the block.
    Pending,
    /// The owner is about to let go of the block.
    PendingDeletion,
}

/// An owner's claim on a block; which owner and block is in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Affinity {
    /// How far the claim has got.
    #[serde(default)]
    pub state: AffinityState,
    /// A tombstone of the Kubernetes datastore.
    #[serde(default)]
    pub deleted: bool,
}

/// A handle: how many addresses it holds in which blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handle {
    /// Block CIDR → number of addresses.
    #[serde(default, deserialize_with = "null_as_default")]
    pub block: BTreeMap<String, u64>,
    /// A tombstone of the Kubernetes datastore.
    #[serde(default)]
    pub deleted: bool,
}

/// The IPAM configuration as the etcd datastore stores it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Whether a node may only give out addresses of its own blocks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strict_affinity: bool,
    /// Whether nodes claim blocks as they need them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub auto_allocate_blocks: bool,
    /// Most blocks a node may claim; 0 means 20.
    #[serde(default, rename = "maxBlocksPerHost", skip_serializing_if = "is_zero")]
    pub max_blocks_per_host: i64,
    /// `Enabled` or `Disabled`.
    #[serde(default, rename = "kubeVirtVMAddressPersistence", skip_serializing_if = "Option::is_none")]
    pub kube_virt_vm_address_persistence: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            strict_affinity: false,
            auto_allocate_blocks: true,
            max_blocks_per_host: 0,
            kube_virt_vm_address_persistence: Some("Enabled".to_owned()),
        }
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// Go writes an empty map as `null`.
fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
