//! Calico's etcd v3 layout: keys as paths, objects as bytes (control reference §2.2, §2.3).

use crate::Scope;
use api::event::{Key, Object, OwnerType, Revision};
use api::ipam::Block;
use api::resource::{Kind, Resource};
use ipnet::IpNet;

const RESOURCES: &str = "/calico/resources/v3/projectcalico.org/";
const BLOCKS: &str = "/calico/ipam/v2/assignment/";
const HANDLES: &str = "/calico/ipam/v2/handle/";
const IPAM_CONFIG: &str = "/calico/ipam/v2/config";
const READY: &str = "/calico/v1/Ready";

/// Writes a key as its path.
pub fn path(key: &Key) -> String {
    match key {
        Key::Resource { kind, namespace, name } if kind.namespaced() => {
            format!("{RESOURCES}{}/{namespace}/{name}", kind.plural())
        }
        Key::Resource { kind, name, .. } => format!("{RESOURCES}{}/{name}", kind.plural()),
        Key::Block(cidr) => format!("{BLOCKS}{}/block/{}", family(cidr), dashed(cidr)),
        Key::Affinity { owner_type, owner, block } => {
            format!("{}{}/{}/block/{}", affinities(*owner_type), escape(owner), family(block), dashed(block))
        }
        Key::Handle(id) => format!("{HANDLES}{}", escape(id)),
        Key::IpamConfig => IPAM_CONFIG.to_owned(),
        Key::Ready => READY.to_owned(),
    }
}

/// Reads a path back; none for what is not one of ours.
///
/// What Calico does not write so is left alone (an affinity for a CIDR with host bits, a block under the other family, a
/// name of two parts): its key would lead to another path. A block with host bits is one, and cannot be read.
pub fn parse(path: &str) -> Option<Key> {
    read(path).filter(|key| has_names(key) && self::path(key) == path)
}

/// Whether no name is empty, and none has another part.
fn has_names(key: &Key) -> bool {
    let is_name = |name: &str| !name.is_empty() && !name.contains('/');
    match key {
        Key::Resource { kind, namespace, name } => is_name(name) && (!kind.namespaced() || is_name(namespace)),
        Key::Affinity { owner, .. } => !owner.is_empty(),
        Key::Handle(id) => !id.is_empty(),
        Key::Block(_) | Key::IpamConfig | Key::Ready => true,
    }
}

fn read(path: &str) -> Option<Key> {
    if let Some(rest) = path.strip_prefix(RESOURCES) {
        let (plural, rest) = rest.split_once('/')?;
        let kind = Kind::by_plural(plural)?;
        if !kind.namespaced() {
            return (!rest.contains('/')).then(|| Key::global(kind, rest));
        }
        let (namespace, name) = rest.split_once('/')?;
        return Some(Key::namespaced(kind, namespace, name));
    }
    if let Some(rest) = path.strip_prefix(BLOCKS) {
        let (_, cidr) = rest.split_once("/block/")?;
        return Some(Key::Block(undashed(cidr)?));
    }
    if let Some(id) = path.strip_prefix(HANDLES) {
        return Some(Key::Handle(unescape(id)));
    }
    for owner_type in [OwnerType::Host, OwnerType::Virtual] {
        if let Some(rest) = path.strip_prefix(affinities(owner_type)) {
            let (owner, rest) = rest.split_once('/')?;
            let (_, cidr) = rest.split_once("/block/")?;
            let block = undashed(cidr).filter(|block| *block == block.trunc())?;
            return Some(Key::Affinity { owner_type, owner: unescape(owner), block });
        }
    }
    match path {
        IPAM_CONFIG => Some(Key::IpamConfig),
        READY => Some(Key::Ready),
        _ => None,
    }
}

/// The path prefixes whose keys a scope covers.
pub fn prefixes(scope: &Scope) -> Vec<String> {
    match scope {
        Scope::Kind(kind) => vec![format!("{RESOURCES}{}/", kind.plural())],
        Scope::Namespace(kind, namespace) => vec![format!("{RESOURCES}{}/{namespace}/", kind.plural())],
        Scope::Blocks => vec![BLOCKS.to_owned()],
        Scope::AffinitiesOf(owner_type, owner) => vec![format!("{}{}/", affinities(*owner_type), escape(owner))],
        Scope::Affinities => [OwnerType::Host, OwnerType::Virtual].map(|t| affinities(t).to_owned()).to_vec(),
        Scope::Handles => vec![HANDLES.to_owned()],
    }
}

/// Encodes an object as it is stored: a resource loses its revision and self link.
pub fn encode(object: &Object) -> Vec<u8> {
    let encoded = match object {
        Object::Resource(resource) => {
            let mut stored: Resource = resource.clone();
            stored.metadata_mut().resource_version.clear();
            stored.metadata_mut().self_link.clear();
            stored.to_stored();
            return escaped(serde_json::to_string(&stored).expect(FITS)).into_bytes();
        }
        Object::Block(block) => serde_json::to_vec(block),
        Object::Affinity(affinity) => serde_json::to_vec(affinity),
        Object::Handle(handle) => serde_json::to_vec(handle),
        Object::IpamConfig(config) => serde_json::to_vec(config),
        Object::Ready(ready) => serde_json::to_vec(ready),
    };
    encoded.expect(FITS)
}

const FITS: &str = "resources have string keys and finite numbers, which JSON can hold";

/// JSON as Go writes it: these five are escaped, which can only stand within strings.
fn escaped(json: String) -> String {
    const SPECIAL: [(char, &str); 5] =
        [('&', "\\u0026"), ('<', "\\u003c"), ('>', "\\u003e"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];
    if !json.contains(SPECIAL.map(|(c, _)| c)) {
        return json;
    }
    SPECIAL.iter().fold(json, |json, (c, escape)| json.replace(*c, escape))
}

/// Decodes a stored object, or says what is wrong with it; a resource gets `revision` as its resourceVersion.
pub fn decode(key: &Key, bytes: &[u8], revision: &Revision) -> Result<Object, String> {
    let corrupt = |error: serde_json::Error| error.to_string();
    Ok(match key {
        Key::Resource { kind, .. } => {
            let mut resource = Resource::decode_slice(*kind, bytes).map_err(corrupt)?;
            resource.metadata_mut().resource_version.clone_from(&revision.0);
            resource.from_stored();
            Object::Resource(resource)
        }
        Key::Block(cidr) => {
            let block: Block = serde_json::from_slice(bytes).map_err(corrupt)?;
            block.agree(cidr)?;
            Object::Block(block)
        }
        Key::Affinity { .. } if bytes.is_empty() => Object::Affinity(api::ipam::Affinity::default()),
        Key::Affinity { .. } => Object::Affinity(serde_json::from_slice(bytes).map_err(corrupt)?),
        Key::Handle(_) => Object::Handle(serde_json::from_slice(bytes).map_err(corrupt)?),
        Key::IpamConfig => Object::IpamConfig(serde_json::from_slice(bytes).map_err(corrupt)?),
        Key::Ready => Object::Ready(serde_json::from_slice(bytes).map_err(corrupt)?),
    })
}

/// How errors name a key: `Kind(name)`, `Kind(namespace/name)`, or the path.
pub fn describe(key: &Key) -> String {
    match key {
        Key::Resource { kind, namespace, name } if namespace.is_empty() => format!("{}({name})", kind.name()),
        Key::Resource { kind, namespace, name } => format!("{}({namespace}/{name})", kind.name()),
        Key::Block(cidr) => format!("BlockKey(cidr={cidr})"),
        Key::Affinity { owner, block, .. } => format!("BlockAffinityKey(cidr={block}, host={owner})"),
        Key::Handle(id) => format!("IPAMHandleKey(id={id})"),
        Key::IpamConfig => "IPAMConfigKey()".to_owned(),
        Key::Ready => "ReadyFlagKey()".to_owned(),
    }
}

fn affinities(owner_type: OwnerType) -> &'static str {
    match owner_type {
        OwnerType::Host => "/calico/ipam/v2/host/",
        OwnerType::Virtual => "/calico/ipam/v2/virtual/",
    }
}

fn family(cidr: &IpNet) -> &'static str {
    match cidr {
        IpNet::V4(_) => "ipv4",
        IpNet::V6(_) => "ipv6",
    }
}

fn dashed(cidr: &IpNet) -> String {
    cidr.to_string().replace('/', "-")
}

fn undashed(text: &str) -> Option<IpNet> {
    let (address, length) = text.rsplit_once('-')?;
    format!("{address}/{length}").parse().ok()
}

fn escape(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2f")
}

fn unescape(name: &str) -> String {
    name.replace("%2f", "/").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_calicos_and_read_back() {
        let block: IpNet = "10.65.3.64/26".parse().expect("a CIDR");
        let block6: IpNet = "fd00:1::40/122".parse().expect("a CIDR");
        let host = |owner: &str, block| Key::Affinity { owner_type: OwnerType::Host, owner: owner.to_owned(), block };
        for (key, expect) in [
            (Key::global(Kind::IPPool, "p4"), "/calico/resources/v3/projectcalico.org/ippools/p4"),
            (
                Key::namespaced(Kind::WorkloadEndpoint, "default", "node1-cni-cid1-eth0"),
                "/calico/resources/v3/projectcalico.org/workloadendpoints/default/node1-cni-cid1-eth0",
            ),
            (
                Key::namespaced(Kind::NetworkPolicy, "web", "knp.default.allow-dns"),
                "/calico/resources/v3/projectcalico.org/networkpolicies/web/knp.default.allow-dns",
            ),
            (
                Key::global(Kind::GlobalNetworkPolicy, "default.deny"),
                "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/default.deny",
            ),
            (
                Key::global(Kind::HostEndpoint, "node1-eth0"),
                "/calico/resources/v3/projectcalico.org/hostendpoints/node1-eth0",
            ),
            (Key::Block(block), "/calico/ipam/v2/assignment/ipv4/block/10.65.3.64-26"),
            (Key::Block(block6), "/calico/ipam/v2/assignment/ipv6/block/fd00:1::40-122"),
            (host("node1", block), "/calico/ipam/v2/host/node1/ipv4/block/10.65.3.64-26"),
            (host("a/b%", block), "/calico/ipam/v2/host/a%2fb%25/ipv4/block/10.65.3.64-26"),
            (Key::Handle("net.0a1b".to_owned()), "/calico/ipam/v2/handle/net.0a1b"),
            (Key::IpamConfig, "/calico/ipam/v2/config"),
            (Key::Ready, "/calico/v1/Ready"),
        ] {
            assert_eq!(path(&key), expect);
            assert_eq!(parse(expect), Some(key));
        }
        for other in [
            "/calico/ipam/v2/host/node1", // marks a host
            "/calico/ipam/v2/host/node1/ipv6/block/10.65.3.64-26",
            "/calico/ipam/v2/host/node1/ipv4/block/10.65.3.65-26",
            "/calico/ipam/v2/host//ipv4/block/10.65.3.64-26",
            "/calico/ipam/v2/assignment/ipv4/block/10.65.3.64-33",
            "/calico/ipam/v2/assignment/ipv6/block/fd00:1:0::40-122",
            "/calico/ipam/v2/handle/",
            "/calico/ipam/v2/handle/a/b",
            "/calico/ipam/v2/config/other",
            "/calico/resources/v3/projectcalico.org/ippools/",
            "/calico/resources/v3/projectcalico.org/ippools/a/b",
            "/calico/resources/v3/projectcalico.org/workloadendpoints//a",
            "/calico/resources/v3/projectcalico.org/workloadendpoints/a",
            "/calico/resources/v3/projectcalico.org/workloadendpoints/a/b/c",
            "/calico/resources/v3/projectcalico.org/newerkinds/a",
            "/calico/felix/v2/no-region/host/node1/status",
            "/calico/felix/v2/no-region/host/node1/workload/k8s/default%2fpod/endpoint/eth0",
            "/calico/v1/config/LogSeverityScreen",
            "/calico/v1/host/node1/metadata",
            "/calico/bgp/v1/host/node1/as_num",
            "calico/v1/Ready",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn policies_have_the_names_that_users_know() {
        let stored = |name: &str, annotations: &str, spec: &str| {
            format!(
                r#"{{"kind":"NetworkPolicy","apiVersion":"projectcalico.org/v3","metadata":{{"name":"{name}","namespace":"web"{annotations}}},"spec":{spec}}}"#
            )
        };
        let noted =
            |name: &str| format!(r#","annotations":{{"projectcalico.org/metadata":"{{\"name\":\"{name}\"}}"}}"#);
        for (name, annotations, spec, expect) in [
            ("deny", String::new(), "{}", "deny"),
            ("default.deny", String::new(), r#"{"tier":"default"}"#, "deny"),
            ("default.deny", noted("default.deny"), r#"{"tier":"default"}"#, "default.deny"),
            ("sec.deny", String::new(), r#"{"tier":"sec"}"#, "sec.deny"),
            ("knp.default.allow-dns", String::new(), "{}", "knp.default.allow-dns"),
        ] {
            let key = Key::namespaced(Kind::NetworkPolicy, "web", name);
            let object = decode(&key, stored(name, &annotations, spec).as_bytes(), &Revision::default());
            let Ok(Object::Resource(policy)) = object else { panic!("{object:?}") };
            assert_eq!(policy.metadata().name, expect, "{name}{annotations}");
            assert!(policy.metadata().annotations.is_empty());
            // and back, with the name noted
            let back = String::from_utf8(encode(&Object::Resource(policy))).expect("text");
            assert!(back.contains(&noted(expect)[1..]), "{back}");
        }
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        let node_selector = "a == '<&>' && b == '\u{2028}'".to_owned();
        let spec = api::kind::IpPoolSpec { node_selector, ..Default::default() };
        let pool = api::Typed::new(api::ObjectMeta::named("p"), spec);
        let stored = String::from_utf8(encode(&Object::Resource(pool.into()))).expect("text");
        assert!(stored.contains(r#""a == '\u003c\u0026\u003e' \u0026\u0026 b == '\u2028'""#), "{stored}");
    }

    #[test]
    fn fields_of_newer_versions_are_passed_over() {
        let stored = br#"{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p","newer":1},"spec":{"cidr":"10.0.0.0/16","newer":{"a":[]}}}"#;
        let object = decode(&Key::global(Kind::IPPool, "p"), stored, &Revision::default()).expect("a pool");
        let Object::Resource(Resource::IPPool(pool)) = object else { panic!("a pool") };
        assert_eq!(pool.spec.cidr, "10.0.0.0/16");
    }

    #[test]
    fn an_empty_affinity_is_confirmed() {
        let key = Key::Affinity {
            owner_type: OwnerType::Host,
            owner: "n".to_owned(),
            block: "10.0.0.0/26".parse().expect("a CIDR"),
        };
        for bytes in ["", "{}", r#"{"state":""}"#, r#"{"state":"confirmed","deleted":false}"#] {
            let object = decode(&key, bytes.as_bytes(), &Revision::default()).expect("an affinity");
            assert_eq!(object, Object::Affinity(api::ipam::Affinity::default()), "{bytes}");
        }
        assert_eq!(
            encode(&Object::Affinity(api::ipam::Affinity::default())),
            br#"{"state":"confirmed","deleted":false}"#
        );
    }
}
