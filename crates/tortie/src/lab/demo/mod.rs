//! `tortie lab demo`: the walkthrough, command by command, each with its verdict.
//!
//! [`scenes`] is the script, [`expect`] the judge; this runs the commands through a shell as an operator would, in
//! a lab of its own, and counts.

pub mod expect;
pub mod scenes;

use anyhow::{Context, Result};
use expect::Output;
use scenes::{Exhibit, Rules, SCENES};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a capture may take to start.
const CAPTURE_START: Duration = Duration::from_secs(10);
/// How long a capture goes on after its command, for the last packets.
const CAPTURE_TAIL: Duration = Duration::from_millis(500);

/// What was printed, and whether the command succeeded.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The command's output, both streams.
    pub command: String,
    /// The capture's output.
    pub capture: String,
    /// Whether the command's exit status was 0.
    pub success: bool,
}

/// One line of the verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was claimed.
    pub what: &'static str,
    /// Why it does not hold, if it does not.
    pub failure: Option<expect::Mismatch>,
}

/// Runs exhibits in one lab.
pub struct Stage {
    lab: String,
    programs: PathBuf,
    pcap: Option<PathBuf>,
    captures: usize,
}

impl Stage {
    /// A stage on the lab of that name; `tortie` in its commands is the program at that path.
    pub fn new(lab: &str, program: &Path, pcap: Option<PathBuf>) -> Result<Stage> {
        let programs = std::env::temp_dir().join(format!("tortie-demo-{}", std::process::id()));
        std::fs::create_dir_all(&programs).with_context(|| format!("create {}", programs.display()))?;
        let link = programs.join("tortie");
        let _ = std::fs::remove_file(&link);
        symlink(program, &link).with_context(|| format!("link {}", link.display()))?;
        if let Some(folder) = &pcap {
            std::fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        Ok(Stage { lab: lab.to_owned(), programs, pcap, captures: 0 })
    }

    /// Runs an exhibit once and judges it; repeats it while it fails and its time is not up.
    pub fn perform(&mut self, exhibit: &Exhibit) -> Result<(Shown, Vec<Verdict>)> {
        let deadline = Instant::now() + Duration::from_secs(exhibit.within);
        loop {
            let shown = self.show(exhibit)?;
            let verdicts: Vec<Verdict> = exhibit
                .checks
                .iter()
                .map(|check| {
                    let output = match check.of {
                        Output::Command => &shown.command,
                        Output::Capture => &shown.capture,
                    };
                    Verdict { what: check.what, failure: check.expect.judge(output, shown.success).err() }
                })
                .collect();
            if verdicts.iter().all(|verdict| verdict.failure.is_none()) || Instant::now() >= deadline {
                return Ok((shown, verdicts));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn show(&mut self, exhibit: &Exhibit) -> Result<Shown> {
        let capture = exhibit.capture.map(|command| self.start_capture(command)).transpose()?;
        let output = self.shell(exhibit.command).stdin(Stdio::null()).output().context("run a shell")?;
        let mut command = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        command += &String::from_utf8_lossy(&output.stderr);
        let capture = capture.map(Capture::finish).transpose()?.unwrap_or_default();
        Ok(Shown { command, capture, success: output.status.success() })
    }

    fn shell(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", command])
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", self.programs.display()))
            .env("TORTIE_LAB", &self.lab)
            .env("LC_ALL", "C")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        shell
    }

    fn start_capture(&mut self, command: &str) -> Result<Capture> {
        let command = match &self.pcap {
            None => format!("exec {command}"),
            Some(folder) => {
                self.captures += 1;
                let file = folder.join(format!("{:02}.pcap", self.captures));
                let raw = command.replacen("-lnn", "-U -w -", 1);
                format!("exec {raw} | tee '{}' | tcpdump -lnn -r -", file.display()).replacen("exec ", "", 1)
            }
        };
        let mut process =
            self.shell(&command).stdin(Stdio::null()).process_group(0).spawn().context("start a capture")?;
        let mut errors = BufReader::new(process.stderr.take().context("the capture's standard error is a pipe")?);
        let mut line = String::new();
        let deadline = Instant::now() + CAPTURE_START;
        while !line.contains("listening on") {
            line.clear();
            let read = errors.read_line(&mut line).context("read the capture's standard error")?;
            anyhow::ensure!(read > 0 && Instant::now() < deadline, "{command}: the capture does not start");
        }
        Ok(Capture { process, errors })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.programs);
    }
}

struct Capture {
    process: Child,
    errors: BufReader<std::process::ChildStderr>,
}

impl Capture {
    fn finish(mut self) -> Result<String> {
        std::thread::sleep(CAPTURE_TAIL);
        let group = nix::unistd::Pid::from_raw(i32::try_from(self.process.id()).context("a process id")?);
        nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGINT).context("stop the capture")?;
        let mut output = String::new();
        self.process.stdout.take().context("the capture's output is a pipe")?.read_to_string(&mut output)?;
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest)?;
        self.process.wait()?;
        Ok(output)
    }
}

/// Performs every scene on a lab that is up; returns how many checks passed and failed.
///
/// `tick` is called before every command; its error ends the demo.
pub(super) fn perform_all(
    lab: &str,
    rules: Rules,
    pcap: Option<&Path>,
    out: &mut dyn Write,
    tick: &mut dyn FnMut() -> Result<()>,
) -> Result<(usize, usize)> {
    let program = std::env::current_exe().context("find this program's path")?;
    let mut stage = Stage::new(lab, &program, pcap.map(Path::to_owned))?;
    let (mut passed, mut failed) = (0, 0);
    for scene in SCENES {
        writeln!(out, "\n=== {}\n", scene.heading)?;
        for exhibit in scene.exhibits.iter().filter(|exhibit| exhibit.rules == Rules::Any || exhibit.rules == rules) {
            tick()?;
            if let Some(capture) = exhibit.capture {
                writeln!(out, "$ {capture} &")?;
            }
            writeln!(out, "$ {}", exhibit.command)?;
            let (shown, verdicts) = stage.perform(exhibit)?;
            for text in [&shown.command, &shown.capture].into_iter().filter(|text| !text.trim().is_empty()) {
                writeln!(out, "{}", text.trim_end())?;
            }
            for verdict in verdicts {
                match verdict.failure {
                    None => {
                        passed += 1;
                        writeln!(out, "PASS {}", verdict.what)?;
                    }
                    Some(mismatch) => {
                        failed += 1;
                        writeln!(out, "FAIL {}: expected {}, got {}", verdict.what, mismatch.expected, mismatch.got)?;
                    }
                }
            }
            writeln!(out)?;
            out.flush()?;
        }
    }
    writeln!(out, "{passed} passed, {failed} failed")?;
    Ok((passed, failed))
}

/// Creates the capture folder's parent early, so that a bad `--pcap` fails before the lab is built.
pub(super) fn check_pcap(folder: Option<&Path>) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("--pcap {}", folder.display()))?;
    let probe = folder.join(".probe");
    File::create(&probe).with_context(|| format!("--pcap {}", folder.display()))?;
    std::fs::remove_file(&probe).with_context(|| format!("--pcap {}", folder.display()))
}
