//! Policy that nobody enforces: whether an agent may start where it stands or is asked for, and the words for it.
//!
//! To start would open what was closed: Calico's chains of policy go, and what the datastore forbids is allowed. So the
//! agent does not, unless it is told to. Where policy appears while it runs, it goes on and says so.

use super::options::{Options, truthy};
use anyhow::{Context, bail};
use api::event::{Event, Key};
use api::resource::Kind;
use calc::Graph;
use datastore::{Query, Scope, Store};
use model::name::NodeName;
use std::collections::BTreeMap;

/// How many names are told at once.
const NAMES: usize = 10;

/// What the datastore must be asked for to know what is not enforced, beside FelixConfigurations.
pub(crate) fn scopes() -> impl Iterator<Item = Scope> {
    calc::CLOSING_KINDS.into_iter().map(Scope::Kind)
}

/// Refuses to start where policy is in the kernel or in the datastore, unless the options say otherwise.
///
/// `overrides` are the parameters that the environment sets. Reads only.
pub(crate) async fn admit(
    store: &dyn Store,
    node: &str,
    options: &Options,
    overrides: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let told = truthy(&options.run_without_enforcing_policy);
    let chains = dataplane::rules::closing_chains().context("look for chains of network policy in the kernel");
    let chains = match chains {
        Ok(chains) => chains.into_iter().collect(),
        Err(error) if told => {
            tracing::warn!("{error:#}");
            Vec::new()
        }
        Err(error) => return Err(error.context(format!("{REMEDY}, or mend this"))),
    };
    let wanted = asked_for(store, node, overrides).await.context("look for network policy in the datastore")?;
    let parts = [("in the kernel the chains", chains), ("in the datastore", wanted)];
    let found = parts.iter().filter(|(_, names)| !names.is_empty());
    let found: Vec<String> = found.map(|(place, names)| format!("{place} {}", listed(names))).collect();
    match (found.is_empty(), told) {
        (true, _) => Ok(()),
        (false, true) => {
            tracing::warn!("as it was told to, this agent runs without enforcing policy: {}", found.join("; "));
            Ok(())
        }
        (false, false) => bail!(
            "network policy is not enforced yet, and this node has some: {}. What it forbids would be allowed: {REMEDY}",
            found.join("; ")
        ),
    }
}

const REMEDY: &str =
    "to accept that, start with --run-without-enforcing-policy or TORTIE_RUN_WITHOUT_ENFORCING_POLICY=true";

/// What the datastore asks to be forbidden on the node.
async fn asked_for(
    store: &dyn Store,
    node: &str,
    overrides: &BTreeMap<String, String>,
) -> Result<Vec<String>, crate::client::ClientError> {
    let felix = ["default".to_owned(), format!("node.{node}")];
    let felix = felix.map(|name| Query::Get(Key::global(Kind::FelixConfiguration, &name)));
    let queries: Vec<Query> = felix.into_iter().chain(scopes().map(Query::List)).collect();
    let (answers, _) = store.read(&queries).await?;
    let mut graph = Graph::new(NodeName::from(node), overrides.clone());
    let mut events = vec![Event::Init];
    for listing in answers {
        events.extend(listing.entries.into_iter().map(Event::InitApply));
        events.extend(listing.unreadable.into_iter().map(Event::Unreadable));
    }
    events.push(Event::InitDone);
    graph.on_events(events);
    Ok(graph.flush().map(|output| output.unenforced).unwrap_or_default())
}

/// What to say while the agent runs; nothing where everything that is asked for is done.
pub(crate) fn problem(unenforced: &[String]) -> Option<String> {
    let names = (!unenforced.is_empty()).then(|| listed(unenforced))?;
    Some(format!("network policy is not enforced, and what it forbids is allowed: {names}"))
}

/// The first names, and how many more there are.
fn listed(names: &[String]) -> String {
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use datastore::memory::Memory;

    #[test]
    fn ten_names_and_how_many_more() {
        let names = |count: usize| (1..=count).map(|number| format!("n{number}")).collect::<Vec<_>>();
        assert_eq!(problem(&[]), None);
        let said = problem(&names(2)).expect("words");
        assert_eq!(said, "network policy is not enforced, and what it forbids is allowed: n1, n2");
        assert!(listed(&names(10)).ends_with("n9, n10"));
        assert!(listed(&names(13)).ends_with("n9, n10 and 3 more"));
    }

    #[tokio::test]
    async fn what_the_datastore_asks_for() {
        let prefix = "/calico/resources/v3/projectcalico.org";
        let store = Memory::new();
        let none = BTreeMap::new();
        assert_eq!(asked_for(&store, "n1", &none).await.expect("an answer"), Vec::<String>::new());
        for path in ["stagednetworkpolicies/web/later", "tiers/default", "globalnetworksets/x"] {
            store.put_raw(&format!("{prefix}/{path}"), b"{}");
        }
        assert_eq!(asked_for(&store, "n1", &none).await.expect("an answer"), Vec::<String>::new());
        store.put_raw(&format!("{prefix}/networkpolicies/web/knp.default.deny"), b"{}");
        store.put_raw(&format!("{prefix}/globalnetworkpolicies/deny"), b"not JSON");
        store.put_raw(&format!("{prefix}/hostendpoints/n2-eth0"), br#"{"kind":"HostEndpoint","apiVersion":"projectcalico.org/v3","metadata":{"name":"n2-eth0"},"spec":{"node":"n2"}}"#);
        let bpf = br#"{"kind":"FelixConfiguration","apiVersion":"projectcalico.org/v3","metadata":{"name":"node.n1"},"spec":{"bpfEnabled":true}}"#;
        store.put_raw(&format!("{prefix}/felixconfigurations/node.n1"), bpf);
        let expect =
            ["Calico's BPF dataplane (bpfEnabled)", "GlobalNetworkPolicy deny", "NetworkPolicy web/knp.default.deny"];
        assert_eq!(asked_for(&store, "n1", &none).await.expect("an answer"), expect);
        let off = BTreeMap::from([("bpfenabled".to_owned(), "false".to_owned())]);
        assert_eq!(asked_for(&store, "n1", &off).await.expect("an answer"), expect[1..]);
    }

    #[test]
    fn the_flag() {
        let said = |words: &[&str]| {
            let options = Options::try_parse_from([&["tortie node"], words].concat()).expect("options");
            truthy(&options.run_without_enforcing_policy)
        };
        assert!(said(&["--run-without-enforcing-policy"]));
        assert!(said(&["--run-without-enforcing-policy=true", "--ip", "none"]));
        assert!(!said(&["--run-without-enforcing-policy=false"]));
        assert!(!said(&[]));
    }
}
