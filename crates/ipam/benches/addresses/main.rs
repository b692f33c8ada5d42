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
use client::{Hosts, Outcome, Setting, Turns};
use server::{Program, Server};
use std::fmt;
use std::path::PathBuf;

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

/// The most reads and transactions that an address may cost a client which has the host for itself.
const MOST: (f64, f64) = (2.0, 1.0);
/// The least addresses a second of 16 clients that share a host by its lock.
const LEAST_A_SECOND: f64 = 1000.0;

#[expect(clippy::print_stdout, reason = "the table is the result")]
fn main() -> Result<()> {
    let options = Options::parse();
    println!("| figure | tortie store | peer: etcd | ratio | aim | |");
    println!("|---|---|---|---|---|---|");
    for (name, setting) in SETTINGS {
        let measure = |program: Program| {
            let server = Server::start(&program)?;
            let outcome = client::run(setting, &server.url, options.rounds);
            outcome.map(Figures::of).with_context(|| format!("measure {name} against {program}"))
        };
        let ours = measure(Program::Tortie(options.tortie.clone()))?;
        let theirs = measure(Program::Etcd(options.etcd.clone()))?;
        for row in rows(setting) {
            let (ours, theirs) = ((row.figure)(&ours), (row.figure)(&theirs));
            let mark = match row.aim {
                Aim::None => "",
                Aim::AtMost(limit) if ours <= limit => "met",
                Aim::AtLeast(limit) if ours >= limit => "met",
                Aim::AtMost(_) | Aim::AtLeast(_) => "missed",
            };
            let (title, unit, aim) = (row.title, row.unit, row.aim);
            println!(
                "| {name}: {title} | {ours:.2}{unit} | {theirs:.2}{unit} | {:.2} | {aim} | {mark} |",
                ours / theirs
            );
        }
    }
    Ok(())
}

/// What a setting came to.
struct Figures {
    /// Milliseconds an address took, sorted.
    times: Vec<f64>,
    addresses_a_second: f64,
    reads: f64,
    transactions: f64,
}

impl Figures {
    fn of(outcome: Outcome) -> Figures {
        let count = outcome.times.len() as f64;
        let mut times: Vec<f64> = outcome.times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        times.sort_by(f64::total_cmp);
        Figures {
            times,
            addresses_a_second: count / outcome.elapsed.as_secs_f64(),
            reads: outcome.reads as f64 / count,
            transactions: outcome.transactions as f64 / count,
        }
    }

    fn quantile(&self, percent: usize) -> f64 {
        self.times[(self.times.len() * percent).div_ceil(100) - 1]
    }
}

/// A row of the table for each setting.
struct Row {
    title: &'static str,
    unit: &'static str,
    figure: fn(&Figures) -> f64,
    aim: Aim,
}

/// What a figure is to be.
#[derive(Clone, Copy)]
enum Aim {
    None,
    AtMost(f64),
    AtLeast(f64),
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Aim::None => Ok(()),
            Aim::AtMost(limit) => write!(f, "≤ {limit}"),
            Aim::AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

fn rows(setting: Setting) -> [Row; 5] {
    let alone = setting.turns == Turns::Lock;
    let shared = alone && setting.clients > 1 && setting.hosts == Hosts::One;
    let (reads, transactions) = if alone { (Aim::AtMost(MOST.0), Aim::AtMost(MOST.1)) } else { (Aim::None, Aim::None) };
    let rate = if shared { Aim::AtLeast(LEAST_A_SECOND) } else { Aim::None };
    [
        Row { title: "an address, p50", unit: " ms", figure: |it| it.quantile(50), aim: Aim::None },
        Row { title: "p99", unit: " ms", figure: |it| it.quantile(99), aim: Aim::None },
        Row { title: "all together", unit: "/s", figure: |it| it.addresses_a_second, aim: rate },
        Row { title: "reads an address", unit: "", figure: |it| it.reads, aim: reads },
        Row { title: "transactions an address", unit: "", figure: |it| it.transactions, aim: transactions },
    ]
}
