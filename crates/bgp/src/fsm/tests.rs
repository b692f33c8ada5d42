//! The whole table, written out from RFC 4271 §8.2.2.

use super::{Action, Event, State, transition};

const EVENTS: [Event; 19] = [
    Event::ManualStop,
    Event::AutomaticStart,
    Event::AutomaticStartPassive,
    Event::AutomaticStop,
    Event::ConnectRetryTimerExpires,
    Event::HoldTimerExpires,
    Event::KeepaliveTimerExpires,
    Event::TcpCrAcked,
    Event::TcpConnectionConfirmed,
    Event::TcpConnectionFails,
    Event::BgpOpen,
    Event::BgpHeaderErr,
    Event::BgpOpenMsgErr,
    Event::OpenCollisionDump,
    Event::NotifMsgVerErr,
    Event::NotifMsg,
    Event::KeepAliveMsg,
    Event::UpdateMsg,
    Event::UpdateMsgErr,
];

/// States down, events across in the RFC's order; `.` stays and does nothing.
///
/// A cell is the next state's initial (`I`dle, `C`onnect, `A`ctive, open`S`ent, open`F`irm, `E`stablished) and
/// its actions: `c`onnect, `r`etry later, `o`pen, `k`eepalive, `h`old restarts, `u` delivered, `n`otification of
/// the event, `t` that of the hold timer, `f` that of the state machine, `x` connection dropped.
///
/// Different from the RFC on purpose: Connect/18 retries in Active; a NOTIFICATION is not answered (OpenSent/25);
/// a broken header or OPEN is answered with its own error in every state that has a connection.
const TABLE: &str = "
             2    3    5    8    9    10   11   16   17   18   19   21   22   23   24   25   26   27   28
Idle         .    Cc   A    .    .    .    .    .    .    .    .    .    .    .    .    .    .    .    .
Connect      Ix   .    .    Ix   Cxc  Ix   Ix   So   So   Axr  Ix   Ix   Ix   Ix   Ix   Ix   Ix   Ix   Ix
Active       Ix   .    .    Ix   Cc   Ix   Ix   So   So   Ix   Ix   Ix   Ix   Ix   Ix   Ix   Ix   Ix   Ix
OpenSent     Inx  .    .    Inx  Ifx  Itx  Ifx  .    .    Axr  Fkh  Inx  Inx  Inx  Ix   Ix   Ifx  Ifx  Ifx
OpenConfirm  Inx  .    .    Inx  Ifx  Itx  Fk   .    .    Ix   Ifx  Inx  Inx  Inx  Ix   Ix   Eh   Ifx  Ifx
Established  Inx  .    .    Inx  Ifx  Itx  Ek   .    .    Ix   Ifx  Inx  Inx  Inx  Ix   Ix   Eh   Ehu  Inx
";

fn initial(state: State) -> char {
    match state {
        State::Idle => 'I',
        State::Connect => 'C',
        State::Active => 'A',
        State::OpenSent => 'S',
        State::OpenConfirm => 'F',
        State::Established => 'E',
    }
}

fn letter(action: Action) -> char {
    match action {
        Action::Connect => 'c',
        Action::RetryLater => 'r',
        Action::SendOpen => 'o',
        Action::SendKeepalive => 'k',
        Action::RestartHold => 'h',
        Action::Deliver => 'u',
        Action::Notify => 'n',
        Action::NotifyHold => 't',
        Action::NotifyFsm => 'f',
        Action::Drop => 'x',
    }
}

#[test]
fn every_event_in_every_state() {
    let states = [State::Idle, State::Connect, State::Active, State::OpenSent, State::OpenConfirm, State::Established];
    let rows: Vec<&str> = TABLE.trim_matches('\n').lines().skip(1).collect();
    assert_eq!(rows.len(), states.len());
    for (state, row) in states.into_iter().zip(rows) {
        let mut cells = row.split_whitespace();
        assert_eq!(cells.next(), Some(state.to_string().as_str()));
        let cells: Vec<&str> = cells.collect();
        assert_eq!(cells.len(), EVENTS.len(), "{state}");
        for (event, cell) in EVENTS.into_iter().zip(cells) {
            let (next, actions) = transition(state, event);
            let mut done = String::from(initial(next));
            done.extend(actions.iter().map(|action| letter(*action)));
            if next == state && actions.is_empty() {
                done = ".".into();
            }
            assert_eq!(done, cell, "{state} and {event:?}");
        }
    }
}
