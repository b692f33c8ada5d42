//! BIRD's control socket, answered by the agent: `show protocols` and `show status` (control reference §3.5), and
//! `show peers`, `show tunl0` and `show problems`, which BIRD has not.
//!
//! `calicoctl node status`, Calico's as well as ours, and operators' scripts ask it.

use super::sessions::Peer;
use std::io;
use std::path::Path;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// One BGP session, as the table shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// `Mesh_192_168_10_101`, `Global_…`, `Node_…`.
    pub(crate) name: String,
    /// Whether the session is Established.
    pub(crate) up: bool,
    /// Local time of the last change, `HH:MM:SS`, or the day when it was another.
    pub(crate) since: String,
    /// `Established`, or the state and the last error.
    pub(crate) info: String,
}

/// Answers clients of the socket at `path`; `peers`, `tunnel` and `problem` are asked anew for each command.
///
/// A socket left behind by a dead agent is replaced.
pub(crate) async fn serve(
    path: &Path,
    peers: impl AsyncFn() -> Vec<(Row, Peer)>,
    tunnel: impl Fn() -> Option<String>,
    problem: impl Fn() -> Option<String>,
) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        if let Err(error) = converse(stream, &peers, &tunnel, &problem).await {
            tracing::debug!(%error, "a client of the control socket went away");
        }
    }
}

/// One client at a time: its commands are short and its answers small.
async fn converse(
    stream: UnixStream,
    peers: &impl AsyncFn() -> Vec<(Row, Peer)>,
    tunnel: &impl Fn() -> Option<String>,
    problem: &impl Fn() -> Option<String>,
) -> io::Result<()> {
    let patience = std::time::Duration::from_secs(5);
    let mut stream = BufReader::new(stream);
    let banner = format!("0001 BIRD {} ready.\n", env!("CARGO_PKG_VERSION"));
    stream.get_mut().write_all(banner.as_bytes()).await?;
    let mut line = String::new();
    loop {
        line.clear();
        match tokio::time::timeout(patience, stream.read_line(&mut line)).await {
            Ok(Ok(0)) | Err(_) => return Ok(()),
            Ok(read) => read?,
        };
        let answer = match line.trim() {
            "show protocols" => protocols(&peers().await.into_iter().map(|(row, _)| row).collect::<Vec<_>>()),
            PEERS => described(&peers().await.into_iter().map(|(_, peer)| peer).collect::<Vec<_>>()),
            "show status" => status(),
            "show tunl0" => format!("1000-{}\n0000 \n", tunnel().unwrap_or_else(|| "not in use".to_owned())),
            PROBLEMS => problem().map(|line| format!("1000-{line}\n")).unwrap_or_default() + "0000 \n",
            _ => "9001 syntax error, unexpected command\n".to_owned(),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

/// The table as BIRD 1.6 prints it: 2002 heads it, 1002 starts the rows, a blank continues them, 0000 ends.
fn protocols(rows: &[Row]) -> String {
    let mut text =
        format!("2002-{:<8} {:<8} {:<8} {:<5}  {:<10}  {}\n", "name", "proto", "table", "state", "since", "info");
    let fixed = ["static1:Static", "kernel1:Kernel", "device1:Device", "direct1:Direct"].map(|pair| {
        let (name, proto) = pair.split_once(':').unwrap_or((pair, ""));
        (name.to_owned(), proto, true, "00:00:00".to_owned(), String::new())
    });
    let sessions = rows.iter().map(|row| (row.name.clone(), "BGP", row.up, row.since.clone(), row.info.clone()));
    for (index, (name, proto, up, since, info)) in fixed.into_iter().chain(sessions).enumerate() {
        let lead = if index == 0 { "1002-" } else { " " };
        let state = if up { "up" } else { "start" };
        text += &format!("{lead}{name:<8} {proto:<8} {:<8} {state:<5}  {since:<10}  {info}\n", "master");
    }
    text + "0000 \n"
}

/// The command that `ctl bgp peers` sends.
pub(crate) const PEERS: &str = "show peers";
/// The command that `ctl node status` sends, to be told what an operator has to know; no line where all is well.
pub(crate) const PROBLEMS: &str = "show problems";
/// Starts each line of the answer to [`PEERS`].
pub(crate) const PEER_LINE: &str = "1099-";

/// The peers, a JSON object each.
fn described(peers: &[Peer]) -> String {
    let line =
        |peer| format!("{PEER_LINE}{}\n", serde_json::to_string(peer).expect("text and numbers have a JSON form"));
    peers.iter().map(line).collect::<String>() + "0000 \n"
}

fn status() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("1000-BIRD {version}\n1011-Router ID is set by the node's address\n0013 Daemon is up and running\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_as_birds() {
        let rows = [Row {
            name: "Mesh_192_168_10_101".to_owned(),
            up: true,
            since: "12:34:56".to_owned(),
            info: "Established".to_owned(),
        }];
        let text = protocols(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("2002-name"));
        assert!(lines[1].starts_with("1002-static1"));
        let row: Vec<&str> = lines[5].split_whitespace().collect();
        assert_eq!(row, ["Mesh_192_168_10_101", "BGP", "master", "up", "12:34:56", "Established"]);
        assert!(lines[5].starts_with(' '));
        assert_eq!(lines.last(), Some(&"0000 "));
    }
}
