//! A router's programs and their configuration, made of the topology alone.
//!
//! A file a program. Whatever the program, a router has a session with every node of the topology, in each node's AS;
//! one comes up once the operator has made a BGPPeer for it. It announces its networks and what it has learned, puts
//! what it learns into its kernel (GoBGP alone does not), restarts gracefully, and waits while a node does.

mod bird;
mod frr;
mod gobgp;
pub(crate) mod programs;

use crate::topology::{Kind, Node, Router, Topology};
use std::path::{Path, PathBuf};

/// What is put on a router's host, and run there.
#[derive(Debug, PartialEq)]
pub(crate) struct Setup {
    /// Files by their absolute paths.
    pub(crate) files: Vec<(String, String)>,
    /// Programs, in the order in which they start.
    pub(crate) daemons: Vec<Daemon>,
}

/// A program that runs for as long as its router does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Daemon {
    /// Its process's name.
    pub(crate) name: &'static str,
    /// The command that becomes it.
    pub(crate) command: Vec<String>,
    /// A file that an earlier run leaves when it is killed, and the argument that says so to the next.
    pub(crate) killed: Option<(&'static str, &'static str)>,
}

/// Returns what a router needs.
pub(crate) fn setup(topology: &Topology, router: &Router) -> Setup {
    match router.kind {
        Kind::Bird | Kind::Bird2 => bird::setup(topology, router),
        Kind::Frr => frr::setup(topology, router),
        Kind::Gobgp => gobgp::setup(topology, router),
    }
}

/// Directories that a router has for itself, without the leading slash: configuration, logs, and what goes when its
/// programs are stopped.
pub(crate) fn directories(kind: Kind) -> [String; 3] {
    ["etc", "var/log", "run"].map(|place| format!("{place}/{}", folder(kind)))
}

/// Returns the machine's `/etc/group` as a router has to see it, `None` when it is as good as any.
pub(crate) fn groups(kind: Kind, machine: &str) -> Option<String> {
    (kind == Kind::Frr).then(|| frr::groups(machine))
}

fn folder(kind: Kind) -> &'static str {
    match kind {
        Kind::Bird | Kind::Bird2 => "bird",
        Kind::Frr => "frr",
        Kind::Gobgp => "gobgp",
    }
}

/// The process that speaks BGP.
pub(crate) fn speaker(kind: Kind) -> &'static str {
    match kind {
        Kind::Bird | Kind::Bird2 => "bird",
        Kind::Frr => "bgpd",
        Kind::Gobgp => "gobgpd",
    }
}

/// A command that succeeds once the program runs with its configuration.
pub(crate) fn probe(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bird | Kind::Bird2 => &["birdc", "show", "status"],
        Kind::Frr => &["vtysh", "-c", "show bgp summary"],
        Kind::Gobgp => &["gobgp", "global"],
    }
}

/// A node as a router sees it.
struct Neighbor<'a> {
    node: &'a Node,
    as_number: u32,
    /// Whether both stand in one subnet.
    connected: bool,
    /// Whether the router passes other nodes' routes on to it and its routes to others.
    client: bool,
}

fn neighbors<'a>(topology: &'a Topology, router: &'a Router) -> impl Iterator<Item = Neighbor<'a>> {
    let subnet = topology.subnet_of(router.address);
    topology.nodes.iter().map(move |node| {
        let as_number = topology.as_of(node);
        let connected = topology.subnet_of(node.address) == subnet;
        Neighbor { node, as_number, connected, client: router.reflector && as_number == router.as_number }
    })
}

/// The file that a daemon writes to.
pub(crate) fn log(kind: Kind, daemon: &str) -> PathBuf {
    PathBuf::from(format!("/var/log/{}/{daemon}.log", folder(kind)))
}

impl Daemon {
    /// The arguments of the next start.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = &str> {
        let more = self.killed.filter(|(trace, _)| Path::new(trace).exists()).map(|(_, argument)| argument);
        self.command.iter().map(String::as_str).chain(more)
    }
}

#[cfg(test)]
mod tests;
