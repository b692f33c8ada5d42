//! Assigning one given address.

use crate::block::{self, AssignError, Holder};
use crate::handle::HandleCursor;
use crate::owner::Owner;
use crate::pool::Pool;
use crate::stored::{Ownership, confirm, put_block};
use crate::{ATTEMPTS, Ipam, answers};
use datastore::Error;
use ipnet::IpNet;
use std::net::IpAddr;

/// A request for one address.
#[derive(Clone, Debug)]
pub struct AssignIp {
    /// The address.
    pub address: IpAddr,
    /// Who is to hold it.
    pub holder: Holder,
    /// The node it is for; claims the block if nobody has.
    pub host: String,
}

/// Why an address was not assigned.
#[derive(Debug, thiserror::Error)]
pub enum AssignIpError {
    /// No enabled pool contains it.
    #[error("the provided IP address {0} is not in a configured pool")]
    NotInPool(IpAddr),
    /// Somebody holds it.
    #[error("resource already exists: {0} with error: Address already assigned in block")]
    AlreadyAssigned(IpAddr),
    /// Its block is not the node's, and affinity is strict.
    #[error(
        "{address}: block host affinity does not match: strict affinity is enabled and the block belongs to {owner}"
    )]
    NotAffine {
        /// The address.
        address: IpAddr,
        /// The block's owner.
        owner: String,
    },
    /// Other writers were faster, every time.
    #[error("assign {0}: other writers were faster {ATTEMPTS} times")]
    Contended(IpAddr),
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Ipam<'_> {
    /// Assigns the given address, whatever the pool's allowed uses and selectors are.
    pub async fn assign_ip(&self, request: &AssignIp) -> Result<(), AssignIpError> {
        let address = request.address;
        let mut answers = self.ask(&[answers::config(), answers::pools()]).await?;
        let config = self.config_or_default(answers.config()?).await?;
        let mut cidr = place(&answers.pools().found, address)?.0;
        let owner = Owner::host(&request.host);
        let handle = request.holder.handle.as_deref().map(block::trim_handle);
        let holder = Holder { handle: handle.map(str::to_owned), attributes: request.holder.attributes.clone() };
        let mut cursor = HandleCursor::new(handle);
        for _ in 0..ATTEMPTS {
            let mut queries = vec![answers::pools(), answers::block(cidr), answers::affinity(&owner, cidr)];
            queries.extend(cursor.query());
            let mut answers = self.ask(&queries).await?;
            let pools = answers.pools().found;
            let (stored, affinity) = (answers.block()?, answers.affinity()?);
            cursor.learn(&mut answers)?;
            let (now, pool) = place(&pools, address)?;
            if now != cidr {
                cidr = now;
                continue;
            }
            let mut writes = vec![pool.expect()];
            let (mut block, revision) = match stored {
                Some(stored) => (stored.value, Some(stored.revision)),
                None => {
                    writes.extend(confirm(&owner, cidr, affinity.as_ref(), Ownership::Taken));
                    (self.fresh_block(cidr, &owner), None)
                }
            };
            let found = block::owner(&block);
            if config.strict_affinity && found != Some(owner.to_string().as_str()) {
                let owner = found.unwrap_or("nobody").to_owned();
                return Err(AssignIpError::NotAffine { address, owner });
            }
            block::assign_address(&mut block, address, &holder).map_err(|error| match error {
                AssignError::Taken => AssignIpError::AlreadyAssigned(address),
                AssignError::Outside => AssignIpError::NotInPool(address),
            })?;
            writes.extend(cursor.add(cidr, 1));
            writes.push(put_block(block, revision));
            let commit = self.commit(&writes).await?;
            cursor.settle(&commit);
            if commit.is_done() {
                return Ok(());
            }
        }
        Err(AssignIpError::Contended(address))
    }
}

/// The block that an address belongs to, and the enabled pool of it.
fn place(pools: &[Pool], address: IpAddr) -> Result<(IpNet, &Pool), AssignIpError> {
    let enabled = pools.iter().filter(|pool| pool.enabled);
    let mut places = enabled.filter_map(|pool| Some((pool.blocks().containing(address)?, pool)));
    places.next().ok_or(AssignIpError::NotInPool(address))
}
