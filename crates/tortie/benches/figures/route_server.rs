//! The programs that stand between the two peers, each without routes in the kernel.

use crate::world::{Cluster, Namespace, Process, TORTIE, eventually, program};
use api::resource::Kind;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// AS of the program under test; the sender's and the receiver's.
pub(crate) const AS: u32 = 64512;
/// The sender's AS.
pub(crate) const SENDER_AS: u32 = 65001;
/// The receiver's AS.
pub(crate) const RECEIVER_AS: u32 = 65002;
/// Our address towards the sender, and the sender's.
pub(crate) const SENDER_WIRE: [&str; 2] = ["192.0.2.1", "192.0.2.2"];
/// Our address towards the receiver, and the receiver's.
pub(crate) const RECEIVER_WIRE: [&str; 2] = ["198.51.100.1", "198.51.100.2"];

/// A program that passes routes on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RouteServer {
    Tortie,
    Bird1,
    Bird2,
    Frr,
    Gobgp,
}

impl RouteServer {
    /// All of them, the one under test first.
    pub(crate) const ALL: [RouteServer; 5] =
        [RouteServer::Tortie, RouteServer::Bird1, RouteServer::Bird2, RouteServer::Frr, RouteServer::Gobgp];

    /// Its name in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            RouteServer::Tortie => "tortie node",
            RouteServer::Bird1 => "bird 1.6",
            RouteServer::Bird2 => "bird 2",
            RouteServer::Frr => "frr bgpd",
            RouteServer::Gobgp => "gobgpd",
        }
    }

    /// Starts it in a namespace.
    pub(crate) fn start(self, namespace: &Namespace) -> Running {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (mut command, config) = match self {
            RouteServer::Tortie => return Running::tortie(namespace, dir),
            RouteServer::Bird1 => {
                (Command::new(unpacked("bird")), bird("import all; export none;", "import none; export all;"))
            }
            RouteServer::Bird2 => (
                Command::new(program("/usr/sbin/bird")),
                bird("ipv4 { import all; export none; };", "ipv4 { import none; export all; };"),
            ),
            RouteServer::Frr => (Command::new(unpacked("bgpd")), frr()),
            RouteServer::Gobgp => (Command::new(unpacked("gobgpd")), gobgp()),
        };
        let file = dir.path().join("config");
        fs::write(&file, config).expect("a configuration");
        match self {
            RouteServer::Bird1 | RouteServer::Bird2 | RouteServer::Tortie => {
                command.args(["-f", "-s"]).arg(dir.path().join("ctl")).arg("-c").arg(&file);
            }
            RouteServer::Frr => {
                // neither zebra nor the kernel, nor another user
                command.args(["--no_zebra", "--no_kernel", "--skip_runas", "--config_file"]).arg(&file);
                command.arg("--pid_file").arg(dir.path().join("pid")).arg("--vty_socket").arg(dir.path());
            }
            RouteServer::Gobgp => {
                command.arg("--config-file").arg(&file).args(["--api-hosts", "127.0.0.1:50051", "--disable-stdlog"]);
                command.arg("--log-plain");
            }
        }
        let process = Process::start(namespace, &mut command, &dir.path().join("log"));
        Running { process, _cluster: None, _dir: dir }
    }
}

/// A program under test that runs.
pub(crate) struct Running {
    pub(crate) process: Process,
    _cluster: Option<Cluster>,
    _dir: TempDir,
}

impl Running {
    /// Two external peers by BGPPeer; what lies in a pool is passed on, as Calico's filters have it.
    fn tortie(namespace: &Namespace, dir: TempDir) -> Running {
        let cluster = Cluster::start(namespace, &json!({"cidr": "10.0.0.0/8", "ipipMode": "Never", "blockSize": 26}));
        cluster.create(Kind::FelixConfiguration, "", "default", &json!({"routeSyncDisabled": true}));
        for (name, peer, asn) in [("sender", SENDER_WIRE[1], SENDER_AS), ("receiver", RECEIVER_WIRE[1], RECEIVER_AS)] {
            cluster.create(Kind::BGPPeer, "", name, &json!({"peerIP": peer, "asNumber": asn}));
        }
        let process = cluster.agent(namespace, "node1", &format!("{}/24", SENDER_WIRE[0]));
        eventually("the agent is registered", || cluster.log("node1").contains("registered"));
        Running { process, _cluster: Some(cluster), _dir: dir }
    }
}

fn bird(sender: &str, receiver: &str) -> String {
    format!(
        "router id {0};\nprotocol device {{}}\n\
         protocol bgp sender {{ local {0} as {AS}; neighbor {1} as {SENDER_AS}; {sender} }}\n\
         protocol bgp receiver {{ local {2} as {AS}; neighbor {3} as {RECEIVER_AS}; {receiver} }}\n",
        SENDER_WIRE[0], SENDER_WIRE[1], RECEIVER_WIRE[0], RECEIVER_WIRE[1]
    )
}

fn frr() -> String {
    format!(
        "router bgp {AS}\n bgp router-id {0}\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
         neighbor {1} remote-as {SENDER_AS}\n neighbor {2} remote-as {RECEIVER_AS}\n \
         neighbor {1} advertisement-interval 0\n neighbor {2} advertisement-interval 0\n",
        SENDER_WIRE[0], SENDER_WIRE[1], RECEIVER_WIRE[1]
    )
}

fn gobgp() -> String {
    format!(
        "[global.config]\nas = {AS}\nrouter-id = \"{}\"\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {SENDER_AS}\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {RECEIVER_AS}\n",
        SENDER_WIRE[0], SENDER_WIRE[1], RECEIVER_WIRE[1]
    )
}

/// A program that `tools/routers` unpacked.
fn unpacked(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")));
    program(cache.expect("HOME is set").join("tortie/routers").join(name))
}

/// The version of what is measured, for the reader of the table.
pub(crate) fn version() -> String {
    crate::world::printed(Command::new(TORTIE).arg("version")).lines().next().unwrap_or_default().to_owned()
}
