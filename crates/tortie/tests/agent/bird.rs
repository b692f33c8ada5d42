//! BIRD 2 as an internal peer, by a BGPPeer.

use crate::cluster::{Cluster, Process, SOON, eventually, throughout};
use crate::host::Host;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// BIRD on a host of its own.
pub(crate) struct Bird {
    host: Host,
    directory: TempDir,
    process: Option<Process>,
}

impl Bird {
    /// Starts BIRD with these BGP protocols, and 10.99.0.0/16 as a route of its own.
    pub(crate) fn start(host: Host, protocols: &str) -> Bird {
        let directory = tempfile::tempdir().expect("a directory for BIRD");
        let mut bird = Bird { host, directory, process: None };
        bird.write(protocols);
        bird.run(&[]);
        bird
    }

    fn write(&self, protocols: &str) {
        let head = format!(
            "log stderr all;\nrouter id {0};\nprotocol device {{}}\nprotocol static {{ ipv4; route 10.99.0.0/16 blackhole; \
             }}\ntemplate bgp peer {{ local {0} as 64512; connect retry time 2; error wait time 1,5; graceful restart; \
             ipv4 {{ import all; export where source = RTS_STATIC; }}; }}\n",
            self.host.address
        );
        fs::write(self.path("bird.conf"), head + protocols).expect("a configuration for BIRD");
    }

    fn run(&mut self, more: &[&str]) {
        let control = self.path("bird.ctl");
        let _ = fs::remove_file(&control);
        let mut call = self.host.command("bird");
        call.arg("-f").arg("-c").arg(self.path("bird.conf")).arg("-s").arg(&control).args(more);
        self.process = Some(Process::start(call, &self.path("bird.log")));
        eventually(SOON, || match UnixStream::connect(&control) {
            Ok(_) => Ok(()),
            Err(error) => {
                let log = fs::read_to_string(self.path("bird.log")).unwrap_or_default();
                Err(format!("BIRD does not run ({error}); is bird2 installed? It says: {log}"))
            }
        });
    }

    /// Changes the protocols of the running BIRD.
    pub(crate) fn configure(&self, protocols: &str) {
        self.write(protocols);
        let said = self.ask("configure");
        assert!(said.contains("Reconfigur"), "{said}");
    }

    /// Kills BIRD without a word.
    pub(crate) fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Starts BIRD again, as one that restarts gracefully.
    pub(crate) fn restart(&mut self) {
        self.run(&["-R"]);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn ask(&self, words: &str) -> String {
        let output = Command::new("birdc").arg("-s").arg(self.path("bird.ctl")).args(words.split(' ')).output();
        let output = output.unwrap_or_else(|error| panic!("tests need birdc, of bird2: {error}"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether BIRD has a route with all of these attributes, as it writes them.
    pub(crate) fn has(&self, prefix: &str, attributes: &[&str]) -> Result<(), String> {
        let text = self.ask(&format!("show route for {prefix} all"));
        let found = text.contains(prefix) && attributes.iter().all(|attribute| text.contains(attribute));
        if found { Ok(()) } else { Err(format!("BIRD has, for {prefix} and not with {attributes:?}: {text}")) }
    }

    /// Whether BIRD has no route to a prefix.
    pub(crate) fn lacks(&self, prefix: &str) -> Result<(), String> {
        match self.ask("show route") {
            routes if routes.contains(prefix) => Err(routes),
            _ => Ok(()),
        }
    }

    /// Whether a protocol's description has some words.
    pub(crate) fn says(&self, protocol: &str, words: &str) -> Result<(), String> {
        match self.ask(&format!("show protocols all {protocol}")) {
            text if text.contains(words) => Ok(()),
            text => Err(text),
        }
    }
}

#[test]
fn a_peer_by_bgppeer() {
    let cluster = Cluster::new();
    let mut one = cluster.host(1);
    cluster.claim("172.16.1.0/24", "n1");
    let bird = Bird::start(cluster.host(9), "protocol bgp p0 from peer { neighbor 192.168.10.1 as 64512; }");
    let ours = ["BGP.origin: IGP", "BGP.local_pref: 2147482623", "BGP.next_hop: 192.168.10.1"];
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: BGPPeer, metadata: {name: bird}, \
         spec: {peerIP: 192.168.10.9, asNumber: 64512}}",
    );
    one.start_agent();
    one.established(&["Global_192_168_10_9"], SOON);
    eventually(SOON, || bird.has("172.16.1.0/24", &ours));
    one.learns(&["10.99.0.0/16"], SOON);
    // BIRD says LOCAL_PREF 100; a metric is 2147483647 less that
    let route = "10.99.0.0/16 via 192.168.10.9 dev eth0 proto bird metric 2147483547";
    assert_eq!(one.namespace.ip("route show 10.99.0.0/16").trim(), route);

    cluster.claim("172.16.3.0/24", "n1");
    eventually(SOON, || bird.has("172.16.3.0/24", &ours));
    cluster.let_go("172.16.3.0/24", "n1");
    eventually(SOON, || bird.lacks("172.16.3.0/24"));

    one.kill_agent();
    throughout(Duration::from_secs(2), || bird.has("172.16.1.0/24", &ours));
    one.start_agent();
    one.established(&["Global_192_168_10_9"], SOON);
    throughout(Duration::from_secs(2), || bird.has("172.16.1.0/24", &ours));
    one.learns(&["10.99.0.0/16"], SOON);

    cluster.ctl(&["delete", "bgppeer", "bird"], "");
    eventually(SOON, || bird.says("p0", "Received: Peer de-configured"));
    one.learns(&[], SOON);
    eventually(SOON, || bird.lacks("172.16.1.0/24"));
}
