//! Which processes of a machine are a node's agent.

use crate::dispatch::{Mode, dispatch};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A process's PID namespace.
#[derive(PartialEq, Eq)]
enum Namespace {
    /// Its name, where there is one.
    Shown(Option<PathBuf>),
    /// Not for this user to see.
    Hidden,
}

/// Whether an agent's process, ours or Calico's, is among those shown at `proc`.
///
/// Agents in PID namespaces below this one, such as a lab's, are shown too, but are not this node's; where the caller may
/// not see the namespace, it may be.
pub(crate) fn agent_runs(proc: &Path) -> io::Result<bool> {
    let namespace = |process: &Path| match fs::read_link(process.join("ns/pid")) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Namespace::Hidden,
        shown => Namespace::Shown(shown.ok()),
    };
    let own = namespace(&proc.join("self"));
    for entry in fs::read_dir(proc)? {
        let process = entry?.path();
        let Ok(line) = fs::read(process.join("cmdline")) else { continue };
        let words: Vec<String> =
            line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let program = Path::new(&words[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ours = matches!(program.as_str(), "tortie" | "calico") && dispatch(&words, None).0 == Mode::Node;
        let felix = program == "calico-felix" || program == "calico-node" && words.iter().any(|word| word == "-felix");
        if (ours || felix) && [&Namespace::Hidden, &own].contains(&&namespace(&process)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_processes_count() {
        for (line, expect) in [
            ("tortie\0node\0", true),
            ("/usr/bin/tortie\0node\0--ip\0none\0", true),
            ("calico\0node\0", true),
            ("calico-felix\0", true),
            ("calico-node\0-felix\0", true),
            ("calicoctl\0node\0status\0", false),
            ("tortie\0ctl\0node\0status\0", false),
            ("tortie\0store\0", false),
            ("sh\0node\0", false),
            ("", false),
        ] {
            let proc = tempfile::tempdir().expect("a folder");
            fs::create_dir(proc.path().join("7")).expect("a process");
            fs::write(proc.path().join("7/cmdline"), line).expect("its command line");
            assert_eq!(agent_runs(proc.path()).expect("a list"), expect, "{line:?}");
        }
    }

    #[test]
    fn an_agent_of_another_pid_namespace_is_not_ours() {
        let proc = tempfile::tempdir().expect("a folder");
        for (process, namespace) in [("self", "pid:[1]"), ("7", "pid:[2]")] {
            let folder = proc.path().join(process).join("ns");
            fs::create_dir_all(&folder).expect("a process");
            std::os::unix::fs::symlink(namespace, folder.join("pid")).expect("its namespace");
        }
        fs::write(proc.path().join("7/cmdline"), "tortie\0node\0").expect("its command line");
        assert!(!agent_runs(proc.path()).expect("a list"));
    }
}
