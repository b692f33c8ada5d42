//! The init of a host: a node with its agent, a router with its programs, or the host outside.

use super::pods::Pods;
use super::work::Work;
use crate::control::{self, Request};
use crate::mount;
use crate::reaper::{self, Reaper};
use crate::router;
use crate::rundir::{Record, RunDir};
use crate::topology::{Datastore, Node, Router, Topology};
use crate::wire;
use anyhow::{Context, Result, bail};
use nix::unistd::sethostname;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// The line that says a host has its address.
pub(super) const READY: &str = "ready";
/// Where programs on a node are looked for.
pub(crate) const SEARCH_PATH: &str =
    "/run/tortie/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/cni/bin";
/// An empty directory on every host.
pub(super) const SCRATCH: &str = "/run/lab/scratch";
/// Directories that every host has for itself.
const PRIVATE: [&str; 7] =
    ["etc/calico", "etc/cni", "etc/tortie", "opt/cni", "var/lib/calico", "var/lib/cni", "var/log/calico"];
/// The datastore's endpoint as nodes see it when `tortie store` serves it.
const STORE_SOCKET: &str = "unix:///run/tortie/store.sock";

/// What a host is.
#[derive(Clone, Copy)]
enum Role<'a> {
    Node(&'a Node),
    Router(&'a Router),
    Outside,
}

impl<'a> Role<'a> {
    fn of(topology: &'a Topology, name: &str) -> Role<'a> {
        let node = topology.nodes.iter().find(|node| node.name == name).map(Role::Node);
        let router = || topology.routers.iter().find(|router| router.name == name).map(Role::Router);
        node.or_else(router).unwrap_or(Role::Outside)
    }

    /// Commands that give it its addresses and its default route.
    fn addresses(self, topology: &Topology) -> String {
        let (address, behind) = match self {
            Role::Node(node) => (node.address, Vec::new()),
            Role::Router(router) => (router.address, router.own_addresses().collect()),
            Role::Outside => (topology.outside.address, Vec::new()),
        };
        let (prefix_len, gateway) = match topology.subnet_of(address) {
            Some(subnet) => (subnet.cidr.prefix_len(), subnet.gateway),
            None => {
                let (net, router) = topology.outside_link();
                (net.prefix_len(), router)
            }
        };
        let behind = behind.into_iter().map(|address| format!("address add {address}/32 dev lo\n"));
        wire::host(address, prefix_len, gateway) + &behind.collect::<String>()
    }

    /// Directories that it has for itself.
    fn directories(self) -> Vec<String> {
        let own = match self {
            Role::Router(router) => router::directories(router.kind).to_vec(),
            Role::Node(_) | Role::Outside => Vec::new(),
        };
        PRIVATE.iter().map(|&directory| directory.to_owned()).chain(own).collect()
    }
}

pub(super) fn run(directory: &Path, name: &str) -> Result<()> {
    reaper::blocked_signals().thread_block()?;
    let dir = RunDir::at(directory);
    let record: Record = dir.record()?.context("the lab's directory holds no record")?;
    let topology = &record.topology;
    let role = Role::of(topology, name);

    std::io::stdin().read_to_end(&mut Vec::new())?;
    sethostname(name).context("set the host name")?;
    configure(&dir, topology, name, role)?;
    mount::follow_machine()?;
    mount::proc()?;
    mount::shared_memory()?;
    show_private(&dir, name, role)?;
    wire::sysctls(matches!(role, Role::Router(_)))?;
    wire::run(&role.addresses(topology))?;

    let reaper = Arc::new(Reaper::default());
    match role {
        Role::Node(node) => {
            let pods = Pods::new(name, Arc::clone(&reaper))?;
            pods.start_again()?;
            serve(Work::agent(topology, node, endpoint(topology)), Some(pods), &reaper)?;
        }
        Role::Router(router) => {
            serve(Work::router(topology, router), None, &reaper)?;
        }
        Role::Outside => {}
    }
    writeln!(std::io::stdout(), "{READY}")?;
    reaper.run()?;
    Ok(())
}

/// Answers the requests of `lab` commands.
fn serve(work: Work, pods: Option<Arc<Pods>>, reaper: &Arc<Reaper>) -> Result<()> {
    let reaper = Arc::clone(reaper);
    control::serve(Path::new("/run/lab"), move |request| match (request, &pods) {
        (Request::Start, _) => {
            work.start(&reaper);
            Ok(Value::Null)
        }
        (Request::Stop, _) => work.stop().map(|()| Value::Null),
        (Request::AddPod { pod, uid, container_id }, Some(pods)) => pods.add(*pod, uid, container_id),
        (Request::UpdatePod(pod), Some(pods)) => pods.update(*pod),
        (Request::DeletePod(name), Some(pods)) => pods.delete(&name),
        (Request::AddPod { .. } | Request::UpdatePod(_) | Request::DeletePod(_), None) => bail!("a router has no pods"),
    })
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

/// Writes the host's own files, as an installer would, and empties its `/run`, as every boot does.
fn configure(dir: &RunDir, topology: &Topology, name: &str, role: Role<'_>) -> Result<()> {
    let root = dir.host(name);
    clear_run(&root.join("run"))?;
    let runtime = ["run/netns", "run/lock", "run/tortie", "run/lab/scratch"].map(str::to_owned);
    for directory in role.directories().into_iter().chain(runtime) {
        let directory = root.join(directory);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    }
    let installed = root.join("etc/hostname");
    if installed.exists() {
        return Ok(());
    }
    let nodes = topology.nodes.iter().map(|node| (node.address, &node.name));
    let routers = topology.routers.iter().map(|router| (router.address, &router.name));
    let hosts: String = nodes
        .chain(routers)
        .chain([(topology.outside.address, &topology.outside.name)])
        .map(|(address, name)| format!("{address}\t{name}\n"))
        .collect();
    fs::write(root.join("etc/hosts"), format!("127.0.0.1\tlocalhost\n{hosts}"))?;
    match role {
        Role::Node(_) => configure_node(&root, name, &endpoint(topology))?,
        Role::Router(router) => configure_router(&root, topology, router)?,
        Role::Outside => {}
    }
    // last, for it says that all is there
    fs::write(installed, format!("{name}\n")).context("write etc/hostname")
}

/// Removes what the last boot left in `/run`, but for what the lab itself keeps there.
fn clear_run(run: &Path) -> Result<()> {
    for entry in fs::read_dir(run).with_context(|| format!("read {}", run.display()))? {
        let entry = entry?;
        if entry.file_name() == "lab" {
            continue;
        }
        let removed =
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.with_context(|| format!("remove {}", entry.path().display()))?;
    }
    Ok(())
}

fn configure_router(root: &Path, topology: &Topology, router: &Router) -> Result<()> {
    for (path, text) in router::setup(topology, router).files {
        fs::write(root.join(path.trim_start_matches('/')), text).with_context(|| format!("write {path}"))?;
    }
    let machine = fs::read_to_string("/etc/group").context("read /etc/group")?;
    if let Some(groups) = router::groups(router.kind, &machine) {
        fs::write(root.join("etc/group"), groups)?;
    }
    Ok(())
}

fn configure_node(root: &Path, name: &str, endpoint: &str) -> Result<()> {
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
fn show_private(dir: &RunDir, name: &str, role: Role<'_>) -> Result<()> {
    let root = dir.host(name);
    let mut view = mount::View::default();
    mount::sys(&root.join("run/lab/scratch"))?;
    let directories = role.directories().into_iter().filter(|path| !path.starts_with("run/"));
    let files = ["etc/hosts", "etc/hostname", "etc/group"].map(str::to_owned);
    for path in directories.chain(files.into_iter().filter(|path| root.join(path).exists())) {
        view.place(&root.join(&path), &Path::new("/").join(path))?;
    }
    mount::bind(&dir.shared(), &root.join("run/tortie"))?;
    view.place(&root.join("run"), Path::new("/run"))?;
    mount::share_within()
}
