//! Commands that run in a lab while something happens: a ping, a look at what becomes of routes.

use crate::cluster::{Lab, eventually, signal};
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::NamedTempFile;

/// A process that ends with its owner.
pub(crate) struct Killed(pub(crate) Child);

impl Killed {
    pub(crate) fn end(&mut self) {
        // it may have ended by itself
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command whose output is kept, in a file: a full pipe would stop it.
struct Recorded {
    process: Killed,
    output: NamedTempFile,
}

impl Recorded {
    fn start(lab: &Lab, exec: &[&str]) -> Recorded {
        let output = NamedTempFile::new().expect("a file for output");
        let mut command = lab.command(&[&["exec"], exec].concat());
        command.stdin(Stdio::null()).stdout(output.reopen().expect("the file again"));
        Recorded { process: Killed(command.spawn().expect("the built binary runs")), output }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.output.path()).expect("the output is text")
    }
}

/// Pings every 10 ms until told to stop.
pub(crate) struct Ping(Recorded);

impl Ping {
    pub(crate) fn start(lab: &Lab, from: &str, to: &str) -> Ping {
        lab.reaches(from, to).expect("before");
        Ping(Recorded::start(lab, &[from, "--", "ping", "-i", "0.01", "-W", "1", to]))
    }

    /// Interrupts it; every packet but the one under way must have been answered.
    pub(crate) fn lost_none(mut self, during: &str) {
        let pid = i32::try_from(self.0.process.0.id()).expect("process ids are small");
        signal(pid, Signal::SIGINT);
        self.0.process.0.wait().expect("ping ends");
        let text = self.0.text();
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse::<u64>().ok();
        let answered: BTreeSet<u64> = text.lines().filter(|line| line.contains("time=")).filter_map(number).collect();
        let sent = text.lines().find_map(|line| line.split_once(" packets transmitted")?.0.parse::<u64>().ok());
        let sent = sent.unwrap_or_else(|| panic!("{during}: ping ends with its counts: {text}"));
        let lost: Vec<u64> = (1..sent).filter(|number| !answered.contains(number)).collect();
        assert!(lost.is_empty() && sent > 1, "{during}: of {sent} packets, these had no answer: {lost:?}");
    }
}

/// What a host says of its routes as they change: its kernel, or GoBGP, which has them to itself.
pub(crate) struct Routes(Recorded);

/// A destination that comes and goes to see whether changes are told yet.
const MARK: &str = "198.51.100.99";

impl Routes {
    /// Looks at the kernel's IPv4 routes from now on.
    pub(crate) fn watch(lab: &Lab, host: &str) -> Routes {
        let mark = format!("ip route add blackhole {MARK} && ip route del blackhole {MARK}");
        Routes::heard(lab, host, &["ip", "-4", "monitor", "route"], &mark)
    }

    /// Looks at GoBGP's table from now on.
    pub(crate) fn watch_gobgp(lab: &Lab, host: &str) -> Routes {
        let change = |what: &str| format!("gobgp global rib {what} {MARK}/32 nexthop 0.0.0.0");
        let mark = format!("{} && {}", change("add"), change("del"));
        Routes::heard(lab, host, &["gobgp", "monitor", "global", "rib"], &mark)
    }

    fn heard(lab: &Lab, host: &str, command: &[&str], mark: &str) -> Routes {
        let routes = Routes(Recorded::start(lab, &[&["--node", host, "--"], command].concat()));
        eventually(Duration::from_secs(10), "changes of routes are told", || {
            lab.on(host, mark);
            if routes.0.text().contains(MARK) { Ok(()) } else { Err(routes.0.text()) }
        });
        routes
    }

    /// None of these destinations was without a route for a moment.
    #[track_caller]
    pub(crate) fn stayed(&self, destinations: &[&str], during: &str) {
        let text = self.0.text();
        let removed = |line: &&str| line.starts_with("Deleted ") || line.contains("[DELROUTE]");
        let concerned = |line: &&str| line.split(' ').any(|word| destinations.contains(&word));
        let gone: Vec<&str> = text.lines().filter(removed).filter(concerned).collect();
        assert!(gone.is_empty(), "{during}: {gone:#?} in\n{text}");
    }
}
