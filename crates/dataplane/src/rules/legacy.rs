//! Whether the legacy iptables interface is in use in this network namespace.

use std::fs;

/// The calling thread's view: `/proc/net` would be that of the process's first thread.
const TABLE_NAMES: &str = "/proc/thread-self/net/ip_tables_names";

/// Whether any legacy IPv4 table exists here; one comes into being when it is first asked for.
pub(super) fn has_tables() -> bool {
    fs::read_to_string(TABLE_NAMES).is_ok_and(|names| !names.trim().is_empty())
}
