//! The CNI plugin and its IPAM plugin (dataplane reference §1).
//!
//! One process, one thread: netlink is blocking, and the datastore client runs on a current-thread runtime that
//! lives as long as the call. A call that fails leaves nothing behind.

mod call;
mod delegate;
mod error;
mod ipam_plugin;
mod log;
mod netconf;
mod output;
mod plugin;
mod workload;

use call::{Call, Command};
use error::{CniError, Code};
use log::{Level, Log};
use netconf::{NetConf, VERSIONS};
use std::io::{Read, Write};
use std::process::ExitCode;

/// Which of the two plugins a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The main plugin, `calico`.
    Main,
    /// `calico-ipam`.
    Ipam,
}

/// Serves one call, from the environment and standard input; `arguments` come after the program's name.
pub fn run(role: Role, arguments: &[String]) -> ExitCode {
    if arguments.first().is_some_and(|word| word == "-v" || word == "--version") {
        return print(&format!("{}\n", env!("CARGO_PKG_VERSION")));
    }
    if std::env::var("CNI_COMMAND").unwrap_or_default().is_empty() {
        let _ = writeln!(
            std::io::stderr(),
            "Calico CNI plugin {}\nCNI protocol versions supported: {}\nA container runtime calls it; see CNI_COMMAND in the CNI specification.",
            env!("CARGO_PKG_VERSION"),
            VERSIONS.join(", ")
        );
        return ExitCode::SUCCESS;
    }
    match serve(role) {
        Ok(text) => print(&text),
        Err(error) => {
            let text = output::pretty(&error).unwrap_or_else(|_| error.msg.clone());
            print(&text);
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve(role: Role) -> Result<String, CniError> {
    let call = Call::from_env(&|name| std::env::var(name).ok())?;
    if call.command == Command::Version {
        let versions: Vec<String> = VERSIONS.iter().map(|version| format!("{version:?}")).collect();
        let newest = VERSIONS.last().unwrap_or(&"");
        return Ok(format!("{{\"cniVersion\":\"{newest}\",\"supportedVersions\":[{}]}}\n", versions.join(",")));
    }
    let mut input = Vec::new();
    let read = std::io::stdin().read_to_end(&mut input);
    read.map_err(|error| CniError::new(Code::IO, format!("error reading from stdin: {error}")))?;
    let conf = NetConf::parse(&input)?;
    let log = Log::open(&conf, &call.container_id);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CniError::failed(format!("start the runtime: {error}")))?;
    let outcome = runtime.block_on(perform(role, &call, &conf, &input, &log));
    if let Err(error) = &outcome {
        log.write(Level::Error, &format!("{:?} failed: {}", call.command, error.msg));
    }
    outcome
}

async fn perform(role: Role, call: &Call, conf: &NetConf, input: &[u8], log: &Log) -> Result<String, CniError> {
    log.write(Level::Debug, &format!("{:?} as {role:?}, interface {:?}", call.command, call.ifname));
    match (role, call.command) {
        (Role::Main, Command::Add) => {
            refuse_own_netns(call)?;
            plugin::add(call, conf, input, log).await.map(|added| output::render(&added, conf.version()))
        }
        (Role::Main, Command::Del) => plugin::del(call, conf, input, log).await.map(|()| String::new()),
        (Role::Ipam, Command::Add) => {
            let store = plugin::open(conf).await?;
            let added = ipam_plugin::add(store.as_ref(), call, conf, log).await?;
            Ok(output::render(&added, conf.version()))
        }
        (Role::Ipam, Command::Del) => {
            let store = plugin::open(conf).await?;
            ipam_plugin::del(store.as_ref(), call, conf, log).await.map(|()| String::new())
        }
        (_, Command::Check | Command::Gc | Command::Status) => {
            let command = format!("{:?}", call.command).to_uppercase();
            Err(CniError::failed(format!("CNI_COMMAND {command} is not supported yet; ADD, DEL and VERSION are")))
        }
        (_, Command::Version) => Ok(String::new()),
    }
}

/// A pod cannot share the plugin's own namespace: its routes would become the node's.
fn refuse_own_netns(call: &Call) -> Result<(), CniError> {
    let Some(path) = &call.netns else { return Ok(()) };
    let same = |a: &std::fs::Metadata, b: &std::fs::Metadata| {
        use std::os::unix::fs::MetadataExt;
        a.dev() == b.dev() && a.ino() == b.ino()
    };
    match (std::fs::metadata(path), std::fs::metadata("/proc/self/ns/net")) {
        (Ok(theirs), Ok(ours)) if same(&theirs, &ours) => Err(CniError::new(
            Code::INVALID_NETNS,
            format!("plugin's netns and netns from CNI_NETNS should not be the same: {}", path.display()),
        )),
        (Err(error), _) => Err(CniError::failed(format!("failed to open netns {:?}: {error}", path.display()))),
        _ => Ok(()),
    }
}
