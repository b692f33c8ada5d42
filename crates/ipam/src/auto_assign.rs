//! Assigning any free addresses to a holder on a node.
//!
//! What the cluster asks for is read first; then, of each family, comes the search. If that fails half-way, what was
//! already gained is given back.

use crate::block::{self, Holder};
use crate::handle::HandleCursor;
use crate::owner::Owner;
use crate::pool::{Pool, Use};
use crate::release::Release;
use crate::search::{Halt, Search};
use crate::stored::Stored;
use crate::{ATTEMPTS, Ipam, answers};
use api::Kind;
use api::event::Key;
use api::ipam::{Affinity, Config};
use datastore::{Error, layout};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::fmt;

/// A request for any addresses.
#[derive(Clone, Debug, Default)]
pub struct AutoAssign {
    /// How many IPv4 addresses.
    pub num_v4: usize,
    /// How many IPv6 addresses.
    pub num_v6: usize,
    /// The handle they are to be found by.
    pub handle: Option<String>,
    /// Attributes kept with them: `pod`, `namespace`, `node`, `timestamp`, `type`.
    pub attrs: BTreeMap<String, String>,
    /// The node they are for; not used with [`Use::LoadBalancer`].
    pub host: String,
    /// Take them from these pools alone, whatever the pools' selectors say; a family without an entry is not bound.
    pub pools: Option<Vec<IpNet>>,
    /// What they are for.
    pub use_: Use,
    /// The most blocks the host may own in the pools concerned; 0 leaves it to the configuration.
    pub max_blocks: usize,
    /// Labels of the holder's namespace, for the pools' `namespaceSelector`.
    pub namespace_labels: BTreeMap<String, String>,
}

/// Addresses assigned, each with its block's prefix length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assigned {
    /// IPv4 addresses.
    pub v4: Vec<IpNet>,
    /// IPv6 addresses.
    pub v6: Vec<IpNet>,
    /// The families of which there were too few.
    pub shortages: Vec<Shortage>,
}

/// Fewer addresses than requested could be assigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Assigned {assigned} out of {requested} requested {family} addresses; {}", reasons.join("; "))]
pub struct Shortage {
    /// The family concerned.
    pub family: Family,
    /// How many were assigned.
    pub assigned: usize,
    /// How many were requested.
    pub requested: usize,
    /// Why there are no more.
    pub reasons: Vec<String>,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of a network.
    pub fn of(net: IpNet) -> Family {
        match net {
            IpNet::V4(_) => Family::V4,
            IpNet::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Why no address was assigned. The texts are those an operator knows from Calico.
#[derive(Debug, thiserror::Error)]
pub enum AutoAssignError {
    /// A pool was asked for that is not there or not open.
    #[error("the given pool ({cidr}) does not exist, or is not enabled")]
    PoolNotEnabled {
        /// The pool asked for.
        cidr: IpNet,
    },
    /// The family has no open pool.
    #[error("cannot find a qualified ippool")]
    NoQualifiedPool,
    /// No open pool selects the node and the namespace.
    #[error("no configured Calico pools for node {node}")]
    NoConfiguredPool {
        /// The node.
        node: String,
    },
    /// No selected pool is open to the use.
    #[error("cannot find a qualified ippool, no pools match the required use {wanted}")]
    NoPoolForUse {
        /// The use.
        wanted: &'static str,
    },
    /// The host owns as many blocks as it may, and all are full.
    #[error("cannot allocate new block due to per host block limit: {owner} has {limit}, all full")]
    BlockLimit {
        /// The owner of the blocks.
        owner: String,
        /// The limit.
        limit: usize,
    },
    /// Other writers were faster, every time.
    #[error("assign {family} addresses for {owner}: other writers were faster {ATTEMPTS} times")]
    Contended {
        /// The family.
        family: Family,
        /// The owner of the blocks.
        owner: String,
    },
    /// The datastore failed, or the node is not in it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// A request, and what of the cluster it depends on.
pub struct Prepared {
    request: AutoAssign,
    owner: Owner,
    cluster: Cluster,
    /// Whether the configuration was there.
    configured: bool,
}

/// What a request depends on, read at once.
pub(crate) struct Cluster {
    pub(crate) config: Config,
    /// Read again with each look at blocks, and expected by each write.
    pub(crate) pools: Vec<Pool>,
    /// Ranges out of which nothing is given.
    pub(crate) reserved: Vec<IpNet>,
    pub(crate) node_labels: BTreeMap<String, String>,
    pub(crate) affinities: Vec<(IpNet, Stored<Affinity>)>,
}

impl Ipam<'_> {
    /// Assigns addresses: all that were asked for, or those there are with the [`Shortage`] that says why.
    ///
    /// On an error nothing stays assigned.
    pub async fn auto_assign(&self, request: &AutoAssign) -> Result<Assigned, AutoAssignError> {
        let prepared = self.prepare(request.clone()).await?;
        self.assign_prepared(prepared).await
    }

    /// Reads what a request depends on, and changes nothing: the first half of [`Ipam::auto_assign`].
    ///
    /// Callers on one host that take turns need to do so for the second half alone. What changes in between is found
    /// there.
    pub async fn prepare(&self, request: AutoAssign) -> Result<Prepared, AutoAssignError> {
        let owner = match request.use_ {
            Use::Workload | Use::Tunnel => Owner::host(&request.host),
            Use::LoadBalancer => Owner::load_balancer(),
        };
        let mut queries =
            vec![answers::config(), answers::pools(), answers::reservations(), answers::affinities(&owner)];
        if request.use_ != Use::LoadBalancer {
            queries.push(answers::node(&request.host));
        }
        let mut answers = self.ask(&queries).await?;
        let config = answers.config()?;
        let (pools, reserved, affinities) = (answers.pools().found, answers.reservations(), answers.affinities().found);
        let node_labels = match request.use_ {
            Use::Workload | Use::Tunnel => {
                let key = Key::global(Kind::Node, &request.host);
                answers.node_labels()?.ok_or_else(|| Error::NotFound(layout::describe(&key)))?
            }
            Use::LoadBalancer => BTreeMap::new(),
        };
        let configured = config.is_some();
        let config = config.map(|stored| stored.value).unwrap_or_default();
        let cluster = Cluster { config, pools, reserved, node_labels, affinities };
        Ok(Prepared { request, owner, cluster, configured })
    }

    /// Assigns the addresses of a prepared request: the second half of [`Ipam::auto_assign`].
    ///
    /// A configuration that was missing is created with Calico's defaults.
    pub async fn assign_prepared(&self, prepared: Prepared) -> Result<Assigned, AutoAssignError> {
        let Prepared { request, owner, mut cluster, configured } = prepared;
        if !configured {
            cluster.config = self.config_or_default(None).await?;
        }
        let handle = request.handle.as_deref().map(block::trim_handle);
        let mut cursor = HandleCursor::new(handle);
        let mut gained = [Vec::new(), Vec::new()];
        let mut shortages = Vec::new();
        for (index, (family, wanted)) in
            [(Family::V4, request.num_v4), (Family::V6, request.num_v6)].into_iter().enumerate()
        {
            if wanted == 0 {
                continue;
            }
            let mut outcome = Err(AutoAssignError::Contended { family, owner: owner.to_string() });
            for _ in 0..ATTEMPTS {
                let mut search = Search {
                    ipam: self,
                    request: &request,
                    owner: &owner,
                    cluster: &cluster,
                    holder: Holder { handle: handle.map(str::to_owned), attributes: request.attrs.clone() },
                    cursor: &mut cursor,
                    family,
                    wanted,
                    gained: std::mem::take(&mut gained[index]),
                };
                let found = search.run().await;
                gained[index] = search.gained;
                match found {
                    Err(Halt::PoolsChanged(pools)) => cluster.pools = pools,
                    Err(Halt::Failed(error)) => {
                        outcome = Err(error);
                        break;
                    }
                    Ok(reasons) => {
                        outcome = Ok(reasons);
                        break;
                    }
                }
            }
            match outcome {
                Ok(reasons) if gained[index].len() < wanted => {
                    shortages.push(Shortage { family, assigned: gained[index].len(), requested: wanted, reasons });
                }
                Ok(_) => {}
                Err(error) => {
                    self.give_back(gained.concat(), handle).await;
                    return Err(error);
                }
            }
        }
        let [v4, v6] = gained;
        Ok(Assigned { v4, v6, shortages })
    }

    async fn give_back(&self, addresses: Vec<IpNet>, handle: Option<&str>) {
        let releases: Vec<Release> = addresses
            .iter()
            .map(|net| Release { address: net.addr(), handle: handle.map(str::to_owned), sequence: None })
            .collect();
        if let Err(error) = self.release_ips(&releases).await {
            tracing::warn!(?addresses, %error, "addresses of a failed request stay assigned");
        }
    }
}
