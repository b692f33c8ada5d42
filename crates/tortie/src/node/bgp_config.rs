//! The speaker's configuration: what the graph wants, with what only this host knows, its secrets and its router ID.

use bgp::{Config, Passing, Password, PeerConfig, PeerKind};
use ipnet::Ipv4Net;
use model::peering::{self, PeerSource, Peering, SecretKey, SourceAddress};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Component, Path, PathBuf};

/// Longest TCP-MD5 key that the kernel takes (`TCP_MD5SIG_MAXKEYLEN`).
const LONGEST_PASSWORD: usize = 80;

/// Where this node's BGP identifier comes from: CALICO_ROUTER_ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouterId {
    /// The node's address.
    Address,
    /// Always this one.
    Fixed(Ipv4Addr),
}

impl RouterId {
    /// Reads the variable: empty, an address, or `hash` for one made of the node's name (control reference §3.1).
    pub(crate) fn read(text: &str, node: &str) -> Result<RouterId, String> {
        match text {
            "" => Ok(RouterId::Address),
            "hash" => {
                let digest = Sha256::digest(node);
                let first = if digest[0] > 223 { digest[0] - 32 } else { digest[0] };
                Ok(RouterId::Fixed(Ipv4Addr::new(first, digest[1], digest[2], digest[3])))
            }
            text => match text.parse::<Ipv4Addr>() {
                Ok(id) if !id.is_unspecified() => Ok(RouterId::Fixed(id)),
                Ok(_) | Err(_) => Err(format!("CALICO_ROUTER_ID {text:?}: hash or an IPv4 address is expected")),
            },
        }
    }
}

/// What the host adds to what the graph wants.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// The BGP identifier.
    pub(crate) router_id: RouterId,
    /// Folder of secrets: a folder each, with a file for each key, as Kubernetes mounts them.
    pub(crate) secrets: PathBuf,
}

/// Whether a filter of a peer asks for an interface.
pub(crate) fn asks_for_interface(peer: &peering::Peer) -> bool {
    peer.import.iter().chain(&peer.export).any(|rule| rule.interface.is_some())
}

/// The networks of this host's addresses, and the interface of each; none where they cannot be read, so that no rule fits
/// that asks for one.
fn interfaces() -> BTreeMap<Ipv4Net, String> {
    let addresses = nix::ifaddrs::getifaddrs().inspect_err(|error| {
        tracing::warn!(%error, "this host's addresses cannot be read: no BGP filter that asks for an interface fits");
    });
    let network = |it: nix::ifaddrs::InterfaceAddress| {
        let address = it.address?.as_sockaddr_in()?.ip();
        let mask = it.netmask?.as_sockaddr_in()?.ip();
        Some((Ipv4Net::with_netmask(address, mask).ok()?.trunc(), it.interface_name))
    };
    addresses.into_iter().flatten().filter_map(network).collect()
}

impl Local {
    /// Makes the speaker's configuration. A peer whose password cannot be read is there, with the reason as obstacle:
    /// to talk to it without one would be worse than silence.
    pub(crate) fn config(&self, peering: &Peering) -> Config {
        let router_id = match self.router_id {
            RouterId::Address => peering.address,
            RouterId::Fixed(id) => id,
        };
        let mut config = Config::new(peering.local_as, router_id);
        config.listen_port = peering.listen_port;
        config.cluster_id = peering.cluster_id;
        config.metric = peering.metric;
        config.passing = Passing::Inside { pools: peering.pools.clone(), withheld: peering.withheld.clone() };
        if peering.peers.values().any(asks_for_interface) {
            config.interfaces = interfaces();
        }
        for (address, peer) in &peering.peers {
            config.peers.insert(SocketAddr::V4(*address), self.peer(peer, peering.address));
        }
        config
    }

    fn peer(&self, peer: &peering::Peer, own: Ipv4Addr) -> PeerConfig {
        // every field named, so that none is forgotten
        let peering::Peer {
            remote_as,
            local_as,
            passive,
            source,
            from,
            next_hop,
            reflector_client,
            allowed_local_as,
            keepalive_time,
            restart_time,
            ttl_security,
            password,
            held_down,
            import,
            export,
        } = peer;
        let kind = match source {
            PeerSource::Mesh => PeerKind::Mesh,
            PeerSource::Global => PeerKind::Global,
            PeerSource::Node => PeerKind::Node,
        };
        let (password, obstacle) = match password.as_ref().map(|secret| self.password(secret)) {
            None => (None, None),
            Some(Ok(password)) => (password, None),
            Some(Err(reason)) => (None, Some(reason)),
        };
        PeerConfig {
            local_as: *local_as,
            local_address: match from {
                SourceAddress::Node => Some(IpAddr::V4(own)),
                SourceAddress::Any => None,
            },
            passive: *passive,
            keepalive_time: *keepalive_time,
            restart_time: *restart_time,
            next_hop: *next_hop,
            reflector_client: *reflector_client,
            allowed_local_as: *allowed_local_as,
            password,
            ttl_security: *ttl_security,
            obstacle: held_down.clone().or(obstacle),
            import: import.clone(),
            export: export.clone(),
            ..PeerConfig::new(*remote_as, kind)
        }
    }

    /// Reads a password, without the newline that editors leave at its end; none if an optional secret is missing.
    fn password(&self, secret: &SecretKey) -> Result<Option<Password>, String> {
        let said = format!("password: secret {} key {}", secret.name, secret.key);
        for part in [&secret.name, &secret.key] {
            let mut components = Path::new(part).components();
            if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None)) {
                return Err(format!("{said}: not a name"));
            }
        }
        let path = self.secrets.join(&secret.name).join(&secret.key);
        let mut password = match std::fs::read(&path) {
            Ok(password) => password,
            Err(error) if error.kind() == io::ErrorKind::NotFound && secret.optional => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(format!("{said}: there is no file {}", path.display()));
            }
            Err(error) => return Err(format!("{said}: read {}: {error}", path.display())),
        };
        if password.last() == Some(&b'\n') {
            password.pop();
        }
        match password.len() {
            0 => Err(format!("{said}: {} is empty", path.display())),
            1..=LONGEST_PASSWORD => Ok(Some(Password(password))),
            length => Err(format!("{said}: {length} octets, and TCP-MD5 takes at most {LONGEST_PASSWORD}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_ids_as_calico_makes_them() {
        let fixed = |id: &str| Ok(RouterId::Fixed(id.parse().expect("an address")));
        for (text, node, expect) in [
            ("", "node1", Ok(RouterId::Address)),
            ("192.0.2.1", "node1", fixed("192.0.2.1")),
            ("hash", "node1", fixed("202.18.243.27")),
            ("hash", "worker-1", fixed("19.2.159.158")),
            ("hash", "kube-master", fixed("25.79.212.8")),
            // 224 and above are not addresses of hosts: sha256sum begins with 0xe8
            ("hash", "node16", fixed("200.251.245.244")),
        ] {
            assert_eq!(RouterId::read(text, node), expect, "{text:?} {node}");
        }
        for wrong in ["0.0.0.0", "Hash", "::1"] {
            let expect = format!("CALICO_ROUTER_ID {wrong:?}: hash or an IPv4 address is expected");
            assert_eq!(RouterId::read(wrong, "n"), Err(expect));
        }
    }

    #[test]
    fn passwords_come_from_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("bgp");
        std::fs::create_dir(&path).expect("a secret");
        for (key, content) in
            [("good", "abc def\n"), ("empty", "\n"), ("longest", &"x".repeat(80)), ("long", &"x".repeat(81))]
        {
            std::fs::write(path.join(key), content).expect("a key");
        }
        let local = Local { router_id: RouterId::Address, secrets: folder.path().to_owned() };
        let read = |name: &str, key: &str, optional| {
            let said = local.password(&SecretKey { name: name.to_owned(), key: key.to_owned(), optional });
            said.map_err(|reason| reason.replace(&folder.path().display().to_string(), "DIR"))
        };
        let password = |text: &str| Ok(Some(Password(text.as_bytes().to_vec())));
        assert_eq!(read("bgp", "good", false), password("abc def"));
        assert_eq!(read("bgp", "longest", false), password(&"x".repeat(80)));
        assert_eq!(read("bgp", "none", true), Ok(None));
        for (name, key, reason) in [
            ("bgp", "none", "password: secret bgp key none: there is no file DIR/bgp/none"),
            ("bgp", "empty", "password: secret bgp key empty: DIR/bgp/empty is empty"),
            ("bgp", "long", "password: secret bgp key long: 81 octets, and TCP-MD5 takes at most 80"),
            ("..", "passwd", "password: secret .. key passwd: not a name"),
            ("bgp", "../../passwd", "password: secret bgp key ../../passwd: not a name"),
            ("", "good", "password: secret  key good: not a name"),
        ] {
            assert_eq!(read(name, key, false), Err(reason.to_owned()));
        }
    }
}
