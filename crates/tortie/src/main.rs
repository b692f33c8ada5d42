//! The binary: [`tortie::dispatch`] says which part a call is for.

use std::io::Write;
use std::process::ExitCode;
use tortie::cni::{self, Role};
use tortie::dispatch::{Mode, dispatch};

const HELP: &str = "\
Tortie: pod networking compatible with Project Calico, in one binary.

Usage: tortie COMMAND [ARGS]

  node      run the node agent
  ctl       read and change resources (also as calicoctl)
  store     run the embedded datastore, a server of the etcd v3 API
  lab       a cluster of network namespaces on this machine
  crds      print the CustomResourceDefinitions for Kubernetes
  version   print the version

As calico or calico-ipam, or with CNI_COMMAND set, it is the CNI plugin.

Examples:
  tortie lab demo
  tortie store --data-dir /var/lib/tortie --listen-client-urls unix:///run/tortie/store.sock
  tortie ctl get ippools -o wide

`tortie COMMAND --help` tells more.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let (mode, used) = dispatch(&arguments, std::env::var("CNI_COMMAND").ok().as_deref());
    let rest = &arguments[used..];
    let name = arguments.first().map_or("tortie", String::as_str);
    match mode {
        Mode::Cni => cni::run(Role::Main, rest),
        Mode::CniIpam => cni::run(Role::Ipam, rest),
        Mode::Ctl => tortie::ctl::run(rest, name),
        Mode::Node => tortie::node::run(rest),
        Mode::Store => tortie::store::run(rest),
        Mode::Lab => tortie::lab::run(rest),
        Mode::Crds => tortie::crds::run(rest),
        Mode::Version => say(&format!("tortie {}\n", env!("CARGO_PKG_VERSION"))),
        Mode::Help { asked: true } => say(HELP),
        Mode::Help { asked: false } => {
            let word = arguments.get(1).map_or("", String::as_str);
            let _ = write!(std::io::stderr(), "tortie: {word:?} is no command\n\n{HELP}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
