//! What the check reads. What it makes of it is tested beside it, and after every race.

use crate::cluster::{Cluster, net};

#[tokio::test]
async fn a_snapshot_is_of_one_moment() {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let address = cluster.assign("n1", "h", 1).await;
    cluster.store.take_counts();
    let snapshot = cluster.ipam().snapshot().await.unwrap();
    assert_eq!(cluster.store.take_counts(), (1, 0), "one read answers everything");
    assert_eq!((snapshot.nodes.len(), snapshot.handles.len(), snapshot.affinities.len()), (3, 1, 1));
    assert_eq!(snapshot.active_pools(), [net("10.0.0.0/24")]);
    assert_eq!(snapshot.blocks[0].cidr, net(&address[0]).trunc());
    assert_eq!(snapshot.handles[0].handle, serde_json::from_str(&cluster.stored()["handle/h"]).unwrap());
}
