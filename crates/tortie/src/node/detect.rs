//! Finds the node's address and subnet among its interfaces (control reference §4.3).

use dataplane::netlink::{self, Link, Netlink};
use ipnet::{IpNet, Ipv4Net};
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

/// An interface of this host and its IPv4 addresses, each with its subnet's prefix length, in the kernel's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Ipv4Net>,
}

/// This host's interfaces, in the kernel's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interfaces {
    pub(crate) all: Vec<Interface>,
    /// Whether they are all, with all their addresses: the kernel listed nothing that could not be read.
    pub(crate) complete: bool,
}

/// Why no address was found.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum DetectError {
    /// The method itself is wrong.
    #[error("IP_AUTODETECTION_METHOD {0:?}: {1}")]
    Method(String, String),
    /// It fits no address of this host.
    #[error(
        "no IPv4 address found by {method}; the node has {seen}: set IP to the node's address, such as 192.0.2.1/24"
    )]
    Nothing { method: String, seen: String },
}

/// Lists this namespace's interfaces in the kernel's order, also those without an IPv4 address.
pub(crate) fn interfaces() -> Result<Interfaces, netlink::Error> {
    let mut netlink = Netlink::open()?;
    let links = netlink.list_links()?;
    let addresses = netlink.list_addresses()?;
    let of = |index: u32| {
        let held = addresses.objects.iter().filter(move |address| address.link == index);
        held.filter_map(|address| match address.net {
            IpNet::V4(address) => Some(address),
            IpNet::V6(_) => None,
        })
    };
    // an address may have a label of its own, such as eth0:1; what counts is its link's name
    let complete = links.complete && addresses.complete;
    let interface = |link: Link| Interface { addresses: of(link.index).collect(), name: link.name.0 };
    Ok(Interfaces { all: links.objects.into_iter().map(interface).collect(), complete })
}

/// Picks an address by `method`: `first-found`, `interface=REGEX,…`, `skip-interface=REGEX,…` or `cidr=CIDR,…`.
///
/// As in Calico interfaces are gone through last to first and each one's addresses first to last, lists are split at
/// commas with blanks around them, and the built-in exclusions do not apply to `interface=` and `cidr=`.
pub(crate) fn detect(method: &str, interfaces: &[Interface]) -> Result<Ipv4Net, DetectError> {
    let bad = |reason: String| DetectError::Method(method.to_owned(), reason);
    let patterns = |list: &str| -> Result<Vec<Regex>, DetectError> {
        let words = words(list).map_err(|reason| bad(reason.to_owned()))?;
        words.into_iter().map(|pattern| Regex::new(pattern).map_err(|error| bad(error.to_string()))).collect()
    };
    let any = |patterns: &[Regex], name: &str| patterns.iter().any(|pattern| pattern.is_match(name));
    let found = match method.split_once('=').map(|(word, list)| (word.trim(), list)) {
        None if method == "first-found" || method.is_empty() => {
            pick(interfaces, |interface| !is_excluded(interface), |_| true)
        }
        Some(("interface", list)) => {
            let patterns = patterns(list)?;
            pick(interfaces, |interface| any(&patterns, interface), |_| true)
        }
        Some(("skip-interface", list)) => {
            let patterns = patterns(list)?;
            pick(interfaces, |interface| !is_excluded(interface) && !any(&patterns, interface), |_| true)
        }
        Some(("cidr", list)) => {
            let parse = |cidr: &str| cidr.parse::<Ipv4Net>().map_err(|error| bad(format!("{cidr:?}: {error}")));
            let words = words(list).map_err(|reason| bad(reason.to_owned()))?;
            let ranges: Vec<Ipv4Net> = words.into_iter().map(parse).collect::<Result<_, _>>()?;
            pick(interfaces, |_| true, |address| ranges.iter().any(|range| range.contains(&address)))
        }
        _ => {
            let known = "not supported; use first-found, interface=…, skip-interface=… or cidr=…";
            return Err(bad(known.to_owned()));
        }
    };
    found.ok_or_else(|| DetectError::Nothing {
        method: if method.is_empty() { "first-found" } else { method }.to_owned(),
        seen: seen(interfaces),
    })
}

/// The first address that will do, on the last interface that has one.
fn pick(
    interfaces: &[Interface],
    interface_counts: impl Fn(&str) -> bool,
    address_counts: impl Fn(Ipv4Addr) -> bool,
) -> Option<Ipv4Net> {
    let counts = |address: &&Ipv4Net| global_unicast(address.addr()) && address_counts(address.addr());
    let tried = interfaces.iter().rev().filter(|interface| interface_counts(&interface.name));
    tried.filter_map(|interface| interface.addresses.iter().find(counts)).copied().next()
}

/// The parts of a list that say something.
fn words(list: &str) -> Result<Vec<&str>, &'static str> {
    let words: Vec<&str> = list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { Err("the list after = is empty") } else { Ok(words) }
}

fn seen(interfaces: &[Interface]) -> String {
    let on = |interface: &Interface| {
        interface.addresses.iter().map(|address| format!("{address} on {}", interface.name)).collect::<Vec<_>>()
    };
    let seen: Vec<String> = interfaces.iter().flat_map(on).collect();
    if seen.is_empty() { "no address at all".to_owned() } else { seen.join(", ") }
}

/// Whether an interface is never an uplink, unless named.
pub(crate) fn is_excluded(name: &str) -> bool {
    EXCLUDED.iter().any(|prefix| name.starts_with(prefix))
}

fn global_unicast(address: Ipv4Addr) -> bool {
    !(address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_unspecified()
        || address.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interfaces by name, each with its addresses.
    fn host(interfaces: &[(&str, &[&str])]) -> Vec<Interface> {
        let parse = |text: &&str| text.parse().expect("an address");
        let interface = |(name, addresses): &(&str, &[&str])| Interface {
            name: (*name).to_owned(),
            addresses: addresses.iter().map(parse).collect(),
        };
        interfaces.iter().map(interface).collect()
    }

    fn check(interfaces: &[Interface], cases: &[(&str, Result<&str, &str>)]) {
        for (method, expect) in cases {
            let found = detect(method, interfaces).map(|net| net.to_string()).map_err(|error| error.to_string());
            match expect {
                Ok(address) => assert_eq!(found, Ok((*address).to_owned()), "{method}"),
                Err(start) => assert!(found.as_ref().is_err_and(|e| e.starts_with(start)), "{method}: {found:?}"),
            }
        }
    }

    #[test]
    fn methods() {
        let interfaces = host(&[
            ("lo", &["127.0.0.1/8"]),
            ("eth0", &["192.168.10.10/24"]),
            ("eth1", &["10.1.2.3/16"]),
            ("tunl0", &["172.16.0.0/32"]),
            ("cali123", &["172.16.0.1/32"]),
            ("eth2", &[]),
        ]);
        check(
            &interfaces,
            &[
                ("first-found", Ok("10.1.2.3/16")),
                ("", Ok("10.1.2.3/16")),
                ("interface=eth0", Ok("192.168.10.10/24")),
                ("interface=nope,eth.*", Ok("10.1.2.3/16")),
                ("skip-interface=eth1", Ok("192.168.10.10/24")),
                ("cidr=192.168.0.0/16", Ok("192.168.10.10/24")),
                ("cidr=172.16.0.0/16", Ok("172.16.0.1/32")),
                ("interface=wlan0", Err("no IPv4 address found by interface=wlan0; the node has 127.0.0.1/8 on lo")),
                ("can-reach=8.8.8.8", Err("IP_AUTODETECTION_METHOD \"can-reach=8.8.8.8\": not supported")),
            ],
        );
    }

    #[test]
    fn interfaces_last_to_first_and_their_addresses_first_to_last() {
        let virtual_address = host(&[("eth0", &["192.168.10.101/24", "192.168.10.59/32"])]);
        let found = Ok("192.168.10.101/24");
        check(
            &virtual_address,
            &[
                ("first-found", found),
                ("interface=eth0", found),
                ("skip-interface=eth1", found),
                ("cidr=192.168.10.0/24", found),
                ("cidr=192.168.10.56/29", Ok("192.168.10.59/32")),
            ],
        );
        let two = host(&[
            ("eth0", &["10.0.0.1/24", "10.0.0.9/32"]),
            ("bond0", &["169.254.7.7/16", "255.255.255.255/32", "10.1.0.1/24", "10.1.0.9/32", "10.1.1.1/24"]),
        ]);
        check(
            &two,
            &[
                ("first-found", Ok("10.1.0.1/24")),
                ("interface=eth0,bond0", Ok("10.1.0.1/24")),
                ("interface=bond0,eth0", Ok("10.1.0.1/24")),
                ("cidr=10.0.0.0/16,10.1.1.0/24", Ok("10.1.1.1/24")),
            ],
        );
    }

    #[test]
    fn lists_are_split_at_commas_with_blanks_around_them() {
        let interfaces = host(&[
            ("lo", &["127.0.0.1/8"]),
            ("eth0", &["192.168.1.7/24"]),
            ("ens3", &["10.9.0.7/24"]),
            ("eth1", &["10.8.0.7/24"]),
            ("tailscale0", &["100.64.0.7/32"]),
        ]);
        check(
            &interfaces,
            &[
                ("skip-interface=tailscale.*, eth1, ens.*", Ok("192.168.1.7/24")),
                ("interface=ens.*, eth0", Ok("10.9.0.7/24")),
                ("interface=wl.* ,\teth0", Ok("192.168.1.7/24")),
                ("cidr=172.16.0.0/12, 192.168.0.0/16", Ok("192.168.1.7/24")),
                ("cidr= 10.9.0.0/16 , 192.168.0.0/16,", Ok("10.9.0.7/24")),
                ("skip-interface=tailscale0,,eth1", Ok("10.9.0.7/24")),
                ("interface=", Err("IP_AUTODETECTION_METHOD \"interface=\": the list after = is empty")),
                ("cidr= , ", Err("IP_AUTODETECTION_METHOD \"cidr= , \": the list after = is empty")),
                ("cidr=10.0.0.0/8, 10.0.0.0/33", Err("IP_AUTODETECTION_METHOD")),
                ("interface=eth(", Err("IP_AUTODETECTION_METHOD")),
            ],
        );
    }
}
