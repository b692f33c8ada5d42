//! The last step before a container's program: its own view of the file system, then exec.

use crate::mount;
use crate::pod::PodRecord;
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::unistd::{chdir, sethostname};
use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// Where a pod's programs are looked for.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Becomes the container's program, or writes to `starts` why not.
pub(super) fn run(record: &Path, starts: RawFd) -> Result<()> {
    // SAFETY: the init that started this process left the descriptor open for it alone.
    let mut starts = unsafe { File::from_raw_fd(starts) };
    // SAFETY: fcntl is a bare system call.
    Errno::result(unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&starts), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    let error = match become_program(record) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    write!(starts, "{error:#}")?;
    Err(error)
}

fn become_program(path: &Path) -> Result<Infallible> {
    let record: PodRecord = serde_json::from_slice(&fs::read(path)?)?;
    let container = &record.pod.container;
    let name = &record.pod.name.name;
    // a host name has at most 64 bytes, a pod's name may have more
    sethostname(&name[..name.len().min(64)]).context("set the host name")?;
    mount::follow_machine()?;
    mount::proc()?;
    mount::sys(Path::new(super::host::SCRATCH))?;
    for file in ["hosts", "hostname"] {
        mount::bind(&path.with_extension(file), &Path::new("/etc").join(file))?;
    }
    mount::tmpfs(Path::new("/run"), "755")?;
    mount::tmpfs(Path::new("/tmp"), "1777")?;
    let directory = container.working_directory.as_deref().unwrap_or("/");
    chdir(directory).with_context(|| format!("spec.containers[0].workingDir {directory:?}"))?;
    let (program, arguments) = container.command.split_first().context("spec.containers[0].command: is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", SEARCH_PATH).env("HOME", "/root").env("HOSTNAME", name);
    command.envs(&container.environment);
    let error = command.exec();
    let reason = if error.kind() == ErrorKind::NotFound {
        "executable file not found in $PATH".to_owned()
    } else {
        error.to_string()
    };
    bail!("spec.containers[0].command {program:?}: {reason}")
}
