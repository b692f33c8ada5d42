//! datastore migrate export: what a cluster in etcd is, in the form that import reads (control reference §5.7).

use super::super::{Failed, yaml};
use crate::client::Client;
use api::event::{Key, Object, OwnerType};
use api::ipam::{Affinity, Block, Config, Handle};
use api::kind::NodeSpec;
use api::meta::API_VERSION;
use api::resource::{Kind, Resource, Typed};
use datastore::{Query, Scope, layout};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;

/// What is exported, in order: a policy's tier comes before it, and nodes before what is named after one.
const KINDS: [Kind; 17] = [
    Kind::IPPool,
    Kind::BGPPeer,
    Kind::Tier,
    Kind::GlobalNetworkPolicy,
    Kind::StagedGlobalNetworkPolicy,
    Kind::GlobalNetworkSet,
    Kind::HostEndpoint,
    Kind::KubeControllersConfiguration,
    Kind::NetworkPolicy,
    Kind::StagedNetworkPolicy,
    Kind::StagedKubernetesNetworkPolicy,
    Kind::NetworkSet,
    Kind::Node,
    Kind::BGPConfiguration,
    Kind::FelixConfiguration,
    Kind::IPReservation,
    Kind::BGPFilter,
];

/// Policies that Kubernetes' own become: they are made anew.
const OF_KUBERNETES: &str = "knp.default.";

/// Handles of addresses that a node has for itself end in its name.
const OF_NODES: [&str; 3] = ["ipip-tunnel-addr-", "vxlan-tunnel-addr-", "wireguard-tunnel-addr-"];

/// Each node's name, and its name in Kubernetes.
type Names = BTreeMap<String, String>;

/// The whole export.
pub(super) async fn text(client: &Client, information: &Resource) -> Result<String, Failed> {
    let mut names = Names::new();
    let mut text = String::new();
    for kind in KINDS {
        let listed = client.list_readable(kind, "").await?;
        if let Some(unreadable) = listed.unreadable.into_iter().next() {
            return Err(Failed(datastore::Error::from(unreadable).to_string()));
        }
        let mut items = Vec::new();
        for mut resource in listed.resources {
            if kind == Kind::NetworkPolicy && resource.metadata().name.starts_with(OF_KUBERNETES) {
                continue;
            }
            rename(&mut resource, &mut names)?;
            resource.leave_out_defaults();
            let metadata = resource.metadata_mut();
            metadata.uid.clear();
            metadata.resource_version.clear();
            metadata.creation_timestamp = None;
            metadata.deletion_timestamp = None;
            metadata.deletion_grace_period_seconds = None;
            items.push(resource);
        }
        let list = json!({
            "apiVersion": API_VERSION,
            "items": items,
            "kind": format!("{}List", kind.name()),
            "metadata": {"resourceVersion": listed.revision},
        });
        text += &yaml::write(&list);
        text += "---\n";
    }
    text += &format!("===\n{}\n", pretty(information)?);
    text += &format!("===\n{}\n", pretty(&Ipam::read(client, &names).await?)?);
    Ok(text)
}

fn pretty(value: &impl Serialize) -> Result<String, Failed> {
    serde_json::to_string_pretty(value).map_err(|error| Failed(error.to_string()))
}

/// Gives a node, and what is named after one, the node's name in Kubernetes.
fn rename(resource: &mut Resource, names: &mut Names) -> Result<(), Failed> {
    let (kind, name) = (resource.kind(), resource.metadata().name.clone());
    if kind == Kind::Node {
        let new = name_in_kubernetes(resource).ok_or_else(|| {
            Failed(format!(
                "node {name} missing a 'k8s' orchestrator reference. Unable to export data unless every node has a 'k8s' \
                 orchestrator reference"
            ))
        })?;
        names.insert(name, new.clone());
        resource.metadata_mut().name = new;
    } else if [Kind::BGPConfiguration, Kind::FelixConfiguration].contains(&kind)
        && let Some(new) = name.strip_prefix("node.").and_then(|node| names.get(node))
    {
        resource.metadata_mut().name = format!("node.{new}");
    }
    Ok(())
}

fn name_in_kubernetes(node: &Resource) -> Option<String> {
    let node = Typed::<NodeSpec>::try_from(node.clone()).ok()?;
    let references = node.spec.orch_refs.into_iter().filter(|it| it.orchestrator == "k8s");
    references.map(|it| it.node_name).rfind(|name| !name.is_empty())
}

/// What IPAM knows, as import reads it.
#[derive(Default, Serialize)]
struct Ipam {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    block_affinities: Vec<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocks: Vec<Pair>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    handles: Vec<Pair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<Pair>,
}

/// A key as its path in etcd, and its value.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    value: Stored,
    #[serde(rename = "TTL")]
    ttl: u64,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Stored {
    Affinity(Affinity),
    Block(Block),
    Handle(Handle),
    Config(Config),
}

impl Ipam {
    async fn read(client: &Client, names: &Names) -> Result<Ipam, Failed> {
        let queries = [
            Query::List(Scope::Affinities),
            Query::List(Scope::Blocks),
            Query::List(Scope::Handles),
            Query::Get(Key::IpamConfig),
        ];
        let (found, _) = client.store().read(&queries).await.map_err(|error| Failed(error.to_string()))?;
        let mut ipam = Ipam::default();
        for listing in found {
            for entry in listing.whole().map_err(|error| Failed(error.to_string()))? {
                ipam.add(entry.key, entry.object, names);
            }
        }
        Ok(ipam)
    }

    fn add(&mut self, mut key: Key, object: Object, names: &Names) {
        match &mut key {
            Key::Affinity { owner_type: OwnerType::Host, owner, .. } => renamed(owner, names),
            Key::Handle(id) => rename_handle(id, names),
            Key::Affinity { .. } | Key::Resource { .. } | Key::Block(_) | Key::IpamConfig | Key::Ready => {}
        }
        let (pairs, value) = match object {
            Object::Affinity(affinity) => (&mut self.block_affinities, Stored::Affinity(affinity)),
            Object::Block(mut block) => {
                rename_in_block(&mut block, names);
                (&mut self.blocks, Stored::Block(block))
            }
            Object::Handle(handle) => (&mut self.handles, Stored::Handle(handle)),
            Object::IpamConfig(config) => {
                self.config = Some(Pair { key: layout::path(&key), value: Stored::Config(config), ttl: 0 });
                return;
            }
            Object::Resource(_) | Object::Ready(_) => return,
        };
        pairs.push(Pair { key: layout::path(&key), value, ttl: 0 });
    }
}

fn renamed(name: &mut String, names: &Names) {
    if let Some(new) = names.get(name) {
        name.clone_from(new);
    }
}

fn rename_handle(id: &mut String, names: &Names) {
    let found = OF_NODES.iter().find_map(|prefix| Some((prefix, names.get(id.strip_prefix(prefix)?)?)));
    if let Some((prefix, new)) = found {
        *id = format!("{prefix}{new}");
    }
}

fn rename_in_block(block: &mut Block, names: &Names) {
    for attribute in &mut block.attributes {
        if let Some(node) = attribute.secondary.as_mut().and_then(|it| it.get_mut("node")) {
            renamed(node, names);
        }
        if let Some(id) = &mut attribute.handle_id {
            rename_handle(id, names);
        }
    }
    if let Some(new) = block.affinity.as_deref().and_then(|it| it.strip_prefix("host:")).and_then(|it| names.get(it)) {
        block.affinity = Some(format!("host:{new}"));
    }
}
