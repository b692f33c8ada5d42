//! `tortie lab`: a cluster on this machine, its command line.
//!
//! The words and flags follow kubectl where kubectl has them, since scripts and fingers know those. Everything a
//! user reads about progress goes to standard error; standard output carries results alone.

mod args;
pub mod demo;
mod get;

use anyhow::{Context, Result, bail};
use args::{
    Arguments, Command, DataplaneArgument, DeleteArguments, DemoArguments, ExecArguments, StatusOutput, UpArguments,
};
use clap::Parser;
use demo::scenes::Rules;
use lab::exec::{Exec, Input, Terminal};
use lab::pod::{PodName, manifest};
use lab::topology::{self, Topology};
use lab::{Agents, Applied, Down, Lab, Progress, UpOptions};
use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Runs `tortie lab` with the arguments after that name.
pub fn run(arguments: &[String]) -> ExitCode {
    if let Some(("init", role)) = arguments.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return report(lab::init::run(role).map(|()| ExitCode::SUCCESS));
    }
    let words = std::iter::once(OsString::from("tortie lab")).chain(arguments.iter().map(OsString::from));
    match Arguments::try_parse_from(words) {
        Ok(arguments) => report(execute(arguments)),
        Err(error) => {
            let shown = error.print();
            let status = if shown.is_ok() { error.exit_code() } else { 1 };
            ExitCode::from(u8::try_from(status).unwrap_or(1))
        }
    }
}

fn report(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        let broken_pipe = |cause: &io::Error| cause.kind() == ErrorKind::BrokenPipe;
        if error.downcast_ref::<io::Error>().is_some_and(broken_pipe) {
            return ExitCode::SUCCESS;
        }
        say(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn execute(arguments: Arguments) -> Result<ExitCode> {
    let lab = Lab::named(arguments.name);
    match arguments.command {
        Command::Up(up) => bring_up(&lab, &up)?,
        Command::Down => match lab.down()? {
            Down::Removed => say(&format!("lab {} is down", lab.name())),
            Down::Nothing => say(&format!("there is no lab {}", lab.name())),
        },
        Command::Apply { filename } => return apply(&lab, &filename),
        Command::Get(get) => get::run(&lab, &get)?,
        Command::Delete(delete) => return delete_pods(&lab, &delete),
        Command::Exec(exec) => return execute_in(&lab, exec),
        Command::Stop { host } => lab.stop(&host)?,
        Command::Start { host } => lab.start(&host)?,
        Command::Status { output } => print_status(&lab, output)?,
        Command::Demo(demo) => return show(&lab, &demo),
        Command::Topology => write!(io::stdout(), "{}", topology::DEFAULT)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn bring_up(lab: &Lab, up: &UpArguments) -> Result<()> {
    let mut topology = match &up.topology {
        Some(path) => {
            let text = read(path)?;
            Topology::parse(&text).with_context(|| format!("topology {}", path.display()))?
        }
        None => Topology::walkthrough(),
    };
    if let Some(dataplane) = up.dataplane {
        topology.dataplane = dataplane.into();
    }
    let agents = if up.no_agents { Agents::Absent } else { Agents::Run };
    let mut steps = Steps::begin()?;
    lab.up(&UpOptions { topology, agents }, &mut steps)?;
    say(&format!("lab {} is up after {:.1} s", lab.name(), steps.began.elapsed().as_secs_f64()));
    Ok(())
}

/// Runs the demo in a lab of its own; whatever happens, the lab goes down again unless it is to be kept.
fn show(lab: &Lab, arguments: &DemoArguments) -> Result<ExitCode> {
    demo::check_pcap(arguments.pcap.as_deref())?;
    let mut topology = Topology::walkthrough();
    topology.dataplane = arguments.dataplane.into();
    let rules = match arguments.dataplane {
        DataplaneArgument::Iptables => Rules::Iptables,
        DataplaneArgument::Nftables => Rules::Nftables,
    };
    let mut steps = Steps::begin()?;
    lab.up(&UpOptions { topology, agents: Agents::Run }, &mut steps)?;
    say(&format!("lab {} is up after {:.1} s", lab.name(), steps.began.elapsed().as_secs_f64()));
    let name = lab.name().to_string();
    let mut tick = || steps.tick();
    let outcome = demo::perform_all(&name, rules, arguments.pcap.as_deref(), &mut io::stdout(), &mut tick);
    if arguments.keep {
        say(&format!("lab {name} stays up; `tortie lab down --name {name}` ends it"));
    } else {
        lab.down()?;
    }
    let (_, failed) = outcome?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn apply(lab: &Lab, file: &Path) -> Result<ExitCode> {
    let manifests = manifest::parse(&read(file)?)?;
    for warning in &manifests.warnings {
        say(&format!("warning: {warning}"));
    }
    let mut failed = false;
    for outcome in lab.apply(&manifests.pods, &mut |warning| say(&format!("warning: {warning}")))? {
        let done = match outcome.result {
            Ok(Applied::Created) => "created",
            Ok(Applied::Configured) => "configured",
            Ok(Applied::Unchanged) => "unchanged",
            Err(error) => {
                failed = true;
                say(&format!("error: pod {}: {error:#}", outcome.name));
                continue;
            }
        };
        writeln!(io::stdout(), "pod/{} {done}", outcome.name.name)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn delete_pods(lab: &Lab, arguments: &DeleteArguments) -> Result<ExitCode> {
    let mut failed = false;
    for name in &arguments.names {
        match lab.delete_pod(&PodName { namespace: arguments.namespace.clone(), name: name.clone() }) {
            Ok(()) => writeln!(io::stdout(), "pod {name:?} deleted")?,
            Err(error) => {
                failed = true;
                say(&format!("error: {error:#}"));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Reads a file, or standard input when it is called `-`.
fn read(path: &Path) -> Result<String> {
    let text = if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    text.with_context(|| format!("read {}", path.display()))
}

fn execute_in(lab: &Lab, arguments: ExecArguments) -> Result<ExitCode> {
    let exec = Exec {
        command: arguments.command,
        input: if arguments.stdin { Input::Passed } else { Input::Empty },
        terminal: if arguments.tty { Terminal::New } else { Terminal::None },
    };
    let status = match (arguments.node, arguments.pod) {
        (Some(node), None) => lab.exec_on_host(&node, &exec)?,
        (None, Some(name)) => lab.exec_in_pod(&PodName { namespace: arguments.namespace, name }, &exec)?,
        _ => bail!("say where: a pod's name or --node NODE"),
    };
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

fn print_status(lab: &Lab, output: Option<StatusOutput>) -> Result<()> {
    let status = lab.status()?;
    let mut stdout = io::stdout();
    if output == Some(StatusOutput::Json) {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&status)?)?;
        return Ok(());
    }
    let shown = |pid: Option<i32>| pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let mut rows = vec![["NAME", "ADDRESS", "INIT", "AGENT"].map(str::to_owned).to_vec()];
    rows.extend(
        status.nodes.into_iter().map(|node| vec![node.name, node.address, shown(node.init), shown(node.agent)]),
    );
    writeln!(stdout, "store: {}\n\n{}", shown(status.store.pid), columns(&rows))?;
    if !status.routers.is_empty() {
        let mut rows = vec![["ROUTER", "ADDRESS", "INIT", "KIND", "BGP"].map(str::to_owned).to_vec()];
        rows.extend(
            status.routers.into_iter().map(|it| vec![it.name, it.address, shown(it.init), it.kind, shown(it.speaker)]),
        );
        writeln!(stdout, "\n{}", columns(&rows))?;
    }
    Ok(())
}

/// Lays out rows as kubectl does: columns as wide as their widest cell, three blanks between.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..count).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Writes a line to standard error.
fn say(line: &str) {
    // a reader that is gone misses nothing it needs
    let _ = writeln!(io::stderr(), "{line}");
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Shows each step of `lab up` with the time it began, and ends it when the user interrupts.
struct Steps {
    began: Instant,
}

impl Steps {
    fn begin() -> Result<Steps> {
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        extern "C" fn interrupted(_: i32) {
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
        let action = SigAction::new(SigHandler::Handler(interrupted), SaFlags::SA_RESTART, SigSet::empty());
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            // SAFETY: the handler only stores to an atomic.
            unsafe { sigaction(signal, &action) }.context("take signals")?;
        }
        Ok(Steps { began: Instant::now() })
    }
}

impl Progress for Steps {
    fn step(&mut self, what: &str) {
        say(&format!("[{:5.1} s] {what}", self.began.elapsed().as_secs_f64()));
    }

    fn tick(&mut self) -> Result<()> {
        if INTERRUPTED.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_but_not_after_the_last() {
        let rows = [["NAME", "READY"], ["a-long-name", "1/1"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(columns(&rows), "NAME          READY\na-long-name   1/1");
    }
}
