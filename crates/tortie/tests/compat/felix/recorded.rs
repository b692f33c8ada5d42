//! What a folder of a case tells, as far as it can be replayed.

use crate::store::Content;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// How Calico wrote its packet rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    Iptables,
    Nftables,
}

/// A case.
pub(super) struct Recorded {
    pub(super) name: String,
    pub(super) rules: Rules,
    /// The store's content.
    pub(super) content: Content,
    files: BTreeMap<String, String>,
}

impl Recorded {
    /// Reads the cases below a folder, those of one kind of rules in the order of their names.
    pub(super) fn read_all(folder: &Path) -> Result<Vec<Recorded>> {
        let mut cases = Vec::new();
        for (kind, rules) in [("iptables", Rules::Iptables), ("nft", Rules::Nftables)] {
            let Ok(entries) = fs::read_dir(folder.join(kind)) else { continue };
            let mut folders: Vec<_> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
            folders.sort();
            for case in folders {
                let name = format!("{kind}/{}", case.file_name().unwrap_or_default().to_string_lossy());
                cases.push(Recorded::read(&case, name.clone(), rules).with_context(|| name)?);
            }
        }
        Ok(cases)
    }

    fn read(folder: &Path, name: String, rules: Rules) -> Result<Recorded> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?);
        }
        let mut lines = files.get("etcd.txt").context("no etcd.txt")?.lines().map(str::to_owned);
        let mut content = Content::new();
        while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
            content.insert(key, value);
        }
        Ok(Recorded { name, rules, content, files })
    }

    /// A file's text; empty where it was not recorded.
    pub(super) fn file(&self, name: &str) -> &str {
        self.files.get(name).map_or("", String::as_str)
    }

    /// IPv4 routes of the main table that somebody made: pods' and blocks'.
    pub(super) fn routes(&self) -> Vec<&str> {
        let made =
            |line: &&str| !line.contains("proto kernel") && !line.contains("table local") && !line.contains("::");
        self.file("ip-route.txt").lines().map(str::trim).filter(made).collect()
    }

    /// Pods' IPv4 addresses by their interfaces.
    pub(super) fn pods(&self) -> BTreeMap<&str, &str> {
        self.routes()
            .into_iter()
            .filter_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let interface =
                    *words.get(2).filter(|name| words.get(1) == Some(&"dev") && name.starts_with("cali"))?;
                Some((interface, *words.first()?))
            })
            .collect()
    }

    /// The names of workloads' interfaces, some of which may have no pod yet.
    pub(super) fn interfaces(&self) -> BTreeSet<&str> {
        // `7: cali00001@p00001: …`; the lines about a link are indented
        let heads = self.file("ip-link.txt").lines().filter(|line| !line.starts_with(' '));
        let names = heads.filter_map(|line| line.split(' ').nth(1)?.split('@').next());
        names.filter(|name| name.starts_with("cali")).collect()
    }

    /// The uplink's name, address and prefix length: what the kernel's own route to its subnet tells.
    pub(super) fn uplink(&self) -> Result<(&str, &str, &str)> {
        let line =
            self.file("ip-route.txt").lines().find(|line| line.contains("proto kernel") && line.contains("src "));
        let line = line.context("no route to a subnet in ip-route.txt")?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |word| words.windows(2).find(|two| two[0] == word).map(|two| two[1]);
        let (_, length) = words[0].split_once('/').context("a subnet without length")?;
        Ok((after("dev").context("no dev")?, after("src").context("no src")?, length))
    }

    /// The name under which the node with the uplink's address is registered.
    pub(super) fn node(&self) -> Result<String> {
        let (_, address, _) = self.uplink()?;
        let named = |(key, value): (&String, &String)| {
            let node: Value = serde_json::from_str(value).ok().filter(|_| key.contains("/nodes/"))?;
            let has = node["spec"]["bgp"]["ipv4Address"].as_str()?.split('/').next() == Some(address);
            has.then(|| node["metadata"]["name"].as_str().map(str::to_owned)).flatten()
        };
        self.content.iter().find_map(named).with_context(|| format!("no node has the address {address}"))
    }

    /// Parameters as `sysctl` takes them.
    pub(super) fn sysctls(&self) -> Vec<String> {
        let parameter = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            let mut parts = key.splitn(3, '.');
            Some(format!("net.{}.conf.{}.{}={value}", parts.next()?, parts.next()?, parts.next()?))
        };
        self.file("sysctl.txt").lines().filter_map(parameter).collect()
    }

    /// One table of the listed ruleset of nft, such as `arp calico-arp`.
    pub(super) fn table(&self, name: &str) -> String {
        table_of(self.file("nft-ruleset.txt"), name)
    }

    /// The members of an IPv4 set.
    pub(super) fn members(&self, set: &str) -> BTreeSet<String> {
        match self.rules {
            Rules::Iptables => members_of(self.file("ipset.txt"), set),
            Rules::Nftables => elements_of(&self.table("ip calico"), set),
        }
    }
}

/// One table of a listed ruleset of nft; empty where it is not in it.
pub(super) fn table_of(ruleset: &str, name: &str) -> String {
    let head = format!("table {name} {{");
    let mut lines = ruleset.lines().skip_while(|line| *line != head);
    let mut text = String::new();
    for line in lines.by_ref() {
        text += &format!("{line}\n");
        if line == "}" {
            break;
        }
    }
    text
}

/// The members of a set in the output of `ipset save`.
pub(super) fn members_of(saved: &str, set: &str) -> BTreeSet<String> {
    let start = format!("add {set} ");
    saved.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

/// The elements of a set in a listed table of nft.
pub(super) fn elements_of(table: &str, set: &str) -> BTreeSet<String> {
    let head = format!("set {set} {{");
    let body: String =
        table.lines().skip_while(|line| line.trim() != head).take_while(|line| line.trim() != "}").collect();
    let elements = body.split_once("elements = {").and_then(|(_, rest)| rest.split_once('}'));
    elements.map(|(list, _)| list.split(',').map(|one| one.trim().to_owned()).collect()).unwrap_or_default()
}
