//! The clock is stepped by hours, forward and back, under agents and a datastore that run: no timer ends early or hangs.
//!
//! libfaketime, loaded into the processes, adds what a file says to the time of day and leaves the clocks alone that
//! timers should go by. That the processes see the step is read from the time they log. (A namespace can shift those
//! other clocks, never the time of day; the machine's own is not touched.)

use crate::cluster::{Cluster, SOON, command, eventually, throughout};
use jiff::Timestamp;
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The loader puts its own folder of libraries for `$LIB`.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketime.so.1";
const HOUR: i64 = 3600;

/// A time of day that the test sets.
struct Clock(TempDir);

impl Clock {
    fn new() -> Clock {
        let installed = fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
        let found = installed.map(|entry| entry.path().join("faketime")).any(|folder| folder.exists());
        assert!(found, "this test needs libfaketime: run tools/setup test");
        let clock = Clock(tempfile::tempdir().expect("a directory for the clock"));
        clock.step(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("offset")
    }

    /// Sets the clock to so many seconds from the machine's.
    fn step(&self, seconds: i64) {
        let fresh = self.0.path().join("fresh");
        fs::write(&fresh, format!("{seconds:+}\n")).expect("write the offset");
        fs::rename(fresh, self.file()).expect("replace the offset");
    }

    /// What a program is started by, to see this clock.
    fn wrapper(&self) -> Vec<String> {
        let file = self.file();
        let variables = [
            format!("LD_PRELOAD={LIBRARY}"),
            format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
            "FAKETIME_NO_CACHE=1".to_owned(),
            "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            "TORTIE_LOG=debug".to_owned(),
        ];
        ["env".to_owned()].into_iter().chain(variables).collect()
    }
}

/// How far the time of a log's last line with these words is from the machine's, in whole hours.
fn logged_hours(log: &str, words: &str) -> Option<i64> {
    let line = log.lines().rfind(|line| line.contains(words))?;
    let time: Timestamp = line.split(' ').next()?.parse().ok()?;
    let seconds = time.as_second() - Timestamp::now().as_second();
    Some((seconds + HOUR / 2).div_euclid(HOUR))
}

#[test]
fn agents_and_their_sessions_outlive_steps_of_the_clock() {
    let clock = Clock::new();
    let mut cluster = Cluster::without_store();
    cluster.start_store_under(&clock.wrapper());
    cluster.pool();
    cluster.patch("ippool", "default-ipv4-ippool", r#"{"spec": {"natOutgoing": true}}"#);
    cluster.apply(
        "{apiVersion: projectcalico.org/v3, kind: FelixConfiguration, metadata: {name: default}, \
         spec: {ipsetsRefreshInterval: 2s, routeRefreshInterval: 2s}}",
    );
    let (mut one, mut two) = (cluster.host(1), cluster.host(2));
    for (host, number) in [(&mut one, 1), (&mut two, 2)] {
        cluster.claim(&format!("172.16.{number}.0/24"), &host.name);
        host.own(&format!("172.16.{number}.9"));
    }
    // one of the two knows the true time
    one.start_agent_under(&clock.wrapper());
    two.start_agent();
    let (to_two, to_one) = (["Mesh_192_168_10_2"], ["Mesh_192_168_10_1"]);
    one.established(&to_two, SOON);
    two.established(&to_one, SOON);
    one.learns(&["172.16.2.0/24"], SOON);
    one.reaches("172.16.1.9", "172.16.2.9");
    let agent = one.agent().id();
    let mut learned = vec!["172.16.2.0/24".to_owned()];
    for (step, hours) in [10, -10, 0].into_iter().enumerate() {
        clock.step(hours * HOUR);
        let ping = one.ping("172.16.1.9", "172.16.2.9", 300);
        throughout(Duration::from_secs(3), || match (one.sessions(), two.sessions()) {
            (here, there) if here[0].1 == "Established" && there[0].1 == "Established" => Ok(()),
            sessions => Err(format!("{hours} h: {sessions:?}")),
        });
        ping.lost_none();
        // what only a refresh interval finds
        let masqueraded = || match one.sh("ipset list cali40masq-ipam-pools") {
            set if set.contains("172.16.0.0/16") => Ok(()),
            set => Err(set),
        };
        eventually(SOON, masqueraded);
        one.sh("ipset flush cali40masq-ipam-pools");
        eventually(SOON, masqueraded);
        // news of the datastore and of the peer
        cluster.claim(&format!("172.16.{}.0/24", 10 + step), "n2");
        learned.push(format!("172.16.{}.0/24", 10 + step));
        learned.sort();
        one.learns(&learned.iter().map(String::as_str).collect::<Vec<_>>(), SOON);
        // a session that ends is made again
        two.agent().signal(Signal::SIGKILL);
        two.kill_agent();
        eventually(SOON, || match logged_hours(&one.log(), "state=Active") {
            Some(seen) if seen == hours => Ok(()),
            seen => Err(format!("the agent logs {seen:?}, not {hours} hours from now")),
        });
        two.start_agent();
        one.established(&to_two, SOON);
        two.established(&to_one, SOON);
        assert_eq!((one.agent().id(), one.agent().runs()), (agent, true));
    }
}

#[test]
fn leases_of_the_store_live_their_time_whatever_the_clock_says() {
    const TTL: Duration = Duration::from_secs(4);
    let clock = Clock::new();
    let mut cluster = Cluster::without_store();
    cluster.start_store_under(&clock.wrapper());
    let etcdctl = |words: &str| {
        let script = format!("ETCDCTL_API=3 etcdctl --endpoints {} {words}", cluster.endpoint());
        command("sh", &["-c", &script])
    };
    for (before, after) in [(0, 10), (10, -10), (-10, 0)] {
        clock.step(before * HOUR);
        let granted = etcdctl(&format!("lease grant {}", TTL.as_secs()));
        let began = Instant::now();
        let lease = granted.split(' ').nth(1).expect("a lease").to_owned();
        etcdctl(&format!("put leased yes --lease={lease}"));
        clock.step(after * HOUR);
        let gone = eventually(SOON, || match etcdctl("get leased --print-value-only") {
            value if value.is_empty() => Ok(began.elapsed()),
            _ => Err("the lease does not run out"),
        });
        // less what passed between the grant and its answer
        let least = TTL - Duration::from_secs(1);
        assert!((least..TTL * 2).contains(&gone), "{before} h → {after} h: gone after {gone:?}");
        assert_eq!(logged_hours(&cluster.store_log(), "lease ran out"), Some(after), "the store saw the step");
    }
}
