//! The kernel's state as recorded: sections `# COMMAND`, each with what the command printed.
//!
//! Ours is read with the same commands. Of links and addresses only what a plugin decides counts: not indices, peers
//! and namespaces' numbers, nor what comes and goes with the carrier.

use crate::process::run;
use anyhow::{Result, bail};
use std::path::Path;
use std::process::Command;

/// Flags of a link that somebody sets; the others follow from the carrier.
const FLAGS: [&str; 6] = ["BROADCAST", "LOOPBACK", "MULTICAST", "NOARP", "POINTOPOINT", "UP"];

/// The state of one namespace.
pub(crate) struct State {
    sections: Vec<Section>,
}

struct Section {
    command: String,
    lines: Vec<String>,
}

impl State {
    /// Reads a recorded text.
    pub(crate) fn parse(text: &str) -> State {
        let mut sections: Vec<Section> = Vec::new();
        for line in text.lines() {
            if let Some(command) = line.strip_prefix("# ") {
                sections.push(Section { command: command.to_owned(), lines: Vec::new() });
            } else if let Some(section) = sections.last_mut() {
                section.lines.push(line.trim_end().to_owned());
            }
        }
        State { sections }
    }

    /// Asks the kernel the same: in the namespace at `netns`, else in this process's own.
    pub(crate) fn again(&self, netns: Option<&Path>) -> Result<State> {
        let mut sections = Vec::new();
        for Section { command, .. } in &self.sections {
            let words: Vec<&str> = match command.strip_prefix("sh -c ") {
                Some(script) => vec!["sh", "-c", script],
                None => command.split_whitespace().collect(),
            };
            let mut call = match netns {
                Some(path) => {
                    let mut call = Command::new("nsenter");
                    call.arg(format!("--net={}", path.display())).args(&words);
                    call
                }
                None => {
                    let Some((program, arguments)) = words.split_first() else { bail!("a section without a command") };
                    let mut call = Command::new(program);
                    call.args(arguments);
                    call
                }
            };
            let outcome = run(&mut call, b"")?;
            let lines = outcome.stdout.lines().map(|line| line.trim_end().to_owned()).collect();
            sections.push(Section { command: command.clone(), lines });
        }
        Ok(State { sections })
    }

    /// What can be compared, one fact a line.
    pub(crate) fn facts(&self) -> Vec<String> {
        let facts = |section: &Section| match section.command.as_str() {
            "ip -d link" => blocks(&section.lines).iter().map(|block| link(block)).collect(),
            "ip addr" => blocks(&section.lines).iter().flat_map(|block| addresses(block)).collect(),
            "ip neigh" => {
                let permanent = section.lines.iter().filter(|line| line.ends_with("PERMANENT"));
                permanent.map(|line| format!("neighbour {line}")).collect()
            }
            command => {
                let word = command.strip_prefix("ip ").unwrap_or("sysctl");
                let lines = section.lines.iter().filter(|line| !line.is_empty() && !line.starts_with("fe80::/64 "));
                lines.map(|line| format!("{word} {}", line.trim_end_matches(" linkdown"))).collect::<Vec<_>>()
            }
        };
        self.sections.iter().flat_map(facts).collect()
    }
}

/// The lines of each link, of which the first is not indented.
fn blocks(lines: &[String]) -> Vec<Vec<&str>> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        match blocks.last_mut() {
            Some(block) if line.starts_with(' ') => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks
}

/// `calicid1` of `2: calicid1@if2: <…`.
fn name<'a>(block: &[&'a str]) -> &'a str {
    let name = block.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("");
    name.trim_end_matches(':').split('@').next().unwrap_or(name)
}

fn link(block: &[&str]) -> String {
    let words: Vec<&str> = block.iter().flat_map(|line| line.split_whitespace()).collect();
    let after = |key: &str| {
        let at = words.iter().position(|word| *word == key || key.ends_with('/') && word.starts_with(key));
        at.and_then(|at| words.get(at + 1)).copied().unwrap_or("none")
    };
    let flags = words.iter().find_map(|word| word.strip_prefix('<')).unwrap_or("").trim_end_matches('>');
    let mut flags: Vec<&str> = flags.split(',').filter(|flag| FLAGS.contains(flag)).collect();
    flags.sort_unstable();
    let kind = block.get(2).and_then(|line| line.split_whitespace().next()).unwrap_or("none");
    let (mtu, address) = (after("mtu"), after("link/"));
    let queues = format!("{}/{}", after("numtxqueues"), after("numrxqueues"));
    format!("link {}: kind {kind} flags {} mtu {mtu} address {address} queues {queues}", name(block), flags.join(","))
}

/// The addresses of a link, without those that the kernel makes of its Ethernet address.
fn addresses(block: &[&str]) -> Vec<String> {
    let mut facts = Vec::new();
    for line in block {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [family @ ("inet" | "inet6"), address, rest @ ..] = words.as_slice()
            && !address.starts_with("fe80:")
        {
            let scope = rest.iter().position(|word| *word == "scope").and_then(|at| rest.get(at + 1));
            facts.push(format!("address {}: {family} {address} scope {}", name(block), scope.unwrap_or(&"none")));
        }
    }
    facts
}
