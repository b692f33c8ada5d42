//! The folders that cases are read from.
//!
//! A folder has a folder for each kind of packet rules, `iptables` and `nft`, and these one for each case, which holds
//! everything; or one for each scenario, which holds one for each step. Of a step is written only what differs from
//! `0-base`: packet rules, sets and keys object by object, other files where they are not the same. What the store holds
//! is told with `iptables` alone where it is the same with `nft`. `NOTE.txt` of a scenario or a step warns of it.

use super::listing::{Listing, Printer};
use super::recorded::{Recorded, Rules};
use crate::store::Content;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The case from which the steps of all scenarios differ.
const BASE: &str = "0-base";
const KEYS: &str = "etcd.txt";
const KEYS_GONE: &str = "etcd-gone.txt";
const NOTE: &str = "NOTE.txt";

/// Reads the cases below a folder, those of one kind of rules in the order of their names.
pub(super) fn read_all(folder: &Path) -> Result<Vec<Recorded>> {
    let mut cases = Vec::new();
    for (kind, rules) in [("iptables", Rules::Iptables), ("nft", Rules::Nftables)] {
        let mode = folder.join(kind);
        if !mode.is_dir() {
            continue;
        }
        let base = mode.join(BASE);
        let base = if base.is_dir() { Some(whole(&base, format!("{kind}/{BASE}"), rules)?) } else { None };
        for case in folders(&mode)? {
            let name = format!("{kind}/{}", last(&case));
            let steps = folders(&case)?;
            if steps.is_empty() {
                cases.push(whole(&case, name.clone(), rules).with_context(|| name)?);
                continue;
            }
            let base = base.as_ref().with_context(|| format!("{name} has steps, and there is no {kind}/{BASE}"))?;
            let note = files(&case)?.remove(NOTE);
            for step in steps {
                let name = format!("{name}/{}", last(&step));
                cases.push(changed(base, &step, name.clone(), note.clone()).with_context(|| name)?);
            }
        }
    }
    Ok(cases)
}

/// Reads a case that is written as a whole.
fn whole(folder: &Path, name: String, rules: Rules) -> Result<Recorded> {
    let mut files = files(folder)?;
    let keys = files.remove(KEYS).or_else(|| fs::read_to_string(with_iptables(folder).join(KEYS)).ok());
    let listing = |printer, file| Listing::read(printer, files.get(file).map_or("", String::as_str));
    Ok(Recorded {
        name,
        rules,
        content: content(&keys.with_context(|| format!("no {KEYS}"))?),
        saved: listing(Printer::Iptables, "iptables-nft-save.txt"),
        saved6: listing(Printer::Iptables, "ip6tables-nft-save.txt"),
        ruleset: listing(Printer::Nft, "nft-ruleset.txt"),
        sets: listing(Printer::Ipset, "ipset.txt"),
        note: files.remove(NOTE),
        files,
    })
}

/// Reads a step, of which is written what differs from the base.
fn changed(base: &Recorded, folder: &Path, name: String, note: Option<String>) -> Result<Recorded> {
    let files = files(folder)?;
    let mut case = Recorded { name, note: files.get(NOTE).cloned().or(note), ..base.clone() };
    let told = |file: &str| files.get(file).map_or("", String::as_str);
    case.saved.change(told("iptables-nft-save.txt"));
    case.saved6.change(told("ip6tables-nft-save.txt"));
    case.ruleset.change(told("nft-ruleset.txt"));
    case.sets.change(told("ipset.txt"));
    let has_keys = files.contains_key(KEYS) || files.contains_key(KEYS_GONE);
    let keys = if has_keys { folder.to_owned() } else { with_iptables(folder) };
    let read = |file: &str| fs::read_to_string(keys.join(file)).unwrap_or_default();
    case.content.extend(content(&read(KEYS)));
    for key in read(KEYS_GONE).lines() {
        case.content.remove(key);
    }
    case.files.extend(files);
    Ok(case)
}

/// The same case's folder among those of iptables.
fn with_iptables(folder: &Path) -> PathBuf {
    let mut parents = folder.ancestors();
    let mode = parents.find(|parent| ["iptables", "nft"].contains(&last(parent).as_str())).unwrap_or(folder);
    mode.with_file_name("iptables").join(folder.strip_prefix(mode).unwrap_or(folder))
}

fn content(text: &str) -> Content {
    let mut lines = text.lines().map(str::to_owned);
    let mut content = Content::new();
    while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
        content.insert(key, value);
    }
    content
}

fn files(folder: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for path in entries(folder)?.into_iter().filter(|path| path.is_file()) {
        files.insert(last(&path), fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    }
    Ok(files)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    Ok(paths)
}

fn last(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
