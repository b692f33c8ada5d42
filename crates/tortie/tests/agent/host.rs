//! A host: namespaces, files of its own, and the agent that runs in them.

use crate::cluster::{Process, command, eventually};
use nix::sched::{CloneFlags, setns};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// A named network namespace, gone when dropped.
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: String) -> Namespace {
        command("ip", &["netns", "add", &name]);
        let namespace = Namespace(name);
        namespace.ip("link set lo up");
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Runs `ip WORDS`; returns what it printed.
    pub(crate) fn ip(&self, words: &str) -> String {
        let mut arguments = vec!["-n", &self.0];
        arguments.extend(words.split_whitespace());
        command("ip", &arguments)
    }

    /// A program to be run on this network.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut call = Command::new("ip");
        call.args(["netns", "exec", &self.0, program]);
        call
    }

    /// Waits until one packet gets through.
    pub(crate) fn reaches(&self, to: &str) {
        eventually(Duration::from_secs(10), || {
            let output = self.command("ping").args(["-c1", "-W1", to]).output();
            let output = output.unwrap_or_else(|error| panic!("tests need ping: {error}"));
            if output.status.success() { Ok(()) } else { Err(format!("{} does not reach {to}", self.0)) }
        });
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A host on the cluster's wire.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) namespace: Namespace,
    /// Where its /run, /var/lib and /var/log are, and its agent's log.
    directory: PathBuf,
    environment: Vec<(String, String)>,
    agent: Option<Process>,
}

impl Host {
    pub(crate) fn new(namespace: Namespace, name: &str, address: &str, directory: PathBuf, endpoint: &str) -> Host {
        for folder in ["run", "lib", "log"] {
            fs::create_dir_all(directory.join(folder)).expect("a directory for the host");
        }
        let environment = [
            ("DATASTORE_TYPE", "etcdv3"),
            ("ETCD_ENDPOINTS", endpoint),
            ("NODENAME", name),
            ("IP", &format!("{address}/24")),
            ("TORTIE_BGP_SECRETS", &directory.join("secrets").display().to_string()),
            ("TORTIE_LOG", "debug,h2=info,hyper_util=info,tower=info,tonic=info"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let (name, address) = (name.to_owned(), address.to_owned());
        Host { name, address, namespace, directory, environment, agent: None }
    }

    /// Sets a variable of the agents to be started.
    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.environment.retain(|(name, _)| name != variable);
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// A call of the agent on this host; its process becomes the agent itself.
    pub(crate) fn agent_command(&self) -> Command {
        self.tortie(&["node"])
    }

    /// A call of the built binary on this host, with the files that the agent sees.
    pub(crate) fn tortie(&self, words: &[&str]) -> Command {
        let mut call = self.among_files();
        call.arg(env!("CARGO_BIN_EXE_tortie")).args(words);
        call
    }

    /// Starts a shell's words on this host, with the files that the agent sees; returns when it has said a line.
    pub(crate) fn start(&self, words: &str) -> Child {
        let mut call = self.among_files();
        call.args(["sh", "-c", words]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = call.spawn().unwrap_or_else(|error| panic!("tests need ip: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("its output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        child
    }

    /// Runs `tortie ctl WORDS` on this host; returns what it printed, or its complaint.
    pub(crate) fn ctl(&self, words: &[&str]) -> Result<String, String> {
        let output = self.tortie(&[&["ctl"], words].concat()).output().expect("the built binary");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Waits until a command's output has a line with all of these words.
    pub(crate) fn shows(&self, command: &[&str], words: &[&str], within: Duration) {
        eventually(within, || {
            let text = self.ctl(command)?;
            let found = text.lines().any(|line| words.iter().all(|word| line.contains(word)));
            if found { Ok(()) } else { Err(format!("no line has {words:?} in\n{text}")) }
        });
    }

    /// Waits until `ctl bgp peers` says something of a peer.
    pub(crate) fn says_of(&self, peer: &str, words: &[&str], within: Duration) {
        self.shows(&["bgp", "peers"], &[&[peer], words].concat(), within);
    }

    /// The folder that the host's agent has its BGP passwords in, in folders by secret.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.directory.join("secrets")
    }

    /// A call that becomes the program it is given, on the host's network and among its files.
    pub(crate) fn among_files(&self) -> Command {
        let script = "mount --bind \"$0/run\" /run && mount --bind \"$0/lib\" /var/lib && \
            mount --bind \"$0/log\" /var/log && mount -t tmpfs tmpfs /dev/shm && exec \"$@\"";
        let mut call = Command::new("ip");
        call.args(["netns", "exec", self.namespace.name(), "unshare", "--mount", "--propagation", "private"]);
        call.args(["sh", "-c", script]).arg(&self.directory);
        call.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        call.envs(self.environment.iter().map(|(name, value)| (name, value)));
        call
    }

    pub(crate) fn start_agent(&mut self) {
        assert!(self.agent.is_none(), "{} has an agent", self.name);
        self.agent = Some(Process::start(self.agent_command(), &self.directory.join("agent.log")));
    }

    /// Starts an agent that ends by itself with status 1; returns all that it said.
    pub(crate) fn refused(&self) -> String {
        let log = self.directory.join("refused.log");
        let _ = fs::remove_file(&log);
        let status = Process::start(self.agent_command(), &log).ends();
        let text = fs::read_to_string(&log).expect("its log");
        assert_eq!(status.code(), Some(1), "{text}");
        text
    }

    /// Starts an agent by a program that becomes it.
    pub(crate) fn start_agent_under(&mut self, wrapper: &[String]) {
        let mut call = self.among_files();
        call.args(wrapper).args([env!("CARGO_BIN_EXE_tortie"), "node"]);
        self.agent = Some(Process::start(call, &self.directory.join("agent.log")));
    }

    /// Starts an agent whose messages to the kernel, and those of its programs, are written down; returns where.
    pub(crate) fn start_traced_agent(&mut self) -> PathBuf {
        let trace = self.directory.join("trace");
        let _ = fs::remove_file(&trace);
        let mut call = self.among_files();
        // with -D the tracer is no ancestor of the agent, and ends with it
        call.args(["strace", "-D", "-f", "-v", "-s", "1", "-e", "signal=none"]);
        call.args(["-e", "trace=sendto,sendmsg,openat,bpf,execve", "-o"]).arg(&trace);
        call.args([env!("CARGO_BIN_EXE_tortie"), "node"]);
        self.agent = Some(Process::start(call, &self.directory.join("agent.log")));
        trace
    }

    /// The agent's process, to send it signals.
    pub(crate) fn agent(&mut self) -> &mut Process {
        self.agent.as_mut().expect("an agent was started")
    }

    /// Kills the agent without a word.
    pub(crate) fn kill_agent(&mut self) {
        drop(self.agent.take());
    }

    /// The names in one of the host's own folders, `run`, `lib` or `log`, or below.
    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().display().to_string()).collect();
        names.sort();
        names
    }

    /// Writes one of the host's own files, below `run`, `lib` or `log`.
    pub(crate) fn write(&self, file: &str, text: &str) {
        let path = self.directory.join(file);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("its folder");
        fs::write(path, text).expect("the file");
    }

    /// What the agents of this host have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("agent.log")).unwrap_or_default()
    }

    /// Waits until the log says something.
    pub(crate) fn logs(&self, words: &str, within: Duration) {
        eventually(within, || match self.log().contains(words) {
            true => Ok(()),
            false => Err(format!("{} has not logged {words:?}", self.name)),
        });
    }

    /// What the CNI plugin is told of pods' MTU.
    pub(crate) fn pods_mtu(&self) -> String {
        fs::read_to_string(self.directory.join("lib/calico/mtu")).unwrap_or_default()
    }

    /// The destinations that BGP's routes lead to, sorted.
    pub(crate) fn learned(&self) -> Vec<String> {
        let text = self.namespace.ip("route show proto bird");
        let mut prefixes: Vec<String> =
            text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
        prefixes.sort();
        prefixes
    }

    /// Waits until BGP's routes are these.
    pub(crate) fn learns(&self, prefixes: &[&str], within: Duration) {
        eventually(within, || match self.learned() {
            learned if learned == prefixes => Ok(()),
            learned => Err(format!("{} has learned {learned:?}, not {prefixes:?}", self.name)),
        });
    }

    /// The rows of `show protocols` that are sessions: name, then state and information.
    pub(crate) fn sessions(&self) -> Vec<(String, String)> {
        let Ok(stream) = UnixStream::connect(self.directory.join("run/calico/bird.ctl")) else { return Vec::new() };
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        // of an agent that was killed the socket may live for a moment, in a program that it was about to start
        if reader.get_mut().write_all(b"show protocols\n").is_err() {
            return Vec::new();
        }
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) => break,
                Ok(_) if line.starts_with("0000") => break,
                Ok(_) => lines.push(line),
                Err(_) => return Vec::new(),
            }
        }
        let words = lines.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
        words
            .filter(|words| words.get(1) == Some(&"BGP"))
            .map(|words| (words[0].to_owned(), words[5..].join(" ")))
            .collect()
    }

    /// Waits until exactly these sessions are there, all Established.
    pub(crate) fn established(&self, sessions: &[&str], within: Duration) {
        let wanted: Vec<(String, String)> =
            sessions.iter().map(|name| ((*name).to_owned(), "Established".to_owned())).collect();
        eventually(within, || match self.sessions() {
            rows if rows == wanted => Ok(()),
            rows => Err(format!("{}: sessions {rows:?}, wanted {sessions:?}", self.name)),
        });
    }

    /// Gives the host an address out of a block, as a pod would have.
    pub(crate) fn own(&self, address: &str) {
        self.namespace.ip(&format!("addr add {address}/32 dev lo"));
    }

    /// Waits until one packet gets through.
    pub(crate) fn reaches(&self, from: &str, to: &str) {
        eventually(Duration::from_secs(10), || {
            let mut ping = self.command("ping");
            let output = ping.args(["-c1", "-W1", "-I", from, to]).output();
            let output = output.unwrap_or_else(|error| panic!("tests need ping: {error}"));
            if output.status.success() { Ok(()) } else { Err(format!("{from} does not reach {to}")) }
        });
    }

    /// Starts `count` pings, a hundred a second.
    pub(crate) fn ping(&self, from: &str, to: &str, count: u32) -> Ping {
        Ping::start(&self.namespace, from, to, count)
    }

    /// Runs a command line on the host's network; returns what it printed.
    pub(crate) fn sh(&self, line: &str) -> String {
        let output = self.command("sh").args(["-c", line]).output().expect("tests need iproute2's ip");
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A program to be run on the host's network.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }

    /// Does `work` on the host's network, in a thread of its own.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(Path::new("/run/netns").join(self.namespace.name())).expect("the host's namespace");
        thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the host's namespace");
                work()
            });
            thread.join().expect("the thread on the host's network")
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!("--- {}: routes\n{}", self.name, self.namespace.ip("route show"));
            eprintln!("--- {}: end of the agent's log\n{}", self.name, tail.join("\n"));
        }
    }
}

/// A running `ping`.
pub(crate) struct Ping {
    child: Child,
    count: u32,
}

impl Ping {
    /// Starts `count` pings, a hundred a second.
    pub(crate) fn start(namespace: &Namespace, from: &str, to: &str, count: u32) -> Ping {
        let mut ping = namespace.command("ping");
        ping.args(["-q", "-i", "0.01", "-W", "1", "-c", &count.to_string(), "-I", from, to]).stdout(Stdio::piped());
        Ping { child: ping.spawn().unwrap_or_else(|error| panic!("tests need ping: {error}")), count }
    }

    /// Whether packets are still to be sent or answered.
    pub(crate) fn goes_on(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, whatever became of the packets.
    pub(crate) fn end(mut self) {
        self.child.wait().expect("ping ends");
    }

    /// Waits for its end; no packet may have been lost.
    pub(crate) fn lost_none(self) {
        let output = self.child.wait_with_output().expect("ping's output");
        let text = String::from_utf8_lossy(&output.stdout);
        let (count, expect) =
            (self.count, format!("{0} packets transmitted, {0} received, 0% packet loss", self.count));
        assert!(text.contains(&expect), "of {count} packets: {text}");
    }
}
