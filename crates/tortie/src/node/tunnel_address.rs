//! Keeps the node's IPIP address allocated while a pool wants one (dataplane reference §2.8).

use crate::client::Client;
use api::kind::NodeSpec;
use api::resource::{Kind, Resource, Typed};
use ipam::{Ipam, SystemClock};
use std::time::Duration;
use tokio::sync::watch;

/// Pause before another try.
const RETRY: Duration = Duration::from_secs(1);

/// Allocates, keeps or releases the address each time `changes` says that pools or the node changed.
pub(crate) async fn run(client: Client, node: String, mut changes: watch::Receiver<u64>) {
    loop {
        match ensure(&client, &node).await {
            Ok(()) => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::warn!(node, "tunnel address: {error:#}");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn ensure(client: &Client, name: &str) -> anyhow::Result<()> {
    let ipam = Ipam::new(client.store(), &SystemClock);
    let address = ipam::tunnel::ensure_tunnel_address(&ipam, name, ipam::tunnel::Tunnel::Ipip).await?;
    let text = address.map(|address| address.to_string()).unwrap_or_default();
    let resource = client.get(Kind::Node, "", name).await?;
    let Ok(mut node) = Typed::<NodeSpec>::try_from(resource) else { anyhow::bail!("node {name} is not a Node") };
    let bgp = node.spec.bgp.get_or_insert_default();
    if bgp.ipv4_ipip_tunnel_addr == text {
        return Ok(());
    }
    tracing::info!(node = name, from = bgp.ipv4_ipip_tunnel_addr, to = text, "the tunnel address changes");
    bgp.ipv4_ipip_tunnel_addr = text;
    client.update(Resource::from(node)).await?;
    Ok(())
}
