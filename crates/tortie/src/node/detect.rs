//! Finds the node's address and subnet among its interfaces (control reference §4.3).

use ipnet::Ipv4Net;
use nix::ifaddrs::getifaddrs;
use regex::Regex;
use std::net::Ipv4Addr;

/// Interfaces that are never a node's uplink, unless named.
const EXCLUDED: &[&str] = &[
    "docker",
    "cbr",
    "dummy",
    "podman",
    "virbr",
    "lxcbr",
    "veth",
    "lo",
    "br-",
    "cali",
    "tunl",
    "flannel",
    "kube-ipvs",
    "cni",
    "vxlan.calico",
    "vxlan-v6.calico",
    "wireguard.cali",
    "wg-v6.cali",
    "nodelocaldns",
];

/// An interface's address with its subnet's prefix length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) interface: String,
    pub(crate) address: Ipv4Net,
}

/// Why no address was found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DetectError {
    #[error("IP_AUTODETECTION_METHOD {0:?}: {1}")]
    Method(String, String),
    #[error(
        "no IPv4 address found by {method}; the node has {seen}: set IP to the node's address, such as 192.0.2.1/24"
    )]
    Nothing { method: String, seen: String },
}

/// This namespace's IPv4 addresses, in the kernel's order.
pub(crate) fn candidates() -> std::io::Result<Vec<Candidate>> {
    let addresses = getifaddrs().map_err(std::io::Error::from)?;
    Ok(addresses
        .filter_map(|entry| {
            let address = entry.address?.as_sockaddr_in()?.ip();
            let mask = entry.netmask?.as_sockaddr_in()?.ip();
            let address = Ipv4Net::with_netmask(address, mask).ok()?;
            Some(Candidate { interface: entry.interface_name, address })
        })
        .collect())
}

/// Picks an address by `method`: `first-found`, `interface=REGEX,…`, `skip-interface=REGEX,…` or `cidr=CIDR,…`.
///
/// As in Calico interfaces are tried last to first, and the built-in exclusions do not apply to `interface=` and
/// `cidr=`.
pub(crate) fn detect(method: &str, candidates: &[Candidate]) -> Result<Ipv4Net, DetectError> {
    let bad = |reason: String| DetectError::Method(method.to_owned(), reason);
    let patterns = |list: &str| -> Result<Vec<Regex>, DetectError> {
        list.split(',').map(|pattern| Regex::new(pattern).map_err(|error| bad(error.to_string()))).collect()
    };
    let excluded = is_excluded;
    let usable = || candidates.iter().rev().filter(|candidate| global_unicast(candidate.address.addr()));
    let found = match method.split_once('=') {
        None if method == "first-found" || method.is_empty() => usable().find(|c| !excluded(&c.interface)),
        Some(("interface", list)) => {
            let patterns = patterns(list)?;
            patterns.iter().find_map(|pattern| usable().find(|c| pattern.is_match(&c.interface)))
        }
        Some(("skip-interface", list)) => {
            let patterns = patterns(list)?;
            usable().find(|c| !excluded(&c.interface) && !patterns.iter().any(|p| p.is_match(&c.interface)))
        }
        Some(("cidr", list)) => {
            let parse = |cidr: &str| cidr.parse::<Ipv4Net>().map_err(|error| bad(format!("{cidr:?}: {error}")));
            let ranges: Vec<Ipv4Net> = list.split(',').map(parse).collect::<Result<_, _>>()?;
            usable().find(|c| ranges.iter().any(|range| range.contains(&c.address.addr())))
        }
        _ => {
            let known = "not supported; use first-found, interface=…, skip-interface=… or cidr=…";
            return Err(bad(known.to_owned()));
        }
    };
    found.map(|candidate| candidate.address).ok_or_else(|| {
        let seen: Vec<String> = candidates.iter().map(|c| format!("{} on {}", c.address, c.interface)).collect();
        let seen = if seen.is_empty() { "no address at all".to_owned() } else { seen.join(", ") };
        DetectError::Nothing { method: if method.is_empty() { "first-found" } else { method }.to_owned(), seen }
    })
}

/// Whether an interface is never an uplink, unless named.
pub(crate) fn is_excluded(name: &str) -> bool {
    EXCLUDED.iter().any(|prefix| name.starts_with(prefix))
}

fn global_unicast(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_link_local() || address.is_multicast() || address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        let candidates: Vec<Candidate> = [
            ("lo", "127.0.0.1/8"),
            ("eth0", "192.168.10.10/24"),
            ("eth1", "10.1.2.3/16"),
            ("tunl0", "172.16.0.0/32"),
            ("cali123", "172.16.0.1/32"),
        ]
        .map(|(interface, address)| Candidate {
            interface: interface.to_owned(),
            address: address.parse().expect("an address"),
        })
        .to_vec();
        for (method, expect) in [
            ("first-found", Ok("10.1.2.3/16")),
            ("", Ok("10.1.2.3/16")),
            ("interface=eth0", Ok("192.168.10.10/24")),
            ("interface=nope,eth.*", Ok("10.1.2.3/16")),
            ("skip-interface=eth1", Ok("192.168.10.10/24")),
            ("cidr=192.168.0.0/16", Ok("192.168.10.10/24")),
            ("cidr=172.16.0.0/16", Ok("172.16.0.1/32")),
            ("interface=wlan0", Err("no IPv4 address found by interface=wlan0; the node has 127.0.0.1/8 on lo")),
            ("can-reach=8.8.8.8", Err("IP_AUTODETECTION_METHOD \"can-reach=8.8.8.8\": not supported")),
        ] {
            let found = detect(method, &candidates).map(|net| net.to_string()).map_err(|error| error.to_string());
            match expect {
                Ok(address) => assert_eq!(found, Ok(address.to_owned()), "{method}"),
                Err(start) => assert!(found.as_ref().is_err_and(|e| e.starts_with(start)), "{method}: {found:?}"),
            }
        }
    }
}
