//! ipam: who holds which address, whether the books are right, and mending them (control reference §5.6).
//!
//! The arithmetic is the `ipam` crate's; here are the words.

mod args;
mod check;
mod configure;
mod number;
mod release;
mod report;
mod show;
mod split;
#[cfg(test)]
mod tests;

pub(super) use args::IpamVerb;

use super::args::Cli;
use super::{Failed, Output, World};
use api::Unreadable;
use std::net::IpAddr;

pub(super) async fn run(cli: &Cli, verb: &IpamVerb, world: &World<'_>) -> Result<Output, Failed> {
    match verb {
        IpamVerb::Show(args) => show::run(cli, args, world).await,
        IpamVerb::Check(args) => check::run(cli, args, world).await,
        IpamVerb::Release(args) => release::run(cli, args, world).await,
        IpamVerb::Split(args) => split::run(cli, args, world).await,
        IpamVerb::Configure(args) => configure::run(cli, args, world).await,
    }
}

/// Reads an address that the user typed.
fn address(text: &str) -> Result<IpAddr, Failed> {
    text.parse().map_err(|_| Failed(format!("Error executing command: invalid IP address specified: {text}")))
}

/// What a datastore's or IPAM's error reads like.
fn failed(error: impl std::fmt::Display) -> Failed {
    Failed(format!("error: {error}"))
}

/// What is stored and cannot be read, a line each.
fn unreadable_lines(unreadable: &[Unreadable]) -> String {
    unreadable.iter().map(|one| format!("{}\n", datastore::Error::from(one.clone()))).collect()
}
