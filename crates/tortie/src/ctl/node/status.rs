//! node status: whether the agent runs, and what it says of its BGP sessions (control reference §3.5, §5.8).
//!
//! What calicoctl does not tell, the form of `tunl0` and what is not enforced, are lines after all that it does.

use super::super::args::Status;
use super::super::bird::{Answer, Conversation, Trouble};
use super::super::{Failed, Output, World, format, table};
use crate::node::bird_socket::PROBLEMS;
use crate::node::process::agent_runs;
use serde_json::{Value, json};

pub(super) fn run(args: &Status, world: &World<'_>) -> Result<Output, Failed> {
    let json = format::wants_json(&args.output)?;
    let state = State::look(world)?;
    let stderr = state
        .trouble
        .as_ref()
        .map(|trouble| format!("Error executing command: ask the agent for its BGP peers: {trouble}\n"));
    let code = u8::from(stderr.is_some());
    let stdout = if json { format!("{:#}\n", state.json()) } else { state.text() };
    Ok(Output { stdout, stderr: stderr.unwrap_or_default(), code })
}

/// What `node status` prints, with the reason where it does not know more.
pub(super) fn text(world: &World<'_>) -> Result<String, Failed> {
    let state = State::look(world)?;
    let trouble = state.trouble.as_ref().map(|trouble| format!("{trouble}\n"));
    Ok(state.text() + &trouble.unwrap_or_default())
}

/// A peer's address, type, state, since when, and what there is to say.
type Peer = Vec<String>;

/// What is known of BGP on this node.
enum Bgp {
    /// Whoever speaks it does not answer.
    Unknown,
    /// Nobody speaks it; a process that has ended may have left a socket there.
    NotRunning(Option<String>),
    /// The peers of IPv4, and of IPv6 if they are known.
    Peers(Vec<Peer>, Option<Vec<Peer>>),
}

/// What is known of this node's agent, which runs.
struct State {
    bgp: Bgp,
    /// What an agent of ours says.
    own: Option<Told>,
    /// Why not more is known.
    trouble: Option<Trouble>,
}

impl State {
    fn look(world: &World<'_>) -> Result<State, Failed> {
        if !agent_runs(&world.proc).map_err(|error| Failed(format!("list processes: {error}")))? {
            return Err(Failed("Calico process is not running.".to_owned()));
        }
        let ask = |name: &str| Told::ask(world, name);
        let mut state = State { bgp: Bgp::Unknown, own: None, trouble: None };
        let told = match ask("bird.ctl") {
            Ok(told) => told,
            Err(trouble @ (Trouble::Missing(_) | Trouble::Refused(_))) => {
                let left = if let Trouble::Refused(path) = trouble { Some(path.display().to_string()) } else { None };
                state.bgp = Bgp::NotRunning(left);
                // an agent without BGP is somewhere else
                match ask("tortie.ctl") {
                    Ok(told) => state.own = Some(told),
                    Err(Trouble::Missing(_) | Trouble::Refused(_)) => {}
                    Err(trouble) => state.trouble = Some(trouble),
                }
                return Ok(state);
            }
            Err(trouble) => return Ok(State { trouble: Some(trouble), ..state }),
        };
        let v4 = peers(&told.rows, '.');
        let v6 = match ask("bird6.ctl") {
            Ok(told) => told.rows,
            Err(Trouble::Missing(_) | Trouble::Refused(_)) => Vec::new(),
            Err(trouble) => return Ok(State { bgp: Bgp::Peers(v4, None), trouble: Some(trouble), ..state }),
        };
        state.bgp = Bgp::Peers(v4, Some(peers(&v6, ':')));
        // where BIRD answers, an agent may run beside it
        state.own = if told.is_the_agents() { Some(told) } else { ask("tortie.ctl").ok() };
        Ok(state)
    }

    fn text(&self) -> String {
        let mut text = "Calico process is running.\n".to_owned();
        match &self.bgp {
            Bgp::Unknown => {}
            Bgp::NotRunning(left) => {
                text += "\nThe BGP backend process (BIRD) is not running.\n";
                if let Some(path) = left {
                    text += &format!("{path}: nobody listens there; a process that has ended left it.\n");
                }
                text += if self.own.is_some() { "\n" } else { "" };
            }
            Bgp::Peers(v4, v6) => {
                text += &family("IPv4", v4);
                if let Some(v6) = v6 {
                    text += &format!("{}\n", family("IPv6", v6));
                }
            }
        }
        text + &self.own.as_ref().map(Told::own).unwrap_or_default()
    }

    fn json(&self) -> Value {
        let peer = |peer: &Peer| json!({"address": peer[0], "type": peer[1], "state": peer[2], "since": peer[3], "info": peer[4]});
        let peers = |peers: &[Peer]| peers.iter().map(peer).collect::<Vec<_>>();
        let bgp = match &self.bgp {
            Bgp::Unknown | Bgp::NotRunning(_) => None,
            Bgp::Peers(v4, v6) => Some(json!({"ipv4": peers(v4), "ipv6": v6.as_deref().map(peers)})),
        };
        let own = |lines: fn(&Told) -> &Vec<String>| self.own.as_ref().map(lines);
        json!({
            "running": true,
            "bgp": bgp,
            "tunnel": own(|told| &told.tunnel),
            "problems": own(|told| &told.problems),
        })
    }
}

/// What the agent says of itself.
struct Told {
    /// BIRD's table of protocols.
    rows: Vec<String>,
    /// What `tunl0` is.
    tunnel: Vec<String>,
    /// What an operator has to know.
    problems: Vec<String>,
}

impl Told {
    fn ask(world: &World<'_>, name: &str) -> Result<Told, Trouble> {
        let mut agent = Conversation::open(world, name)?;
        let rows = agent.rows("show protocols")?;
        // BIRD does not know these, and nothing else depends on them
        let [tunnel, problems] = ["show tunl0", PROBLEMS].map(|command| match agent.ask(command) {
            Ok(Answer::Lines(lines)) => lines,
            Ok(Answer::Refused(_)) | Err(_) => Vec::new(),
        });
        Ok(Told { rows, tunnel, problems })
    }

    /// Whether it is an agent that answered: BIRD has no tunnel to tell of.
    fn is_the_agents(&self) -> bool {
        !self.tunnel.is_empty()
    }

    /// The lines that calicoctl has not.
    fn own(&self) -> String {
        let tunnel = self.tunnel.iter().map(|line| format!("IPIP tunnel: {line}.\n"));
        tunnel.chain(self.problems.iter().map(|line| format!("WARNING: {line}.\n"))).collect()
    }
}

/// The BGP peers among the rows, as cells; `separator` stands for the underscores in a peer's name, and a port of its
/// own is written as in a BGPPeer's `peerIP`.
fn peers(rows: &[String], separator: char) -> Vec<Peer> {
    let peer = |row: &String| {
        let words: Vec<&str> = row.split_whitespace().collect();
        let [name, "BGP", _, state, since, info @ ..] = words.as_slice() else { return None };
        let (kind, address) = name.split_once('_')?;
        let kind = match kind {
            "Mesh" => "node-to-node mesh",
            "Node" => "node specific",
            "Global" => "global",
            _ => return None,
        };
        let address = match address.split_once("_port_") {
            None => address.replace('_', &separator.to_string()),
            Some((address, port)) if separator == ':' => format!("[{}]:{port}", address.replace('_', ":")),
            Some((address, port)) => format!("{}:{port}", address.replace('_', &separator.to_string())),
        };
        Some(vec![address, kind.to_owned(), (*state).to_owned(), (*since).to_owned(), info.join(" ")])
    };
    rows.iter().filter_map(peer).collect()
}

fn family(name: &str, peers: &[Peer]) -> String {
    let title = format!("\n{name} BGP status\n");
    if peers.is_empty() {
        return format!("{title}No {name} peers found.\n");
    }
    let heading = ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(peers.iter().cloned()).collect();
    title + &table::boxed(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::bird;
    use crate::ctl::tests::world;
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};
    use tempfile::TempDir;

    /// A folder with the process of an agent in it.
    fn host() -> TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let process = folder.path().join("7");
        fs::create_dir(&process).expect("a process");
        fs::write(process.join("cmdline"), "tortie\0node\0").expect("its command line");
        folder
    }

    /// What node status prints on a host.
    fn output(folder: &TempDir) -> Output {
        let status = Status { output: "ps".to_owned() };
        world(folder.path(), |world| run(&status, world).expect("a status"))
    }

    /// What node status prints of an agent that gives these answers.
    fn status(answers: &'static [&'static str]) -> String {
        let folder = host();
        let server = bird::serve(&folder.path().join("bird.ctl"), answers);
        let output = output(&folder);
        let asked = ["show protocols", "show tunl0", "show problems"];
        assert_eq!(server.join().expect("the server ends"), asked[..answers.len()]);
        output.stdout
    }

    /// Standard output and error, with the folder's name replaced.
    fn said(folder: &TempDir) -> (String, String) {
        let Output { stdout, stderr, code } = output(folder);
        assert_eq!(code, u8::from(!stderr.is_empty()));
        let plain = |text: String| text.replace(&folder.path().display().to_string(), "DIR");
        (plain(stdout), plain(stderr))
    }

    #[test]
    fn an_agent_that_does_not_answer() {
        let folder = host();
        let path = folder.path().join("bird.ctl");
        let listener = UnixListener::bind(&path).expect("a socket");
        let own = std::process::id();
        let begun = Instant::now();
        let (stdout, stderr) = said(&folder);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(stdout, "Calico process is running.\n");
        let expect = "Error executing command: ask the agent for its BGP peers: the agent, process PID, does not answer at \
                      DIR/bird.ctl within 2 s: ";
        let expect = expect.replace("PID", &own.to_string());
        assert_eq!(stderr, format!("{expect}it hangs or is overloaded\n"));
        let process = folder.path().join(own.to_string());
        fs::create_dir(&process).expect("its process");
        fs::write(process.join("stat"), format!("{own} (tortie (x)) T 1 2 3\n")).expect("its state");
        assert_eq!(said(&folder).1, format!("{expect}it is stopped, and goes on at a SIGCONT\n"));
        drop(listener);
    }

    #[test]
    fn an_agent_that_too_many_wait_for() {
        let folder = host();
        let path = folder.path().join("bird.ctl");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).expect("a path")).expect("an address");
        listen(&listener, Backlog::new(1).expect("a queue")).expect("a listener");
        let waiting: Vec<UnixStream> = (0..2).map(|_| UnixStream::connect(&path).expect("a place")).collect();
        let (_, stderr) = said(&folder);
        let expect = "Error executing command: ask the agent for its BGP peers: the agent does not answer at \
                      DIR/bird.ctl within 2 s: too many wait for it\n";
        assert_eq!(stderr, expect);
        drop(waiting);
    }

    #[test]
    fn a_socket_that_nobody_serves() {
        let folder = host();
        let none = "Calico process is running.\n\nThe BGP backend process (BIRD) is not running.\n";
        assert_eq!(said(&folder), (none.to_owned(), String::new()));
        drop(UnixListener::bind(folder.path().join("bird.ctl")).expect("a socket"));
        let left = format!("{none}DIR/bird.ctl: nobody listens there; a process that has ended left it.\n");
        assert_eq!(said(&folder), (left, String::new()));
    }

    #[test]
    fn what_is_not_enforced_comes_last() {
        let text = status(&[
            PROTOCOLS,
            "1000-tunl0 is the kernel's\n0000 \n",
            "1000-network policy is not enforced: NetworkPolicy web/deny\n0000 \n",
        ]);
        let lines =
            "IPIP tunnel: tunl0 is the kernel's.\nWARNING: network policy is not enforced: NetworkPolicy web/deny.\n";
        assert_eq!(text, format!("{TEXT}{lines}"));
        assert_eq!(
            status(&[PROTOCOLS, "1000-not in use\n0000 \n", "0000 \n"]),
            format!("{TEXT}IPIP tunnel: not in use.\n")
        );
    }

    const PROTOCOLS: &str = "2002-name     proto    table    state  since       info\n\
                             1002-static1  Static   master   up     05:17:00    \n \
                             kernel1  Kernel   master   up     05:17:00    \n \
                             Mesh_192_168_10_101 BGP      master   up     05:17:26    Established   \n \
                             Global_10_0_0_1 BGP      master   start  2026-11-24  Active        Socket: Connection refused\n\
                             0000 \n";

    const TEXT: &str = "\
Calico process is running.

IPv4 BGP status
+----------------+-------------------+-------+------------+-----------------------------------+
|  PEER ADDRESS  |     PEER TYPE     | STATE |   SINCE    |               INFO                |
+----------------+-------------------+-------+------------+-----------------------------------+
| 192.168.10.101 | node-to-node mesh | up    | 05:17:26   | Established                       |
| 10.0.0.1       | global            | start | 2026-11-24 | Active Socket: Connection refused |
+----------------+-------------------+-------+------------+-----------------------------------+

IPv6 BGP status
No IPv6 peers found.

";

    #[test]
    fn birds_answer_is_shown_as_calicoctl_does() {
        assert_eq!(status(&[PROTOCOLS, "9001 syntax error, unexpected CF_SYM_UNDEFINED\n"]), TEXT);
    }

    #[test]
    fn the_form_of_the_tunnel_comes_last() {
        let text = status(&[
            PROTOCOLS,
            "1000-tunl0 is a veth pair with BPF programs (the kernel has no ipip module)\n0000 \n",
        ]);
        let line = "IPIP tunnel: tunl0 is a veth pair with BPF programs (the kernel has no ipip module).\n";
        assert_eq!(text, format!("{TEXT}{line}"));
    }

    #[test]
    fn a_port_of_its_own_is_written_as_in_a_bgppeer() {
        for (name, separator, expect) in [
            ("Node_10_0_0_2_port_166", '.', "10.0.0.2:166"),
            ("Node_ac13__57_port_50", ':', "[ac13::57]:50"),
            ("Node_ac13__57", ':', "ac13::57"),
        ] {
            let rows = peers(&[format!("{name} BGP      master   start  05:17:27    Passive")], separator);
            assert_eq!(rows[0][0], expect);
        }
    }
}
