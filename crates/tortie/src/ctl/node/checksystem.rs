//! node checksystem: whether this kernel has what the agent needs (control reference §5.8).
//!
//! The rows are calicoctl's. It fails for each module that it does not find; here only what the agent uses counts.

use super::super::args::Checksystem;
use super::super::{Failed, Output, World};
use super::enforce_root;
use flate2::read::GzDecoder;
use regex::Regex;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The first kernel with network namespaces and veth pairs.
const OLDEST: [u32; 3] = [2, 6, 24];

/// What a module is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing works without it.
    Always,
    /// The agent's packet rules, unless nf_tables is there.
    Iptables,
    /// IPv6.
    Ipv6,
    /// Nothing of ours; Calico looks for it.
    Calico,
}

/// Modules, and what each is called in a kernel's configuration.
const MODULES: [(&str, &str, Need); 21] = [
    ("ip6_tables", "CONFIG_IP6_NF_IPTABLES", Need::Ipv6),
    ("ip_set", "CONFIG_IP_SET", Need::Iptables),
    ("ip_tables", "CONFIG_IP_NF_IPTABLES", Need::Iptables),
    ("ipt_REJECT", "CONFIG_NFT_REJECT", Need::Iptables),
    ("ipt_ipvs", "CONFIG_NETFILTER_XT_MATCH_IPVS", Need::Calico),
    ("ipt_rpfilter", "CONFIG_IP_NF_MATCH_RPFILTER", Need::Iptables),
    ("ipt_set", "CONFIG_NET_EMATCH_IPSET", Need::Calico),
    ("nf_conntrack_netlink", "CONFIG_NF_CT_NETLINK", Need::Calico),
    ("nf_tables", "CONFIG_NF_TABLES", Need::Calico),
    ("veth", "CONFIG_VETH", Need::Always),
    ("vfio-pci", "CONFIG_VFIO", Need::Calico),
    ("xt_addrtype", "CONFIG_NETFILTER_XT_MATCH_ADDRTYPE", Need::Iptables),
    ("xt_bpf", "CONFIG_BPF", Need::Calico),
    ("xt_conntrack", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK", Need::Iptables),
    ("xt_icmp", "icmp", Need::Calico),
    ("xt_icmp6", "icmp", Need::Calico),
    ("xt_mark", "CONFIG_IP_NF_TARGET_MARK", Need::Iptables),
    ("xt_multiport", "CONFIG_IP_NF_MATCH_MULTIPORT", Need::Iptables),
    ("xt_rpfilter", "CONFIG_IP_NF_MATCH_RPFILTER", Need::Iptables),
    ("xt_set", "CONFIG_NETFILTER_XT_SET", Need::Iptables),
    ("xt_u32", "CONFIG_NETFILTER_XT_MATCH_U32", Need::Calico),
];

pub(super) fn run(args: &Checksystem, world: &World<'_>) -> Result<Output, Failed> {
    enforce_root()?;
    if let Some(path) = &args.kernel_config {
        config_text(path).map_err(|reason| Failed(format!("{}: {reason}", path.display())))?;
    }
    let release = fs::read_to_string(world.proc.join("sys/kernel/osrelease"));
    let release =
        release.map_err(|error| Failed(format!("Error executing command: read the kernel's version: {error}")))?;
    let release = release.trim();
    let mut report = Report { text: "Checking kernel version...\n".to_owned(), missing: BTreeSet::new() };
    let new_enough = version(release) >= OLDEST;
    report.row(release, new_enough);
    if !new_enough {
        let oldest = OLDEST.map(|number| number.to_string()).join(".");
        report.text +=
            &format!("Minimum kernel version to run Calico is {oldest}. Detected kernel version: {release}\n");
    }
    report.text += "Checking kernel modules...\n";
    let kernel = Kernel::look(release, args.kernel_config.as_deref(), world);
    for (module, option, need) in MODULES {
        let there = kernel.has(module, option);
        if !there {
            report.text +=
                &format!("WARNING: Unable to detect the {module} module as Loaded/Builtin module or lsmod\n");
            report.missing.insert(module);
            if need == Need::Calico {
                report.text += "It is not needed here: Tortie does not use it.\n";
            }
        }
        report.row(module, there);
    }
    let nftables = !report.missing.contains("nf_tables");
    let is_fatal = |(module, _, need): &(&str, &str, Need)| {
        report.missing.contains(module) && (*need == Need::Always || *need == Need::Iptables && !nftables)
    };
    let fatal = !new_enough || MODULES.iter().any(is_fatal);
    if report.missing.contains("ip6_tables") {
        report.text += "WARNING: IPv6 will be unavailable as ip6_tables kernel module is not found\n";
    }
    if nftables && MODULES.iter().any(|(module, _, need)| *need == Need::Iptables && report.missing.contains(module)) {
        report.text += "WARNING: packet rules need nftables on this kernel (nftablesMode: Enabled)\n";
    }
    if fatal {
        let stderr = "system doesn't meet one or more minimum systems requirements to run Calico\n".to_owned();
        return Ok(Output { stdout: report.text, stderr, code: 1 });
    }
    Ok(Output::success(report.text + "System meets minimum system requirements to run Calico!\n"))
}

struct Report {
    text: String,
    missing: BTreeSet<&'static str>,
}

impl Report {
    fn row(&mut self, what: &str, there: bool) {
        let result = if there { "OK" } else { "FAIL" };
        self.text += &format!("\t\t{what:<20}\t\t\t\t\t{result}\n");
    }
}

/// A kernel's version; what is no number counts as 0.
fn version(release: &str) -> [u32; 3] {
    let plain = release.split(['-', '+']).next().unwrap_or_default();
    let mut numbers = plain.split('.').map(|part| part.parse().unwrap_or_default());
    [(); 3].map(|()| numbers.next().unwrap_or_default())
}

/// What a kernel says of itself.
struct Kernel {
    /// `modules.dep` and `modules.builtin`.
    files: Vec<String>,
    /// Names of modules that are loaded, or built in and shown.
    loaded: BTreeSet<String>,
    /// Its configuration.
    config: String,
    /// The matches that iptables may use now.
    matches: Vec<String>,
}

impl Kernel {
    fn look(release: &str, config: Option<&Path>, world: &World<'_>) -> Kernel {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap_or_default();
        let modules = world.root.join("lib/modules").join(release);
        let files = ["modules.dep", "modules.builtin"].map(|name| read(modules.join(name))).to_vec();
        let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
        let mut loaded: BTreeSet<String> = read(world.proc.join("modules")).lines().map(first).collect();
        let shown = fs::read_dir(world.root.join("sys/module")).into_iter().flatten().flatten();
        loaded.extend(shown.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        let places = [
            world.root.join("usr/src/linux/.config"),
            world.root.join(format!("boot/config-{release}")),
            world.root.join(format!("usr/src/linux-{release}/.config")),
            world.root.join(format!("usr/src/linux-headers-{release}/.config")),
            modules.join("build/.config"),
            world.proc.join("config.gz"),
        ];
        let config = match config {
            Some(path) => config_text(path).unwrap_or_default(),
            None => places.iter().find_map(|path| config_text(path).ok()).unwrap_or_default(),
        };
        let matches = read(world.proc.join("net/ip_tables_matches")).lines().map(str::to_owned).collect();
        Kernel { files, loaded, config, matches }
    }

    fn has(&self, module: &str, option: &str) -> bool {
        let file = Regex::new(&format!(r"/{}\.ko", regex::escape(module))).expect("an escaped name");
        let set = Regex::new(&format!("(?m)^{}=[ym]", regex::escape(option))).expect("an escaped name");
        self.files.iter().any(|text| file.is_match(text))
            || self.loaded.contains(&module.replace('-', "_"))
            || set.is_match(&self.config)
            || self.matches.iter().any(|name| name == option)
    }
}

/// A kernel's configuration, which may be compressed.
fn config_text(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    let read = if bytes.starts_with(&[0x1f, 0x8b]) {
        GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)
    } else {
        bytes.as_slice().read_to_string(&mut text)
    };
    read.map(|_| text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Shell;
    use super::*;

    const DEP: &str = "kernel/net/ipv4/netfilter/ip_tables.ko: \nkernel/drivers/net/veth.ko.zst:\n";

    #[test]
    fn what_is_found_where() {
        let shell = Shell::new();
        shell.write("sys/kernel/osrelease", "6.1.0-13-amd64\n");
        shell.write("lib/modules/6.1.0-13-amd64/modules.dep", DEP);
        shell.write("modules", "ip_set 57344 2 xt_set, Live 0x0\n");
        shell.write("boot/config-6.1.0-13-amd64", "CONFIG_NF_TABLES=m\n# CONFIG_VFIO is not set\nCONFIG_BPF=y\n");
        shell.write("net/ip_tables_matches", "icmp\nudp\n");
        let output = shell.run("node checksystem", "");
        let row = |what: &str, result: &str| format!("\t\t{what:<20}\t\t\t\t\t{result}\n");
        for there in ["6.1.0-13-amd64", "ip_tables", "veth", "ip_set", "nf_tables", "xt_bpf", "xt_icmp", "xt_icmp6"] {
            assert!(output.stdout.contains(&row(there, "OK")), "{there}: {}", output.stdout);
        }
        for missing in ["vfio-pci", "xt_u32", "ip6_tables", "xt_set"] {
            assert!(output.stdout.contains(&row(missing, "FAIL")), "{missing}: {}", output.stdout);
        }
        assert!(output.stdout.starts_with("Checking kernel version...\n\t\t6.1.0-13-amd64"), "{}", output.stdout);
        assert!(output.stdout.ends_with("System meets minimum system requirements to run Calico!\n"));
        assert_eq!((output.stderr.as_str(), output.code), ("", 0));
    }

    #[test]
    fn what_the_agent_needs_counts() {
        let shell = Shell::new();
        shell.write("sys/kernel/osrelease", "6.1.0\n");
        shell.write("lib/modules/6.1.0/modules.dep", DEP);
        let output = shell.run("node checksystem", "");
        let expect = "system doesn't meet one or more minimum systems requirements to run Calico\n";
        assert_eq!((output.stderr.as_str(), output.code), (expect, 1), "neither nf_tables nor xt_set");
        shell.write("config", "CONFIG_NF_TABLES=y\n");
        assert_eq!(shell.run("node checksystem --kernel-config=@/config", "").code, 0);
        shell.write("sys/kernel/osrelease", "2.6.18\n");
        assert_eq!(shell.run("node checksystem --kernel-config=@/config", "").code, 1);
        let output = shell.run("node checksystem -f @/nosuch", "");
        assert!(output.stderr.ends_with("nosuch: No such file or directory (os error 2)\n"), "{}", output.stderr);
    }

    #[test]
    fn versions_are_numbers() {
        for (release, expect) in [("6.18.44-fc-v669", [6, 18, 44]), ("5.10", [5, 10, 0]), ("x", [0, 0, 0])] {
            assert_eq!(version(release), expect);
        }
    }
}
