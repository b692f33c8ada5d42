//! Whether the legacy iptables interface is in use in this network namespace.

use super::RulesError;
use std::{fs, io};

/// The calling thread's view: `/proc/net` would be that of the process's first thread.
const TABLE_NAMES: &str = "/proc/thread-self/net/ip_tables_names";
const IPV6_TABLE_NAMES: &str = "/proc/thread-self/net/ip6_tables_names";

/// Whether any legacy IPv4 table exists here; one comes into being when it is first asked for.
pub(super) fn has_tables() -> Result<bool, RulesError> {
    names_some(TABLE_NAMES)
}

/// Whether any legacy IPv6 table exists here.
pub(super) fn has_ipv6_tables() -> Result<bool, RulesError> {
    names_some(IPV6_TABLE_NAMES)
}

/// A kernel without the interface has no such list; one that cannot be read may name anything.
fn names_some(path: &'static str) -> Result<bool, RulesError> {
    match fs::read_to_string(path) {
        Ok(names) => Ok(!names.trim().is_empty()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(RulesError::File { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_cannot_be_read_is_not_taken_for_none() {
        assert!(!names_some("/proc/thread-self/net/no_tables_names").expect("it does not exist"));
        // a folder is there, and cannot be read as a file
        let error = names_some("/proc/thread-self/net").expect_err("it is no file").to_string();
        assert_eq!(error, "read /proc/thread-self/net: Is a directory (os error 21)");
    }
}
