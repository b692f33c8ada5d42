//! Which of Calico's chains are found to close something, of those that the kernel has in either form.

use crate::support::{enter_namespace, hide_programs, run, run_with, show_programs};
use dataplane::rules::closing_chains;

fn found() -> Vec<String> {
    closing_chains().expect("the kernel answers").into_iter().collect()
}

/// A table of Calico's, as `nft` takes it: what closes nothing.
const OPEN: &str = "table ip calico {
    chain filter-cali-tw-cali1 { counter drop comment \"cali:aaaaaaaaaaaaaaaa;\"; }
    chain filter-cali-from-host-endpoint { }
    chain filter-cali-pri-kns.a { counter meta mark set meta mark | 0x10000 comment \"cali:bbbbbbbbbbbbbbbb; Profile\"; }
    chain filter-cali-pro-kns.a {
        counter meta mark set meta mark | 0x100
        meta mark & 0x100 == 0x100 counter return
    }
    chain filter-cali-pri-ksa.a.b { continue comment \"cali:cccccccccccccccc; Profile\"; }
    chain filter-cali-pro-logged { counter log prefix \"calico-packet: \" level info; counter meta mark set meta mark | 0x10000; }
}";

/// And what closes something.
const CLOSED: &str = "table ip calico {
    set s { type ipv4_addr; }
    chain filter-cali-pi-np/web/deny { continue; }
    chain filter-cali-go-7BJ1HAWGRY0O8rgOanL5 { }
    chain raw-cali-fh-eth0 { }
    chain mangle-cali-th-eth1 { }
    chain filter-cali-pri-net1 { ip saddr @s counter meta mark set meta mark | 0x10000; }
    chain filter-cali-pri-missing {
        counter meta mark set meta mark | 0x40000
        meta mark & 0x40000 == 0x40000 counter drop
    }
    chain filter-cali-pro-tcp { meta l4proto tcp counter meta mark set meta mark | 0x10000; }
    chain filter-cali-pro-rejected { counter reject; }
}";

#[test]
fn nftables_without_any_program() {
    enter_namespace();
    assert_eq!(found(), Vec::<String>::new());
    run_with("nft -f -", OPEN);
    hide_programs();
    let open = found();
    show_programs();
    assert_eq!(open, Vec::<String>::new());
    run_with("nft -f -", CLOSED);
    let expect = [
        "cali-fh-eth0",
        "cali-go-7BJ1HAWGRY0O8rgOanL5",
        "cali-pi-np/web/deny",
        "cali-pri-missing",
        "cali-pri-net1",
        "cali-pro-rejected",
        "cali-pro-tcp",
        "cali-th-eth1",
    ];
    assert_eq!(found(), expect);
    run("nft delete table ip calico");
    // IPv6 stays as it is
    run_with("nft -f -", "table ip6 calico { chain filter-cali-pi-np/web/deny { }\n }");
    assert_eq!(found(), Vec::<String>::new());
}

#[test]
fn iptables() {
    enter_namespace();
    let table = |chains: &[&str], rules: &str| {
        let chains: String = chains.iter().map(|chain| format!(":{chain} - [0:0]\n")).collect();
        run_with("iptables-nft-restore --noflush", &format!("*filter\n{chains}{rules}COMMIT\n"));
    };
    table(
        &["cali-tw-cali1", "cali-pri-kns.a", "cali-pro-kns.a"],
        "-A cali-tw-cali1 -j DROP\n\
         -A cali-pri-kns.a -m comment --comment \"cali:aaaaaaaaaaaaaaaa\" -j MARK --set-xmark 0x10000/0x10000\n\
         -A cali-pri-kns.a -m mark --mark 0x10000/0x10000 -j RETURN\n",
    );
    assert_eq!(found(), Vec::<String>::new());
    table(
        &["cali-pri-net1", "cali-po-default.deny"],
        "-A cali-pri-net1 -s 10.0.0.0/8 -j MARK --set-xmark 0x10000/0x10000\n",
    );
    assert_eq!(found(), ["cali-po-default.deny", "cali-pri-net1"]);
    // without the programs nobody can say what a profile's chain does
    hide_programs();
    let suspects = found();
    show_programs();
    assert_eq!(suspects, ["cali-po-default.deny", "cali-pri-kns.a", "cali-pri-net1", "cali-pro-kns.a"]);
}
