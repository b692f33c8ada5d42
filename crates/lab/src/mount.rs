//! The file system that a host of the lab sees: the machine's, with some directories its own.
//!
//! All mounts are made in the caller's mount namespace and go away with it. A directory that the machine does not
//! have (`/etc/calico` on most) gets its place without a trace on the machine: its nearest existing ancestor is
//! covered by a small tmpfs in which every entry of the covered directory appears again.

use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Makes the namespace follow the machine's mounts and keep its own to itself.
pub(crate) fn follow_machine() -> Result<()> {
    propagation(MsFlags::MS_SLAVE)
}

/// Lets mounts pass between what runs on the host, as container runtimes expect; nothing reaches the machine.
pub(crate) fn share_within() -> Result<()> {
    propagation(MsFlags::MS_SHARED)
}

fn propagation(kind: MsFlags) -> Result<()> {
    mount(None::<&str>, "/", None::<&str>, kind | MsFlags::MS_REC, None::<&str>)
        .context("set the propagation of mounts")
}

/// Mounts /proc for the caller's PID namespace.
pub(crate) fn proc() -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>).context("mount /proc")
}

/// Mounts /sys for the caller's network namespace, with the machine's cgroups and a bpffs of its own.
///
/// `scratch` is an empty directory that holds the cgroup tree for a moment.
pub(crate) fn sys(scratch: &Path) -> Result<()> {
    let cgroups = Path::new("/sys/fs/cgroup");
    bind(cgroups, scratch)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>).context("mount /sys")?;
    bind(scratch, cgroups)?;
    umount2(scratch, MntFlags::MNT_DETACH).with_context(|| format!("umount {}", scratch.display()))?;
    let bpf = Path::new("/sys/fs/bpf");
    if bpf.exists() {
        mount(Some("bpf"), bpf, Some("bpf"), MsFlags::empty(), None::<&str>).context("mount /sys/fs/bpf")?;
    }
    Ok(())
}

/// Gives the caller's machine POSIX shared memory of its own: its names hold process ids, which repeat in a lab.
pub(crate) fn shared_memory() -> Result<()> {
    let place = Path::new("/dev/shm");
    if place.is_dir() { tmpfs(place, "1777") } else { Ok(()) }
}

/// Covers a directory with an empty tmpfs.
pub(crate) fn tmpfs(target: &Path, mode: &str) -> Result<()> {
    tmpfs_with(target, &format!("mode={mode}"))
}

/// Covers a directory with an empty tmpfs, private to root, that holds so many MiB.
pub(crate) fn small_tmpfs(target: &Path, mebibytes: u32) -> Result<()> {
    tmpfs_with(target, &format!("mode=700,size={mebibytes}m"))
}

fn tmpfs_with(target: &Path, options: &str) -> Result<()> {
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .with_context(|| format!("mount a tmpfs on {}", target.display()))
}

/// Shows a directory or file at another place that exists, with all that is mounted below it.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("bind {} to {}", source.display(), target.display()))
}

/// Puts private directories and files into the caller's view, creating places as needed.
#[derive(Default)]
pub(crate) struct View {
    /// Directories that are not the machine's, in which places may be made.
    own: BTreeSet<PathBuf>,
}

impl View {
    /// Shows `source` at `target`, whether the machine has that path or not.
    pub(crate) fn place(&mut self, source: &Path, target: &Path) -> Result<()> {
        if !target.exists() {
            self.make_place(target, source.is_dir())?;
        }
        bind(source, target)
    }

    fn make_place(&mut self, target: &Path, directory: bool) -> Result<()> {
        let mut missing: Vec<&Path> = target.ancestors().take_while(|path| !path.exists()).collect();
        let last = missing.last().expect("the caller saw that the target does not exist");
        let base = last.parent().context("no root directory")?.canonicalize()?;
        if !self.own.contains(&base) {
            ensure!(base != Path::new("/"), "the machine has no directory {}", last.display());
            mirror(&base)?;
            self.own.insert(base);
        }
        let leaf = missing.remove(0);
        for path in missing.into_iter().rev() {
            fs::create_dir(path).with_context(|| format!("create {}", path.display()))?;
            self.own.insert(path.canonicalize()?);
        }
        if directory { fs::create_dir(leaf) } else { File::create(leaf).map(drop) }
            .with_context(|| format!("create {}", leaf.display()))
    }
}

/// Covers a directory with a tmpfs that has the same entries, so that entries can be added.
fn mirror(directory: &Path) -> Result<()> {
    let below = File::open(directory).with_context(|| format!("open {}", directory.display()))?;
    let entries: Vec<fs::DirEntry> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    tmpfs(directory, "755")?;
    for entry in entries {
        let kind = entry.file_type()?;
        let source = PathBuf::from(format!("/proc/self/fd/{}", below.as_raw_fd())).join(entry.file_name());
        let target = directory.join(entry.file_name());
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            continue;
        }
        if kind.is_dir() { fs::create_dir(&target) } else { File::create(&target).map(drop) }
            .with_context(|| format!("create {}", target.display()))?;
        bind(&source, &target)?;
    }
    Ok(())
}
