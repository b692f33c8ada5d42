//! The same calls against memory and against a real etcd must have the same answers.

use api::event::{Key, Object, Revision};
use api::kind::IpPoolSpec;
use api::meta::ObjectMeta;
use api::resource::{Kind, Resource, Typed};
use datastore::config::Config;
use datastore::{Change, Error, Listing, Query, Scope, Store, Write};
use process::Etcd;

#[path = "etcd/process.rs"]
mod process;

fn pool(name: &str, cidr: &str) -> (Key, Object) {
    let spec = IpPoolSpec { cidr: cidr.to_owned(), ..IpPoolSpec::default() };
    (Key::global(Kind::IPPool, name), Object::Resource(Resource::from(Typed::new(ObjectMeta::named(name), spec))))
}

fn kind_of<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result.expect_err("the call must fail") {
        Error::NotFound(_) => "not found",
        Error::Exists(_) => "exists",
        Error::Conflict(_) => "conflict",
        Error::Corrupt { .. } => "corrupt",
        Error::Unavailable(_) => "unavailable",
    }
}

async fn exercise(store: &dyn Store) {
    let scope = Scope::Kind(Kind::IPPool);
    let (none, start) = store.list(&scope).await.expect("an empty list");
    assert_eq!(none, Listing::default());
    let mut watch = store.watch(&scope, &start).await.expect("a watch");

    let (key, object) = pool("a", "10.0.0.0/16");
    assert_eq!(kind_of(store.get(&key).await), "not found");
    assert_eq!(kind_of(store.update(&key, &object, &Revision("1".into())).await), "not found");
    assert_eq!(kind_of(store.delete(&key, None).await), "not found");
    let created = store.create(&key, &object).await.expect("created");
    assert_eq!(kind_of(store.create(&key, &object).await), "exists");
    assert_eq!(store.get(&key).await.expect("there"), created);
    let Object::Resource(resource) = &created.object else { panic!("a resource") };
    assert_eq!(resource.metadata().resource_version, created.revision.0);

    let (_, changed) = pool("a", "10.1.0.0/16");
    let updated = store.update(&key, &changed, &created.revision).await.expect("updated");
    assert_eq!(kind_of(store.update(&key, &changed, &created.revision).await), "conflict");
    assert_eq!(kind_of(store.delete(&key, Some(&created.revision)).await), "conflict");

    let (other, object) = pool("b", "10.2.0.0/16");
    let both = [Write::Create(other.clone(), object.clone()), Write::Delete(key.clone(), created.revision.clone())];
    assert_eq!(kind_of(store.transact(&both).await), "conflict");
    assert_eq!(kind_of(store.get(&other).await), "not found", "a failed transaction writes nothing");
    let both = [Write::Create(other.clone(), object), Write::Delete(key.clone(), updated.revision.clone())];
    store.transact(&both).await.expect("both or none: both");
    let expect = |revision: Option<&Revision>| {
        let (third, object) = pool("c", "10.3.0.0/16");
        [Write::Create(third, object), Write::Expect(other.clone(), revision.cloned())]
    };
    assert_eq!(kind_of(store.transact(&expect(None)).await), "exists");
    assert_eq!(kind_of(store.transact(&expect(Some(&updated.revision))).await), "conflict");
    let gone = [Write::Expect(key.clone(), Some(updated.revision.clone()))];
    assert_eq!(kind_of(store.transact(&gone).await), "not found");
    let absent = [Write::Delete(other.clone(), store.get(&other).await.expect("there").revision)];
    let absent = [absent.as_slice(), &[Write::Expect(key.clone(), None)]].concat();
    let (left, _) = store.list(&scope).await.expect("a list");
    assert_eq!(left.entries.iter().map(|entry| &entry.key).collect::<Vec<_>>(), [&other]);

    let mut seen = Vec::new();
    while seen.len() < 4 {
        seen.extend(watch.next().await.expect("changes"));
    }
    seen[2..].sort_by_key(|change| matches!(change, Change::Deleted(_)));
    assert_eq!(seen[0], Change::Put(created));
    assert_eq!(seen[1], Change::Put(updated));
    assert_eq!(seen[2], Change::Put(store.get(&other).await.expect("there")));
    assert_eq!(seen[3], Change::Deleted(key));
    store.transact(&absent).await.expect("what is expected to be absent is");
    assert_eq!(kind_of(store.get(&other).await), "not found");
}

/// More queries than one transaction of etcd takes, answered as of one moment, whatever is absent.
async fn read_many(store: &dyn Store) {
    let mut entries = Vec::new();
    for index in 0..150 {
        let (key, object) = pool(&format!("many-{index:03}"), &format!("10.9.{index}.0/24"));
        entries.push(store.create(&key, &object).await.expect("created"));
    }
    let mut queries: Vec<Query> = entries.iter().map(|entry| Query::Get(entry.key.clone())).collect();
    queries.insert(1, Query::Get(pool("absent", "10.0.0.0/8").0));
    queries.push(Query::List(Scope::Kind(Kind::IPPool)));
    queries.push(Query::List(Scope::Affinities));
    let (mut found, revision) = store.read(&queries).await.expect("answers");
    let (listed, now) = store.list(&Scope::Kind(Kind::IPPool)).await.expect("a list");
    assert_eq!((found.len(), revision), (queries.len(), now));
    assert_eq!(found.pop(), Some(Listing::default()));
    assert_eq!(found.pop(), Some(listed));
    assert_eq!(found.remove(1), Listing::default());
    assert_eq!(found.into_iter().flat_map(|listing| listing.entries).collect::<Vec<_>>(), entries);
    assert_eq!(store.read(&[]).await.expect("no answers").0, Vec::<Listing>::new());
}

/// What is stored and cannot be read is told by each way of reading, with its key and the reason, beside the rest.
async fn unreadable(store: &dyn Store, spoil: impl AsyncFn(&str, &str)) {
    let scope = Scope::Kind(Kind::IPPool);
    let (good, object) = pool("good", "10.11.0.0/16");
    store.create(&good, &object).await.expect("created");
    let (_, start) = store.list(&scope).await.expect("a list");
    let mut watch = store.watch(&scope, &start).await.expect("a watch");
    let key = Key::global(Kind::IPPool, "spoilt");
    spoil(&datastore::layout::path(&key), r#"{"spec":{"cidr":"#).await;

    let (listing, _) = store.list(&scope).await.expect("a list");
    assert!(listing.entries.iter().any(|entry| entry.key == good), "the others are listed");
    let [found] = listing.unreadable.as_slice() else { panic!("one is unreadable: {:?}", listing.unreadable) };
    assert_eq!(found.key, key);
    assert!(found.reason.contains("EOF"), "{}", found.reason);
    let queries = [Query::Get(key.clone()), Query::Get(good), Query::List(scope)];
    let (answers, _) = store.read(&queries).await.expect("answers");
    assert_eq!(answers[0], Listing { entries: Vec::new(), unreadable: vec![found.clone()] });
    assert_eq!((answers[1].entries.len(), &answers[2]), (1, &listing));
    let seen = watch.next().await.expect("changes");
    assert_eq!(seen, [Change::Unreadable(found.clone())]);

    let error = store.get(&key).await.expect_err("it cannot be read");
    let path = "/calico/resources/v3/projectcalico.org/ippools/spoilt";
    assert_eq!(error.to_string(), format!("{path}: stored value cannot be read: {}", found.reason));
    assert_eq!(kind_of(listing.whole()), "corrupt");
    store.delete(&key, None).await.expect("it can be deleted");
}

/// An answer of more than 4 MiB, which is all that a gRPC client takes unless told otherwise.
async fn read_much(store: &dyn Store) {
    let mut keys = Vec::new();
    for index in 0..5 {
        let (key, mut object) = pool(&format!("large-{index}"), &format!("10.10.{index}.0/24"));
        let Object::Resource(resource) = &mut object else { panic!("a resource") };
        resource.metadata_mut().annotations.insert("large".to_owned(), "x".repeat(1 << 20));
        store.create(&key, &object).await.expect("created");
        keys.push(key);
    }
    let (listed, _) = store.list(&Scope::Kind(Kind::IPPool)).await.expect("a list");
    assert!(keys.iter().all(|key| listed.entries.iter().any(|entry| entry.key == *key)));
}

#[tokio::test]
async fn memory() {
    exercise(&datastore::memory::Memory::new()).await;
    read_many(&datastore::memory::Memory::new()).await;
    let store = datastore::memory::Memory::new();
    unreadable(&store, async |path, value| store.put_raw(path, value.as_bytes())).await;
}

#[tokio::test]
async fn etcd() {
    let etcd = Etcd::start();
    let config = Config { etcd_endpoints: vec![etcd.endpoint.clone()], ..Config::default() };
    let store = datastore::connect(&config).await.expect("a client");
    exercise(store.as_ref()).await;
    read_many(store.as_ref()).await;
    let kv = etcd_client::Client::connect([&etcd.endpoint], None).await.expect("a client").kv_client();
    unreadable(store.as_ref(), async |path, value| {
        kv.clone().put(path, value, None).await.expect("stored");
    })
    .await;
    read_much(store.as_ref()).await;
}

#[tokio::test]
async fn an_unreachable_datastore_is_named() {
    let config = Config { etcd_endpoints: vec!["unix:///nonexistent/store.sock".into()], ..Config::default() };
    let store = datastore::connect(&config).await.expect("a client");
    let error = store.get(&Key::Ready).await.expect_err("nobody listens").to_string();
    assert!(error.contains("unix:///nonexistent/store.sock") && error.contains("No such file"), "{error}");
}
