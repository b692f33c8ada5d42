//! version, and the check that program and cluster fit (control reference §5.1, §5.5).

use super::args::Version;
use super::migrate::information;
use super::{CALICO_VERSION, Failed, Output, World};
use crate::client::Client;

/// This program's version, as ClusterInformation names versions.
const OWN_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

pub(super) async fn run(args: &Version, world: &World<'_>) -> Result<Output, Failed> {
    let mut stdout = format!("Client Version:    {OWN_VERSION}\nGit commit:        \n");
    stdout += &format!("Compatible with:   Calico {CALICO_VERSION}\n");
    if args.client {
        return Ok(Output::success(stdout));
    }
    let information = match world.connect(&args.config).await {
        Ok(client) => information(&client).await.map(|object| object.spec),
        Err(error) => Err(error),
    };
    match information {
        Ok(spec) => {
            let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
            stdout += &format!("Cluster Version:   {}\n", or_unknown(&spec.calico_version));
            stdout += &format!("Cluster Type:      {}\n", or_unknown(&spec.cluster_type));
            Ok(Output::success(stdout))
        }
        Err(Failed(reason)) => {
            let stderr = format!("unable to retrieve Cluster Version or Type: {reason}\n");
            Ok(Output { stdout, stderr, code: 1 })
        }
    }
}

/// Refuses a cluster of another version; one that cannot be told passes.
pub(super) async fn check(client: &Client) -> Result<(), Failed> {
    let Ok(object) = information(client).await else { return Ok(()) };
    let cluster = &object.spec.calico_version;
    if cluster.is_empty() || [OWN_VERSION, CALICO_VERSION].iter().any(|own| plain(own) == plain(cluster)) {
        return Ok(());
    }
    Err(Failed(format!(
        "version mismatch.\nClient Version:   {OWN_VERSION} (compatible with {CALICO_VERSION})\nCluster Version:  \
         {cluster}\nUse --allow-version-mismatch to override"
    )))
}

/// A version without its leading `v` and whatever follows a dash.
fn plain(version: &str) -> &str {
    let version = version.trim_start_matches('v');
    version.split('-').next().unwrap_or(version)
}
