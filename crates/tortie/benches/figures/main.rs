//! The figures of a node, beside the programs its users would pick instead, in the same run: `make bench`.
//!
//! Prints rows of a Markdown table: the figure, ours, the peer's, the ratio, the aim. Every value is a median, or the
//! percentile it says, of what a fresh process or a running agent did in network namespaces of this program's own, with
//! everything durable on the disk that holds the temporary folder. Needs root, and Debian's packages of
//! `tools/setup bench`.

#![expect(clippy::print_stdout, reason = "a program of its own, whose output is its result")]

mod agent;
mod bgp;
mod cni;
mod ctl;
mod route_server;
mod sample;
mod session;
mod table;
mod world;

use std::process::ExitCode;

/// What can be measured, by the word that asks for it.
const PARTS: [(&str, fn()); 4] = [("cni", cni::run), ("agent", agent::run), ("bgp", bgp::run), ("ctl", ctl::run)];

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if words.first().map(String::as_str) == Some(sample::MEASURE) {
        return sample::measure(&words[1..]);
    }
    if words.is_empty() {
        words = PARTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    }
    for word in &words {
        let Some((_, run)) = PARTS.iter().find(|(name, _)| name == word) else {
            eprintln!("figures: {word} is none of {}", PARTS.map(|(name, _)| name).join(", "));
            return ExitCode::FAILURE;
        };
        run();
    }
    ExitCode::SUCCESS
}
