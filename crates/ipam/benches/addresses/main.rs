//! What an address costs: time, reads, transactions, on a store that keeps what it acknowledges.
//!
//! Against `tortie store` and against etcd, both on the disk of the temporary folder and over loopback: one client, 16
//! clients of one host that take turns by the host's lock as the CNI plugins do, 16 that do not, and 16 on as many
//! hosts. A client is a thread with a connection of its own. Each assigns a few addresses, all wait for each other,
//! and release them outside the measurement: a host keeps about a hundred, as nodes do.
//!
//! `cargo bench --package ipam -- --tortie target/release/tortie`

mod client;
mod server;

use anyhow::{Context, Result};
use clap::Parser;
use client::{Hosts, Setting, Turns};
use server::{Program, Server};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Parser)]
struct Options {
    /// The binary whose `store` is measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/tortie"))]
    tortie: PathBuf,
    /// etcd's binary.
    #[arg(long, default_value = "etcd")]
    etcd: PathBuf,
    /// How often every client assigns its addresses.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one client or sixteen do.
const SETTINGS: [(&str, Setting); 4] = [
    ("one client", Setting { clients: 1, hosts: Hosts::One, turns: Turns::Lock }),
    ("16 clients on one host", Setting { clients: 16, hosts: Hosts::One, turns: Turns::Lock }),
    ("16 clients on one host, without its lock", Setting { clients: 16, hosts: Hosts::One, turns: Turns::None }),
    ("16 clients on 16 hosts", Setting { clients: 16, hosts: Hosts::OneEach, turns: Turns::Lock }),
];

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() -> Result<()> {
    let options = Options::parse();
    println!("| store | clients | p50 ms | p99 ms | addresses/s | reads | transactions |");
    println!("|---|---|---|---|---|---|---|");
    for (setting_name, setting) in SETTINGS {
        for program in [Program::Tortie(options.tortie.clone()), Program::Etcd(options.etcd.clone())] {
            let server = Server::start(&program)?;
            let outcome = client::run(setting, &server.url, options.rounds)
                .with_context(|| format!("measure {setting_name} against {program}"))?;
            let mut times = outcome.times;
            times.sort();
            let quantile = |percent: usize| milliseconds(times[(times.len() * percent).div_ceil(100) - 1]);
            let each = |count: usize| count as f64 / times.len() as f64;
            println!(
                "| {program} | {setting_name} | {:.2} | {:.2} | {:.0} | {:.2} | {:.2} |",
                quantile(50),
                quantile(99),
                times.len() as f64 / outcome.elapsed.as_secs_f64(),
                each(outcome.reads),
                each(outcome.transactions),
            );
        }
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
