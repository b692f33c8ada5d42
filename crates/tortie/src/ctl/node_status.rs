//! node status: whether the agent runs, and what it says of its BGP sessions (control reference §3.5, §5.8).
//!
//! What calicoctl does not tell, the form of `tunl0` and what is not enforced, are lines after all that it does.

use super::bird::{Answer, Conversation, Trouble};
use super::{Failed, Output, World, table};
use crate::node::bird_socket::PROBLEMS;
use crate::node::process::agent_runs;

pub(super) fn run(world: &World<'_>) -> Result<Output, Failed> {
    if !agent_runs(&world.proc).map_err(|error| Failed(format!("list processes: {error}")))? {
        return Err(Failed("Calico process is not running.".to_owned()));
    }
    let mut text = "Calico process is running.\n".to_owned();
    let ask = |name: &str| {
        let mut agent = Conversation::open(world, name)?;
        let rows = agent.rows("show protocols")?;
        // BIRD does not know these, and nothing else depends on them
        let [tunnel, problems] = ["show tunl0", PROBLEMS].map(|command| match agent.ask(command) {
            Ok(Answer::Lines(lines)) => lines,
            Ok(Answer::Refused(_)) | Err(_) => Vec::new(),
        });
        Ok(Told { rows, tunnel, problems })
    };
    let told = match ask("bird.ctl") {
        Ok(told) => told,
        Err(trouble @ (Trouble::Missing(_) | Trouble::Refused(_))) => {
            text += "\nThe BGP backend process (BIRD) is not running.\n";
            if let Trouble::Refused(path) = trouble {
                text += &format!("{}: nobody listens there; a process that has ended left it.\n", path.display());
            }
            // an agent without BGP is somewhere else
            return match ask("tortie.ctl") {
                Ok(told) => Ok(Output::success(text + "\n" + &told.own())),
                Err(Trouble::Missing(_) | Trouble::Refused(_)) => Ok(Output::success(text)),
                Err(trouble) => Ok(failure(text, &trouble)),
            };
        }
        Err(trouble) => return Ok(failure(text, &trouble)),
    };
    text += &family("IPv4", &peers(&told.rows, '.'));
    let rows = match ask("bird6.ctl") {
        Ok(told) => told.rows,
        Err(Trouble::Missing(_) | Trouble::Refused(_)) => Vec::new(),
        Err(trouble) => return Ok(failure(text, &trouble)),
    };
    text += &family("IPv6", &peers(&rows, ':'));
    text.push('\n');
    // where BIRD answers, an agent may run beside it
    let agent = if told.is_the_agents() { Some(told) } else { ask("tortie.ctl").ok() };
    text += &agent.map(|told| told.own()).unwrap_or_default();
    Ok(Output::success(text))
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

/// What is known so far, and why there is no more.
fn failure(stdout: String, trouble: &Trouble) -> Output {
    let stderr = format!("Error executing command: ask the agent for its BGP peers: {trouble}\n");
    Output { stdout, stderr, code: 1 }
}

/// The BGP peers among the rows, as cells; `separator` stands for the underscores in a peer's name, and a port of its
/// own is written as in a BGPPeer's `peerIP`.
fn peers(rows: &[String], separator: char) -> Vec<Vec<String>> {
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

fn family(name: &str, peers: &[Vec<String>]) -> String {
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
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::{Duration, Instant};
    use std::{fs, io};
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
        let mut stdin = io::empty();
        let world = World {
            variable: &|_| None,
            stdin: std::cell::RefCell::new(&mut stdin),
            store: None,
            bird: vec![folder.path().to_owned()],
            proc: folder.path().to_owned(),
        };
        run(&world).expect("a status")
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
