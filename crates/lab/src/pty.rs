//! A terminal for a command, shown on the caller's own: bytes both ways, size, and the caller's modes restored.

use crate::exec::{Input, exit_code, forwarded, not_started};
use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc::{TIOCGWINSZ, TIOCSCTTY, TIOCSWINSZ};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{read, setsid, write};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// Runs a command on a new terminal and returns its exit status.
pub(crate) fn run(
    mut command: Command,
    input: Input,
    spawn: impl FnOnce(&mut Command) -> io::Result<Child>,
) -> Result<i32> {
    let size = window_size(io::stdin().as_fd());
    let OpenptyResult { master, slave } = openpty(size.as_ref(), None).context("open a terminal")?;
    command.stdin(Stdio::from(slave.try_clone()?)).stdout(Stdio::from(slave.try_clone()?)).stderr(Stdio::from(slave));
    // SAFETY: setsid and ioctl are bare system calls; descriptor 0 is the new terminal.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            Errno::result(libc::ioctl(0, TIOCSCTTY, 0)).map(drop).map_err(io::Error::from)
        });
    }
    let signals = forwarded();
    signals.thread_block()?;
    let signals = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK)?;
    let arguments = [command.get_program().to_string_lossy().into_owned()];
    let mut child = match spawn(&mut command) {
        Ok(child) => child,
        Err(error) => return not_started(&arguments, error),
    };
    // the command holds the terminal's other end; while this process does, its closing would not be seen
    drop(command);
    let raw = RawMode::enter()?;
    relay(&mut child, &master, input, &signals)?;
    drop(raw);
    Ok(exit_code(child.wait()?))
}

/// Copies bytes until the command and all that it left on the terminal have closed it.
fn relay(child: &mut Child, master: &OwnedFd, input: Input, signals: &SignalFd) -> Result<()> {
    let (stdin, stdout) = (io::stdin(), io::stdout());
    let mut input_open = input == Input::Passed;
    let mut ended = false;
    let mut buffer = [0; 16 * 1024];
    loop {
        let ready = {
            let mut wanted =
                vec![PollFd::new(master.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            if input_open {
                wanted.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
            }
            // after the command's end only what the terminal still holds is of interest
            let timeout = if ended { PollTimeout::ZERO } else { PollTimeout::NONE };
            match poll(&mut wanted, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("wait for the terminal"),
            }
            wanted.iter().map(|fd| fd.any().unwrap_or(false)).collect::<Vec<bool>>()
        };
        if ready[0] {
            match read(master, &mut buffer) {
                // EIO says that nobody has the other end open
                Ok(0) | Err(Errno::EIO) => return Ok(()),
                Ok(count) => write_all(stdout.as_fd(), &buffer[..count])?,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).context("read from the terminal"),
            }
        } else if ended {
            return Ok(());
        }
        if ready[1] {
            ended |= take_signals(child, master, signals)?;
        }
        if ready.get(2) == Some(&true) {
            match read(stdin.as_fd(), &mut buffer)? {
                0 => input_open = false,
                count => write_all(master.as_fd(), &buffer[..count])?,
            }
        }
    }
}

/// Hands on signals and the window's size; tells whether the command has ended.
fn take_signals(child: &mut Child, master: &OwnedFd, signals: &SignalFd) -> Result<bool> {
    while let Some(signal) = signals.read_signal()? {
        match Signal::try_from(signal.ssi_signo as i32) {
            Ok(Signal::SIGWINCH) => {
                if let Some(size) = window_size(io::stdin().as_fd()) {
                    // SAFETY: TIOCSWINSZ reads one winsize.
                    unsafe { libc::ioctl(master.as_raw_fd(), TIOCSWINSZ, &size) };
                }
            }
            Ok(signal @ (Signal::SIGHUP | Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT)) => {
                if let Some(process) = crate::process::Pidfd::open(child.id() as i32)? {
                    process.signal(signal)?;
                }
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(child.try_wait()?.is_some())
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).context("write to the terminal"),
        }
    }
    Ok(())
}

fn window_size(terminal: BorrowedFd<'_>) -> Option<Winsize> {
    let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ fills one winsize.
    let got = unsafe { libc::ioctl(terminal.as_raw_fd(), TIOCGWINSZ, &mut size) };
    (got == 0).then_some(size)
}

/// The caller's terminal in raw mode, until dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Result<RawMode> {
        let before = tcgetattr(io::stdin()).context("read the terminal's modes")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw).context("set the terminal's modes")?;
        Ok(RawMode(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // nothing can be done for a terminal that is gone
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
