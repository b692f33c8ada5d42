//! What the four kinds of Calico's policies have in common (control reference §1.3): fields, defaults, checks, columns,
//! and the name in a datastore.

use super::rule::{Rule, Traffic};
use crate::column::{self, Column, Scene};
use crate::invalid::{Invalid, SchemaRule};
use crate::meta::ObjectMeta;
use crate::resource::{Spec, Typed};
use crate::selector::Selector;
use crate::validate;
use crate::word::{Word, words};
use serde_json::{Number, Value, json};

/// Label with the policy's tier.
const TIER_LABEL: &str = "projectcalico.org/tier";
/// Annotation of stored policies: JSON with the name that users know.
const METADATA_ANNOTATION: &str = "projectcalico.org/metadata";
/// The tier of a policy that names none.
pub const DEFAULT_TIER: &str = "default";
/// What is said of policies that exist.
pub(super) const NOT_ENFORCED: &str = "the policy, which is NOT enforced (what it forbids is allowed),";
/// And of those that only would be enforced.
pub(super) const STAGED: &str = "the staged policy, which nothing reports on,";

words! {
    /// A direction that a policy is about.
    PolicyType: "Ingress", "Egress";
    /// What a staged policy stands for.
    StagedAction: "Set", "Delete", "Learn", "Ignore";
    /// What a policy says of its own performance.
    PerformanceHint: "AssumeNeededOnEveryNode";
}

/// The fields of every policy, whatever its kind.
pub(super) struct Fields<'a> {
    pub(super) tier: &'a str,
    pub(super) order: Option<&'a Number>,
    pub(super) ingress: &'a [Rule],
    pub(super) egress: &'a [Rule],
    pub(super) selector: &'a str,
    pub(super) types: &'a [PolicyType],
    pub(super) service_account_selector: &'a str,
    pub(super) performance_hints: &'a [PerformanceHint],
}

/// Those of them that have defaults.
pub(super) struct FieldsMut<'a> {
    pub(super) tier: &'a mut String,
    pub(super) ingress: &'a mut Vec<Rule>,
    pub(super) egress: &'a mut Vec<Rule>,
    pub(super) types: &'a mut Vec<PolicyType>,
}

/// A `spec` that is a policy's.
pub(super) trait Policy: Spec {
    fn fields(&self) -> Fields<'_>;
    fn fields_mut(&mut self) -> FieldsMut<'_>;
}

/// Defines the `spec` of a kind of policy: in stored order, with its own fields at three places.
macro_rules! policy_spec {
    ($(#[$doc:meta])* $name:ident, $(with #[$more:meta],)? first {$($first:tt)*} global {$($global:tt)*} namespaces {$($namespaces:tt)*}) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "camelCase", default)]
        $(#[$more])?
        pub struct $name {
            $($first)*
            /// The tier it is in.
            #[serde(skip_serializing_if = "String::is_empty")]
            #[schemars(extend("x-default" = "default"))]
            pub tier: String,
            /// Lower comes first; none comes last.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub order: Option<serde_json::Number>,
            /// Rules for what comes in.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub ingress: Vec<$crate::kind::Rule>,
            /// Rules for what goes out.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub egress: Vec<$crate::kind::Rule>,
            /// The endpoints it is for; all if empty.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub selector: String,
            /// The directions it is about.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            #[schemars(extend("minItems" = 1, "maxItems" = 2, "x-kubernetes-list-type" = "set"))]
            pub types: Vec<$crate::kind::PolicyType>,
            $($global)*
            /// The service accounts of the endpoints it is for.
            #[serde(skip_serializing_if = "String::is_empty")]
            pub service_account_selector: String,
            $($namespaces)*
            /// Hints for whoever computes policy.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub performance_hints: Vec<$crate::kind::PerformanceHint>,
        }

        impl $crate::kind::policy::Policy for $name {
            fn fields(&self) -> $crate::kind::policy::Fields<'_> {
                $crate::kind::policy::Fields {
                    tier: &self.tier,
                    order: self.order.as_ref(),
                    ingress: &self.ingress,
                    egress: &self.egress,
                    selector: &self.selector,
                    types: &self.types,
                    service_account_selector: &self.service_account_selector,
                    performance_hints: &self.performance_hints,
                }
            }

            fn fields_mut(&mut self) -> $crate::kind::policy::FieldsMut<'_> {
                $crate::kind::policy::FieldsMut {
                    tier: &mut self.tier,
                    ingress: &mut self.ingress,
                    egress: &mut self.egress,
                    types: &mut self.types,
                }
            }
        }
    };
}

pub(super) use policy_spec;

/// Fills in the tier, its label, both ends of each rule, and the directions that the rules are about.
pub(super) fn apply_defaults<S: Policy>(policy: &mut Typed<S>) {
    let fields = policy.spec.fields_mut();
    if fields.tier.is_empty() {
        DEFAULT_TIER.clone_into(fields.tier);
    }
    if fields.types.is_empty() {
        let directions = match (fields.ingress.is_empty(), fields.egress.is_empty()) {
            (_, true) => &["Ingress"][..],
            (true, false) => &["Egress"],
            (false, false) => &["Ingress", "Egress"],
        };
        *fields.types = directions.iter().map(|word| PolicyType::from(*word)).collect();
    }
    fields.ingress.iter_mut().chain(fields.egress.iter_mut()).for_each(Rule::apply_defaults);
    policy.metadata.labels.insert(TIER_LABEL.to_owned(), fields.tier.clone());
}

/// Leaves out the ends of rules at which anything will do.
pub(super) fn leave_out_defaults<S: Policy>(policy: &mut Typed<S>) {
    let fields = policy.spec.fields_mut();
    fields.ingress.iter_mut().chain(fields.egress.iter_mut()).for_each(Rule::leave_out_defaults);
}

/// Reports what is wrong with the fields of every policy.
pub(super) fn check<S: Policy>(policy: &Typed<S>, invalid: &mut Invalid) {
    let fields = policy.spec.fields();
    for (name, rules, traffic) in
        [("ingress", fields.ingress, Traffic::Ingress), ("egress", fields.egress, Traffic::Egress)]
    {
        for (index, rule) in rules.iter().enumerate() {
            rule.check(&format!("spec.{name}[{index}]"), traffic, invalid);
        }
    }
    own_selector("Selector", fields.selector, invalid);
    for (index, direction) in fields.types.iter().enumerate() {
        let field = format!("Types[{index}]");
        invalid.required_one_of(
            &field,
            "policyType",
            &format!("spec.types[{index}]"),
            direction.as_str(),
            PolicyType::WORDS,
        );
    }
    own_selector("ServiceAccountSelector", fields.service_account_selector, invalid);
    for (index, hint) in fields.performance_hints.iter().enumerate() {
        let field = format!("PerformanceHints[{index}]");
        let path = format!("spec.performanceHints[{index}]");
        invalid.required_one_of(&field, "oneof", &path, hint.as_str(), PerformanceHint::WORDS);
    }
}

/// Checks a selector of a policy as a whole, in which `global()` has no meaning.
pub(super) fn own_selector(field: &str, selector: &str, invalid: &mut Invalid) {
    validate::selector(field, selector, invalid);
    if Selector::parse(selector).is_ok_and(|selector| selector.mentions_global()) {
        invalid.push(field, selector, "global() can only be used in an EntityRule namespaceSelector");
    }
}

/// Checks the name of a global policy: one label, or two with a dot between.
pub(super) fn check_name(metadata: &ObjectMeta, invalid: &mut Invalid) {
    validate::name_is_one_or_two_labels(&metadata.name, invalid);
}

/// Checks the name of a namespace's policy, which may also be that of one made of Kubernetes' or OpenStack's.
pub(super) fn check_namespaced_name(metadata: &ObjectMeta, invalid: &mut Invalid) {
    let made = ["knp.default.", "ossg.default."].iter().any(|prefix| metadata.name.starts_with(prefix));
    if !made {
        check_name(metadata, invalid);
    }
}

/// A staged policy that deletes says which tier it is in, and nothing else.
pub(super) fn check_staged<S: Policy>(policy: &Typed<S>, action: &StagedAction, invalid: &mut Invalid) {
    invalid.word("StagedAction", "stagedAction", "spec.stagedAction", action);
    if *action != "Delete" {
        return;
    }
    let mut rest = policy.spec.clone();
    rest.fields_mut().tier.clear();
    let left = serde_json::to_value(&rest).unwrap_or(Value::Null);
    let others =
        left.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).filter(|it| *it != "stagedAction");
    let others: Vec<&str> = others.collect();
    if !others.is_empty() {
        let reason = format!(
            "Spec fields, except Tier, should all be zero-value if stagedAction is Delete: {}",
            others.join(", ")
        );
        invalid.push("StagedAction", "Delete", &reason);
    }
}

/// A service that a global policy names is in a namespace that must be named, too.
pub(super) fn check_service_namespaces<S: Policy>(policy: &Typed<S>, invalid: &mut Invalid) {
    let fields = policy.spec.fields();
    for end in fields.ingress.iter().chain(fields.egress).flat_map(Rule::ends) {
        if let Some(services) = end.services.as_ref().filter(|services| services.namespace.is_empty()) {
            let reason = "must specify a namespace in a global policy";
            invalid.push("EntityRule.Services.Namespace", &services.name, reason);
        }
    }
}

/// The tier that a policy is in.
pub(super) fn tier<S: Policy>(policy: &Typed<S>) -> &str {
    let tier = policy.spec.fields().tier;
    if tier.is_empty() { DEFAULT_TIER } else { tier }
}

/// Notes the name that users know, since older versions put the tier before it in the key (control reference §2.2).
pub(super) fn to_stored<S: Spec>(policy: &mut Typed<S>) {
    let noted = json!({"name": policy.metadata.name}).to_string();
    policy.metadata.annotations.insert(METADATA_ANNOTATION.to_owned(), noted);
}

/// Takes the noted name; of a policy of the default tier without one, the tier's prefix goes.
pub(super) fn from_stored<S: Policy>(policy: &mut Typed<S>) {
    let noted = policy.metadata.annotations.remove(METADATA_ANNOTATION);
    let name = noted.as_deref().and_then(|noted| serde_json::from_str::<Value>(noted).ok());
    let metadata = &mut policy.metadata;
    let tier = policy.spec.fields().tier;
    if let Some(name) = name.as_ref().and_then(|noted| noted["name"].as_str()) {
        name.clone_into(&mut metadata.name);
    } else if ["", DEFAULT_TIER].contains(&tier)
        && let Some(name) = metadata.name.strip_prefix("default.")
    {
        metadata.name = name.to_owned();
    }
    let tier = self::tier(policy).to_owned();
    policy.metadata.labels.entry(TIER_LABEL.to_owned()).or_insert(tier);
}

/// The columns of every policy.
pub(super) const fn columns<S: Policy>() -> [Column<S>; 4] {
    [
        Column::name(),
        Column::new("TIER", tier_cell::<S>),
        Column::wide("ORDER", order_cell::<S>),
        Column::wide("SELECTOR", selector_cell::<S>),
    ]
}

fn tier_cell<S: Policy>(policy: &Typed<S>, _: &Scene) -> String {
    policy.spec.fields().tier.to_owned()
}

fn order_cell<S: Policy>(policy: &Typed<S>, _: &Scene) -> String {
    column::order(policy.spec.fields().order)
}

fn selector_cell<S: Policy>(policy: &Typed<S>, _: &Scene) -> String {
    policy.spec.fields().selector.to_owned()
}

/// What decides whether a global policy may be for hosts' own packets before or without connection tracking.
pub(super) struct Host {
    pub(super) egress_rules: usize,
    pub(super) types: Vec<PolicyType>,
    pub(super) do_not_track: bool,
    pub(super) pre_dnat: bool,
    pub(super) apply_on_forward: bool,
}

impl Host {
    fn has_egress_type(&self) -> bool {
        self.types.iter().any(|direction| *direction == "Egress")
    }

    /// Reports what is wrong with it: by Calico's types, and by the schema.
    pub(super) fn check(&self, invalid: &mut Invalid) {
        if self.pre_dnat && self.do_not_track {
            let reason = "PreDNAT and DoNotTrack cannot both be true, for a given PolicySpec";
            invalid.push("PolicySpec.PreDNAT", "true", reason);
        }
        if self.pre_dnat && self.egress_rules > 0 {
            let value = format!("{} rules", self.egress_rules);
            invalid.push("PolicySpec.Egress", &value, "PreDNAT PolicySpec cannot have any Egress rules");
        }
        if self.pre_dnat && self.has_egress_type() {
            let types: Vec<&str> = self.types.iter().map(Word::as_str).collect();
            let value = format!("[{}]", types.join(" "));
            invalid.push("PolicySpec.Types", &value, "PreDNAT PolicySpec cannot have 'egress' Type");
        }
        if (self.pre_dnat || self.do_not_track) && !self.apply_on_forward {
            let reason = "ApplyOnForward must be true if either PreDNAT or DoNotTrack is true, for a given PolicySpec";
            invalid.push("PolicySpec.ApplyOnForward", "false", reason);
        }
        invalid.schema_rules("spec", self, &HOST_RULES);
    }
}

/// What the schema says of a global policy as a whole.
pub(super) const HOST_RULES: [SchemaRule<Host>; 4] = [
    SchemaRule {
        cel: "!(has(self.preDNAT) && self.preDNAT && has(self.doNotTrack) && self.doNotTrack)",
        message: "preDNAT and doNotTrack cannot both be true",
        reason: "FieldValueForbidden",
        holds: |it| !(it.pre_dnat && it.do_not_track),
    },
    SchemaRule {
        cel: "!has(self.preDNAT) || !self.preDNAT || !has(self.egress) || size(self.egress) == 0",
        message: "preDNAT policy cannot have any egress rules",
        reason: "FieldValueForbidden",
        holds: |it| !it.pre_dnat || it.egress_rules == 0,
    },
    SchemaRule {
        cel: "!has(self.preDNAT) || !self.preDNAT || !has(self.types) || !self.types.exists(t, t == 'Egress')",
        message: "preDNAT policy cannot have 'Egress' type",
        reason: "FieldValueForbidden",
        holds: |it| !it.pre_dnat || !it.has_egress_type(),
    },
    SchemaRule {
        cel: "!(has(self.preDNAT) && self.preDNAT || has(self.doNotTrack) && self.doNotTrack) || \
              has(self.applyOnForward) && self.applyOnForward",
        message: "applyOnForward must be true if either preDNAT or doNotTrack is true",
        reason: "FieldValueInvalid",
        holds: |it| it.apply_on_forward || !(it.pre_dnat || it.do_not_track),
    },
];
