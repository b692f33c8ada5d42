//! A client of BIRD's control protocol (control reference §3.5), which the agent answers as BIRD does.

use super::World;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// How long the agent may take for a line.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connects to the first control socket that somebody serves.
pub(super) fn connect(world: &World<'_>, name: &str) -> Option<UnixStream> {
    world.bird.iter().find_map(|folder| UnixStream::connect(folder.join(name)).ok())
}

/// A conversation in BIRD's control protocol.
pub(super) struct Conversation(BufReader<UnixStream>);

/// What a command was answered.
pub(super) enum Answer {
    /// The rows, without their codes and heading.
    Lines(Vec<String>),
    /// The other side does not know or refuses the command, and says so.
    Refused(String),
}

impl Answer {
    /// The rows; a refusal is an error.
    pub(super) fn lines(self) -> io::Result<Vec<String>> {
        match self {
            Answer::Lines(lines) => Ok(lines),
            Answer::Refused(reason) => Err(io::Error::other(reason)),
        }
    }
}

impl Conversation {
    /// Waits for the greeting.
    pub(super) fn open(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut stream = BufReader::new(stream);
        let banner = read_line(&mut stream)?;
        if !banner.starts_with("0001") {
            return Err(io::Error::other(format!("unexpected greeting {banner:?}")));
        }
        Ok(Conversation(stream))
    }

    /// Gives a command.
    pub(super) fn ask(&mut self, command: &str) -> io::Result<Answer> {
        self.0.get_mut().write_all(format!("{command}\n").as_bytes())?;
        let mut rows = Vec::new();
        loop {
            let line = read_line(&mut self.0)?;
            match line.get(..4) {
                Some("0000") => return Ok(Answer::Lines(rows)),
                Some("2002") => {}
                Some("1000" | "1002" | "1099") => rows.push(line.get(5..).unwrap_or_default().to_owned()),
                Some(code) if code.starts_with(['8', '9']) => return Ok(Answer::Refused(line)),
                _ if line.starts_with(' ') => rows.push(line.trim_start().to_owned()),
                _ => return Err(io::Error::other(format!("unexpected line {line:?}"))),
            }
        }
    }
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
pub(super) fn serve(path: &std::path::Path, answers: &'static [&'static str]) -> std::thread::JoinHandle<Vec<String>> {
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
