//! What a peer's settings do to its session and its routes.

mod network;

use bgp::{Config, Input, Passing, PeerConfig, PeerKind, State, Trouble};
use model::Asn;
use model::desired::{Hop, Learned};
use network::{Network, at, external, ip, mesh, net, routes};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

const A: &str = "192.168.10.10";
const B: &str = "192.168.10.101";
const X: &str = "10.0.0.9";
const SOON: Duration = Duration::from_secs(10);

fn speaker(address: &str, asn: u32) -> Config {
    Config::new(Asn(asn), address.parse().expect("an address"))
}

fn with(mut config: Config, peer: &str, remote_as: u32, change: impl FnOnce(&mut PeerConfig)) -> Config {
    let mut wanted = PeerConfig::new(Asn(remote_as), PeerKind::Node);
    change(&mut wanted);
    config.peers.insert(at(peer), wanted);
    config
}

fn start(configs: &[(&str, Config)]) -> Network {
    let mut network = Network::new(Duration::from_millis(1), None);
    for (node, config) in configs {
        network.boot(node, config.clone(), Learned::new());
    }
    network
}

fn up(network: &Network, node: &str, peer: &str) -> bool {
    network.state(node, peer) == State::Established
}

#[test]
fn another_local_as_towards_one_peer() {
    let node = with(with(speaker(A, 64512), X, 65001, |peer| peer.local_as = Some(Asn(65010))), B, 64512, |_| {});
    let mut network = start(&[
        (A, node),
        (B, with(speaker(B, 64512), A, 64512, |_| {})),
        (X, with(speaker(X, 65001), A, 65010, |_| {})),
    ]);
    network.originate(A, &["172.16.1.0/24"]);
    network.originate(B, &["172.16.2.0/24"]);
    network.originate(X, &["10.1.0.0/16"]);
    network.until("all learn", SOON, |network| {
        network.node(X).learned == external(&[("172.16.1.0/24", A), ("172.16.2.0/24", A)])
            && network.node(B).learned.len() == 2
    });
    // with the peer's own AS as ours, the session is an internal one: what B says is not passed on
    let mut network = start(&[
        (A, with(with(speaker(A, 64512), X, 65001, |peer| peer.local_as = Some(Asn(65001))), B, 64512, |_| {})),
        (B, with(speaker(B, 64512), A, 64512, |_| {})),
        (X, with(speaker(X, 65001), A, 65001, |_| {})),
    ]);
    network.originate(A, &["172.16.1.0/24"]);
    network.originate(B, &["172.16.2.0/24"]);
    network.until("X learns", SOON, |network| up(network, A, B) && !network.node(X).learned.is_empty());
    network.run(Duration::from_secs(60));
    assert_eq!(network.node(X).learned, routes(&[("172.16.1.0/24", A)]));
}

#[test]
fn the_own_as_may_be_in_the_path_as_often_as_allowed() {
    // A and B are in one AS with nothing between them but X in another
    for (allowed, learns) in [(0, false), (1, true)] {
        let site = |address| with(speaker(address, 64512), X, 65001, |peer| peer.allowed_local_as = allowed);
        let transit = with(with(speaker(X, 65001), A, 64512, |_| {}), B, 64512, |_| {});
        let mut network = start(&[(A, site(A)), (B, site(B)), (X, transit)]);
        network.originate(A, &["172.16.1.0/24"]);
        network.until("X learns", SOON, |network| network.node(X).learned.len() == 1 && up(network, B, X));
        network.run(Duration::from_secs(5));
        let expect = if learns { external(&[("172.16.1.0/24", X)]) } else { Learned::new() };
        assert_eq!(network.node(B).learned, expect, "{allowed} allowed");
    }
}

#[test]
fn keepalives_come_as_often_as_wanted() {
    for (wanted, hold, silence) in [(None, 90, 30), (Some(7), 90, 7), (Some(60), 90, 30)] {
        let peer = move |peer: &mut PeerConfig| {
            peer.keepalive_time = wanted.map(Duration::from_secs);
            peer.hold_time = Duration::from_secs(hold);
        };
        let mut network = start(&[
            (A, with(speaker(A, 64512), B, 64512, peer)),
            (B, with(speaker(B, 64512), A, 64512, |peer| peer.passive = true)),
        ]);
        network.until("established", SOON, |network| up(network, A, B));
        network.run(Duration::from_secs(1));
        let (due, why) = network.node(A).speaker.poll_timeout().expect("a timer runs");
        assert_eq!(why, "keepalive", "{wanted:?}");
        assert!(due - network.now <= Duration::from_secs(silence), "{wanted:?}: {:?}", due - network.now);
        assert!(due - network.now >= Duration::from_secs(silence - 2), "{wanted:?}: {:?}", due - network.now);
        network.run(Duration::from_secs(600));
        assert!(up(&network, A, B));
    }
}

#[test]
fn a_peer_with_an_obstacle_stays_idle_and_refuses() {
    let obstacle = "secret bgp has no key rack-1";
    let blocked = with(speaker(A, 64512), B, 64512, |peer| peer.obstacle = Some(obstacle.to_owned()));
    let mut network = start(&[(A, blocked), (B, with(speaker(B, 64512), A, 64512, |_| {}))]);
    network.run(Duration::from_secs(60));
    let status = network.node(A).speaker.status().remove(0);
    assert_eq!((status.state, status.trouble), (State::Idle, Some(Trouble::Obstacle(obstacle.to_owned()))));
    assert!(!up(&network, B, A));
    network.input(A, Input::Configure(with(speaker(A, 64512), B, 64512, |_| {})));
    network.until("it goes away", Duration::from_secs(60), |network| up(network, A, B));
}

#[test]
fn two_peers_of_one_address() {
    // two routers behind one address, at ports of their own: each has its session, whoever dials
    let mut config = with(speaker(A, 64512), B, 64512, |_| {});
    config.peers.insert(SocketAddr::new(ip(B), 1179), PeerConfig::new(Asn(64512), PeerKind::Node));
    let mut network = start(&[(A, config), (B, with(speaker(B, 64512), A, 64512, |peer| peer.passive = true))]);
    network.until("one is up", SOON, |network| {
        network.node(A).speaker.status().iter().any(|status| status.state == State::Established)
    });
    let peers: Vec<u16> = network.node(A).speaker.status().iter().map(|status| status.peer.port()).collect();
    assert_eq!(peers, [179, 1179]);
}

#[test]
fn only_what_lies_in_pools_is_passed_on() {
    let passing = |withheld: &[&str]| Passing::Inside {
        pools: [net("172.16.0.0/16"), net("10.2.0.0/16")].into(),
        withheld: withheld.iter().map(|prefix| net(prefix)).collect(),
    };
    let node = |withheld: &[&str]| {
        let mut config = with(mesh(A, &[A, B]), X, 65001, |peer| peer.passive = true);
        config.passing = passing(withheld);
        config
    };
    let mut network = start(&[(A, node(&[])), (B, mesh(B, &[A, B])), (X, with(speaker(X, 65001), A, 64512, |_| {}))]);
    network.originate(A, &["172.16.1.0/24", "192.168.7.0/26"]);
    network.originate(B, &["172.16.2.0/24", "172.16.1.9/32"]);
    network.originate(X, &["0.0.0.0/0", "10.2.3.0/24"]);
    let own = [("172.16.1.0/24", A), ("192.168.7.0/26", A)];
    network.until("all learn", SOON, |network| {
        let inside = external(&[("10.2.3.0/24", X)]);
        network.node(X).learned == external(&[&own[..], &[("172.16.2.0/24", A)]].concat())
            && network.node(B).learned == routes(&own).into_iter().chain(inside).collect::<Learned>()
    });
    network.input(A, Input::Configure(node(&["172.16.2.0/23"])));
    network.until("what is withheld is withdrawn", SOON, |network| network.node(X).learned == external(&own));
    network.input(A, Input::Configure(node(&[])));
    network.until("and announced again", SOON, |network| network.node(X).learned.len() == 3);
    assert!(up(&network, A, X), "the session noticed nothing");
}

#[test]
fn a_metric_travels_as_a_preference() {
    // control reference §3.4: LOCAL_PREF is 2147483647 less the metric, and the other way round
    let mut quick = mesh(A, &[A, B]);
    quick.metric = 512;
    let mut network = start(&[(A, quick), (B, mesh(B, &[A, B]))]);
    network.originate(A, &["172.16.1.0/24"]);
    network.originate(B, &["172.16.2.0/24"]);
    let preferred = Hop { gateway: Ipv4Addr::new(192, 168, 10, 10), metric: Some(512) };
    let normal = Hop { gateway: Ipv4Addr::new(192, 168, 10, 101), metric: Some(1024) };
    network.until("both learn", SOON, |network| {
        network.node(B).learned == Learned::from([(net("172.16.1.0/24"), preferred)])
            && network.node(A).learned == Learned::from([(net("172.16.2.0/24"), normal)])
    });
    network.input(A, Input::Configure(mesh(A, &[A, B])));
    network.until("both are normal", SOON, |network| {
        network.node(B).learned == routes(&[("172.16.1.0/24", A)])
            && network.node(A).learned == routes(&[("172.16.2.0/24", B)])
    });
}
