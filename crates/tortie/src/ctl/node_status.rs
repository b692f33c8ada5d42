//! node status: whether the agent runs, and what it says of its BGP sessions (control reference §3.5, §5.8).
//!
//! What calicoctl does not tell, the form of `tunl0`, is a line after all that it does.

use super::bird::{self, Answer, Conversation};
use super::{Failed, Output, World, table};
use crate::node::process::agent_runs;
use std::io;

pub(super) fn run(world: &World<'_>) -> Result<Output, Failed> {
    if !agent_runs(&world.proc).map_err(|error| Failed(format!("list processes: {error}")))? {
        return Err(Failed("Calico process is not running.".to_owned()));
    }
    let mut text = "Calico process is running.\n".to_owned();
    let Some(stream) = bird::connect(world, "bird.ctl") else {
        text += "\nThe BGP backend process (BIRD) is not running.\n";
        return Ok(Output::success(text));
    };
    let failed =
        |error: io::Error| Failed(format!("Error executing command: ask the agent for its BGP peers: {error}"));
    let mut agent = Conversation::open(stream).map_err(failed)?;
    let rows = agent.ask("show protocols").and_then(Answer::lines).map_err(failed)?;
    // BIRD does not know it, and nothing above depends on it
    let tunnel = agent.ask("show tunl0").ok();
    text += &family("IPv4", &peers(&rows, '.'));
    let rows = match bird::connect(world, "bird6.ctl") {
        Some(stream) => Conversation::open(stream)
            .and_then(|mut agent| agent.ask("show protocols"))
            .and_then(Answer::lines)
            .map_err(failed)?,
        None => Vec::new(),
    };
    text += &family("IPv6", &peers(&rows, ':'));
    text.push('\n');
    if let Some(Answer::Lines(lines)) = tunnel {
        text += &lines.iter().map(|line| format!("IPIP tunnel: {line}.\n")).collect::<String>();
    }
    Ok(Output::success(text))
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
    use std::fs;

    /// What node status prints of an agent that gives these answers.
    fn status(answers: &'static [&'static str]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let process = folder.path().join("7");
        fs::create_dir(&process).expect("a process");
        fs::write(process.join("cmdline"), "tortie\0node\0").expect("its command line");
        let server = bird::serve(&folder.path().join("bird.ctl"), answers);
        let mut stdin = io::empty();
        let world = World {
            variable: &|_| None,
            stdin: std::cell::RefCell::new(&mut stdin),
            store: None,
            bird: vec![folder.path().to_owned()],
            proc: folder.path().to_owned(),
        };
        let output = run(&world).expect("a status");
        assert_eq!(server.join().expect("the server ends"), ["show protocols", "show tunl0"]);
        output.stdout
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
