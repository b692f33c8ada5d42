//! Where a router's programs are: BIRD 2 on the search path, the others where `tools/routers` unpacks them.
//!
//! They are not installed, since Debian's two BIRDs exclude each other and the packages of the others start daemons.

use super::speaker;
use crate::init::host::SEARCH_PATH;
use crate::topology::{Kind, Topology};
use anyhow::{Context, Result, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where every host finds the folder.
pub(crate) const PLACE: &str = "/run/tortie/routers";
/// Names the folder instead of `~/.cache/tortie/routers`.
const VARIABLE: &str = "TORTIE_ROUTERS";

/// Returns the folder with the routers' programs, `None` when no router of the topology needs it.
///
/// Fails if a program is missing, or `bird` is another BIRD than it has to be.
pub(crate) fn folder(topology: &Topology) -> Result<Option<PathBuf>> {
    let mut found = None;
    for (index, router) in topology.routers.iter().enumerate() {
        let at = format!("routers[{index}].kind {}", router.kind);
        let (places, package, advice) = match router.kind {
            Kind::Bird2 => {
                let path = env::var_os("PATH").unwrap_or_default();
                (env::split_paths(&path).collect(), "bird2", "install it")
            }
            Kind::Bird => (vec![unpacked()?], "bird", "run tools/routers"),
            Kind::Frr => (vec![unpacked()?], "frr", "run tools/routers"),
            Kind::Gobgp => (vec![unpacked()?], "gobgpd", "run tools/routers"),
        };
        for program in programs(router.kind) {
            let file = places.iter().map(|place: &PathBuf| place.join(program)).find(|file| file.is_file());
            let place = if router.kind == Kind::Bird2 { "PATH".to_owned() } else { places[0].display().to_string() };
            let file = file.with_context(|| {
                format!("{at}: there is no program {program} in {place} (Debian package {package}): {advice}")
            })?;
            if *program == speaker(router.kind) {
                check_version(router.kind, &file).with_context(|| format!("{at} (Debian package {package})"))?;
            }
        }
        if router.kind != Kind::Bird2 {
            found = places.into_iter().next();
        }
    }
    Ok(found)
}

/// Where a router's programs are looked for.
pub(crate) fn search_path(kind: Kind) -> String {
    match kind {
        // the folder has another BIRD, of the same name
        Kind::Bird2 => SEARCH_PATH.to_owned(),
        Kind::Bird | Kind::Frr | Kind::Gobgp => format!("{PLACE}:{SEARCH_PATH}"),
    }
}

fn programs(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bird | Kind::Bird2 => &["bird", "birdc"],
        Kind::Frr => &["zebra", "bgpd", "vtysh"],
        Kind::Gobgp => &["gobgpd", "gobgp"],
    }
}

fn unpacked() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return Ok(PathBuf::from(folder));
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cache")));
    Ok(cache.with_context(|| format!("neither {VARIABLE} nor HOME is set"))?.join("tortie/routers"))
}

/// Both BIRDs are called `bird`.
fn check_version(kind: Kind, program: &Path) -> Result<()> {
    let expect = match kind {
        Kind::Bird => "BIRD version 1.6",
        Kind::Bird2 => "BIRD version 2",
        Kind::Frr | Kind::Gobgp => return Ok(()),
    };
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("start {}", program.display()))?;
    // BIRD says it on standard error
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains(expect), "{} is {:?}, not {expect}", program.display(), said.trim());
    Ok(())
}
