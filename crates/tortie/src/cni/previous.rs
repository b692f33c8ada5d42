//! What an earlier ADD answered: as the configuration brings it back in `prevResult`, else as it was stored.

use super::error::{CniError, Code};
use super::netconf::NetConf;
use api::kind::WorkloadEndpointSpec;
use ipnet::IpNet;
use serde::Deserialize;
use std::net::IpAddr;
use std::path::Path;

/// A result of version 0.3.0 or newer, as far as it is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Previous {
    interfaces: Vec<Interface>,
    ips: Vec<Address>,
}

/// One of its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Interface {
    name: String,
    pub(crate) mac: String,
    /// From 1.1.0 on.
    pub(crate) mtu: Option<u32>,
    pub(crate) sandbox: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Address {
    address: IpNet,
    interface: Option<usize>,
}

impl Previous {
    /// Reads the configuration's `prevResult`, if it has one.
    pub(crate) fn of(conf: &NetConf) -> Result<Option<Previous>, CniError> {
        let invalid = |msg: String| CniError::new(Code::INVALID_CONFIG, format!("network {:?}: {msg}", conf.name));
        let Some(json) = &conf.prev_result else { return Ok(None) };
        let parsed: Result<Previous, _> = serde_path_to_error::deserialize(json);
        let previous = parsed.map_err(|error| invalid(format!("prevResult.{error}")))?;
        let count = previous.interfaces.len();
        match previous.ips.iter().find_map(|ip| ip.interface.filter(|index| *index >= count)) {
            None => Ok(Some(previous)),
            Some(index) => Err(invalid(format!("prevResult.ips: there is no interface {index}, only {count} in all"))),
        }
    }

    /// What ADD answered according to what it stored, for a runtime that does not bring the answer back.
    pub(crate) fn stored(endpoint: &WorkloadEndpointSpec, netns: &Path) -> Previous {
        let sandbox = netns.display().to_string();
        let host = Interface { name: endpoint.interface_name.clone(), ..Interface::default() };
        let container = Interface { name: endpoint.endpoint.clone(), mac: endpoint.mac.clone(), mtu: None, sandbox };
        let address = |text: &String| Some(Address { address: text.parse().ok()?, interface: Some(1) });
        Previous { interfaces: vec![host, container], ips: endpoint.ip_networks.iter().filter_map(address).collect() }
    }

    /// The container's interface.
    pub(crate) fn inside(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|it| it.name == name && !it.sandbox.is_empty())
    }

    /// An interface of the host.
    pub(crate) fn outside(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|it| it.name == name && it.sandbox.is_empty())
    }

    /// The addresses of the container's interface; those of interfaces that later plugins added are theirs.
    pub(crate) fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let here = |ip: &&Address| match ip.interface {
            None => true,
            Some(index) => self.interfaces[index].name == name && !self.interfaces[index].sandbox.is_empty(),
        };
        self.ips.iter().filter(here).map(|ip| ip.address.addr()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn previous(result: Value) -> Result<Previous, CniError> {
        let conf = NetConf { name: "n".into(), prev_result: Some(result), ..NetConf::default() };
        Previous::of(&conf).map(|previous| previous.expect("it is there"))
    }

    #[test]
    fn addresses_belong_to_their_interfaces() {
        let interfaces = json!([{"name": "calicid1"}, {"name": "eth0", "sandbox": "/x"}, {"name": "eth0"}, {"name": "net1", "sandbox": "/x"}]);
        let ip = |address: &str, interface: Option<u32>| json!({"address": address, "interface": interface});
        let ips = [
            ip("10.0.0.1/32", Some(1)),
            ip("fd00::1/128", None),
            ip("10.9.0.1/32", Some(2)),
            ip("10.9.0.2/24", Some(3)),
        ];
        let previous =
            previous(json!({"cniVersion": "1.0.0", "interfaces": interfaces, "ips": ips})).expect("a result");
        assert_eq!(
            previous.addresses("eth0"),
            ["10.0.0.1", "fd00::1"].map(|ip| ip.parse::<IpAddr>().expect("an address"))
        );
        assert!(previous.inside("calicid1").is_none() && previous.outside("calicid1").is_some());
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        assert_eq!(Previous::of(&NetConf { name: "n".into(), ..NetConf::default() }), Ok(None));
        for (result, expect) in [
            (json!({"ips": [{"address": "10.0.0.1"}]}), "network \"n\": prevResult.ips[0].address: "),
            (
                json!({"ips": [{"address": "10.0.0.1/32", "interface": 1}], "interfaces": [{"name": "eth0"}]}),
                "network \"n\": prevResult.ips: there is no interface 1, only 1 in all",
            ),
            (json!({"interfaces": 5}), "network \"n\": prevResult.interfaces: invalid type: integer `5`"),
        ] {
            let error = previous(result).expect_err("a bad result");
            assert!(error.code == 7 && error.msg.starts_with(expect), "{}", error.msg);
        }
    }
}
