//! How full pools and blocks are, and which addresses come from another node's block.

use crate::stored::Partial;
use crate::{Ipam, answers, block};
use api::Unreadable;
use api::ipam::{Attribute, Block};
use datastore::Error;
use ipnet::IpNet;
use std::net::IpAddr;

/// How many addresses a range has, and how many of them are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The range.
    pub cidr: IpNet,
    /// Addresses in all; one less than there are where the range is all of IPv6.
    pub total: u128,
    /// Addresses that somebody holds.
    pub in_use: u128,
}

impl Usage {
    /// Addresses that nobody holds.
    pub fn free(&self) -> u128 {
        self.total.saturating_sub(self.in_use)
    }

    fn of_block(block: &Block) -> Self {
        let in_use = block.allocations.iter().flatten().count();
        Usage { cidr: block.cidr, total: block.allocations.len() as u128, in_use: in_use as u128 }
    }
}

/// A pool's usage, block by block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool's; none for blocks that lie in no pool.
    pub pool: Option<Usage>,
    /// Its blocks', in key order.
    pub blocks: Vec<Usage>,
}

/// Distributes blocks over pools: first the pools in the given order, then, if there are any, blocks of no pool.
pub fn by_pool(pools: &[IpNet], blocks: &[Block]) -> Vec<PoolUsage> {
    let mut usages: Vec<PoolUsage> = pools.iter().map(|_| PoolUsage { pool: None, blocks: Vec::new() }).collect();
    let mut orphans = Vec::new();
    for block in blocks {
        match pools.iter().position(|pool| pool.contains(&block.cidr)) {
            Some(pool) => usages[pool].blocks.push(Usage::of_block(block)),
            None => orphans.push(Usage::of_block(block)),
        }
    }
    for (pool, usage) in pools.iter().zip(&mut usages) {
        let total = 1_u128.checked_shl(u32::from(pool.max_prefix_len() - pool.prefix_len())).unwrap_or(u128::MAX);
        let in_use = usage.blocks.iter().map(|block| block.in_use).sum();
        usage.pool = Some(Usage { cidr: *pool, total, in_use });
    }
    if !orphans.is_empty() {
        usages.push(PoolUsage { pool: None, blocks: orphans });
    }
    usages
}

/// An address held on another node than its block's owner.
#[derive(Clone, Debug, PartialEq)]
pub struct Borrowed {
    /// The address.
    pub address: IpAddr,
    /// The node it is held on.
    pub node: String,
    /// The block it comes from.
    pub block: IpNet,
    /// The block's owner without its type; none if it has no owner.
    pub owner: Option<String>,
    /// Its holder.
    pub holder: Attribute,
}

/// The borrowed addresses, and how many addresses do not tell their node.
pub fn borrowed(blocks: &[Block]) -> (Vec<Borrowed>, usize) {
    let mut found = Vec::new();
    let mut untold = 0;
    for block in blocks {
        let owner = block::owner(block).map(|owner| owner.split_once(':').map_or(owner, |(_, name)| name));
        for ordinal in 0..block.allocations.len() {
            let Some(holder) = block::holder(block, ordinal) else { continue };
            let Some(node) = holder.secondary.as_ref().and_then(|attributes| attributes.get("node")) else {
                untold += 1;
                continue;
            };
            if owner != Some(node.as_str()) {
                found.push(Borrowed {
                    address: block::address(block, ordinal),
                    node: node.clone(),
                    block: block.cidr,
                    owner: owner.map(str::to_owned),
                    holder: holder.clone(),
                });
            }
        }
    }
    (found, untold)
}

impl Ipam<'_> {
    /// The usage of every pool, by name, and of the blocks of no pool; and what of both cannot be read.
    pub async fn usage(&self) -> Result<(Vec<PoolUsage>, Vec<Unreadable>), Error> {
        let mut answers = self.ask(&[answers::pools(), answers::blocks()]).await?;
        let (pools, blocks) = (answers.pools(), answers.blocks());
        let cidrs: Vec<IpNet> = pools.found.into_iter().map(|pool| pool.cidr).collect();
        let readable: Vec<Block> = blocks.found.into_iter().map(|stored| stored.value).collect();
        Ok((by_pool(&cidrs, &readable), [pools.unreadable, blocks.unreadable].concat()))
    }

    /// Every block, in key order, and those that cannot be read.
    pub async fn blocks(&self) -> Result<(Vec<Block>, Vec<Unreadable>), Error> {
        let Partial { found, unreadable } = self.read_blocks().await?;
        Ok((found.into_iter().map(|stored| stored.value).collect(), unreadable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Holder;
    use std::collections::BTreeMap;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    /// A block with an owner, and how many addresses are held on which node.
    fn held(cidr: &str, owner: &str, held: &[(usize, &str)]) -> Block {
        let mut block = block::new(net(cidr), owner, "", 1);
        for (count, node) in held {
            let attributes = match *node {
                "" => BTreeMap::new(),
                node => BTreeMap::from([("node".to_owned(), node.to_owned())]),
            };
            block::assign(&mut block, *count, &Holder { handle: Some("h".to_owned()), attributes }, &[]);
        }
        block
    }

    #[test]
    fn pools_count_their_blocks() {
        let pools = [net("10.0.0.0/16"), net("fd00::/64"), net("::/0"), net("10.9.0.0/32")];
        let blocks = [
            held("10.0.1.0/26", "host:n", &[(3, "n")]),
            held("10.0.2.0/26", "host:m", &[(64, "m")]),
            held("192.0.2.0/30", "host:n", &[(1, "n")]),
            held("fd00::40/122", "host:n", &[(2, "n")]),
        ];
        let usage = |cidr: &str, total: u128, in_use: u128| Usage { cidr: net(cidr), total, in_use };
        let expect = [
            PoolUsage {
                pool: Some(usage("10.0.0.0/16", 65536, 67)),
                blocks: vec![usage("10.0.1.0/26", 64, 3), usage("10.0.2.0/26", 64, 64)],
            },
            PoolUsage { pool: Some(usage("fd00::/64", 1 << 64, 2)), blocks: vec![usage("fd00::40/122", 64, 2)] },
            PoolUsage { pool: Some(usage("::/0", u128::MAX, 0)), blocks: vec![] },
            PoolUsage { pool: Some(usage("10.9.0.0/32", 1, 0)), blocks: vec![] },
            PoolUsage { pool: None, blocks: vec![usage("192.0.2.0/30", 4, 1)] },
        ];
        assert_eq!(by_pool(&pools, &blocks), expect);
        assert_eq!(usage("fd00::/64", 1 << 64, 2).free(), (1 << 64) - 2);
    }

    #[test]
    fn borrowed_is_what_another_node_holds() {
        let mut orphan = held("10.0.3.0/30", "host:n", &[(1, "n")]);
        block::disown(&mut orphan);
        let blocks = [
            held("10.0.1.0/30", "host:n", &[(1, "n"), (1, "m"), (1, "")]),
            held("10.0.2.0/30", "virtual:n", &[(1, "n")]),
            orphan,
        ];
        let (found, untold) = borrowed(&blocks);
        let found: Vec<_> =
            found.iter().map(|it| (it.address.to_string(), it.node.as_str(), it.owner.as_deref())).collect();
        assert_eq!(found, [("10.0.1.1".to_owned(), "m", Some("n")), ("10.0.3.0".to_owned(), "n", None)]);
        assert_eq!(untold, 1);
    }
}
