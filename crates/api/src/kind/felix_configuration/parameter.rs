//! FelixConfiguration's parameters: the table of their names, types, ranges and defaults.

use crate::duration;
use crate::invalid::Invalid;
use crate::selector::Selector;
use serde_json::Value;
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
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
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

    /// Reports a value of the wrong type or out of range.
    pub(super) fn check(&self, value: &Value, invalid: &mut Invalid) {
        let field = format!("spec.{}", self.name);
        let text = value.as_str();
        let shown = text.map_or_else(|| value.to_string(), str::to_owned);
        let ok = match self.kind {
            ParameterType::Bool => value.is_boolean(),
            ParameterType::Int(least, most) => value.as_i64().is_some_and(|number| (least..=most).contains(&number)),
            ParameterType::Duration => match text.map(duration::parse) {
                Some(Err(reason)) => return invalid.push(&field, &shown, &reason),
                Some(Ok(_)) => true,
                None => false,
            },
            ParameterType::Choice(words) => {
                text.is_some_and(|text| text.is_empty() || words.iter().any(|word| word.eq_ignore_ascii_case(text)))
            }
            ParameterType::Ipv4 => text.is_some_and(|text| text.parse::<Ipv4Addr>().is_ok()),
            ParameterType::Ipv6 => text.is_some_and(|text| text.parse::<Ipv6Addr>().is_ok()),
            ParameterType::Ports => is_port_range(&shown),
            ParameterType::Selector => text.is_some_and(|text| Selector::parse(text).is_ok()),
            ParameterType::Text => text.is_some(),
            ParameterType::List => value.is_array(),
            ParameterType::Map => value.is_object(),
            ParameterType::Any => true,
        };
        if !ok {
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
            ParameterType::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                format!("supported values: {}", quoted.join(", "))
            }
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

use ParameterType::{Any, Bool, Choice, Duration, Int, Ipv4, Ipv6, List, Map, Ports, Selector as Labels, Text};

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
    later("iptablesBackend", Choice(&["Auto", "Legacy", "NFT"]), "Auto"),
    later("xdpRefreshInterval", Duration, "90s"),
    acts("netlinkTimeout", Duration, "10s"),
    later("metadataAddr", Text, "127.0.0.1"),
    later("metadataPort", Int(0, 65535), "8775"),
    later("openstackRegion", Text, ""),
    later("interfacePrefix", Text, "cali"),
    later("interfaceExclude", Text, "kube-ipvs0"),
    acts("chainInsertMode", Choice(&["Append", "Insert"]), "Insert"),
    acts("defaultEndpointToHostAction", Choice(&["Accept", "Drop", "Return"]), "Drop"),
    acts("iptablesFilterAllowAction", Choice(&["Accept", "Return"]), "Accept"),
    acts("iptablesMangleAllowAction", Choice(&["Accept", "Return"]), "Accept"),
    later("iptablesFilterDenyAction", Choice(&["Drop", "Reject"]), "Drop"),
    later("logPrefix", Text, "calico-packet"),
    later("logActionRateLimit", Text, ""),
    later("logActionRateLimitBurst", Int(0, i64::MAX), "5"),
    later("logFilePath", Text, "/var/log/calico/felix.log"),
    later("logSeverityFile", Choice(&["Debug", "Error", "Fatal", "Info", "Trace", "Warning"]), "Info"),
    acts("logSeverityScreen", Choice(&["Debug", "Error", "Fatal", "Info", "Trace", "Warning"]), "Info"),
    later("logSeveritySys", Choice(&["Debug", "Error", "Fatal", "Info", "Trace", "Warning"]), "Info"),
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
        Choice(&["NoClientCert", "RequireAndVerifyClientCert", "RequireAnyClientCert", "VerifyClientCertIfGiven"]),
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
    acts("natOutgoingExclusions", Choice(&["IPPoolsAndHostIPs", "IPPoolsOnly"]), "IPPoolsOnly"),
    later("deviceRouteSourceAddress", Ipv4, ""),
    later("deviceRouteSourceAddressIPv6", Ipv6, ""),
    acts("deviceRouteProtocol", Int(0, 255), "3"),
    later("removeExternalRoutes", Bool, "true"),
    later("programClusterRoutes", Choice(&["Enabled", "Disabled"]), "Disabled"),
    later("ipForwarding", Choice(&["Disabled", "Enabled"]), "Enabled"),
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
    acts("nftablesMode", Choice(&["Auto", "Disabled", "Enabled"]), "Auto"),
    acts("nftablesRefreshInterval", Duration, "180s"),
    acts("nftablesFilterAllowAction", Choice(&["Accept", "Return"]), "Accept"),
    acts("nftablesMangleAllowAction", Choice(&["Accept", "Return"]), "Accept"),
    later("nftablesFilterDenyAction", Choice(&["Drop", "Reject"]), "Drop"),
    acts("nftablesMarkMask", Int(0, 0xffff_ffff), "0xffff0000"),
    later("bpfEnabled", Bool, "false"),
    later("bpfDisableUnprivileged", Bool, "true"),
    later("bpfJITHardening", Choice(&["Auto", "Strict"]), "Auto"),
    later("bpfLogLevel", Choice(&["Debug", "Info", "Off"]), "Off"),
    later("bpfConntrackLogLevel", Choice(&["Debug", "Off"]), "Off"),
    later("bpfLogFilters", Map, ""),
    later("bpfCTLBLogFilter", Choice(&["all"]), ""),
    later("bpfDataIfacePattern", Text, "^((en|wl|ww|sl|ib)[Popsx].*|(eth|wlan|wwan|bond).*)"),
    later("bpfL3IfacePattern", Text, ""),
    later("bpfConnectTimeLoadBalancingEnabled", Bool, ""),
    later("bpfConnectTimeLoadBalancing", Choice(&["Disabled", "Enabled", "TCP"]), "TCP"),
    later("bpfHostNetworkedNATWithoutCTLB", Choice(&["Disabled", "Enabled"]), "Enabled"),
    later("bpfExternalServiceMode", Choice(&["DSR", "Tunnel"]), "Tunnel"),
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
    later("bpfMapSizeConntrackScaling", Choice(&["Disabled", "DoubleIfFull"]), "DoubleIfFull"),
    later("bpfMapSizeConntrackCleanupQueue", Int(0, i64::MAX), "100000"),
    later("bpfMapSizeIPSets", Int(0, i64::MAX), "1048576"),
    later("bpfMapSizeIfState", Int(0, i64::MAX), "1000"),
    later("bpfHostConntrackBypass", Bool, "false"),
    later("bpfEnforceRPF", Choice(&["Disabled", "Loose", "Strict"]), "Loose"),
    later("bpfPolicyDebugEnabled", Bool, "true"),
    later("bpfForceTrackPacketsFromIfaces", List, ""),
    later("bpfDisableGROForIfaces", Text, ""),
    later("bpfExcludeCIDRsFromNAT", List, ""),
    later("bpfExportBufferSizeMB", Int(0, i64::MAX), "1"),
    later("bpfRedirectToPeer", Choice(&["Disabled", "Enabled", "L2Only"]), "Enabled"),
    later("bpfAttachType", Choice(&["Netkit", "TCX", "TC"]), "Netkit"),
    later("bpfProfiling", Choice(&["Disabled", "Enabled"]), "Disabled"),
    later("bpfMaglevMaxServices", Int(1, 3000), "100"),
    later("bpfMaglevMaxEndpointsPerService", Int(1, 3000), "100"),
    later("bpfConntrackMode", Choice(&["Auto", "BPFProgram", "Userspace"]), "Auto"),
    later("bpfConntrackTimeouts", Map, ""),
    later("cgroupV2Path", Text, ""),
    later("routeSource", Choice(&["CalicoIPAM", "WorkloadIPs"]), "CalicoIPAM"),
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
    later("awsSrcDstCheck", Choice(&["Disable", "DoNothing", "Enable"]), "DoNothing"),
    later("serviceLoopPrevention", Choice(&["Disabled", "Drop", "Reject"]), "Drop"),
    later("workloadSourceSpoofing", Choice(&["Any", "Disabled"]), "Disabled"),
    acts("mtuIfacePattern", Text, "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)"),
    later("requireMTUFile", Bool, "false"),
    later("floatingIPs", Choice(&["Disabled", "Enabled"]), "Disabled"),
    later("windowsManageFirewallRules", Choice(&["Disabled", "Enabled"]), "Disabled"),
    later("goGCThreshold", Int(-1, i64::MAX), "40"),
    later("goMemoryLimitMB", Int(-1, i64::MAX), "-1"),
    later("goMaxProcs", Int(-1, i64::MAX), "-1"),
    later("flowLogsCollectorDebugTrace", Bool, "false"),
    later("flowLogsFlushInterval", Duration, "300s"),
    later("flowLogsGoldmaneServer", Text, ""),
    later("flowLogsLocalReporter", Choice(&["Disabled", "Enabled"]), "Disabled"),
    later("flowLogsPolicyEvaluationMode", Choice(&["Continuous", "None"]), "Continuous"),
    later("istioAmbientMode", Choice(&["Disabled", "Enabled"]), "Disabled"),
    later("istioDSCPMark", Any, ""),
    later("nodeSelector", Labels, ""),
];
