//! Whether rules stand, whoever wrote them.

use crate::support::{apply, enter_namespace, hide_programs, ruleset, run, show_programs};
use dataplane::rules::{Standing, driver, standing};
use model::desired::PacketRules;

#[test]
fn rules_of_an_earlier_process_are_found_without_any_program() {
    enter_namespace();
    let wanted = ruleset();
    for (rules, broken) in [
        (PacketRules::Iptables, "iptables-nft -t raw -D PREROUTING 1"),
        (PacketRules::Nftables, "nft flush chain ip calico filter-FORWARD"),
    ] {
        run("nft flush ruleset");
        assert_eq!(standing(&wanted), Standing::Missing, "{rules:?}: nothing is there");
        apply(&mut *driver(rules), &wanted);
        hide_programs();
        let found = standing(&wanted);
        show_programs();
        assert_eq!(found, Standing::Complete, "{rules:?}");
        run(broken);
        assert_eq!(standing(&wanted), Standing::Missing, "{rules:?}: {broken}");
    }
}
