//! CHECK: whether everything that ADD made is there and as it was.
//!
//! ADD's answer, which comes back as `prevResult`, says what is expected; what later plugins of a chain changed is in it
//! too. Without it, what ADD stored says so. Everything that differs is told at once. Nothing is repaired: a runtime
//! that is told so makes the pod anew.

use super::call::Call;
use super::cluster;
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::{KUBERNETES_POLICY, NetConf};
use super::previous::Previous;
use super::workload::Workload;
use super::{Role, add, delegate, ipam_plugin, same_namespace};
use crate::client::Client;
use api::kind::WorkloadEndpointSpec;
use api::resource::{Kind, Typed};
use dataplane::netlink::{MacAddress, Netlink};
use dataplane::podnet::PodNetwork;
use ipam::{Ipam, LookupError, SystemClock};
use ipnet::IpNet;
use model::Mtu;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

/// Checks a container's network, endpoint and addresses.
pub(crate) async fn check(call: &Call, netns: &Path, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    let answered = Previous::of(conf)?;
    let workload = Workload::new(call, conf, conf.node(Role::Main)?);
    let client = cluster::connect(conf).await?;
    cluster::require_ready(&client).await?;
    let endpoint = cluster::endpoint(&client, &workload.namespace, &workload.endpoint_name()?).await?;
    let stored = || endpoint.as_ref().map(|endpoint| Previous::stored(&endpoint.spec, netns));
    let Some(previous) = answered.or_else(stored) else {
        return verdict(call, &[format!("{} does not exist", name_of(&workload)?)]);
    };
    let check = Check { call, netns, conf, workload, addresses: previous.addresses(&call.ifname), previous };
    let mut flaws = check.result();
    flaws.extend(check.kernel()?);
    flaws.extend(check.endpoint(endpoint.as_ref(), log)?);
    flaws.extend(check.profile(&client).await?);
    let profiles = endpoint.map(|endpoint| endpoint.spec.profiles).unwrap_or_default();
    match conf.ipam.plugin.as_str() {
        ipam_plugin::NAME => flaws.extend(check.assignments(&client, &profiles).await?),
        other => flaws.extend(delegate::check(other, call, input).err().map(|error| error.msg)),
    }
    verdict(call, &flaws)
}

/// Checks a container's addresses alone, as `calico-ipam`.
pub(crate) async fn check_addresses(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    let answered = Previous::of(conf)?;
    let client = cluster::connect(conf).await?;
    let node = conf.node(Role::Ipam)?;
    let handle = ipam_plugin::handle(conf, &call.container_id);
    let addresses = match answered {
        Some(previous) => previous.addresses(&call.ifname),
        None => match Ipam::new(client.store(), &SystemClock).ips_by_handle(&handle).await {
            Ok(ips) => ips.iter().map(IpNet::addr).collect(),
            Err(LookupError::Store(error)) => return Err(error.into()),
            Err(LookupError::NoSuchHandle(_) | LookupError::NotAssigned(_)) => {
                return verdict(call, &[format!("IPAMHandle({handle}) does not exist")]);
            }
        },
    };
    let flaws = assignment_flaws(&client, &addresses, &[handle], &node).await?;
    verdict(call, &flaws)
}

fn name_of(workload: &Workload) -> Result<String, CniError> {
    Ok(format!("WorkloadEndpoint({}/{})", workload.namespace, workload.endpoint_name()?))
}

fn verdict(call: &Call, flaws: &[String]) -> Result<(), CniError> {
    if flaws.is_empty() {
        return Ok(());
    }
    Err(CniError::failed(format!("container {} is not as ADD left it: {}", call.container_id, flaws.join("; "))))
}

/// One CHECK under way.
struct Check<'a> {
    call: &'a Call,
    netns: &'a Path,
    conf: &'a NetConf,
    workload: Workload,
    previous: Previous,
    /// Those of the container's interface.
    addresses: Vec<IpAddr>,
}

impl Check<'_> {
    /// Whether ADD's answer is about this container at all.
    fn result(&self) -> Vec<String> {
        let (inside, outside) = (&self.call.ifname, self.workload.interface());
        let mut flaws = Vec::new();
        match self.previous.inside(inside) {
            None => flaws.push(format!("prevResult has no interface {inside} in a sandbox")),
            Some(interface) if !same_namespace(Path::new(&interface.sandbox), self.netns) => flaws.push(format!(
                "prevResult has interface {inside} in sandbox {}, which is not CNI_NETNS {}",
                interface.sandbox,
                self.netns.display()
            )),
            Some(_) => {}
        }
        if self.previous.outside(&outside.0).is_none() {
            flaws.push(format!("prevResult has no interface {outside} on the host"));
        }
        if self.addresses.is_empty() {
            flaws.push(format!("prevResult has no address for interface {inside}"));
        }
        flaws
    }

    fn kernel(&self) -> Result<Vec<String>, CniError> {
        let ips: Vec<IpNet> = self.addresses.iter().map(|address| IpNet::from(*address)).collect();
        let mtu = self.mtu()?;
        let network = add::network(self.call, self.conf, &self.workload, self.netns, &ips, mtu)?;
        let inside = self.previous.inside(&self.call.ifname);
        let mac = inside.and_then(|interface| MacAddress::parse(&interface.mac));
        let pod_mtu = inside.and_then(|interface| interface.mtu).map_or(mtu, Mtu);
        let flaws = PodNetwork { mac, ..network }.check(pod_mtu);
        let flaws = flaws.map_err(|error| CniError::failed(error.to_string()))?;
        Ok(flaws.iter().map(ToString::to_string).collect())
    }

    /// What the host's end should have: the configuration's MTU, else that of ADD's answer, else what it has.
    ///
    /// The agent's file may have changed since; pods keep what they were made with.
    fn mtu(&self) -> Result<Mtu, CniError> {
        let interface = self.workload.interface();
        let answered = self.previous.outside(&interface.0).and_then(|interface| interface.mtu);
        if let Some(mtu) = Some(self.conf.mtu).filter(|mtu| *mtu != 0).or(answered) {
            return Ok(Mtu(mtu));
        }
        let link = Netlink::open().and_then(|mut netlink| netlink.link(&interface));
        let link = link.map_err(|error| CniError::failed(error.to_string()))?;
        link.map_or_else(|| add::mtu(self.conf), |link| Ok(link.mtu))
    }

    fn endpoint(&self, present: Option<&Typed<WorkloadEndpointSpec>>, log: &Log) -> Result<Vec<String>, CniError> {
        let name = name_of(&self.workload)?;
        let Some(present) = present else { return Ok(vec![format!("{name} does not exist")]) };
        let (found, expected) = (&present.spec, self.workload.spec());
        let mut flaws = Vec::new();
        for (field, found, expected) in [
            ("containerID", &found.container_id, &expected.container_id),
            ("interfaceName", &found.interface_name, &expected.interface_name),
            ("node", &found.node, &expected.node),
            ("pod", &found.pod, &expected.pod),
            ("endpoint", &found.endpoint, &expected.endpoint),
        ] {
            if found != expected {
                flaws.push(format!("{name} has {field} {found:?}, expected {expected:?}"));
            }
        }
        let networks: BTreeSet<String> = found.ip_networks.iter().cloned().collect();
        let addresses = self.addresses.iter().map(|address| IpNet::from(*address).to_string()).collect();
        if networks != addresses {
            flaws.push(format!("{name} has ipNetworks {networks:?}, expected {addresses:?}"));
        }
        if !found.profiles.contains(&self.conf.name) && self.conf.policy.policy_type != KUBERNETES_POLICY {
            flaws.push(format!("{name} has profiles {:?}, without {:?}", found.profiles, self.conf.name));
        }
        if let Some(interface) = self.previous.inside(&self.call.ifname).filter(|it| it.mac != found.mac) {
            // a later plugin may have changed it, and says so in its answer alone
            log.write(Level::Warning, &format!("{name} has mac {}, the container {}", found.mac, interface.mac));
        }
        Ok(flaws)
    }

    async fn profile(&self, client: &Client) -> Result<Option<String>, CniError> {
        let name = &self.conf.name;
        if !self.conf.makes_profile() {
            return Ok(None);
        }
        match client.get(Kind::Profile, "", name).await {
            Ok(_) => Ok(None),
            Err(error) if error.not_found() => Ok(Some(format!("Profile({name}) does not exist"))),
            Err(error) => Err(error.into()),
        }
    }

    /// A container that joined a second network has the first one's addresses.
    async fn assignments(&self, client: &Client, profiles: &[String]) -> Result<Vec<String>, CniError> {
        let networks = std::iter::once(&self.conf.name).chain(profiles);
        let handles: Vec<String> =
            networks.map(|network| ipam_plugin::handle_of(network, &self.call.container_id)).collect();
        assignment_flaws(client, &self.addresses, &handles, &self.workload.node).await
    }
}

/// What is wrong with IPAM's idea of a container's addresses: block, handle and node; any of `handles` may hold them.
async fn assignment_flaws(
    client: &Client,
    addresses: &[IpAddr],
    handles: &[String],
    node: &str,
) -> Result<Vec<String>, CniError> {
    let ipam = Ipam::new(client.store(), &SystemClock);
    let expected = handles.first().map(String::as_str).unwrap_or_default();
    let mut flaws = Vec::new();
    for address in addresses {
        let holder = match ipam.attributes_of(*address).await {
            Ok(holder) => holder,
            Err(LookupError::Store(error)) => return Err(error.into()),
            Err(LookupError::NotAssigned(_) | LookupError::NoSuchHandle(_)) => {
                flaws.push(format!("address {address} is not assigned, expected handle {expected}"));
                continue;
            }
        };
        let found = holder.handle_id.unwrap_or_default();
        if !handles.contains(&found) {
            flaws.push(format!("address {address} is held by handle {found:?}, expected {expected:?}"));
            continue;
        }
        let held_for = holder.secondary.and_then(|attributes| attributes.get("node").cloned()).unwrap_or_default();
        if held_for != node {
            flaws.push(format!("address {address} is held for node {held_for:?}, expected {node:?}"));
        }
        match ipam.ips_by_handle(&found).await {
            Ok(ips) if ips.iter().any(|ip| ip.addr() == *address) => {}
            Ok(_) => flaws.push(format!("IPAMHandle({found}) does not name the block of {address}")),
            Err(LookupError::Store(error)) => return Err(error.into()),
            Err(LookupError::NoSuchHandle(_) | LookupError::NotAssigned(_)) => {
                flaws.push(format!("IPAMHandle({found}) does not exist, though it holds {address}"));
            }
        }
    }
    Ok(flaws)
}
