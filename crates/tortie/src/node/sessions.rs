//! The speaker's peers as rows of BIRD's protocol table.

use super::bgp_io::Command;
use super::bird_socket::Row;
use bgp::{PeerKind, PeerStatus, State};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Asks the speaker; nothing when it is gone.
pub(crate) async fn rows(speaker: &mpsc::UnboundedSender<Command>) -> Vec<Row> {
    let (answer, status) = oneshot::channel();
    if speaker.send(Command::Status(answer)).is_err() {
        return Vec::new();
    }
    let now = (Instant::now(), jiff::Zoned::now());
    status.await.unwrap_or_default().iter().map(|peer| row(peer, &now)).collect()
}

fn row(peer: &PeerStatus, now: &(Instant, jiff::Zoned)) -> Row {
    let kind = match peer.kind {
        PeerKind::Mesh => "Mesh",
        PeerKind::Global => "Global",
        PeerKind::Node => "Node",
    };
    let up = peer.state == State::Established;
    let info = match (&peer.last_error, up) {
        (Some(error), false) => format!("{:<14}{error}", peer.state.to_string()),
        _ => peer.state.to_string(),
    };
    Row {
        name: format!("{kind}_{}", peer.address.to_string().replace(['.', ':'], "_")),
        up,
        since: since(peer.since, now),
        info,
    }
}

/// The time of day of a change within the last day, else its date, as BIRD prints it.
fn since(at: Instant, (instant, wall): &(Instant, jiff::Zoned)) -> String {
    let ago = instant.saturating_duration_since(at);
    let format = if ago < Duration::from_secs(20 * 3600) { "%H:%M:%S" } else { "%Y-%m-%d" };
    let ago = jiff::SignedDuration::try_from(ago).unwrap_or_default();
    wall.checked_sub(ago).map_or_else(|_| "?".to_owned(), |then| then.strftime(format).to_string())
}
