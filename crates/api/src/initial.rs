//! The objects that an empty Calico datastore gets at its first use.

use crate::kind::{ClusterInformationSpec, TierSpec};
use crate::meta::ObjectMeta;
use crate::resource::{Resource, Typed};
use serde_json::json;

/// The built-in tiers: name, order, default action.
pub const TIERS: [(&str, u64, &str); 3] =
    [("default", 1_000_000, "Deny"), ("kube-admin", 1_000, "Pass"), ("kube-baseline", 10_000_000, "Pass")];

/// The profile that allows everything; every list has it, nobody stores it.
pub const DEFAULT_ALLOW: &str = "projectcalico-default-allow";

/// Builds the initial objects: the ClusterInformation, then the tiers.
///
/// `guid` is 32 hexadecimal digits, `version` and `cluster_type` may be empty, `now` is RFC 3339, and `uid` is
/// asked once per object.
pub fn objects(
    guid: &str,
    version: &str,
    cluster_type: &str,
    now: &str,
    mut uid: impl FnMut() -> String,
) -> Vec<Resource> {
    let mut metadata =
        |name: &str| ObjectMeta { uid: uid(), creation_timestamp: Some(now.to_owned()), ..ObjectMeta::named(name) };
    let information = ClusterInformationSpec {
        cluster_guid: guid.to_owned(),
        cluster_type: cluster_type.to_owned(),
        calico_version: version.to_owned(),
        datastore_ready: Some(true),
        variant: String::new(),
    };
    let mut objects = vec![Typed::new(metadata("default"), information).into()];
    objects.extend(TIERS.map(|(name, order, action)| {
        let spec = TierSpec { order: Some(order.into()), default_action: Some(action.to_owned()) };
        let tier = Typed::new(metadata(name), spec);
        Resource::from(Typed { status: Some(json!({})), ..tier })
    }));
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_as_calico_stores_them() {
        let mut number = 0;
        let uid = || {
            number += 1;
            format!("u{number}")
        };
        let stored: Vec<String> = objects("8cf0da2c885c4c03a7893ebc3ecc3e15", "", "", "2026-11-22T23:18:22Z", uid)
            .iter()
            .map(|object| serde_json::to_string(object).expect("a resource is JSON"))
            .collect();
        assert_eq!(
            stored,
            [
                r#"{"kind":"ClusterInformation","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","uid":"u1","creationTimestamp":"2026-11-22T23:18:22Z"},"spec":{"clusterGUID":"8cf0da2c885c4c03a7893ebc3ecc3e15","datastoreReady":true}}"#,
                r#"{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"default","uid":"u2","creationTimestamp":"2026-11-22T23:18:22Z"},"spec":{"order":1000000,"defaultAction":"Deny"},"status":{}}"#,
                r#"{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"kube-admin","uid":"u3","creationTimestamp":"2026-11-22T23:18:22Z"},"spec":{"order":1000,"defaultAction":"Pass"},"status":{}}"#,
                r#"{"kind":"Tier","apiVersion":"projectcalico.org/v3","metadata":{"name":"kube-baseline","uid":"u4","creationTimestamp":"2026-11-22T23:18:22Z"},"spec":{"order":10000000,"defaultAction":"Pass"},"status":{}}"#,
            ]
        );
    }
}
