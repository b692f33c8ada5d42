//! The host's MTU, of which the tunnels' and the pods' follow, and the file in which the CNI plugin is told the pods', as
//! Calico's agent does (dataplane reference §3.6).

use crate::draft::write_whole;
use crate::links::Links;
use model::Mtu;
use model::desired::Settings;
use regex::Regex;
use std::path::{Path, PathBuf};
use std::{fs, io, process};

/// What the name of a file being written starts with, before its writer's process id.
const DRAFT: &str = ".mtu.";

/// The host's MTU where none of its interfaces counts.
const NO_INTERFACE: Mtu = Mtu(1460);

/// Finds the host's MTU.
#[derive(Debug, Default)]
pub(crate) struct HostMtu {
    /// `mtuIfacePattern` as last told, and as it is matched.
    pattern: Option<(String, Regex)>,
}

impl HostMtu {
    /// The least MTU of the links that are up and whose names match `mtuIfacePattern`. Unknown if a link could not be
    /// read: it might be the least.
    ///
    /// It is not the MTU of the link with the node's address: that may be the loopback, with the routers behind several
    /// others.
    pub(crate) fn of(&mut self, links: &Links, settings: &Settings) -> Option<Mtu> {
        let text = &settings.mtu_interfaces;
        if self.pattern.as_ref().is_none_or(|(known, _)| known != text) {
            let pattern = Regex::new(text).or_else(|_| Regex::new(Settings::MTU_INTERFACES));
            self.pattern = Some((text.clone(), pattern.expect("the default is a pattern")));
        }
        let (_, pattern) = self.pattern.as_ref().expect("set above");
        let count = links.all().filter(|link| link.is_up() && pattern.is_match(&link.name.0));
        links.are_complete().then(|| count.map(|link| link.mtu).min().unwrap_or(NO_INTERFACE))
    }
}

/// The file could not be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {cause}", .path.display())]
pub(crate) struct MtuFileError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// Writes the file `mtu` in `directory`, whole or not at all, unless it says the same already; tells whether it wrote.
pub(crate) fn publish(directory: &Path, mtu: Mtu) -> Result<bool, MtuFileError> {
    let path = directory.join("mtu");
    write(directory, &path, &mtu.0.to_string()).map_err(|cause| MtuFileError { action: "write", path, cause })
}

/// Removes the file, and drafts of it whose writers died; tells whether the file was there.
pub(crate) fn withdraw(directory: &Path) -> Result<bool, MtuFileError> {
    let remove = |path: &Path| match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(MtuFileError { action: "remove", path: path.to_owned(), cause }),
    };
    let unread = |cause| MtuFileError { action: "read", path: directory.to_owned(), cause };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        entries => entries.map_err(unread)?,
    };
    for entry in entries {
        let entry = entry.map_err(unread)?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(DRAFT)) {
            remove(&entry.path())?;
        }
    }
    remove(&directory.join("mtu"))
}

fn write(directory: &Path, path: &Path, text: &str) -> io::Result<bool> {
    match fs::read_to_string(path) {
        Ok(present) if present == text => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(directory)?,
        Err(error) => return Err(error),
    }
    let draft = directory.join(format!("{DRAFT}{}", process::id()));
    write_whole(&draft, path, text)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_decimal_text_and_written_once() {
        let directory = tempfile::tempdir().expect("a directory for the test");
        let directory = directory.path().join("calico");
        assert!(publish(&directory, Mtu(1480)).expect("written"));
        assert!(!publish(&directory, Mtu(1480)).expect("left alone"));
        assert_eq!(fs::read_to_string(directory.join("mtu")).expect("there"), "1480");
        assert!(publish(&directory, Mtu(1430)).expect("rewritten"));
        assert_eq!(fs::read_to_string(directory.join("mtu")).expect("there"), "1430");
        assert_eq!(fs::read_dir(&directory).expect("there").count(), 1);
        for file in [".mtu.77", "nodename"] {
            fs::write(directory.join(file), "").expect("written");
        }
        assert!(withdraw(&directory).expect("removed"));
        assert!(!withdraw(&directory).expect("gone already"));
        let left: Vec<_> = fs::read_dir(&directory).expect("there").map(|it| it.expect("listed").file_name()).collect();
        assert_eq!(left, ["nodename"]);
        assert!(!withdraw(&directory.join("elsewhere")).expect("no directory is no file"));
    }
}
