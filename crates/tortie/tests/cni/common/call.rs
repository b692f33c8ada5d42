//! Calls of the plugins, in the node's namespace.

use super::{Node, PATIENCE};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A call to be made.
pub(crate) struct Call<'a> {
    node: &'a Node,
    program: PathBuf,
    flags: Vec<String>,
    environment: BTreeMap<String, String>,
    netconf: Value,
    input: Option<String>,
}

impl<'a> Call<'a> {
    /// A call of the main plugin, with the variables of the CNI specification.
    pub(crate) fn new(node: &'a Node, command: &str, id: &str, netns: &str) -> Call<'a> {
        let bin = node.bin();
        let path = bin.display().to_string();
        let environment = [
            ("CNI_COMMAND", command),
            ("CNI_CONTAINERID", id),
            ("CNI_NETNS", netns),
            ("CNI_IFNAME", "eth0"),
            ("CNI_PATH", &path),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Call { node, program: bin.join("calico"), flags: Vec::new(), environment, netconf: node.netconf(), input: None }
    }

    /// Calls another of the node's plugins.
    pub(crate) fn plugin(mut self, name: &str) -> Self {
        self.program = self.node.bin().join(name);
        self
    }

    /// Gives the program a flag.
    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Sets a variable; an empty value unsets it.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets CNI_ARGS.
    pub(crate) fn args(self, args: &str) -> Self {
        self.env("CNI_ARGS", args)
    }

    /// Sets CNI_ARGS as kubelet does.
    pub(crate) fn pod(self, namespace: &str, name: &str) -> Self {
        let id = self.environment["CNI_CONTAINERID"].clone();
        self.args(&format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={id}"
        ))
    }

    /// Sets a key of the network configuration.
    pub(crate) fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.netconf[key] = value.into();
        self
    }

    /// Sends this text instead of a network configuration.
    pub(crate) fn input(mut self, text: &str) -> Self {
        self.input = Some(text.to_owned());
        self
    }

    /// Makes the call and waits for its end.
    pub(crate) fn run(self) -> Outcome {
        Outcome::of(self.spawn())
    }

    /// Makes the call and does not wait.
    pub(crate) fn spawn(self) -> Child {
        let mut command = Command::new(&self.program);
        command.args(&self.flags).env_clear().envs(self.environment.iter().filter(|(_, value)| !value.is_empty()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.node.namespace.run(|| command.spawn()).expect("the plugin can be started");
        let input = self.input.unwrap_or_else(|| self.netconf.to_string());
        // a plugin that needs no input may be gone before it is written
        let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
        child
    }
}

/// What a call answered.
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Waits for a call's end; one that does not end fails the test.
    pub(crate) fn of(mut child: Child) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("the plugin can be waited for").is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the plugin has not ended after {PATIENCE:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
        let output = child.wait_with_output().expect("the plugin ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the plugin prints text");
        Outcome { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Demands success; returns the result, null when none was printed, nor for CHECK's word.
    pub(crate) fn success(&self) -> Value {
        assert!(self.status.success(), "{}{}", self.stdout, self.stderr);
        if matches!(self.stdout.as_str(), "" | "OK\n") {
            return Value::Null;
        }
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Demands the exit status of a failure and an error object; returns its code and message with details.
    pub(crate) fn failure(&self) -> (u64, String) {
        let seen = format!("{:?} {}{}", self.status, self.stdout, self.stderr);
        assert_eq!((self.status.code(), self.status.signal()), (Some(1), None), "{seen}");
        let object: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {seen}"));
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        let message = [text("msg"), text("details")].join(" ").trim_end().to_owned();
        (object["code"].as_u64().unwrap_or_else(|| panic!("no code: {seen}")), message)
    }
}
