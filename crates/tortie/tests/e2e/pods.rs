//! Pods by `lab apply`, `get`, `exec`, `delete`, and the CNI calls behind them.

use crate::cluster::{Lab, pod, until};
use std::time::Duration;

/// Puts a script before the installed plugin that logs each call, and fails it while `/run/refuse` exists.
const WRAPPER: &str = r#"mv /opt/cni/bin/calico /opt/cni/bin/calico.real && cat >/opt/cni/bin/calico <<'EOF' && chmod +x /opt/cni/bin/calico
#!/bin/sh
echo "$CNI_COMMAND $CNI_IFNAME $CNI_ARGS $CNI_CONTAINERID $CNI_NETNS" >>/var/log/calico/calls
if [ "$CNI_COMMAND" = ADD ] && [ -e /run/refuse ]; then
  echo '{"cniVersion": "0.3.1", "code": 999, "msg": "refused for a test"}'; exit 1
fi
exec /run/tortie/bin/calico
EOF"#;

#[test]
fn a_pod_lives_and_dies_by_the_nodes_own_plugin() {
    let lab = Lab::up(&[]);
    lab.on("k8s-w1", WRAPPER);
    let made = lab.apply(&(pod("pod2", "k8s-w1") + &pod("pod1", "k8s-w1"))).ok();
    assert_eq!(made, "pod/pod2 created\npod/pod1 created\n");

    let listed = lab.run(&["get", "pods", "-o", "wide"]).ok();
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let header = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    assert_eq!(rows[0].join(" "), header);
    for (row, name, address) in [(&rows[1], "pod1", "172.16.158.2"), (&rows[2], "pod2", "172.16.158.1")] {
        assert_eq!((row[0], row[1], row[2], row[3]), (name, "1/1", "Running", "0"));
        assert_eq!(row[5..], [address, "k8s-w1", "<none>", "<none>"]);
    }
    assert_eq!(lab.inside("pod1", "hostname; cat /proc/1/cmdline | tr '\\0' ' '"), "pod1\ntail -f /dev/null ");
    assert!(lab.inside("pod1", "ip -4 -o addr show eth0").contains(" 172.16.158.2/32 "));
    assert!(lab.inside("pod1", "ip -o link show lo").contains("LOWER_UP"));

    assert_eq!(lab.run(&["delete", "pod", "pod1"]).ok(), "pod \"pod1\" deleted\n");
    let calls = lab.on("k8s-w1", "cat /var/log/calico/calls");
    let calls: Vec<Vec<&str>> = calls.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(calls.iter().map(|call| call[0]).collect::<Vec<_>>(), ["ADD", "ADD", "DEL"]);
    let (add, del) = (&calls[1], &calls[2]);
    assert_eq!(add[1..], del[1..], "DEL names the sandbox that ADD named");
    assert_eq!(add[1], "eth0");
    assert_eq!(add[3].len(), 64);
    assert_eq!(
        add[2],
        format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=pod1;K8S_POD_INFRA_CONTAINER_ID={}", add[3])
    );
    assert!(add[4].starts_with("/run/netns/cni-"), "{}", add[4]);
    assert!(!lab.on("k8s-w1", "ls /run/netns").contains(&add[4]["/run/netns/".len()..]));
    assert!(!lab.run(&["get", "pods"]).ok().contains("pod1"));
    assert!(lab.run(&["exec", "pod1", "--", "true"]).refused().contains("not found"));
}

#[test]
fn a_refused_add_leaves_no_pod() {
    let lab = Lab::up(&[]);
    lab.on("k8s-w1", WRAPPER);
    lab.on("k8s-w1", "touch /run/refuse");
    let error = lab.apply(&pod("pod1", "k8s-w1")).refused();
    assert!(error.contains("error: pod default/pod1: CNI ADD by plugin calico: refused for a test"), "{error}");
    assert!(lab.on("k8s-w1", "cat /var/log/calico/calls").lines().last().is_some_and(|call| call.starts_with("DEL ")));
    assert_eq!(lab.on("k8s-w1", "ls /run/netns"), "");
    assert_eq!(lab.run(&["get", "pods"]).ok(), "");
    lab.on("k8s-w1", "rm /run/refuse");
    lab.apply(&pod("pod1", "k8s-w1")).ok();
}

#[test]
fn a_program_that_is_not_there_leaves_no_pod() {
    let lab = Lab::up(&[]);
    let error = lab.apply(&pod("pod1", "k8s-w1").replace("tail, -f, /dev/null", "no-such-program")).refused();
    let expect =
        "error: pod default/pod1: spec.containers[0].command \"no-such-program\": executable file not found in $PATH";
    assert!(error.contains(expect), "{error}");
    assert_eq!(lab.on("k8s-w1", "ls /run/netns"), "");
    assert!(!lab.on("k8s-w1", "calicoctl get workloadendpoints -A").contains("pod1"));
}

#[test]
fn a_pod_is_applied_again() {
    let lab = Lab::up(&[]);
    let manifest = pod("pod1", "k8s-w1");
    lab.apply(&manifest).ok();
    assert_eq!(lab.apply(&manifest).ok(), "pod/pod1 unchanged\n");
    let labelled = manifest.replace("{name: pod1}", "{name: pod1, labels: {app: one}}");
    assert_eq!(lab.apply(&labelled).ok(), "pod/pod1 configured\n");
    let listed = lab.run(&["get", "pods", "-o", "json"]).ok();
    let listed: serde_json::Value = serde_json::from_str(&listed).expect("it is JSON");
    let pod = &listed["items"][0];
    assert_eq!(pod["metadata"]["labels"]["app"], "one");
    assert_eq!((&pod["status"]["phase"], &pod["spec"]["nodeName"]), (&"Running".into(), &"k8s-w1".into()));
    assert_eq!(pod["status"]["podIP"], "172.16.158.1");
    let error = lab.apply(&manifest.replace("k8s-w1", "k8s-w2")).refused();
    assert!(
        error.contains("pod default/pod1 spec.nodeName: is \"k8s-w1\" and cannot be changed to \"k8s-w2\""),
        "{error}"
    );
    let error = lab.apply(&manifest.replace("[tail,", "[cat,")).refused();
    assert!(error.contains("what a running pod does cannot be changed"), "{error}");
}

#[test]
fn pods_without_a_node_are_spread_and_namespaces_told_apart() {
    let lab = Lab::up(&[]);
    let without = |name: &str| pod(name, "k8s-m").replace("  nodeName: k8s-m\n", "");
    let elsewhere = without("a").replace("{name: a}", "{name: a, namespace: shop}");
    let stream = [without("a"), without("b"), without("c"), without("d"), elsewhere].concat();
    lab.apply(&stream).ok();
    let listed = lab.run(&["get", "pods", "-A", "-o", "wide"]).ok();
    let rows: Vec<Vec<&str>> = listed.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let placed: Vec<(&str, &str, &str)> = rows.iter().map(|row| (row[0], row[1], row[7])).collect();
    assert_eq!(
        placed,
        [
            ("default", "a", "k8s-m"),
            ("default", "b", "k8s-w1"),
            ("default", "c", "k8s-w2"),
            ("default", "d", "k8s-w0"),
            ("shop", "a", "k8s-m")
        ]
    );
    let address = |arguments: &[&str]| {
        let arguments = [&["exec"], arguments, &["--", "ip", "-4", "-o", "addr", "show", "eth0"]].concat();
        lab.run(&arguments).ok()
    };
    assert!(address(&["a", "-n", "shop"]).contains("172.16.116.2/32"));
    assert!(address(&["-n", "default", "a"]).contains("172.16.116.1/32"));
    lab.books_are_right();
    lab.run(&["delete", "pods", "a", "c"]).ok();
    lab.books_are_right();
}

#[test]
fn a_container_that_ends_is_started_again_unless_told_otherwise() {
    let lab = Lab::up(&[]);
    let ending = pod("ends", "k8s-m").replace("tail, -f, /dev/null", "sleep, \"0.2\"");
    let once = ending.replace("name: ends", "name: once").replace("spec:\n", "spec:\n  restartPolicy: Never\n");
    lab.apply(&(ending + &once)).ok();
    let row = |name: &str| {
        let listed = lab.run(&["get", "pod", name]).ok();
        listed.lines().last().unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    until(Duration::from_secs(10), "a restart", || row("ends")[3].parse::<u32>().is_ok_and(|count| count >= 1));
    until(Duration::from_secs(10), "an end", || row("once")[2] == "Completed");
    assert_eq!(row("once")[3], "0");
    lab.run(&["delete", "pods", "ends", "once"]).ok();
    assert_eq!(lab.on("k8s-m", "ls /run/netns"), "");
}

#[test]
fn deleting_waits_for_the_grace_period_and_no_longer() {
    let lab = Lab::up(&[]);
    let patient = "containers: [{name: c, image: i, command: [sh, -c, \"trap 'sleep 0.3; exit 0' TERM; while :; do sleep 0.05; done\"]}]";
    let deaf = "containers: [{name: c, image: i, command: [sh, -c, \"trap '' TERM; while :; do sleep 1; done\"]}]";
    for (containers, grace, least, most) in [(patient, 30, 300, 5_000), (deaf, 1, 1_000, 6_000)] {
        let manifest = format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{nodeName: k8s-m, {containers}, terminationGracePeriodSeconds: {grace}}}}}"
        );
        lab.apply(&manifest).ok();
        let began = std::time::Instant::now();
        lab.run(&["delete", "pod", "p"]).ok();
        let took = began.elapsed().as_millis();
        assert!((least..most).contains(&took), "{took} ms");
    }
}

/// Puts a script before the installed plugin that fails the first two DELs of pod p, the second when `/run/gate` is
/// read and written, and those of pod later while `/run/refuse` exists.
const FAILING_DELETIONS: &str = r#"mkfifo /run/gate && touch /run/refuse && rm /opt/cni/bin/calico && cat >/opt/cni/bin/calico <<'EOF' && chmod +x /opt/cni/bin/calico
#!/bin/sh
case "$CNI_COMMAND $CNI_ARGS" in
DEL*K8S_POD_NAME=p\;*)
  echo DEL >>/run/deletions
  case $(wc -l </run/deletions) in
  1) exit 1 ;;
  2) cat /run/gate; exit 1 ;;
  esac ;;
DEL*K8S_POD_NAME=later\;*) [ -e /run/refuse ] && exit 1 ;;
esac
exec /run/tortie/bin/calico
EOF"#;

#[test]
fn a_pod_outlives_the_unfinished_deletion_of_its_namesake() {
    let lab = Lab::up(&[]);
    lab.start_pods(&[("p", "k8s-w1"), ("later", "k8s-w1")]);
    lab.on("k8s-w1", FAILING_DELETIONS);
    lab.run(&["delete", "pod", "p"]).refused();
    // the node tries again, and hangs, while the next deletion succeeds and a namesake is made
    until(Duration::from_secs(10), "a second DEL", || lab.on("k8s-w1", "wc -l </run/deletions") == "2\n");
    lab.run(&["delete", "pod", "p"]).ok();
    lab.start_pods(&[("p", "k8s-w1")]);
    let address = lab.address("p");
    lab.on("k8s-w1", "echo >/run/gate");
    // the node's next try is due before that of a deletion that fails after it
    lab.run(&["delete", "pod", "later"]).refused();
    lab.on("k8s-w1", "rm /run/refuse");
    until(Duration::from_secs(10), "the other pod's deletion", || lab.run(&["get", "pod", "later"]).code != 0);
    assert_eq!(lab.address_if_up("p"), Ok(address));
    assert!(lab.run(&["get", "pod", "p"]).ok().contains("Running"));
    lab.books_are_right();
}
