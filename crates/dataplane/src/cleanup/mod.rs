//! Takes off a node what agent, CNI plugin and a Calico before them left in its kernel, and nothing else.
//!
//! The reverse of the order in which things are made: what leads packets somewhere goes before what they meet there.
//! An object is ours by its looks alone, as ARCHITECTURE's table says; no datastore is asked. Objects that are gone, or
//! only half there, are no failures, and a failure does not stop the rest: a second call finds what the first left.
//! The caller sees to it that no agent runs meanwhile.

mod devices;
mod routes;

use crate::links::{self, Links};
use crate::netlink::{Error, Netlink};
use crate::{BgpDaemon, mtu, rules, status};
use ipnet::Ipv4Net;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Whether running pods lose their network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pods {
    /// They keep interface and route: pods of this node go on reaching each other and their node.
    Keep,
    /// Their interfaces go.
    Disconnect,
}

/// Whether the node goes on forwarding packets, which the agent turned on and others may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// It does.
    Keep,
    /// It does not.
    Stop,
}

/// What to take away.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What becomes of running pods.
    pub pods: Pods,
    /// Who wrote BGP's routes: those of another daemon than the agent are not ours.
    pub bgp: BgpDaemon,
    /// What becomes of packet forwarding.
    pub forwarding: Forwarding,
    /// IP pools beside those that the kernel's sets tell of: BGP's routes into them are ours.
    pub pools: BTreeSet<Ipv4Net>,
    /// Where the agent put the file `mtu`.
    pub state_directory: PathBuf,
    /// Where it said which endpoints stand.
    pub status_directory: PathBuf,
}

/// What became of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is gone.
    Removed(String),
    /// It stays on purpose; the text says why.
    Kept(String),
    /// It should have gone; the text says why it has not.
    Left(String),
}

/// Cleans the calling thread's network namespace, telling `tell` of every step.
pub fn cleanup(scope: &Scope, tell: &mut dyn FnMut(Step)) -> Result<(), Error> {
    let mut netlink = Netlink::open()?;
    match status::remove(&scope.status_directory) {
        Ok(false) => {}
        Ok(true) => tell(Step::Removed(format!("folder {}", scope.status_directory.display()))),
        Err(error) => tell(Step::Left(error.to_string())),
    }
    match mtu::withdraw(&scope.state_directory) {
        Ok(false) => {}
        Ok(true) => tell(Step::Removed(format!("file {}", scope.state_directory.join("mtu").display()))),
        Err(error) => tell(Step::Left(error.to_string())),
    }
    // before the sets, which know the pools
    let (mut pools, unread) = rules::known_pools();
    for error in unread {
        tell(Step::Left(format!("which pools there are is not known, name them with --pool: {}", chain(&error))));
    }
    pools.extend(&scope.pools);
    let links = Links::read(&mut netlink)?;
    note(routes::remove(&mut netlink, &links, scope, &pools, tell), tell);
    note(devices::remove_tunnel(&mut netlink, tell), tell);
    let left = rules::purge(&mut |what| tell(Step::Removed(what)));
    left.into_iter().for_each(|error| tell(Step::Left(chain(&error))));
    note(devices::remove_pods(&mut netlink, &links, scope.pods, tell), tell);
    match scope.forwarding {
        Forwarding::Stop => match links::disable_forwarding() {
            Ok(0) => {}
            Ok(_) => tell(Step::Removed("packet forwarding".to_owned())),
            Err(error) => tell(Step::Left(error.to_string())),
        },
        Forwarding::Keep => {
            if links::forwards() {
                tell(Step::Kept("packet forwarding: other programs may rely on it".to_owned()));
            }
        }
    }
    Ok(())
}

/// Tells of a part that could not even be looked at.
fn note<E: std::error::Error>(outcome: Result<(), E>, tell: &mut dyn FnMut(Step)) {
    if let Err(error) = outcome {
        tell(Step::Left(chain(&error)));
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    crate::apply::chain(error)
}
