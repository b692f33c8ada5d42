//! Where a host begins in a pool, and the order in which it walks the pool's blocks. Pure.
//!
//! A host's first block is drawn from the host's name, so that hosts spread over the pool and a host finds the
//! same block again after its release; from there the blocks follow in order, wrapping once. The draw is
//! Calico's, number for number.

use crate::go_rand::GoRand;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// What the draw of a first block depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(i64);

impl Seed {
    /// The seed of a host: FNV-1, 32 bits, of its name.
    pub fn of_host(host: &str) -> Seed {
        let hash = host.bytes().fold(0x811c_9dc5_u32, |hash, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte));
        Seed(i64::from(hash))
    }

    /// A seed of the moment, for pools whose blocks are single addresses: there nothing is gained by coming back.
    pub fn of_moment(nanoseconds: i64) -> Seed {
        Seed(nanoseconds)
    }
}

/// The blocks of one size in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolBlocks {
    pool: IpNet,
    block_size: u8,
}

impl PoolBlocks {
    /// The blocks of prefix length `block_size` in `pool`; there are none if the pool is smaller than a block.
    pub fn new(pool: IpNet, block_size: u8) -> Self {
        PoolBlocks { pool: pool.trunc(), block_size }
    }

    /// How many blocks there are.
    pub fn count(&self) -> u128 {
        if self.block_size > self.pool.max_prefix_len() {
            return 0;
        }
        match self.block_size.checked_sub(self.pool.prefix_len()) {
            Some(bits) => 1_u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX),
            None => 0,
        }
    }

    /// The block at an index below [`PoolBlocks::count`].
    fn at(&self, index: u128) -> IpNet {
        let shift = u32::from(self.pool.max_prefix_len() - self.block_size);
        let offset = index.checked_shl(shift).unwrap_or(0);
        with_prefix(nth_address(self.pool, offset), self.block_size)
    }

    /// The index of a block of this pool and size.
    pub fn index_of(&self, block: IpNet) -> Option<u128> {
        let fits = self.pool.contains(&block) && block.prefix_len() == self.block_size && block.trunc() == block;
        let shift = u32::from(self.pool.max_prefix_len() - block.prefix_len());
        fits.then(|| (number(block.network()) - number(self.pool.network())).checked_shr(shift).unwrap_or(0))
    }

    /// The block that holds an address of the pool.
    pub fn containing(&self, address: IpAddr) -> Option<IpNet> {
        (self.count() > 0 && self.pool.contains(&address)).then(|| with_prefix(address, self.block_size).trunc())
    }

    /// Every block once, in the order of their addresses.
    pub fn iter(self) -> impl Iterator<Item = IpNet> {
        (0..self.count()).map(move |index| self.at(index))
    }

    /// The order in which the host of a seed takes the blocks.
    pub fn walk(self, seed: Seed) -> Walk {
        Walk { blocks: self, start: GoRand::seeded(seed.0).below(self.count()) }
    }
}

/// One host's order of a pool's blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    blocks: PoolBlocks,
    start: u128,
}

impl Walk {
    /// How many blocks there are.
    pub fn len(&self) -> u128 {
        self.blocks.count()
    }

    /// Whether the pool has no block.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The block at a place below [`Walk::len`].
    pub fn at(&self, place: u128) -> IpNet {
        let until_wrap = self.len() - self.start;
        self.blocks.at(if place < until_wrap { self.start + place } else { place - until_wrap })
    }

    /// Every block once, from the host's start, wrapping at the pool's end.
    pub fn iter(self) -> impl Iterator<Item = IpNet> {
        (0..self.len()).map(move |place| self.at(place))
    }

    /// A block's place in [`Walk::iter`]; none if it is not one of the pool's blocks.
    pub fn place_of(&self, block: IpNet) -> Option<u128> {
        let index = self.blocks.index_of(block)?;
        Some(if index >= self.start { index - self.start } else { self.len() - self.start + index })
    }

    /// The first place after `place` whose block may lie outside `net`, which contains the block at `place`.
    ///
    /// So a reservation over half of an IPv6 pool costs one step.
    pub fn after(&self, place: u128, net: IpNet) -> u128 {
        let last = if net.contains(&self.blocks.pool) { self.blocks.pool.broadcast() } else { net.broadcast() };
        let last = self.blocks.containing(last).and_then(|block| self.place_of(block));
        match last {
            Some(last) if last >= place => last + 1,
            // the net reaches over the start: the walk ends in it
            _ => self.len(),
        }
    }
}

/// An address as a number.
pub(crate) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address `offset` above a network's first.
pub(crate) fn nth_address(net: IpNet, offset: u128) -> IpAddr {
    match net {
        IpNet::V4(net) => IpAddr::V4((u32::from(net.network()).wrapping_add(offset as u32)).into()),
        IpNet::V6(net) => IpAddr::V6((u128::from(net.network()).wrapping_add(offset)).into()),
    }
}

/// An address with a prefix length that its family allows.
pub(crate) fn with_prefix(address: IpAddr, prefix: u8) -> IpNet {
    match address {
        IpAddr::V4(address) => Ipv4Net::new(address, prefix).map(IpNet::V4),
        IpAddr::V6(address) => Ipv6Net::new(address, prefix).map(IpNet::V6),
    }
    .expect("block sizes are checked against the family before they get here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn first_blocks_are_calicos() {
        let mut rows = 0;
        for line in include_str!("../testdata/block-start.txt").lines().filter(|line| !line.starts_with('#')) {
            let fields: Vec<&str> = line.split(' ').collect();
            let [host, pool, size, start] = fields[..] else { panic!("four fields: {line}") };
            let blocks = PoolBlocks::new(net(pool), size.parse().unwrap());
            assert_eq!(blocks.walk(Seed::of_host(host)).iter().next(), Some(net(start)), "{line}");
            rows += 1;
        }
        assert_eq!(rows, 80);
    }

    #[test]
    fn a_walk_visits_every_block_once() {
        let blocks = PoolBlocks::new(net("10.0.0.0/24"), 26);
        let walked: Vec<String> = blocks.walk(Seed::of_host("k8s-w1")).iter().map(|block| block.to_string()).collect();
        let mut sorted = walked.clone();
        sorted.sort();
        assert_eq!(sorted, ["10.0.0.0/26", "10.0.0.128/26", "10.0.0.192/26", "10.0.0.64/26"]);
        let turned: Vec<String> = sorted_by_address(&walked);
        let split = turned.iter().position(|block| *block == walked[0]).unwrap();
        assert_eq!(walked, [&turned[split..], &turned[..split]].concat());
    }

    fn sorted_by_address(blocks: &[String]) -> Vec<String> {
        let mut nets: Vec<IpNet> = blocks.iter().map(|block| net(block)).collect();
        nets.sort();
        nets.iter().map(IpNet::to_string).collect()
    }

    #[test]
    fn a_reservation_is_one_step() {
        let blocks = PoolBlocks::new(net("fd00::/64"), 122);
        let walk = blocks.walk(Seed::of_host("n1"));
        let first = walk.at(0);
        for (reserved, steps) in [("fd00::/64", 2), ("fd00::/32", 2), (&*first.to_string(), 1)] {
            let reserved = net(reserved);
            let mut place = 0;
            for _ in 0..steps {
                assert!(place < walk.len() && reserved.contains(&walk.at(place)));
                place = walk.after(place, reserved);
            }
            assert!(place == walk.len() || !reserved.contains(&walk.at(place)), "{reserved}");
        }
    }

    #[test]
    fn a_pool_smaller_than_a_block_has_none() {
        for (pool, size) in [("10.0.0.0/27", 26), ("fd00::/125", 122), ("10.0.0.0/8", 33)] {
            let blocks = PoolBlocks::new(net(pool), size);
            assert_eq!(blocks.count(), 0, "{pool}");
            assert_eq!(blocks.walk(Seed::of_host("n")).iter().next(), None);
        }
        assert_eq!(PoolBlocks::new(net("10.0.0.0/27"), 26).containing("10.0.0.1".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn place_of_finds_the_place_in_the_walk(host in "[a-z]{1,8}", prefix in 20_u8..=26, nanoseconds: i64) {
            let blocks = PoolBlocks::new(with_prefix("10.8.0.0".parse().unwrap(), prefix), 26);
            for seed in [Seed::of_host(&host), Seed::of_moment(nanoseconds)] {
                let walk = blocks.walk(seed);
                for (place, block) in walk.iter().enumerate() {
                    prop_assert_eq!(walk.place_of(block), Some(place as u128));
                }
            }
        }
    }
}
