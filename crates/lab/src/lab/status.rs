//! Which processes a lab runs.

use super::Lab;
use crate::process::{self, Process};
use crate::router;
use crate::topology::Datastore;
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// Process ids of a lab, as the caller sees them; `None` where none runs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// The datastore's server.
    pub store: StoreStatus,
    /// Every node.
    pub nodes: Vec<NodeStatus>,
    /// Every router.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<RouterStatus>,
}

/// The datastore's server.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct StoreStatus {
    /// Its process.
    pub pid: Option<i32>,
}

/// A node.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Address of its uplink.
    pub address: String,
    /// Its first process.
    pub init: Option<i32>,
    /// Its agent.
    pub agent: Option<i32>,
}

/// A router.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct RouterStatus {
    /// Its name.
    pub name: String,
    /// Address of its uplink.
    pub address: String,
    /// Which program it runs, as the topology has it.
    pub kind: String,
    /// Its first process.
    pub init: Option<i32>,
    /// The process that speaks BGP.
    pub speaker: Option<i32>,
}

impl Lab {
    /// Returns which processes the lab runs.
    pub fn status(&self) -> Result<Status> {
        let running = self.running()?;
        let topology = &running.record.topology;
        let server = match topology.datastore {
            Datastore::Store => ["tortie", "store"].as_slice(),
            Datastore::Etcd => &["etcd"],
        };
        let store = find_by_words(&running.children, server);
        let look = |host: &str| {
            let init = running.host(host);
            (init, init.map(process::children).unwrap_or_default())
        };
        let nodes = topology.nodes.iter().map(|node| {
            let (init, children) = look(&node.name);
            let agent = find_by_words(&children, &["tortie", "node"]);
            NodeStatus { name: node.name.clone(), address: node.address.to_string(), init, agent }
        });
        let routers = topology.routers.iter().map(|router| {
            let (init, children) = look(&router.name);
            let speaker = find_by_program(&children, router::speaker(router.kind));
            let (name, address) = (router.name.clone(), router.address.to_string());
            RouterStatus { name, address, kind: router.kind.to_string(), init, speaker }
        });
        Ok(Status { store: StoreStatus { pid: store }, nodes: nodes.collect(), routers: routers.collect() })
    }
}

/// Finds the process that runs a program, wherever the program's file is.
fn find_by_program(processes: &[Process], program: &str) -> Option<i32> {
    let runs = |process: &&Process| {
        process.arguments.first().and_then(|first| Path::new(first).file_name()).is_some_and(|name| name == program)
    };
    processes.iter().find(runs).map(|process| process.pid)
}

/// Finds the process whose arguments begin with these words.
fn find_by_words(processes: &[Process], words: &[&str]) -> Option<i32> {
    let begins = |process: &&Process| process.arguments.get(..words.len()).is_some_and(|head| head == words);
    processes.iter().find(begins).map(|process| process.pid)
}
