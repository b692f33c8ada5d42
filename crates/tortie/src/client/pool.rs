//! What creating, changing and deleting a pool entails (control reference §1.5).

use super::{Client, ClientError, datastore_revision};
use api::event::{Key, Revision};
use api::kind::IpPoolSpec;
use api::resource::{Kind, Resource, Typed};
use datastore::Scope;
use ipam::{Ipam, SystemClock};
use ipnet::IpNet;
use std::time::Duration;

/// How long an allocation that read the pool as enabled may take to finish.
const GRACE: Duration = Duration::from_millis(500);

impl Client {
    /// Refuses a pool that overlaps another, or that existing blocks of another size lie in.
    ///
    /// A block's key says where it lies, whether its value can be read or not; of a pool only the value does.
    pub(super) async fn check_new_pool(&self, pool: &Typed<IpPoolSpec>) -> Result<(), ClientError> {
        let Some(cidr) = cidr(pool) else { return Ok(()) };
        for other in self.list(Kind::IPPool, "").await? {
            let Resource::IPPool(other) = other else { continue };
            let Some(range) = self::cidr(&other).filter(|_| other.metadata.name != pool.metadata.name) else {
                continue;
            };
            if range.contains(&cidr) || cidr.contains(&range) {
                let (own, theirs) = (&pool.metadata.name, &other.metadata.name);
                let reason = format!("IPPool({own}) CIDR overlaps with IPPool({theirs}) CIDR {}", other.spec.cidr);
                return Err(invalid("IPPool.Spec.CIDR", &pool.spec.cidr, &reason));
            }
        }
        let size = pool.spec.block_size.unwrap_or_default();
        let (blocks, _) = self.store().list(&Scope::Blocks).await?;
        let unreadable = blocks.unreadable.into_iter().map(|unreadable| unreadable.key);
        for key in blocks.entries.into_iter().map(|entry| entry.key).chain(unreadable) {
            let Key::Block(block) = key else { continue };
            if cidr.contains(&block) && block.prefix_len() != size {
                let reason = format!(
                    "IPPool blocksSize conflicts with existing allocations that use a different blockSize: {block}"
                );
                return Err(invalid("IPPool.Spec.BlockSize", &size.to_string(), &reason));
            }
        }
        Ok(())
    }

    /// Refuses a change of what a pool keeps for life.
    pub(super) async fn check_changed_pool(&self, pool: &Typed<IpPoolSpec>) -> Result<(), ClientError> {
        let present = self.get(Kind::IPPool, "", &pool.metadata.name).await?;
        let Resource::IPPool(present) = present else { return Ok(()) };
        if cidr(pool) != cidr(&present) {
            return Err(invalid("IPPool.Spec.CIDR", &pool.spec.cidr, "IPPool CIDR cannot be modified"));
        }
        if pool.spec.block_size != present.spec.block_size {
            let size = pool.spec.block_size.unwrap_or_default().to_string();
            return Err(invalid("IPPool.Spec.BlockSize", &size, "IPPool BlockSize cannot be modified"));
        }
        Ok(())
    }

    /// Disables a pool and lets go of its blocks, before it is deleted; returns the revision that it has then.
    ///
    /// Between the two there is time for whoever read the pool as enabled to finish with it.
    pub(super) async fn release_pool(&self, pool: &Typed<IpPoolSpec>) -> Result<Revision, ClientError> {
        let mut disabled = Resource::from(pool.clone());
        if !pool.spec.disabled {
            let mut changed = pool.clone();
            changed.spec.disabled = true;
            disabled = self.update_as_is(changed.into()).await?;
            tokio::time::sleep(GRACE).await;
        }
        if let Some(cidr) = cidr(pool) {
            let ipam = Ipam::new(self.store(), &SystemClock);
            ipam.release_pool_affinities(cidr).await.map_err(|error| ClientError::Ipam(error.to_string()))?;
        }
        Ok(datastore_revision(&disabled))
    }
}

fn cidr(pool: &Typed<IpPoolSpec>) -> Option<IpNet> {
    pool.spec.cidr.parse().ok()
}

fn invalid(field: &str, value: &str, reason: &str) -> ClientError {
    ClientError::Invalid(format!("error with field {field} = '{value}' ({reason})"))
}
