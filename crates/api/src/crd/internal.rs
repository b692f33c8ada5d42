//! Definitions of what Calico's programs keep in Kubernetes besides the kinds that users write.
//!
//! Their types here are schemas alone: who stores such objects has them in the form of the datastore.

use super::{Definition, Group, Named, PrinterColumn, assembled, structural};
use schemars::{JsonSchema, Schema};
use serde_json::Value;
use std::collections::BTreeMap;

/// The definitions of a group.
pub(super) fn definitions(group: Group) -> Vec<Value> {
    let global = |kind, plural| Named { kind, plural, namespaced: false };
    let ipam_config = match group {
        Group::Crd => global("IPAMConfig", "ipamconfigs"),
        Group::V3 => global("IPAMConfiguration", "ipamconfigurations"),
    };
    vec![
        assembled(
            global("BlockAffinity", "blockaffinities"),
            &AFFINITY,
            of::<BlockAffinity>(group, &AFFINITY_BEFORE),
            group,
        ),
        assembled(
            global("CalicoNodeStatus", "caliconodestatuses"),
            &NODE_STATUS,
            of::<NodeStatusSpec>(group, &[]),
            group,
        ),
        assembled(global("IPAMBlock", "ipamblocks"), &BLOCK, of::<Block>(group, &BLOCK_BEFORE), group),
        assembled(ipam_config, &CONFIG, of::<Config>(group, &CONFIG_BEFORE), group),
        assembled(global("IPAMHandle", "ipamhandles"), &HANDLE, of::<Handle>(group, &[]), group),
    ]
}

/// A limit that the group `crd.projectcalico.org` has otherwise: field, keyword, and its value or none.
type Before = (&'static str, &'static str, Option<Word>);

/// The value of a keyword.
#[derive(Clone, Copy)]
enum Word {
    Text(&'static str),
    Number(i64),
}

const AFFINITY_BEFORE: [Before; 4] = [
    ("cidr", "format", None),
    ("deleted", "default", None),
    ("deleted", "type", Some(Word::Text("string"))),
    ("state", "enum", None),
];
const BLOCK_BEFORE: [Before; 2] = [("affinity", "pattern", None), ("cidr", "format", None)];
const CONFIG_BEFORE: [Before; 4] = [
    ("autoAllocateBlocks", "default", None),
    ("maxBlocksPerHost", "default", None),
    ("maxBlocksPerHost", "maximum", Some(Word::Number(i32::MAX as i64))),
    ("strictAffinity", "default", None),
];

/// A type's schema in a group.
fn of<T: JsonSchema>(group: Group, before: &[Before]) -> Value {
    let mut schema = structural::of::<T>();
    let before = if group == Group::Crd { before } else { &[] };
    for (field, keyword, value) in before {
        let Some(limits) = schema["properties"][field].as_object_mut() else { continue };
        match value {
            None => limits.remove(*keyword),
            Some(Word::Text(text)) => limits.insert((*keyword).to_owned(), (*text).into()),
            Some(Word::Number(number)) => limits.insert((*keyword).to_owned(), (*number).into()),
        };
    }
    schema
}

const AFFINITY: Definition = Definition {
    short_names: &["affinity", "affinities"],
    columns: &[
        PrinterColumn::new("CIDR", "string", ".spec.cidr"),
        PrinterColumn::new("Node", "string", ".spec.node"),
        PrinterColumn::new("Type", "string", ".spec.type"),
    ],
    ..Definition::PLAIN
};

const NODE_STATUS: Definition = Definition {
    columns: &[
        PrinterColumn::new("Node", "string", ".spec.node"),
        PrinterColumn::new("Classes", "string", ".spec.classes"),
    ],
    status_schema: Some(structural::of::<NodeStatus>),
    ..Definition::PLAIN
};

const BLOCK: Definition = Definition {
    columns: &[
        PrinterColumn::new("CIDR", "string", ".spec.cidr"),
        PrinterColumn::new("Affinity", "string", ".spec.affinity"),
        PrinterColumn::new("ClaimTime", "date", ".spec.affinityClaimTime"),
    ],
    ..Definition::PLAIN
};

const CONFIG: Definition = Definition {
    short_names: &["ipamconfig", "ipamconfigs"],
    columns: &[
        PrinterColumn::new("StrictAffinity", "boolean", ".spec.strictAffinity"),
        PrinterColumn::new("MaxBlocksPerHost", "integer", ".spec.maxBlocksPerHost"),
        PrinterColumn::new("AutoAllocateBlocks", "boolean", ".spec.autoAllocateBlocks"),
    ],
    ..Definition::PLAIN
};

const HANDLE: Definition =
    Definition { columns: &[PrinterColumn::new("ID", "string", ".spec.handleID")], ..Definition::PLAIN };

/// An owner's claim on a block.
#[derive(JsonSchema)]
#[schemars(extend("required" = ["cidr", "deleted", "node", "state"]))]
#[expect(dead_code, reason = "its schema is what counts")]
struct BlockAffinity {
    /// The block.
    #[schemars(extend("format" = "cidr"))]
    cidr: String,
    /// A tombstone.
    #[schemars(extend("x-default" = false))]
    deleted: bool,
    /// The owner.
    node: String,
    /// How far the claim has got.
    #[schemars(extend("enum" = ["", "confirmed", "pending", "pendingDeletion"]))]
    state: String,
    /// `host` or `virtual`.
    r#type: Option<String>,
}

/// An IPAM block.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["allocations", "attributes", "cidr", "strictAffinity", "unallocated"]))]
#[expect(dead_code, reason = "its schema is what counts")]
struct Block {
    /// `host:NODE` or `virtual:NAME`.
    #[schemars(extend("pattern" = r"^(host|virtual):[a-zA-Z0-9\.\-_]+$"))]
    affinity: Option<String>,
    /// When the affinity was claimed.
    #[schemars(extend("format" = "date-time"))]
    affinity_claim_time: Option<String>,
    /// One entry per address: an index into the attributes, or null.
    #[schemars(transform = super::items(serde_json::json!({"x-nullable": true})))]
    allocations: Vec<i64>,
    /// Who holds addresses.
    attributes: Vec<Attribute>,
    /// The block's range.
    #[schemars(extend("format" = "cidr"))]
    cidr: String,
    /// A tombstone.
    deleted: Option<bool>,
    /// Grows by one with each change.
    #[schemars(extend("x-default" = 0, "x-format" = "int64"))]
    sequence_number: Option<i64>,
    /// The sequence number at which each address was given out.
    #[schemars(transform = wide_values)]
    sequence_number_for_allocation: Option<BTreeMap<String, i64>>,
    /// Whether only the owner gives addresses out.
    strict_affinity: bool,
    /// Free ordinals.
    unallocated: Vec<i64>,
}

/// Says of a map that its numbers have 64 bits.
fn wide_values(schema: &mut Schema) {
    if let Some(Value::Object(values)) = schema.get_mut("additionalProperties") {
        values.insert("x-format".to_owned(), "int64".into());
    }
}

/// The holder of addresses.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "its schema is what counts")]
struct Attribute {
    /// The other owner of a virtual machine that moves.
    #[serde(rename = "alternateOwnerAttrs")]
    alternate_owner_attrs: Option<BTreeMap<String, String>>,
    /// The handle.
    handle_id: Option<String>,
    /// What the owner said.
    secondary: Option<BTreeMap<String, String>>,
}

/// The IPAM configuration.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["autoAllocateBlocks", "strictAffinity"]))]
#[expect(dead_code, reason = "its schema is what counts")]
struct Config {
    /// Whether nodes claim blocks as they need them.
    #[schemars(extend("x-default" = true))]
    auto_allocate_blocks: bool,
    /// Whether a KubeVirt virtual machine keeps its address.
    #[serde(rename = "kubeVirtVMAddressPersistence")]
    #[schemars(extend("enum" = ["Enabled", "Disabled"]))]
    kube_virt_vm_address_persistence: Option<String>,
    /// The most blocks of a node; 0 for 20.
    #[schemars(extend("x-default" = 0, "minimum" = 0, "maximum" = 1_000_000))]
    max_blocks_per_host: Option<i64>,
    /// Whether a node gives out addresses of its own blocks alone.
    #[schemars(extend("x-default" = false))]
    strict_affinity: bool,
}

/// How many addresses a handle holds in which blocks.
#[derive(JsonSchema)]
#[schemars(extend("required" = ["block", "handleID"]))]
#[expect(dead_code, reason = "its schema is what counts")]
struct Handle {
    /// Block to number of addresses.
    block: BTreeMap<String, i64>,
    /// A tombstone.
    deleted: Option<bool>,
    /// The handle's ID.
    #[serde(rename = "handleID")]
    handle_id: String,
}

/// What of a node is to be told.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct NodeStatusSpec {
    /// What is told.
    #[schemars(transform = super::items(serde_json::json!({"enum": ["Agent", "BGP", "Routes"]})))]
    classes: Option<Vec<String>>,
    /// The node.
    node: Option<String>,
    /// How often; 0 for never.
    update_period_seconds: Option<u32>,
}

/// What a node's agent says.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct NodeStatus {
    /// Whether BGP runs.
    agent: Option<AgentStatus>,
    /// Its sessions.
    bgp: Option<BgpStatus>,
    /// When it was told.
    #[schemars(extend("format" = "date-time", "x-nullable" = true))]
    last_updated: Option<String>,
    /// The routes that it knows.
    routes: Option<RoutesStatus>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct AgentStatus {
    /// For IPv4.
    bird_v4: Option<BirdStatus>,
    /// For IPv6.
    bird_v6: Option<BirdStatus>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct BirdStatus {
    /// When it was started.
    last_boot_time: Option<String>,
    /// When its configuration changed.
    last_reconfiguration_time: Option<String>,
    /// Its BGP identifier.
    #[serde(rename = "routerID")]
    router_id: Option<String>,
    /// Whether it runs.
    #[schemars(extend("enum" = ["Ready", "NotReady"]))]
    state: Option<String>,
    /// Its version.
    version: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = [
    "numberEstablishedV4", "numberEstablishedV6", "numberNotEstablishedV4", "numberNotEstablishedV6"
]))]
#[expect(dead_code, reason = "its schema is what counts")]
struct BgpStatus {
    /// Sessions that stand, over IPv4.
    number_established_v4: i64,
    /// Sessions that stand, over IPv6.
    number_established_v6: i64,
    /// Sessions that do not, over IPv4.
    number_not_established_v4: i64,
    /// Sessions that do not, over IPv6.
    number_not_established_v6: i64,
    /// Peers over IPv4.
    peers_v4: Option<Vec<PeerStatus>>,
    /// Peers over IPv6.
    peers_v6: Option<Vec<PeerStatus>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct PeerStatus {
    /// Its address.
    #[serde(rename = "peerIP")]
    peer_ip: Option<String>,
    /// Since when its session is what it is.
    since: Option<String>,
    /// What its session is.
    #[schemars(extend("enum" = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"]))]
    state: Option<String>,
    /// Where it comes from.
    #[schemars(extend("enum" = ["NodeMesh", "NodePeer", "GlobalPeer"]))]
    r#type: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct RoutesStatus {
    /// For IPv4.
    routes_v4: Option<Vec<RouteStatus>>,
    /// For IPv6.
    routes_v6: Option<Vec<RouteStatus>>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct RouteStatus {
    /// Where to.
    destination: Option<String>,
    /// The next hop.
    gateway: Option<String>,
    /// The interface.
    interface: Option<String>,
    /// Who taught it.
    learned_from: Option<RouteSource>,
    /// Whether the kernel has it.
    #[schemars(extend("enum" = ["FIB", "RIB"]))]
    r#type: Option<String>,
}

#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its schema is what counts")]
struct RouteSource {
    /// The peer's address.
    #[serde(rename = "peerIP")]
    peer_ip: Option<String>,
    /// What kind of source it is.
    #[schemars(extend("enum" = ["Kernel", "Static", "Direct", "NodeMesh", "BGPPeer"]))]
    source_type: Option<String>,
}
