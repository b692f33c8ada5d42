//! Where recordings are replayed: network, mount and process namespaces of their own, in which nothing of the machine's
//! is in the way and nothing stays.
//!
//! The root is a tmpfs with the machine's folders bound into it; those that CNI plugins, Calico and container runtimes
//! write to are empty folders instead, so that recorded paths can be used as they are.

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Names the folder that becomes the root, for the process inside.
const ROOT: &str = "TORTIE_COMPAT_ROOT";
/// Folders that the recorded programs write to: the world has its own.
const OWN: [&str; 5] = ["opt", "run", "var/lib", "var/log", "var/run"];
/// The world's folder for the binary, the datastores and the steps.
const SCRATCH: &str = "/tortie-compat";

/// Whether this process is the one inside.
pub(crate) fn is_inside() -> bool {
    std::env::var_os(ROOT).is_some()
}

/// Runs this program again, in namespaces of its own that end with it.
pub(crate) fn run_inside() -> Result<ExitCode> {
    let root = tempfile::tempdir().context("a temporary folder")?;
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(std::env::current_exe()?)
        .env(ROOT, root.path())
        .status()
        .context("unshare (package util-linux)")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::from(2), ExitCode::from))
}

/// The namespaces, entered.
pub(crate) struct World {
    device: u64,
}

impl World {
    /// Makes the root folder and moves into it.
    pub(crate) fn enter() -> Result<World> {
        let root = PathBuf::from(std::env::var_os(ROOT).context(ROOT)?);
        let binary = std::env::var_os("TORTIE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tortie").into());
        let binary = fs::canonicalize(&binary).with_context(|| format!("TORTIE_BIN={}", binary.display()))?;
        mount(Some("tmpfs"), &root, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).context("a tmpfs (as root?)")?;
        bind_all(Path::new(""), &root)?;
        let scratch = root.join(SCRATCH.trim_start_matches('/'));
        fs::create_dir_all(scratch.join("bin"))?;
        fs::write(scratch.join("tortie"), "")?;
        bind(&binary, &scratch.join("tortie"))?;
        nix::unistd::chroot(&root).context("chroot")?;
        std::env::set_current_dir("/")?;
        let world = World { device: fs::metadata("/")?.dev() };
        for name in ["calico", "calico-ipam", "calicoctl"] {
            symlink(Path::new(SCRATCH).join("tortie"), world.program(name))?;
        }
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("ip (package iproute2)")?;
        if !up.success() {
            bail!("ip link set lo up: {up}");
        }
        Ok(world)
    }

    /// Our binary, under one of its names.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        Path::new(SCRATCH).join("bin").join(name)
    }

    /// Makes an empty folder that nobody else uses.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = Path::new(SCRATCH).join(name);
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Makes a folder at a recorded path, which must not be one of the machine's.
    pub(crate) fn recorded_folder(&self, path: &Path) -> Result<()> {
        let present = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
        if !path.is_absolute() || fs::metadata(present)?.dev() != self.device {
            bail!(
                "{} is in a folder of this machine's: recordings may use /opt, /run, /var/lib or new ones",
                path.display()
            );
        }
        fs::create_dir_all(path).with_context(|| path.display().to_string())
    }

    /// Puts our plugins where a runtime looks for them, beside those of Debian's that we do not have.
    pub(crate) fn install_plugins(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            return Ok(());
        }
        self.recorded_folder(folder)?;
        for name in ["calico", "calico-ipam"] {
            symlink(self.program(name), folder.join(name))?;
        }
        for entry in fs::read_dir("/usr/lib/cni").into_iter().flatten() {
            let entry = entry?;
            symlink(entry.path(), folder.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Makes a network namespace at a recorded path, unless it is there.
    pub(crate) fn make_netns(&self, path: &Path) -> Result<()> {
        if path.exists() {
            return Ok(());
        }
        self.recorded_folder(path.parent().unwrap_or(Path::new("/")))?;
        fs::write(path, "")?;
        let mut argument = std::ffi::OsString::from("--net=");
        argument.push(path);
        let made = Command::new("unshare").arg(argument).arg("true").status().context("unshare")?;
        if !made.success() {
            bail!("no network namespace at {}: {made}", path.display());
        }
        Ok(())
    }

    /// Removes a network namespace, if it is there.
    pub(crate) fn remove_netns(&self, path: &Path) -> Result<()> {
        if path.exists() {
            nix::mount::umount(path).with_context(|| format!("umount {}", path.display()))?;
            fs::remove_file(path)?;
        }
        Ok(())
    }
}

/// Binds what is below a folder of the machine's root into the world's, except what the world has of its own.
fn bind_all(folder: &Path, root: &Path) -> Result<()> {
    for entry in fs::read_dir(Path::new("/").join(folder))? {
        let entry = entry?;
        let inside = folder.join(entry.file_name());
        let target = root.join(&inside);
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if OWN.iter().any(|own| inside == Path::new(own)) {
            fs::create_dir(&target)?;
        } else if kind.is_dir() {
            fs::create_dir(&target)?;
            if OWN.iter().any(|own| Path::new(own).starts_with(&inside)) {
                bind_all(&inside, root)?;
            } else {
                bind(&entry.path(), &target)?;
            }
        }
    }
    Ok(())
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    mount(Some(source), target, None::<&str>, flags, None::<&str>)
        .with_context(|| format!("bind {} to {}", source.display(), target.display()))
}
