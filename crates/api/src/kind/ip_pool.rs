//! IPPool: a range that pods get addresses from, and how its traffic travels.

use crate::column::Column;
use crate::crd::{self, Definition, Group, PrinterColumn};
use crate::invalid::Invalid;
use crate::resource::{Kind, Names, Spec, Typed};
use crate::selector::Selector;
use crate::validate;
use crate::word::{Word, words};
use ipnet::{IpNet, Ipv4Net};
use model::desired::{Encapsulation, Pool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

words! {
    /// What a pool's packets to other nodes are wrapped for.
    EncapsulationMode: "Never", "Always", "CrossSubnet";
    /// Whether addresses are taken from a pool by themselves.
    AssignmentMode: "Automatic", "Manual";
    /// What a pool's addresses are for.
    AllowedUse: "Workload", "Tunnel", "LoadBalancer";
}

/// `spec` of an IPPool (control reference §1.5).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("required" = ["cidr"], "x-kubernetes-validations" = crd::rules(IP_POOL_SPEC_RULES)))]
pub struct IpPoolSpec {
    /// The pool's CIDR; cannot be changed.
    #[schemars(extend("format" = "cidr", "maxLength" = 48, "x-kubernetes-validations" = crd::rules(CIDR_RULES)))]
    pub cidr: String,
    /// `Never`, `Always` or `CrossSubnet`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(with = "EncapsulationMode")]
    pub vxlan_mode: String,
    /// `Never`, `Always` or `CrossSubnet`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(with = "EncapsulationMode")]
    pub ipip_mode: String,
    /// Masquerade what leaves for outside every pool. A written `false` is kept, so that editing `true` and back works
    /// on what `get` prints; Calico drops it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nat_outgoing: Option<bool>,
    /// Give out no more addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// Keep the pool's blocks out of BGP.
    #[serde(rename = "disableBGPExport", skip_serializing_if = "std::ops::Not::not")]
    pub disable_bgp_export: bool,
    /// Prefix length of the blocks that nodes claim; cannot be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maximum" = 128, "minimum" = 0, "x-kubernetes-validations" = crd::rules(BLOCK_SIZE_RULES)))]
    pub block_size: Option<u8>,
    /// Nodes that may use the pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub node_selector: String,
    /// Namespaces that may use the pool.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace_selector: String,
    /// `Workload`, `Tunnel`, `LoadBalancer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<AllowedUse>", extend("maxItems" = 10, "x-kubernetes-list-type" = "set"))]
    pub allowed_uses: Vec<String>,
    /// `Automatic` or `Manual`.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(with = "AssignmentMode", extend("x-default" = "Automatic"))]
    pub assignment_mode: String,
}

/// What the schema says of it as a whole.
const BLOCK_SIZE_RULES: &[crd::Rule] = &[crd::Rule {
    cel: "self == oldSelf",
    message: "Block size cannot be changed; follow IP pool migration guide to avoid corruption.",
    reason: "FieldValueInvalid",
}];

/// What the schema says of it as a whole.
const CIDR_RULES: &[crd::Rule] = &[crd::Rule {
    cel: "self == oldSelf",
    message: "CIDR cannot be changed; follow IP pool migration guide to avoid corruption.",
    reason: "FieldValueInvalid",
}];

/// What the schema says of it as a whole.
const IP_POOL_SPEC_RULES: &[crd::Rule] = &[
    crd::Rule {
        cel: "!has(self.ipipMode) || !has(self.vxlanMode) || self.ipipMode == 'Never' || self.vxlanMode == 'Never' || size(self.ipipMode) == 0 || size(self.vxlanMode) == 0",
        message: "ipipMode and vxlanMode cannot both be enabled",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || (!has(self.ipipMode) || size(self.ipipMode) == 0 || self.ipipMode == 'Never') && (!has(self.vxlanMode) || size(self.vxlanMode) == 0 || self.vxlanMode == 'Never')",
        message: "LoadBalancer IP pool cannot have IPIP or VXLAN enabled",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "!has(self.allowedUses) || !self.allowedUses.exists(u, u == 'LoadBalancer') || !self.allowedUses.exists(u, u == 'Workload' || u == 'Tunnel')",
        message: "LoadBalancer cannot be combined with Workload or Tunnel allowed uses",
        reason: "FieldValueForbidden",
    },
    crd::Rule {
        cel: "!self.cidr.contains(':') || !has(self.ipipMode) || self.ipipMode == 'Never' || size(self.ipipMode) == 0",
        message: "IPIP is not supported on IPv6 pools",
        reason: "FieldValueForbidden",
    },
];

impl Spec for IpPoolSpec {
    const KIND: Kind = Kind::IPPool;
    const NAMES: Names =
        Names { plural: "ippools", namespaced: false, words: &["ippool", "ippools", "ipp", "ipps", "pool", "pools"] };
    const DEFINITION: Option<Definition> = Some(Definition {
        columns: &[
            PrinterColumn::new("CIDR", "string", ".spec.cidr"),
            PrinterColumn::new("VXLAN", "string", ".spec.vxlanMode"),
            PrinterColumn::new("IPIP", "string", ".spec.ipipMode"),
            PrinterColumn::new("NAT", "boolean", ".spec.natOutgoing"),
            PrinterColumn::new("Allocatable", "string", ".status.conditions[?(@.type=='Allocatable')].status"),
            PrinterColumn::new("Age", "date", ".metadata.creationTimestamp"),
        ],
        status: &[Group::V3],
        status_schema: Some(crd::of::<crd::Conditions>),
        ..Definition::PLAIN
    });
    const COLUMNS: &'static [Column<Self>] = &[
        Column::name(),
        Column::new("CIDR", |it, _| it.spec.cidr.clone()),
        Column::wide("NAT", |it, _| it.spec.nat_outgoing.unwrap_or(false).to_string()),
        Column::wide("IPIPMODE", |it, _| it.spec.ipip_mode.clone()),
        Column::wide("VXLANMODE", |it, _| it.spec.vxlan_mode.clone()),
        Column::wide("DISABLED", |it, _| it.spec.disabled.to_string()),
        Column::wide("DISABLEBGPEXPORT", |it, _| it.spec.disable_bgp_export.to_string()),
        Column::new("SELECTOR", |it, _| it.spec.node_selector.clone()),
        Column::wide("ASSIGNMENTMODE", |it, _| it.spec.assignment_mode.clone()),
    ];
    type Status = serde_json::Value;

    fn apply_defaults(pool: &mut Typed<Self>) {
        let spec = &mut pool.spec;
        if let Some(cidr) = validate::network(&spec.cidr) {
            spec.cidr = cidr.to_string();
            spec.block_size.get_or_insert(if cidr.addr().is_ipv4() { 26 } else { 122 });
        }
        let fill = |field: &mut String, default: &str| {
            if field.is_empty() {
                default.clone_into(field);
            }
        };
        fill(&mut spec.vxlan_mode, "Never");
        fill(&mut spec.ipip_mode, "Never");
        fill(&mut spec.node_selector, "all()");
        fill(&mut spec.assignment_mode, "Automatic");
        if spec.allowed_uses.is_empty() {
            spec.allowed_uses = vec!["Workload".to_owned(), "Tunnel".to_owned()];
        }
    }

    fn checked_against_others() -> bool {
        // pools may not overlap
        true
    }

    fn check(pool: &Typed<Self>, invalid: &mut Invalid) {
        let spec = &pool.spec;
        invalid.one_of("IPIPMode", "ipIpMode", "spec.ipipMode", &spec.ipip_mode, EncapsulationMode::WORDS);
        invalid.one_of("VXLANMode", "vxlanMode", "spec.vxlanMode", &spec.vxlan_mode, EncapsulationMode::WORDS);
        let modes = AssignmentMode::WORDS;
        invalid.one_of("AssignmentMode", "assignmentMode", "spec.assignmentMode", &spec.assignment_mode, modes);
        for allowed in &spec.allowed_uses {
            invalid.one_of("AllowedUses", "ipPoolAllowedUse", "spec.allowedUses", allowed, AllowedUse::WORDS);
        }
        validate::selector("NodeSelector", &spec.node_selector, invalid);
        validate::selector("NamespaceSelector", &spec.namespace_selector, invalid);
        for (field, text) in [("NodeSelector", &spec.node_selector), ("NamespaceSelector", &spec.namespace_selector)] {
            if Selector::parse(text).is_ok_and(|selector| selector.mentions_global()) {
                invalid.push(field, text, "global() cannot be used in an IPPool");
            }
        }
        if let Some(cidr) = spec.check_cidr(invalid) {
            spec.check_block_size(cidr, invalid);
        }
        spec.check_combinations(invalid);
    }

    fn idle_fields(pool: &Typed<Self>) -> Vec<String> {
        let spec = &pool.spec;
        let mut idle = Vec::new();
        if !matches!(spec.vxlan_mode.as_str(), "" | "Never") {
            idle.push("spec.vxlanMode".to_owned());
        }
        if !matches!(spec.namespace_selector.as_str(), "" | "all()") {
            idle.push("spec.namespaceSelector".to_owned());
        }
        idle
    }
}

impl IpPoolSpec {
    /// Returns the range if it can be read at all.
    fn check_cidr(&self, invalid: &mut Invalid) -> Option<IpNet> {
        let Some(cidr) = validate::network(&self.cidr) else {
            invalid.push_tag("CIDR", &self.cidr, "net");
            return None;
        };
        if cidr.trunc() != cidr {
            let reason = format!("IPPool CIDR is not strictly masked; {} would be", cidr.trunc());
            invalid.push("IPPool.Spec.CIDR", &self.cidr, &reason);
        }
        for (range, name) in [
            ("169.254.0.0/16", "IPv4 Link Local range 169.254.0.0/16"),
            ("fe80::/10", "IPv6 Link Local range fe80::/10"),
            ("127.0.0.0/8", "IPv4 loopback range 127.0.0.0/8"),
            ("::1/128", "IPv6 loopback address ::1"),
        ] {
            let range: IpNet = range.parse().expect("the ranges above are CIDRs");
            if range.contains(&cidr) || cidr.contains(&range) {
                invalid.push("IPPool.Spec.CIDR", &self.cidr, &format!("IPPool CIDR overlaps with {name}"));
            }
        }
        Some(cidr)
    }

    fn check_block_size(&self, cidr: IpNet, invalid: &mut Invalid) {
        let Some(size) = self.block_size else { return };
        let (family, smallest, largest) = if cidr.addr().is_ipv4() { ("IPv4", 20, 32) } else { ("IPv6", 116, 128) };
        if !(smallest..=largest).contains(&size) {
            let reason = format!("{family} block size must be between {smallest} and {largest}");
            invalid.push("IPPool.Spec.BlockSize", &size.to_string(), &reason);
        } else if cidr.prefix_len() > size && !self.disabled {
            let reason = "IP pool size is too small for use with Calico IPAM. It must be equal to or greater than the block size.";
            invalid.push("IPPool.Spec.CIDR", &self.cidr, reason);
        }
    }

    fn check_combinations(&self, invalid: &mut Invalid) {
        let on = |mode: &str| !matches!(mode, "" | "Never");
        let (ipip, vxlan) = (on(&self.ipip_mode), on(&self.vxlan_mode));
        if ipip && vxlan {
            let reason = "Cannot enable both VXLAN and IPIP on the same IPPool";
            invalid.push("IPPool.Spec.VXLANMode", &self.vxlan_mode, reason);
        }
        if ipip && matches!(validate::network(&self.cidr), Some(IpNet::V6(_))) {
            invalid.push("IPPool.Spec.IPIPMode", &self.ipip_mode, "IPIP is not supported on an IPv6 IP pool");
        }
        let allows = |word: &str| self.allowed_uses.iter().any(|allowed| allowed == word);
        let uses = format!("[{}]", self.allowed_uses.join(" "));
        if allows("Tunnel") && !self.namespace_selector.is_empty() {
            let reason = "IPPool with a namespaceSelector cannot be used for tunnel addresses";
            invalid.push("IPPool.Spec.AllowedUses", &uses, reason);
        }
        if !allows("LoadBalancer") {
            return;
        }
        for (conflict, reason) in [
            (ipip || vxlan, "IPPool with AllowedUse LoadBalancer cannot have an encapsulation"),
            (allows("Workload") || allows("Tunnel"), "LoadBalancer cannot be combined with Workload or Tunnel"),
            (self.disable_bgp_export, "IPPool with AllowedUse LoadBalancer cannot have disableBGPExport"),
            (
                !matches!(self.node_selector.as_str(), "" | "all()"),
                "IPPool with AllowedUse LoadBalancer must have node selector all()",
            ),
        ] {
            if conflict {
                invalid.push("IPPool.Spec.AllowedUses", &uses, reason);
            }
        }
    }
}

impl Typed<IpPoolSpec> {
    /// The pool as routing and address translation see it; none for an IPv6 pool.
    pub fn to_model(&self) -> Option<(Ipv4Net, Pool)> {
        let spec = &self.spec;
        let encapsulation = |mode: &str| match mode {
            "Always" => Encapsulation::Always,
            "CrossSubnet" => Encapsulation::CrossSubnet,
            _ => Encapsulation::Never,
        };
        let pool = Pool {
            ipip: encapsulation(&spec.ipip_mode),
            vxlan: encapsulation(&spec.vxlan_mode),
            nat_outgoing: spec.nat_outgoing.unwrap_or(false),
            disabled: spec.disabled,
            disable_bgp_export: spec.disable_bgp_export,
            load_balancer_only: spec.allowed_uses == ["LoadBalancer"],
        };
        Some((spec.cidr.parse::<Ipv4Net>().ok()?.trunc(), pool))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, stored, warned};
    use serde_json::{Value, json};

    #[test]
    fn defaults() {
        let expect = |name: &str, spec: &str| {
            format!(
                r#"{{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}"}},"spec":{spec}}}"#
            )
        };
        let v4 = r#"{"cidr":"10.244.0.0/16","vxlanMode":"Never","ipipMode":"Never","blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}"#;
        assert_eq!(stored(Kind::IPPool, "p", json!({"cidr": "10.244.0.0/16"})), expect("p", v4));
        let v6 = r#"{"cidr":"fd00:10:244::/64","vxlanMode":"Never","ipipMode":"Never","blockSize":122,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],"assignmentMode":"Automatic"}"#;
        assert_eq!(stored(Kind::IPPool, "p6", json!({"cidr": "fd00:10:244::/64"})), expect("p6", v6));
        let full = json!({
            "allowedUses": ["Workload"], "assignmentMode": "Manual", "blockSize": 26, "cidr": "10.245.0.0/16",
            "disableBGPExport": true, "disabled": false, "ipipMode": "CrossSubnet", "namespaceSelector": "all()",
            "natOutgoing": true, "nodeSelector": "has(x)", "vxlanMode": "Never",
        });
        let expected = r#"{"cidr":"10.245.0.0/16","vxlanMode":"Never","ipipMode":"CrossSubnet","natOutgoing":true,"disableBGPExport":true,"blockSize":26,"nodeSelector":"has(x)","namespaceSelector":"all()","allowedUses":["Workload"],"assignmentMode":"Manual"}"#;
        assert_eq!(stored(Kind::IPPool, "full", full), expect("full", expected));
    }

    fn check(spec: Value, expect: &str) {
        assert_eq!(refused(Kind::IPPool, "p", spec), format!("error with {expect}"));
    }

    #[test]
    fn refusals_in_calicos_words() {
        let pool = |more: Value| {
            let mut spec = json!({"cidr": "10.244.0.0/16"});
            spec.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            spec
        };
        check(
            pool(json!({"blockSize": 19})),
            "field IPPool.Spec.BlockSize = '19' (IPv4 block size must be between 20 and 32)",
        );
        check(
            json!({"cidr": "fd00::/48", "blockSize": 64}),
            "field IPPool.Spec.BlockSize = '64' (IPv6 block size must be between 116 and 128)",
        );
        check(
            pool(json!({"ipipMode": "Always", "vxlanMode": "Always"})),
            "field IPPool.Spec.VXLANMode = 'Always' (Cannot enable both VXLAN and IPIP on the same IPPool)",
        );
        check(
            json!({"cidr": "fd00::/64", "ipipMode": "Always"}),
            "field IPPool.Spec.IPIPMode = 'Always' (IPIP is not supported on an IPv6 IP pool)",
        );
        check(
            pool(json!({"ipipMode": "Sometimes"})),
            "the following fields:\n\
             -  IPIPMode = 'Sometimes' (Reason: failed to validate Field: IPIPMode because of Tag: ipIpMode )\n\
             -  spec.ipipMode (supported values: \"Never\", \"Always\", \"CrossSubnet\")\n",
        );
        check(
            json!({"cidr": "169.254.0.0/16"}),
            "field IPPool.Spec.CIDR = '169.254.0.0/16' (IPPool CIDR overlaps with IPv4 Link Local range 169.254.0.0/16)",
        );
        check(
            pool(json!({"nodeSelector": "a ="})),
            "field NodeSelector = 'a =' (Reason: failed to validate Field: NodeSelector because of Tag: selector )",
        );
    }

    #[test]
    fn refusals_of_what_cannot_work() {
        check(
            json!({"cidr": "127.0.0.0/16"}),
            "field IPPool.Spec.CIDR = '127.0.0.0/16' (IPPool CIDR overlaps with IPv4 loopback range 127.0.0.0/8)",
        );
        check(
            json!({"cidr": "10.0.0.1/24"}),
            "field IPPool.Spec.CIDR = '10.0.0.1/24' (IPPool CIDR is not strictly masked; 10.0.0.0/24 would be)",
        );
        check(
            json!({"cidr": "10.0.0.0/27"}),
            "field IPPool.Spec.CIDR = '10.0.0.0/27' (IP pool size is too small for use with Calico IPAM. It must be \
             equal to or greater than the block size.)",
        );
        check(
            json!({"cidr": "10.0.0.0/33"}),
            "field CIDR = '10.0.0.0/33' (Reason: failed to validate Field: CIDR because of Tag: net )",
        );
        assert!(stored(Kind::IPPool, "p", json!({"cidr": "10.0.0.0/27", "disabled": true})).contains("/27"));
        let balancer = json!({"cidr": "10.0.0.0/24", "allowedUses": ["LoadBalancer"], "disableBGPExport": true});
        assert!(refused(Kind::IPPool, "p", balancer).contains("cannot have disableBGPExport"));
    }

    #[test]
    fn what_is_not_acted_on_is_said() {
        assert_eq!(warned(Kind::IPPool, "p", json!({"cidr": "10.0.0.0/16", "natOutgoing": true})), [""; 0]);
        assert_eq!(
            warned(Kind::IPPool, "p", json!({"cidr": "10.0.0.0/16", "vxlanMode": "Always"})),
            ["IPPool p: spec.vxlanMode is accepted but not acted on yet"]
        );
    }

    #[test]
    fn a_pool_as_the_kernel_sees_it() {
        let spec = IpPoolSpec {
            cidr: "172.16.0.0/16".to_owned(),
            ipip_mode: "Always".to_owned(),
            nat_outgoing: Some(true),
            ..IpPoolSpec::default()
        };
        let pool = Typed::new(crate::ObjectMeta::named("p"), spec);
        let expect = Pool { ipip: Encapsulation::Always, nat_outgoing: true, ..Pool::default() };
        assert_eq!(pool.to_model(), Some(("172.16.0.0/16".parse().expect("a CIDR"), expect)));
    }
}
