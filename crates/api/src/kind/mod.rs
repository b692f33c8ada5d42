//! The kinds: one file and one row each.
//!
//! A file has the kind's `spec` and says all there is to say of the kind, by [`Spec`](crate::resource::Spec): names,
//! columns, defaults, checks (with Calico's words), what is built in, what is stored otherwise than shown, what nothing
//! acts on yet. A new field goes where Calico's type has it, since that is the order in which it is stored and printed;
//! `to_model` is for what reaches a kernel.

mod bgp_configuration;
mod bgp_filter;
mod bgp_peer;
mod cluster_information;
mod felix_configuration;
mod global_network_policy;
mod global_network_set;
mod host_endpoint;
mod ip_pool;
mod ip_reservation;
mod kube_controllers_configuration;
mod network_policy;
mod network_set;
mod node;
mod policy;
mod profile;
mod rule;
mod staged_global_network_policy;
mod staged_kubernetes_network_policy;
mod staged_network_policy;
mod tier;
mod workload_endpoint;

#[cfg(test)]
mod testing;

pub use bgp_configuration::*;
pub use bgp_filter::*;
pub use bgp_peer::*;
pub use cluster_information::*;
pub use felix_configuration::*;
pub use global_network_policy::*;
pub use global_network_set::*;
pub use host_endpoint::*;
pub use ip_pool::*;
pub use ip_reservation::*;
pub use kube_controllers_configuration::*;
pub use network_policy::*;
pub use network_set::*;
pub use node::*;
pub use policy::*;
pub use profile::*;
pub use rule::*;
pub use staged_global_network_policy::*;
pub use staged_kubernetes_network_policy::*;
pub use staged_network_policy::*;
pub use tier::*;
pub use workload_endpoint::*;

/// Gives the table of kinds to a macro.
macro_rules! table {
    ($then:ident) => {
        $then! {
            BGPConfiguration: BgpConfigurationSpec;
            BGPFilter: BgpFilterSpec;
            BGPPeer: BgpPeerSpec;
            ClusterInformation: ClusterInformationSpec;
            FelixConfiguration: FelixConfigurationSpec;
            GlobalNetworkPolicy: GlobalNetworkPolicySpec;
            GlobalNetworkSet: GlobalNetworkSetSpec;
            HostEndpoint: HostEndpointSpec;
            IPPool: IpPoolSpec;
            IPReservation: IpReservationSpec;
            KubeControllersConfiguration: KubeControllersConfigurationSpec;
            NetworkPolicy: NetworkPolicySpec;
            NetworkSet: NetworkSetSpec;
            Node: NodeSpec;
            Profile: ProfileSpec;
            StagedGlobalNetworkPolicy: StagedGlobalNetworkPolicySpec;
            StagedKubernetesNetworkPolicy: StagedKubernetesNetworkPolicySpec;
            StagedNetworkPolicy: StagedNetworkPolicySpec;
            Tier: TierSpec;
            WorkloadEndpoint: WorkloadEndpointSpec;
        }
    };
}

pub(crate) use table;
