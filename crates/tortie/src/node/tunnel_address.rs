//! Keeps the node's IPIP address allocated while a pool wants one (dataplane reference §2.8).

use crate::client::Client;
use api::Event;
use api::event::Key;
use api::kind::NodeSpec;
use api::resource::{Kind, Resource, Typed};
use ipam::{Ipam, SystemClock};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Pause before another try.
const RETRY: Duration = Duration::from_secs(1);

/// Whether an event may change which address the node should have.
pub(crate) fn is_concerned(event: &Event, node: &str) -> bool {
    let key = match event {
        Event::Init | Event::InitApply(_) => return false,
        Event::InitDone => return true,
        Event::Apply(entry) => &entry.key,
        Event::Delete(key) => key,
        Event::Unreadable(unreadable) => &unreadable.key,
    };
    matches!(key, Key::Resource { kind: Kind::IPPool, .. }) || *key == Key::global(Kind::Node, node)
}

/// Allocates, keeps or releases the address, at once and each time `changes` says that pools or the node changed.
pub(crate) async fn run(client: Client, node: String, changes: Rc<Notify>) {
    let mut failed = String::new();
    loop {
        match ensure(&client, &node).await {
            Ok(()) => {
                failed.clear();
                changes.notified().await;
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != failed {
                    tracing::warn!(node, "tunnel address, trying again: {error}");
                    failed = error;
                }
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
