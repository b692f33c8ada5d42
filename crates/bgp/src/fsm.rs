//! The finite state machine of one connection (RFC 4271 §8), as a pure table.
//!
//! ```text
//!               AutomaticStart            TcpCrAcked             BgpOpen              KeepAliveMsg
//!      Idle ───────────────────► Connect ───────────► OpenSent ──────────► OpenConfirm ─────────► Established
//!       │ ▲                       │  ▲                 ▲    │
//!       │ │ any error             │  │ retry           │    │
//!       │ └── from every state    ▼  │                 │    │
//!       └─────────────────────► Active ────────────────┘    │
//!        AutomaticStartPassive    ▲   TcpConnectionConfirmed │
//!                                 └──────────────────────────┘ TcpConnectionFails
//! ```
//!
//! A peer has two such machines, one per direction, and an arbiter between them (`session/collision.rs`, §6.8). The
//! optional events for DelayOpen, peer oscillation damping and TCP tracking do not occur. Three rules differ
//! from the RFC's letter, as in other speakers: a failed attempt in Connect goes to Active and is retried
//! instead of waiting in Idle; a NOTIFICATION is never answered with one; an attempt under way is not torn down
//! for a start event.

use std::fmt;

/// Where a connection stands (§8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Refuses connections and opens none.
    Idle,
    /// Waits for the connection it opened.
    Connect,
    /// Waits for the peer's connection, or to retry its own.
    Active,
    /// Sent its OPEN, waits for the peer's.
    OpenSent,
    /// Waits for the KEEPALIVE that accepts its OPEN.
    OpenConfirm,
    /// Exchanges routes.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What happens to a connection (§8.1), by the RFC's names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// 2: the peer was removed or its configuration changed.
    ManualStop,
    /// 3: open connections.
    AutomaticStart,
    /// 5: wait for the peer's.
    AutomaticStartPassive,
    /// 8: the other machine's connection serves.
    AutomaticStop,
    /// 9.
    ConnectRetryTimerExpires,
    /// 10.
    HoldTimerExpires,
    /// 11.
    KeepaliveTimerExpires,
    /// 16: our connection was accepted.
    TcpCrAcked,
    /// 17: we accepted the peer's.
    TcpConnectionConfirmed,
    /// 18: refused, reset, closed.
    TcpConnectionFails,
    /// 19: an OPEN that passed every check.
    BgpOpen,
    /// 21.
    BgpHeaderErr,
    /// 22: an OPEN that failed one.
    BgpOpenMsgErr,
    /// 23: the other connection won (§6.8).
    OpenCollisionDump,
    /// 24: a NOTIFICATION about the version.
    NotifMsgVerErr,
    /// 25: any other.
    NotifMsg,
    /// 26.
    KeepAliveMsg,
    /// 27: an UPDATE, or a ROUTE-REFRESH, for which RFC 2918 names no event.
    UpdateMsg,
    /// 28: an UPDATE that resets the session.
    UpdateMsgErr,
}

/// What the machine wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Open a TCP connection; ConnectRetryTimer starts with it.
    Connect,
    /// Start ConnectRetryTimer.
    RetryLater,
    /// Send OPEN and start HoldTimer at its large value; ConnectRetryTimer stops.
    SendOpen,
    /// Send KEEPALIVE and start KeepaliveTimer.
    SendKeepalive,
    /// Start HoldTimer at the negotiated value.
    RestartHold,
    /// Hand the message to the RIB.
    Deliver,
    /// Send the NOTIFICATION that comes with the event.
    Notify,
    /// Send NOTIFICATION Hold Timer Expired.
    NotifyHold,
    /// Send NOTIFICATION Finite State Machine Error, with the state's subcode (RFC 6608).
    NotifyFsm,
    /// Close the TCP connection if there is one and stop the machine's timers.
    Drop,
}

/// Decides what an event does in a state.
pub(crate) fn transition(state: State, event: Event) -> (State, &'static [Action]) {
    use Action::{
        Connect, Deliver, Drop, Notify, NotifyFsm, NotifyHold, RestartHold, RetryLater, SendKeepalive, SendOpen,
    };
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Idle, E::AutomaticStart) => (S::Connect, &[Connect]),
        (S::Idle, E::AutomaticStartPassive) => (S::Active, &[]),
        (
            S::Idle,
            E::ManualStop
            | E::AutomaticStop
            | E::ConnectRetryTimerExpires
            | E::HoldTimerExpires
            | E::KeepaliveTimerExpires
            | E::TcpCrAcked
            | E::TcpConnectionConfirmed
            | E::TcpConnectionFails
            | E::BgpOpen
            | E::BgpHeaderErr
            | E::BgpOpenMsgErr
            | E::OpenCollisionDump
            | E::NotifMsgVerErr
            | E::NotifMsg
            | E::KeepAliveMsg
            | E::UpdateMsg
            | E::UpdateMsgErr,
        ) => (S::Idle, &[]),

        (S::Connect, E::AutomaticStart | E::AutomaticStartPassive) => (S::Connect, &[]),
        (S::Connect, E::ConnectRetryTimerExpires) => (S::Connect, &[Drop, Connect]),
        (S::Connect, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::OpenSent, &[SendOpen]),
        (S::Connect, E::TcpConnectionFails) => (S::Active, &[Drop, RetryLater]),

        (S::Active, E::AutomaticStart | E::AutomaticStartPassive) => (S::Active, &[]),
        (S::Active, E::ConnectRetryTimerExpires) => (S::Connect, &[Connect]),
        (S::Active, E::TcpCrAcked | E::TcpConnectionConfirmed) => (S::OpenSent, &[SendOpen]),
        (S::Active, E::TcpConnectionFails) => (S::Idle, &[Drop]),

        (
            S::Connect | S::Active,
            E::ManualStop
            | E::AutomaticStop
            | E::HoldTimerExpires
            | E::KeepaliveTimerExpires
            | E::BgpOpen
            | E::BgpHeaderErr
            | E::BgpOpenMsgErr
            | E::OpenCollisionDump
            | E::NotifMsgVerErr
            | E::NotifMsg
            | E::KeepAliveMsg
            | E::UpdateMsg
            | E::UpdateMsgErr,
        ) => (S::Idle, &[Drop]),

        (S::OpenSent, E::TcpConnectionFails) => (S::Active, &[Drop, RetryLater]),
        (S::OpenSent, E::BgpOpen) => (S::OpenConfirm, &[SendKeepalive, RestartHold]),
        (
            S::OpenSent,
            E::ConnectRetryTimerExpires | E::KeepaliveTimerExpires | E::KeepAliveMsg | E::UpdateMsg | E::UpdateMsgErr,
        ) => (S::Idle, &[NotifyFsm, Drop]),

        (S::OpenConfirm, E::KeepaliveTimerExpires) => (S::OpenConfirm, &[SendKeepalive]),
        (S::OpenConfirm, E::KeepAliveMsg) => (S::Established, &[RestartHold]),
        (S::OpenConfirm, E::ConnectRetryTimerExpires | E::BgpOpen | E::UpdateMsg | E::UpdateMsgErr) => {
            (S::Idle, &[NotifyFsm, Drop])
        }

        (S::Established, E::KeepaliveTimerExpires) => (S::Established, &[SendKeepalive]),
        (S::Established, E::KeepAliveMsg) => (S::Established, &[RestartHold]),
        (S::Established, E::UpdateMsg) => (S::Established, &[RestartHold, Deliver]),
        (S::Established, E::UpdateMsgErr) => (S::Idle, &[Notify, Drop]),
        (S::Established, E::ConnectRetryTimerExpires | E::BgpOpen) => (S::Idle, &[NotifyFsm, Drop]),

        (S::OpenConfirm | S::Established, E::TcpConnectionFails) => (S::Idle, &[Drop]),
        (
            S::OpenSent | S::OpenConfirm | S::Established,
            E::AutomaticStart | E::AutomaticStartPassive | E::TcpCrAcked | E::TcpConnectionConfirmed,
        ) => (state, &[]),
        (S::OpenSent | S::OpenConfirm | S::Established, E::HoldTimerExpires) => (S::Idle, &[NotifyHold, Drop]),
        (S::OpenSent | S::OpenConfirm | S::Established, E::NotifMsgVerErr | E::NotifMsg) => (S::Idle, &[Drop]),
        (
            S::OpenSent | S::OpenConfirm | S::Established,
            E::ManualStop | E::AutomaticStop | E::BgpHeaderErr | E::BgpOpenMsgErr | E::OpenCollisionDump,
        ) => (S::Idle, &[Notify, Drop]),
    }
}

#[cfg(test)]
mod tests;
