//! Files by which the processes on a node meet, at Calico's paths; each is spelled here alone.

/// Folder of sockets and locks, gone after a reboot.
pub(crate) const RUN: &str = "/var/run/calico";
/// Where BIRD's control socket is expected, which the agent serves.
pub(crate) const CONTROL_SOCKET: &str = "/var/run/calico/bird.ctl";
/// Where an agent that speaks no BGP answers instead: whoever finds the socket above expects BGP behind it.
pub(crate) const SILENT_CONTROL_SOCKET: &str = "/var/run/calico/tortie.ctl";
/// Held by whoever changes this node's kernel: the agent, or its cleanup.
pub(crate) const NODE_LOCK: &str = "/var/run/calico/tortie-node.lock";
/// Where the agent says which endpoints' routes and rules stand, and the CNI plugin looks.
pub(crate) const ENDPOINT_STATUS: &str = "/var/run/calico/endpoint-status";
/// Serialises IPAM on this host, unless the CNI configuration names another file.
pub(crate) const IPAM_LOCK: &str = "/var/run/calico/ipam.lock";
/// Orders CNI calls for one container; lies beside the lock above, wherever that is.
pub(crate) const CALLS_LOCK_NAME: &str = "cni-calls.lock";
/// Folder of what outlives a reboot.
pub(crate) const STATE: &str = "/var/lib/calico";
/// The pods' MTU, which the agent writes and the CNI plugin reads.
pub(crate) const MTU: &str = "/var/lib/calico/mtu";
/// The node's name, which the agent writes and the CNI plugin reads.
pub(crate) const NODENAME: &str = "/var/lib/calico/nodename";
