//! `calicoctl node status` where nobody answers it.

use crate::cluster::{Cluster, SOON, eventually};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

#[test]
fn an_agent_that_is_stopped_is_said_not_to_answer() {
    let cluster = Cluster::new();
    let (mut one, _two) = cluster.pair();
    let pid = one.agent().id();
    one.agent().signal(Signal::SIGSTOP);
    for command in [["node", "status"], ["bgp", "peers"]] {
        let begun = Instant::now();
        let said = one.ctl(&command).expect_err("nobody answers");
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        let expect =
            format!("the agent, process {pid}, does not answer at /var/run/calico/bird.ctl within 2 s: it is stopped");
        assert!(said.contains(&expect), "{command:?}: {said}");
    }
    one.agent().signal(Signal::SIGCONT);
    one.shows(&["node", "status"], &["192.168.10.2", "Established"], SOON);
}

#[test]
fn the_socket_of_an_agent_that_died_and_of_another_user() {
    let cluster = Cluster::new();
    let (mut one, two) = cluster.pair();
    // whose agent goes on, and is the process that is seen
    let mut call = two.among_files();
    call.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    call.args([env!("CARGO_BIN_EXE_tortie"), "ctl", "node", "status"]);
    let output = call.output().expect("the built binary");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("/var/run/calico/bird.ctl: permission denied: run it as root"), "{said}");

    one.kill_agent();
    eventually(SOON, || match one.ctl(&["node", "status"])? {
        text if text.contains("/var/run/calico/bird.ctl: nobody listens there") => Ok(()),
        text => Err(text),
    });
    let said = one.ctl(&["bgp", "peers"]).expect_err("nobody answers");
    assert!(said.contains("nobody answers at /var/run/calico/bird.ctl, which a process that has ended left"), "{said}");
}
