//! Samples and their percentiles, and what a process cost.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

/// The word by which this program runs another one and prints the most memory it had.
pub(crate) const MEASURE: &str = "measure";

/// Times of the same thing.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    /// Times `work` and keeps the time.
    pub(crate) fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.0.push(start.elapsed());
        result
    }

    /// Keeps a time.
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of them, 0 to 100, do not exceed.
    pub(crate) fn percentile(&mut self, percent: usize) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1).expect("something was timed");
        self.0[(self.0.len() * percent).div_ceil(100).saturating_sub(1).min(last)]
    }
}

/// Runs a program, its standard input being ours, and prints the peak of its resident set in KiB.
///
/// The starter's own size counts as the child's until it is another program, so this small one starts it.
#[expect(clippy::zombie_processes, reason = "wait4, which tells what it cost, waits for it")]
pub(crate) fn measure(words: &[String]) -> ExitCode {
    let child = Command::new(&words[0]).args(&words[1..]).stdout(std::process::Stdio::null()).spawn();
    let child = child.unwrap_or_else(|error| panic!("start {words:?}: {error}"));
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::uninit());
    // SAFETY: wait4 fills in both for a child of ours.
    let usage = unsafe {
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()), child.id() as i32);
        usage.assume_init()
    };
    println!("{}", usage.ru_maxrss);
    if ExitStatus::from_raw(status).success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A number of `/proc/PID/status` that is in KiB, in MiB.
pub(crate) fn memory(pid: u32, field: &str) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|number| number.parse::<f64>().ok());
    kib.unwrap_or_else(|| panic!("no {field} of process {pid}")) / 1024.0
}

/// Processor time that a process has used.
pub(crate) fn processor_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = text.rsplit_once(") ").expect("the name is in parentheses");
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}
