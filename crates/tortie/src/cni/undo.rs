//! What a failed ADD takes back.

use super::call::Call;
use super::error::CniError;
use super::log::{Level, Log};
use super::netconf::NetConf;
use super::{cluster, delegate, ipam_plugin};
use crate::client::Client;
use api::kind::WorkloadEndpointSpec;
use api::resource::{Kind, Resource, Typed};
use dataplane::podnet;
use ipnet::IpNet;

/// What one ADD has made so far.
///
/// Only that is taken back: an earlier ADD of the same container keeps its addresses, and an endpoint that somebody
/// else wrote meanwhile stays as it is.
pub(crate) struct Undo<'a> {
    pub(crate) client: &'a Client,
    pub(crate) call: &'a Call,
    pub(crate) conf: &'a NetConf,
    pub(crate) input: &'a [u8],
    pub(crate) log: &'a Log,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) network: bool,
    pub(crate) endpoint: Option<Written>,
}

/// An endpoint that was written, or may have been.
pub(crate) struct Written {
    pub(crate) ours: Typed<WorkloadEndpointSpec>,
    pub(crate) previous: Option<Typed<WorkloadEndpointSpec>>,
}

impl Undo<'_> {
    /// Takes it all back, last things first; what cannot be is logged, and left to DEL.
    pub(crate) async fn all(self) {
        self.endpoint().await;
        if self.network
            && let Some(netns) = &self.call.netns
            && let Err(error) = podnet::teardown(netns, &self.call.ifname.as_str().into())
        {
            self.warn("network", &error.to_string());
        }
        let released = match self.conf.ipam.plugin.as_str() {
            ipam_plugin::NAME => {
                ipam_plugin::give_back(self.client.store(), self.call, self.conf, &self.addresses, self.log).await
            }
            other => delegate::del(other, self.call, self.input),
        };
        if let Err(error) = released {
            self.warn("addresses", &error.msg);
        }
    }

    /// Takes only the endpoint back.
    pub(crate) async fn endpoint(&self) {
        if let Some(written) = &self.endpoint
            && let Err(error) = self.restore(written).await
        {
            self.warn("endpoint", &error.msg);
        }
    }

    fn warn(&self, what: &str, error: &str) {
        self.log.write(Level::Warning, &format!("undo: {what}: {error}"));
    }

    /// Puts the previous endpoint back, or deletes ours; one with another Ethernet address is somebody else's.
    async fn restore(&self, Written { ours, previous }: &Written) -> Result<(), CniError> {
        let (namespace, name) = (&ours.metadata.namespace, &ours.metadata.name);
        let Some(mut present) = cluster::endpoint(self.client, namespace, name).await? else { return Ok(()) };
        if present.spec.container_id != ours.spec.container_id || present.spec.mac != ours.spec.mac {
            return Ok(());
        }
        match previous {
            Some(previous) => {
                present.metadata.labels.clone_from(&previous.metadata.labels);
                present.spec = previous.spec.clone();
                self.client.update(Resource::from(present)).await?;
            }
            None => {
                let revision = &present.metadata.resource_version;
                self.client.delete(Kind::WorkloadEndpoint, namespace, name, revision).await?;
            }
        }
        Ok(())
    }
}
