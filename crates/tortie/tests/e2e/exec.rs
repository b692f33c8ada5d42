//! `lab exec`: streams, exit status, signals and the terminal are the command's own.

use crate::cluster::{Lab, until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{Pid, read, setsid, write};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Stdio;
use std::time::Duration;

#[test]
fn status_and_streams_pass_through() {
    let lab = Lab::bare();
    let exec = |flags: &[&str], command: &[&str], input: &str| {
        let arguments = [&["exec", "--node", "k8s-m"], flags, &["--"], command].concat();
        lab.run_with(&arguments, input)
    };
    assert_eq!(exec(&[], &["sh", "-c", "exit 7"], "").code, 7);
    assert_eq!(exec(&[], &["sh", "-c", "kill -9 $$"], "").code, 128 + 9);
    assert_eq!(exec(&["-i"], &["cat"], "hello\n").ok(), "hello\n");
    assert_eq!(exec(&[], &["cat"], "unheard\n").ok(), "");
    assert_eq!(exec(&[], &["sh", "-c", "echo out; echo err >&2"], "").stderr, "err\n");
    let missing = exec(&[], &["no-such-program"], "");
    assert_eq!(missing.code, 127);
    assert_eq!(missing.stderr, "exec \"no-such-program\": executable file not found in $PATH\n");
    let large = "line\n".repeat(300_000);
    assert_eq!(exec(&["-i"], &["wc", "-c"], &large).ok(), "1500000\n");
    let endless = exec(&[], &["sh", "-c", "yes | head -c 1500000"], "").ok();
    assert_eq!(endless.len(), 1_500_000);
}

#[test]
fn every_host_is_a_machine_of_its_own() {
    let lab = Lab::bare();
    for (host, address) in
        [("k8s-m", "192.168.10.10/24"), ("k8s-w0", "192.168.20.100/24"), ("internet", "203.0.113.10/24")]
    {
        assert_eq!(lab.on(host, "hostname; cat /etc/hostname"), format!("{host}\n{host}\n"));
        assert!(lab.on(host, "ip -4 -o addr show eth0").contains(address), "{host}");
        assert!(lab.on(host, "ls /sys/class/net").lines().eq(["eth0", "lo"]), "{host}");
        assert!(lab.on(host, "ps ax -o pid,args").contains("    1 tortie lab init host"), "{host}");
    }
    lab.on(
        "k8s-m",
        "for d in /etc/calico /etc/cni/net.d /opt/cni/bin /var/lib/calico /var/log/calico /run; do : >$d/mine; done",
    );
    for host in ["k8s-w1", "internet"] {
        let left = "ls /etc/calico /etc/cni /etc/cni/net.d /opt/cni /opt/cni/bin /var/lib/calico /var/log/calico /run";
        let seen = lab.run(&["exec", "--node", host, "--", "sh", "-c", left]).stdout;
        assert!(!seen.contains("mine"), "{host}: {seen}");
    }
    assert!(!fs::exists("/etc/calico/mine").expect("the path can be looked at"));
    let router = lab.on("router", "ip -4 -o addr");
    for gateway in ["192.168.10.254/24", "192.168.20.254/24", "203.0.113.1/24"] {
        assert!(router.contains(gateway), "{router}");
    }
    assert!(!lab.on("router", "ip route").contains("172.16."));
}

#[test]
fn signals_reach_the_command() {
    let lab = Lab::bare();
    let script = "trap 'exit 33' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = lab.command(&["exec", "--node", "k8s-m", "--", "sh", "-c", script]);
    let mut exec = exec.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut said = [0; 6];
    std::io::Read::read_exact(exec.stdout.as_mut().expect("stdout is piped"), &mut said).expect("it speaks");
    kill(Pid::from_raw(exec.id() as i32), Signal::SIGTERM).expect("it runs");
    assert_eq!(exec.wait().expect("it ends").code(), Some(33));
}

#[test]
fn a_command_ends_with_its_caller() {
    let lab = Lab::bare();
    let mut exec = lab.command(&["exec", "--node", "k8s-m", "--", "sleep", "4711"]).spawn().expect("it starts");
    let sleeps = || lab.on("k8s-m", "ps ax -o args").contains("sleep 4711");
    until(Duration::from_secs(10), "the command runs", sleeps);
    exec.kill().expect("it runs");
    assert_eq!(exec.wait().expect("it ends").signal(), Some(9));
    until(Duration::from_secs(10), "the command is gone", || !sleeps());
}

/// A person at a terminal: types, and reads until something appears.
struct Person {
    terminal: OwnedFd,
    seen: String,
}

impl Person {
    fn types(&self, keys: &str) {
        write(&self.terminal, keys.as_bytes()).expect("the terminal takes keys");
    }

    fn sees(&mut self, expect: &str) {
        while !self.seen.contains(expect) {
            let mut buffer = [0; 4096];
            let mut wanted = [PollFd::new(self.terminal.as_fd(), PollFlags::POLLIN)];
            let ready = poll(&mut wanted, PollTimeout::from(30_000_u16)).expect("the terminal can be waited for");
            assert!(ready > 0, "nothing more came within 30 s, without {expect:?}: {:?}", self.seen);
            let count = read(&self.terminal, &mut buffer).unwrap_or(0);
            assert!(count > 0, "the terminal closed without {expect:?}: {:?}", self.seen);
            self.seen += &String::from_utf8_lossy(&buffer[..count]);
        }
    }

    fn resizes(&self, rows: u16, columns: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCSWINSZ reads one winsize.
        assert_eq!(unsafe { libc::ioctl(self.terminal.as_raw_fd(), libc::TIOCSWINSZ, &size) }, 0);
    }
}

#[test]
fn a_shell_has_a_terminal() {
    let lab = Lab::bare();
    let pty = openpty(None, None).expect("a terminal");
    let mut exec = lab.command(&["exec", "--node", "k8s-m", "-it", "--", "sh"]);
    let slave = || Stdio::from(pty.slave.try_clone().expect("a descriptor"));
    exec.stdin(slave()).stdout(slave()).stderr(slave()).env("PS1", "").env("TERM", "vt100");
    // SAFETY: setsid, signal and ioctl are bare system calls.
    unsafe {
        exec.pre_exec(|| {
            setsid()?;
            // as a shell starts what runs in its background; the keys have to work all the same
            signal(Signal::SIGINT, SigHandler::SigIgn)?;
            if libc::ioctl(0, libc::TIOCSCTTY, 0) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut exec_child = exec.spawn().expect("the binary starts");
    drop(exec);
    drop(pty.slave);
    let mut person = Person { terminal: pty.master, seen: String::new() };
    person.resizes(41, 101);
    person.types("tty && echo on $TERM at $(hostname) $((6*7))\n");
    person.sees("/dev/pts/");
    person.sees("on vt100 at k8s-m 42");
    person.resizes(43, 103);
    person.types("until [ \"$(stty size)\" = '43 103' ]; do sleep 0.05; done; echo si'z'ed\n");
    person.sees("sized");
    // the interrupt key ends what runs, not the shell and not the caller
    person.types("sleep 1000 && echo not'-'reached\n");
    person.sees("not'-'reached");
    until(Duration::from_secs(10), "it sleeps", || lab.on("k8s-m", "ps ax -o args").contains("sleep 1000"));
    person.types("\u{3}");
    person.types("echo still' 'here; exit 5\n");
    person.sees("still here");
    assert_eq!(exec_child.wait().expect("it ends").code(), Some(5));
    assert!(!person.seen.contains("not-reached"));
}
