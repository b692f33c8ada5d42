//! The tunnel programs and their maps: loaded from the embedded object, or adopted from what is attached.
//!
//! An attached filter keeps its program alive and the program its maps, so nothing is pinned: a fresh process
//! goes from the filters to the programs' identities, and from those to the maps. The programs share the maps, and
//! some that do not are not adopted.

use crate::bpf::abi::{self, Address, Config};
use crate::bpf::load::Loader;
use crate::tunnel::TunnelError;
use aya::Pod;
use aya::maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, MapInfo};
use aya::programs::{ProgramInfo, loaded_programs};
use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tunnel.o"));

const CONFIG: &str = "tunnel_config";
const PREFIXES: &str = "tunnel_prefixes";
const SENDERS: &str = "tunnel_senders";
const LINKS: &str = "tunnel_links";

/// The short hash of the embedded object: programs of the same hash need no replacing.
pub(super) fn fingerprint() -> String {
    Sha256::digest(OBJECT).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// A program in the kernel.
pub(super) struct Program {
    /// The kernel's number for it, as filters show it.
    pub(super) id: u32,
    /// Keeps it alive, and attaches it.
    pub(super) fd: OwnedFd,
}

/// The programs, and the maps they share.
pub(super) struct Programs {
    pub(super) encap: Program,
    pub(super) encap_again: Program,
    pub(super) decap: Program,
    config: Array<MapData, Config>,
    prefixes: LpmTrie<MapData, Address, Address>,
    senders: LpmTrie<MapData, Address, u8>,
    links: HashMap<MapData, u32, u32>,
}

impl Programs {
    /// Loads the embedded object: new programs, empty maps.
    pub(super) fn load() -> Result<Self, TunnelError> {
        let mut loader = Loader::new(OBJECT)?;
        Ok(Programs {
            encap: load_program(&loader, "tunnel_encap")?,
            encap_again: load_program(&loader, "tunnel_encap_again")?,
            decap: load_program(&loader, "tunnel_decap")?,
            config: take_map(&mut loader, CONFIG)?,
            prefixes: take_map(&mut loader, PREFIXES)?,
            senders: take_map(&mut loader, SENDERS)?,
            links: take_map(&mut loader, LINKS)?,
        })
    }

    /// Opens the programs with these identities and their maps; `None` if they are gone or do not fit together.
    pub(super) fn adopt(encap: u32, encap_again: u32, decap: u32) -> Result<Option<Self>, TunnelError> {
        let wanted = [encap, encap_again, decap];
        let mut found = BTreeMap::new();
        // a program may vanish between the listing and its opening: that is another one's, or a gone one
        for program in loaded_programs().flatten().filter(|program| wanted.contains(&program.id())) {
            found.insert(program.id(), program);
        }
        let [Some(encap), Some(encap_again), Some(decap)] = wanted.map(|id| found.get(&id)) else { return Ok(None) };
        let [encap_maps, again_maps, decap_maps] = [maps_of(encap)?, maps_of(encap_again)?, maps_of(decap)?];
        let (Some(config), Some(prefixes)) = (encap_maps.get(CONFIG), encap_maps.get(PREFIXES)) else {
            return Ok(None);
        };
        let (Some(senders), Some(links)) = (decap_maps.get(SENDERS), decap_maps.get(LINKS)) else { return Ok(None) };
        if decap_maps.get(CONFIG) != Some(config) || again_maps != encap_maps {
            return Ok(None);
        }
        let (Some(config), Some(prefixes)) = (open_map(CONFIG, *config)?, open_map(PREFIXES, *prefixes)?) else {
            return Ok(None);
        };
        let (Some(senders), Some(links)) = (open_map(SENDERS, *senders)?, open_map(LINKS, *links)?) else {
            return Ok(None);
        };
        let [encap, encap_again, decap] = [open_program(encap)?, open_program(encap_again)?, open_program(decap)?];
        Ok(Some(Programs { encap, encap_again, decap, config, prefixes, senders, links }))
    }

    /// Reads the configuration.
    pub(super) fn config(&self) -> Result<Config, TunnelError> {
        self.config.get(&0, 0).map_err(|error| entry("read", CONFIG, &error))
    }

    /// Writes the configuration.
    pub(super) fn set_config(&mut self, config: Config) -> Result<(), TunnelError> {
        self.config.set(0, config, 0).map_err(|error| entry("write the configuration", CONFIG, &error))
    }

    /// Reads which node has each prefix.
    pub(super) fn prefixes(&self) -> Result<BTreeMap<Ipv4Net, Ipv4Addr>, TunnelError> {
        let listed = list(self.prefixes.iter(), PREFIXES)?;
        let known = |(key, node)| abi::prefix_of(&key).map(|prefix| (prefix, Ipv4Addr::from(node)));
        Ok(listed.into_iter().filter_map(known).collect())
    }

    /// Adds a prefix or changes its node.
    pub(super) fn set_prefix(&mut self, prefix: &Ipv4Net, node: Ipv4Addr) -> Result<(), TunnelError> {
        let written = self.prefixes.insert(&abi::prefix_key(prefix), node.octets(), 0);
        written.map_err(|error| entry(&format!("set {prefix} via {node}"), PREFIXES, &error))
    }

    /// Removes a prefix; one that is not there is removed already.
    pub(super) fn remove_prefix(&mut self, prefix: &Ipv4Net) -> Result<(), TunnelError> {
        let removed = absent_is_removed(self.prefixes.remove(&abi::prefix_key(prefix)));
        removed.map_err(|error| entry(&format!("remove {prefix}"), PREFIXES, &error))
    }

    /// Reads who may send tunnelled packets.
    pub(super) fn senders(&self) -> Result<BTreeSet<Ipv4Net>, TunnelError> {
        let listed = list(self.senders.iter(), SENDERS)?;
        Ok(listed.into_iter().filter_map(|(key, _)| abi::prefix_of(&key)).collect())
    }

    /// Lets a prefix's hosts send tunnelled packets.
    pub(super) fn add_sender(&mut self, sender: &Ipv4Net) -> Result<(), TunnelError> {
        let written = self.senders.insert(&abi::prefix_key(sender), 1, 0);
        written.map_err(|error| entry(&format!("add {sender}"), SENDERS, &error))
    }

    /// Forbids a prefix's hosts to send tunnelled packets.
    pub(super) fn remove_sender(&mut self, sender: &Ipv4Net) -> Result<(), TunnelError> {
        let removed = absent_is_removed(self.senders.remove(&abi::prefix_key(sender)));
        removed.map_err(|error| entry(&format!("remove {sender}"), SENDERS, &error))
    }

    /// Reads the links that outer packets may come in by, with the bits of each.
    pub(super) fn links(&self) -> Result<BTreeMap<u32, u32>, TunnelError> {
        Ok(list(self.links.iter(), LINKS)?.into_iter().collect())
    }

    /// Lets outer packets come in by a link, or changes its bits.
    pub(super) fn set_link(&mut self, link: u32, bits: u32) -> Result<(), TunnelError> {
        let written = self.links.insert(link, bits, 0);
        written.map_err(|error| entry(&format!("set link {link}"), LINKS, &error))
    }

    /// Forgets a link.
    pub(super) fn remove_link(&mut self, link: u32) -> Result<(), TunnelError> {
        let removed = absent_is_removed(self.links.remove(&link));
        removed.map_err(|error| entry(&format!("remove link {link}"), LINKS, &error))
    }
}

/// Reads from a decap program's map the bits of the links that it serves; empty if the program is gone or has no such map.
pub(super) fn links_of(decap: u32) -> Result<BTreeMap<u32, u32>, TunnelError> {
    let Some(program) = loaded_programs().flatten().find(|program| program.id() == decap) else {
        return Ok(BTreeMap::new());
    };
    let Some(map) = maps_of(&program)?.get(LINKS).copied() else { return Ok(BTreeMap::new()) };
    let Some(links) = open_map::<HashMap<MapData, u32, u32>>(LINKS, map)? else { return Ok(BTreeMap::new()) };
    Ok(list(links.iter(), LINKS)?.into_iter().collect())
}

fn load_program(loader: &Loader, name: &str) -> Result<Program, TunnelError> {
    let (fd, id) = loader.classifier(name)?;
    Ok(Program { id, fd })
}

fn take_map<M: TryFrom<Map, Error = MapError>>(loader: &mut Loader, name: &str) -> Result<M, TunnelError> {
    let map = loader.maps.remove(name).expect("the embedded object has the map");
    Map::from_map_data(map).and_then(M::try_from).map_err(|error| failed_load(name, &error))
}

fn open_program(program: &ProgramInfo) -> Result<Program, TunnelError> {
    let what = || format!("program {}", program.id());
    let fd = program.fd().map_err(|error| open(&what(), &error))?;
    let fd = fd.as_fd().try_clone_to_owned().map_err(|error| open(&what(), &error))?;
    Ok(Program { id: program.id(), fd })
}

/// Lists a program's maps by name; a map that vanished meanwhile is left out.
fn maps_of(program: &ProgramInfo) -> Result<BTreeMap<String, u32>, TunnelError> {
    let failed = |error| open(&format!("program {}", program.id()), &error);
    let ids = program.map_ids().map_err(failed)?.unwrap_or_default();
    let named = |id| Some((MapInfo::from_id(id).ok()?.name_as_str()?.to_owned(), id));
    Ok(ids.into_iter().filter_map(named).collect())
}

/// Opens a map by identity; `None` if its keys and values are of other sizes.
fn open_map<M: TryFrom<Map, Error = MapError>>(name: &str, id: u32) -> Result<Option<M>, TunnelError> {
    let failed = |error| open(&format!("map {name}"), &error);
    let map = MapData::from_id(id).and_then(Map::from_map_data).map_err(failed)?;
    Ok(M::try_from(map).ok())
}

fn list<'a, K: Pod, V, I: IterableMap<K, V>>(
    entries: aya::maps::MapIter<'a, K, V, I>,
    map: &'static str,
) -> Result<Vec<(K, V)>, TunnelError> {
    entries.collect::<Result<_, _>>().map_err(|error| entry("list", map, &error))
}

fn absent_is_removed(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

/// Says what helps where it is known: the loader's own words are errno and verifier log.
pub(super) fn failed_load(what: &str, error: &dyn std::error::Error) -> TunnelError {
    let reason = chain(error);
    let hint = if reason.contains("(os error 1)") { "; it takes root, or CAP_BPF and CAP_NET_ADMIN" } else { "" };
    TunnelError::Program { what: format!("load BPF {what} of the tunnel"), reason: format!("{reason}{hint}") }
}

fn open(what: &str, error: &dyn std::error::Error) -> TunnelError {
    TunnelError::Program { what: format!("open BPF {what} of the attached tunnel"), reason: chain(error) }
}

fn entry(action: &str, map: &'static str, error: &dyn std::error::Error) -> TunnelError {
    TunnelError::Program { what: format!("{action} in BPF map {map}"), reason: chain(error) }
}

/// Joins an error and its causes: aya's own messages leave the errno to the source.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let next = inner.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = inner.source();
    }
    text
}
