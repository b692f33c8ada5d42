//! bgp peers: this node's peers, a line each, with why there is no session where there is none.
//!
//! `node status` has BIRD's words; here the agent says what it knows.

use super::args::BgpPeers;
use super::bird::Conversation;
use super::{Failed, Output, World, format, table};
use crate::node::bird_socket::PEERS;
use crate::node::sessions::Peer;

pub(super) fn run(args: &BgpPeers, world: &World<'_>) -> Result<Output, Failed> {
    let failed = |error: String| Failed(format!("Error executing command: ask the agent for its BGP peers: {error}"));
    let json = format::wants_json(&args.output)?;
    let asked = Conversation::open(world, "bird.ctl").and_then(|mut agent| agent.rows(PEERS));
    let rows = asked.map_err(|error| failed(error.to_string()))?;
    let peers: Result<Vec<Peer>, _> = rows.iter().map(|row| serde_json::from_str(row)).collect();
    let peers = peers.map_err(|error| failed(error.to_string()))?;
    if !json {
        return Ok(Output::success(shown(&peers)));
    }
    let text = serde_json::to_string_pretty(&peers).map_err(|error| failed(error.to_string()))?;
    Ok(Output::success(text + "\n"))
}

fn shown(peers: &[Peer]) -> String {
    if peers.is_empty() {
        return "No BGP peers are configured for this node.\n".to_owned();
    }
    let heading = ["PEER", "TYPE", "AS", "STATE", "SINCE", "ROUTES", "CAUSE"].map(str::to_owned).to_vec();
    let row = |peer: &Peer| {
        vec![
            peer.address.clone(),
            peer.kind.clone(),
            peer.asn.to_string(),
            peer.state.clone(),
            peer.since.clone(),
            format!("{}/{}", peer.received, peer.announced),
            peer.cause.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = std::iter::once(heading).chain(peers.iter().map(row)).collect();
    let lines = table::aligned(&rows);
    lines.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctl::bird;
    use crate::ctl::tests::world;

    fn ask(answers: &'static [&'static str], output: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bird.ctl");
        let server = (!answers.is_empty()).then(|| bird::serve(&path, answers));
        let args = BgpPeers { output: output.to_owned() };
        let said = world(folder.path(), |world| run(&args, world));
        if let Some(server) = server {
            assert_eq!(server.join().expect("the server ends"), ["show peers"]);
        }
        let folder = folder.path().display().to_string();
        said.map(|output| output.stdout).map_err(|Failed(reason)| reason.replace(&folder, "DIR"))
    }

    const ANSWER: &str = concat!(
        r#"1099-{"address":"10.0.0.9:1179","kind":"global","asn":65001,"state":"Active","since":"05:17:26","received":0,"#,
        r#""announced":0,"cause":"connection refused: nothing listens at 10.0.0.9 port 1179"}"#,
        "\n",
        r#"1099-{"address":"192.168.10.101","kind":"mesh","asn":64512,"state":"Established","since":"05:17:20","#,
        r#""received":2,"announced":1,"cause":""}"#,
        "\n0000 \n"
    );

    #[test]
    fn a_line_for_each_peer() {
        assert_eq!(
            ask(&[ANSWER], "ps").expect("a table"),
            "\
PEER             TYPE     AS      STATE         SINCE      ROUTES   CAUSE
10.0.0.9:1179    global   65001   Active        05:17:26   0/0      connection refused: nothing listens at 10.0.0.9 port 1179
192.168.10.101   mesh     64512   Established   05:17:20   2/1
"
        );
        let json = ask(&[ANSWER], "json").expect("JSON");
        let peers: Vec<Peer> = serde_json::from_str(&json).expect("a list of peers");
        assert_eq!(peers.len(), 2);
        assert_eq!(ask(&["0000 \n"], "ps").expect("a line"), "No BGP peers are configured for this node.\n");
    }

    #[test]
    fn nobody_answers() {
        let expect = "Error executing command: ask the agent for its BGP peers: nobody answers at DIR/bird.ctl: is it \
                      running?";
        assert_eq!(ask(&[], "ps"), Err(expect.to_owned()));
        let expect = "unrecognized output format 'csv': ps or json is expected";
        assert_eq!(ask(&[], "csv"), Err(expect.to_owned()));
    }
}
