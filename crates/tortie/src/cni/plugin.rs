//! The main plugin's ADD and DEL: addresses, the pod's network, its WorkloadEndpoint and profile
//! (dataplane reference §1.3 to §1.7).

use super::call::Call;
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::NetConf;
use super::output::{Added, Interface};
use super::workload::{Orchestrator, Workload};
use super::{delegate, ipam_plugin};
use crate::client::{Client, ClientError};
use api::kind::{ProfileSpec, WorkloadEndpointSpec};
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Typed};
use dataplane::podnet::{self, Forwarding, PodNetwork};
use datastore::Store;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use model::Mtu;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Where the agent leaves the pods' MTU.
const MTU_FILE: &str = "/var/lib/calico/mtu";
/// What a link has where nobody says otherwise.
const ETHERNET_MTU: Mtu = Mtu(1500);
/// Calico's own IPAM plugin.
const CALICO_IPAM: &str = "calico-ipam";
/// How often DEL reads the endpoint again when somebody else wrote it.
const ATTEMPTS: usize = 6;

impl From<ClientError> for CniError {
    fn from(error: ClientError) -> Self {
        CniError::failed(error.to_string())
    }
}

/// Connects to the datastore that the configuration names.
pub(crate) async fn open(conf: &NetConf) -> Result<Arc<dyn Store>, CniError> {
    Ok(datastore::connect(&conf.datastore()?).await?)
}

/// Connects a container.
pub(crate) async fn add(call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<Added, CniError> {
    let mtu = mtu(conf)?;
    let workload = Workload::new(call, conf, conf.node()?);
    if conf.feature_control.ip_addrs_no_ipam && workload.orchestrator == Orchestrator::Cni {
        return Err(CniError::failed("requested feature is not supported for this runtime: ip_addrs_no_ipam"));
    }
    let client = Client::new(open(conf).await?);
    require_ready(&client).await?;
    let name = workload.endpoint_name()?;
    let present = match client.get(Kind::WorkloadEndpoint, &workload.namespace, &name).await {
        Ok(present) => Some(endpoint(present)?),
        Err(error) if error.not_found() => None,
        Err(error) => return Err(error.into()),
    };
    if let (Some(present), Orchestrator::Cni) = (&present, &workload.orchestrator) {
        return join(&client, conf, call, present.clone()).await;
    }
    let ipam = addresses(client.store(), call, conf, input, log).await?;
    let mut undo = Undo { client: &client, call, conf, input, log, network: false, endpoint: None };
    match connect(&client, call, conf, &workload, present, &ipam, mtu, &mut undo).await {
        Ok(added) => Ok(added),
        Err(error) => {
            undo.all().await;
            Err(error)
        }
    }
}

/// What a failed ADD has made so far.
struct Undo<'a> {
    client: &'a Client,
    call: &'a Call,
    conf: &'a NetConf,
    input: &'a [u8],
    log: &'a Log,
    network: bool,
    endpoint: Option<(String, String)>,
}

impl Undo<'_> {
    /// Takes it all back; what cannot be is logged, and left to DEL.
    async fn all(self) {
        if let Some((namespace, name)) = &self.endpoint
            && let Err(error) = self.client.delete(Kind::WorkloadEndpoint, namespace, name, "").await
        {
            self.log.write(Level::Warning, &format!("undo: endpoint {namespace}/{name}: {error}"));
        }
        if self.network
            && let Some(netns) = &self.call.netns
            && let Err(error) = podnet::teardown(netns, &self.call.ifname.as_str().into())
        {
            self.log.write(Level::Warning, &format!("undo: {error}"));
        }
        if let Err(error) = release(self.client.store(), self.call, self.conf, self.input, self.log).await {
            self.log.write(Level::Warning, &format!("undo: addresses: {}", error.msg));
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the state of one ADD, passed once")]
async fn connect(
    client: &Client,
    call: &Call,
    conf: &NetConf,
    workload: &Workload,
    present: Option<Typed<WorkloadEndpointSpec>>,
    ipam: &Added,
    mtu: Mtu,
    undo: &mut Undo<'_>,
) -> Result<Added, CniError> {
    if ipam.ips.is_empty() {
        return Err(CniError::failed("IPAM plugin did not return any IP addresses"));
    }
    let netns = call.netns.as_deref().unwrap_or(Path::new(""));
    let interface = workload.interface();
    let ips: Vec<IpNet> = ipam.ips.iter().map(|ip| IpNet::from(ip.addr())).collect();
    let network = PodNetwork {
        host_interface: interface.clone(),
        container_interface: call.ifname.as_str().into(),
        netns,
        addresses: ips.iter().map(IpNet::addr).collect(),
        mtu,
        routes: vec![Ipv4Net::default().into(), Ipv6Net::default().into()],
        forwarding: if conf.container_settings.allow_ip_forwarding { Forwarding::Allowed } else { Forwarding::Denied },
        queues: u32::try_from(conf.num_queues.max(1)).unwrap_or(1),
        mac: None,
    };
    let created = network.setup().map_err(|error| CniError::failed(error.to_string()))?;
    undo.network = true;
    let mac = created.mac.to_string();

    let name = workload.endpoint_name()?;
    let mut object = present.unwrap_or_else(|| {
        let metadata = ObjectMeta { namespace: workload.namespace.clone(), ..ObjectMeta::named(&name) };
        Typed::new(metadata, WorkloadEndpointSpec::default())
    });
    object.metadata.labels.extend(workload.labels.clone());
    object.spec = WorkloadEndpointSpec {
        ip_networks: ips.iter().map(ToString::to_string).collect(),
        profiles: vec![conf.name.clone()],
        mac: mac.clone(),
        ..workload.spec()
    };
    undo.endpoint = Some((object.metadata.namespace.clone(), object.metadata.name.clone()));
    if object.metadata.resource_version.is_empty() {
        client.create(Resource::from(object)).await?;
    } else {
        client.update(Resource::from(object)).await?;
    }
    ensure_profile(client, conf, &workload.orchestrator).await?;
    Ok(Added {
        interfaces: vec![
            Interface { name: interface.0, ..Interface::default() },
            Interface { name: call.ifname.clone(), mac, sandbox: netns.display().to_string() },
        ],
        ips,
        routes: ipam.routes.clone(),
    })
}

/// A container that has its network already joins another: its endpoint gets the profile, nothing else happens.
async fn join(
    client: &Client,
    conf: &NetConf,
    call: &Call,
    mut present: Typed<WorkloadEndpointSpec>,
) -> Result<Added, CniError> {
    let (interface, mac) = (present.spec.interface_name.clone(), present.spec.mac.clone());
    let ips = present.spec.ip_networks.iter().filter_map(|network| network.parse().ok()).collect();
    if !present.spec.profiles.contains(&conf.name) {
        present.spec.profiles.push(conf.name.clone());
        client.update(Resource::from(present)).await?;
    }
    ensure_profile(client, conf, &Orchestrator::Cni).await?;
    let sandbox = call.netns.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    Ok(Added {
        interfaces: vec![
            Interface { name: interface, ..Interface::default() },
            Interface { name: call.ifname.clone(), mac, sandbox },
        ],
        ips,
        routes: Vec::new(),
    })
}

/// Disconnects a container; what is not there any more is success.
///
/// Kubernetes: endpoint, namespace, addresses; others: addresses, endpoint, namespace.
pub(crate) async fn del(call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    let workload = Workload::new(call, conf, conf.node()?);
    let client = Client::new(open(conf).await?);
    require_ready(&client).await?;
    match workload.orchestrator {
        Orchestrator::Kubernetes { .. } => {
            delete_endpoint(&client, &workload, log).await?;
            teardown(call)?;
            release(client.store(), call, conf, input, log).await
        }
        Orchestrator::Cni => {
            let released = release(client.store(), call, conf, input, log).await;
            delete_endpoint(&client, &workload, log).await?;
            teardown(call)?;
            released
        }
    }
}

fn teardown(call: &Call) -> Result<(), CniError> {
    let Some(netns) = &call.netns else { return Ok(()) };
    podnet::teardown(netns, &call.ifname.as_str().into()).map_err(|error| CniError::failed(error.to_string()))
}

/// Deletes the endpoint, unless a newer sandbox of the same pod has taken it over.
async fn delete_endpoint(client: &Client, workload: &Workload, log: &Log) -> Result<(), CniError> {
    let (namespace, name) = (&workload.namespace, workload.endpoint_name()?);
    for _ in 0..ATTEMPTS {
        let present = match client.get(Kind::WorkloadEndpoint, namespace, &name).await {
            Ok(present) => endpoint(present)?,
            Err(error) if error.not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let holder = &present.spec.container_id;
        if !holder.is_empty() && *holder != workload.container_id {
            log.write(Level::Info, &format!("endpoint {namespace}/{name} is container {holder}'s now; it stays"));
            return Ok(());
        }
        let key = api::Key::namespaced(Kind::WorkloadEndpoint, namespace, &name);
        let revision = api::Revision(present.metadata.resource_version.clone());
        match client.store().delete(&key, Some(&revision)).await {
            Ok(()) | Err(datastore::Error::NotFound(_)) => return Ok(()),
            Err(datastore::Error::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CniError::failed(format!("delete endpoint {namespace}/{name}: it was changed {ATTEMPTS} times meanwhile")))
}

async fn require_ready(client: &Client) -> Result<(), CniError> {
    let ready = match client.get(Kind::ClusterInformation, "", "default").await {
        Ok(Resource::ClusterInformation(object)) => object.spec.datastore_ready.unwrap_or(false),
        Ok(_) => false,
        Err(error) if error.not_found() => false,
        Err(error) => return Err(error.into()),
    };
    if ready { Ok(()) } else { Err(CniError::failed("Calico is currently not ready to process requests")) }
}

/// The network's profile, created once: all may leave, and enter (outside Kubernetes from the same network).
async fn ensure_profile(client: &Client, conf: &NetConf, orchestrator: &Orchestrator) -> Result<(), CniError> {
    match client.get(Kind::Profile, "", &conf.name).await {
        Ok(_) => return Ok(()),
        Err(error) if error.not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let source = match orchestrator {
        Orchestrator::Kubernetes { .. } => json!({}),
        Orchestrator::Cni => json!({"selector": format!("has({})", conf.name)}),
    };
    let spec = ProfileSpec {
        ingress: vec![json!({"action": "Allow", "source": source, "destination": {}})],
        egress: vec![json!({"action": "Allow", "source": {}, "destination": {}})],
        labels_to_apply: [(conf.name.clone(), String::new())].into(),
    };
    match client.create(Resource::from(Typed::new(ObjectMeta::named(&conf.name), spec))).await {
        Err(error) if !error.exists() => Err(error.into()),
        _ => Ok(()),
    }
}

async fn addresses(store: &dyn Store, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<Added, CniError> {
    match conf.ipam.plugin.as_str() {
        CALICO_IPAM => ipam_plugin::add(store, call, conf, log).await,
        other => delegate::run(other, "ADD", call, input),
    }
}

async fn release(store: &dyn Store, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<(), CniError> {
    match conf.ipam.plugin.as_str() {
        CALICO_IPAM => ipam_plugin::del(store, call, conf, log).await,
        other => delegate::run(other, "DEL", call, input).map(|_| ()),
    }
}

/// The configuration's MTU, else the agent's file's, else Ethernet's.
fn mtu(conf: &NetConf) -> Result<Mtu, CniError> {
    if conf.mtu != 0 {
        return Ok(Mtu(conf.mtu));
    }
    match std::fs::read_to_string(MTU_FILE) {
        Ok(text) => {
            let mtu = text.trim().parse();
            mtu.map(Mtu).map_err(|_| CniError::failed(format!("{MTU_FILE}: {:?} is not an MTU", text.trim())))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !conf.require_mtu_file => Ok(ETHERNET_MTU),
        Err(error) => Err(CniError::failed(format!("{MTU_FILE}: {error}"))),
    }
}

fn endpoint(resource: Resource) -> Result<Typed<WorkloadEndpointSpec>, CniError> {
    Typed::try_from(resource)
        .map_err(|kind: Kind| CniError::failed(format!("expected an endpoint, found a {}", kind.name())))
}
