//! The speaker's peers as an operator sees them: rows of BIRD's protocol table, and what `ctl bgp peers` shows.

use super::bgp_io::{Known, Question};
use super::bird_socket::Row;
use super::connection::CLOSED;
use bgp::wire::notification::Reason;
use bgp::{PeerKind, State, Trouble};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// A peer, as the control socket tells `ctl bgp peers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    /// Its address, with the port where that is not BGP's.
    pub(crate) address: String,
    /// `mesh`, `global` or `node`.
    pub(crate) kind: String,
    /// The AS it should be in.
    pub(crate) asn: u32,
    /// State of its session.
    pub(crate) state: String,
    /// Since when.
    pub(crate) since: String,
    /// How many routes it announces.
    pub(crate) received: usize,
    /// How many routes it is told.
    pub(crate) announced: usize,
    /// One line about why there is no session; empty while there is one.
    pub(crate) cause: String,
}

/// Asks the speaker; nothing when it is gone.
pub(crate) async fn peers(speaker: &mpsc::Sender<Question>) -> Vec<(Row, Peer)> {
    let (answer, status) = oneshot::channel();
    if speaker.send(answer).await.is_err() {
        return Vec::new();
    }
    let now = (Instant::now(), jiff::Zoned::now());
    status.await.unwrap_or_default().iter().map(|known| (row(known, &now), peer(known, &now))).collect()
}

fn row(known: &Known, now: &(Instant, jiff::Zoned)) -> Row {
    let status = &known.status;
    let kind = match status.kind {
        PeerKind::Mesh => "Mesh",
        PeerKind::Global => "Global",
        PeerKind::Node => "Node",
    };
    let port = match status.peer.port() {
        port if port != BGP_PORT && status.kind != PeerKind::Mesh => format!("_port_{port}"),
        _ => String::new(),
    };
    let up = status.state == State::Established;
    let state = match status.state {
        State::Idle | State::Active if status.passive && status.trouble.is_none() => "Passive".to_owned(),
        State::Idle | State::Connect | State::Active | State::OpenSent | State::OpenConfirm | State::Established => {
            status.state.to_string()
        }
    };
    let info = match (&status.trouble, up) {
        (Some(trouble), false) => format!("{state:<14}{}", birds_words(trouble)),
        (_, _) => state,
    };
    Row {
        name: format!("{kind}_{}{port}", status.peer.ip().to_string().replace(['.', ':'], "_")),
        up,
        since: since(status.since, now),
        info,
    }
}

/// The port that goes without saying.
const BGP_PORT: u16 = 179;

/// What BIRD 1.6 shows of an error: its class, and its name.
fn birds_words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Socket(reason) if reason == CLOSED => "Socket: Connection closed".to_owned(),
        Trouble::Socket(reason) => format!("Socket: {reason}"),
        Trouble::Received(reason) => format!("Received: {}", birds_name(*reason)),
        Trouble::Sent(reason, _) => format!("BGP Error: {}", birds_name(*reason)),
        Trouble::Silence(_) => format!("BGP Error: {}", birds_name(Reason::HOLD_TIMER_EXPIRED)),
        Trouble::Obstacle(reason) => format!("Error: {reason}"),
    }
}

/// BIRD's name of a NOTIFICATION, for those that operators meet; else the RFC's.
fn birds_name(reason: Reason) -> String {
    let name = match (reason.code, reason.subcode) {
        (2, 1) => "Unsupported version number",
        (2, 2) => "Bad peer AS",
        (2, 3) => "Bad BGP identifier",
        (2, 6) => "Unacceptable hold time",
        (2, 7) => "Required capability missing",
        (4, _) => "Hold timer expired",
        (6, 0) => "Cease",
        (6, 1) => "Maximum number of prefixes reached",
        (6, 2) => "Administrative shutdown",
        (6, 3) => "Peer de-configured",
        (6, 4) => "Administrative reset",
        (6, 5) => "Connection rejected",
        (6, 6) => "Other configuration change",
        (6, 7) => "Connection collision resolution",
        (6, 8) => "Out of Resources",
        _ => return reason.to_string(),
    };
    name.to_owned()
}

fn peer(known: &Known, now: &(Instant, jiff::Zoned)) -> Peer {
    let status = &known.status;
    Peer {
        address: match status.peer.port() {
            BGP_PORT => status.peer.ip().to_string(),
            _ => status.peer.to_string(),
        },
        kind: match status.kind {
            PeerKind::Mesh => "mesh",
            PeerKind::Global => "global",
            PeerKind::Node => "node",
        }
        .to_owned(),
        asn: status.remote_as.0,
        state: status.state.to_string(),
        since: since(status.since, now),
        received: status.received,
        announced: status.announced,
        cause: if status.state == State::Established { String::new() } else { cause(known) },
    }
}

/// Why there is no session, with what an operator might look at next.
fn cause(Known { status, config }: &Known) -> String {
    let peer = status.peer;
    let near = config.ttl_security.is_some();
    if matches!(status.state, State::OpenSent | State::OpenConfirm) {
        let hint = if near { "; it may be too far away for ttlSecurity" } else { "" };
        return format!("connected, waits for the peer to say more{hint}");
    }
    match &status.trouble {
        None if status.passive => "waits for the peer to connect".to_owned(),
        None => "connecting".to_owned(),
        Some(Trouble::Socket(reason)) => match reason.as_str() {
            "Connection refused" => {
                format!("connection refused: nothing listens at {} port {}", peer.ip(), peer.port())
            }
            "Connection timed out" => {
                let mut maybe = vec!["it is unreachable", "a firewall drops the packets"];
                maybe.extend(match config.password {
                    // a refusal is not signed, and does not count
                    Some(_) => &["nothing listens there", "its TCP-MD5 password is another or none"][..],
                    None => &["it wants a TCP-MD5 password"],
                });
                if near {
                    maybe.push("it is too far away for ttlSecurity");
                }
                let (last, others) = maybe.split_last().expect("there are two reasons at least");
                format!("no answer from {} port {}: {}, or {last}", peer.ip(), peer.port(), others.join(", "))
            }
            "No route to host" => format!("no route to host {}: nobody on the wire answers for it", peer.ip()),
            "Network is unreachable" => format!("no route leads to {}", peer.ip()),
            _ => reason.clone(),
        },
        Some(Trouble::Received(reason)) if *reason == Reason::BAD_PEER_AS => {
            format!("the peer expects another AS here than {} (received {reason})", status.local_as)
        }
        Some(Trouble::Received(reason)) if *reason == Reason::CONNECTION_REJECTED => {
            format!("the peer does not know this node (received {reason})")
        }
        Some(trouble) => trouble.to_string(),
    }
}

/// The time of day of a change within the last day, else its date, as BIRD prints it.
fn since(at: Instant, (instant, wall): &(Instant, jiff::Zoned)) -> String {
    let ago = instant.saturating_duration_since(at);
    let format = if ago < Duration::from_secs(20 * 3600) { "%H:%M:%S" } else { "%Y-%m-%d" };
    let ago = jiff::SignedDuration::try_from(ago).unwrap_or_default();
    wall.checked_sub(ago).map_or_else(|_| "?".to_owned(), |then| then.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp::{Password, PeerConfig, PeerStatus};
    use model::Asn;

    fn known(state: State, trouble: Option<Trouble>, change: impl FnOnce(&mut Known)) -> Known {
        let status = PeerStatus {
            peer: "10.0.0.1:179".parse().expect("an address"),
            kind: PeerKind::Node,
            remote_as: Asn(65001),
            local_as: Asn(64512),
            passive: false,
            state,
            since: Instant::now(),
            received: 0,
            announced: 0,
            trouble,
        };
        let mut known = Known { status, config: PeerConfig::new(Asn(65001), PeerKind::Node) };
        change(&mut known);
        known
    }

    /// Name, information and cause.
    fn shown(known: &Known) -> (String, String, String) {
        let now = (Instant::now(), jiff::Zoned::now());
        let row = row(known, &now);
        (row.name, row.info, peer(known, &now).cause)
    }

    #[test]
    fn birds_words_and_ours() {
        let socket = |reason: &str| Some(Trouble::Socket(reason.to_owned()));
        let bad_as = Trouble::Sent(Reason::BAD_PEER_AS, Some("peer is in AS 65009, not 65001".to_owned()));
        for (state, trouble, info, cause) in [
            (State::Established, None, "Established", ""),
            (State::Connect, None, "Connect", "connecting"),
            (State::OpenSent, socket("x"), "OpenSent      Socket: x", "connected, waits for the peer to say more"),
            (
                State::Active,
                socket("Connection refused"),
                "Active        Socket: Connection refused",
                "connection refused: nothing listens at 10.0.0.1 port 179",
            ),
            (
                State::Connect,
                socket("Connection timed out"),
                "Connect       Socket: Connection timed out",
                "no answer from 10.0.0.1 port 179: it is unreachable, a firewall drops the packets, or it wants a TCP-MD5 \
                 password",
            ),
            (
                State::Active,
                socket("No route to host"),
                "Active        Socket: No route to host",
                "no route to host 10.0.0.1: nobody on the wire answers for it",
            ),
            (
                State::Idle,
                Some(bad_as),
                "Idle          BGP Error: Bad peer AS",
                "sent OPEN Message Error/Bad Peer AS: peer is in AS 65009, not 65001",
            ),
            (
                State::Idle,
                Some(Trouble::Received(Reason::BAD_PEER_AS)),
                "Idle          Received: Bad peer AS",
                "the peer expects another AS here than 64512 (received OPEN Message Error/Bad Peer AS)",
            ),
            (
                State::Active,
                Some(Trouble::Received(Reason::CONNECTION_REJECTED)),
                "Active        Received: Connection rejected",
                "the peer does not know this node (received Cease/Connection Rejected)",
            ),
            (
                State::Idle,
                Some(Trouble::Silence(Duration::from_secs(90))),
                "Idle          BGP Error: Hold timer expired",
                "hold timer expired after 90s without a message",
            ),
            (
                State::Idle,
                Some(Trouble::Obstacle("password: secret bgp key a: not a name".to_owned())),
                "Idle          Error: password: secret bgp key a: not a name",
                "password: secret bgp key a: not a name",
            ),
        ] {
            let found = shown(&known(state, trouble, |_| {}));
            assert_eq!(found, ("Node_10_0_0_1".to_owned(), info.to_owned(), cause.to_owned()));
        }
        let passive = known(State::Active, None, |known| known.status.passive = true);
        assert_eq!(shown(&passive).1, "Passive");
        assert_eq!(shown(&passive).2, "waits for the peer to connect");
        let other_port = known(State::Connect, socket("Connection timed out"), |known| {
            known.status.peer.set_port(1179);
            known.config.password = Some(Password(b"secret".to_vec()));
            known.config.ttl_security = Some(1);
        });
        let mesh = known(State::Active, None, |known| {
            known.status.peer.set_port(1790);
            known.status.kind = PeerKind::Mesh;
        });
        assert_eq!(shown(&mesh).0, "Mesh_10_0_0_1", "all of a mesh listens at one port");
        let (name, _, cause) = shown(&other_port);
        assert_eq!(name, "Node_10_0_0_1_port_1179");
        assert_eq!(
            cause,
            "no answer from 10.0.0.1 port 1179: it is unreachable, a firewall drops the packets, nothing listens there, its \
             TCP-MD5 password is another or none, or it is too far away for ttlSecurity"
        );
    }
}
