//! Endpoints that a domain's SRV records name, as etcd's own clients look for them (RFC 2782).

use crate::Error;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

/// The services that are looked for, and how an endpoint of each is spoken to.
const SERVICES: [(&str, &str); 2] = [("_etcd-client-ssl._tcp", "https"), ("_etcd-client._tcp", "http")];

/// The endpoints of a domain, from the name servers that this host is configured with.
pub(crate) async fn discover(domain: &str) -> Result<Vec<String>, Error> {
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build);
    let found = match resolver {
        Ok(resolver) => lookup(domain, &resolver).await,
        Err(error) => Err(error.to_string()),
    };
    found.map_err(|reason| {
        Error::Unavailable(format!("failed to discover etcd endpoints through SRV discovery: {reason}"))
    })
}

/// The endpoints of a domain: with TLS first, of each service by priority, then by weight, the heaviest first.
///
/// One service is enough.
async fn lookup(domain: &str, resolver: &TokioResolver) -> Result<Vec<String>, String> {
    let mut endpoints = Vec::new();
    let mut failed = Vec::new();
    for (service, scheme) in SERVICES {
        // a domain is whole, and no search list is gone through
        let name = format!("{service}.{}.", domain.trim_end_matches('.'));
        let answer = match resolver.srv_lookup(name.as_str()).await {
            Ok(answer) => answer,
            Err(error) => {
                failed.push(format!("lookup {name}: {error}"));
                continue;
            }
        };
        let mut records = Vec::new();
        for record in answer.answers() {
            // a lone dot says that there is no such service
            if let RData::SRV(srv) = &record.data
                && !srv.target.is_root()
            {
                records.push(srv);
            }
        }
        records.sort_by_key(|srv| (srv.priority, std::cmp::Reverse(srv.weight)));
        let endpoint = |srv: &hickory_resolver::proto::rr::rdata::SRV| {
            format!("{scheme}://{}:{}", srv.target.to_ascii().trim_end_matches('.'), srv.port)
        };
        endpoints.extend(records.into_iter().map(endpoint));
    }
    if !endpoints.is_empty() {
        return Ok(endpoints);
    }
    Err(match failed.as_slice() {
        [] => "no record names an endpoint".to_owned(),
        failed => format!("dns lookup errors: {}", failed.join(" and ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::Resolver;
    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use std::net::SocketAddr;
    use tokio::net::UdpSocket;

    /// Priority, weight, port, and the target's labels.
    type Srv = (u16, u16, u16, &'static [&'static str]);

    fn labels(labels: &[&str]) -> Vec<u8> {
        let label = |label: &&str| [&[u8::try_from(label.len()).expect("short")], label.as_bytes()].concat();
        labels.iter().flat_map(label).chain([0]).collect()
    }

    /// Answers questions for SRV (RFC 1035 §4.1, RFC 2782), with "no such name" for what is not in `zone`.
    async fn serve(socket: UdpSocket, zone: &[(&[&str], &[Srv])]) {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
            let question = &buffer[12..length];
            let end = question.iter().position(|byte| *byte == 0).expect("a name's end") + 1;
            let name = question[..end].to_ascii_lowercase();
            assert_eq!(question[end..end + 4], [0, 33, 0, 1], "SRV, IN");
            let found = zone.iter().find(|(known, _)| labels(known) == name).map(|(_, records)| *records);
            let count = u16::try_from(found.map_or(0, <[_]>::len)).expect("few");
            let mut answer = buffer[..2].to_vec();
            answer.extend(if found.is_some() { [0x85, 0x80] } else { [0x85, 0x83] });
            answer.extend([0, 1].into_iter().chain(count.to_be_bytes()).chain([0; 4]));
            answer.extend(&question[..end + 4]);
            for (priority, weight, port, target) in found.unwrap_or_default() {
                let data = [priority, weight, port].map(|number| number.to_be_bytes()).concat();
                let data = [data, labels(target)].concat();
                answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
                answer.extend(u16::try_from(data.len()).expect("short").to_be_bytes());
                answer.extend(data);
            }
            socket.send_to(&answer, from).await.expect("answered");
        }
    }

    async fn ask(
        domain: &str,
        zone: &'static [(&'static [&'static str], &'static [Srv])],
    ) -> Result<Vec<String>, String> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
        let SocketAddr::V4(address) = socket.local_addr().expect("an address") else { panic!("IPv4") };
        let mut server = NameServerConfig::udp((*address.ip()).into());
        server.connections[0].port = address.port();
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver =
            Resolver::builder_with_config(config, TokioRuntimeProvider::default()).build().expect("a resolver");
        tokio::select! {
            found = lookup(domain, &resolver) => found,
            () = serve(socket, zone) => panic!("the server ends never"),
        }
    }

    #[tokio::test]
    async fn endpoints_of_both_services_in_their_order() {
        let found = ask(
            "example.org",
            &[
                (
                    &["_etcd-client", "_tcp", "example", "org"],
                    &[(20, 0, 2379, &["c", "example", "org"]), (10, 1, 4001, &["b", "example", "org"])],
                ),
                (
                    &["_etcd-client-ssl", "_tcp", "example", "org"],
                    &[(10, 1, 2379, &["light", "example", "org"]), (10, 9, 2380, &["heavy", "example", "org"])],
                ),
            ],
        );
        let expect = [
            "https://heavy.example.org:2380",
            "https://light.example.org:2379",
            "http://b.example.org:4001",
            "http://c.example.org:2379",
        ];
        assert_eq!(found.await.expect("endpoints"), expect);
    }

    #[tokio::test]
    async fn one_service_is_enough_and_none_is_told() {
        let found =
            ask("example.org.", &[(&["_etcd-client", "_tcp", "example", "org"], &[(0, 0, 2379, &["a"])])]).await;
        assert_eq!(found.expect("an endpoint"), ["http://a:2379"]);
        let error = ask("example.org", &[]).await.expect_err("no records");
        let [start, other] = [
            "dns lookup errors: lookup _etcd-client-ssl._tcp.example.org.: ",
            " and lookup _etcd-client._tcp.example.org.: ",
        ];
        assert!(error.starts_with(start) && error.contains(other), "{error}");
        let none: Result<_, _> =
            ask("example.org", &[(&["_etcd-client", "_tcp", "example", "org"], &[(0, 0, 0, &[])])]).await;
        assert!(none.expect_err("there is no such service").contains("_etcd-client-ssl"), "the other one fails");
    }
}
