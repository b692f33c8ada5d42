//! Every order of the storage steps of a few clients on a tiny pool, and a fault at any step of one of them.
//!
//! What [`judge`] says must hold after each step of each order. The cases are small, and their orders all of them:
//! `schedule::explore` prints nothing, but fails with the order it met.

mod call;
mod judge;
mod random;
mod schedule;

use crate::cluster::Cluster;
use call::Call;
use ipam::Condition;
use schedule::{Faults, explore};

/// Three nodes, and a pool with blocks of four addresses.
async fn tiny(cidr: &str) -> Cluster {
    let cluster = Cluster::with_pool(cidr).await;
    cluster.pool("pool", cidr, |spec| spec.block_size = Some(30)).await;
    cluster.ipam().config().await.unwrap();
    cluster
}

fn assign(host: &'static str, handle: &str, count: usize) -> Call {
    Call::Assign { host, handle: handle.to_owned(), count }
}

fn release(handle: &str) -> Call {
    Call::Release { handle: handle.to_owned() }
}

/// Whether TORTIE_IPAM_LONG asks for every order of all clients with any fault, which takes minutes.
fn is_long() -> bool {
    std::env::var_os("TORTIE_IPAM_LONG").is_some()
}

/// Tries every order of all clients, one of which may stop anywhere, and every order of each two with any fault in one
/// of them.
fn every_order<const N: usize>(cluster: &Cluster, clients: [Vec<Call>; N]) {
    if !is_long() {
        note(&clients, explore(&cluster.store.memory, &clients, Faults::Crash));
    }
    every_two(cluster, clients);
}

/// Tries every order of each two clients with any fault in one of them: all clients have too many for every day.
fn every_two<const N: usize>(cluster: &Cluster, clients: [Vec<Call>; N]) {
    let memory = &cluster.store.memory;
    if is_long() {
        return note(&clients, explore(memory, &clients, Faults::Any));
    }
    for (index, first) in clients.iter().enumerate() {
        for second in &clients[index + 1..] {
            let two = [first.clone(), second.clone()];
            note(&two, explore(memory, &two, Faults::Any));
        }
    }
}

/// Says how many states there were; a handful would mean that the clients did nothing.
fn note(clients: &[Vec<Call>], states: usize) {
    eprintln!("{states} states of {clients:?}");
    assert!(states > 10, "{states} states of {clients:?}");
}

#[tokio::test]
async fn three_nodes_claim_and_borrow() {
    // one block for three nodes: one claims it, the others borrow; and two blocks for three
    for cidr in ["10.0.0.0/30", "10.0.0.0/29"] {
        let cluster = tiny(cidr).await;
        let clients = ["n1", "n2", "n3"].map(|host| vec![assign(host, host, 1)]);
        every_order(&cluster, clients);
    }
}

#[tokio::test]
async fn processes_of_one_node_and_another() {
    let cluster = tiny("10.0.0.0/29").await;
    every_order(&cluster, [vec![assign("n1", "a", 2)], vec![assign("n1", "b", 2)], vec![assign("n2", "c", 4)]]);
}

#[tokio::test]
async fn one_handle_for_two_calls() {
    let cluster = tiny("10.0.0.0/29").await;
    every_order(&cluster, [vec![assign("n1", "h", 1)], vec![assign("n1", "h", 1)], vec![release("h")]]);
    every_order(&cluster, [vec![assign("n1", "h", 1)], vec![assign("n2", "h", 1)], vec![release("h")]]);
}

#[tokio::test]
async fn a_release_meets_assignments() {
    let cluster = tiny("10.0.0.0/30").await;
    cluster.assign("n1", "old", 3).await;
    let first = Call::ReleaseFirst { handle: "old".to_owned() };
    every_order(&cluster, [vec![release("old")], vec![assign("n1", "a", 1)], vec![release("old")]]);
    every_order(&cluster, [vec![first], vec![assign("n2", "a", 1)], vec![release("old")]]);
}

#[tokio::test]
async fn blocks_are_let_go_of_under_assignments() {
    for condition in [Condition::Empty, Condition::Any] {
        let cluster = tiny("10.0.0.0/29").await;
        cluster.assign("n1", "old", 1).await;
        let let_go = vec![Call::LetGo { host: "n1", condition }];
        every_order(&cluster, [let_go.clone(), vec![assign("n1", "a", 1)], vec![assign("n2", "b", 1)]]);
        every_order(&cluster, [let_go.clone(), vec![release("old")], vec![assign("n1", "a", 1)]]);
        cluster.ipam().release_by_handle("old").await.unwrap();
        every_order(&cluster, [let_go.clone(), vec![assign("n1", "a", 1)], let_go]);
    }
}

#[tokio::test]
async fn a_pool_is_let_go_of_under_assignments() {
    let cluster = tiny("10.0.0.0/29").await;
    cluster.assign("n1", "old", 1).await;
    let let_go = vec![Call::LetGoOfPool { cidr: "10.0.0.0/29" }];
    every_two(&cluster, [let_go, vec![assign("n1", "a", 1)], vec![release("old")]]);
}

#[tokio::test]
async fn claims_of_a_range() {
    let cluster = tiny("10.0.0.0/29").await;
    let claim = |host| vec![Call::Claim { host, cidr: "10.0.0.0/29" }];
    every_two(&cluster, [claim("n1"), claim("n2"), vec![assign("n3", "c", 1)]]);
    let let_go = vec![Call::LetGo { host: "n1", condition: Condition::Empty }];
    every_two(&cluster, [claim("n1"), vec![assign("n1", "a", 1)], let_go]);
}

#[tokio::test]
async fn an_idle_block_is_reclaimed_while_its_owner_wants_it() {
    let cluster = tiny("10.0.0.0/30").await;
    cluster.assign("n1", "old", 1).await;
    cluster.ipam().release_by_handle("old").await.unwrap();
    let let_go = vec![Call::LetGo { host: "n1", condition: Condition::Empty }];
    every_two(&cluster, [vec![assign("n2", "b", 1)], let_go]);
    every_two(&cluster, [vec![assign("n2", "b", 1)], vec![assign("n1", "a", 1)], vec![assign("n3", "c", 1)]]);
}

#[tokio::test]
async fn a_given_address_and_any() {
    let cluster = tiny("10.0.0.0/30").await;
    let given = |host, handle: &str| {
        vec![Call::AssignIp { host, handle: handle.to_owned(), address: "10.0.0.0".parse().unwrap() }]
    };
    every_order(&cluster, [given("n1", "a"), given("n2", "b"), vec![assign("n3", "c", 1)]]);
}

#[tokio::test]
async fn the_last_address() {
    let cluster = tiny("10.0.0.0/30").await;
    cluster.assign("n1", "old", 3).await;
    let try_assign = |host, handle: &str| vec![Call::TryAssign { host, handle: handle.to_owned(), count: 1 }];
    every_two(&cluster, [try_assign("n1", "a"), try_assign("n2", "b"), vec![release("old")]]);
}

#[tokio::test]
async fn a_pool_stops_selecting_its_node() {
    let cluster = tiny("10.0.0.0/29").await;
    cluster.assign("n1", "old", 1).await;
    cluster.pool("other", "10.1.0.0/29", |spec| spec.block_size = Some(30)).await;
    cluster
        .pool("pool", "10.0.0.0/29", |spec| {
            spec.block_size = Some(30);
            spec.node_selector = "has(absent)".to_owned();
        })
        .await;
    let clients = [vec![release("old")], vec![assign("n1", "a", 1)], vec![assign("n1", "b", 1)]];
    every_two(&cluster, clients);
}

/// Tries every order of all clients, one of which may stop anywhere.
fn crash_anywhere<const N: usize>(cluster: &Cluster, clients: [Vec<Call>; N]) {
    note(&clients, explore(&cluster.store.memory, &clients, Faults::Crash));
}

/// Tries every order of all clients; with TORTIE_IPAM_LONG set, one of them may stop anywhere.
fn no_crash<const N: usize>(cluster: &Cluster, clients: [Vec<Call>; N]) {
    let faults = if is_long() { Faults::Crash } else { Faults::None };
    note(&clients, explore(&cluster.store.memory, &clients, faults));
}

#[tokio::test]
async fn calicos_steps_between_ours() {
    let calico = |host, handle: &str| Call::Calico { host, handle: handle.to_owned(), cidr: "10.0.0.0/30" };
    let calico_release =
        |host, handle: &str| Call::CalicoRelease { host, handle: handle.to_owned(), cidr: "10.0.0.0/30" };
    let cluster = tiny("10.0.0.0/30").await;
    no_crash(&cluster, [vec![calico("n1", "a")], vec![assign("n1", "b", 1)]]);
    no_crash(&cluster, [vec![calico("n1", "a")], vec![assign("n2", "b", 1)]]);
    let let_go = vec![Call::LetGo { host: "n1", condition: Condition::Empty }];
    no_crash(&cluster, [vec![calico("n1", "a")], let_go]);
    cluster.assign("n1", "old", 2).await;
    crash_anywhere(&cluster, [vec![calico_release("n1", "old")], vec![assign("n1", "b", 1)]]);
    crash_anywhere(&cluster, [vec![calico("n1", "a")], vec![release("old")]]);
}
