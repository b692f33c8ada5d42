//! BIRD 1.6 and BIRD 2: one language but for the channels, in which BIRD 2 has what concerns an address family.

use super::{Daemon, Neighbor, Setup, neighbors};
use crate::topology::{Kind, Router, Topology};

/// Where it listens for birdc; a BIRD that ends by itself removes it.
const SOCKET: &str = "/run/bird/bird.ctl";

pub(super) fn setup(topology: &Topology, router: &Router) -> Setup {
    let command = ["bird", "-f", "-c", "/etc/bird/bird.conf", "-s", SOCKET, "-P", "/run/bird/bird.pid"];
    let daemon = Daemon {
        name: "bird",
        command: command.map(str::to_owned).to_vec(),
        // without it, BIRD would take away the routes of its earlier run before it has heard from its peers
        killed: Some((SOCKET, "-R")),
    };
    Setup { files: vec![("/etc/bird/bird.conf".to_owned(), config(topology, router))], daemons: vec![daemon] }
}

fn config(topology: &Topology, router: &Router) -> String {
    let channels = router.kind == Kind::Bird2;
    let channel = |inner: &str| if channels { format!("ipv4 {{ {inner} }};") } else { inner.to_owned() };
    let family = if channels { "ipv4; " } else { "" };
    let routes: String = router.networks.iter().map(|network| format!("route {network} blackhole; ")).collect();
    let mut text = format!(
        "log stderr all;\n\
         debug protocols {{ states, events }};\n\
         router id {};\n\
         # a node without a BGPPeer never comes, nor does its end of routes\n\
         graceful restart wait 20;\n\
         protocol device {{ }}\n\
         # next hops in other subnets are found by the default route, which is not BIRD's\n\
         protocol direct {{ {family}interface \"eth0\"; }}\n\
         protocol kernel {{ learn; graceful restart; {} }}\n\
         protocol static {{ {family}{routes}}}\n",
        router.address,
        channel("import where net = 0.0.0.0/0; export where source = RTS_BGP;"),
    );
    for neighbor in neighbors(topology, router) {
        text += &protocol(router, &neighbor, channel);
    }
    text
}

fn protocol(router: &Router, neighbor: &Neighbor<'_>, channel: impl Fn(&str) -> String) -> String {
    let Router { address, as_number, hold_time, .. } = router;
    let distance = if neighbor.connected { "direct" } else { "multihop" };
    let client = if neighbor.client { " rr client;" } else { "" };
    let password = router.password.as_ref().map(|text| format!(" password \"{text}\";")).unwrap_or_default();
    // BIRD's own name for it; a node's may be longer than BIRD takes
    let name = neighbor.node.address.to_string().replace('.', "_");
    format!(
        "protocol bgp node_{name} {{\n  \
           description \"{}\";\n  \
           local {address} as {as_number}; neighbor {} as {};\n  \
           {distance};{client}{password} hold time {hold_time}; graceful restart;\n  \
           connect delay time 1; connect retry time 5; error wait time 1, 5;\n  \
           {}\n\
         }}\n",
        neighbor.node.name,
        neighbor.node.address,
        neighbor.as_number,
        channel("gateway recursive; import all; export where source = RTS_STATIC || source = RTS_BGP;"),
    )
}
