//! `calico-ipam`: addresses from Calico's IPAM (dataplane reference §1.8).
//!
//! The main plugin calls these functions in its own process instead of starting the plugin; what the datastore
//! sees is the same.

use super::Role;
use super::call::Call;
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::NetConf;
use super::output::Added;
use super::workload::{Orchestrator, Workload};
use api::event::{Key, Object};
use api::resource::{Kind, Resource};
use datastore::{Scope, Store};
use ipam::block::Holder;
use ipam::{
    AssignIp, AssignIpError, AutoAssign, AutoAssignError, Clock, Ipam, LookupError, Release, ReleaseError, Shortage,
    SystemClock, attribute_timestamp,
};
use ipnet::IpNet;
use nix::fcntl::{Flock, FlockArg};
use std::fs::OpenOptions;
use std::net::IpAddr;

/// The plugin's name, as network configurations have it.
pub(crate) const NAME: &str = "calico-ipam";

/// What an ADD asks for, and what has been read for it.
pub(crate) enum Prepared {
    /// This address.
    Address(IpAddr),
    /// Some address of each family that is wanted.
    Auto(Box<ipam::Prepared>),
}

/// Assigns addresses to a container; each comes with its block's prefix length, and a route to
/// the block.
pub(crate) async fn add(store: &dyn Store, call: &Call, conf: &NetConf, log: &Log) -> Result<Added, CniError> {
    let prepared = prepare(store, call, conf).await?;
    assign(store, prepared, call, conf, log).await
}

/// Reads what an assignment depends on, and changes nothing: the first half of [`add`].
pub(crate) async fn prepare(store: &dyn Store, call: &Call, conf: &NetConf) -> Result<Prepared, CniError> {
    if let Some(text) = call.args.get("IP") {
        let address = text.parse().map_err(|_| CniError::failed(format!("invalid IP address: {text}")))?;
        return Ok(Prepared::Address(address));
    }
    let workload = Workload::new(call, conf, conf.node(Role::Ipam)?);
    let Holder { handle, attributes } = holder(&workload, conf);
    let request = request(store, conf, workload.node).await?;
    let request = AutoAssign { handle, attrs: attributes, ..request };
    let prepared = Ipam::new(store, &SystemClock).prepare(request).await.map_err(auto_assign_failed)?;
    Ok(Prepared::Auto(Box::new(prepared)))
}

/// Assigns what was prepared: the second half of [`add`].
pub(crate) async fn assign(
    store: &dyn Store,
    prepared: Prepared,
    call: &Call,
    conf: &NetConf,
    log: &Log,
) -> Result<Added, CniError> {
    let ipam = Ipam::new(store, &SystemClock);
    let ips = match prepared {
        Prepared::Address(address) => {
            let workload = Workload::new(call, conf, conf.node(Role::Ipam)?);
            let holder = holder(&workload, conf);
            let _lock = lock(conf, log);
            ipam.assign_ip(&AssignIp { address, holder, host: workload.node }).await.map_err(assign_failed)?;
            vec![IpNet::from(address)]
        }
        Prepared::Auto(prepared) => {
            let _lock = lock(conf, log);
            let assigned = ipam.assign_prepared(*prepared).await.map_err(auto_assign_failed)?;
            let ips: Vec<IpNet> = assigned.v4.into_iter().chain(assigned.v6).collect();
            if let Some(shortage) = assigned.shortages.first() {
                release(&ipam, &ips, Some(&handle(conf, &call.container_id))).await?;
                return Err(no_addresses(shortage));
            }
            ips
        }
    };
    log.write(Level::Info, &format!("assigned {ips:?}"));
    Ok(Added { routes: ips.iter().map(|ip| ip.trunc().to_string()).collect(), ips, ..Added::default() })
}

/// Who is to hold the addresses.
fn holder(workload: &Workload, conf: &NetConf) -> Holder {
    let mut attributes = workload.attributes();
    attributes.insert("timestamp".to_owned(), attribute_timestamp(SystemClock.now()));
    Holder { handle: Some(handle(conf, &workload.container_id)), attributes }
}

/// Releases the addresses that one ADD was given; others of the same container stay.
pub(crate) async fn give_back(
    store: &dyn Store,
    call: &Call,
    conf: &NetConf,
    addresses: &[IpNet],
    log: &Log,
) -> Result<(), CniError> {
    let _lock = lock(conf, log);
    release(&Ipam::new(store, &SystemClock), addresses, Some(&handle(conf, &call.container_id))).await
}

pub(crate) async fn release(ipam: &Ipam<'_>, addresses: &[IpNet], handle: Option<&str>) -> Result<(), CniError> {
    let release = |net: &IpNet| Release { address: net.addr(), handle: handle.map(str::to_owned), sequence: None };
    let releases: Vec<Release> = addresses.iter().map(release).collect();
    ipam.release_ips(&releases).await.map_err(release_failed).map(|_| ())
}

/// Releases a container's addresses and returns them; having none is success.
pub(crate) async fn del(store: &dyn Store, call: &Call, conf: &NetConf, log: &Log) -> Result<Vec<IpAddr>, CniError> {
    let _lock = lock(conf, log);
    let ipam = Ipam::new(store, &SystemClock);
    let workload = Workload::new(call, conf, String::new());
    let legacy = match &workload.orchestrator {
        Orchestrator::Kubernetes { pod } => format!("{}.{pod}", workload.namespace),
        Orchestrator::Cni => workload.container_id.clone(),
    };
    let current = handle(conf, &call.container_id);
    let mut all = Vec::new();
    for handle in [&current, &legacy] {
        match ipam.release_by_handle(handle).await {
            Ok(released) => {
                log.write(Level::Debug, &format!("released {released:?} of {handle}"));
                all.extend(released);
            }
            Err(ReleaseError::NoSuchHandle(_)) if *handle == current => {
                let message = "Asked to release address but it doesn't exist. Ignoring";
                log.write(Level::Warning, &format!("{message} HandleID={handle:?}"));
            }
            Err(ReleaseError::NoSuchHandle(_)) => log.write(Level::Debug, &format!("{handle} holds no address")),
            Err(error) => return Err(release_failed(error)),
        }
    }
    Ok(all)
}

/// Releases those of `addresses` that a container was given in whatever network; others stay with their holders.
pub(crate) async fn release_of_container(
    store: &dyn Store,
    call: &Call,
    conf: &NetConf,
    addresses: &[IpAddr],
    log: &Log,
) -> Result<(), CniError> {
    let _lock = lock(conf, log);
    let ipam = Ipam::new(store, &SystemClock);
    let suffix = format!(".{}", call.container_id);
    for address in addresses {
        let handle = match ipam.attributes_of(*address).await {
            Ok(holder) => holder.handle_id.filter(|handle| handle.ends_with(&suffix)),
            Err(LookupError::Store(error)) => return Err(error.into()),
            Err(LookupError::NotAssigned(_) | LookupError::NoSuchHandle(_)) => None,
        };
        if let Some(handle) = handle {
            release(&ipam, &[IpNet::from(*address)], Some(&handle)).await?;
            log.write(Level::Debug, &format!("released {address} of {handle}"));
        }
    }
    Ok(())
}

fn auto_assign_failed(error: AutoAssignError) -> CniError {
    if let AutoAssignError::Store(error) = error { error.into() } else { CniError::failed(error.to_string()) }
}

fn assign_failed(error: AssignIpError) -> CniError {
    if let AssignIpError::Store(error) = error { error.into() } else { CniError::failed(error.to_string()) }
}

fn release_failed(error: ReleaseError) -> CniError {
    if let ReleaseError::Store(error) = error { error.into() } else { CniError::failed(error.to_string()) }
}

/// The handle of a container's addresses in the configuration's network.
pub(crate) fn handle(conf: &NetConf, container_id: &str) -> String {
    handle_of(&conf.name, container_id)
}

/// `NETWORK.CONTAINER`.
pub(crate) fn handle_of(network: &str, container_id: &str) -> String {
    format!("{network}.{container_id}")
}

/// Demands that ADD would find an address of each family.
pub(crate) async fn require_room(store: &dyn Store, conf: &NetConf, node: String) -> Result<(), CniError> {
    let request = request(store, conf, node).await?;
    let shortages = Ipam::new(store, &SystemClock).shortages(&request).await.map_err(auto_assign_failed)?;
    shortages.first().map_or(Ok(()), |shortage| Err(no_addresses(shortage)))
}

/// What the configuration asks for, for nobody yet.
async fn request(store: &dyn Store, conf: &NetConf, node: String) -> Result<AutoAssign, CniError> {
    Ok(AutoAssign {
        num_v4: usize::from(conf.ipam.assign_ipv4 != "false"),
        num_v6: usize::from(conf.ipam.assign_ipv6 == "true"),
        host: node,
        pools: requested_pools(store, conf).await?,
        ..AutoAssign::default()
    })
}

fn no_addresses(shortage: &Shortage) -> CniError {
    CniError::failed(format!("failed to request {} addresses: {shortage}", shortage.family))
}

/// The pools that the configuration asks for, by name or CIDR; none when it asks for none.
async fn requested_pools(store: &dyn Store, conf: &NetConf) -> Result<Option<Vec<IpNet>>, CniError> {
    let asked = [(&conf.ipam.ipv4_pools, false), (&conf.ipam.ipv6_pools, true)];
    if asked.iter().all(|(words, _)| words.is_empty()) {
        return Ok(None);
    }
    let (listing, _) = store.list(&Scope::Kind(Kind::IPPool)).await?;
    let named = |word: &str| {
        listing.entries.iter().find_map(|entry| {
            let Object::Resource(Resource::IPPool(pool)) = &entry.object else { return None };
            (pool.metadata.name == word).then(|| pool.spec.cidr.parse().ok()).flatten()
        })
    };
    let mut pools = Vec::new();
    for (words, v6) in asked {
        for word in words {
            let cidr: Option<IpNet> = word.parse().ok().or_else(|| named(word));
            let is_named = |key: &Key| matches!(key, Key::Resource { name, .. } if name == word);
            if let (None, Some(unreadable)) = (cidr, listing.unreadable.iter().find(|it| is_named(&it.key))) {
                return Err(datastore::Error::from(unreadable.clone()).into());
            }
            let cidr =
                cidr.ok_or_else(|| CniError::failed(format!("error parsing pool {word:?}: no such pool, nor a CIDR")))?;
            if matches!(cidr, IpNet::V6(_)) != v6 {
                let family = if v6 { "IPv6" } else { "IPv4" };
                return Err(CniError::failed(format!("{cidr} isn't a {family} address pool")));
            }
            pools.push(cidr);
        }
    }
    Ok(Some(pools))
}

/// Takes the host's IPAM lock, shared with Calico's plugin; without it only retries are more likely.
pub(crate) fn lock(conf: &NetConf, log: &Log) -> Option<Flock<std::fs::File>> {
    let path = conf.lock_file();
    let _ = path.parent().map(std::fs::create_dir_all);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let locked = file
        .map_err(|error| error.to_string())
        .and_then(|file| Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.to_string()));
    match locked {
        Ok(lock) => Some(lock),
        Err(error) => {
            log.write(Level::Warning, &format!("no IPAM lock: {}: {error}", path.display()));
            None
        }
    }
}
