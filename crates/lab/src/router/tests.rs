use super::*;
use crate::topology::Topology;

/// The walkthrough with one router in the first subnet and one node in another AS.
fn topology(more: &str) -> Topology {
    let router = format!("routers: [{{name: tor, address: 192.168.10.1, {more}}}]\n");
    let text = crate::topology::DEFAULT.replace("address: 192.168.20.100", "address: 192.168.20.100, as: 65020");
    Topology::parse(&format!("{text}{router}")).expect("a topology")
}

/// The text of one of a router's files, without what belongs to the two nodes in the middle.
fn file(more: &str, path: &str) -> String {
    let mut topology = topology(more);
    topology.nodes.drain(1..3);
    let files = setup(&topology, &topology.routers[0]).files;
    files.into_iter().find(|(name, _)| name == path).expect("the file").1
}

#[test]
fn bird_2_as_an_external_peer() {
    let expect = r#"log stderr all;
debug protocols { states, events };
router id 192.168.10.1;
# a node without a BGPPeer never comes, nor does its end of routes
graceful restart wait 20;
protocol device { }
# next hops in other subnets are found by the default route, which is not BIRD's
protocol direct { ipv4; interface "eth0"; }
protocol kernel { learn; graceful restart; ipv4 { import where net = 0.0.0.0/0; export where source = RTS_BGP; }; }
protocol static { ipv4; route 10.98.0.0/16 blackhole; route 10.99.0.0/16 blackhole; }
protocol bgp node_192_168_10_10 {
  description "k8s-m";
  local 192.168.10.1 as 65001; neighbor 192.168.10.10 as 64512;
  direct; password "s3cret"; hold time 9; graceful restart;
  connect delay time 1; connect retry time 5; error wait time 1, 5;
  ipv4 { gateway recursive; import all; export where source = RTS_STATIC || source = RTS_BGP; };
}
protocol bgp node_192_168_20_100 {
  description "k8s-w0";
  local 192.168.10.1 as 65001; neighbor 192.168.20.100 as 65020;
  multihop; password "s3cret"; hold time 9; graceful restart;
  connect delay time 1; connect retry time 5; error wait time 1, 5;
  ipv4 { gateway recursive; import all; export where source = RTS_STATIC || source = RTS_BGP; };
}
"#;
    let fields = "kind: bird2, as: 65001, networks: [10.98.0.0/16, 10.99.0.0/16], password: s3cret, holdTime: 9";
    assert_eq!(file(fields, "/etc/bird/bird.conf"), expect);
}

#[test]
fn bird_1_as_a_reflector() {
    let expect = r#"protocol direct { interface "eth0"; }
protocol kernel { learn; graceful restart; import where net = 0.0.0.0/0; export where source = RTS_BGP; }
protocol static { }
protocol bgp node_192_168_10_10 {
  description "k8s-m";
  local 192.168.10.1 as 64512; neighbor 192.168.10.10 as 64512;
  direct; rr client; hold time 90; graceful restart;
  connect delay time 1; connect retry time 5; error wait time 1, 5;
  gateway recursive; import all; export where source = RTS_STATIC || source = RTS_BGP;
}
protocol bgp node_192_168_20_100 {
  description "k8s-w0";
  local 192.168.10.1 as 64512; neighbor 192.168.20.100 as 65020;
  multihop; hold time 90; graceful restart;
"#;
    let text = file("kind: bird, as: 64512, reflector: true", "/etc/bird/bird.conf");
    assert!(text.contains(expect), "{text}");
}

#[test]
fn frr_as_a_reflector_with_a_network() {
    let expect = "hostname tor
debug bgp neighbor-events
router bgp 64512
 bgp router-id 192.168.10.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart
 bgp graceful-restart preserve-fw-state
 bgp graceful-restart select-defer-time 20
 timers bgp 3 9
 neighbor 192.168.10.10 remote-as 64512
 neighbor 192.168.10.10 description k8s-m
 neighbor 192.168.10.10 timers connect 5
 neighbor 192.168.10.10 advertisement-interval 0
 neighbor 192.168.10.10 password s3cret
 neighbor 192.168.20.100 remote-as 65020
 neighbor 192.168.20.100 description k8s-w0
 neighbor 192.168.20.100 timers connect 5
 neighbor 192.168.20.100 advertisement-interval 0
 neighbor 192.168.20.100 password s3cret
 neighbor 192.168.20.100 ebgp-multihop
 address-family ipv4 unicast
  network 10.99.0.0/16
  neighbor 192.168.10.10 route-reflector-client
 exit-address-family
";
    let fields = "kind: frr, as: 64512, reflector: true, networks: [10.99.0.0/16], password: s3cret, holdTime: 9";
    assert_eq!(file(fields, "/etc/frr/bgpd.conf"), expect);
    assert_eq!(file(fields, "/etc/frr/zebra.conf"), "hostname tor\nip nht resolve-via-default\n");
}

#[test]
fn frr_has_its_group_once_whatever_the_machine_has() {
    assert_eq!(groups(Kind::Frr, "root:x:0:\nfrrvty:x:100:frr\n").unwrap(), "root:x:0:\nfrrvty:x:64999:root\n");
    assert_eq!(groups(Kind::Bird, "root:x:0:\n"), None);
}

#[test]
fn gobgp_between_two_ases() {
    let expect = "[global.config]
as = 64512
router-id = \"192.168.10.1\"

[[neighbors]]
[neighbors.config]
neighbor-address = \"192.168.10.10\"
description = \"k8s-m\"
peer-as = 64512
admin-down = true
auth-password = \"s3cret\"
[neighbors.transport.config]
local-address = \"192.168.10.1\"
[neighbors.timers.config]
hold-time = 9
keepalive-interval = 3
connect-retry = 5
idle-hold-time-after-reset = 1
[neighbors.route-reflector.config]
route-reflector-client = true
route-reflector-cluster-id = \"192.168.10.1\"
[neighbors.graceful-restart.config]
enabled = true
restart-time = 120
deferral-time = 20
[[neighbors.afi-safis]]
[neighbors.afi-safis.config]
afi-safi-name = \"ipv4-unicast\"
[neighbors.afi-safis.mp-graceful-restart.config]
enabled = true

[[neighbors]]
[neighbors.config]
neighbor-address = \"192.168.20.100\"
description = \"k8s-w0\"
peer-as = 65020
admin-down = true
";
    let fields = "kind: gobgp, as: 64512, reflector: true, networks: [10.99.0.0/16], password: s3cret, holdTime: 9";
    let text = file(fields, "/etc/gobgp/gobgpd.toml");
    assert!(text.starts_with(expect), "{text}");
    assert!(text.contains("[neighbors.ebgp-multihop.config]\nenabled = true\n"), "{text}");
    let start = file(fields, "/etc/gobgp/start");
    let expect = "
  gobgp global rib add 10.99.0.0/16 nexthop 0.0.0.0 origin igp
  gobgp neighbor 192.168.10.10 enable
  gobgp neighbor 192.168.20.100 enable
) &
exec gobgpd ";
    assert!(start.contains(expect), "{start}");
}

#[test]
fn a_program_hears_of_a_killed_run_alone() {
    let trace = std::env::temp_dir().join(format!("lab-router-{}", std::process::id()));
    let name: &'static str = trace.display().to_string().leak();
    let daemon = Daemon { name: "bird", command: vec!["bird".to_owned(), "-f".to_owned()], killed: Some((name, "-R")) };
    assert_eq!(daemon.arguments().collect::<Vec<_>>(), ["bird", "-f"]);
    std::fs::write(&trace, "").expect("a file");
    let arguments: Vec<&str> = daemon.arguments().collect();
    std::fs::remove_file(&trace).expect("the file");
    assert_eq!(arguments, ["bird", "-f", "-R"]);
}
