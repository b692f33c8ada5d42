//! The recorded life of an IPReservation.

use super::{Shell, masked, object};

#[test]
fn the_life_of_a_reservation() {
    let shell = Shell::new();
    let input = object("IPReservation", "res", "{reservedCIDRs: [10.244.0.0/30]}");
    shell.ok("create -f -", &input, "Successfully created 1 'IPReservation' resource(s)\n");
    assert_eq!(
        masked(&shell.stored("ipreservations/res")),
        r#"{"kind":"IPReservation","apiVersion":"projectcalico.org/v3","metadata":{"name":"res","uid":"X","creationTimestamp":"X"},"spec":{"reservedCIDRs":["10.244.0.0/30"]}}"#
    );
    let yaml = "apiVersion: projectcalico.org/v3\nkind: IPReservation\nmetadata:\n  name: res\nspec:\n  reservedCIDRs:\n  - 10.244.0.0/30\n";
    for word in ["IPReservation", "ipreservations", "reservation", "RESERVATIONS"] {
        shell.ok(&format!("get {word} res -o yaml --export"), "", yaml);
    }
    shell.ok("get IPReservation", "", "NAME   \nres    \n\n");
    shell.ok("get IPReservation -o wide", "", "NAME   CIDRS           \nres    10.244.0.0/30   \n\n");
    shell.fails(
        "create -f -",
        &input,
        "failed to create 'IPReservation' resource: [resource already exists: IPReservation(res) with error: <nil>]\n",
    );
    for (verb, past) in [("apply", "applied"), ("replace", "replaced"), ("validate", "validated")] {
        let expect = format!("Successfully {past} 1 'IPReservation' resource(s)\n");
        shell.ok(&format!("{verb} -f -"), &input, &expect);
    }
    shell.ok("label IPReservation res vec=1", "", "Successfully set label vec on IPReservation res\n");
    let patch = "patch IPReservation res -p '{\"metadata\":{\"labels\":{\"p\":\"1\"}}}'";
    shell.ok(patch, "", "Successfully patched 1 'IPReservation' resource\n");
    assert!(shell.stored("ipreservations/res").contains(r#""labels":{"p":"1","vec":"1"}"#));
    shell.ok("delete IPReservation res", "", "Successfully deleted 1 'IPReservation' resource(s)\n");
    shell.fails("get IPReservation res", "", "resource does not exist: IPReservation(res) with error: <nil>\n");
    let empty = object("IPReservation", "r", "{reservedCIDRs: []}");
    shell.ok("create -f -", &empty, "Successfully created 1 'IPReservation' resource(s)\n");
    assert!(shell.stored("ipreservations/r").ends_with(r#""spec":{}}"#));
    let bad = object("IPReservation", "r", "{reservedCIDRs: [10.0.0.0/33]}");
    shell.fails(
        "apply -f -",
        &bad,
        "failed to apply 'IPReservation' resource: [error with field ReservedCIDRs = '[10.0.0.0/33]' (Reason: failed \
         to validate Field: ReservedCIDRs because of Tag: cidrs )]\n",
    );
}
