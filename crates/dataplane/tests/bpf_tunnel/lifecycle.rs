//! Restart, healing, removal, and kernels or processes that cannot.

use crate::lab::{Lab, ensure, eventually};
use crate::traffic::{GRO, TSO, TX_CHECKSUM, set, value};
use dataplane::bpf::BpfTunnel;
use dataplane::netlink::Netlink;
use dataplane::tunnel::Tunnel as _;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Uid, fork, setuid};
use std::collections::BTreeMap;
use std::process::Stdio;

#[test]
fn a_killed_process_leaves_a_working_tunnel_that_the_next_adopts_without_loss() {
    let lab = Lab::without_tunnels();
    for number in [1, 2] {
        let spec = lab.spec(number);
        let status = lab.inside(&format!("n{number}"), || {
            in_child(|| {
                ensure(&mut BpfTunnel::new(), &spec);
                raise(Signal::SIGKILL).expect("a process may kill itself");
            })
        });
        assert!(matches!(status, WaitStatus::Signaled(_, Signal::SIGKILL, _)), "{status:?}");
        lab.route(number);
    }
    assert!(lab.pings("pod1", "-c 3 -i 0.01 172.16.2.2"));

    let before = programs(&lab);
    let mut ping = lab.command("pod1", "ping -n -q -i 0.002 -c 300 172.16.2.2");
    let ping = ping.stdout(Stdio::piped()).spawn().expect("ping is needed");
    for number in [1, 2] {
        let spec = lab.spec(number);
        let (written, ids) = lab.inside(&format!("n{number}"), || {
            let mut tunnel = BpfTunnel::new();
            (ensure(&mut tunnel, &spec), tunnel.program_ids())
        });
        assert_eq!(written, 0, "n{number}: changes over netlink");
        assert!(ids.is_some_and(|ids| ids.iter().all(|id| before.contains(id))), "n{number}: {ids:?} {before:?}");
    }
    let output = ping.wait_with_output().expect("ping ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("300 received"), "{text}");
    assert_eq!(programs(&lab), before, "the same programs are attached");
}

#[test]
fn a_second_ensure_writes_nothing() {
    let lab = Lab::without_tunnels();
    let spec = lab.spec(1);
    lab.inside("n1", || {
        let mut tunnel = BpfTunnel::new();
        assert_ne!(ensure(&mut tunnel, &spec), 0);
        let ids = tunnel.program_ids();
        assert_eq!(ensure(&mut tunnel, &spec), 0);
        assert_eq!(tunnel.program_ids(), ids);
    });
}

#[test]
fn the_device_is_as_kernel_users_expect_it() {
    let lab = Lab::start();
    for device in ["tunl0", "tunl0p"] {
        let text = lab.ip("n1", &format!("-d link show dev {device}"));
        for part in ["NOARP,UP", "mtu 1480", "state UP", "addrgenmode none"] {
            assert!(text.contains(part), "{device}: no {part:?} in {text}");
        }
        assert_eq!(lab.ip("n1", &format!("-6 address show dev {device}")), "");
    }
    assert_eq!(lab.ip("n1", "-o -4 address show dev tunl0").matches("172.16.1.0/32").count(), 1);
    assert_eq!(lab.ip("n1", "neighbour show nud reachable dev tunl0"), "");
}

#[test]
fn what_is_broken_by_hand_heals() {
    let lab = Lab::start();
    let mut tunnel = BpfTunnel::new();
    lab.inside("n1", || ensure(&mut tunnel, &lab.spec(1)));
    let breakages = [
        "tc filter delete dev eth0 ingress",
        "tc qdisc delete dev eth0 clsact",
        "tc filter delete dev tunl0p ingress",
        "tc filter delete dev tunl0 ingress",
        "ip link set tunl0 down",
        "ip link set tunl0p down",
        "ip link set dev tunl0 mtu 1300",
        "ip link set dev tunl0 arp on",
        "ip link set dev tunl0 address 02:00:00:00:00:01",
        "ip link delete tunl0",
    ];
    for line in breakages {
        lab.run("n1", line);
        assert_ne!(lab.inside("n1", || ensure(&mut tunnel, &lab.spec(1))), 0, "{line}: something to write");
        assert_eq!(lab.inside("n1", || ensure(&mut tunnel, &lab.spec(1))), 0, "{line}: written once");
        // address and routes are another's to restore
        lab.output("n1", "ip address delete 172.16.1.0/32 dev tunl0");
        lab.output("n1", "ip route flush dev tunl0");
        lab.route(1);
        assert!(lab.pings("pod1", "-c 1 -M do -s 1452 172.16.2.2"), "{line}");
    }
}

#[test]
fn offloads_that_the_pair_must_not_have_are_turned_off_again() {
    let lab = Lab::start();
    let mut tunnel = BpfTunnel::new();
    for (device, command) in [("tunl0p", TX_CHECKSUM), ("tunl0p", TSO), ("tunl0", GRO)] {
        lab.inside("n1", || set(device, command, 1));
        lab.inside("n1", || ensure(&mut tunnel, &lab.spec(1)));
        let read = command - 1;
        assert_eq!(lab.inside("n1", || value(device, read)), 0, "{device}: ethtool command {read:#x}");
    }
}

#[test]
fn the_tunnel_follows_an_uplink_that_is_made_anew() {
    let lab = Lab::start();
    let mut tunnel = BpfTunnel::new();
    lab.inside("n2", || ensure(&mut tunnel, &lab.spec(2)));
    let (ids, old) = (tunnel.program_ids(), lab.spec(2).links);
    lab.ip("n2", "link delete eth0");
    lab.wire("n2");
    lab.ip("n2", "address add 192.168.20.1/24 dev eth0");
    lab.ip("n2", "route add default via 192.168.20.254");
    lab.ip("router", "address add 192.168.20.254/24 dev n2");
    let spec = lab.spec(2);
    assert_ne!(spec.links, old);
    lab.inside("n2", || ensure(&mut tunnel, &spec));
    assert_eq!(tunnel.program_ids(), ids, "the programs outlive the link");
    eventually("pods reach each other again", || lab.pings("pod1", "-c 1 172.16.2.2"));
}

#[test]
fn a_former_uplink_is_left_clean() {
    let lab = Lab::start();
    let mut spec = lab.spec(1);
    lab.ip("n1", "link add spare type veth peer name sparep");
    spec.links = BTreeMap::from([(lab.link("n1", "spare"), false)]);
    lab.inside("n1", || ensure(&mut BpfTunnel::new(), &spec));
    assert!(lab.run("n1", "tc filter show dev spare ingress").contains("tortie-decap-"));
    assert_eq!(lab.run("n1", "tc filter show dev eth0 ingress"), "");
    assert!(!lab.run("n1", "tc qdisc show dev eth0").contains("clsact"));
}

#[test]
fn another_programs_filters_stay() {
    let lab = Lab::start();
    lab.run("n1", "tc filter add dev eth0 ingress pref 50 protocol ip u32 match u32 0 0 flowid 1:1");
    lab.inside("n1", || remove(&mut BpfTunnel::new()));
    let left = lab.run("n1", "tc filter show dev eth0 ingress");
    assert!(left.contains("pref 50") && !left.contains("tortie"), "{left}");
}

#[test]
fn remove_leaves_nothing() {
    let lab = Lab::start();
    let mut tunnel = BpfTunnel::new();
    lab.inside("n1", || ensure(&mut tunnel, &lab.spec(1)));
    for _ in 0..2 {
        lab.inside("n1", || remove(&mut tunnel));
        let links = lab.ip("n1", "-o link show");
        assert!(!links.contains("tunl0"), "{links}");
        assert_eq!(lab.run("n1", "tc filter show dev eth0 ingress"), "");
        assert!(!lab.run("n1", "tc qdisc show dev eth0").contains("clsact"));
    }
    lab.inside("n1", || ensure(&mut tunnel, &lab.spec(1)));
    lab.route(1);
    assert!(lab.pings("pod1", "-c 1 172.16.2.2"), "it can be made again");
}

#[test]
fn half_a_pair_is_replaced() {
    let lab = Lab::without_tunnels();
    for line in ["tunl0 type veth peer name other", "other type veth peer name tunl0p"] {
        lab.ip("n1", &format!("link add {line}"));
        lab.inside("n1", || ensure(&mut BpfTunnel::new(), &lab.spec(1)));
        assert!(lab.ip("n1", "-o link show").contains("tunl0@tunl0p"));
        lab.inside("n1", || remove(&mut BpfTunnel::new()));
    }
}

#[test]
fn refusals_name_the_object_and_the_reason() {
    let lab = Lab::without_tunnels();
    lab.ip("n1", "link add tunl0 type bridge");
    let taken = lab.inside("n1", || {
        let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
        BpfTunnel::new().ensure(&mut netlink, &lab.spec(1)).expect_err("it cannot be had").to_string()
    });
    assert!(taken.contains("tunl0") && taken.contains("\"bridge\""), "{taken}");
    assert!(lab.ip("n1", "-d link show tunl0").contains("bridge"), "it is left alone");
}

#[test]
fn supported_says_what_is_missing() {
    BpfTunnel::supported().expect("root on a kernel with BPF, clsact and veth");
    let status = in_child(|| {
        setuid(Uid::from_raw(65534)).expect("root may become anyone");
        let text = BpfTunnel::supported().expect_err("an ordinary user may not").to_string();
        assert!(text.contains("root"), "{text}");
    });
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
}

fn remove(tunnel: &mut BpfTunnel) {
    let mut netlink = Netlink::open().expect("rtnetlink opens in any namespace");
    tunnel.remove(&mut netlink).expect("removing takes root");
}

/// The attached programs of n1 and n2, by the numbers `tc` shows.
fn programs(lab: &Lab) -> Vec<u32> {
    let mut ids = Vec::new();
    for (node, device) in
        [("n1", "tunl0p"), ("n1", "tunl0"), ("n1", "eth0"), ("n2", "tunl0p"), ("n2", "tunl0"), ("n2", "eth0")]
    {
        let text = lab.run(node, &format!("tc filter show dev {device} ingress"));
        let found: Vec<u32> = text
            .split_whitespace()
            .zip(text.split_whitespace().skip(1))
            .filter(|(word, _)| *word == "id")
            .map(|(_, id)| id.parse().expect("tc prints the program's number"))
            .collect();
        assert_eq!(found.len(), 1, "{node} {device}: {text}");
        ids.extend(found);
    }
    ids
}

/// Runs a closure in a child process, which ends after it; 101 if it panics.
fn in_child(work: impl FnOnce()) -> WaitStatus {
    // what the loader finds out once per process must not be half found out when another test's thread is lost
    BpfTunnel::supported().expect("root on a kernel with BPF, clsact and veth");
    // SAFETY: the child has the calling thread alone; glibc keeps its allocator usable, and nothing else is shared.
    match unsafe { fork() }.expect("a process may fork") {
        ForkResult::Parent { child } => waitpid(child, None).expect("the child is ours"),
        ForkResult::Child => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child at once, without the parent's exit handlers.
            unsafe { libc::_exit(if outcome.is_ok() { 0 } else { 101 }) }
        }
    }
}
