//! The two datastores: `tortie store` on a unix socket, and three members of etcd on loopback.

use crate::Random;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use regex::Regex;
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a cluster may take to be whole again.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The embedded store, in a process of its own.
pub(crate) struct Store {
    pub(crate) endpoint: String,
    process: Child,
    _folder: TempDir,
}

impl Store {
    pub(crate) fn start() -> Store {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let endpoint = format!("unix://{}", folder.path().join("store.sock").display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
        command.args(["store", "--log-level", "error", "--listen-client-urls", &endpoint]);
        command.arg("--data-dir").arg(folder.path().join("data"));
        let store = Store { process: spawn(&mut command), endpoint, _folder: folder };
        until("the store answers", || dump(&store.endpoint).is_some());
        store
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// A member: where it listens, and its process while it runs.
struct Member {
    client: String,
    peer: String,
    process: Option<Child>,
}

/// Three members, whose data outlives them.
pub(crate) struct Cluster {
    members: Vec<Member>,
    folder: Option<TempDir>,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let member =
            |_| Member { client: format!("http://{}", free()), peer: format!("http://{}", free()), process: None };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut cluster = Cluster { members: (0..3).map(member).collect(), folder: Some(folder) };
        (0..3).for_each(|index| cluster.start_member(index));
        cluster.whole();
        cluster
    }

    /// The same cluster, to be asked beside this one.
    pub(crate) fn view(&self) -> Cluster {
        let member =
            |member: &Member| Member { client: member.client.clone(), peer: member.peer.clone(), process: None };
        Cluster { members: self.members.iter().map(member).collect(), folder: None }
    }

    pub(crate) fn endpoints(&self) -> String {
        self.members.iter().map(|member| member.client.as_str()).collect::<Vec<_>>().join(",")
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().expect("its own, and not a view").path()
    }

    /// Starts a member, on what it had.
    pub(crate) fn start_member(&mut self, index: usize) {
        let all = self.members.iter().enumerate().map(|(index, member)| format!("m{index}={}", member.peer));
        let cluster = all.collect::<Vec<_>>().join(",");
        let Member { client, peer, .. } = &self.members[index];
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{index}"), "--initial-cluster", &cluster, "--election-timeout", "500"]);
        command.arg("--data-dir").arg(self.folder().join(format!("m{index}")));
        command.args(["--listen-client-urls", client, "--advertise-client-urls", client]);
        command.args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]);
        self.members[index].process = Some(spawn(&mut command));
    }

    pub(crate) fn kill(&mut self, index: usize) {
        self.members[index].process.take().iter_mut().for_each(end);
    }

    /// Kills a member while the two others are stopped: what is under way at it is answered by nobody, but may have
    /// reached those others, who carry it out when they go on.
    pub(crate) fn cut_off(&mut self, index: usize) {
        let others: Vec<Pid> = (0..3).filter(|other| *other != index).map(|other| self.id(other)).collect();
        let others = |signal| others.iter().for_each(|id| kill(*id, signal).expect("it runs"));
        others(Signal::SIGSTOP);
        // a call comes meanwhile
        std::thread::sleep(Duration::from_millis(150));
        self.kill(index);
        others(Signal::SIGCONT);
    }

    fn id(&self, index: usize) -> Pid {
        let id = self.members[index].process.as_ref().expect("it runs").id();
        Pid::from_raw(i32::try_from(id).expect("a process"))
    }

    /// Waits until every member answers.
    pub(crate) fn whole(&self) {
        until("every member answers", || etcdctl(&self.endpoints(), &["endpoint", "health"]).is_some());
    }

    /// Makes another member the leader; tells which.
    pub(crate) fn move_leader(&mut self, random: &mut Random) -> String {
        let mut told = String::new();
        until("the leader moves", || {
            let Some(status) = etcdctl(&self.endpoints(), &["endpoint", "status", "-w", "json"]) else { return false };
            let status: Vec<Value> = serde_json::from_str(&status).expect("JSON");
            let id = |member: &Value| member["Status"]["header"]["member_id"].as_u64();
            let leader = |member: &&Value| id(member) == member["Status"]["leader"].as_u64();
            let Some(leader) = status.iter().find(leader) else { return false };
            let others: Vec<&Value> = status.iter().filter(|member| id(member) != id(leader)).collect();
            let to = format!("{:x}", id(others[random.below(others.len())]).unwrap_or_default());
            told = format!("moved the leader to {to}");
            etcdctl(leader["Endpoint"].as_str().unwrap_or_default(), &["move-leader", &to]).is_some()
        });
        told
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.members.iter_mut().filter_map(|member| member.process.as_mut()).for_each(end);
    }
}

/// What is stored, a line a key and a line a value; none without an answer.
///
/// What the first client of a datastore makes up has no content of its own: identities and times are masked there.
pub(crate) fn dump(endpoints: &str) -> Option<Vec<String>> {
    let made_up = Regex::new(r#""(uid|creationTimestamp|clusterGUID)":"[^"]*""#).expect("a valid expression");
    let text = etcdctl(endpoints, &["get", "--prefix", "/"])?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for index in 1..lines.len() {
        if ["/clusterinformations/default", "/tiers/default", "/tiers/kube-"]
            .iter()
            .any(|it| lines[index - 1].contains(it))
        {
            lines[index] = made_up.replace_all(&lines[index], "\"$1\":").into_owned();
        }
    }
    Some(lines)
}

/// The lines that only one of two has.
pub(crate) fn difference(theirs: &[String], ours: &[String]) -> String {
    let only = |sign: &str, these: &[String], those: &[String]| -> String {
        these.iter().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    format!("only the cluster (-) or the store (+) has\n{}{}", only("-", theirs, ours), only("+", ours, theirs))
}

/// What etcd's own client prints; none if it fails.
fn etcdctl(endpoints: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("etcdctl");
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoints, "--dial-timeout", "2s", "--command-timeout", "4s"]);
    let output = command.args(arguments).output().expect("etcdctl runs (Debian package etcd-client)");
    output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8"))
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("this test needs {command:?}: {error}"))
}

fn end(process: &mut Child) {
    let _ = process.kill();
    let _ = process.wait();
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
    }
}

/// `ADDRESS:PORT` that nobody listens on, nor connects from: each has a loopback address of its own.
pub(crate) fn free() -> String {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = Ipv4Addr::new(127, high.max(1), low, LAST.fetch_add(1, Ordering::Relaxed) % 254 + 1);
    TcpListener::bind((own, 0)).and_then(|listener| listener.local_addr()).expect("a free port").to_string()
}
