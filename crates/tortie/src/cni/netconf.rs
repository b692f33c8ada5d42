//! The network configuration on standard input (dataplane reference §1.2).
//!
//! A key that Calico has and Tortie does not act on is an error that names it, never silence, where a pod's network is
//! made. What takes a pod off goes on without it: runtimes keep the configurations that pods were made with, by whatever
//! plugin.

use super::error::{CniError, Code};
use super::{Role, bad_json, ipam_plugin};
use crate::paths;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Specification versions that the plugin speaks.
pub(crate) const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Takes out what is `null`, which to Go is as good as nothing; the list of GC has a meaning of its own for it.
fn drop_nulls(json: &mut Value) {
    let Value::Object(conf) = json else { return };
    conf.retain(|key, value| !value.is_null() || key == "cni.dev/valid-attachments");
    for key in ["ipam", "policy", "feature_control", "container_settings"] {
        if let Some(Value::Object(part)) = conf.get_mut(key) {
            part.retain(|_, value| !value.is_null());
        }
    }
}

/// The keys that Tortie acts on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NetConf {
    #[serde(rename = "cniVersion")]
    pub(crate) cni_version: String,
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) plugin: String,
    pub(crate) ipam: IpamConf,
    pub(crate) args: Option<Value>,
    pub(crate) mtu: u32,
    pub(crate) num_queues: i64,
    pub(crate) nodename: String,
    pub(crate) nodename_file: String,
    pub(crate) nodename_file_optional: bool,
    pub(crate) ipam_lock_file: String,
    pub(crate) datastore_type: String,
    pub(crate) etcd_endpoints: String,
    pub(crate) etcd_discovery_srv: String,
    pub(crate) etcd_key_file: String,
    pub(crate) etcd_cert_file: String,
    pub(crate) etcd_ca_cert_file: String,
    pub(crate) hostname: String,
    pub(crate) log_level: String,
    pub(crate) log_file_path: String,
    pub(crate) policy: PolicyConf,
    pub(crate) feature_control: FeatureControl,
    pub(crate) container_settings: ContainerSettings,
    pub(crate) require_mtu_file: bool,
    pub(crate) include_default_routes: bool,
    pub(crate) policy_setup_timeout_seconds: Option<i64>,
    pub(crate) endpoint_status_dir: String,
    /// What ADD has answered, with what later plugins made of it.
    #[serde(rename = "prevResult")]
    pub(crate) prev_result: Option<Value>,
    /// GC: the attachments that are still there; a runtime written in Go says `null` for none.
    #[serde(rename = "cni.dev/valid-attachments", deserialize_with = "null_as_empty")]
    pub(crate) valid_attachments: Option<Vec<Attachment>>,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// One interface of one container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct Attachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

fn null_as_empty<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Vec<Attachment>>, D::Error> {
    Option::deserialize(json).map(|list| Some(list.unwrap_or_default()))
}

/// `ipam`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct IpamConf {
    #[serde(rename = "type")]
    pub(crate) plugin: String,
    pub(crate) assign_ipv4: String,
    pub(crate) assign_ipv6: String,
    pub(crate) ipv4_pools: Vec<String>,
    pub(crate) ipv6_pools: Vec<String>,
    /// Of another IPAM plugin: what its containers reach through their gateway.
    pub(crate) routes: Vec<RouteConf>,
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// One of `ipam.routes`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RouteConf {
    pub(crate) dst: String,
}

impl IpamConf {
    /// The destinations of `routes`.
    pub(crate) fn route_destinations(&self) -> Result<Vec<IpNet>, CniError> {
        let parse = |route: &RouteConf| {
            let dst = &route.dst;
            dst.parse().map_err(|_| CniError::new(Code::INVALID_CONFIG, format!("ipam.routes: {dst:?} is not a CIDR")))
        };
        self.routes.iter().map(parse).collect()
    }

    /// What is wrong with it, if something is.
    fn mistake(&self) -> Option<String> {
        for (key, value) in [("assign_ipv4", &self.assign_ipv4), ("assign_ipv6", &self.assign_ipv6)] {
            if !matches!(value.as_str(), "" | "true" | "false") {
                return Some(format!("ipam.{key} {value:?} is neither \"true\" nor \"false\""));
            }
        }
        if self.plugin == ipam_plugin::NAME {
            let routes = (!self.routes.is_empty()).then_some("routes");
            let unknown: Vec<String> =
                self.other.keys().map(String::as_str).chain(routes).map(|key| format!("ipam.{key}")).collect();
            return (!unknown.is_empty()).then(|| format!("{} not supported yet", unknown.join(", ")));
        }
        let text = Value::Object(self.other.clone()).to_string().to_lowercase();
        text.contains("\"usepodcidr").then(|| "ipam usePodCidr (the Kubernetes datastore) not supported yet".to_owned())
    }
}

/// `policy`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PolicyConf {
    #[serde(rename = "type")]
    pub(crate) policy_type: String,
}

/// The type of policy whose profiles follow from the pod's namespace.
pub(crate) const KUBERNETES_POLICY: &str = "k8s";

/// `feature_control`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FeatureControl {
    pub(crate) ip_addrs_no_ipam: bool,
    pub(crate) floating_ips: bool,
}

/// `container_settings`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ContainerSettings {
    pub(crate) allow_ip_forwarding: bool,
}

/// Keys of other platforms, of runtimes and of other plugins' chains, without effect on Linux.
const WITHOUT_EFFECT: [&str; 14] = [
    "mode",
    "vxlan_mac_prefix",
    "vxlan_vni",
    "qps",
    "burst",
    "cniVersions",
    "cni.dev/attachments", // what runtimes before 1.1.0 was final call the valid attachments, beside the other key
    "runtimeConfig",
    "capabilities",
    "dns",
    "kubernetes",
    "calico_api_group",
    "ipMasq",
    "etcd_authority",
];

/// The longest `policy_setup_timeout_seconds`.
const A_DAY: i64 = 24 * 60 * 60;

/// Keys that only tune the log, answered by a warning in it.
pub(crate) const LOG_ONLY: [&str; 3] = ["log_file_max_size", "log_file_max_age", "log_file_max_count"];

impl NetConf {
    /// Parses the configuration and checks what every command needs.
    pub(crate) fn parse(bytes: &[u8]) -> Result<NetConf, CniError> {
        let decoding =
            |error: &dyn Display| CniError::new(Code::DECODING, format!("error unmarshall network config: {error}"));
        if let Some(mistake) = bad_json::explain(bytes) {
            return Err(decoding(&mistake));
        }
        let mut json: Value = serde_json::from_slice(bytes).map_err(|error| decoding(&error))?;
        drop_nulls(&mut json);
        let conf: NetConf = serde_path_to_error::deserialize(json).map_err(|error| decoding(&error))?;
        conf.check_identity()?;
        Ok(conf)
    }

    fn check_identity(&self) -> Result<(), CniError> {
        let invalid = |msg: String| Err(CniError::new(Code::INVALID_CONFIG, msg));
        if self.name.is_empty() {
            return invalid("missing network name:".to_owned());
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if !self.name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !self.name.chars().all(allowed) {
            return invalid(format!("invalid characters found in network name: {}", self.name));
        }
        if !VERSIONS.contains(&self.version()) {
            let known: Vec<String> = VERSIONS.iter().map(|version| format!("{version:?}")).collect();
            return Err(CniError {
                code: Code::INCOMPATIBLE_VERSION.0,
                msg: "incompatible CNI versions".to_owned(),
                details: format!("config is {:?}, plugin supports [{}]", self.version(), known.join(" ")),
            });
        }
        Ok(())
    }

    /// Refuses what ADD could not act on.
    pub(crate) fn require_supported(&self) -> Result<(), CniError> {
        let invalid = |msg: String| Err(CniError::new(Code::INVALID_CONFIG, msg));
        let known = |key: &str| WITHOUT_EFFECT.contains(&key) || LOG_ONLY.contains(&key) || key.starts_with("windows_");
        let unknown: Vec<&str> = self.other.keys().map(String::as_str).filter(|key| !known(key)).collect();
        if !unknown.is_empty() {
            return invalid(format!("network {:?}: {} not supported yet", self.name, unknown.join(", ")));
        }
        let name = &self.name;
        if self.policy.policy_type == KUBERNETES_POLICY {
            return invalid(format!(
                "network {name:?}: policy.type \"k8s\" (the Kubernetes datastore) not supported yet"
            ));
        }
        if let Some(seconds) = self.policy_setup_timeout_seconds.filter(|seconds| !(0..=A_DAY).contains(seconds)) {
            return invalid(format!(
                "network {name:?}: policy_setup_timeout_seconds {seconds} is not between 0 and {A_DAY}, a day"
            ));
        }
        self.ipam.mistake().map_or(Ok(()), |mistake| invalid(format!("network {name:?}: {mistake}")))
    }

    /// Whether the network's containers have the profile of its name: with a type of policy, others are to have made
    /// what they need.
    pub(crate) fn makes_profile(&self) -> bool {
        self.policy.policy_type.is_empty()
    }

    /// The version that results are printed in; none given means 0.2.0.
    pub(crate) fn version(&self) -> &str {
        if self.cni_version.is_empty() { "0.2.0" } else { &self.cni_version }
    }

    /// Whether that version is `since` or newer.
    pub(crate) fn speaks(&self, since: &str) -> bool {
        let place = |version: &str| VERSIONS.iter().position(|known| *known == version);
        place(self.version()) >= place(since)
    }

    /// What a runtime asks of the plugin, by capability or by convention, and does not get.
    pub(crate) fn unheeded(&self) -> Vec<String> {
        let conventions = self.args.as_ref().and_then(|args| args.get("cni"));
        let asked = [("runtimeConfig", self.other.get("runtimeConfig")), ("args.cni", conventions)];
        let keys = |(path, object): (&str, Option<&Value>)| -> Vec<String> {
            let object = object.and_then(Value::as_object);
            object.into_iter().flat_map(Map::keys).map(|key| format!("{path}.{key}")).collect()
        };
        asked.into_iter().flat_map(keys).collect()
    }

    /// The node's name: `nodename`, the nodename file, `hostname`, the host's own name in lower case.
    ///
    /// The main plugin needs the file whatever the name comes from, unless `nodename_file_optional`: it tells that the
    /// agent has been here. The IPAM plugin alone needs only the name.
    pub(crate) fn node(&self, role: Role) -> Result<String, CniError> {
        let file = if self.nodename_file.is_empty() { paths::NODENAME } else { &self.nodename_file };
        let read = std::fs::read_to_string(file);
        let optional = self.nodename_file_optional || role == Role::Ipam;
        if let (Err(error), false) = (&read, optional) {
            let missing = error.kind() == ErrorKind::NotFound;
            let reason = if missing { "no such file or directory".to_owned() } else { error.to_string() };
            return Err(CniError::failed(format!(
                "stat {file}: {reason}: check that the node agent is running and has mounted /var/lib/calico/"
            )));
        }
        if !self.nodename.is_empty() {
            return Ok(self.nodename.clone());
        }
        let own = || nix::unistd::gethostname().map(|name| name.to_string_lossy().trim().to_lowercase());
        match read {
            Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
            _ if !self.hostname.is_empty() => Ok(self.hostname.clone()),
            _ => own().map_err(|error| CniError::failed(format!("host name: {error}"))),
        }
    }

    /// The datastore's configuration; keys here win over the environment.
    pub(crate) fn datastore(&self) -> Result<datastore::config::Config, CniError> {
        let given = |name: &str| match name {
            "DATASTORE_TYPE" => Some(&self.datastore_type),
            "ETCD_ENDPOINTS" => Some(&self.etcd_endpoints),
            "ETCD_DISCOVERY_SRV" => Some(&self.etcd_discovery_srv),
            "ETCD_KEY_FILE" => Some(&self.etcd_key_file),
            "ETCD_CERT_FILE" => Some(&self.etcd_cert_file),
            "ETCD_CA_CERT_FILE" => Some(&self.etcd_ca_cert_file),
            _ => None,
        };
        let env = |name: &str| {
            let plain = name.strip_prefix("CALICO_").unwrap_or(name);
            let given = given(plain).filter(|value| !value.is_empty()).cloned();
            given.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
        };
        datastore::config::Config::from_env(&env).map_err(|error| CniError::failed(error.to_string()))
    }

    /// The file whose lock serialises IPAM on this host.
    pub(crate) fn lock_file(&self) -> PathBuf {
        let path = if self.ipam_lock_file.is_empty() { paths::IPAM_LOCK } else { &self.ipam_lock_file };
        PathBuf::from(path)
    }

    /// The file whose bytes order the calls for one container; it lies beside the other lock.
    pub(crate) fn calls_lock_file(&self) -> PathBuf {
        self.lock_file().with_file_name(paths::CALLS_LOCK_NAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(json: &str) -> (u32, String) {
        let error = NetConf::parse(json.as_bytes()).and_then(|conf| conf.require_supported());
        let error = error.expect_err("a bad configuration");
        (error.code, format!("{} {}", error.msg, error.details).trim_end().to_owned())
    }

    #[test]
    fn bad_configurations_are_explained() {
        let plugin = r#""type":"calico","ipam":{"type":"calico-ipam"}"#;
        assert_eq!(refused(&format!("{{{plugin}}}")), (7, "missing network name:".to_owned()));
        assert_eq!(refused("{foo").0, 6);
        let versions = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
        assert_eq!(
            refused(&format!(r#"{{"name":"n","cniVersion":"1.2.0",{plugin}}}"#)),
            (1, format!("incompatible CNI versions config is \"1.2.0\", plugin supports {versions}"))
        );
        assert_eq!(
            refused(&format!(r#"{{"name":"n","cniVersion":"0.3.1","readiness_gates":[],{plugin}}}"#)),
            (7, "network \"n\": readiness_gates not supported yet".to_owned())
        );
        assert_eq!(
            refused(&format!(r#"{{"name":"n","policy":{{"type":"k8s"}},{plugin}}}"#)),
            (7, "network \"n\": policy.type \"k8s\" (the Kubernetes datastore) not supported yet".to_owned())
        );
        assert_eq!(
            refused(r#"{"name":"n","ipam":{"type":"calico-ipam","subnet":"10.0.0.0/8","routes":[{"dst":"::/0"}]}}"#),
            (7, "network \"n\": ipam.subnet, ipam.routes not supported yet".to_owned())
        );
        assert_eq!(
            refused(r#"{"name":"n","ipam":{"type":"host-local","ranges":[[{"subnet":"usePodCidr"}]]}}"#),
            (7, "network \"n\": ipam usePodCidr (the Kubernetes datastore) not supported yet".to_owned())
        );
        assert_eq!(
            refused(r#"{"name":"n","ipam":{"type":"calico-ipam","assign_ipv6":"yes"}}"#),
            (7, "network \"n\": ipam.assign_ipv6 \"yes\" is neither \"true\" nor \"false\"".to_owned())
        );
        for seconds in ["-1", "86401", "9223372036854775807"] {
            let reason = format!("policy_setup_timeout_seconds {seconds} is not between 0 and 86400, a day");
            assert_eq!(
                refused(&format!(r#"{{"name":"n","policy_setup_timeout_seconds":{seconds},{plugin}}}"#)),
                (7, format!("network \"n\": {reason}"))
            );
        }
    }

    #[test]
    fn a_wrong_type_is_named() {
        let prefix = "error unmarshall network config: ";
        for (json, expect) in [
            (r#"{"name":"n","mtu":"1400"}"#, "mtu: invalid type: string \"1400\", expected u32"),
            (r#"{"name":"n","mtu":-1}"#, "mtu: invalid value: integer `-1`, expected u32"),
            (r#"{"name":"n","ipam":{"ipv4_pools":"p"}}"#, "ipam.ipv4_pools: invalid type: string \"p\""),
            (r#"{"name":7}"#, "name: invalid type: integer `7`, expected a string"),
            (r#"{"name":"n"} x"#, "invalid character 'x' after top-level value"),
        ] {
            let (code, text) = refused(json);
            assert_eq!(code, 6, "{json}");
            assert!(text.starts_with(&format!("{prefix}{expect}")), "{json}: {text}");
        }
    }

    #[test]
    fn what_a_runtime_asks_in_vain_is_named() {
        let conf = r#"{"name":"n","runtimeConfig":{"ips":["10.0.0.1/32"],"mac":"02:00:00:00:00:01"},
            "args":{"cni":{"ips":["10.0.0.1"]},"org.apache.mesos":{}}}"#;
        let conf = NetConf::parse(conf.as_bytes()).expect("a configuration");
        assert_eq!(conf.unheeded(), ["runtimeConfig.ips", "runtimeConfig.mac", "args.cni.ips"]);
        let conf = NetConf::parse(br#"{"name":"n","runtimeConfig":null}"#).expect("a configuration");
        assert_eq!(conf.unheeded(), [] as [&str; 0]);
    }

    #[test]
    fn what_is_null_is_not_there() {
        let conf = br#"{"name":"n","mtu":null,"prevResult":null,"policy":null,"ipam":{"type":null,"routes":null}}"#;
        let conf = NetConf::parse(conf).expect("a configuration");
        assert_eq!((conf.mtu, conf.prev_result.is_none(), conf.valid_attachments.is_none()), (0, true, true));
        assert_eq!(conf.require_supported(), Ok(()));
        let conf = NetConf::parse(br#"{"name":"n","cni.dev/valid-attachments":null}"#).expect("a configuration");
        assert_eq!(conf.valid_attachments, Some(Vec::new()));
    }

    #[test]
    fn no_version_means_0_2_0() {
        let conf = NetConf::parse(br#"{"name":"n","type":"calico"}"#).expect("a configuration");
        assert_eq!(conf.version(), "0.2.0");
    }

    #[test]
    fn versions_are_ordered_as_they_were_published() {
        let conf = |version: &str| {
            NetConf::parse(format!(r#"{{"name":"n","cniVersion":"{version}"}}"#).as_bytes()).expect("a configuration")
        };
        assert_eq!(
            ["", "0.3.1", "0.4.0", "1.0.0", "1.1.0"].map(|it| conf(it).speaks("0.4.0")),
            [false, false, true, true, true]
        );
        assert_eq!(["0.4.0", "1.0.0", "1.1.0"].map(|it| conf(it).speaks("1.1.0")), [false, false, true]);
    }
}
