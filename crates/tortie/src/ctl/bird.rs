//! A client of BIRD's control protocol (control reference §3.5), which the agent answers as BIRD does.

use super::World;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_to, getsockopt, socket, sockopt::PeerCredentials,
};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the agent may take for a line.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no conversation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Nobody ever served a control socket here.
    #[error("nobody answers at {}: is it running?", among(.0))]
    Missing(Vec<PathBuf>),
    /// Whoever served it has ended.
    #[error("nobody answers at {}, which a process that has ended left behind: is it running?", .0.display())]
    Refused(PathBuf),
    /// It is not for this user.
    #[error("{}: permission denied: run it as root", .0.display())]
    Denied(PathBuf),
    /// It is served, but not in time.
    #[error("{who} does not answer at {} within {} s: {state}", path.display(), PATIENCE.as_secs())]
    Silent { who: String, path: PathBuf, state: &'static str },
    /// What it answers makes no sense, or the connection failed.
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
}

fn among(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" or ")
}

/// A conversation in BIRD's control protocol.
pub(super) struct Conversation<'a> {
    stream: BufReader<UnixStream>,
    path: PathBuf,
    /// Where processes are shown.
    proc: &'a Path,
}

/// What a command was answered.
pub(super) enum Answer {
    /// The rows, without their codes and heading.
    Lines(Vec<String>),
    /// The other side does not know or refuses the command, and says so.
    Refused(String),
}

impl<'a> Conversation<'a> {
    /// Connects to the first control socket of that name that somebody serves, and waits for the greeting.
    pub(super) fn open(world: &'a World<'_>, name: &str) -> Result<Self, Trouble> {
        let paths: Vec<PathBuf> = world.bird.iter().map(|folder| folder.join(name)).collect();
        let mut trouble = Trouble::Missing(paths.clone());
        for path in paths {
            match connect(&path) {
                Ok(stream) => {
                    return Conversation { stream: BufReader::new(stream), path, proc: &world.proc }.greeted();
                }
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(Errno::ECONNREFUSED) => trouble = Trouble::Refused(path),
                Err(Errno::EACCES | Errno::EPERM) => return Err(Trouble::Denied(path)),
                // the queue of those who wait to be heard is full
                Err(Errno::EAGAIN) => {
                    return Err(Trouble::Silent { who: "the agent".to_owned(), path, state: "too many wait for it" });
                }
                Err(errno) => return Err(Trouble::Io { path, cause: errno.into() }),
            }
        }
        Err(trouble)
    }

    fn greeted(mut self) -> Result<Self, Trouble> {
        let stream = self.stream.get_ref();
        let set = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        set.map_err(|error| self.trouble(error))?;
        let banner = self.read_line()?;
        if !banner.starts_with("0001") {
            return Err(self.trouble(io::Error::other(format!("unexpected greeting {banner:?}"))));
        }
        Ok(self)
    }

    /// Gives a command.
    pub(super) fn ask(&mut self, command: &str) -> Result<Answer, Trouble> {
        let written = self.stream.get_mut().write_all(format!("{command}\n").as_bytes());
        written.map_err(|error| self.trouble(error))?;
        let mut rows = Vec::new();
        loop {
            let line = self.read_line()?;
            match line.get(..4) {
                Some("0000") => return Ok(Answer::Lines(rows)),
                Some("2002") => {}
                Some("1000" | "1002" | "1099") => rows.push(line.get(5..).unwrap_or_default().to_owned()),
                Some(code) if code.starts_with(['8', '9']) => return Ok(Answer::Refused(line)),
                _ if line.starts_with(' ') => rows.push(line.trim_start().to_owned()),
                _ => return Err(self.trouble(io::Error::other(format!("unexpected line {line:?}")))),
            }
        }
    }

    /// Gives a command that the other side must know; returns its rows.
    pub(super) fn rows(&mut self, command: &str) -> Result<Vec<String>, Trouble> {
        match self.ask(command)? {
            Answer::Lines(rows) => Ok(rows),
            Answer::Refused(reason) => Err(self.trouble(io::Error::other(reason))),
        }
    }

    fn read_line(&mut self) -> Result<String, Trouble> {
        read_line(&mut self.stream).map_err(|error| self.trouble(error))
    }

    fn trouble(&self, cause: io::Error) -> Trouble {
        let path = self.path.clone();
        if !matches!(cause.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            return Trouble::Io { path, cause };
        }
        let pid = getsockopt(self.stream.get_ref(), PeerCredentials).map_or(0, |peer| peer.pid());
        let stat = std::fs::read_to_string(self.proc.join(pid.to_string()).join("stat")).unwrap_or_default();
        let stopped = stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with(['T', 't']));
        let state = if stopped { "it is stopped, and goes on at a SIGCONT" } else { "it hangs or is overloaded" };
        let who = if pid > 0 { format!("the agent, process {pid},") } else { "the agent".to_owned() };
        Trouble::Silent { who, path, state }
    }
}

/// Connects without waiting for a place in the queue.
fn connect(path: &Path) -> Result<UnixStream, Errno> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = UnixStream::from(socket(AddressFamily::Unix, SockType::Stream, flags, None)?);
    connect_to(stream.as_raw_fd(), &UnixAddr::new(path)?)?;
    stream.set_nonblocking(false).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
    Ok(stream)
}

fn read_line(stream: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")),
        _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

/// Serves one client the given answers, in order; returns what it asked.
#[cfg(test)]
pub(super) fn serve(path: &Path, answers: &'static [&'static str]) -> std::thread::JoinHandle<Vec<String>> {
    let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut lines = BufReader::new(stream);
        lines.get_mut().write_all(b"0001 BIRD v0.3.3+birdv1.6.8 ready.\n").expect("the greeting");
        let mut asked = Vec::new();
        for answer in answers {
            asked.push(read_line(&mut lines).expect("a command"));
            lines.get_mut().write_all(answer.as_bytes()).expect("the answer");
        }
        asked
    })
}
