//! The iptables driver, with both of the kernel's iptables interfaces.

use crate::support::{
    apply, compose, desired, enter_namespace, heal, prefix, ruleset, ruleset_without_nat, run, run_with,
};
use dataplane::rules::{Driver, Invalidate, Placement, driver};
use model::desired::{PacketRules, Pool};

/// What `iptables-save` shows on the walkthrough's node, a table after the other; the hashes are Calico v3.32.1's but
/// where the rules are not.
const TABLES: &str = include_str!("../../testdata/walkthrough.iptables");

/// How much is written from nothing: chains of ours, the kernel's that lead to them, sets.
const ALL: usize = 33 + 10 + 5;

/// Something of everybody else: kube-proxy's hook and chain, an administrator's rules and set.
const FOREIGN: &str = "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n\
    -A POSTROUTING -s 10.9.0.0/24 -m comment --comment \"for the office\" -j MASQUERADE\n\
    -A KUBE-SERVICES -d 10.96.0.1/32 -j RETURN\nCOMMIT\n\
    *filter\n-A FORWARD -i eth7 -j ACCEPT\nCOMMIT\n";

fn iptables() -> Box<dyn Driver> {
    driver(PacketRules::Iptables)
}

/// A table as saved, without remarks and counters.
fn saved(table: &str) -> String {
    let text = run(&format!("iptables-save -t {table}"));
    without_remarks(&text)
}

/// All four tables as saved.
fn all_saved() -> String {
    ["raw", "mangle", "nat", "filter"].map(saved).concat()
}

fn without_remarks(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("{line}\n")).collect()
}

fn members(set: &str) -> Vec<String> {
    let text = run("ipset save");
    let start = format!("add {set} ");
    let mut members: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect();
    members.sort();
    members
}

fn sets() -> Vec<String> {
    run("ipset list -n").lines().map(str::to_owned).collect()
}

#[test]
fn the_walkthroughs_rules_and_sets_appear_once() {
    enter_namespace();
    let mut driver = iptables();
    assert_eq!(apply(&mut *driver, &ruleset()), ALL);
    assert_eq!(all_saved(), TABLES);
    assert_eq!(members("cali40masq-ipam-pools"), ["172.16.0.0/16"]);
    assert_eq!(members("cali40all-ipam-pools"), ["172.16.0.0/16"]);
    assert_eq!(members("cali40all-hosts-net"), ["192.168.10.10", "192.168.10.101"]);
    let header = run("ipset list -t cali40masq-ipam-pools");
    assert!(header.contains("Type: hash:net\n"), "{header}");
    assert!(header.contains("family inet hashsize 1024 maxelem 1048576"), "{header}");

    assert_eq!(apply(&mut *driver, &ruleset()), 0, "known to be right");
    assert_eq!(heal(&mut *driver, &ruleset()), 0, "read, and right");
    assert_eq!(apply(&mut *iptables(), &ruleset()), 0, "a fresh process finds it right");
}

#[test]
fn nat_outgoing_off_and_on_again() {
    enter_namespace();
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    assert_eq!(apply(&mut *driver, &ruleset_without_nat()), 2, "one chain, one set");
    let list = run("iptables -n -t nat --list cali-nat-outgoing");
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.starts_with("Chain cali-nat-outgoing (1 references)\n"), "{list}");
    assert_eq!(members("cali40masq-ipam-pools"), [""; 0]);
    assert!(sets().contains(&"cali40masq-ipam-pools".to_owned()));
    apply(&mut *driver, &ruleset());
    assert_eq!(all_saved(), TABLES);
    assert_eq!(members("cali40masq-ipam-pools"), ["172.16.0.0/16"]);
}

#[test]
fn what_is_broken_by_hand_is_healed() {
    enter_namespace();
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    for (damage, expect) in [
        ("iptables -t nat -F cali-nat-outgoing", 1),
        ("iptables -t nat -D cali-POSTROUTING 2", 1),
        ("iptables -t nat -I cali-nat-outgoing -s 1.2.3.4 -j RETURN", 1),
        ("iptables -t nat -A cali-fip-snat -s 1.2.3.4 -j RETURN", 1),
        ("iptables -t nat -D POSTROUTING -m comment --comment cali:0i8pjzKKPyA34aQD -j cali-POSTROUTING", 1),
        ("iptables -t nat -A PREROUTING -j cali-PREROUTING", 1),
        ("iptables -t nat -N cali-leftover; iptables -t nat -A OUTPUT -j cali-leftover", 2),
        ("iptables -t filter -N cali-fw-caliabc; iptables -t filter -A FORWARD -j cali-fw-caliabc", 2),
        // what Calico v3.32 leaves, whose set must outlive its rule
        (
            "ipset create cali40network-ip-pools hash:net; iptables -t nat -R cali-nat-outgoing 1 \
             -m comment --comment cali:W_qq_N2KSTWyCvrX -m set --match-set cali40masq-ipam-pools src \
             -m set ! --match-set cali40network-ip-pools dst -j MASQUERADE --random-fully",
            2,
        ),
        // the comment stays and only the rule changes
        ("iptables -t nat -R cali-nat-outgoing 1 -m comment --comment cali:flqWnvo8yq4ULQLa -j MASQUERADE", 1),
        ("iptables -t nat -F; iptables -t nat -X", 9),
        ("ipset del cali40masq-ipam-pools 172.16.0.0/16", 1),
        ("ipset add cali40all-ipam-pools 10.1.2.0/24", 1),
        ("ipset add cali40all-ipam-pools 172.16.9.0/24 nomatch", 1),
        ("ipset create cali40network-ip-pools hash:net; ipset create cali4t5 hash:net", 2),
        (
            "ipset create cali4t0 hash:ip; ipset create x hash:net maxelem 4; ipset swap x cali40masq-ipam-pools; ipset destroy x",
            1,
        ),
        (
            "iptables -t nat -F; iptables -t mangle -F; ipset destroy cali40all-ipam-pools; ipset create cali40all-ipam-pools hash:ip",
            12,
        ),
    ] {
        run(damage);
        assert_eq!(heal(&mut *driver, &ruleset()), expect, "{damage}");
        assert_eq!(all_saved(), TABLES, "{damage}");
        assert_eq!(members("cali40masq-ipam-pools"), ["172.16.0.0/16"], "{damage}");
        assert_eq!(members("cali40all-ipam-pools"), ["172.16.0.0/16"], "{damage}");
        assert_eq!(sets().len(), 5, "{damage}: {:?}", sets());
        assert!(run("ipset list -t cali40masq-ipam-pools").contains("maxelem 1048576"), "{damage}");
        assert_eq!(heal(&mut *driver, &ruleset()), 0, "{damage}");
    }
}

#[test]
fn a_destroyed_set_is_made_again_when_rules_need_it() {
    enter_namespace();
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    run("for table in raw mangle nat filter; do iptables -t $table -F; iptables -t $table -X; done; ipset destroy");
    // nothing tells of the sets
    driver.invalidate(Invalidate::Rules);
    driver.apply(&ruleset()).expect_err("the rules name sets that are gone");
    apply(&mut *driver, &ruleset());
    assert_eq!(all_saved(), TABLES);
}

#[test]
fn hooks_stand_where_they_are_told_to() {
    enter_namespace();
    run_with("iptables-restore", FOREIGN);
    let mut driver = iptables();
    let order = |chain: &str| -> Vec<String> {
        let text = run(&format!("iptables -t nat -S {chain}"));
        text.lines().skip(1).filter_map(|line| line.rsplit(' ').next()).map(str::to_owned).collect()
    };
    let mut rules = ruleset();
    apply(&mut *driver, &rules);
    assert_eq!(order("PREROUTING"), ["cali-PREROUTING", "KUBE-SERVICES"]);
    assert_eq!(order("POSTROUTING"), ["MASQUERADE", "cali-POSTROUTING"]);

    run("iptables -t nat -I PREROUTING -j RETURN; iptables -t nat -A POSTROUTING -j RETURN");
    assert_eq!(heal(&mut *driver, &rules), 2);
    assert_eq!(order("PREROUTING"), ["cali-PREROUTING", "RETURN", "KUBE-SERVICES"]);
    assert_eq!(order("POSTROUTING"), ["MASQUERADE", "RETURN", "cali-POSTROUTING"]);

    rules.placement = Placement::Bottom;
    assert_eq!(apply(&mut *driver, &rules), 2, "PREROUTING of nat, FORWARD of filter");
    assert_eq!(order("PREROUTING"), ["RETURN", "KUBE-SERVICES", "cali-PREROUTING"]);
    assert_eq!(heal(&mut *driver, &rules), 0);
}

#[test]
fn others_rules_and_sets_stay_and_remove_all_leaves_them_as_they_were() {
    enter_namespace();
    run_with("iptables-restore", FOREIGN);
    run("ipset create office hash:net; ipset add office 10.9.0.0/24");
    let world = || (saved("nat"), saved("filter"), run("ipset save"));
    let before = world();
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    let programmed = saved("nat");
    for rule in before.0.lines().filter(|line| line.starts_with("-A")) {
        assert!(programmed.contains(rule), "{rule} in {programmed}");
    }
    driver.remove_all().expect("everything of ours goes");
    assert_eq!(world(), before);
    assert_eq!(driver.remove_all().expect("nothing to do").writes, 0);
    assert_eq!(apply(&mut *driver, &ruleset()), ALL, "and all of it comes back");
}

#[test]
fn a_chain_and_a_set_that_others_use_are_emptied_or_left_and_do_not_stop_the_rest() {
    enter_namespace();
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    run(
        "ipset create cali40gone hash:net; iptables -N THEIRS; iptables -A THEIRS -m set --match-set cali40gone src -j DROP",
    );
    run("iptables -t nat -N THEIRS; iptables -t nat -N cali-gone; iptables -t nat -A THEIRS -j cali-gone");
    run("iptables -t nat -A cali-gone -j RETURN");
    assert_eq!(heal(&mut *driver, &ruleset()), 1);
    assert!(sets().contains(&"cali40gone".to_owned()));
    assert_eq!(run("iptables -t nat -S cali-gone"), "-N cali-gone\n");
    assert_eq!(heal(&mut *driver, &ruleset()), 0);
    run("iptables -F THEIRS; iptables -t nat -F THEIRS");
    assert_eq!(heal(&mut *driver, &ruleset()), 2);
    assert_eq!(sets().len(), 5);
}

#[test]
fn the_legacy_interface_is_used_where_it_holds_more_rules() {
    enter_namespace();
    run("iptables-legacy -t nat -A POSTROUTING -s 10.9.0.0/24 -j RETURN");
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    let legacy = without_remarks(&run("iptables-legacy-save -t nat"));
    let nat = TABLES.split_inclusive("COMMIT\n").find(|table| table.starts_with("*nat")).expect("a table nat");
    let expect =
        nat.replace("-A POSTROUTING -m comment", "-A POSTROUTING -s 10.9.0.0/24 -j RETURN\n-A POSTROUTING -m comment");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&legacy), sorted(&expect));
    assert!(!run("iptables-nft-save -t nat").contains("cali"));
    run("iptables-legacy -t nat -F cali-nat-outgoing");
    assert_eq!(heal(&mut *driver, &ruleset()), 1);
    assert_eq!(sorted(&without_remarks(&run("iptables-legacy-save -t nat"))), sorted(&expect));
}

/// Calico's chains, as its agent writes them behind one interface: pods that it does not know are dropped. Others' rules
/// stand beside them, some with names much like ours.
const CALICOS: &str = "*filter\n:cali-FORWARD - [0:0]\n:cali-from-wl-dispatch - [0:0]\n:cali-pi-np/web/a - [0:0]\n:calm - [0:0]\n\
    -A FORWARD -m comment --comment \"cali:wUHhoiAYhphO9Mso\" -j cali-FORWARD\n\
    -A FORWARD -i eth7 -m comment --comment calico -j calm\n\
    -A FORWARD -m comment --comment \"cali:S93hcgKJrXEqnTfs\" -m mark --mark 0x10000/0x10000 -j ACCEPT\n\
    -A cali-FORWARD -i cali+ -j cali-from-wl-dispatch\n\
    -A cali-from-wl-dispatch -m comment --comment \"cali:zTj6P0TIgYvgz-md\" -m comment --comment \"Unknown interface\" -j DROP\n\
    -A cali-pi-np/web/a -m set --match-set cali40s:3vOSzfhA src -j RETURN\nCOMMIT\n\
    *nat\n:cali-nat-outgoing - [0:0]\n:mine - [0:0]\n-A POSTROUTING -s 10.9.0.0/24 -j mine\n\
    -A POSTROUTING -m comment --comment \"cali:O3lYWMrLQYEMJtB5\" -j cali-nat-outgoing\n\
    -A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE\n\
    COMMIT\n";

/// What the kubelet leaves behind the interface that it uses.
const HINT: &str = "*mangle\n:KUBE-IPTABLES-HINT - [0:0]\nCOMMIT\n";

fn takes_over_from(theirs: &str, ours: &str) {
    enter_namespace();
    let saved = |interface: &str| without_remarks(&run(&format!("iptables-{interface}-save")));
    let rules =
        |text: &str| text.lines().filter(|line| line.starts_with("-A ")).map(str::to_owned).collect::<Vec<String>>();
    run("ipset create cali40masq-ipam-pools hash:net maxelem 65536; ipset add cali40masq-ipam-pools 172.16.0.0/16
        ipset create cali40all-ipam-pools hash:net; ipset create cali40s:3vOSzfhA hash:ip; ipset create office hash:net");
    run_with(&format!("iptables-{theirs}-restore --noflush"), CALICOS);
    run_with(&format!("iptables-{ours}-restore --noflush"), HINT);
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    assert!(saved(ours).contains("-j cali-FORWARD"));
    let others = ["-A FORWARD -i eth7 -m comment --comment calico -j calm", "-A POSTROUTING -s 10.9.0.0/24 -j mine"];
    let mut left = rules(&saved(theirs));
    left.sort();
    assert_eq!(left, others);
    let chains = saved(theirs);
    assert!(!chains.contains("cali-") && chains.contains(":calm ") && chains.contains(":mine "), "{chains}");
    assert_eq!(members("cali40masq-ipam-pools"), ["172.16.0.0/16"]);
    assert_eq!(sets().len(), 6, "{:?}", sets());
    assert!(sets().contains(&"office".to_owned()));
    assert_eq!(heal(&mut *driver, &ruleset()), 0);
}

#[test]
fn chains_of_calicos_in_legacy_tables_go_when_ours_stand_in_the_others() {
    takes_over_from("legacy", "nft");
}

#[test]
fn chains_of_calicos_in_nftables_go_when_ours_stand_in_legacy_tables() {
    takes_over_from("nft", "legacy");
}

#[test]
fn where_neither_interface_has_more_the_one_without_ours_is_swept() {
    enter_namespace();
    for interface in ["nft", "legacy"] {
        run_with(
            &format!("iptables-{interface}-restore --noflush"),
            "*filter\n:cali-gone - [0:0]\n-A FORWARD -j cali-gone\nCOMMIT\n",
        );
    }
    let mut driver = iptables();
    apply(&mut *driver, &ruleset());
    assert_eq!(all_saved(), TABLES);
    let both = run("iptables-nft-save; iptables-legacy-save");
    assert!(!both.contains("cali-gone") && both.matches("-j cali-FORWARD").count() == 1, "{both}");
}

#[test]
fn settings_reach_the_kernel() {
    enter_namespace();
    let mut driver = iptables();
    let mut desired = desired();
    desired.settings.nat_exclude_hosts = true;
    desired.settings.nat_address = "192.0.2.9".parse().ok();
    desired.pools.insert(prefix("0.0.0.0/0"), Pool::default());
    desired.pools.insert(prefix("10.1.1.1/32"), Pool::default());
    let rules = compose(&desired);
    apply(&mut *driver, &rules);
    assert_eq!(members("cali40all-ipam-pools"), ["0.0.0.0/1", "10.1.1.1", "128.0.0.0/1", "172.16.0.0/16"]);
    let list = run("iptables -t nat -S cali-nat-outgoing");
    assert!(
        list.contains("! --match-set cali40all-hosts-net dst -j SNAT --to-source 192.0.2.9 --random-fully"),
        "{list}"
    );
    assert_eq!(heal(&mut *driver, &rules), 0);
}
