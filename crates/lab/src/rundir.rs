//! One lab's directory, `/run/tortie-lab/NAME`, and the record in it of who runs the lab.
//!
//! The directory appears whole by a rename, so a name is either taken with a record of its owner, or free. It is
//! removed only when the recorded supervisor is dead: with that process have gone all mounts below the directory.

use crate::process::ProcessId;
use crate::topology::Topology;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where all labs of a machine live.
const BASE: &str = "/run/tortie-lab";

/// A lab's name: letters, digits and hyphens, at most 40 of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LabName(String);

impl LabName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LabName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.len() > 40 || name.starts_with('-') || !name.bytes().all(fits) {
            return Err(format!("lab name {name:?}: must be 1 to 40 letters, digits and hyphens"));
        }
        Ok(LabName(name.to_owned()))
    }
}

/// What `lab up` writes down about a lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The lab's shape.
    pub(crate) topology: Topology,
    /// The `lab up` that builds or built it.
    pub(crate) up: ProcessId,
    /// The supervisor, once it runs.
    pub(crate) supervisor: Option<ProcessId>,
    /// Whether store and agents run, or the machines are bare.
    pub(crate) agents: bool,
    /// The folder with the routers' programs, where they are not on the search path.
    #[serde(default)]
    pub(crate) routers: Option<PathBuf>,
    /// Kernel modules that `lab up` loaded for it.
    #[serde(default)]
    pub(crate) modules: Vec<String>,
    /// Whether the cluster was seen working.
    #[serde(default)]
    pub(crate) ready: bool,
}

/// The directory of one lab.
#[derive(Clone, Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub(crate) fn of(name: &LabName) -> RunDir {
        RunDir { path: Path::new(BASE).join(name.as_str()) }
    }

    pub(crate) fn at(path: &Path) -> RunDir {
        RunDir { path: path.to_owned() }
    }

    /// Some lab of this machine.
    pub(crate) fn any() -> Option<RunDir> {
        let labs = fs::read_dir(BASE).into_iter().flatten().flatten();
        let whole = labs.map(|entry| entry.path()).find(|path| path.join("lab.json").exists() && !is_unfinished(path));
        whole.map(|path| RunDir { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that every node sees as `/run/tortie`: the binary's names and the store's socket.
    pub(crate) fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// A host's own directory.
    pub(crate) fn host(&self, host: &str) -> PathBuf {
        self.path.join("hosts").join(host)
    }

    /// The part of a host's `/run` that belongs to its init.
    pub(crate) fn init(&self, host: &str) -> PathBuf {
        self.host(host).join("run/lab")
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    pub(crate) fn supervisor_log(&self) -> PathBuf {
        self.path.join("supervisor.log")
    }

    /// The file whose presence says that the wire stands and every host has its uplink.
    pub(crate) fn wired(&self) -> PathBuf {
        self.path.join("wired")
    }

    /// Takes the name. Fails with `AlreadyExists` when it is taken.
    pub(crate) fn create(name: &LabName, record: &Record) -> std::io::Result<RunDir> {
        fs::DirBuilder::new().mode(0o700).recursive(true).create(BASE)?;
        let fresh = Path::new(BASE).join(format!(".{name}.{}", std::process::id()));
        if fresh.exists() {
            fs::remove_dir_all(&fresh)?;
        }
        fs::DirBuilder::new().mode(0o700).create(&fresh)?;
        let fresh = RunDir { path: fresh };
        fresh.write_record(record)?;
        let place = RunDir::of(name);
        match fs::rename(&fresh.path, &place.path) {
            Ok(()) => Ok(place),
            Err(error) => {
                let taken = place.path.exists();
                fs::remove_dir_all(&fresh.path)?;
                Err(if taken { ErrorKind::AlreadyExists.into() } else { error })
            }
        }
    }

    pub(crate) fn record(&self) -> Result<Option<Record>> {
        let path = self.path.join("lab.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("read {}", path.display()))
    }

    pub(crate) fn write_record(&self, record: &Record) -> std::io::Result<()> {
        write_json(&self.path.join("lab.json"), record)
    }

    /// Removes the directory, what a crash left of its making, and the base when it is empty.
    pub(crate) fn remove(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let below = |mount: &str| Path::new(mount).starts_with(&self.path);
        if let Some(mount) = mounts.lines().filter_map(|line| line.split(' ').nth(4)).find(|mount| below(mount)) {
            bail!("{mount} is still mounted; umount it before the lab's directory can be removed");
        }
        if self.path.exists() {
            fs::remove_dir_all(&self.path).with_context(|| format!("remove {}", self.path.display()))?;
        }
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for entry in fs::read_dir(BASE).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let Some((owner, pid)) = file.strip_prefix('.').and_then(|rest| rest.rsplit_once('.')) else { continue };
            let dead = pid.parse().is_ok_and(|pid| pid != std::process::id() as i32 && !crate::process::exists(pid));
            if owner == name && dead {
                fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
            }
        }
        match fs::remove_dir(BASE) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                Err(error).with_context(|| format!("remove {BASE}"))
            }
            _ => Ok(()),
        }
    }
}

/// Tells whether a directory is still being made, or was when its maker died.
fn is_unfinished(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Replaces a file by the JSON form of a value, in one step for every reader.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let fresh = path.with_extension("json.new");
    fs::write(&fresh, serde_json::to_vec_pretty(value)?)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)
}
