//! Questions about what is assigned.

use crate::check::{Allocation, allocation};
use crate::start::with_prefix;
use crate::{Ipam, answers, block};
use api::Unreadable;
use api::ipam::Attribute;
use datastore::Error;
use ipnet::IpNet;
use std::net::IpAddr;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// There is no such handle.
    #[error("resource does not exist: IPAMHandle({0})")]
    NoSuchHandle(String),
    /// Nobody holds the address.
    #[error("{0} is not assigned")]
    NotAssigned(IpAddr),
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Ipam<'_> {
    /// Every address that is given out, block by block, and the blocks that cannot be read.
    pub async fn allocations(&self) -> Result<(Vec<Allocation>, Vec<Unreadable>), Error> {
        let (blocks, unreadable) = self.blocks().await?;
        Ok((allocation::all(&blocks).collect(), unreadable))
    }

    /// The addresses that a handle holds, each with its block's prefix length.
    pub async fn ips_by_handle(&self, handle: &str) -> Result<Vec<IpNet>, LookupError> {
        let id = block::trim_handle(handle);
        let stored = self.read_handle(id).await?.ok_or_else(|| LookupError::NoSuchHandle(id.to_owned()))?;
        let mut addresses = Vec::new();
        let cidrs: Vec<IpNet> = stored.value.block.keys().filter_map(|block| block.parse().ok()).collect();
        let queries: Vec<_> = cidrs.iter().map(|cidr| answers::block(*cidr)).collect();
        let mut answers = self.ask(&queries).await?;
        for cidr in cidrs {
            let Some(stored) = answers.block()? else { continue };
            addresses.extend(
                block::held_by(&stored.value, id)
                    .into_iter()
                    .map(|ordinal| with_prefix(block::address(&stored.value, ordinal), cidr.prefix_len())),
            );
        }
        Ok(addresses)
    }

    /// Who holds an address.
    pub async fn attributes_of(&self, address: IpAddr) -> Result<Attribute, LookupError> {
        let pools = self.read_pools().await?.found;
        let stored = match self.locate(&pools, address).await? {
            Some(cidr) => self.read_block(cidr).await?,
            None => None,
        };
        let holder = stored.as_ref().and_then(|stored| {
            let ordinal = block::ordinal(&stored.value, address)?;
            block::holder(&stored.value, ordinal).cloned()
        });
        holder.ok_or(LookupError::NotAssigned(address))
    }
}
