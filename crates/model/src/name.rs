//! Names that both ends must derive alike: kernel interface names and node names.

use sha1::{Digest, Sha1};
use std::fmt;

/// Prefix of every workload interface on the host.
pub const WORKLOAD_PREFIX: &str = "cali";
/// The IPIP tunnel device.
pub const IPIP_DEVICE: &str = "tunl0";

/// A node's name: the key of its Node resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(pub String);

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for NodeName {
    fn from(name: &str) -> Self {
        NodeName(name.to_owned())
    }
}

/// A kernel interface name, at most 15 bytes (`IFNAMSIZ` less the terminator).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(pub String);

impl IfName {
    /// The most octets of a name (`IFNAMSIZ` less the terminator).
    pub const MAX: usize = 15;
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for IfName {
    fn from(name: &str) -> Self {
        IfName(name.to_owned())
    }
}

/// Host-side interface of a Kubernetes pod: `cali` and the first 11 hex digits of SHA-1 of `NAMESPACE.POD`.
pub fn pod_interface(namespace: &str, pod: &str) -> IfName {
    let digest = Sha1::digest(format!("{namespace}.{pod}"));
    let hex: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    IfName(format!("{WORKLOAD_PREFIX}{}", &hex[..11]))
}

/// Host-side interface of a container outside Kubernetes: `cali` and the first 11 characters of its ID.
pub fn container_interface(container_id: &str) -> IfName {
    let head: String = container_id.chars().take(11).collect();
    IfName(format!("{WORKLOAD_PREFIX}{head}"))
}

/// The name of the file in which the agent says that an endpoint's routes and rules stand: orchestrator, workload and
/// endpoint, each escaped as a segment of a URL's path is, with blanks between them (dataplane reference §3.10).
pub fn endpoint_status_file(orchestrator: &str, workload: &str, endpoint: &str) -> String {
    [orchestrator, workload, endpoint].map(path_segment).join(" ")
}

/// Escapes what Go's `url.PathEscape` escapes.
fn path_segment(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+:=@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_files_are_named_as_calicos() {
        for (words, expect) in [
            (["k8s", "default/client", "eth0"], "k8s default%2Fclient eth0"),
            (["cni", "a b;c", "net@1"], "cni a%20b%3Bc net@1"),
        ] {
            assert_eq!(endpoint_status_file(words[0], words[1], words[2]), expect);
        }
    }

    #[test]
    fn pod_interfaces_are_calicos() {
        // reference/walkthrough.md and the naming vectors of the control reference
        for (namespace, pod, expect) in [
            ("default", "pod1", "calice0906292e2"),
            ("default", "pod2", "calibd2348b4f67"),
            ("kube-system", "coredns-55cb58b774-cn6c4", "calic04819f12a9"),
            ("kube-system", "calico-kube-controllers-77d59654f4-v5tgh", "cali357b53e100c"),
            ("kube-system", "coredns-55cb58b774-6lpdz", "cali76abd27fd49"),
            ("namespace", "podname", "cali82111e10a96"),
            ("default", "web-0", "cali0d7763386da"),
        ] {
            assert_eq!(pod_interface(namespace, pod), IfName::from(expect), "{namespace}.{pod}");
        }
    }

    #[test]
    fn container_interfaces_take_eleven_characters() {
        assert_eq!(container_interface("cid1"), IfName::from("calicid1"));
        assert_eq!(container_interface("0123456789abcdef"), IfName::from("cali0123456789a"));
    }
}
