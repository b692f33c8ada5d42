//! Calls of the client and of IPAM, and what comes of them.

use crate::Random;
use api::resource::{Kind, Resource};
use datastore::config::Config;
use ipam::block::Holder;
use ipam::{AssignIp, Clock, Ipam};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use tortie::client::{Client, ClientError};

/// The time that both sides write.
const TIME: &str = "2026-11-22T23:18:18Z";

const KINDS: [Kind; 7] =
    [Kind::IPPool, Kind::IPReservation, Kind::Tier, Kind::BGPPeer, Kind::Node, Kind::FelixConfiguration, Kind::Profile];

/// One call.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Create(Kind, String, Value, String),
    /// With the version that is stored, or with the one that was read first.
    Update(Kind, String, Value, bool),
    Delete(Kind, String, bool),
    Get(Kind, String),
    List(Kind),
    Assign {
        address: String,
        handle: String,
        host: String,
    },
    Release(String),
}

impl Call {
    pub(crate) fn any(random: &mut Random, turn: usize) -> Call {
        let kind = KINDS[random.below(KINDS.len())];
        let index = random.below(4);
        let settings = kind == Kind::FelixConfiguration;
        let name = if settings && random.below(2) == 0 { format!("node.n{index}") } else { format!("n{index}") };
        let uid = format!("00000000-0000-4000-8000-{turn:012}");
        match random.below(20) {
            0..6 => Call::Create(kind, name, spec(kind, random), uid),
            6..10 => Call::Update(kind, name, spec(kind, random), random.below(4) == 0),
            10..13 => Call::Delete(kind, name, random.below(4) == 0),
            13 | 14 => Call::Get(kind, name),
            15 | 16 => Call::List(kind),
            17 | 18 => Call::Assign {
                address: format!("10.{}.0.{}", random.below(4), random.below(3)),
                handle: format!("handle-{}", random.below(4)),
                host: format!("n{index}"),
            },
            _ => Call::Release(format!("handle-{}", random.below(4))),
        }
    }
}

/// A spec, which is not always right.
fn spec(kind: Kind, random: &mut Random) -> Value {
    let number = random.below(4);
    match kind.name() {
        "IPPool" => {
            let (bits, size) = ([16, 16, 16, 17][random.below(4)], [26, 26, 26, 33][random.below(4)]);
            let cidr = format!("10.{number}.0.0/{bits}");
            json!({"cidr": cidr, "blockSize": size, "disabled": random.below(4) == 0, "natOutgoing": random.below(2) == 0})
        }
        "IPReservation" => json!({"reservedCIDRs": [format!("10.{number}.0.0/30")]}),
        "Tier" => {
            let action = ["Pass", "Deny", "Maybe"][random.below(3)];
            json!({"order": number, "defaultAction": action})
        }
        "BGPPeer" => {
            json!({"peerIP": format!("192.0.2.{number}"), "asNumber": 64512 + number, "node": format!("n{number}")})
        }
        "Node" => json!({"bgp": {"ipv4Address": format!("192.0.2.{}/{}", number + 1, 24 + random.below(10))}}),
        "FelixConfiguration" => {
            let level = ["Debug", "Info", "Loud"][random.below(3)];
            json!({"logSeverityScreen": level})
        }
        _ => json!({"labelsToApply": {"number": number.to_string()}}),
    }
}

/// What comes of a call, without the versions, which each side counts by itself.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Done(Value),
    Refused(String),
    /// Nobody knows what came of it.
    Unanswered,
}

/// A clock that stands.
struct Standing;

impl Clock for Standing {
    fn now(&self) -> jiff::Timestamp {
        TIME.parse().expect("a time")
    }
}

/// One of the two datastores, and what was read of it first.
pub(crate) struct Side {
    client: Client,
    first: BTreeMap<(&'static str, String), String>,
}

impl Side {
    pub(crate) async fn connect(endpoints: &str) -> Side {
        let config = Config { etcd_endpoints: endpoints.split(',').map(str::to_owned).collect(), ..Config::default() };
        Side { client: Client::new(datastore::connect(&config).await.expect("a client")), first: BTreeMap::new() }
    }

    pub(crate) async fn make(&mut self, call: &Call) -> Outcome {
        match self.result(call).await {
            Ok(value) => Outcome::Done(value),
            Err(Failure::Unavailable) => Outcome::Unanswered,
            Err(Failure::Refused(text)) => Outcome::Refused(text),
        }
    }

    async fn result(&mut self, call: &Call) -> Result<Value, Failure> {
        match call {
            Call::Create(kind, name, spec, uid) => {
                let metadata = json!({"name": name, "uid": uid, "creationTimestamp": TIME});
                let resource = read(*kind, metadata, spec);
                let created = self.client.create(resource).await?;
                let version = created.metadata().resource_version.clone();
                self.first.entry((kind.name(), name.clone())).or_insert(version);
                Ok(shown(created))
            }
            Call::Update(kind, name, spec, first) => {
                let present = self.client.get(*kind, "", name).await?;
                let found = present.metadata();
                let version = self.version(*kind, name, *first).unwrap_or_else(|| found.resource_version.clone());
                let metadata = json!({
                    "name": name, "uid": found.uid, "creationTimestamp": found.creation_timestamp,
                    "resourceVersion": version,
                });
                Ok(shown(self.client.update(read(*kind, metadata, spec)).await?))
            }
            Call::Delete(kind, name, first) => {
                let version = self.version(*kind, name, *first).unwrap_or_default();
                Ok(shown(self.client.delete(*kind, "", name, &version).await?))
            }
            Call::Get(kind, name) => Ok(shown(self.client.get(*kind, "", name).await?)),
            Call::List(kind) => {
                let listed = self.client.list(*kind, "").await?;
                // what the first client of a datastore made up is not the same
                let own = listed.into_iter().filter(|resource| resource.metadata().name.starts_with('n'));
                Ok(own.map(shown).collect())
            }
            Call::Assign { address, handle, host } => {
                let holder = Holder { handle: Some(handle.clone()), attributes: BTreeMap::new() };
                let address = address.parse().expect("an address");
                let request = AssignIp { address, holder, host: host.clone() };
                let assigned = Ipam::new(self.client.store(), &Standing).assign_ip(&request).await;
                assigned.map(|()| Value::Null).map_err(|error| Failure::of(&error))
            }
            Call::Release(handle) => {
                let released = Ipam::new(self.client.store(), &Standing).release_by_handle(handle).await;
                released.map(|addresses| json!(addresses)).map_err(|error| Failure::of(&error))
            }
        }
    }

    /// The version that was read first, if it is asked for and there is one.
    fn version(&self, kind: Kind, name: &str, first: bool) -> Option<String> {
        self.first.get(&(kind.name(), name.to_owned())).filter(|_| first).cloned()
    }
}

fn read(kind: Kind, metadata: Value, spec: &Value) -> Resource {
    let value = json!({"kind": kind.name(), "apiVersion": api::meta::API_VERSION, "metadata": metadata, "spec": spec});
    Resource::read(kind, value).expect("a resource")
}

fn shown(mut resource: Resource) -> Value {
    resource.metadata_mut().resource_version.clear();
    serde_json::to_value(&resource).expect("JSON")
}

enum Failure {
    Unavailable,
    Refused(String),
}

impl Failure {
    /// Errors of IPAM say by their text alone whether the datastore is away.
    fn of(error: &impl Display) -> Failure {
        let text = error.to_string();
        if text.contains("etcd at ") { Failure::Unavailable } else { Failure::Refused(text) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        Failure::of(&error)
    }
}
