//! The objects that a cluster's datastore has from its first client on.

use super::{Client, ClientError, now};
use api::kind::ClusterInformationSpec;
use api::resource::{Kind, Typed};

impl Client {
    /// Creates what an empty datastore gets: ClusterInformation `default` and the built-in tiers.
    ///
    /// An existing ClusterInformation gets `version` and the words of `cluster_type` that it lacks, a GUID and the
    /// ready flag if it has none.
    pub async fn ensure_initialized(&self, version: &str, cluster_type: &str) -> Result<(), ClientError> {
        let guid = uuid::Uuid::new_v4().simple().to_string();
        let uid = || uuid::Uuid::new_v4().to_string();
        for first in api::initial::objects(&guid, version, cluster_type, &now(), uid) {
            let information = first.kind() == Kind::ClusterInformation;
            match self.create_as_is(first).await {
                Err(error) if !error.exists() => return Err(error),
                Err(_) if information => self.complete_cluster_information(version, cluster_type).await?,
                _ => {}
            }
        }
        Ok(())
    }

    async fn complete_cluster_information(&self, version: &str, cluster_type: &str) -> Result<(), ClientError> {
        loop {
            let present = self.get(Kind::ClusterInformation, "", "default").await?;
            let Ok(mut object) = Typed::<ClusterInformationSpec>::try_from(present) else { return Ok(()) };
            let before = object.spec.clone();
            merge(&mut object.spec, version, cluster_type);
            if object.spec == before {
                return Ok(());
            }
            match self.update_as_is(object.into()).await {
                Err(error) if error.conflict() => {}
                other => return other.map(|_| ()),
            }
        }
    }
}

fn merge(spec: &mut ClusterInformationSpec, version: &str, cluster_type: &str) {
    if !version.is_empty() {
        spec.calico_version = version.to_owned();
    }
    let mut words: Vec<&str> = spec.cluster_type.split(',').filter(|word| !word.is_empty()).collect();
    for word in cluster_type.split(',').filter(|word| !word.is_empty()) {
        if !words.contains(&word) {
            words.push(word);
        }
    }
    spec.cluster_type = words.join(",");
    if spec.cluster_guid.is_empty() {
        spec.cluster_guid = uuid::Uuid::new_v4().simple().to_string();
    }
    spec.datastore_ready.get_or_insert(true);
}
