//! Both ends dial at once: every order in which things can arrive is tried.
//!
//! What is sent on one connection to one end arrives in order; nothing is said of the order between the two
//! connections, nor between the two ends. No time passes.

mod line;
mod ours;
mod router;

use bgp::wire::Message;
use bgp::wire::capability::{Capability, Forwarding, GracefulRestart, Restarting};
use bgp::wire::nlri::Family;
use bgp::wire::notification::Reason;
use bgp::wire::open::Open;
use line::Side::{self, Left, Right};
use line::{Arrival, Line, Speaks, every_end, notification, octets};
use model::Asn;
use ours::Ours;
use router::{Kind, Router};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

const ASN: u32 = 64512;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn open(identifier: Ipv4Addr) -> Open {
    let capabilities = vec![Capability::FourOctetAs(Asn(ASN))];
    Open { my_as: ASN as u16, hold_time: Duration::from_secs(90), identifier, capabilities }
}

const LOWER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const HIGHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn agreed(sessions: [Option<Side>; 2]) -> bool {
    matches!(sessions, [Some(left), Some(right)] if left == right)
}

#[test]
fn two_of_ours_agree_at_once_in_every_order() {
    let start = Instant::now();
    let [left, right] = [(Left, LOWER), (Right, HIGHER)].map(|(side, own)| move || Ours::dialling(side, own, start));
    for ((sessions, _), path) in every_end(|| Line::new(Box::new(left()), Box::new(right()))) {
        assert!(agreed(sessions), "{sessions:?} after {path:?}");
    }
}

#[test]
fn what_another_router_holds_for_established_is_never_ended() {
    let start = Instant::now();
    for kind in [Kind::Bird, Kind::Frr] {
        for (ours, other) in [(LOWER, HIGHER), (HIGHER, LOWER)] {
            let ours = || Ours::dialling(Left, ours, start);
            let router = || Router::new(kind, Right, other);
            let ends = every_end(|| Line::new(Box::new(ours()), Box::new(router())));
            assert!(ends.keys().any(|(sessions, early)| agreed(*sessions) && !early), "{kind:?}");
            for ((sessions, early), path) in ends {
                // who decides early may end one while we confirm the other: both dial again
                let none = early && sessions == [None, None];
                assert!(agreed(sessions) || none, "{kind:?}: {sessions:?} after {path:?}");
            }
        }
    }
}

/// Ours dials, and on the peer's connection an OPEN came.
fn waiting(identifier: Ipv4Addr) -> Ours {
    let mut ours = Ours::dialling(Left, identifier, Instant::now());
    ours.take(Right, &Arrival::Opened);
    assert_eq!(ours.take(Right, &peers_open()), [], "it waits for what becomes of the other one");
    ours
}

/// Both connections stand, and no OPEN came.
fn both_open() -> Ours {
    let mut ours = Ours::dialling(Left, HIGHER, Instant::now());
    ours.take(Right, &Arrival::Opened);
    ours.take(Left, &Arrival::Opened);
    ours
}

fn peers_open() -> Arrival {
    octets(&Message::Open(open(LOWER)))
}

fn keepalive() -> Arrival {
    octets(&Message::Keepalive)
}

fn given_up(opener: Side) -> [(Side, Arrival); 2] {
    [(opener, notification(Reason::COLLISION_RESOLUTION)), (opener, Arrival::Closed)]
}

#[test]
fn of_two_opens_the_higher_identifier_decides() {
    let mut ours = waiting(Ipv4Addr::new(10, 0, 0, 0));
    ours.take(Left, &Arrival::Opened);
    let [notice, closed] = given_up(Left);
    assert_eq!(ours.take(Left, &peers_open()), [notice, closed, (Right, keepalive())]);
    ours.take(Right, &keepalive());
    assert_eq!(ours.session(), Some(Right));

    let mut ours = waiting(HIGHER);
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Left, &peers_open()), [], "the peer ends its own");
    let [(_, notice), (_, closed)] = given_up(Right);
    assert_eq!(ours.take(Right, &notice), []);
    assert_eq!(ours.take(Right, &closed), [(Left, keepalive())]);
    ours.take(Left, &keepalive());
    assert_eq!(ours.session(), Some(Left));

    // it ends ours instead
    let mut ours = waiting(HIGHER);
    ours.take(Left, &Arrival::Opened);
    ours.take(Left, &peers_open());
    assert_eq!(ours.take(Left, &Arrival::Closed), [(Right, keepalive())]);
}

#[test]
fn one_goes_on_when_the_other_ends_and_what_was_said_meanwhile_counts() {
    for opened in [false, true] {
        let mut ours = waiting(HIGHER);
        if opened {
            ours.take(Left, &Arrival::Opened);
        }
        assert_eq!(ours.take(Right, &keepalive()), []);
        assert_eq!(ours.take(Left, &Arrival::Closed), [(Right, keepalive())]);
        assert_eq!(ours.session(), Some(Right));
        assert_eq!((ours.pass(millis(20_000)), ours.dials), (vec![], 1), "nothing is dialled beside it");
    }
}

#[test]
fn what_ends_while_it_waits_is_told() {
    let mut ours = waiting(HIGHER);
    ours.take(Right, &notification(Reason::ADMINISTRATIVE_SHUTDOWN));
    let trouble = ours.speaker.status()[0].trouble.as_ref().map(ToString::to_string);
    assert_eq!(trouble.as_deref(), Some("received Cease/Administrative Shutdown"));
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Left, &peers_open()), [(Left, keepalive())], "the other one need not wait");
}

#[test]
fn no_peer_is_waited_for_long() {
    // its kernel does not answer the SYN
    let mut ours = waiting(HIGHER);
    assert_eq!(ours.pass(millis(199)), []);
    assert_eq!(ours.pass(millis(1)), [(Left, Arrival::Closed), (Right, keepalive())]);

    // it accepted the connection and says nothing
    let mut ours = waiting(HIGHER);
    assert_eq!(ours.pass(millis(199)), []);
    ours.take(Left, &Arrival::Opened);
    let [notice, closed] = given_up(Left);
    assert_eq!(ours.pass(millis(4_999)), []);
    assert_eq!(ours.pass(millis(1)), [notice, closed, (Right, keepalive())]);

    // nor does it end one of two
    let mut ours = waiting(HIGHER);
    ours.take(Left, &Arrival::Opened);
    ours.take(Left, &peers_open());
    assert_eq!(ours.pass(millis(4_999)), []);
    let [notice, closed] = given_up(Right);
    assert_eq!(ours.pass(millis(1)), [notice, closed, (Left, keepalive())]);

    // it gave up the one that waits, and does not close it
    let mut ours = waiting(HIGHER);
    ours.take(Left, &Arrival::Opened);
    assert_eq!(ours.take(Right, &given_up(Right)[0].1), []);
    let [notice, closed] = given_up(Right);
    assert_eq!(ours.pass(millis(5_000)), [notice, closed]);
    assert_eq!(ours.take(Left, &peers_open()), [(Left, keepalive())]);

    // its hold timer would run out
    let mut ours = both_open();
    ours.take(Left, &octets(&Message::Open(Open { hold_time: Duration::from_secs(9), ..open(LOWER) })));
    let [notice, closed] = given_up(Right);
    assert_eq!(ours.pass(millis(2_999)), []);
    assert_eq!(ours.pass(millis(1)), [notice, closed, (Left, keepalive())]);

    // the same as the second, the other way round
    let mut ours = both_open();
    assert_eq!(ours.take(Left, &peers_open()), []);
    assert_eq!(ours.pass(millis(4_999)), []);
    let [notice, closed] = given_up(Right);
    assert_eq!(ours.pass(millis(1)), [notice, closed, (Left, keepalive())]);
}

#[test]
fn a_connection_beside_a_confirmed_one_is_turned_away_unless_it_shows_a_restart() {
    let families = vec![(Family::IPV4_UNICAST, Forwarding::Preserved)];
    let restart = GracefulRestart { restarting: Restarting::No, time: Duration::from_secs(60), families };
    for (restarts, established) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut opened = open(LOWER);
        if restarts {
            opened.capabilities.push(Capability::GracefulRestart(restart.clone()));
        }
        let mut ours = Ours::dialling(Left, HIGHER, Instant::now());
        ours.take(Left, &Arrival::Opened);
        assert_eq!(ours.take(Left, &octets(&Message::Open(opened))), [(Left, keepalive())]);
        if established {
            ours.take(Left, &keepalive());
        }
        assert_eq!(ours.take(Right, &Arrival::Opened), given_up(Right), "it was dialled at the same time");
        assert_eq!(ours.pass(millis(5_000)), []);
        let sent = ours.take(Right, &Arrival::Opened);
        if established && !restarts {
            assert_eq!(sent, given_up(Right));
        } else {
            assert!(matches!(&sent[..], [(Left, Arrival::Closed), (Right, Arrival::Octets(_))]), "{sent:?}");
            assert_eq!(ours.take(Right, &peers_open()), [(Right, keepalive())]);
        }
    }
}

#[test]
fn a_third_connection_does_not_come_beside_a_confirmed_one() {
    // nothing was said on the peer's first one, for which ours waited
    let mut ours = both_open();
    assert_eq!(ours.take(Left, &peers_open()), []);
    let [notice, closed] = given_up(Right);
    assert_eq!(ours.take(Right, &Arrival::Opened), [(Right, Arrival::Closed), (Left, keepalive()), notice, closed]);
}

#[test]
fn an_open_that_waits_is_the_last() {
    let mut ours = waiting(HIGHER);
    let sent = ours.take(Right, &peers_open());
    let notice = notification(Reason::FSM_OPEN_SENT);
    assert_eq!(sent, [(Right, notice), (Right, Arrival::Closed)]);
}

#[test]
fn a_machine_is_not_forgotten_beside_the_other_one() {
    // something connects while we are about to dial, and goes away without a word
    let mut ours = Ours::new(Left, HIGHER, Instant::now());
    ours.take(Right, &Arrival::Opened);
    assert_eq!((ours.pass(millis(20_000)), ours.dials), (vec![], 0));
    ours.take(Right, &Arrival::Closed);
    ours.pass(millis(2_000));
    assert_eq!(ours.dials, 1);

    // the peer ends its connection, and then ours
    let mut ours = waiting(HIGHER);
    ours.take(Left, &Arrival::Opened);
    ours.take(Right, &notification(Reason::CEASE));
    ours.take(Left, &Arrival::Closed);
    let sent = ours.take(Right, &Arrival::Opened);
    assert!(matches!(&sent[..], [(Right, Arrival::Octets(_))]), "it is taken, not turned away: {sent:?}");
}
