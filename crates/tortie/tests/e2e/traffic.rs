//! Large packets and long streams between pods, hashed at both ends, and what pods are told of a link of 1,400 bytes.

use crate::cluster::{Lab, eventually, until};
use std::process::{Child, Output, Stdio};
use std::time::Duration;

/// Payload of a ping that makes a packet of 1,380 bytes.
const FITS: &str = "1352";
/// Of one that makes 1,480.
pub(crate) const TOO_LARGE: &str = "1452";
/// Of datagrams, from one that fills the tunnel's device to one in many fragments.
const SIZES: [usize; 5] = [1352, 1452, 1453, 3000, 20_000];
/// Of streams.
const LENGTH: u64 = 8 << 20;
/// How long a program in a pod takes to listen, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends a ping that must not be cut; tells whether it was answered, and what was printed.
pub(crate) fn ping(lab: &Lab, from: &str, to: &str, size: &str) -> (bool, String) {
    let address = lab.address(to);
    let ran = lab.pod(from, &["ping", "-n", "-c", "1", "-W", "2", "-M", "do", "-s", size, &address]);
    (ran.code == 0, format!("{}{}", ran.stdout, ran.stderr))
}

/// Asserts that the pod's packets that must not be cut are answered with 1,380, and what fits into it passes.
#[track_caller]
pub(crate) fn is_told(lab: &Lab, from: &str, to: &str) {
    eventually(Duration::from_secs(20), &format!("{from} is told the path's MTU to {to}"), || {
        // by a router, or from memory by the pod's own stack
        let (_, said) = ping(lab, from, to, TOO_LARGE);
        if said.contains("mtu = 1380") || said.contains("mtu=1380") { Ok(()) } else { Err(said) }
    });
    let (passes, said) = ping(lab, from, to, FITS);
    assert!(passes, "1,380 bytes from {from} to {to}: {said}");
}

/// Asserts that datagrams arrive as they were sent.
#[track_caller]
pub(crate) fn arrives_whole(lab: &Lab, from: &str, to: &str) {
    let (sent, received) = datagrams(lab, from, to, &SIZES);
    assert_eq!(sent.lines().count(), SIZES.len(), "{from} to {to}: {sent}");
    assert_eq!(received, sent, "{from} to {to}");
}

/// Asserts that a stream arrives as it was sent.
#[track_caller]
pub(crate) fn goes_on(lab: &Lab, from: &str, to: &str) {
    let (sent, received) = transfer(lab, from, to, LENGTH);
    assert_eq!(sent.len(), 64, "{sent}");
    assert_eq!(received, sent, "{from} to {to}");
}

/// Sends a file of random bytes over TCP and returns its hash at both ends.
#[track_caller]
pub(crate) fn transfer(lab: &Lab, from: &str, to: &str, size: u64) -> (String, String) {
    let write = format!("head -c {size} /dev/urandom >/tmp/file && sha256sum /tmp/file");
    let sent = lab.inside(from, &write);
    let receiver = python(
        lab,
        to,
        "import hashlib, socket\n\
         s = socket.create_server(('0.0.0.0', 5300)); s.settimeout(60); c, _ = s.accept(); h = hashlib.sha256()\n\
         c.settimeout(60)\n\
         while b := c.recv(1 << 20): h.update(b)\n\
         print(h.hexdigest())",
    );
    until(PATIENCE, "the receiver listens", || lab.inside(to, "cat /proc/net/tcp").contains(":14B4 00000000:0000 0A"));
    let address = lab.address(to);
    let send = format!(
        "import socket\ns = socket.create_connection(('{address}', 5300), 60); s.sendfile(open('/tmp/file', 'rb')); s.close()"
    );
    ended(python(lab, from, &send));
    let received = ended(receiver);
    let first = |text: &str| text.split_whitespace().next().unwrap_or_default().to_owned();
    (first(&sent), first(&received))
}

/// Sends UDP datagrams of these sizes that routers may cut; returns the hashes of what was sent and what arrived.
#[track_caller]
fn datagrams(lab: &Lab, from: &str, to: &str, sizes: &[usize]) -> (String, String) {
    let receive = format!(
        "import hashlib, socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 5301)); s.settimeout(30)\n\
         for _ in {sizes:?}:\n\
         \x20 b, a = s.recvfrom(65535); print(len(b), hashlib.sha256(b).hexdigest()); s.sendto(b'.', a)"
    );
    let receiver = python(lab, to, &receive);
    until(PATIENCE, "the receiver listens", || lab.inside(to, "cat /proc/net/udp").contains("00000000:14B5 "));
    // one after the other, so that the order is theirs; 10 and 0 are IP_MTU_DISCOVER and IP_PMTUDISC_DONT
    let address = lab.address(to);
    let send = format!(
        "import hashlib, os, socket\n\
         s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.IPPROTO_IP, 10, 0); s.settimeout(30)\n\
         for n in {sizes:?}:\n\
         \x20 b = os.urandom(n); s.sendto(b, ('{address}', 5301)); print(n, hashlib.sha256(b).hexdigest(), flush=True); s.recv(9)"
    );
    let sender = python(lab, from, &send);
    let (sent, received) = (sender.wait_with_output(), receiver.wait_with_output());
    let text = |output: std::io::Result<Output>| {
        String::from_utf8_lossy(&output.expect("the program ends").stdout).into_owned()
    };
    (text(sent), text(received))
}

/// Starts a Python program in a pod.
pub(crate) fn python(lab: &Lab, pod: &str, program: &str) -> Child {
    start(lab, &["exec", pod, "--", "python3", "-c", program])
}

/// Starts a Python program on a machine.
pub(crate) fn python_on(lab: &Lab, machine: &str, program: &str) -> Child {
    start(lab, &["exec", "--node", machine, "--", "python3", "-c", program])
}

fn start(lab: &Lab, arguments: &[&str]) -> Child {
    let mut command = lab.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

/// Waits for the end of a program that must succeed; returns what it printed.
#[track_caller]
pub(crate) fn ended(program: Child) -> String {
    let output = program.wait_with_output().expect("the program ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
