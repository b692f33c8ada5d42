//! FelixConfiguration to the dataplane's settings: `default`, overlaid by `node.NAME`, overlaid by the environment.

use crate::reporting::{Endpoint, Reporting};
use api::kind::FelixConfigurationSpec;
use ipnet::{IpNet, Ipv4Net};
use model::desired::{AllowAction, EndpointToHost, PacketRules, RuleSettings, Settings, TunnelMtu};
use model::{Mtu, RouteProtocol};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Parameters by lower-case name, as the agent's environment (`FELIX_…`) gives them.
pub(crate) type Overrides = BTreeMap<String, String>;

/// Fields of a FelixConfiguration whose parameter, as the environment has it, is called otherwise.
const OTHER_NAMES: [(&str, &str); 3] =
    [("externalNodesList", "ExternalNodesCIDRList"), ("ipipEnabled", "IpInIpEnabled"), ("ipipMTU", "IpInIpMtu")];

/// The bits of a mark that rules need at least.
const MARK_BITS: u32 = 5;

/// The longest interval or time limit, a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The parameters that count for a node, and what is wrong with any.
pub(crate) struct Parameters<'a> {
    layers: Vec<&'a FelixConfigurationSpec>,
    overrides: &'a Overrides,
    pub(crate) problems: Vec<String>,
}

impl<'a> Parameters<'a> {
    /// Layers the configurations for `node`, weakest first.
    pub(crate) fn new(
        configurations: &'a BTreeMap<String, FelixConfigurationSpec>,
        node: &str,
        overrides: &'a Overrides,
    ) -> Self {
        let names = ["default".to_owned(), format!("node.{node}")];
        let layers = names.iter().filter_map(|name| configurations.get(name)).collect();
        Parameters { layers, overrides, problems: Vec::new() }
    }

    fn text(&self, name: &str) -> Option<String> {
        let other_name = OTHER_NAMES.iter().find(|(field, _)| *field == name).map(|(_, parameter)| *parameter);
        let names = [name.to_lowercase(), other_name.unwrap_or_default().to_lowercase()];
        if let Some(text) = names.iter().find_map(|name| self.overrides.get(name)) {
            return Some(text.clone());
        }
        let value =
            self.layers.iter().rev().filter_map(|layer| layer.0.get(name)).find(|value| !no_opinion(name, value))?;
        Some(if let Value::String(text) = value { text.clone() } else { value.to_string() })
    }

    fn read<T>(&mut self, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.problems.push(format!("felixconfiguration {name} {text:?}: {reason}; the default applies"));
                None
            }
        }
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        self.read(name, |text| text.parse().map_err(|_| "not a number in range".to_owned()))
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        self.read(name, |text| match text.to_lowercase().as_str() {
            "true" | "yes" | "1" | "enabled" => Ok(true),
            "false" | "no" | "0" | "disabled" => Ok(false),
            _ => Err("neither true nor false".to_owned()),
        })
    }

    /// A Go duration, or in the environment a number of seconds.
    fn duration(&mut self, name: &str) -> Option<Duration> {
        self.read(name, |text| match text.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string()),
            Err(_) => api::duration::parse(text),
        })
        // clocks have an end
        .map(|duration| duration.min(LONGEST))
    }

    /// Whether Calico's BPF dataplane is switched on, which would enforce policy without packet rules.
    pub(crate) fn bpf_enabled(&mut self) -> bool {
        self.flag("bpfEnabled").unwrap_or(false)
    }

    /// `ipipEnabled`, where set.
    pub(crate) fn ipip_enabled(&mut self) -> Option<bool> {
        self.flag("ipipEnabled")
    }

    /// `ipipMTU`, where set and not zero.
    pub(crate) fn ipip_mtu(&mut self) -> Option<Mtu> {
        self.number("ipipMTU").filter(|mtu| *mtu != 0).map(Mtu)
    }

    /// The encapsulations other than IPIP that are on, `vxlan` and `vxlan6` telling whether pools ask for one.
    pub(crate) fn other_tunnels(&mut self, vxlan: bool, vxlan6: bool) -> Vec<TunnelMtu> {
        let vxlan = self.flag("vxlanEnabled").unwrap_or(vxlan);
        let wireguard = ["wireguardEnabled", "wireguardEnabledV6"].map(|name| self.flag(name).unwrap_or(false));
        let tunnels = [
            (vxlan, "vxlanMTU", 50),
            (vxlan6, "vxlanMTUV6", 70),
            (wireguard[0], "wireguardMTU", 60),
            (wireguard[1], "wireguardMTUV6", 80),
        ];
        let enabled = tunnels.into_iter().filter(|(enabled, ..)| *enabled);
        let mtu =
            |(_, name, overhead)| TunnelMtu { fixed: self.number(name).filter(|mtu| *mtu != 0).map(Mtu), overhead };
        enabled.map(mtu).collect()
    }

    /// Where metrics and health are served; not at all by default.
    pub(crate) fn reporting(&mut self) -> Reporting {
        let mut reporting = Reporting { metrics: None, health: None };
        if self.flag("healthEnabled").unwrap_or(false) {
            reporting.health = Some(self.endpoint("healthHost", "localhost", "healthPort", 9099));
        }
        if self.flag("prometheusMetricsEnabled").unwrap_or(false) {
            reporting.metrics = Some(self.endpoint("prometheusMetricsHost", "", "prometheusMetricsPort", 9091));
        }
        let secrets = ["prometheusMetricsCertFile", "prometheusMetricsKeyFile", "prometheusMetricsCAFile"];
        let set = |name: &&str| self.text(name).is_some_and(|text| !text.is_empty());
        if let Some(name) = secrets.into_iter().find(set).filter(|_| reporting.metrics.is_some()) {
            // whoever asks for TLS does not want them in the clear
            self.problems.push(format!("felixconfiguration {name}: TLS is not supported yet; metrics are not served"));
            reporting.metrics = None;
        }
        reporting
    }

    fn endpoint(&mut self, host: &str, default_host: &str, port: &str, default_port: u16) -> Endpoint {
        let host = self.text(host).unwrap_or_else(|| default_host.to_owned());
        Endpoint { host, port: self.number(port).unwrap_or(default_port) }
    }

    /// Everything else.
    pub(crate) fn settings(&mut self) -> Settings {
        let mut settings = Settings::default();
        let nftables = self.read("nftablesMode", |text| match text.to_lowercase().as_str() {
            "enabled" => Ok(PacketRules::Nftables),
            "disabled" | "auto" => Ok(PacketRules::Iptables),
            _ => Err("one of Enabled, Disabled, Auto is expected".to_owned()),
        });
        settings.packet_rules = nftables.unwrap_or_default();
        let rules = match settings.packet_rules {
            PacketRules::Iptables => "iptablesRefreshInterval",
            PacketRules::Nftables => "nftablesRefreshInterval",
        };
        for (name, field) in [
            ("routeRefreshInterval", &mut settings.route_refresh),
            (rules, &mut settings.rules_refresh),
            ("ipsetsRefreshInterval", &mut settings.sets_refresh),
            ("interfaceRefreshInterval", &mut settings.interface_refresh),
            ("netlinkTimeout", &mut settings.netlink_timeout),
        ] {
            *field = self.duration(name).unwrap_or(*field);
        }
        settings.route_metric = self.number("ipv4NormalRoutePriority").unwrap_or(0);
        if let Some(protocol) = self.number("deviceRouteProtocol") {
            settings.workload_protocol = RouteProtocol(protocol);
        }
        settings.nat_exclude_hosts = self.text("natOutgoingExclusions").as_deref() == Some("IPPoolsAndHostIPs");
        let no_address = self.text("natOutgoingAddress").is_none_or(|text| text.is_empty());
        if !no_address {
            settings.nat_address =
                self.read("natOutgoingAddress", |text| text.parse().map_err(|_| "not an IPv4 address".to_owned()));
        }
        settings.append_hooks = self.text("chainInsertMode").is_some_and(|mode| mode.eq_ignore_ascii_case("append"));
        settings.route_sync_disabled = self.flag("routeSyncDisabled").unwrap_or(false);
        let pattern = self.read("mtuIfacePattern", |text| match regex::Regex::new(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string().replace('\n', " ")),
        });
        settings.mtu_interfaces = pattern.filter(|text| !text.is_empty()).unwrap_or(settings.mtu_interfaces);
        settings.external_nodes = self.networks("externalNodesList");
        settings.rules = self.rules(settings.packet_rules);
        settings
    }

    /// What packet rules do. The parameters of nftables have names of their own.
    fn rules(&mut self, kind: PacketRules) -> RuleSettings {
        let mut rules = RuleSettings::default();
        let to_host = self.read("defaultEndpointToHostAction", |text| match text.to_lowercase().as_str() {
            "drop" => Ok(EndpointToHost::Drop),
            "return" => Ok(EndpointToHost::Return),
            "accept" => Ok(EndpointToHost::Accept),
            _ => Err("one of Drop, Return, Accept is expected".to_owned()),
        });
        rules.endpoint_to_host = to_host.unwrap_or_default();
        rules.ipip_from_workloads = self.flag("allowIPIPPacketsFromWorkloads").unwrap_or(false);
        rules.vxlan_from_workloads = self.flag("allowVXLANPacketsFromWorkloads").unwrap_or(false);
        rules.vxlan_port = self.number("vxlanPort").unwrap_or(rules.vxlan_port);
        rules.pass_invalid = self.flag("disableConntrackInvalidCheck").unwrap_or(false);
        let [mask, filter, mangle] = match kind {
            PacketRules::Iptables => ["iptablesMarkMask", "iptablesFilterAllowAction", "iptablesMangleAllowAction"],
            PacketRules::Nftables => ["nftablesMarkMask", "nftablesFilterAllowAction", "nftablesMangleAllowAction"],
        };
        rules.mark_mask = self.read(mask, mark_mask).unwrap_or(rules.mark_mask);
        rules.filter_allow = self.read(filter, allow_action).unwrap_or_default();
        rules.mangle_allow = self.read(mangle, allow_action).unwrap_or_default();
        rules
    }

    /// The IPv4 networks and addresses of a list, which the environment separates by commas.
    ///
    /// One that cannot be read is left out with a problem: these lists open something, so leaving out is the safe side.
    fn networks(&mut self, name: &str) -> BTreeSet<Ipv4Net> {
        let Some(text) = self.text(name) else { return BTreeSet::new() };
        let words = serde_json::from_str::<Vec<String>>(&text)
            .unwrap_or_else(|_| text.split(',').map(|word| word.trim().to_owned()).collect());
        let mut networks = BTreeSet::new();
        for word in words.iter().filter(|word| !word.is_empty()) {
            match api::validate::network(word) {
                Some(IpNet::V4(network)) => drop(networks.insert(network.trunc())),
                Some(IpNet::V6(_)) => {}
                None => {
                    self.problems.push(format!("felixconfiguration {name} {word:?}: not a network; it is left out"))
                }
            }
        }
        networks
    }
}

fn allow_action(text: &str) -> Result<AllowAction, String> {
    match text.to_lowercase().as_str() {
        "accept" => Ok(AllowAction::Accept),
        "return" => Ok(AllowAction::Return),
        _ => Err("one of Accept, Return is expected".to_owned()),
    }
}

/// A number, or in the environment `0x` and hexadecimal digits.
fn mark_mask(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let mask = number.map_err(|_| "not a mask of 32 bits".to_owned())?;
    if mask.count_ones() < MARK_BITS {
        return Err(format!("at least {MARK_BITS} bits are needed"));
    }
    Ok(mask)
}

/// Writing any FelixConfiguration fills in `nftablesMode: Auto`; that must not hide what a weaker layer decides.
fn no_opinion(name: &str, value: &Value) -> bool {
    name == "nftablesMode" && value == "Auto"
}
