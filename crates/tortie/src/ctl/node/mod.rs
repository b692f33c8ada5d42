//! node: this host's agent (control reference §5.8).

mod checksystem;
mod diags;
mod program;
mod run;
mod status;

use super::args::NodeVerb;
use super::{Failed, Output, World};
use nix::unistd::geteuid;

pub(super) fn run(verb: &NodeVerb, world: &World<'_>) -> Result<Output, Failed> {
    match verb {
        NodeVerb::Run(args) => run::run(args, world),
        NodeVerb::Status(args) => status::run(args, world),
        NodeVerb::Diags(args) => diags::run(args, world),
        NodeVerb::Checksystem(args) => checksystem::run(args, world),
    }
}

/// Refuses anybody but root, in calicoctl's words.
fn enforce_root() -> Result<(), Failed> {
    if geteuid().is_root() {
        return Ok(());
    }
    Err(Failed("Need super user privileges: Operation not permitted".to_owned()))
}
