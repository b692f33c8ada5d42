//! Pings between two pods while an agent starts, a hundred a second.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// How long answers may stay away.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `ping`.
pub(super) struct Ping {
    process: Child,
    log: PathBuf,
}

impl Ping {
    /// Starts `command`, which is a ping that prints each answer, into a file.
    pub(super) fn start(command: &mut Command, log: PathBuf) -> Result<Ping> {
        let process = command.stdout(File::create(&log)?).spawn().context("ping")?;
        Ok(Ping { process, log })
    }

    /// The numbers of the packets that were answered.
    fn answered(&self) -> Result<BTreeSet<u64>> {
        let text = fs::read_to_string(&self.log)?;
        let number = |line: &str| line.split_once("icmp_seq=")?.1.split(' ').next()?.parse().ok();
        Ok(text.lines().filter(|line| line.contains("bytes from")).filter_map(number).collect())
    }

    /// Waits until that many more packets have been answered, or none is for a while.
    pub(super) fn go_on(&self, packets: usize) -> Result<()> {
        let wanted = self.answered()?.len() + packets;
        let deadline = Instant::now() + PATIENCE;
        while self.answered()?.len() < wanted && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Ends it; says what was lost, if anything.
    pub(super) fn end(mut self) -> Result<Option<String>> {
        kill(Pid::from_raw(i32::try_from(self.process.id())?), Signal::SIGINT)?;
        self.process.wait()?;
        let text = fs::read_to_string(&self.log)?;
        let Some(sent) = text.lines().find_map(|line| line.split_once(" packets transmitted")?.0.parse::<u64>().ok())
        else {
            bail!("ping did not count: {text}");
        };
        // the last one may still be on its way
        let answered = self.answered()?;
        let lost: Vec<String> =
            (1..sent).filter(|number| !answered.contains(number)).map(|number| number.to_string()).collect();
        Ok((!lost.is_empty()).then(|| format!("ping from pod to pod: of {sent} packets were lost {}", lost.join(", "))))
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
