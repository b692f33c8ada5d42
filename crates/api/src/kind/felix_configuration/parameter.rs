//! FelixConfiguration's parameters: the table of their names, types, ranges and defaults.

use super::choice::{Choice, any_case, checked, listed, tagged};
use super::limits::LIMITS;
use crate::duration;
use crate::invalid::Invalid;
use crate::selector::Selector;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a parameter's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterType {
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Int(i64, i64),
    /// A Go duration such as `90s`.
    Duration,
    /// One of a few words.
    Choice(Choice),
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
    /// A port, or a range `MIN:MAX`.
    Ports,
    /// A selector over labels.
    Selector,
    /// Any text.
    Text,
    /// A list.
    List,
    /// An object.
    Map,
    /// Any value.
    Any,
}

/// One parameter of a FelixConfiguration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The field's name in `spec`.
    pub name: &'static str,
    /// What its value may be.
    pub kind: ParameterType,
    /// What counts where it is not set, as text; empty for nothing.
    pub default: &'static str,
    /// Whether it changes what this version does.
    pub acted_on: bool,
}

impl Parameter {
    /// Finds a parameter by its field name.
    pub fn by_name(name: &str) -> Option<&'static Parameter> {
        PARAMETERS.iter().find(|parameter| parameter.name == name)
    }

    /// The field's name in Go: some of its words are in capitals there, and one has another name altogether.
    fn name_in_go(&self) -> String {
        const CAPITALS: [&str; 8] = ["bpf", "nat", "aws", "ip", "xdp", "mtu", "ipip", "vxlan"];
        if self.name == "bpfConntrackMode" {
            return "BPFConntrackCleanupMode".to_owned();
        }
        let first = self.name.find(|c: char| c.is_ascii_uppercase()).unwrap_or(self.name.len());
        let (word, rest) = self.name.split_at(first);
        if CAPITALS.contains(&word) {
            return format!("{}{rest}", word.to_uppercase());
        }
        let mut name = self.name.to_owned();
        name[..1].make_ascii_uppercase();
        name
    }

    /// Whether it is an object with fields of its own.
    fn has_fields(&self) -> bool {
        LIMITS.iter().any(|(name, key, _)| *name == self.name && *key == "properties")
    }

    /// What the schema says of it.
    pub(super) fn schema(&self) -> Value {
        const DURATION: &str = r"^([0-9]+(\\.[0-9]+)?(ms|s|m|h))*$";
        let mut schema = match self.kind {
            ParameterType::Bool => json!({"type": "boolean"}),
            ParameterType::Int(..) => json!({"type": "integer"}),
            ParameterType::Duration => json!({"type": "string", "pattern": DURATION}),
            ParameterType::Choice(choice) => choice.schema(),
            ParameterType::Ipv4 | ParameterType::Ipv6 | ParameterType::Text | ParameterType::Selector => {
                json!({"type": "string"})
            }
            ParameterType::Ports => json!({
                "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^.*", "x-kubernetes-int-or-string": true,
            }),
            ParameterType::List => json!({"type": "array", "items": {"type": "string"}}),
            // its fields are among the limits
            ParameterType::Map if self.has_fields() => json!({"type": "object"}),
            ParameterType::Map => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            ParameterType::Any => json!({"x-kubernetes-preserve-unknown-fields": true}),
        };
        for (_, key, value) in LIMITS.iter().filter(|(name, ..)| *name == self.name) {
            schema[*key] = serde_json::from_str(value).expect("the limits below are JSON");
        }
        // a limit of the type that Calico's schema does not have for this one
        if let Value::Object(fields) = &mut schema {
            fields.retain(|_, limit| !limit.is_null());
        }
        if !self.default.is_empty() {
            schema["description"] = format!("Default {}.", self.default).into();
        }
        schema
    }

    /// Reports a value of the wrong type or out of range.
    pub(super) fn check(&self, value: &Value, invalid: &mut Invalid) {
        let field = format!("spec.{}", self.name);
        let text = value.as_str();
        let shown = text.map_or_else(|| value.to_string(), str::to_owned);
        // what has not even the type is nothing that Calico could decode
        let (has_type, ok) = match self.kind {
            ParameterType::Bool => (value.is_boolean(), true),
            ParameterType::Int(least, most) => {
                (value.is_i64(), value.as_i64().is_some_and(|number| (least..=most).contains(&number)))
            }
            ParameterType::Duration => match text.map(duration::parse) {
                Some(Err(reason)) => return invalid.undecodable(&field, &shown, &reason),
                Some(Ok(_)) => (true, true),
                None => (false, false),
            },
            ParameterType::Choice(choice) => match text {
                Some(text) => return choice.check(self.name, &self.name_in_go(), text, invalid),
                None => (false, false),
            },
            ParameterType::Ipv4 => (text.is_some(), text.is_some_and(|text| text.parse::<Ipv4Addr>().is_ok())),
            ParameterType::Ipv6 => (text.is_some(), text.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok())),
            ParameterType::Ports => (true, is_port_range(&shown)),
            ParameterType::Selector => (text.is_some(), text.is_some_and(|text| Selector::parse(text).is_ok())),
            ParameterType::Text => (text.is_some(), true),
            ParameterType::List => (value.is_array(), true),
            ParameterType::Map => (value.is_object(), true),
            ParameterType::Any => (true, true),
        };
        if !has_type {
            invalid.undecodable(&field, &shown, &self.kind.expectation());
        } else if !ok {
            invalid.push(&field, &shown, &self.kind.expectation());
        }
    }

    /// Whether a value is what counts anyway; so does an empty text, which sets nothing.
    pub(super) fn is_default(&self, value: &Value) -> bool {
        match (self.kind, value) {
            (_, Value::String(text)) if text.is_empty() => true,
            (ParameterType::Duration, Value::String(text)) => duration::parse(text) == duration::parse(self.default),
            (_, Value::String(text)) => text.eq_ignore_ascii_case(self.default),
            (_, other) => serde_json::from_str::<Value>(self.default).is_ok_and(|default| default == *other),
        }
    }
}

impl ParameterType {
    fn expectation(self) -> String {
        match self {
            ParameterType::Bool => "must be true or false".to_owned(),
            ParameterType::Int(least, i64::MAX) => format!("must be a whole number from {least}"),
            ParameterType::Int(least, most) => format!("must be a whole number between {least} and {most}"),
            ParameterType::Duration => "must be a duration such as 90s".to_owned(),
            ParameterType::Choice(choice) => format!("must be one of {}", choice.words.join(", ")),
            ParameterType::Ipv4 => "must be an IPv4 address".to_owned(),
            ParameterType::Ipv6 => "must be an IPv6 address".to_owned(),
            ParameterType::Ports => "must be a port, or a range MIN:MAX".to_owned(),
            ParameterType::Selector => "must be a selector".to_owned(),
            ParameterType::Text => "must be a string".to_owned(),
            ParameterType::List => "must be a list".to_owned(),
            ParameterType::Map => "must be an object".to_owned(),
            ParameterType::Any => String::new(),
        }
    }
}

fn is_port_range(text: &str) -> bool {
    let (least, most) = text.split_once(':').unwrap_or((text, text));
    matches!((least.parse::<u16>(), most.parse::<u16>()), (Ok(least), Ok(most)) if least <= most)
}

const fn acts(name: &'static str, kind: ParameterType, default: &'static str) -> Parameter {
    Parameter { name, kind, default, acted_on: true }
}

const fn later(name: &'static str, kind: ParameterType, default: &'static str) -> Parameter {
    Parameter { name, kind, default, acted_on: false }
}

use ParameterType::{Any, Bool, Duration, Int, Ipv4, Ipv6, List, Map, Ports, Selector as Labels, Text};

/// Words that the schema has as a pattern and as a list, and Go checks.
const IPTABLES_BACKEND: ParameterType = ParameterType::Choice(Choice {
    words: &["Legacy", "NFT", "Auto"],
    pattern: Some("Auto|Legacy|NFT"),
    listed: true,
    tag: Some("iptablesBackend"),
});

/// The largest route metric that FelixConfiguration takes.
const MAX_METRIC: i64 = 2_147_483_646;

/// Every parameter, in the order in which Calico stores them (dataplane reference §3.11).
pub static PARAMETERS: &[Parameter] = &[
    later("useInternalDataplaneDriver", Bool, "true"),
    later("dataplaneDriver", Text, "calico-iptables-plugin"),
    later("dataplaneWatchdogTimeout", Duration, "90s"),
    later("ipv6Support", Bool, "true"),
    acts("routeRefreshInterval", Duration, "90s"),
    acts("interfaceRefreshInterval", Duration, "90s"),
    acts("iptablesRefreshInterval", Duration, "180s"),
    later("iptablesPostWriteCheckInterval", Duration, "5s"),
    later("iptablesLockProbeInterval", Duration, "50ms"),
    later("featureDetectOverride", Text, ""),
    later("featureGates", Text, ""),
    acts("ipsetsRefreshInterval", Duration, "90s"),
    later("maxIpsetSize", Int(0, i64::MAX), "1048576"),
    later("iptablesBackend", IPTABLES_BACKEND, "Auto"),
    later("xdpRefreshInterval", Duration, "90s"),
    acts("netlinkTimeout", Duration, "10s"),
    later("metadataAddr", Text, "127.0.0.1"),
    later("metadataPort", Int(0, 65535), "8775"),
    later("openstackRegion", Text, ""),
    later("interfacePrefix", Text, "cali"),
    later("interfaceExclude", Text, "kube-ipvs0"),
    acts("chainInsertMode", any_case(&["Insert", "Append"], "Insert|Append"), "Insert"),
    acts(
        "defaultEndpointToHostAction",
        tagged(&["Drop", "Accept", "Return"], "Drop|Accept|Return", "dropAcceptReturn"),
        "Drop",
    ),
    acts("iptablesFilterAllowAction", tagged(&["Accept", "Return"], "Accept|Return", "acceptReturn"), "Accept"),
    acts("iptablesMangleAllowAction", tagged(&["Accept", "Return"], "Accept|Return", "acceptReturn"), "Accept"),
    later("iptablesFilterDenyAction", tagged(&["Drop", "Reject"], "Drop|Reject", "dropReject"), "Drop"),
    later("logPrefix", Text, "calico-packet"),
    later("logActionRateLimit", Text, ""),
    later("logActionRateLimitBurst", Int(0, i64::MAX), "5"),
    later("logFilePath", Text, "/var/log/calico/felix.log"),
    later(
        "logSeverityFile",
        tagged(
            &["Trace", "Debug", "Info", "Warning", "Error", "Fatal"],
            "Trace|Debug|Info|Warning|Error|Fatal",
            "logLevel",
        ),
        "Info",
    ),
    acts(
        "logSeverityScreen",
        tagged(
            &["Trace", "Debug", "Info", "Warning", "Error", "Fatal"],
            "Trace|Debug|Info|Warning|Error|Fatal",
            "logLevel",
        ),
        "Info",
    ),
    later(
        "logSeveritySys",
        tagged(
            &["Trace", "Debug", "Info", "Warning", "Error", "Fatal"],
            "Trace|Debug|Info|Warning|Error|Fatal",
            "logLevel",
        ),
        "Info",
    ),
    later("logDebugFilenameRegex", Text, ""),
    acts("ipipEnabled", Bool, ""),
    acts("ipipMTU", Int(0, i64::MAX), "0"),
    later("vxlanEnabled", Bool, ""),
    acts("vxlanMTU", Int(0, i64::MAX), "0"),
    acts("vxlanMTUV6", Int(0, i64::MAX), "0"),
    acts("vxlanPort", Int(0, i64::MAX), "4789"),
    later("vxlanVNI", Int(0, i64::MAX), "4096"),
    acts("allowVXLANPacketsFromWorkloads", Bool, "false"),
    acts("allowIPIPPacketsFromWorkloads", Bool, "false"),
    acts("reportingInterval", Duration, "30s"),
    later("reportingTTL", Duration, "90s"),
    later("endpointReportingEnabled", Bool, "false"),
    later("endpointReportingDelay", Duration, "1s"),
    later("endpointStatusPathPrefix", Text, "/var/run/calico"),
    acts("iptablesMarkMask", Int(0, 0xffff_ffff), "0xffff0000"),
    acts("disableConntrackInvalidCheck", Bool, "false"),
    acts("healthEnabled", Bool, "false"),
    acts("healthHost", Text, "localhost"),
    acts("healthPort", Int(0, 65535), "9099"),
    later("healthTimeoutOverrides", List, ""),
    acts("prometheusMetricsEnabled", Bool, "false"),
    acts("prometheusMetricsHost", Text, ""),
    acts("prometheusMetricsPort", Int(0, 65535), "9091"),
    later("prometheusGoMetricsEnabled", Bool, "true"),
    later("prometheusProcessMetricsEnabled", Bool, "true"),
    later("prometheusWireGuardMetricsEnabled", Bool, "true"),
    later("prometheusMetricsCAFile", Text, ""),
    later("prometheusMetricsCertFile", Text, ""),
    later("prometheusMetricsKeyFile", Text, ""),
    later(
        "prometheusMetricsClientAuth",
        listed(&["NoClientCert", "RequireAndVerifyClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven"]),
        "RequireAndVerifyClientCert",
    ),
    later("failsafeInboundHostPorts", List, ""),
    later("failsafeOutboundHostPorts", List, ""),
    later("kubeNodePortRanges", List, ""),
    later("policySyncPathPrefix", Text, ""),
    later("usageReportingEnabled", Bool, "true"),
    later("usageReportingInitialDelay", Duration, "300s"),
    later("usageReportingInterval", Duration, "86400s"),
    later("natPortRange", Ports, ""),
    acts("natOutgoingAddress", Ipv4, ""),
    acts("natOutgoingExclusions", checked(&["IPPoolsOnly", "IPPoolsAndHostIPs"], "oneof"), "IPPoolsOnly"),
    later("deviceRouteSourceAddress", Ipv4, ""),
    later("deviceRouteSourceAddressIPv6", Ipv6, ""),
    acts("deviceRouteProtocol", Int(0, 255), "3"),
    later("removeExternalRoutes", Bool, "true"),
    later("programClusterRoutes", listed(&["Enabled", "Disabled"]), "Disabled"),
    later("ipForwarding", listed(&["Enabled", "Disabled"]), "Enabled"),
    acts("ipv4NormalRoutePriority", Int(1, MAX_METRIC), "1024"),
    later("ipv4ElevatedRoutePriority", Int(1, MAX_METRIC), "512"),
    later("ipv6NormalRoutePriority", Int(1, MAX_METRIC), "1024"),
    later("ipv6ElevatedRoutePriority", Int(1, MAX_METRIC), "512"),
    later("liveMigrationRouteConvergenceTime", Duration, "30s"),
    acts("externalNodesList", List, ""),
    later("debugMemoryProfilePath", Text, ""),
    later("debugDisableLogDropping", Bool, "false"),
    later("debugSimulateCalcGraphHangAfter", Duration, "0s"),
    later("debugSimulateDataplaneHangAfter", Duration, "0s"),
    later("debugSimulateDataplaneApplyDelay", Duration, "0s"),
    later("debugHost", Text, "localhost"),
    later("debugPort", Int(0, 65535), ""),
    later("iptablesNATOutgoingInterfaceFilter", Text, ""),
    later("sidecarAccelerationEnabled", Bool, "false"),
    later("xdpEnabled", Bool, "true"),
    later("genericXDPEnabled", Bool, "false"),
    acts("nftablesMode", listed(&["Disabled", "Enabled", "Auto"]), "Auto"),
    acts("nftablesRefreshInterval", Duration, "180s"),
    acts("nftablesFilterAllowAction", tagged(&["Accept", "Return"], "Accept|Return", "acceptReturn"), "Accept"),
    acts("nftablesMangleAllowAction", tagged(&["Accept", "Return"], "Accept|Return", "acceptReturn"), "Accept"),
    later("nftablesFilterDenyAction", tagged(&["Drop", "Reject"], "Drop|Reject", "dropReject"), "Drop"),
    acts("nftablesMarkMask", Int(0, 0xffff_ffff), "0xffff0000"),
    later("bpfEnabled", Bool, "false"),
    later("bpfDisableUnprivileged", Bool, "true"),
    later("bpfJITHardening", listed(&["Auto", "Strict"]), "Auto"),
    later("bpfLogLevel", tagged(&["Off", "Info", "Debug"], "Off|Info|Debug", "bpfLogLevel"), "Off"),
    later("bpfConntrackLogLevel", checked(&["Off", "Debug"], "oneof"), "Off"),
    later("bpfLogFilters", Map, ""),
    later("bpfCTLBLogFilter", listed(&["all"]), ""),
    later("bpfDataIfacePattern", Text, "^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan|bond).*)"),
    later("bpfL3IfacePattern", Text, ""),
    later("bpfConnectTimeLoadBalancingEnabled", Bool, ""),
    later("bpfConnectTimeLoadBalancing", checked(&["TCP", "Enabled", "Disabled"], "oneof"), "TCP"),
    later("bpfHostNetworkedNATWithoutCTLB", checked(&["Enabled", "Disabled"], "oneof"), "Enabled"),
    later("bpfExternalServiceMode", tagged(&["Tunnel", "DSR"], "Tunnel|DSR", "bpfServiceMode"), "Tunnel"),
    later("bpfDSROptoutCIDRs", List, ""),
    later("bpfExtToServiceConnmark", Int(0, i64::MAX), "0"),
    later("bpfKubeProxyIptablesCleanupEnabled", Bool, "true"),
    later("bpfKubeProxyMinSyncPeriod", Duration, "1s"),
    later("bpfKubeProxyHealthzPort", Int(0, i64::MAX), "10256"),
    later("bpfPSNATPorts", Ports, "20000:29999"),
    later("bpfMapSizeNATFrontend", Int(0, i64::MAX), "65536"),
    later("bpfMapSizeNATBackend", Int(0, i64::MAX), "262144"),
    later("bpfMapSizeNATAffinity", Int(0, i64::MAX), "65536"),
    later("bpfMapSizeRoute", Int(0, i64::MAX), "262144"),
    later("bpfMapSizeConntrack", Int(0, i64::MAX), "512000"),
    later("bpfMapSizePerCpuConntrack", Int(0, i64::MAX), "0"),
    later(
        "bpfMapSizeConntrackScaling",
        any_case(&["Disabled", "DoubleIfFull"], "Disabled|DoubleIfFull"),
        "DoubleIfFull",
    ),
    later("bpfMapSizeConntrackCleanupQueue", Int(0, i64::MAX), "100000"),
    later("bpfMapSizeIPSets", Int(0, i64::MAX), "1048576"),
    later("bpfMapSizeIfState", Int(0, i64::MAX), "1000"),
    later("bpfHostConntrackBypass", Bool, "false"),
    later("bpfEnforceRPF", any_case(&["Disabled", "Strict", "Loose"], "Disabled|Strict|Loose"), "Loose"),
    later("bpfPolicyDebugEnabled", Bool, "true"),
    later("bpfForceTrackPacketsFromIfaces", List, ""),
    later("bpfDisableGROForIfaces", Text, ""),
    later("bpfExcludeCIDRsFromNAT", List, ""),
    later("bpfExportBufferSizeMB", Int(0, i64::MAX), "1"),
    later("bpfRedirectToPeer", listed(&["Enabled", "Disabled"]), "Enabled"),
    later("bpfAttachType", listed(&["TC", "TCX"]), "TCX"),
    later("bpfProfiling", listed(&["Enabled", "Disabled"]), "Disabled"),
    later("bpfMaglevMaxServices", Int(1, 3000), "100"),
    later("bpfMaglevMaxEndpointsPerService", Int(1, 3000), "100"),
    later("bpfConntrackMode", checked(&["Auto", "Userspace", "BPFProgram"], "oneof"), "Auto"),
    later("bpfConntrackTimeouts", Map, ""),
    later("cgroupV2Path", Text, ""),
    later("routeSource", tagged(&["WorkloadIPs", "CalicoIPAM"], "WorkloadIPs|CalicoIPAM", "routeSource"), "CalicoIPAM"),
    later("routeTableRanges", List, ""),
    later("routeTableRange", Map, ""),
    acts("routeSyncDisabled", Bool, "false"),
    later("wireguardEnabled", Bool, "false"),
    later("wireguardEnabledV6", Bool, "false"),
    later("wireguardThreadingEnabled", Bool, "false"),
    later("wireguardListeningPort", Int(0, i64::MAX), "51820"),
    later("wireguardListeningPortV6", Int(0, i64::MAX), "51821"),
    later("wireguardRoutingRulePriority", Int(0, i64::MAX), "99"),
    later("wireguardInterfaceName", Text, "wireguard.cali"),
    later("wireguardInterfaceNameV6", Text, "wg-v6.cali"),
    acts("wireguardMTU", Int(0, i64::MAX), "0"),
    acts("wireguardMTUV6", Int(0, i64::MAX), "0"),
    later("wireguardHostEncryptionEnabled", Bool, "false"),
    later("wireguardKeepAlive", Duration, "0s"),
    later("awsSrcDstCheck", checked(&["DoNothing", "Enable", "Disable"], "oneof"), "DoNothing"),
    later("serviceLoopPrevention", tagged(&["Drop", "Reject", "Disabled"], "Drop|Reject|Disabled", "oneof"), "Drop"),
    later("workloadSourceSpoofing", tagged(&["Disabled", "Any"], "Disabled|Any", "oneof"), "Disabled"),
    acts("mtuIfacePattern", Text, "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"),
    later("requireMTUFile", Bool, "false"),
    later("floatingIPs", listed(&["Enabled", "Disabled"]), "Disabled"),
    later("windowsManageFirewallRules", checked(&["Enabled", "Disabled"], "oneof"), "Disabled"),
    later("goGCThreshold", Int(-1, i64::MAX), "40"),
    later("goMemoryLimitMB", Int(-1, i64::MAX), "-1"),
    later("goMaxProcs", Int(-1, i64::MAX), "-1"),
    later("flowLogsCollectorDebugTrace", Bool, "false"),
    later("flowLogsFlushInterval", Duration, "300s"),
    later("flowLogsGoldmaneServer", Text, ""),
    later("flowLogsLocalReporter", listed(&["Disabled", "Enabled"]), "Disabled"),
    later("flowLogsPolicyEvaluationMode", listed(&["None", "Continuous"]), "Continuous"),
    later("istioAmbientMode", listed(&["Enabled", "Disabled"]), "Disabled"),
    later("istioDSCPMark", Any, ""),
    later("nodeSelector", Labels, ""),
];
