//! Where our packet rules differ from Calico's and are meant to: what was recorded is turned into what ours have to be.
//!
//! 1. Policy is not enforced yet. At the end of a workload's chain, where Calico goes through the endpoint's profiles
//!    and then drops, ours set the accept mark; the chains of these profiles are gone, and sets that only they name.
//! 2. A rule of ours in raw keeps what workloads send to loopback addresses off.
//! 3. The set of all pools has the name that it has in Calico before v3.32.
//! 4. Ours give the tunnel device an address, as another part of Calico than its agent does. The recording may have
//!    none, or another one: the rule for what leaves through the device, and the set of this node's addresses, are those
//!    that go with ours.

use super::packet::Packet;
use super::recorded::Rules;
use regex::{Captures, Regex};
use std::collections::BTreeSet;
use std::sync::LazyLock;

const NAME_OF_V3_32: &str = "cali40network-ip-pools";
const NAME: &str = "cali40all-ipam-pools";
const THIS_HOST: &str = "cali40this-host";
const POSTROUTING: &str = "nat-cali-POSTROUTING";

/// The address of the tunnel device, in the recording and with us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TunnelAddress {
    pub(super) recorded: Option<String>,
    pub(super) ours: Option<String>,
}

/// Turns recorded rules into what ours have to be.
pub(super) fn wanted(mut packet: Packet, rules: Rules, tunnel: &TunnelAddress) -> Packet {
    rename(&mut packet);
    let words = words(rules);
    stand_in(&mut packet, words);
    loopback(&mut packet, words);
    give_address(&mut packet, words, tunnel);
    packet
}

/// How a rule reads in one of the two languages.
struct Words {
    /// Bits of the mark are cleared.
    cleared: fn(&str) -> Option<u32>,
    /// A jump to a profile's chain, whose name is the first group, in the direction that is the second.
    profile: &'static LazyLock<Regex>,
    accept: fn(u32) -> String,
    return_accepted: fn(u32) -> String,
    drop: &'static str,
    /// The mark of a workload's packets is set; the rule that then drops those to loopback addresses.
    from_workload: &'static LazyLock<Regex>,
    loopback: &'static str,
    tunnel: &'static str,
}

static IPTABLES_PROFILE: LazyLock<Regex> = LazyLock::new(|| regex(r"^-j (cali-pr([io])-\S+)$"));
static NFT_PROFILE: LazyLock<Regex> = LazyLock::new(|| regex(r"^counter jump filter-(cali-pr([io])-\S+)$"));
static IPTABLES_CLEARED: LazyLock<Regex> = LazyLock::new(|| regex(r"^-j MARK --set-xmark 0x0/0x([0-9a-f]+)$"));
static NFT_CLEARED: LazyLock<Regex> = LazyLock::new(|| regex(r"^counter meta mark set meta mark & 0x([0-9a-f]+)$"));
static IPTABLES_FROM_WORKLOAD: LazyLock<Regex> = LazyLock::new(|| regex(r"^-i cali\+ -j MARK --set-xmark "));
static NFT_FROM_WORKLOAD: LazyLock<Regex> =
    LazyLock::new(|| regex(r#"^iifname "cali\*" counter meta mark set meta mark \| "#));

fn regex(text: &str) -> Regex {
    Regex::new(text).expect("a valid expression")
}

fn number(expression: &Regex, rule: &str) -> Option<u32> {
    u32::from_str_radix(&expression.captures(rule)?[1], 16).ok()
}

const IPTABLES: Words = Words {
    cleared: |rule| number(&IPTABLES_CLEARED, rule),
    profile: &IPTABLES_PROFILE,
    accept: |bit| format!("-j MARK --set-xmark {bit:#x}/{bit:#x}"),
    return_accepted: |bit| {
        format!(r#"-m comment --comment "Return if profile accepted" -m mark --mark {bit:#x}/{bit:#x} -j RETURN"#)
    },
    drop: r#"-m comment --comment "Drop if no profiles matched" -j DROP"#,
    from_workload: &IPTABLES_FROM_WORKLOAD,
    loopback: r#"-d 127.0.0.0/8 -i cali+ -m comment --comment "Drop packets from workloads to loopback addresses" -j DROP"#,
    tunnel: "-o tunl0 -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully",
};

const NFT: Words = Words {
    cleared: |rule| number(&NFT_CLEARED, rule).map(|kept| !kept),
    profile: &NFT_PROFILE,
    accept: |bit| format!("counter meta mark set meta mark | {bit:#010x}"),
    return_accepted: |bit| {
        format!(r#"meta mark & {bit:#010x} == {bit:#010x} counter return comment "Return if profile accepted""#)
    },
    drop: r#"counter drop comment "Drop if no profiles matched""#,
    from_workload: &NFT_FROM_WORKLOAD,
    loopback: r#"iifname "cali*" ip daddr 127.0.0.0/8 counter drop comment "Drop packets from workloads to loopback addresses""#,
    tunnel: r#"oifname "tunl0" fib saddr . oif type != local fib saddr type local counter masquerade fully-random"#,
};

fn words(rules: Rules) -> &'static Words {
    match rules {
        Rules::Iptables => &IPTABLES,
        Rules::Nftables => &NFT,
    }
}

fn rename(packet: &mut Packet) {
    for rule in packet.chains.values_mut().flatten() {
        *rule = rule.replace(NAME_OF_V3_32, NAME);
    }
    if let Some(members) = packet.sets.remove(NAME_OF_V3_32) {
        packet.sets.insert(NAME.to_owned(), members);
    }
}

fn stand_in(packet: &mut Packet, words: &Words) {
    let mut profiles = BTreeSet::new();
    for (name, rules) in &mut packet.chains {
        let direction = [("filter-cali-tw-", "i"), ("filter-cali-fw-", "o")];
        if let Some((_, direction)) = direction.iter().find(|(prefix, _)| name.starts_with(prefix)) {
            profiles.extend(replace_end(rules, direction, words));
        }
    }
    let removed: Vec<String> =
        profiles.iter().filter_map(|profile| packet.chains.remove(&format!("filter-{profile}"))).flatten().collect();
    let kept: Vec<&String> = packet.chains.values().flatten().collect();
    packet
        .sets
        .retain(|set, _| !removed.iter().any(|rule| names(rule, set)) || kept.iter().any(|rule| names(rule, set)));
}

fn names(rule: &str, set: &str) -> bool {
    rule.split_whitespace().any(|word| word.strip_prefix('@').unwrap_or(word) == set)
}

/// Puts the accept mark in the place of a chain's jumps to profiles and its last drop; returns these profiles' chains.
///
/// What does not read as Calico writes it stays, and will differ.
fn replace_end(rules: &mut Vec<String>, direction: &str, words: &Words) -> Vec<String> {
    // the lower of the bits that are cleared before policy is the accept mark
    let cleared = rules.iter().find_map(|rule| (words.cleared)(rule)).filter(|bits| *bits != 0);
    let Some(cleared) = cleared else { return Vec::new() };
    let bit = 1 << cleared.trailing_zeros();
    let Some((last, mut before)) = rules.split_last() else { return Vec::new() };
    if last != words.drop {
        return Vec::new();
    }
    let mut profiles = Vec::new();
    while let [rest @ .., jump, accepted] = before
        && *accepted == (words.return_accepted)(bit)
        && let Some(profile) = words.profile.captures(jump).filter(|profile: &Captures<'_>| &profile[2] == direction)
    {
        profiles.push(profile[1].to_owned());
        before = rest;
    }
    let kept = before.len();
    rules.truncate(kept);
    rules.push((words.accept)(bit));
    profiles
}

fn loopback(packet: &mut Packet, words: &Words) {
    let Some(rules) = packet.chains.get_mut("raw-cali-PREROUTING") else { return };
    if let Some(place) = rules.iter().position(|rule| words.from_workload.is_match(rule)) {
        rules.insert(place + 1, words.loopback.to_owned());
    }
}

fn give_address(packet: &mut Packet, words: &Words, tunnel: &TunnelAddress) {
    if tunnel.recorded == tunnel.ours {
        return;
    }
    if let Some(members) = packet.sets.get_mut(THIS_HOST) {
        members.retain(|member| Some(member) != tunnel.recorded.as_ref());
        members.extend(tunnel.ours.clone());
    }
    if let Some(rules) = packet.chains.get_mut(POSTROUTING) {
        match (&tunnel.recorded, &tunnel.ours) {
            (None, Some(_)) => rules.push(words.tunnel.to_owned()),
            (Some(_), None) => rules.retain(|rule| rule != words.tunnel),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}
