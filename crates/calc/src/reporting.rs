//! What an agent reports about itself: where it serves metrics and health, and how much of the cluster it sees.

use crate::settings::{Overrides, Parameters};
use std::collections::BTreeMap;

/// Where an agent answers questions about itself; nothing listens unless it is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reporting {
    /// Prometheus metrics.
    pub metrics: Option<Endpoint>,
    /// Liveness and readiness.
    pub health: Option<Endpoint>,
}

/// A place to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; empty for every address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nodes of the cluster.
    pub hosts: usize,
    /// Workload endpoints of the cluster.
    pub workload_endpoints: usize,
    /// Workload endpoints of this node.
    pub local_endpoints: usize,
}

impl Reporting {
    /// What the environment alone asks for, while the datastore has not been read.
    pub fn of_environment(overrides: &BTreeMap<String, String>) -> Reporting {
        let overrides: &Overrides = overrides;
        Parameters::new(&BTreeMap::new(), "", overrides).reporting()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn felixs_names_and_defaults() {
        let at = |host: &str, port| Some(Endpoint { host: host.to_owned(), port });
        for (variables, metrics, health) in [
            ([].as_slice(), None, None),
            (&[("healthenabled", "true")], None, at("localhost", 9099)),
            (&[("healthenabled", "true"), ("healthhost", "0.0.0.0"), ("healthport", "1")], None, at("0.0.0.0", 1)),
            (&[("prometheusmetricsenabled", "true")], at("", 9091), None),
            (&[("prometheusmetricsenabled", "true"), ("prometheusmetricsport", "99999")], at("", 9091), None),
            (&[("prometheusmetricsenabled", "true"), ("prometheusmetricskeyfile", "/key")], None, None),
        ] {
            let overrides = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(Reporting::of_environment(&overrides), Reporting { metrics, health }, "{variables:?}");
        }
    }
}
