//! A clock that a test steps, under the agents and the store of a lab; see the test `agent`, which looks closer.

use crate::cluster::Lab;
use std::fs;
use tempfile::TempDir;

/// The offset from the machine's time of day, in a file that libfaketime reads at each look at the clock.
pub(crate) struct Clock(TempDir);

impl Clock {
    pub(crate) fn new() -> Clock {
        let clock = Clock(tempfile::tempdir().expect("a directory for the clock"));
        clock.step(0);
        clock
    }

    /// Sets the clock to so many hours from the machine's.
    pub(crate) fn step(&self, hours: i64) {
        let fresh = self.0.path().join("fresh");
        fs::write(&fresh, format!("{hours:+}h\n")).expect("write the offset");
        fs::rename(fresh, self.0.path().join("offset")).expect("replace the offset");
    }

    /// The default cluster under this clock.
    #[track_caller]
    pub(crate) fn lab(&self) -> Lab {
        let installed = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
        let found = installed.map(|entry| entry.path().join("faketime")).any(|folder| folder.exists());
        assert!(found, "this test needs libfaketime: run tools/setup test");
        let lab = Lab::reserve();
        let topology = lab.run(&["topology"]).ok();
        let file = self.0.path().join("offset").display().to_string();
        // the loader puts its own folder of libraries for $LIB
        let environment = format!(
            "environment:\n  LD_PRELOAD: /usr/$LIB/faketime/libfaketime.so.1\n  FAKETIME_TIMESTAMP_FILE: {file}\n  \
             FAKETIME_NO_CACHE: \"1\"\n  FAKETIME_DONT_FAKE_MONOTONIC: \"1\"\n"
        );
        lab.run_with(&["up", "--topology", "-"], &(topology + &environment)).ok();
        lab
    }
}

#[test]
fn agents_and_store_see_the_clock_of_the_topologys_environment() {
    let clock = Clock::new();
    let lab = clock.lab();
    let hours = |log: &str| -> i64 {
        let time: jiff::Timestamp =
            log.lines().last().and_then(|line| line.split(' ').next()).expect("a line").parse().expect("a time");
        ((time.as_second() - jiff::Timestamp::now().as_second()) + 1800).div_euclid(3600)
    };
    for node in ["k8s-w1", "k8s-w2"] {
        assert_eq!(hours(&lab.on(node, "cat /var/log/calico/node.log")), 0);
    }
    clock.step(-5);
    lab.run(&["stop", "k8s-w2"]).ok();
    crate::cluster::eventually(std::time::Duration::from_secs(10), "its peer logs five hours ago", || {
        match hours(&lab.on("k8s-w1", "cat /var/log/calico/node.log")) {
            -5 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    lab.run(&["start", "k8s-w2"]).ok();
}
