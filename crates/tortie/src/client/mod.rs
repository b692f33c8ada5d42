//! Calico's client semantics over a datastore: defaults, validation, identity, and what one write entails
//! (control reference §1.8). The agent, the CNI plugin and `calicoctl` all write through it.

mod initialize;
mod node;
mod pool;
mod split;
#[cfg(test)]
mod tests;

use api::event::{Key, Object, Unreadable};
use api::meta::ObjectMeta;
use api::resource::{Kind, Operation, Refusal, Resource};
use datastore::{Scope, Store};
use std::sync::Arc;

/// Why a call failed, in Calico's words.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing has this name.
    #[error("resource does not exist: {0} with error: <nil>")]
    NotFound(String),
    /// Something has this name already.
    #[error("resource already exists: {0} with error: <nil>")]
    Exists(String),
    /// Somebody else wrote in between.
    #[error("update conflict: {0}")]
    Conflict(String),
    /// The object itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The kind does not allow it.
    #[error("operation {operation} is not supported on {key}{}", after_colon(reason))]
    NotSupported {
        /// `Create`, `delete`, …
        operation: String,
        /// The object.
        key: String,
        /// Why, if there is more to say.
        reason: String,
    },
    /// The datastore failed.
    #[error("{0}")]
    Datastore(datastore::Error),
    /// Releasing addresses failed.
    #[error("{0}")]
    Ipam(String),
}

fn after_colon(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

impl ClientError {
    /// Whether the object is not there.
    pub fn not_found(&self) -> bool {
        matches!(self, ClientError::NotFound(_))
    }

    /// Whether the name is taken.
    pub fn exists(&self) -> bool {
        matches!(self, ClientError::Exists(_))
    }

    /// Whether reading again and repeating may help.
    pub fn conflict(&self) -> bool {
        matches!(self, ClientError::Conflict(_))
    }

    /// Whether the datastore could not be reached.
    pub fn unavailable(&self) -> bool {
        matches!(self, ClientError::Datastore(datastore::Error::Unavailable(_)))
    }
}

impl From<datastore::Error> for ClientError {
    fn from(error: datastore::Error) -> Self {
        match error {
            datastore::Error::NotFound(key) => ClientError::NotFound(key),
            datastore::Error::Exists(key) => ClientError::Exists(key),
            datastore::Error::Conflict(key) => ClientError::Conflict(key),
            other @ (datastore::Error::Corrupt { .. } | datastore::Error::Unavailable(_)) => {
                ClientError::Datastore(other)
            }
        }
    }
}

/// What a list of a kind found.
pub struct Listed {
    /// What can be read.
    pub resources: Vec<Resource>,
    /// What is there and cannot be read.
    pub unreadable: Vec<Unreadable>,
    /// The revision of the list.
    pub revision: String,
}

/// How often an object that others write at the same time is read again to be deleted.
const DELETE_ATTEMPTS: usize = 10;

/// A datastore seen as resources.
#[derive(Clone)]
pub struct Client {
    store: Arc<dyn Store>,
}

impl Client {
    /// A client of `store`.
    pub fn new(store: Arc<dyn Store>) -> Client {
        Client { store }
    }

    /// The datastore beneath, for IPAM.
    pub fn store(&self) -> &dyn Store {
        self.store.as_ref()
    }

    /// The same, shared.
    pub fn shared_store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Reads one object; `namespace` is empty for kinds without one.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Resource, ClientError> {
        if let Some(built_in) = kind.built_in().into_iter().find(|it| it.metadata().name == name) {
            return Ok(built_in);
        }
        let entry = self.store.get(&Key::namespaced(kind, namespace, name)).await?;
        resource(entry.object)
    }

    /// Reads every object of a kind, of one namespace or of all when it is empty, ordered by name.
    ///
    /// An error names one that cannot be read.
    pub async fn list(&self, kind: Kind, namespace: &str) -> Result<Vec<Resource>, ClientError> {
        let listed = self.list_readable(kind, namespace).await?;
        match listed.unreadable.into_iter().next() {
            Some(unreadable) => Err(datastore::Error::from(unreadable).into()),
            None => Ok(listed.resources),
        }
    }

    /// As [`Client::list`], with what cannot be read beside what can.
    pub async fn list_readable(&self, kind: Kind, namespace: &str) -> Result<Listed, ClientError> {
        let mut resources = Vec::new();
        let (unreadable, revision) = self.each(kind, namespace, |resource| resources.push(resource)).await?;
        resources.sort_by(|a: &Resource, b| a.rank().total_cmp(&b.rank()));
        Ok(Listed { resources, unreadable, revision })
    }

    /// Gives every object of a kind to `each`, a page at a time and ordered by name, whatever the kind's lists are sorted
    /// by; tells what cannot be read, and the revision.
    pub async fn each(
        &self,
        kind: Kind,
        namespace: &str,
        mut each: impl FnMut(Resource),
    ) -> Result<(Vec<Unreadable>, String), ClientError> {
        let scope = if namespace.is_empty() { Scope::Kind(kind) } else { Scope::Namespace(kind, namespace.to_owned()) };
        // those that nobody stores come where their names belong
        let mut built_in = kind.built_in().into_iter().peekable();
        let mut unreadable = Vec::new();
        let mut pages = self.store.pages(&scope).await?;
        while let Some(page) = pages.next().await? {
            unreadable.extend(page.unreadable);
            for entry in page.entries {
                let stored = resource(entry.object)?;
                while let Some(earlier) = built_in.next_if(|it| it.metadata().name < stored.metadata().name) {
                    each(earlier);
                }
                each(stored);
            }
        }
        built_in.for_each(each);
        Ok((unreadable, pages.revision().0))
    }

    /// Creates an object: applies defaults, validates, gives it an identity.
    ///
    /// A pool may not overlap another, nor existing blocks of another size.
    pub async fn create(&self, mut resource: Resource) -> Result<Resource, ClientError> {
        refuse(Operation::Create, resource.kind(), &resource.metadata().namespace, &resource.metadata().name)?;
        if !resource.metadata().resource_version.is_empty() {
            let version = &resource.metadata().resource_version;
            return Err(ClientError::Invalid(format!(
                "error with field Metadata.ResourceVersion = '{version}' (field must not be set for a Create request)"
            )));
        }
        self.check_references(&resource).await?;
        prepare(&mut resource)?;
        if let Resource::IPPool(pool) = &resource {
            self.check_new_pool(pool).await?;
        }
        if resource.kind() == Kind::Node {
            self.ensure_initialized("", "").await?;
        }
        self.create_as_is(resource).await
    }

    /// Replaces an object that the caller has read: its resourceVersion, uid and creation time must be there.
    pub async fn update(&self, mut resource: Resource) -> Result<Resource, ClientError> {
        refuse(Operation::Update, resource.kind(), &resource.metadata().namespace, &resource.metadata().name)?;
        let metadata = resource.metadata();
        let created = metadata.creation_timestamp.clone().unwrap_or_default();
        for (field, value) in
            [("ResourceVersion", &metadata.resource_version), ("CreationTimestamp", &created), ("UID", &metadata.uid)]
        {
            if value.is_empty() {
                return Err(ClientError::Invalid(format!(
                    "error with field Metadata.{field} = '' (field must be set for an Update request)"
                )));
            }
        }
        self.check_references(&resource).await?;
        prepare(&mut resource)?;
        if let Resource::IPPool(pool) = &resource {
            self.check_changed_pool(pool).await?;
        }
        self.update_as_is(resource).await
    }

    /// Deletes an object by name, with all that belongs to it; with a revision, only if it is still that.
    ///
    /// A pool is disabled and its affinities released first; a node takes its endpoints, addresses, peers and
    /// per-node settings along.
    pub async fn delete(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        revision: &str,
    ) -> Result<Resource, ClientError> {
        let mut attempt = 1;
        loop {
            let present = self.get(kind, namespace, name).await?;
            refuse(Operation::Delete, kind, namespace, name)?;
            if !revision.is_empty() && present.metadata().resource_version != revision {
                return Err(ClientError::Conflict(datastore::layout::describe(&Key::of(&present))));
            }
            match self.delete_as_seen(&Key::namespaced(kind, namespace, name), &present).await {
                Ok(()) => return Ok(present),
                // it, or something that belongs to it, was written in between
                Err(error) if error.conflict() && attempt < DELETE_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes an object, with all that belongs to it, if it is still as it was read.
    async fn delete_as_seen(&self, key: &Key, present: &Resource) -> Result<(), ClientError> {
        let mut seen = datastore_revision(present);
        if let Resource::IPPool(pool) = present {
            seen = self.release_pool(pool).await?;
        } else if let Resource::Node(node) = present {
            self.release_node(&node.metadata.name).await?;
        } else if let Resource::Tier(tier) = present {
            self.check_tier_is_empty(&tier.metadata.name).await?;
        }
        Ok(self.store.delete(key, Some(&seen)).await?)
    }

    async fn create_as_is(&self, mut resource: Resource) -> Result<Resource, ClientError> {
        identify(resource.metadata_mut());
        let key = Key::of(&resource);
        let entry = self.store.create(&key, &Object::Resource(resource)).await?;
        self::resource(entry.object)
    }

    async fn update_as_is(&self, resource: Resource) -> Result<Resource, ClientError> {
        let key = Key::of(&resource);
        let revision = datastore_revision(&resource);
        let entry = self.store.update(&key, &Object::Resource(resource), &revision).await?;
        self::resource(entry.object)
    }

    /// Refuses an object that names others which are not there: a policy's tier, a peer's filters.
    async fn check_references(&self, resource: &Resource) -> Result<(), ClientError> {
        if let Some(tier) = resource.tier() {
            self.get(Kind::Tier, "", tier).await?;
        }
        let Resource::BGPPeer(peer) = resource else { return Ok(()) };
        let mut missing = Vec::new();
        for filter in &peer.spec.filters {
            match self.get(Kind::BGPFilter, "", filter).await {
                Err(error) if error.not_found() => missing.push(filter.as_str()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(ClientError::Invalid(format!(
            "error with field BGPPeer.Spec.Filters = '[{}]' (BGPFilter(s) not found)",
            missing.join(" ")
        )))
    }

    /// Refuses to let go of a tier with policies in it; one that cannot be read may be.
    async fn check_tier_is_empty(&self, tier: &str) -> Result<(), ClientError> {
        for kind in TIERED {
            if self.list(kind, "").await?.iter().any(|policy| policy.tier() == Some(tier)) {
                return Err(ClientError::NotSupported {
                    operation: "delete".to_owned(),
                    key: tier.to_owned(),
                    reason: "Cannot delete a non-empty tier".to_owned(),
                });
            }
        }
        Ok(())
    }
}

/// The kinds that are in tiers.
const TIERED: [Kind; 4] =
    [Kind::NetworkPolicy, Kind::GlobalNetworkPolicy, Kind::StagedNetworkPolicy, Kind::StagedGlobalNetworkPolicy];

/// Refuses what the kind does not allow anybody to do to the object of this name.
fn refuse(operation: Operation, kind: Kind, namespace: &str, name: &str) -> Result<(), ClientError> {
    let key = || datastore::layout::describe(&Key::namespaced(kind, namespace, name));
    match kind.refuses(operation, name) {
        None => Ok(()),
        Some(Refusal::Exists) => Err(ClientError::Exists(key())),
        Some(Refusal::NotSupported(reason)) if reason.is_empty() => {
            Err(ClientError::NotSupported { operation: format!("{operation:?}"), key: key(), reason })
        }
        Some(Refusal::NotSupported(reason)) => Err(ClientError::NotSupported {
            operation: format!("{operation:?}").to_lowercase(),
            key: name.to_owned(),
            reason,
        }),
    }
}

fn prepare(resource: &mut Resource) -> Result<(), ClientError> {
    resource.apply_defaults();
    resource.validate().map_err(|error| ClientError::Invalid(error.to_string()))
}

/// Gives a new object its identity where it has none.
fn identify(metadata: &mut ObjectMeta) {
    if metadata.uid.is_empty() {
        metadata.uid = uuid::Uuid::new_v4().to_string();
    }
    if metadata.creation_timestamp.is_none() {
        metadata.creation_timestamp = Some(now());
    }
}

/// This moment, RFC 3339 in whole seconds.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn datastore_revision(resource: &Resource) -> api::Revision {
    api::Revision(resource.metadata().resource_version.clone())
}

fn resource(object: Object) -> Result<Resource, ClientError> {
    match object {
        Object::Resource(resource) => Ok(resource),
        Object::Block(_) | Object::Affinity(_) | Object::Handle(_) | Object::IpamConfig(_) | Object::Ready(_) => {
            Err(ClientError::Invalid("the datastore answered with another kind of object".to_owned()))
        }
    }
}
