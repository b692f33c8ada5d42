//! The CNI plugin and its IPAM plugin (dataplane reference §1).
//!
//! One process, one thread: netlink is blocking, and the datastore client runs on a current-thread runtime that
//! lives as long as the call. A call that fails leaves nothing behind.

mod add;
mod bad_json;
mod call;
mod check;
mod cluster;
mod del;
mod delegate;
mod error;
mod flags;
mod gc;
mod ipam_plugin;
mod labels;
mod log;
mod netconf;
mod others;
mod output;
mod previous;
mod ready;
mod status;
mod turn;
mod undo;
mod workload;

use call::{Call, Command};
use dataplane::netns::NetNs;
use error::{CniError, Code};
use flags::Flags;
use log::{Level, Log};
use netconf::{NetConf, VERSIONS};
use std::future::Future;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use turn::Turn;

/// Which of the two plugins a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The main plugin, `calico`.
    Main,
    /// `calico-ipam`.
    Ipam,
}

/// Reads a network configuration and what follows from it alone, as every call does first.
///
/// # Errors
///
/// The plugin's message.
pub fn check_configuration(bytes: &[u8]) -> Result<(), String> {
    let read = || -> Result<(), CniError> {
        let conf = NetConf::parse(bytes)?;
        conf.require_supported()?;
        conf.ipam.route_destinations()?;
        previous::Previous::of(&conf)?;
        conf.datastore().map(drop)
    };
    read().map_err(|error| error.msg)
}

/// How long `-t` waits for the datastore.
const TEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves one call, from the environment and standard input; `arguments` come after the program's name.
///
/// `-v` prints the version, `-t` (main plugin) tests the connection to the datastore that standard input names. Other
/// words are passed over in a call, as Calico does; somebody who typed them is told that they mean nothing.
pub fn run(role: Role, arguments: &[String]) -> ExitCode {
    let flags = match Flags::parse(role, arguments) {
        Ok(flags) => flags,
        Err(refusal) => {
            let _ = std::io::stderr().write_all(refusal.text.as_bytes());
            return ExitCode::from(refusal.status);
        }
    };
    let called = !std::env::var("CNI_COMMAND").unwrap_or_default().is_empty();
    let outcome = match flags {
        Flags { version: true, .. } => Ok(format!("{}\n", env!("CARGO_PKG_VERSION"))),
        Flags { test: true, .. } => test_connection(),
        Flags { upgrade: true, .. } => {
            Err(CniError::new(Code::USAGE, "-upgrade (from host-local to calico-ipam) is not supported yet"))
        }
        Flags { .. } if called => serve(role),
        Flags { words, .. } if words.is_empty() => {
            introduce(role);
            return ExitCode::SUCCESS;
        }
        Flags { words, .. } => Err(CniError::new(Code::USAGE, format!("unknown arguments: {}", words.join(" ")))),
    };
    let (text, status) = match outcome {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (output::pretty(&error).unwrap_or(error.msg), ExitCode::FAILURE),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => status,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Says what this is to somebody who runs it by hand.
fn introduce(role: Role) {
    let name = match role {
        Role::Main => "Calico CNI plugin",
        Role::Ipam => "Calico CNI IPAM",
    };
    let _ = writeln!(
        std::io::stderr(),
        "{name} {}\nCNI protocol versions supported: {}\nA container runtime calls it; see CNI_COMMAND in the CNI specification.",
        env!("CARGO_PKG_VERSION"),
        VERSIONS.join(", ")
    );
}

fn test_connection() -> Result<String, CniError> {
    let conf = NetConf::parse(&read_input()?)?;
    conf.require_supported()?;
    let probe = async {
        let client = cluster::connect(&conf).await?;
        cluster::require_ready(&client).await
    };
    let outcome = block_on(async {
        let late = || CniError::failed(format!("no answer within {} s", TEST_TIMEOUT.as_secs()));
        tokio::time::timeout(TEST_TIMEOUT, probe).await.unwrap_or_else(|_| Err(late()))
    });
    outcome
        .map(|()| String::new())
        .map_err(|error| CniError { details: error.msg, ..CniError::new(Code::USAGE, "data store connection failed") })
}

fn serve(role: Role) -> Result<String, CniError> {
    let call = Call::from_env(&|name| std::env::var(name).ok())?;
    if call.command == Command::Version {
        return Ok(output::versions());
    }
    let input = read_input()?;
    let conf = NetConf::parse(&input)?;
    require_version(call.command, &conf)?;
    let supported = conf.require_supported();
    if call.command == Command::Add {
        supported.clone()?;
    }
    let log = Log::open(&conf, &call.container_id);
    if let (Err(error), true) = (supported, call.command != Command::Status) {
        log.write(Level::Warning, &format!("{:?} goes on without it: {}", call.command, error.msg));
    }
    let _turn = match call.command {
        Command::Add | Command::Del | Command::Check => {
            Turn::wait(&conf.calls_lock_file(), role, &call.container_id, &log)
        }
        Command::Gc | Command::Status | Command::Version => None,
    };
    let outcome = block_on(perform(role, &call, &conf, &input, &log));
    if let Err(error) = &outcome {
        log.write(Level::Error, &format!("{:?} failed: {}", call.command, error.msg));
    }
    outcome
}

/// Refuses commands that the configuration's version does not have.
fn require_version(command: Command, conf: &NetConf) -> Result<(), CniError> {
    let (word, since) = match command {
        Command::Check => ("CHECK", "0.4.0"),
        Command::Gc => ("GC", "1.1.0"),
        Command::Status => ("STATUS", "1.1.0"),
        Command::Add | Command::Del | Command::Version => return Ok(()),
    };
    if conf.speaks(since) {
        return Ok(());
    }
    Err(CniError {
        details: format!("config is {:?}, {word} needs {since:?}", conf.version()),
        ..CniError::new(Code::INCOMPATIBLE_VERSION, format!("config version does not allow {word}"))
    })
}

fn read_input() -> Result<Vec<u8>, CniError> {
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input);
    read.map_err(|error| CniError::new(Code::IO, format!("error reading from stdin: {error}")))?;
    Ok(input)
}

fn block_on<T>(work: impl Future<Output = Result<T, CniError>>) -> Result<T, CniError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CniError::failed(format!("start the runtime: {error}")))?.block_on(work)
}

async fn perform(role: Role, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<String, CniError> {
    log.write(Level::Debug, &format!("{:?} as {role:?}, interface {:?}", call.command, call.ifname));
    match (role, call.command) {
        (Role::Main, Command::Add) => {
            let netns = pod_netns(call)?;
            let added = add::add(call, netns, conf, input, log).await?;
            Ok(output::render(&added, conf.version()))
        }
        (Role::Main, Command::Del) => {
            call.netns.as_deref().map_or(Ok(()), refuse_own_netns)?;
            del::del(call, conf, input, log).await.map(|()| String::new())
        }
        (Role::Ipam, Command::Add) => {
            let client = cluster::connect(conf).await?;
            let added = ipam_plugin::add(client.store(), call, conf, log).await?;
            Ok(output::render(&added, conf.version()))
        }
        (Role::Ipam, Command::Del) => {
            let client = cluster::connect(conf).await?;
            ipam_plugin::del(client.store(), call, conf, log).await.map(|_| String::new())
        }
        (Role::Main, Command::Check) => {
            // the specification asks for nothing; Calico says this
            check::check(call, pod_netns(call)?, conf, input, log).await.map(|()| "OK\n".to_owned())
        }
        (Role::Ipam, Command::Check) => check::check_addresses(call, conf).await.map(|()| String::new()),
        (_, Command::Status) => status::status(role, call, conf, input).await.map(|()| String::new()),
        (_, Command::Gc) => gc::collect(role, call, conf, input, log).await.map(|()| String::new()),
        (_, Command::Version) => Ok(output::versions()),
    }
}

/// The pod's namespace, which can be entered and is not the plugin's own.
fn pod_netns(call: &Call) -> Result<&Path, CniError> {
    let netns = call.netns.as_deref().unwrap_or(Path::new(""));
    NetNs::open(netns)
        .and_then(|netns| netns.run(|| ()))
        .map_err(|error| CniError::failed(format!("failed to open netns {netns:?}: {error}")))?;
    refuse_own_netns(netns)?;
    Ok(netns)
}

/// A pod cannot share the plugin's own namespace: its routes would become the node's, its interface be the node's.
fn refuse_own_netns(path: &Path) -> Result<(), CniError> {
    if !same_namespace(path, Path::new("/proc/self/ns/net")) {
        return Ok(());
    }
    Err(CniError::new(
        Code::INVALID_NETNS,
        format!("plugin's netns and netns from CNI_NETNS should not be the same: {}", path.display()),
    ))
}

/// Whether two paths are of one namespace, by whatever name; one that is gone is nobody's.
fn same_namespace(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    matches!((identity(one), identity(other)), (Some(one), Some(other)) if one == other)
}
