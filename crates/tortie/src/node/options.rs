//! The agent's flags and environment, by Calico's names (control reference §4.2 to §4.4).

use clap::Parser;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    #[arg(long, env = "NODENAME", value_parser = text)]
    pub(crate) nodename: Option<String>,
    /// Where the node's name is kept.
    #[arg(long, env = "CALICO_NODENAME_FILE", default_value = crate::paths::NODENAME, value_parser = path)]
    pub(crate) nodename_file: PathBuf,
    /// `autodetect`, `none`, or the node's address with or without prefix length; empty detects once.
    #[arg(long, env = "IP", default_value = "", value_parser = text)]
    pub(crate) ip: String,
    /// first-found, interface=REGEX, skip-interface=REGEX or cidr=CIDR.
    #[arg(long, env = "IP_AUTODETECTION_METHOD", default_value = "first-found", value_parser = text)]
    pub(crate) ip_autodetection_method: String,
    /// How often the address is looked at again while the agent runs, as 60s or 1m30s.
    #[arg(long, env = "AUTODETECT_POLL_INTERVAL", default_value = "60s", value_parser = text)]
    pub(crate) autodetect_poll_interval: String,
    /// This node's AS number; else the cluster's.
    #[arg(long = "as", env = "AS", value_parser = text)]
    pub(crate) as_number: Option<String>,
    /// `bird` for BGP, `none` for no BGP.
    #[arg(long, env = "CALICO_NETWORKING_BACKEND", default_value = "bird", value_parser = text)]
    pub(crate) backend: String,
    /// BGP identifier: an address, or `hash` for one made of the node's name; the node's address if empty.
    #[arg(long, env = "CALICO_ROUTER_ID", default_value = "", value_parser = text)]
    pub(crate) router_id: String,
    /// Folder of BGP passwords: secret NAME's key KEY is the file NAME/KEY.
    #[arg(long, env = "TORTIE_BGP_SECRETS", default_value = "/etc/tortie/secrets", value_parser = path)]
    pub(crate) bgp_secrets: PathBuf,
    /// Words for ClusterInformation's clusterType.
    #[arg(long, env = "CLUSTER_TYPE", default_value = "", value_parser = text)]
    pub(crate) cluster_type: String,
    /// Do not create a pool when there is none.
    #[arg(long, env = "NO_DEFAULT_POOLS", default_value = "", value_parser = text)]
    pub(crate) no_default_pools: String,
    /// CIDR of the pool that is created when there is none; `none` creates none.
    #[arg(long, env = "CALICO_IPV4POOL_CIDR", default_value = "", value_parser = text)]
    pub(crate) ipv4pool_cidr: String,
    /// Its block size.
    #[arg(long, env = "CALICO_IPV4POOL_BLOCK_SIZE", default_value = "26", value_parser = number)]
    pub(crate) ipv4pool_block_size: u8,
    /// Its IPIP mode: Never, Always or CrossSubnet.
    #[arg(long, env = "CALICO_IPV4POOL_IPIP", default_value = "", value_parser = text)]
    pub(crate) ipv4pool_ipip: String,
    /// Whether it has natOutgoing.
    #[arg(long, env = "CALICO_IPV4POOL_NAT_OUTGOING", default_value = "true", value_parser = text)]
    pub(crate) ipv4pool_nat_outgoing: String,
    /// Do not refuse an address that another node has.
    #[arg(long, env = "DISABLE_NODE_IP_CHECK", default_value = "", value_parser = text)]
    pub(crate) disable_node_ip_check: String,
    /// Start although network policy stands here or is asked for, none of which is enforced: what it forbids is allowed.
    #[arg(
        long,
        env = "TORTIE_RUN_WITHOUT_ENFORCING_POLICY",
        default_value = "",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = text
    )]
    pub(crate) run_without_enforcing_policy: String,
    /// How tunl0 is made: auto (the kernel's device where it has one), kernel or bpf.
    #[arg(long, env = "TORTIE_TUNL0", default_value = "auto", value_parser = text)]
    pub(crate) tunl0: String,
    /// trace, debug, info, warn or error.
    #[arg(long, env = "CALICO_STARTUP_LOGLEVEL", default_value = "info", value_parser = text)]
    pub(crate) log_level: String,
}

/// A value without the blanks around it: what comes from a file or a template often ends in a newline.
fn text(value: &str) -> Result<String, Infallible> {
    Ok(value.trim().to_owned())
}

fn path(value: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(value.trim()))
}

fn number(value: &str) -> Result<u8, std::num::ParseIntError> {
    value.trim().parse()
}

/// Calico's reading of a boolean variable: set, and not one of the words for no.
pub(crate) fn truthy(text: &str) -> bool {
    !text.is_empty() && !["false", "0", "no", "n", "f"].contains(&text.to_lowercase().as_str())
}

/// The parameters that `FELIX_…` variables set, by lower-case name.
pub(crate) fn felix_overrides(environment: impl Iterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let name = |name: &str| name.to_lowercase().strip_prefix("felix_").map(str::to_owned);
    environment.filter_map(|(key, value)| Some((name(&key)?, value.trim().to_owned()))).collect()
}

/// How often an address is looked at again where AUTODETECT_POLL_INTERVAL says nothing that makes sense.
const POLL_INTERVAL: Duration = Duration::from_secs(60);

impl Options {
    /// Finds the node's name: option, nodename file, `HOSTNAME`, the host's own; in lower case where it is a host's.
    pub(crate) fn node_name(&self) -> io::Result<String> {
        let host = || nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned());
        self.name_among(std::env::var("HOSTNAME").ok(), || host().map_err(io::Error::from))
    }

    fn name_among(&self, variable: Option<String>, host: impl Fn() -> io::Result<String>) -> io::Result<String> {
        let said = |name: &str| Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        if let Some(name) = self.nodename.as_deref().and_then(said) {
            return Ok(name);
        }
        match std::fs::read_to_string(&self.nodename_file) {
            Ok(text) => {
                if let Some(name) = said(&text) {
                    return Ok(name);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // another name than the one that is kept there would make another node of this one
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", self.nodename_file.display())));
            }
        }
        if let Some(name) = variable.as_deref().and_then(said) {
            return Ok(name.to_lowercase());
        }
        said(&host()?).map(|name| name.to_lowercase()).ok_or_else(|| io::Error::other("this host has no name"))
    }

    /// Returns how often the address is looked at again.
    pub(crate) fn poll_interval(&self) -> Duration {
        let refused = match api::duration::parse(&self.autodetect_poll_interval) {
            Ok(interval) if !interval.is_zero() => return interval,
            Ok(_) => "no time at all".to_owned(),
            Err(_) if self.autodetect_poll_interval.is_empty() => return POLL_INTERVAL,
            Err(reason) => reason,
        };
        tracing::warn!("AUTODETECT_POLL_INTERVAL: {refused}; {} s are used", POLL_INTERVAL.as_secs());
        POLL_INTERVAL
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

    fn options(words: &[&str]) -> Options {
        Options::try_parse_from([&["tortie node"], words].concat()).expect("options")
    }

    #[test]
    fn the_name_comes_from_the_first_that_says_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nodename");
        let host = || Ok(" OwnName\n".to_owned());
        let name = |option: &str, variable: Option<&str>| {
            let options = options(&["--nodename", option, "--nodename-file", &file.display().to_string()]);
            options.name_among(variable.map(str::to_owned), host).map_err(|error| error.to_string())
        };
        for (option, variable, expect) in [
            (" Worker-1 \n", Some("x"), "Worker-1"),
            ("", Some("prodapp\n"), "prodapp"),
            (" \n", Some("\tProdApp.Example \r\n"), "prodapp.example"),
            ("", Some(" \n"), "ownname"),
            ("", None, "ownname"),
        ] {
            assert_eq!(name(option, variable), Ok(expect.to_owned()), "{option:?} {variable:?}");
        }
        std::fs::write(&file, " Kept\n").expect("the nodename file");
        assert_eq!(name("", Some("x")), Ok("Kept".to_owned()));
        assert_eq!(name("y", Some("x")), Ok("y".to_owned()));
        std::fs::write(&file, "\n").expect("the nodename file");
        assert_eq!(name("", Some("x")), Ok("x".to_owned()));
        std::fs::remove_file(&file).expect("the nodename file");
        std::fs::create_dir(&file).expect("a folder in its place");
        assert_eq!(name("", Some("x")), Err(format!("{}: Is a directory (os error 21)", file.display())));
    }

    #[test]
    fn values_lose_the_blanks_around_them() {
        let options = options(&["--ip", " 192.0.2.1/24\n", "--as", "64512\n", "--ipv4pool-block-size", "24 "]);
        assert_eq!((options.ip.as_str(), options.as_number.as_deref()), ("192.0.2.1/24", Some("64512")));
        assert_eq!(options.ipv4pool_block_size, 24);
    }

    #[test]
    fn intervals() {
        for (text, expect) in
            [("", 60_000), ("60s", 60_000), (" 1m30s\n", 90_000), ("500ms", 500), ("0", 60_000), ("often", 60_000)]
        {
            let options = options(&["--autodetect-poll-interval", text]);
            assert_eq!(options.poll_interval(), Duration::from_millis(expect), "{text:?}");
        }
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
