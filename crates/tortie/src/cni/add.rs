//! ADD: addresses, the pod's network, its WorkloadEndpoint and profile (dataplane reference §1.3 to §1.6).

use super::call::Call;
use super::cluster::{self, Found, create_profile};
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::NetConf;
use super::output::{Added, Interface};
use super::undo::{Undo, Written};
use super::workload::{Orchestrator, Workload};
use super::{Role, delegate, ipam_plugin, others, ready};
use crate::client::Client;
use crate::paths::MTU;
use api::kind::WorkloadEndpointSpec;
use api::meta::ObjectMeta;
use api::resource::{Resource, Typed};
use dataplane::podnet::{self, Forwarding, PodNetwork};
use ipnet::IpNet;
use model::Mtu;
use std::path::Path;

/// What a link has where nobody says otherwise.
const ETHERNET_MTU: Mtu = Mtu(1500);

/// Connects a container.
pub(crate) async fn add(call: &Call, netns: &Path, conf: &NetConf, input: &[u8], log: &Log) -> Result<Added, CniError> {
    let mtu = mtu(conf)?;
    let workload = Workload::new(call, conf, conf.node(Role::Main)?);
    if conf.feature_control.ip_addrs_no_ipam && workload.orchestrator == Orchestrator::Cni {
        return Err(CniError::failed("requested feature is not supported for this runtime: ip_addrs_no_ipam"));
    }
    let client = cluster::connect(conf).await?;
    let name = workload.endpoint_name()?;
    let prepare = async {
        match conf.ipam.plugin.as_str() {
            ipam_plugin::NAME => Some(ipam_plugin::prepare(client.store(), call, conf).await),
            _ => None,
        }
    };
    let (found, prepared) = tokio::join!(cluster::find(&client, &workload.namespace, &name, &conf.name), prepare);
    let Found { endpoint: present, profile } = found?;
    let undo = Undo { client: &client, call, conf, input, log, addresses: Vec::new(), network: false, endpoint: None };
    let mut add = Add { client: &client, call, netns, conf, workload, profile, undo };
    if let (Some(present), Orchestrator::Cni) = (&present, &add.workload.orchestrator) {
        return add.join(present.clone()).await;
    }
    others::refuse_to_displace(&client, netns, conf, &add.workload, present.as_ref()).await?;
    let assigned = match prepared {
        Some(prepared) => ipam_plugin::assign(client.store(), prepared?, call, conf, log).await?,
        None => delegate::add(&conf.ipam.plugin, call, input)?,
    };
    add.undo.addresses.clone_from(&assigned.ips);
    match add.connect(assigned, present, mtu).await {
        Ok(added) => Ok(added),
        Err(error) => {
            add.undo.all().await;
            Err(error)
        }
    }
}

/// One ADD under way.
struct Add<'a> {
    client: &'a Client,
    call: &'a Call,
    netns: &'a Path,
    conf: &'a NetConf,
    workload: Workload,
    /// Whether the network's profile is there.
    profile: bool,
    undo: Undo<'a>,
}

impl Add<'_> {
    /// Makes the network and the endpoint with the addresses that were assigned.
    async fn connect(
        &mut self,
        assigned: Added,
        present: Option<Typed<WorkloadEndpointSpec>>,
        mtu: Mtu,
    ) -> Result<Added, CniError> {
        if assigned.ips.is_empty() {
            return Err(CniError::failed("IPAM plugin did not return any IP addresses"));
        }
        let ips: Vec<IpNet> = assigned.ips.iter().map(|ip| IpNet::from(ip.addr())).collect();
        let network = network(self.call, self.conf, &self.workload, self.netns, &ips, mtu)?;
        let created = network.setup().map_err(|error| CniError::failed(error.to_string()))?;
        self.undo.network = true;
        let mac = created.mac.to_string();
        self.write_endpoint(&ips, &mac, present).await?;
        self.ensure_profile().await?;
        ready::wait(self.conf, &self.workload, &ips, &mac, self.undo.log);
        let interfaces = self.interfaces(self.workload.interface().0, mac, Some(mtu.0));
        Ok(Added { interfaces, ips, routes: assigned.routes })
    }

    async fn write_endpoint(
        &mut self,
        ips: &[IpNet],
        mac: &str,
        previous: Option<Typed<WorkloadEndpointSpec>>,
    ) -> Result<(), CniError> {
        let workload = &self.workload;
        let mut object = match &previous {
            Some(previous) => previous.clone(),
            None => {
                let metadata = ObjectMeta::named(&workload.endpoint_name()?);
                let metadata = ObjectMeta { namespace: workload.namespace.clone(), ..metadata };
                Typed::new(metadata, WorkloadEndpointSpec::default())
            }
        };
        object.metadata.labels.extend(workload.labels.clone());
        object.spec = WorkloadEndpointSpec {
            ip_networks: ips.iter().map(ToString::to_string).collect(),
            profiles: vec![self.conf.name.clone()],
            mac: mac.to_owned(),
            ..workload.spec()
        };
        // before the write: one whose answer got lost has happened too
        let exists = previous.is_some();
        self.undo.endpoint = Some(Written { ours: object.clone(), previous });
        let resource = Resource::from(object);
        if exists {
            self.client.update(resource).await?
        } else {
            self.client.create(resource).await?
        };
        Ok(())
    }

    /// A container that has its network already joins another: its endpoint gets the profile, nothing else happens.
    async fn join(mut self, present: Typed<WorkloadEndpointSpec>) -> Result<Added, CniError> {
        let spec = present.spec.clone();
        if !spec.profiles.contains(&self.conf.name) {
            let mut joined = present.clone();
            joined.spec.profiles.push(self.conf.name.clone());
            self.client.update(Resource::from(joined.clone())).await?;
            self.undo.endpoint = Some(Written { ours: joined, previous: Some(present) });
        }
        if let Err(error) = self.ensure_profile().await {
            self.undo.endpoint().await;
            return Err(error);
        }
        let ips = spec.ip_networks.iter().filter_map(|network| network.parse().ok()).collect();
        Ok(Added { interfaces: self.interfaces(spec.interface_name, spec.mac, None), ips, routes: Vec::new() })
    }

    async fn ensure_profile(&self) -> Result<(), CniError> {
        if self.profile {
            return Ok(());
        }
        if !self.conf.makes_profile() {
            let (policy, name) = (&self.conf.policy.policy_type, &self.conf.name);
            let warning = format!(
                "policy.type {policy:?}: profile {name:?}, which the endpoint names, does not exist and is not made: \
                 where policy is enforced, the container's packets are denied"
            );
            self.undo.log.write(Level::Warning, &warning);
            return Ok(());
        }
        create_profile(self.client, &self.conf.name, &self.workload.orchestrator).await
    }

    /// The host's end and the container's, as a result lists them.
    fn interfaces(&self, host: String, mac: String, mtu: Option<u32>) -> Vec<Interface> {
        let sandbox = self.netns.display().to_string();
        vec![
            Interface { name: host, mtu, ..Interface::default() },
            Interface { name: self.call.ifname.clone(), mac, mtu, sandbox },
        ]
    }
}

/// The network that a container with these addresses gets.
pub(crate) fn network<'a>(
    call: &Call,
    conf: &NetConf,
    workload: &Workload,
    netns: &'a Path,
    ips: &[IpNet],
    mtu: Mtu,
) -> Result<PodNetwork<'a>, CniError> {
    let given = match workload.orchestrator {
        Orchestrator::Kubernetes { .. } => conf.ipam.route_destinations()?,
        Orchestrator::Cni => Vec::new(),
    };
    let defaults = given.is_empty() || conf.include_default_routes;
    let defaults = podnet::default_routes().into_iter().filter(|route| defaults && !given.contains(route));
    let allowed = conf.container_settings.allow_ip_forwarding;
    Ok(PodNetwork {
        host_interface: workload.interface(),
        container_interface: call.ifname.as_str().into(),
        netns,
        addresses: ips.iter().map(IpNet::addr).collect(),
        mtu,
        routes: defaults.chain(given.iter().copied()).collect(),
        forwarding: if allowed { Forwarding::Allowed } else { Forwarding::Denied },
        queues: u32::try_from(conf.num_queues.max(1)).unwrap_or(u32::MAX),
        mac: None,
    })
}

/// The configuration's MTU, else the agent's file's, else Ethernet's.
pub(crate) fn mtu(conf: &NetConf) -> Result<Mtu, CniError> {
    if conf.mtu != 0 {
        return Ok(Mtu(conf.mtu));
    }
    match std::fs::read_to_string(MTU) {
        Ok(text) => {
            let mtu = text.trim().parse();
            mtu.map(Mtu).map_err(|_| CniError::failed(format!("{MTU}: {:?} is not an MTU", text.trim())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !conf.require_mtu_file => Ok(ETHERNET_MTU),
        Err(error) => Err(CniError::failed(format!("{MTU}: {error}"))),
    }
}
