//! One binary, many names: which part of Tortie a call is for.

use std::path::Path;

/// A part of Tortie, and how many leading arguments named it (the program's own name included).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The main CNI plugin.
    Cni,
    /// The IPAM plugin.
    CniIpam,
    /// The operators' command line.
    Ctl,
    /// The node agent.
    Node,
    /// The embedded datastore.
    Store,
    /// The lab.
    Lab,
    /// The CustomResourceDefinitions.
    Crds,
    /// What this binary is.
    Version,
    /// The overview of subcommands, and whether it was asked for.
    Help {
        /// False when the words make no sense: the exit status is then 1.
        asked: bool,
    },
}

/// Picks the mode.
///
/// | invoked as | runs |
/// |---|---|
/// | `calico-ipam`, `tortie-ipam` | the IPAM plugin |
/// | `calicoctl`, `tortiectl`, `kubectl-calico` | `ctl` |
/// | `calico` with `CNI_COMMAND` set | the CNI plugin, whatever the words |
/// | any other name with a known subcommand | that |
/// | `calico`, or any other name with `CNI_COMMAND` set | the CNI plugin |
/// | anything else | help |
///
/// `arguments` starts with the program's name. The number says how many of them are used up.
pub fn dispatch(arguments: &[String], cni_command: Option<&str>) -> (Mode, usize) {
    let name = arguments.first().map_or("", |path| Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or(""));
    match name {
        "calico-ipam" | "tortie-ipam" => return (Mode::CniIpam, 1),
        "calicoctl" | "tortiectl" | "kubectl-calico" => return (Mode::Ctl, 1),
        _ => {}
    }
    let called = cni_command.is_some_and(|command| !command.is_empty());
    match arguments.get(1).map(String::as_str) {
        _ if name == "calico" && called => (Mode::Cni, 1),
        Some("node") => (Mode::Node, 2),
        Some("ctl") => (Mode::Ctl, 2),
        Some("store") => (Mode::Store, 2),
        Some("lab") => (Mode::Lab, 2),
        Some("crds") => (Mode::Crds, 2),
        Some("version") => (Mode::Version, 2),
        _ if name == "calico" || called => (Mode::Cni, 1),
        Some("-v" | "--version") => (Mode::Version, 2),
        Some("help" | "-h" | "--help") | None => (Mode::Help { asked: true }, arguments.len().min(2)),
        Some(_) => (Mode::Help { asked: false }, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row() {
        for (words, cni_command, expect) in [
            ("calico-ipam", None, (Mode::CniIpam, 1)),
            ("/opt/cni/bin/tortie-ipam", Some("ADD"), (Mode::CniIpam, 1)),
            ("calicoctl node status", None, (Mode::Ctl, 1)),
            ("kubectl-calico get nodes", None, (Mode::Ctl, 1)),
            ("/usr/bin/tortiectl version", None, (Mode::Ctl, 1)),
            ("tortie ctl get nodes", None, (Mode::Ctl, 2)),
            ("tortie node", None, (Mode::Node, 2)),
            ("calico node", None, (Mode::Node, 2)),
            ("tortie store --data-dir x", None, (Mode::Store, 2)),
            ("tortie lab up", Some("ADD"), (Mode::Lab, 2)),
            ("tortie version", None, (Mode::Version, 2)),
            ("tortie crds --help", None, (Mode::Crds, 2)),
            ("tortie", Some("ADD"), (Mode::Cni, 1)),
            ("calico", None, (Mode::Cni, 1)),
            ("calico -v", None, (Mode::Cni, 1)),
            ("calico node", Some("DEL"), (Mode::Cni, 1)),
            ("calico {\"name\":\"n\"}", Some("ADD"), (Mode::Cni, 1)),
            ("calico node", Some(""), (Mode::Node, 2)),
            ("tortie {\"name\":\"n\"}", Some("ADD"), (Mode::Cni, 1)),
            ("tortie", Some(""), (Mode::Help { asked: true }, 1)),
            ("tortie --help", None, (Mode::Help { asked: true }, 2)),
            ("tortie nonsense", None, (Mode::Help { asked: false }, 2)),
        ] {
            let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
            assert_eq!(dispatch(&words, cni_command), expect, "{words:?} with CNI_COMMAND {cni_command:?}");
        }
    }
}
