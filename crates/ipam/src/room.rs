//! Whether there is an address to be had, without taking one.

use crate::Ipam;
use crate::answers;
use crate::auto_assign::{AutoAssign, AutoAssignError, Cluster, Family, Shortage};
use crate::block::{self, Holder};
use crate::claim::Blocks;
use crate::handle::HandleCursor;
use crate::owner::Owner;
use crate::search::Search;
use api::Kind;
use api::event::Key;
use api::ipam::Block;
use datastore::{Error, layout};
use ipnet::IpNet;
use std::collections::BTreeSet;

impl Ipam<'_> {
    /// Tells for which of the requested families [`auto_assign`](Ipam::auto_assign) would find no address for a node.
    ///
    /// Writes nothing, so that another request may still be faster.
    pub async fn shortages(&self, request: &AutoAssign) -> Result<Vec<Shortage>, AutoAssignError> {
        let owner = Owner::host(&request.host);
        let queries = [
            answers::config(),
            answers::pools(),
            answers::reservations(),
            answers::affinities(&owner),
            answers::node(&request.host),
            answers::blocks(),
        ];
        let mut answers = self.ask(&queries).await?;
        let config = answers.config()?.map(|stored| stored.value).unwrap_or_default();
        let (pools, reserved, affinities) = (answers.pools().found, answers.reservations(), answers.affinities());
        let key = Key::global(Kind::Node, &request.host);
        let node_labels = answers.node_labels()?.ok_or_else(|| Error::NotFound(layout::describe(&key)))?;
        let blocks = Blocks::of(answers.blocks(), &affinities.unreadable);
        let cluster = Cluster { config, pools, reserved, node_labels, affinities: affinities.found };
        let mut shortages = Vec::new();
        for (family, requested) in [(Family::V4, request.num_v4), (Family::V6, request.num_v6)] {
            if requested == 0 {
                continue;
            }
            let search = Search {
                ipam: self,
                request,
                owner: &owner,
                cluster: &cluster,
                holder: Holder::default(),
                cursor: &mut HandleCursor::new(None),
                family,
                wanted: 1,
                gained: Vec::new(),
            };
            let reasons = search.look(&blocks).await?;
            if !reasons.is_empty() {
                shortages.push(Shortage { family, assigned: 0, requested, reasons });
            }
        }
        Ok(shortages)
    }
}

impl Search<'_, '_> {
    /// Looks where a search would; returns why there is no address, nothing if there is one.
    async fn look(&self, blocks: &Blocks) -> Result<Vec<String>, AutoAssignError> {
        let pools = self.pools()?;
        let has_free = |block: &Block| block::free(block, self.reserved()) > 0;
        let affinities = self.cluster.affinities.iter().map(|(cidr, _)| cidr);
        let own: Vec<&IpNet> = affinities.filter(|cidr| pools.iter().any(|pool| pool.cidr.contains(*cidr))).collect();
        // an affinity without a block is a claim to be finished
        let opens = |cidr: &IpNet| match blocks.found.get(cidr) {
            Some(stored) => self.owns(&stored.value) && has_free(&stored.value),
            None => !blocks.is_barred(*cidr),
        };
        if own.iter().any(|cidr| opens(cidr)) {
            return Ok(Vec::new());
        }
        let limit = self.block_limit();
        if own.len() >= limit {
            return self.limit_reached(limit);
        }
        if self.cluster.config.auto_allocate_blocks && self.candidate(&pools, blocks, &BTreeSet::new()).is_some() {
            return Ok(Vec::new());
        }
        let borrows =
            |block: &Block| has_free(block) && pools.iter().any(|it| it.blocks().index_of(block.cidr).is_some());
        if !self.cluster.config.strict_affinity && blocks.found.values().any(|stored| borrows(&stored.value)) {
            return Ok(Vec::new());
        }
        self.explain(&pools).await
    }
}
