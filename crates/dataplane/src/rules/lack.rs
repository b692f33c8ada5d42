//! What a program's failure asks for: rights, or modules of the kernel.

use regex::Regex;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Matches and targets that our rules use, and the modules that have them.
const EXTENSIONS: [(&str, &str); 10] = [
    ("addrtype", "xt_addrtype"),
    ("comment", "xt_comment"),
    ("conntrack", "xt_conntrack"),
    ("mark", "xt_mark"),
    ("multiport", "xt_multiport"),
    ("rpfilter", "ipt_rpfilter"),
    ("set", "xt_set"),
    ("MARK", "xt_mark"),
    ("MASQUERADE", "xt_MASQUERADE"),
    ("SNAT", "xt_nat"),
];

/// What `iptables-nft` says where the kernel does not know a match or target.
static EXTENSION: LazyLock<Regex> = LazyLock::new(|| pattern(r"Extension (\w+) revision"));
/// And `iptables-legacy` of a table.
static TABLE: LazyLock<Regex> = LazyLock::new(|| pattern(r"initialize (?:iptables )?table [`'](\w+)'"));
/// The line of the input that failed: a rule's, or that of the end of a table, all of which is then refused.
static LINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"line:? (\d+)"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern")
}

/// Finds what a failure for want of a kernel feature, or of the right to use it, asks for; starts with a blank, or is
/// empty. `message` is what the program said, and `input` what it was to do.
pub(super) fn hint(program: &str, message: &str, input: &str) -> String {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["Operation not permitted", "Permission denied", "you must be root"]) {
        return " (needs CAP_NET_ADMIN)".to_owned();
    }
    if program == "ipset" {
        let lacks = says(&["Cannot open session", "Kernel support protocol", "not supported by kernel"]);
        let modules = "ip_set, ip_set_hash_net or ip_set_hash_ip";
        return if lacks { lacking(modules) } else { String::new() };
    }
    let lacks = says(&["missing kernel module", "does not exist", "Can't find", "RULE_APPEND failed", "initialize"])
        || message.contains("line") && message.contains(" failed");
    if !lacks {
        return String::new();
    }
    let modules: Vec<String> = modules(message, input).into_iter().collect();
    match modules.split_last() {
        None => String::new(),
        Some((only, [])) => lacking(only),
        Some((last, others)) => lacking(&format!("{} or {last}", others.join(", "))),
    }
}

fn lacking(modules: &str) -> String {
    format!(" (the kernel may lack {modules}: load the modules, or set nftablesMode to Enabled)")
}

/// The modules that what failed needs: a match or table that is named, or all of the lines that were refused.
fn modules(message: &str, input: &str) -> BTreeSet<String> {
    let named = |pattern: &Regex| pattern.captures(message).map(|found| found[1].to_owned());
    let is_nft = message.contains("(nf_tables)");
    if let Some(extension) = named(&EXTENSION) {
        return [module_of(&extension).map_or(format!("xt_{extension}"), str::to_owned)].into();
    }
    if let Some(table) = named(&TABLE) {
        return [table_module(&table, is_nft)].into();
    }
    let lines: Vec<&str> = input.lines().collect();
    let last = named(&LINE).and_then(|number| number.parse().ok()).unwrap_or(lines.len()).min(lines.len());
    let table = lines[..last].iter().rposition(|line| line.starts_with('*')).unwrap_or(0);
    let is_rule = last > 0 && lines[last - 1].starts_with('-');
    let refused = &lines[if is_rule { last - 1 } else { table }..last];
    let words = refused.iter().flat_map(|line| line.split(' ').zip(line.split(' ').skip(1)));
    let extensions = words.filter(|(flag, _)| ["-m", "-j", "--jump"].contains(flag));
    let mut modules: BTreeSet<String> = extensions.filter_map(|(_, name)| module_of(name)).map(str::to_owned).collect();
    modules.extend(lines.get(table).and_then(|line| line.strip_prefix('*')).map(|table| table_module(table, is_nft)));
    if is_nft {
        modules.insert("nft_compat".to_owned());
    }
    modules
}

fn module_of(extension: &str) -> Option<&'static str> {
    EXTENSIONS.iter().find(|(name, _)| *name == extension).map(|(_, module)| *module)
}

fn table_module(table: &str, is_nft: bool) -> String {
    match (is_nft, table) {
        (true, "nat") => "nft_chain_nat".to_owned(),
        (true, _) => "nf_tables".to_owned(),
        (false, _) => format!("iptable_{table}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: &str = "*raw\n:cali-rpf-skip - [0:0]\n\
        -A cali-rpf-skip -m comment --comment \"cali:x\" -m mark --mark 0x4/0x4 -m rpfilter --invert --validmark --jump DROP\n\
        -A cali-rpf-skip -m comment --comment \"cali:y\" -m set --match-set s src --jump RETURN\nCOMMIT\n\
        *nat\n:cali-nat-outgoing - [0:0]\n-A cali-nat-outgoing -m addrtype --dst-type LOCAL --jump MASQUERADE\nCOMMIT\n";

    fn lacking(modules: &str) -> String {
        format!(" (the kernel may lack {modules}: load the modules, or set nftablesMode to Enabled)")
    }

    /// Messages of iptables 1.8.9 and ipset 7.17.
    #[test]
    fn the_hint_names_what_the_refused_table_and_rules_want() {
        for (message, modules) in [
            (
                "iptables-nft-restore v1.8.9 (nf_tables):; line 3: RULE_APPEND failed (No such file or directory): rule in chain cali-rpf-skip",
                "ipt_rpfilter, nf_tables, nft_compat, xt_comment or xt_mark",
            ),
            (
                "iptables-nft-restore v1.8.9 (nf_tables):; line 8: RULE_APPEND failed (Invalid argument): rule in chain cali-nat-outgoing",
                "nft_chain_nat, nft_compat, xt_MASQUERADE or xt_addrtype",
            ),
            (
                "Warning: Extension rpfilter revision 0 not supported, missing kernel module?; iptables-nft-restore v1.8.9 (nf_tables):; line 3: RULE_APPEND failed (No such file or directory): rule in chain cali-rpf-skip",
                "ipt_rpfilter",
            ),
            ("iptables-restore: line 5 failed", "ipt_rpfilter, iptable_raw, xt_comment, xt_mark or xt_set"),
            ("iptables-restore: line 9 failed", "iptable_nat, xt_MASQUERADE or xt_addrtype"),
            (
                "Warning: Extension set revision 0 not supported, missing kernel module?; iptables-restore: line 5 failed",
                "xt_set",
            ),
            (
                "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'mangle'; Error occurred at line: 1",
                "iptable_mangle",
            ),
        ] {
            assert_eq!(hint("iptables-nft-restore", message, INPUT), lacking(modules), "{message}");
        }
        let session = "ipset v7.17: Cannot open session to kernel.";
        assert_eq!(hint("ipset", session, ""), lacking("ip_set, ip_set_hash_net or ip_set_hash_ip"));
    }

    #[test]
    fn other_failures_ask_for_no_module() {
        for message in [
            "iptables-restore v1.8.9 (legacy): Couldn't load match `geoip':No such file or directory; Error occurred at line: 3",
            "iptables-nft-restore v1.8.9 (nf_tables): Set nix doesn't exist.; Error occurred at line: 3",
            "Another app is currently holding the xtables lock; still 9s 0us time ahead to have a chance to grab the lock...",
        ] {
            assert_eq!(hint("iptables-restore", message, INPUT), "", "{message}");
        }
        let refused =
            "iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'; Permission denied";
        assert_eq!(hint("iptables-restore", refused, INPUT), " (needs CAP_NET_ADMIN)");
    }

    #[test]
    fn every_match_and_target_of_the_walkthroughs_rules_has_a_module() {
        let text = include_str!("../../testdata/walkthrough.iptables");
        let chains: BTreeSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next()).collect();
        let words = text.lines().flat_map(|line| line.split(' ').zip(line.split(' ').skip(1)));
        let extensions: BTreeSet<&str> = words
            .filter(|(flag, name)| ["-m", "-j"].contains(flag) && !chains.contains(name))
            .map(|(_, name)| name)
            .filter(|name| !["ACCEPT", "DROP", "RETURN"].contains(name))
            .collect();
        assert!(extensions.contains("rpfilter") && extensions.contains("MASQUERADE"), "{extensions:?}");
        for extension in extensions {
            assert!(module_of(extension).is_some(), "{extension}");
        }
    }
}
