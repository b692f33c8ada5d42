//! Whether the legacy iptables interface is in use in this network namespace.

use std::fs;

/// The calling thread's view: `/proc/net` would be that of the process's first thread.
const TABLE_NAMES: &str = "/proc/thread-self/net/ip_tables_names";
const IPV6_TABLE_NAMES: &str = "/proc/thread-self/net/ip6_tables_names";

/// Whether any legacy IPv4 table exists here; one comes into being when it is first asked for.
pub(super) fn has_tables() -> bool {
    names_some(TABLE_NAMES)
}

/// Whether any legacy IPv6 table exists here.
pub(super) fn has_ipv6_tables() -> bool {
    names_some(IPV6_TABLE_NAMES)
}

fn names_some(path: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|names| !names.trim().is_empty())
}
