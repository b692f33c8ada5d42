//! The limit of open files: agent and store raise theirs, and programs that the agent runs get what it was given.

use crate::cluster::{Cluster, SOON, eventually};
use std::fs;
use std::os::unix::fs::PermissionsExt;

const GIVEN: [&str; 2] = ["prlimit", "--nofile=300:5000"];

/// Soft and hard limit of a process, as the kernel prints them.
fn limits(process: u32) -> Result<Vec<String>, String> {
    let text = fs::read_to_string(format!("/proc/{process}/limits")).map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the kernel has such a limit");
    let words: Vec<String> = line.split_whitespace().take(2).map(str::to_owned).collect();
    // before the wrapper has become the program, it has the limit that is given
    if words == ["5000", "5000"] { Ok(words) } else { Err(format!("{words:?}")) }
}

#[test]
fn agent_and_store_raise_theirs_and_leave_their_programs_alone() {
    let mut cluster = Cluster::without_store();
    let given = GIVEN.map(str::to_owned);
    cluster.start_store_under(&given);
    let mut one = cluster.host(1);
    cluster.pool();
    let folder = tempfile::tempdir().expect("a folder of programs");
    let (ipset, seen) = (folder.path().join("ipset"), folder.path().join("seen"));
    let script = format!(
        "#!/bin/sh\necho $(ulimit -Sn) $(ulimit -Hn) >> {}\nPATH=${{PATH#*:}} exec ipset \"$@\"\n",
        seen.display()
    );
    fs::write(&ipset, script).expect("a program");
    fs::set_permissions(&ipset, fs::Permissions::from_mode(0o755)).expect("it can be run");
    let path = std::env::var("PATH").expect("a search path");
    one.set("PATH", &format!("{}:{path}", folder.path().display()));
    one.start_agent_under(&given);
    eventually(SOON, || limits(one.agent().id()));
    eventually(SOON, || limits(cluster.store_id()));
    let lines = eventually(SOON, || match fs::read_to_string(&seen) {
        Ok(lines) if !lines.is_empty() => Ok(lines),
        other => Err(format!("ipset was not run: {other:?}")),
    });
    assert!(lines.lines().all(|line| line == "300 5000"), "{lines}");
}
