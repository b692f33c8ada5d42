//! GC: takes back what belongs to attachments that the runtime does not have any more.
//!
//! Only of the configuration's network and of this node: endpoints with their interfaces on the host, and addresses.
//! A container that another call is busy with is passed over. Where something cannot be taken back, the rest is, and
//! the error names it. So it is with what an endpoint or a block that cannot be read may say: who may be meant stays.

mod holdings;

use super::cluster;
use super::error::{CniError, Code};
use super::log::{Level, Log};
use super::netconf::{Attachment, NetConf};
use super::turn::Turn;
use super::{Role, call::Call, delegate, ipam_plugin};
use crate::client::Client;
use api::event::{Key, Unreadable};
use api::kind::{WorkloadEndpointName, WorkloadEndpointSpec};
use api::resource::{Kind, Resource, Typed};
use dataplane::podnet;
use holdings::Holdings;
use model::name::{IfName, WORKLOAD_PREFIX};
use std::collections::BTreeSet;

type Endpoint = Typed<WorkloadEndpointSpec>;

/// Collects what is left of attachments that the configuration does not list.
pub(crate) async fn collect(role: Role, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    let missing = || {
        let msg =
            format!("network {:?}: cni.dev/valid-attachments is missing: GC would take everything back", conf.name);
        CniError::new(Code::INVALID_CONFIG, msg)
    };
    let valid: BTreeSet<Attachment> = conf.valid_attachments.iter().flatten().cloned().collect();
    conf.valid_attachments.as_ref().ok_or_else(missing)?;
    let node = conf.node(role)?;
    let client = cluster::connect(conf).await?;
    cluster::require_ready(&client).await?;
    let (endpoints, unreadable) = endpoints(&client, &node).await?;
    let holdings = match conf.ipam.plugin.as_str() {
        ipam_plugin::NAME => Holdings::read(&client, conf, &node, &endpoints, log).await?,
        _ => Holdings::default(),
    };
    let gc = Gc { role, client: &client, conf, log, valid, endpoints, unreadable, holdings };
    let mut problems = gc.run().await;
    let unreadable = gc.unreadable.iter().chain(gc.holdings.unreadable());
    problems.extend(unreadable.map(|one| datastore::Error::from(one.clone()).to_string()));
    if role == Role::Main && conf.ipam.plugin != ipam_plugin::NAME {
        problems.extend(delegate::collect(&conf.ipam.plugin, call, input).err().map(|error| error.msg));
    }
    if problems.is_empty() {
        return Ok(());
    }
    Err(CniError::failed(format!("network {:?}: not all could be taken back: {}", conf.name, problems.join("; "))))
}

/// The node's endpoints, of whatever network, and those that cannot be read and may be the node's.
async fn endpoints(client: &Client, node: &str) -> Result<(Vec<Endpoint>, Vec<Unreadable>), CniError> {
    let listed = client.list_readable(Kind::WorkloadEndpoint, "").await?;
    let endpoints = listed.resources.into_iter().filter_map(|resource| Endpoint::try_from(resource).ok());
    let endpoints = endpoints.filter(|it| it.spec.node == node && !it.spec.container_id.is_empty()).collect();
    let of_node = |it: &Unreadable| name_of(it).is_none_or(|name| name.node == node);
    Ok((endpoints, listed.unreadable.into_iter().filter(of_node).collect()))
}

/// What the name of an endpoint that cannot be read tells.
fn name_of(unreadable: &Unreadable) -> Option<WorkloadEndpointName> {
    let Key::Resource { name, .. } = &unreadable.key else { return None };
    WorkloadEndpointName::parse(name).ok()
}

/// One GC under way.
struct Gc<'a> {
    role: Role,
    client: &'a Client,
    conf: &'a NetConf,
    log: &'a Log,
    valid: BTreeSet<Attachment>,
    endpoints: Vec<Endpoint>,
    /// The node's endpoints that cannot be read.
    unreadable: Vec<Unreadable>,
    holdings: Holdings,
}

impl Gc<'_> {
    /// Does it container by container; returns what failed.
    async fn run(&self) -> Vec<String> {
        let stale: Vec<&Endpoint> = match self.role {
            Role::Main => self.endpoints.iter().filter(|endpoint| self.is_stale(endpoint)).collect(),
            Role::Ipam => Vec::new(),
        };
        let is_live = |id: &str| self.valid.iter().any(|attachment| attachment.container_id == id);
        let holders: BTreeSet<&str> = self.holdings.containers().filter(|id| !is_live(id)).collect();
        let containers: BTreeSet<&str> =
            stale.iter().map(|endpoint| endpoint.spec.container_id.as_str()).chain(holders.iter().copied()).collect();
        let mut problems = Vec::new();
        for id in containers {
            if self.unreadable.iter().any(|it| self.may_be_of(it, id)) {
                self.log.write(Level::Warning, &format!("container {id} stays: its endpoint cannot be read"));
                continue;
            }
            let turn = Turn::take_if_free(&self.conf.calls_lock_file(), self.role, id);
            if matches!(turn, Ok(None)) {
                self.log.write(Level::Info, &format!("container {id} stays: another call is busy with it"));
                continue;
            }
            let of_container: Vec<&Endpoint> =
                stale.iter().copied().filter(|endpoint| endpoint.spec.container_id == id).collect();
            if let Err(error) = self.container(id, &of_container, holders.contains(id)).await {
                problems.push(format!("container {id}: {}", error.msg));
            }
        }
        problems
    }

    /// Whether an endpoint that cannot be read may be a container's: by the container's ID in its name, or its pod's.
    fn may_be_of(&self, unreadable: &Unreadable, id: &str) -> bool {
        let (Some(name), Key::Resource { namespace, .. }) = (name_of(unreadable), &unreadable.key) else { return true };
        match name.orchestrator.as_str() {
            "cni" => name.workload == id,
            "k8s" => {
                let known = self.endpoints.iter().filter(|it| it.spec.container_id == id);
                let pods = known.map(|it| (it.metadata.namespace.as_str(), it.spec.pod.as_str()));
                pods.chain(self.holdings.pod(id)).any(|pod| pod == (namespace.as_str(), name.workload.as_str()))
            }
            _ => true,
        }
    }

    /// Whether an endpoint is the network's and its attachment is gone.
    fn is_stale(&self, endpoint: &Endpoint) -> bool {
        let spec = &endpoint.spec;
        let attachment = Attachment { container_id: spec.container_id.clone(), ifname: spec.endpoint.clone() };
        let is_networks = spec.profiles.contains(&self.conf.name) || self.holdings.has(&spec.container_id);
        is_networks && !self.valid.contains(&attachment)
    }

    /// Takes back a container's stale endpoints and, if the container is gone altogether, all its addresses.
    async fn container(&self, id: &str, stale: &[&Endpoint], gone: bool) -> Result<(), CniError> {
        let mut joined = false;
        for endpoint in stale {
            joined |= self.leave_or_delete(endpoint).await? == Fate::Stays;
        }
        if joined {
            // another network of the container's lives on these addresses
            return Ok(());
        }
        if gone && stale.is_empty() && self.role == Role::Main {
            self.delete_interface(&self.holdings.interface(id))?;
        }
        let _lock = ipam_plugin::lock(self.conf, self.log);
        let released = self.holdings.release(self.client, id, stale, gone).await?;
        self.log.write(Level::Info, &format!("container {id} is gone: released {released:?}"));
        Ok(())
    }

    /// Deletes an endpoint with its interface; one that other networks have too only loses this one's profile.
    async fn leave_or_delete(&self, endpoint: &Endpoint) -> Result<Fate, CniError> {
        let metadata = &endpoint.metadata;
        let mut left = endpoint.clone();
        left.spec.profiles.retain(|profile| *profile != self.conf.name);
        if !left.spec.profiles.is_empty() && left.spec.profiles.len() < endpoint.spec.profiles.len() {
            self.client.update(Resource::from(left)).await?;
            return Ok(Fate::Stays);
        }
        let (namespace, name) = (&metadata.namespace, &metadata.name);
        match self.client.delete(Kind::WorkloadEndpoint, namespace, name, &metadata.resource_version).await {
            Err(error) if !error.not_found() => return Err(error.into()),
            _ => self.log.write(Level::Info, &format!("deleted endpoint {namespace}/{name}")),
        }
        self.delete_interface(&IfName::from(endpoint.spec.interface_name.as_str()))?;
        Ok(Fate::Deleted)
    }

    /// Deletes a pod's interface on the host, unless somebody whose attachment is there has it.
    fn delete_interface(&self, interface: &IfName) -> Result<(), CniError> {
        let is_used = self
            .endpoints
            .iter()
            .any(|endpoint| endpoint.spec.interface_name == interface.0 && !self.is_stale(endpoint))
            || self.valid.iter().any(|attachment| {
                self.holdings.has(&attachment.container_id)
                    && self.holdings.interface(&attachment.container_id) == *interface
            });
        // a block that cannot be read may hold the address of whoever has the interface now
        if is_used || !interface.0.starts_with(WORKLOAD_PREFIX) || !self.holdings.unreadable().is_empty() {
            return Ok(());
        }
        podnet::delete_host_end(interface).map_err(|error| CniError::failed(error.to_string()))
    }
}

/// What became of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Deleted,
    Stays,
}
