//! The nftables driver against nft's own reading and writing of the same table.

use crate::support::{
    apply, compose, desired, enter_namespace, heal, hide_programs, prefix, ruleset, ruleset_without_nat, run, run_with,
    show_programs,
};
use dataplane::rules::{Driver, driver};
use ipnet::Ipv4Net;
use model::desired::{PacketRules, Pool};
use std::net::Ipv4Addr;

/// What `nft -s list table ip calico` shows on the walkthrough's node, its chains sorted. Hashes of chains and
/// hooks are from Calico v3.32.1; those of the two masquerading rules were computed by the reference's scheme.
const TABLE: &str = include_str!("../../testdata/walkthrough.nft");

/// How much is written from nothing: the table, sets and maps, chains that packets enter by, the others.
const ALL: usize = 1 + 7 + 14 + 33;

/// Rules of others, and what Calico in iptables mode appends to the table filter, of which only the comment is ours.
const IPTABLES: &str = "*nat\n:THEIRS - [0:0]\n-A PREROUTING -j THEIRS\nCOMMIT\n\
    *filter\n:cali-FORWARD - [0:0]\n-A FORWARD -j cali-FORWARD\n\
    -A FORWARD -m comment --comment \"cali:S93hcgKJrXEqnTfs\" -j ACCEPT\n-A FORWARD -i eth7 -j ACCEPT\nCOMMIT\n";

fn nftables() -> Box<dyn Driver> {
    driver(PacketRules::Nftables)
}

/// The table as nft lists it, blocks in order of their names.
fn listed() -> String {
    sorted(&run("nft -s list table ip calico"))
}

/// Sorts the blocks of a listed table, which nft lists in order of creation, and the elements of each set and map, which
/// the kernel lists in an order of its own.
fn sorted(table: &str) -> String {
    let mut lines: Vec<&str> = table.lines().collect();
    let (first, last) = (lines.remove(0), lines.pop().expect("a table has a last line"));
    let body = lines.join("\n");
    let mut blocks: Vec<String> = body.split("\n\n").map(with_sorted_elements).collect();
    blocks.sort_unstable();
    format!("{first}\n{}\n{last}\n", blocks.join("\n\n"))
}

fn with_sorted_elements(block: &str) -> String {
    let Some((head, rest)) = block.split_once("elements = { ") else { return block.to_owned() };
    let (elements, tail) = rest.split_once(" }").expect("a list ends");
    let mut elements: Vec<&str> = elements.split(',').map(str::trim).collect();
    elements.sort_unstable();
    format!("{head}elements = {{ {} }}{tail}", elements.join(", "))
}

/// The steps of every rule and the elements of every set as nft decodes them, without handles; each block begins with a
/// line such as `ip calico nat-POSTROUTING 5 4`.
fn decoded() -> Vec<Vec<String>> {
    let text = run("nft --debug=netlink list table ip calico");
    let mut blocks: Vec<Vec<String>> = Vec::new();
    for line in text.lines().take_while(|line| !line.starts_with("table ")) {
        if let Some(name) = line.strip_prefix("ip calico ") {
            blocks.push(vec![name.split(' ').next().expect("a name").to_owned()]);
        } else if !line.is_empty() {
            blocks.last_mut().expect("a name comes first").push(line.to_owned());
        }
    }
    for block in &mut blocks {
        if block[0].starts_with('@') {
            block.sort();
        }
    }
    // rules of one chain stay in their order
    blocks.sort_by(|one, other| one[0].cmp(&other[0]));
    blocks
}

#[test]
fn the_walkthroughs_table_appears_once() {
    enter_namespace();
    let mut driver = nftables();
    assert_eq!(apply(&mut *driver, &ruleset()), ALL);
    assert_eq!(listed(), TABLE);
    assert_eq!(apply(&mut *driver, &ruleset()), 0, "known to be right");
    assert_eq!(heal(&mut *driver, &ruleset()), 0, "read, and right");
    assert_eq!(apply(&mut *nftables(), &ruleset()), 0, "a fresh process finds it right");
    let chain = run("nft list chain ip calico nat-cali-nat-outgoing");
    let rule = "ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools counter packets 0 bytes 0 masquerade fully-random comment";
    assert!(chain.contains(rule), "{chain}");
}

#[test]
fn what_nft_makes_of_the_text_is_the_same() {
    enter_namespace();
    apply(&mut *nftables(), &ruleset());
    let ours = decoded();
    run("nft delete table ip calico");
    run_with("nft -f -", TABLE);
    assert_eq!(decoded(), ours);
    assert_eq!(apply(&mut *nftables(), &ruleset()), 0, "a table from nft is read as right");
}

#[test]
fn nat_outgoing_off_and_on_again() {
    enter_namespace();
    let mut driver = nftables();
    apply(&mut *driver, &ruleset());
    assert_eq!(apply(&mut *driver, &ruleset_without_nat()), 2, "one chain, one set");
    let chain = run("nft list chain ip calico nat-cali-nat-outgoing");
    assert!(chain.contains("\tchain nat-cali-nat-outgoing {\n\t}\n"), "{chain}");
    assert!(!run("nft list set ip calico cali40masq-ipam-pools").contains("elements"));
    assert!(run("nft list set ip calico cali40all-ipam-pools").contains("elements = { 172.16.0.0/16 }"));
    assert_eq!(apply(&mut *driver, &ruleset()), 2);
    assert_eq!(listed(), TABLE);
}

#[test]
fn what_is_broken_by_hand_is_healed() {
    enter_namespace();
    let mut driver = nftables();
    apply(&mut *driver, &ruleset());
    let outgoing = "nat-cali-nat-outgoing";
    let comment = run(&format!("nft list chain ip calico {outgoing}"));
    let comment = comment.split("comment ").nth(1).and_then(|rest| rest.lines().next()).expect("it has a comment");
    for (damage, expect) in [
        (format!("nft flush chain ip calico {outgoing}"), 1),
        ("nft flush chain ip calico nat-POSTROUTING".to_owned(), 1),
        ("nft insert rule ip calico nat-cali-fip-snat ip saddr 1.2.3.4 drop".to_owned(), 1),
        (format!("nft add rule ip calico {outgoing} return"), 1),
        ("nft flush table ip calico".to_owned(), 30),
        ("nft delete table ip calico".to_owned(), ALL),
        ("nft flush ruleset".to_owned(), ALL),
        ("nft add table ip calico '{ flags dormant; }'".to_owned(), ALL),
        ("nft add chain ip calico mine; nft add rule ip calico mine jump nat-cali-fip-snat".to_owned(), 1),
        // the comment stays and only the rule changes
        (format!("nft flush chain ip calico {outgoing}; nft add rule ip calico {outgoing} counter masquerade fully-random comment '{comment}'"), 1),
        (format!("nft flush chain ip calico {outgoing}; nft add rule ip calico {outgoing} ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools counter masquerade random comment '{comment}'"), 1),
        ("nft delete element ip calico cali40masq-ipam-pools '{ 172.16.0.0/16 }'".to_owned(), 1),
        ("nft add element ip calico cali40all-ipam-pools '{ 10.1.2.0/24, 172.17.0.0/16 }'".to_owned(), 1),
        ("nft flush set ip calico cali40all-hosts-net; nft add element ip calico cali40all-hosts-net '{ 192.168.0.0/16 }'".to_owned(), 1),
        ("nft add set ip calico cali40network-ip-pools '{ type ipv4_addr; flags interval; }'".to_owned(), 1),
        // what Calico's table has besides: maps that lead to chains
        ("nft add chain ip calico filter-x; nft add map ip calico m '{ type ifname : verdict; }'; \
          nft add element ip calico m '{ eth0 : jump filter-x }'; nft add chain ip calico filter-y; \
          nft add rule ip calico filter-y iifname vmap @m; nft add rule ip calico filter-y iifname vmap '{ eth1 : jump filter-x }'".to_owned(), 3),
        ("nft delete table ip calico; nft add table ip calico; nft add chain ip calico nat-POSTROUTING '{ type nat hook postrouting priority 5; }'".to_owned(), ALL),
        ("nft delete table ip calico; nft add table ip calico; nft add set ip calico cali40masq-ipam-pools '{ type ipv4_addr; }'".to_owned(), ALL),
    ] {
        run(&damage);
        assert_eq!(heal(&mut *driver, &ruleset()), expect, "{damage}");
        assert_eq!(listed(), TABLE, "{damage}");
        assert_eq!(heal(&mut *driver, &ruleset()), 0, "{damage}");
    }
}

#[test]
fn a_change_by_others_since_the_last_read_is_seen_before_writing() {
    enter_namespace();
    let mut driver = nftables();
    apply(&mut *driver, &ruleset());
    run("nft delete table ip calico");
    assert_eq!(apply(&mut *driver, &ruleset_without_nat()), ALL, "not only the two objects that were to change");
}

#[test]
fn others_tables_stay_and_remove_all_leaves_them_as_they_were() {
    enter_namespace();
    run_with(
        "nft -f -",
        "table inet office {\nset s {\ntype ipv4_addr\nelements = { 10.9.0.1 }\n}\nchain c {\n\
        type nat hook postrouting priority 100\nip saddr @s counter masquerade\n}\n}\n",
    );
    run("iptables-nft -t nat -A POSTROUTING -s 10.9.0.0/24 -j RETURN");
    let before = run("nft list ruleset");
    let mut driver = nftables();
    apply(&mut *driver, &ruleset());
    driver.remove_all().expect("the table goes");
    assert_eq!(run("nft list ruleset"), before);
    assert_eq!(driver.remove_all().expect("nothing to do").writes, 0);
    assert_eq!(apply(&mut *driver, &ruleset()), ALL, "and all of it comes back");
}

#[test]
fn each_driver_removes_what_the_other_one_left() {
    enter_namespace();
    run_with("iptables-nft-restore --noflush", IPTABLES);
    run("ipset create office hash:net");
    apply(&mut *driver(PacketRules::Iptables), &ruleset());
    apply(&mut *nftables(), &ruleset());
    let saved = run("iptables-nft-save -t nat; iptables-nft-save -t filter");
    assert!(!saved.contains("cali"), "{saved}");
    assert!(saved.contains("-A PREROUTING -j THEIRS\n") && saved.contains("-A FORWARD -i eth7 -j ACCEPT\n"), "{saved}");
    assert_eq!(run("ipset list -n"), "office\n");
    assert_eq!(listed(), TABLE);

    apply(&mut *driver(PacketRules::Iptables), &ruleset());
    assert!(!run("nft list tables").contains("table ip calico\n"));
    assert!(run("iptables-nft-save -t nat").contains("cali:flqWnvo8yq4ULQLa"));
}

#[test]
fn legacy_rules_go_too() {
    enter_namespace();
    run("iptables-legacy -t nat -N cali-POSTROUTING; iptables-legacy -t nat -A POSTROUTING -j cali-POSTROUTING");
    run("iptables-legacy -t nat -A POSTROUTING -s 10.9.0.0/24 -j RETURN");
    apply(&mut *nftables(), &ruleset());
    let saved = run("iptables-legacy-save -t nat");
    assert!(!saved.contains("cali") && saved.contains("-A POSTROUTING -s 10.9.0.0/24 -j RETURN\n"), "{saved}");
}

#[test]
fn sets_of_any_size_and_prefix_arrive() {
    enter_namespace();
    let mut driver = nftables();
    let mut desired = desired();
    desired.settings.nat_exclude_hosts = true;
    desired.settings.nat_address = "192.0.2.9".parse().ok();
    for n in 0..5000u32 {
        let cidr = Ipv4Net::new(Ipv4Addr::from(0x0a00_0000 + (n << 6)), 26).expect("26 bits");
        desired.pools.insert(cidr, Pool::default());
    }
    for cidr in ["0.0.0.0/8", "10.0.0.0/27", "255.255.255.0/24"] {
        desired.pools.insert(prefix(cidr), Pool::default());
    }
    let rules = compose(&desired);
    apply(&mut *driver, &ruleset());
    apply(&mut *driver, &rules);
    assert_eq!(heal(&mut *driver, &rules), 0);
    let elements = run("nft -j list set ip calico cali40all-ipam-pools");
    assert_eq!(elements.matches("\"prefix\":").count(), 5000 + 3, "the covered /27 is left out, the /16 is there");
    let chain = run("nft -s list chain ip calico nat-cali-nat-outgoing");
    assert!(
        chain.contains("ip daddr != @cali40all-hosts-net counter snat to 192.0.2.9 fully-random comment"),
        "{chain}"
    );
    assert_eq!(apply(&mut *driver, &ruleset()), 2, "one chain, one set");
    assert_eq!(listed(), TABLE);
    run("nft delete table ip calico");
    heal(&mut *driver, &rules);
    assert_eq!(heal(&mut *driver, &rules), 0);
    assert_eq!(run("nft -j list set ip calico cali40all-ipam-pools"), elements, "all at once is the same");
}

#[test]
fn no_program_is_needed_and_the_other_driver_says_which_it_misses() {
    enter_namespace();
    apply(&mut *driver(PacketRules::Iptables), &ruleset());
    hide_programs();
    apply(&mut *nftables(), &ruleset());
    let mut iptables = driver(PacketRules::Iptables);
    let error = iptables.apply(&ruleset()).expect_err("ipset is hidden").to_string();
    let expect = "ipset is not installed: install the package ipset, or set nftablesMode to Enabled";
    assert_eq!(error, expect);
    show_programs();
    assert_eq!(listed(), TABLE);
    assert!(!run("iptables-nft-save -t nat").contains("cali"));
    assert_eq!(run("ipset list -n"), "");
    apply(&mut *iptables, &ruleset());
}
