//! What the check reads while others write. What it makes of it is tested beside it, and after every race.

use crate::cluster::Cluster;

/// How many lists one reading takes.
const LISTS: usize = 6;

/// Takes a snapshot while somebody else writes a number of times; also says how many lists it took.
async fn disturbed(writes: usize) -> (bool, usize) {
    let cluster = Cluster::with_pool("10.0.0.0/24").await;
    let ipam = cluster.ipam();
    cluster.store.take_counts();
    let disturb = async {
        for _ in 0..writes {
            cluster.put_raw("config", "{}");
            tokio::task::yield_now().await;
        }
    };
    let (snapshot, ()) = futures::join!(ipam.snapshot(), disturb);
    (snapshot.unwrap().settled, cluster.store.take_counts().0)
}

#[tokio::test]
async fn a_snapshot_is_of_one_moment_if_it_can_be() {
    assert_eq!(disturbed(0).await, (true, LISTS));
    assert_eq!(disturbed(4).await, (true, 2 * LISTS), "read again");
    assert_eq!(disturbed(1000).await, (false, 5 * LISTS), "given up");
}
