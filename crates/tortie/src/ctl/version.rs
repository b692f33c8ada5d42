//! version, and the check that program and cluster fit (control reference §5.1, §5.5).

use super::args::Version;
use super::migrate::information;
use super::{CALICO_VERSION, Failed, Output, World, format};
use crate::client::Client;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// This program's version, as ClusterInformation names versions.
const OWN_VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The commit that this program was built from, where the build says so.
const COMMIT: &str = match option_env!("TORTIE_GIT_COMMIT") {
    Some(commit) => commit,
    None => "",
};

/// The client's version is that of the Calico that it stands for: scripts compare it with the cluster's. Our own comes
/// last.
pub(super) async fn run(args: &Version, world: &World<'_>) -> Result<Output, Failed> {
    let every = args.poll.as_deref().map(interval).transpose()?.filter(|every| !every.is_zero());
    let json = format::wants_json(&args.output)?;
    let own = format!("Tortie:            {OWN_VERSION}\n");
    let client = format!("Client Version:    {CALICO_VERSION}\nGit commit:        {COMMIT}\n");
    if args.client {
        let value = json!({"clientVersion": CALICO_VERSION, "gitCommit": COMMIT, "tortieVersion": OWN_VERSION});
        return Ok(Output::success(if json { format!("{value:#}\n") } else { client + &own }));
    }
    if let Some(every) = every {
        world.say(&(client + &own));
        return poll(args, world, every).await;
    }
    match cluster(args, world).await {
        Ok((version, kind)) if json => {
            let value = json!({
                "clientVersion": CALICO_VERSION, "gitCommit": COMMIT, "tortieVersion": OWN_VERSION,
                "clusterVersion": version, "clusterType": kind,
            });
            Ok(Output::success(format!("{value:#}\n")))
        }
        Ok((version, kind)) => {
            let cluster = format!("Cluster Version:   {version}\nCluster Type:      {kind}\n");
            Ok(Output::success(client + &cluster + &own))
        }
        Err(Failed(reason)) => {
            let stdout = if json { String::new() } else { client + &own };
            Ok(Output { stdout, stderr: format!("{UNTOLD}: {reason}\n"), code: 1 })
        }
    }
}

const UNTOLD: &str = "unable to retrieve Cluster Version or Type";

/// Prints the cluster's version and type whenever they change, until nobody reads any more.
async fn poll(args: &Version, world: &World<'_>, every: Duration) -> Result<Output, Failed> {
    let mut told = (String::new(), String::new());
    loop {
        let mut text = String::new();
        match cluster(args, world).await {
            Ok(found) => {
                if found.0 != told.0 {
                    text += &format!("Cluster Version:   {}\n", found.0);
                }
                if found.1 != told.1 {
                    text += &format!("Cluster Type:      {}\n", found.1);
                }
                told = found;
            }
            Err(Failed(reason)) => {
                let _ = writeln!(std::io::stderr(), "{UNTOLD}: {reason}");
                told = Default::default();
            }
        }
        if !world.say(&text) {
            return Ok(Output::default());
        }
        tokio::time::sleep(every).await;
    }
}

/// The cluster's version and type, `unknown` where they are not said.
async fn cluster(args: &Version, world: &World<'_>) -> Result<(String, String), Failed> {
    let client = world.connect(&args.config).await?;
    let spec = information(&client).await?.spec;
    let or_unknown = |text: String| if text.is_empty() { "unknown".to_owned() } else { text };
    Ok((or_unknown(spec.calico_version), or_unknown(spec.cluster_type)))
}

fn interval(text: &str) -> Result<Duration, Failed> {
    let parsed = if text == "0" { Ok(Duration::ZERO) } else { api::duration::parse(text) };
    parsed.map_err(|reason| Failed(format!("Invalid poll duration specified: {reason}")))
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
