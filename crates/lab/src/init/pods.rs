//! A node's pods: sandbox, network, container; what a container runtime and a kubelet do between them.
//!
//! A sandbox is a network namespace held by a mount in the node's `/run/netns`, so it survives its container's
//! restarts. The record of each pod is a file that `lab get` reads; the table here is what counts.

use crate::cni::{self, Network, Sandbox};
use crate::isolate;
use crate::mount;
use crate::pod::{Pod, PodName, PodRecord, RestartPolicy, State};
use crate::reaper::{Reaper, Running};
use crate::rundir::write_json;
use crate::service::report;
use crate::wire;
use anyhow::{Context, Result, anyhow, bail, ensure};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

mod reboot;

use reboot::Fate;

/// Where records are, in the node's view.
pub(super) const RECORDS: &str = "/run/lab/pods";
/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(10);
/// First pause before a container is started again, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long whoever asked for a pod waits while its failed start is undone, and the pause between tries.
const UNDO: Duration = Duration::from_secs(10);
const UNDO_PAUSE: Duration = Duration::from_millis(200);

/// One pod, not another that later has its name: whoever works on a pod for long works on this one alone.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PodId {
    name: PodName,
    uid: String,
}

impl PodId {
    fn of(record: &PodRecord) -> PodId {
        PodId { name: record.pod.name.clone(), uid: record.uid.clone() }
    }
}

impl fmt::Display for PodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

/// The pods of this node.
pub(super) struct Pods {
    node: String,
    reaper: Arc<Reaper>,
    table: Mutex<BTreeMap<PodName, PodRecord>>,
    /// Signalled when any record changes.
    changed: Condvar,
}

impl Pods {
    pub(super) fn new(node: &str, reaper: Arc<Reaper>) -> Result<Arc<Pods>> {
        fs::create_dir_all(RECORDS)?;
        Ok(Arc::new(Pods { node: node.to_owned(), reaper, table: Mutex::default(), changed: Condvar::new() }))
    }

    /// Makes a pod; returns its record when its container runs. After an error nothing of it is left, or it is being
    /// deleted until that succeeds.
    pub(super) fn add(self: &Arc<Pods>, pod: Pod, uid: String, container_id: String) -> Result<Value> {
        let name = pod.name.clone();
        let now = unix_time();
        let record = PodRecord {
            pod,
            node: self.node.clone(),
            uid,
            container_id,
            addresses: Vec::new(),
            state: State::ContainerCreating,
            pid: None,
            restarts: 0,
            created: now,
            started: now,
            network: Value::Null,
            lost: Vec::new(),
            busy: true,
        };
        {
            let mut table = self.lock();
            ensure!(!table.contains_key(&name), "pod {name} is there already");
            table.insert(name.clone(), record.clone());
            // before anything is made: should the node lose its power, the next boot knows what to take back
            self.persist(&record);
        }
        let id = PodId::of(&record);
        let running = match self.start(&id, &record) {
            Ok(running) => running,
            Err(error) => {
                self.undo(id);
                return Err(error);
            }
        };
        let record = self.record(&id)?;
        self.kept(id, running)?;
        Ok(serde_json::to_value(record)?)
    }

    /// Follows a container that was started, in a thread of its own.
    fn kept(self: &Arc<Pods>, id: PodId, running: Running) -> Result<()> {
        self.change(&id, |record| record.busy = false)?;
        let pods = Arc::clone(self);
        thread::spawn(move || pods.keep(&id, running));
        Ok(())
    }

    /// Takes away what a failed start left. DEL is called until it succeeds, as by a kubelet; the caller waits a while.
    fn undo(self: &Arc<Pods>, id: PodId) {
        let end = Instant::now() + UNDO;
        let mut detached = self.end_sandbox(&id);
        while detached.is_err() && Instant::now() < end {
            thread::sleep(UNDO_PAUSE);
            detached = self.end_sandbox(&id);
        }
        let Err(error) = detached else { return self.forget(&id) };
        report(&format!("pod {id}: undo a failed start: {error:#}"));
        let terminating = self.change(&id, |record| {
            record.state = State::Terminating;
            record.busy = false;
        });
        if terminating.is_ok() {
            self.settle_later(id, Fate::Go);
        }
    }

    /// Detaches a pod's network and lets go of its namespace.
    fn end_sandbox(&self, id: &PodId) -> Result<()> {
        let record = self.record(id)?;
        self.detach(&record)?;
        release(&netns(&record))
    }

    /// Makes a pod's sandbox, has the plugins attach it, and starts its container.
    fn start(&self, id: &PodId, record: &PodRecord) -> Result<Running> {
        let netns = netns(record);
        make_netns(&self.reaper, &netns)?;
        let network = Network::configured()?;
        let result = network.add(&self.reaper, &sandbox(record, &netns))?;
        let addresses = cni::addresses(&result);
        self.change(id, |record| {
            record.network = result;
            record.addresses = addresses;
        })?;
        self.start_container(id)
    }

    /// Starts a pod's container and returns when its program runs.
    fn start_container(&self, id: &PodId) -> Result<Running> {
        let record = self.record(id)?;
        write_private_files(&record)?;
        let netns = File::open(netns(&record))?;
        let (mut started, starts) = io::pipe()?;
        let starts_fd = starts.as_raw_fd();
        let log = || File::options().create(true).append(true).open(file(&id.name, "log"));
        let mut command = Command::new("/run/tortie/bin/tortie");
        command
            .arg0("tortie")
            .args(super::SUBCOMMAND)
            .arg("pod")
            .arg(file(&id.name, "json"))
            .arg(starts_fd.to_string());
        command.stdin(Stdio::null()).stdout(log()?).stderr(log()?).current_dir("/");
        // SAFETY: setns and fcntl are bare system calls; both descriptors are open in the child.
        unsafe {
            command.pre_exec(move || {
                setns(&netns, CloneFlags::CLONE_NEWNET)?;
                Errno::result(libc::fcntl(starts_fd, libc::F_SETFD, 0)).map(drop).map_err(io::Error::from)
            });
        }
        let namespaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS;
        let running = self
            .reaper
            .spawn_by(&mut command, |command| isolate::spawn_in_new(command, namespaces))
            .context("start the container")?;
        drop(starts);
        // the pipe's end without a word says that the program has taken over
        let mut failure = String::new();
        started.read_to_string(&mut failure)?;
        if !failure.is_empty() {
            running.wait();
            bail!("{failure}");
        }
        self.change(id, |record| {
            record.pid = Some(running.pid());
            if record.state != State::Terminating {
                record.state = State::Running;
            }
            record.started = unix_time();
        })?;
        Ok(running)
    }

    /// Follows a container through its ends and restarts until the pod is deleted.
    fn keep(&self, id: &PodId, mut running: Running) {
        let (mut pause, longest) = BACK_OFF;
        loop {
            let status = running.wait();
            let failed = !matches!(status, WaitStatus::Exited(_, 0));
            let restart = {
                let mut table = self.lock();
                let Some(record) = find_mut(&mut table, id) else { return };
                record.pid = None;
                let policy = record.pod.restart;
                let restart = policy == RestartPolicy::Always || policy == RestartPolicy::OnFailure && failed;
                if record.state != State::Terminating {
                    record.state = match (restart, failed) {
                        (true, _) => State::CrashLoopBackOff,
                        (false, true) => State::Error,
                        (false, false) => State::Completed,
                    };
                }
                self.persist(record);
                self.changed.notify_all();
                restart && record.state != State::Terminating
            };
            if !restart || !self.sleep_unless_terminating(id, pause) {
                return;
            }
            pause = (pause * 2).min(longest);
            loop {
                let counted = self.change(id, |record| record.restarts += 1);
                match counted.and_then(|()| self.start_container(id)) {
                    Ok(again) => {
                        running = again;
                        break;
                    }
                    Err(error) => report(&format!("pod {id}: start again: {error:#}")),
                }
                if !self.sleep_unless_terminating(id, pause) {
                    return;
                }
            }
        }
    }

    /// Sleeps, and tells whether the pod is still wanted.
    fn sleep_unless_terminating(&self, id: &PodId, pause: Duration) -> bool {
        let wanted = |table: &BTreeMap<PodName, PodRecord>| {
            find(table, id).is_some_and(|record| record.state != State::Terminating)
        };
        let (table, _) = self
            .changed
            .wait_timeout_while(self.lock(), pause, |table| wanted(table))
            .unwrap_or_else(PoisonError::into_inner);
        wanted(&table)
    }

    /// Replaces what may change in a running pod: its manifest.
    pub(super) fn update(&self, pod: Pod) -> Result<Value> {
        let id = self.id(&pod.name)?;
        self.change(&id, |record| record.pod = pod)?;
        Ok(Value::Null)
    }

    /// Deletes a pod; after an error that is tried until it succeeds, as by a kubelet.
    pub(super) fn delete(self: &Arc<Pods>, name: &PodName) -> Result<Value> {
        let id = self.id(name)?;
        if let Err(error) = self.delete_once(&id)
            && self.holds(&id)
        {
            self.settle_later(id, Fate::Go);
            return Err(error);
        }
        Ok(Value::Null)
    }

    /// Ends a pod's container, detaches its network and forgets it.
    fn delete_once(&self, id: &PodId) -> Result<()> {
        self.change(id, |record| record.state = State::Terminating)?;
        let busy = |table: &mut BTreeMap<PodName, PodRecord>| find(table, id).is_some_and(|record| record.busy);
        drop(self.changed.wait_while(self.lock(), busy).unwrap_or_else(PoisonError::into_inner));
        let grace = Duration::from_secs(self.record(id)?.pod.grace_period);
        if !self.signal_and_wait(id, Signal::SIGTERM, grace) && !self.signal_and_wait(id, Signal::SIGKILL, KILLED) {
            bail!("pod {id}: its first process does not end");
        }
        self.end_sandbox(id)?;
        self.forget(id);
        Ok(())
    }

    /// Signals a pod's first process and waits for its end; with no time to wait, does not signal.
    fn signal_and_wait(&self, id: &PodId, signal: Signal, within: Duration) -> bool {
        let runs = |table: &BTreeMap<PodName, PodRecord>| find(table, id).and_then(|record| record.pid);
        let table = self.lock();
        let Some(pid) = runs(&table) else { return true };
        if within.is_zero() {
            return false;
        }
        // the table's lock is held: the process is not reaped, its id not used again
        if let Err(errno) = kill(Pid::from_raw(pid), signal) {
            report(&format!("pod {id}: {signal}: {}", errno.desc()));
        }
        let (table, _) = self
            .changed
            .wait_timeout_while(table, within, |table| runs(table) == Some(pid))
            .unwrap_or_else(PoisonError::into_inner);
        runs(&table).is_none()
    }

    /// Has the plugins detach a pod.
    fn detach(&self, record: &PodRecord) -> Result<()> {
        self.detach_lost(record)?;
        let netns = netns(record);
        if netns.exists() {
            Network::configured()?.del(&self.reaper, &sandbox(record, &netns), &record.network)?;
        }
        Ok(())
    }

    fn forget(&self, id: &PodId) {
        let mut table = self.lock();
        if find(&table, id).is_none() {
            return;
        }
        table.remove(&id.name);
        for kind in ["json", "hosts", "hostname", "log"] {
            // a file that is not there need not be removed
            let _ = fs::remove_file(file(&id.name, kind));
        }
        self.changed.notify_all();
    }

    fn change(&self, id: &PodId, change: impl FnOnce(&mut PodRecord)) -> Result<()> {
        let mut table = self.lock();
        let record = find_mut(&mut table, id).with_context(|| format!("pod {id} is gone"))?;
        change(record);
        self.persist(record);
        self.changed.notify_all();
        Ok(())
    }

    /// The pod that has a name now.
    fn id(&self, name: &PodName) -> Result<PodId> {
        let table = self.lock();
        table.get(name).map(PodId::of).with_context(|| format!("there is no pod {name} on {}", self.node))
    }

    fn record(&self, id: &PodId) -> Result<PodRecord> {
        find(&self.lock(), id).cloned().with_context(|| format!("pod {id} is gone"))
    }

    fn holds(&self, id: &PodId) -> bool {
        find(&self.lock(), id).is_some()
    }

    fn persist(&self, record: &PodRecord) {
        if let Err(error) = write_json(&file(&record.pod.name, "json"), record) {
            report(&format!("pod {}: write its record: {error}", record.pod.name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PodName, PodRecord>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn find<'a>(table: &'a BTreeMap<PodName, PodRecord>, id: &PodId) -> Option<&'a PodRecord> {
    table.get(&id.name).filter(|record| record.uid == id.uid)
}

fn find_mut<'a>(table: &'a mut BTreeMap<PodName, PodRecord>, id: &PodId) -> Option<&'a mut PodRecord> {
    table.get_mut(&id.name).filter(|record| record.uid == id.uid)
}

fn file(name: &PodName, kind: &str) -> PathBuf {
    Path::new(RECORDS).join(format!("{}.{kind}", name.file_stem()))
}

/// Returns where a pod's network namespace is held, named as containerd names them.
fn netns(record: &PodRecord) -> PathBuf {
    Path::new("/run/netns").join(format!("cni-{}", record.uid))
}

fn sandbox<'a>(record: &'a PodRecord, netns: &'a Path) -> Sandbox<'a> {
    let PodName { namespace, name } = &record.pod.name;
    Sandbox { container_id: &record.container_id, netns: Some(netns), namespace, pod: name }
}

/// Makes a network namespace with its loopback up, and holds it by a mount.
fn make_netns(reaper: &Reaper, place: &Path) -> Result<()> {
    File::create(place).with_context(|| format!("create {}", place.display()))?;
    let make = || -> Result<()> {
        unshare(CloneFlags::CLONE_NEWNET).context("make a network namespace")?;
        mount::bind(Path::new("/proc/thread-self/ns/net"), place)?;
        wire::sysctls(false)?;
        let up = reaper.spawn(Command::new("ip").args(["link", "set", "lo", "up"]).stdin(Stdio::null()))?.wait();
        ensure!(matches!(up, WaitStatus::Exited(_, 0)), "set the loopback up: {up:?}");
        Ok(())
    };
    // a thread of its own: it ends in the namespace that it made
    thread::scope(|scope| scope.spawn(make).join()).map_err(|_| anyhow!("making a network namespace panicked"))?
}

/// Lets go of a network namespace.
fn release(place: &Path) -> Result<()> {
    if !place.exists() {
        return Ok(());
    }
    match umount2(place, MntFlags::MNT_DETACH) {
        // making it failed before the mount
        Ok(()) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno).with_context(|| format!("umount {}", place.display())),
    }
    fs::remove_file(place).with_context(|| format!("remove {}", place.display()))
}

fn write_private_files(record: &PodRecord) -> Result<()> {
    let name = &record.pod.name;
    let own: String = record.addresses.iter().map(|address| format!("{address}\t{}\n", name.name)).collect();
    fs::write(file(name, "hosts"), format!("127.0.0.1\tlocalhost\n{own}"))?;
    fs::write(file(name, "hostname"), format!("{}\n", name.name))?;
    Ok(())
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
