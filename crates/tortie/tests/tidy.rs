//! The walls between crates, and that the pure ones are pure; read from cargo's own metadata.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

fn metadata() -> Metadata {
    MetadataCommand::new().other_options(vec!["--locked".to_owned()]).exec().expect("cargo metadata")
}

fn members(metadata: &Metadata) -> BTreeMap<&str, &Package> {
    metadata.workspace_packages().into_iter().map(|package| (package.name.as_str(), package)).collect()
}

/// Which crates of ours a crate sees, without what only its tests see.
fn sees<'a>(package: &'a Package, members: &BTreeMap<&str, &Package>) -> BTreeSet<&'a str> {
    let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str()).filter(|name| members.contains_key(name)).collect()
}

#[test]
fn each_crate_sees_only_what_it_may() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", [].as_slice()),
        ("api", &["model"]),
        ("datastore", &["model", "api"]),
        ("store", &[]),
        ("ipam", &["model", "api", "datastore"]),
        ("calc", &["model", "api"]),
        ("bgp", &["model"]),
        ("dataplane", &["model"]),
        ("lab", &[]),
        ("tortie", &["model", "api", "datastore", "store", "ipam", "calc", "bgp", "dataplane", "lab"]),
    ]);
    let metadata = metadata();
    let members = members(&metadata);
    assert_eq!(members.keys().collect::<Vec<_>>(), allowed.keys().collect::<Vec<_>>(), "the crates of the workspace");
    for (name, package) in &members {
        let may: BTreeSet<&str> = allowed[name].iter().copied().collect();
        let sees = sees(package, &members);
        let beyond: Vec<_> = sees.difference(&may).collect();
        assert!(beyond.is_empty(), "{name} may not see {beyond:?}");
    }
}

/// Everything that a crate is built with, by name.
fn built_with(metadata: &Metadata, root: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let start = &members(metadata)[root].id;
    let (mut seen, mut queue) = (BTreeSet::from([start]), VecDeque::from([start]));
    while let Some(id) = queue.pop_front() {
        for dependency in &nodes[id].deps {
            let normal = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if normal && seen.insert(&dependency.pkg) {
                queue.push_back(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn the_pure_crates_touch_no_world() {
    let metadata = metadata();
    for name in ["model", "calc", "bgp"] {
        let tree = built_with(&metadata, name);
        let world = ["tokio", "netlink-sys", "netlink-packet-route", "nix", "tonic", "rand", "etcd-client", "tracing"];
        let found: Vec<_> = world.iter().filter(|word| tree.contains(**word)).collect();
        assert!(found.is_empty(), "{name} is built with {found:?}");
    }
    assert!(built_with(&metadata, "datastore").contains("tokio"), "the search finds what is there");
}

/// The text of every Rust file below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    let Ok(entries) = fs::read_dir(folder) else { return text };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path).expect("a readable source");
        }
    }
    text
}

#[test]
fn every_dependency_is_used() {
    let metadata = metadata();
    for (name, package) in members(&metadata) {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder").as_std_path();
        let text: String =
            ["src", "tests", "benches", "examples"].iter().map(|part| sources(&folder.join(part))).collect();
        let text = text + &fs::read_to_string(folder.join("build.rs")).unwrap_or_default();
        for dependency in &package.dependencies {
            let word = dependency.rename.as_ref().unwrap_or(&dependency.name).replace('-', "_");
            let used = [format!("{word}::"), format!("use {word};"), format!("{word} as ")]
                .iter()
                .any(|form| text.contains(form));
            assert!(used, "{name} does not use {}", dependency.name);
        }
    }
}

#[test]
fn the_project_speaks_of_itself_alone() {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let listed =
        std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().expect("git runs");
    let files = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    // spelt in two halves, so that this file does not name them
    let words = [
        ("/work", "/"),
        ("shared", "/reference"),
        ("shared", "/vectors"),
        ("index.crates", ".io"),
        ("deb.debian", ".org"),
    ];
    for file in files.split('\0').filter(|file| !file.is_empty() && !file.ends_with("Cargo.lock")) {
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        for (head, tail) in words {
            let word = format!("{head}{tail}");
            assert!(!text.contains(&word), "{file} names {word}");
        }
    }
}

/// What is made of the kinds' types is as they are.
#[test]
fn made_files_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, text) in [
        ("manifests/crds.yaml", tortie::crds::yaml(api::crd::Group::Crd)),
        ("manifests/v3-crds.yaml", tortie::crds::yaml(api::crd::Group::V3)),
        ("docs/resources.md", tortie::crds::markdown()),
    ] {
        let found = fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(found == text, "{file} is not what the kinds' types say: run make manifests");
    }
}
