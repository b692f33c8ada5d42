//! The agent's flags and environment, by Calico's names (control reference §4.2 to §4.4).

use clap::Parser;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs the node agent: registers this node, makes its kernel agree with the datastore, and speaks BGP.
///
/// The datastore is found by DATASTORE_TYPE, ETCD_ENDPOINTS and their like, or else by the configuration file.
/// FELIX_NAME=VALUE sets a FelixConfiguration parameter on this node, stronger than the datastore's.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "tortie node",
    after_help = "Examples:
  ETCD_ENDPOINTS=http://192.0.2.1:2379 tortie node
  tortie node --config /etc/calico/calicoctl.cfg --nodename worker-1 --ip 192.0.2.7/24

Where the agent is not to run any more, `tortie node cleanup` removes what it made (see its --help)."
)]
pub(crate) struct Options {
    /// Datastore configuration, used when the environment names no datastore.
    #[arg(short, long, default_value = "/etc/calico/calicoctl.cfg")]
    pub(crate) config: PathBuf,
    /// This node's name; else the nodename file's, else the host's in lower case.
    #[arg(long, env = "NODENAME")]
    pub(crate) nodename: Option<String>,
    /// Where the node's name is kept.
    #[arg(long, env = "CALICO_NODENAME_FILE", default_value = crate::paths::NODENAME)]
    pub(crate) nodename_file: PathBuf,
    /// `autodetect`, `none`, or the node's address with or without prefix length; empty detects once.
    #[arg(long, env = "IP", default_value = "")]
    pub(crate) ip: String,
    /// first-found, interface=REGEX, skip-interface=REGEX or cidr=CIDR.
    #[arg(long, env = "IP_AUTODETECTION_METHOD", default_value = "first-found")]
    pub(crate) ip_autodetection_method: String,
    /// This node's AS number; else the cluster's.
    #[arg(long = "as", env = "AS")]
    pub(crate) as_number: Option<String>,
    /// `bird` for BGP, `none` for no BGP.
    #[arg(long, env = "CALICO_NETWORKING_BACKEND", default_value = "bird")]
    pub(crate) backend: String,
    /// BGP identifier: an address, or `hash` for one made of the node's name; the node's address if empty.
    #[arg(long, env = "CALICO_ROUTER_ID", default_value = "")]
    pub(crate) router_id: String,
    /// Folder of BGP passwords: secret NAME's key KEY is the file NAME/KEY.
    #[arg(long, env = "TORTIE_BGP_SECRETS", default_value = "/etc/tortie/secrets")]
    pub(crate) bgp_secrets: PathBuf,
    /// Words for ClusterInformation's clusterType.
    #[arg(long, env = "CLUSTER_TYPE", default_value = "")]
    pub(crate) cluster_type: String,
    /// Do not create a pool when there is none.
    #[arg(long, env = "NO_DEFAULT_POOLS", default_value = "")]
    pub(crate) no_default_pools: String,
    /// CIDR of the pool that is created when there is none; `none` creates none.
    #[arg(long, env = "CALICO_IPV4POOL_CIDR", default_value = "")]
    pub(crate) ipv4pool_cidr: String,
    /// Its block size.
    #[arg(long, env = "CALICO_IPV4POOL_BLOCK_SIZE", default_value_t = 26)]
    pub(crate) ipv4pool_block_size: u8,
    /// Its IPIP mode: Never, Always or CrossSubnet.
    #[arg(long, env = "CALICO_IPV4POOL_IPIP", default_value = "")]
    pub(crate) ipv4pool_ipip: String,
    /// Whether it has natOutgoing.
    #[arg(long, env = "CALICO_IPV4POOL_NAT_OUTGOING", default_value = "true")]
    pub(crate) ipv4pool_nat_outgoing: String,
    /// Do not refuse an address that another node has.
    #[arg(long, env = "DISABLE_NODE_IP_CHECK", default_value = "")]
    pub(crate) disable_node_ip_check: String,
    /// How tunl0 is made: auto (the kernel's device where it has one), kernel or bpf.
    #[arg(long, env = "TORTIE_TUNL0", default_value = "auto")]
    pub(crate) tunl0: String,
    /// trace, debug, info, warn or error.
    #[arg(long, env = "CALICO_STARTUP_LOGLEVEL", default_value = "info")]
    pub(crate) log_level: String,
}

/// Calico's reading of a boolean variable: set, and not one of the words for no.
pub(crate) fn truthy(text: &str) -> bool {
    !text.is_empty() && !["false", "0", "no", "n", "f"].contains(&text.to_lowercase().as_str())
}

/// The parameters that `FELIX_…` variables set, by lower-case name.
pub(crate) fn felix_overrides(environment: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let name = |name: &str| name.to_lowercase().strip_prefix("felix_").map(str::to_owned);
    environment.filter_map(|(key, value)| Some((name(&key)?, value))).collect()
}

impl Options {
    /// The node's name: option, nodename file, `HOSTNAME`, the host's own; in lower case where it is a host's.
    pub(crate) fn node_name(&self) -> Result<String, std::io::Error> {
        if let Some(name) = self.nodename.as_deref().map(str::trim).filter(|name| !name.is_empty()) {
            return Ok(name.to_owned());
        }
        if let Ok(text) = std::fs::read_to_string(&self.nodename_file)
            && !text.trim().is_empty()
        {
            return Ok(text.trim().to_owned());
        }
        if let Some(name) = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty()) {
            return Ok(name.to_lowercase());
        }
        Ok(nix::unistd::gethostname()?.to_string_lossy().trim().to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn felix_variables_lose_prefix_and_case() {
        let pairs = [("FELIX_IPIPMTU", "1400"), ("felix_LogSeverityScreen", "Debug"), ("PATH", "/bin")];
        let found = felix_overrides(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let expect = [("ipipmtu", "1400"), ("logseverityscreen", "Debug")];
        assert_eq!(found, expect.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect());
    }

    #[test]
    fn words_for_no() {
        for word in ["", "false", "0", "No", "n", "F"] {
            assert!(!truthy(word), "{word}");
        }
        for word in ["true", "1", "yes", "anything"] {
            assert!(truthy(word), "{word}");
        }
    }
}
