//! The init of a host: a node with its agent, or the host outside.

use super::pods::Pods;
use crate::control::{self, Request};
use crate::mount;
use crate::reaper::{self, Reaper};
use crate::rundir::{Record, RunDir};
use crate::service::Service;
use crate::topology::{Datastore, Node, Topology};
use crate::wire;
use anyhow::{Context, Result};
use nix::unistd::sethostname;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

/// The line that says a host has its address.
pub(super) const READY: &str = "ready";
/// Where programs on a node are looked for.
pub(crate) const SEARCH_PATH: &str =
    "/run/tortie/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin";
/// An empty directory on every host.
pub(super) const SCRATCH: &str = "/run/lab/scratch";
/// Directories that every host has for itself.
const PRIVATE: [&str; 6] = ["etc/calico", "etc/cni", "opt/cni", "var/lib/calico", "var/lib/cni", "var/log/calico"];
/// The datastore's endpoint as nodes see it when `tortie store` serves it.
const STORE_SOCKET: &str = "unix:///run/tortie/store.sock";

pub(super) fn run(directory: &Path, name: &str) -> Result<()> {
    reaper::blocked_signals().thread_block()?;
    let dir = RunDir::at(directory);
    let record: Record = dir.record()?.context("the lab's directory holds no record")?;
    let topology = &record.topology;
    let node = topology.nodes.iter().find(|node| node.name == name);

    std::io::stdin().read_to_end(&mut Vec::new())?;
    sethostname(name).context("set the host name")?;
    configure(&dir, topology, name, node)?;
    mount::follow_machine()?;
    mount::proc()?;
    show_private(&dir, name)?;
    wire::sysctls(false)?;
    wire::run(&match (node, node.and_then(|node| topology.subnet_of(node))) {
        (Some(node), Some(subnet)) => wire::host(node.address, subnet.cidr.prefix_len(), subnet.gateway),
        _ => {
            let (net, router) = topology.outside_link();
            wire::host(topology.outside.address, net.prefix_len(), router)
        }
    })?;

    let reaper = Arc::new(Reaper::default());
    if let Some(node) = node {
        let agent = Agent { node: node.clone(), endpoint: endpoint(topology), service: Mutex::new(None) };
        let pods = Pods::new(name, Arc::clone(&reaper))?;
        let shared = Arc::clone(&reaper);
        control::serve(Path::new("/run/lab"), move |request| match request {
            Request::StartAgent => {
                agent.start(&shared);
                Ok(Value::Null)
            }
            Request::StopAgent => agent.stop().map(|()| Value::Null),
            Request::AddPod { pod, uid, container_id } => pods.add(*pod, uid, container_id),
            Request::UpdatePod(pod) => pods.update(*pod),
            Request::DeletePod(name) => pods.delete(&name),
        })?;
    }
    writeln!(std::io::stdout(), "{READY}")?;
    reaper.run()?;
    Ok(())
}

/// Returns the URL at which nodes reach the datastore.
pub(crate) fn endpoint(topology: &Topology) -> String {
    match topology.datastore {
        Datastore::Store => STORE_SOCKET.to_owned(),
        Datastore::Etcd => format!("http://{}:2379", topology.subnets[0].gateway),
    }
}

/// Has a program write to a log file, at its end.
pub(super) fn log_to(command: &mut Command, log: &Path) {
    let open = || File::options().create(true).append(true).open(log);
    if let (Ok(out), Ok(err)) = (open(), open()) {
        command.stdout(out).stderr(err);
    }
}

/// Writes the host's own files, as an installer would.
fn configure(dir: &RunDir, topology: &Topology, name: &str, node: Option<&Node>) -> Result<()> {
    let root = dir.host(name);
    for directory in PRIVATE.iter().chain(&["run/netns", "run/lock", "run/tortie", "run/lab/scratch"]) {
        let directory = root.join(directory);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let others = topology.nodes.iter().map(|node| (node.address, &node.name));
    let hosts: String = others
        .chain([(topology.outside.address, &topology.outside.name)])
        .map(|(address, name)| format!("{address}\t{name}\n"))
        .collect();
    fs::write(root.join("etc/hosts"), format!("127.0.0.1\tlocalhost\n{hosts}"))?;
    fs::write(root.join("etc/hostname"), format!("{name}\n"))?;
    if node.is_none() {
        return Ok(());
    }
    let endpoint = endpoint(topology);
    fs::write(root.join("var/lib/calico/nodename"), name)?;
    fs::write(
        root.join("etc/calico/calicoctl.cfg"),
        format!(
            "apiVersion: projectcalico.org/v3\nkind: CalicoAPIConfig\nmetadata:\nspec:\n  \
             datastoreType: etcdv3\n  etcdEndpoints: {endpoint}\n"
        ),
    )?;
    let network = json!({
        "name": "k8s-pod-network",
        "cniVersion": "0.3.1",
        "plugins": [{
            "type": "calico",
            "log_level": "info",
            "log_file_path": "/var/log/calico/cni/cni.log",
            "datastore_type": "etcdv3",
            "etcd_endpoints": endpoint,
            "nodename": name,
            "mtu": 0,
            "ipam": {"type": "calico-ipam"},
        }],
    });
    fs::create_dir_all(root.join("etc/cni/net.d"))?;
    fs::write(root.join("etc/cni/net.d/10-calico.conflist"), serde_json::to_string_pretty(&network)? + "\n")?;
    fs::create_dir_all(root.join("opt/cni/bin"))?;
    for plugin in ["calico", "calico-ipam"] {
        symlink("/run/tortie/bin/tortie", root.join("opt/cni/bin").join(plugin))?;
    }
    Ok(())
}

/// Puts the host's own directories where programs look for them. `/run` comes last: it covers the run directory.
fn show_private(dir: &RunDir, name: &str) -> Result<()> {
    let root = dir.host(name);
    let mut view = mount::View::default();
    mount::sys(&root.join("run/lab/scratch"))?;
    for path in PRIVATE.iter().chain(&["etc/hosts", "etc/hostname"]) {
        view.place(&root.join(path), &Path::new("/").join(path))?;
    }
    mount::bind(&dir.shared(), &root.join("run/tortie"))?;
    view.place(&root.join("run"), Path::new("/run"))?;
    mount::share_within()
}

/// A node's agent.
struct Agent {
    node: Node,
    endpoint: String,
    /// Its supervision, once it has been started.
    service: Mutex<Option<Service>>,
}

impl Agent {
    /// Starts the agent, unless it runs.
    fn start(&self, reaper: &Arc<Reaper>) {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(service) = &*service {
            service.resume();
            return;
        }
        let (node, endpoint) = (self.node.clone(), self.endpoint.clone());
        *service = Some(Service::start(Arc::clone(reaper), "agent", move || {
            let mut command = Command::new("/run/tortie/bin/tortie");
            command.arg0("tortie").arg("node").current_dir("/").stdin(Stdio::null());
            command.env_clear().env("PATH", SEARCH_PATH).env("HOME", "/root");
            command.env("NODENAME", &node.name).env("IP", "autodetect").env("CALICO_NETWORKING_BACKEND", "bird");
            command.env("NO_DEFAULT_POOLS", "true").env("CLUSTER_TYPE", "bgp");
            command.env("DATASTORE_TYPE", "etcdv3").env("ETCD_ENDPOINTS", &endpoint);
            command.env("TORTIE_TUNL0", node.tunl0.to_string());
            log_to(&mut command, Path::new("/var/log/calico/node.log"));
            command
        }));
    }

    /// Stops the agent until it is started again.
    fn stop(&self) -> Result<()> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        service.map_or(Ok(()), |service| service.stop().context("stop the agent"))
    }
}
