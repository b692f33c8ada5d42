//! Files by which the CNI plugin learns that an endpoint's routes and rules stand, as Calico's agent writes them.
//!
//! The folder is ours, all of it: a fresh process reads what is there, and removes what it does not want.

use crate::draft::write_whole;
use model::desired::StatusFile;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What the name of a file being written starts with.
const DRAFT: &str = ".draft";

/// A file could not be written or removed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {cause}", .path.display())]
pub(crate) struct StatusFileError {
    action: &'static str,
    path: PathBuf,
    cause: io::Error,
}

/// The files, and what is in them as far as it is known.
#[derive(Debug)]
pub(crate) struct StatusFiles {
    directory: PathBuf,
    actual: Option<BTreeMap<String, String>>,
}

impl StatusFiles {
    /// Looks at nothing yet.
    pub(crate) fn new(directory: PathBuf) -> StatusFiles {
        StatusFiles { directory, actual: None }
    }

    /// Forgets what is known.
    pub(crate) fn invalidate(&mut self) {
        self.actual = None;
    }

    /// Removes the files of endpoints that are not in `wanted`; returns how many. One that stays does not stop the rest.
    pub(crate) fn withdraw<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a StatusFile>,
    ) -> Result<usize, StatusFileError> {
        let wanted: BTreeMap<&str, &str> = wanted.map(|file| (file.name.as_str(), file.content.as_str())).collect();
        let mut actual = self.known()?;
        let stale = |(name, content): (&String, &String)| {
            (wanted.get(name.as_str()) != Some(&content.as_str())).then(|| name.clone())
        };
        let stale: Vec<String> = actual.iter().filter_map(stale).collect();
        let mut failed = None;
        for name in &stale {
            let path = self.directory.join(name);
            match fs::remove_file(&path) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                    failed.get_or_insert(StatusFileError { action: "remove", path, cause });
                }
                Ok(()) | Err(_) => drop(actual.remove(name)),
            }
        }
        self.actual = Some(actual);
        failed.map_or(Ok(stale.len()), Err)
    }

    /// Writes the files that are not there yet, each whole or not at all; returns how many. One that fails does not stop
    /// the rest.
    pub(crate) fn publish<'a>(
        &mut self,
        wanted: impl Iterator<Item = &'a StatusFile>,
    ) -> Result<usize, StatusFileError> {
        let mut actual = self.known()?;
        let (mut writes, mut failed) = (0, None);
        for file in wanted.filter(|file| !file.name.is_empty()) {
            if actual.get(&file.name) == Some(&file.content) {
                continue;
            }
            let path = self.directory.join(&file.name);
            let draft = self.directory.join(DRAFT);
            if let Err(cause) = write_whole(&draft, &path, &file.content) {
                failed.get_or_insert(StatusFileError { action: "write", path, cause });
                continue;
            }
            actual.insert(file.name.clone(), file.content.clone());
            writes += 1;
        }
        self.actual = Some(actual);
        failed.map_or(Ok(writes), Err)
    }

    /// Takes what is known out, reading it if need be; it is put back when everything has worked.
    fn known(&mut self) -> Result<BTreeMap<String, String>, StatusFileError> {
        if let Some(actual) = self.actual.take() {
            return Ok(actual);
        }
        let path = self.directory.clone();
        read(&path).map_err(|cause| StatusFileError { action: "read", path, cause })
    }
}

/// Removes the folder with its files; tells whether it was there.
pub(crate) fn remove(directory: &Path) -> Result<bool, StatusFileError> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(cause) => Err(StatusFileError { action: "remove", path: directory.to_owned(), cause }),
    }
}

fn read(directory: &Path) -> io::Result<BTreeMap<String, String>> {
    fs::create_dir_all(directory)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // what is no text is none of ours, and goes as any other that is not wanted
        let content = fs::read(entry.path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        files.insert(entry.file_name().to_string_lossy().into_owned(), content.unwrap_or_default());
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &str) -> StatusFile {
        StatusFile { name: name.to_owned(), content: content.to_owned() }
    }

    #[test]
    fn files_follow_what_is_wanted() {
        let folder = tempfile::tempdir().expect("a directory for the test");
        let folder = folder.path().join("endpoint-status");
        let names = || {
            let mut names: Vec<String> = fs::read_dir(&folder)
                .expect("there")
                .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned())
                .collect();
            names.sort();
            names
        };
        let wanted = [file("k8s default%2Fa eth0", "{}"), file("k8s default%2Fb eth0", "{1}")];
        let mut files = StatusFiles::new(folder.clone());
        assert_eq!(files.withdraw(wanted.iter()).expect("nothing is there"), 0);
        assert_eq!(files.publish(wanted[..1].iter()).expect("written"), 1);
        assert_eq!(names(), ["k8s default%2Fa eth0"]);
        assert_eq!(files.publish(wanted.iter()).expect("written"), 1);
        assert_eq!(files.publish(wanted.iter()).expect("there already"), 0);
        assert_eq!(fs::read_to_string(folder.join(&wanted[1].name)).expect("there"), "{1}");
        // another process, another content: nobody may read the old one meanwhile
        let changed = [file("k8s default%2Fb eth0", "{2}")];
        let mut files = StatusFiles::new(folder.clone());
        assert_eq!(files.withdraw(changed.iter()).expect("removed"), 2);
        assert!(names().is_empty());
        assert_eq!(files.publish(changed.iter()).expect("written"), 1);
        // a name that no file can have stops nothing
        let both = [file(&"x".repeat(300), "{}"), file("k8s default%2Fc eth0", "{3}"), changed[0].clone()];
        assert!(files.publish(both.iter()).is_err());
        assert_eq!(names(), ["k8s default%2Fb eth0", "k8s default%2Fc eth0"]);
        fs::create_dir(folder.join("a folder")).expect("made");
        files.invalidate();
        assert!(files.withdraw(changed.iter()).is_err());
        assert_eq!(names(), ["a folder", "k8s default%2Fb eth0"]);
        fs::remove_dir(folder.join("a folder")).expect("there");
        files.invalidate();
        // and what somebody else removes is written again, once it is looked at
        fs::remove_file(folder.join(&changed[0].name)).expect("there");
        files.invalidate();
        assert_eq!(files.publish(changed.iter()).expect("written"), 1);
        assert!(remove(&folder).expect("removed"));
        assert!(!remove(&folder).expect("gone already"));
    }
}
