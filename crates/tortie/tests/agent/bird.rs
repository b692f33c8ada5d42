//! BIRD 2 as an internal peer, by a BGPPeer.

use crate::cluster::{Cluster, Process, SOON, eventually, throughout};
use crate::host::Host;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// BIRD on a host of its own.
struct Bird {
    _host: Host,
    control: PathBuf,
    _process: Process,
}

impl Bird {
    fn start(host: Host, directory: &Path, peers: &[&str]) -> Bird {
        let control = directory.join("bird.ctl");
        let mut config = format!(
            "router id {0};\nprotocol device {{}}\nprotocol static {{ ipv4; route 10.99.0.0/16 blackhole; }}\n",
            host.address
        );
        for (index, peer) in peers.iter().enumerate() {
            config += &format!(
                "protocol bgp p{index} {{ local {} as 64512; neighbor {peer} as 64512; connect retry time 2; \
                 error wait time 1,5; graceful restart; ipv4 {{ import all; export where source = RTS_STATIC; \
                 next hop self; }}; }}\n",
                host.address
            );
        }
        let file = directory.join("bird.conf");
        fs::write(&file, config).expect("a configuration for BIRD");
        let mut call = host.command("bird");
        call.arg("-f").arg("-c").arg(&file).arg("-s").arg(&control);
        let process = Process::start(call, &directory.join("bird.log"));
        eventually(SOON, || if control.exists() { Ok(()) } else { Err("BIRD does not run: is bird2 installed?") });
        Bird { _host: host, control, _process: process }
    }

    fn ask(&self, words: &str) -> String {
        let output = Command::new("birdc").arg("-s").arg(&self.control).args(words.split(' ')).output();
        let output = output.unwrap_or_else(|error| panic!("tests need birdc, of bird2: {error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn has(&self, prefix: &str, next_hop: &str) -> Result<(), String> {
        let text = self.ask(&format!("show route for {prefix} all"));
        let found = text.contains("BGP.origin: IGP")
            && text.contains("BGP.local_pref: 100")
            && text.contains(&format!("BGP.next_hop: {next_hop}"));
        if found { Ok(()) } else { Err(format!("BIRD has, for {prefix}: {text}")) }
    }
}

#[test]
fn a_peer_by_bgppeer() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    let directory = tempfile::tempdir().expect("a directory for BIRD");
    let bird = Bird::start(cluster.host(9), directory.path(), &["192.168.10.1"]);
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: bird}, \
         spec: {peerIP: 192.168.10.9, asNumber: 64512}}",
    );
    one.start_agent();
    one.established(&["Global_192_168_10_9"], SOON);
    eventually(SOON, || bird.has("172.16.1.0/24", "192.168.10.1"));
    one.learns(&["10.99.0.0/16"], SOON);
    assert_eq!(one.namespace.ip("route show 10.99.0.0/16").trim(), "10.99.0.0/16 via 192.168.10.9 dev eth0 proto bird");

    cluster.claim("172.16.3.0/24", "n1");
    eventually(SOON, || bird.has("172.16.3.0/24", "192.168.10.1"));
    cluster.let_go("172.16.3.0/24", "n1");
    eventually(SOON, || match bird.ask("show route") {
        routes if routes.contains("172.16.3.0/24") => Err(routes),
        _ => Ok(()),
    });

    one.kill_agent();
    throughout(Duration::from_secs(2), || bird.has("172.16.1.0/24", "192.168.10.1"));
    one.start_agent();
    one.established(&["Global_192_168_10_9"], SOON);
    throughout(Duration::from_secs(2), || bird.has("172.16.1.0/24", "192.168.10.1"));
    one.learns(&["10.99.0.0/16"], SOON);

    cluster.ctl(&["delete", "bgppeer", "bird"], "");
    eventually(SOON, || match bird.ask("show protocols all p0") {
        text if text.contains("Received: Peer de-configured") => Ok(()),
        text => Err(text),
    });
    one.learns(&[], SOON);
    eventually(SOON, || match bird.ask("show route") {
        routes if routes.contains("172.16.1.0/24") => Err(routes),
        _ => Ok(()),
    });
}
