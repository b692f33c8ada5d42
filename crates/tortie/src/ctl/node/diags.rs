//! node diags: what somebody needs who looks for a fault of this node, in one archive (control reference §5.8).
//!
//! Nothing of it is a secret's value, but it tells much of the network.

use super::super::args::Diags;
use super::super::{Failed, Output, World};
use super::program::{self, Ran};
use super::{enforce_root, status};
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Zoned;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is told meanwhile, the command, and the file for its output.
const COMMANDS: [(&str, &str, &str); 18] = [
    ("", "date", "date"),
    ("", "hostname", "hostname"),
    ("", "uname -a", "uname"),
    ("Dumping sockets", "ss -a -n -p", "ss"),
    ("Dumping routes (IPv4)", "ip -4 route show table all", "ipv4_route"),
    ("Dumping routes (IPv6)", "ip -6 route show table all", "ipv6_route"),
    ("Dumping routing rules", "ip rule", "ip_rule"),
    ("Dumping interface info (IPv4)", "ip -4 addr", "ipv4_addr"),
    ("Dumping interface info (IPv6)", "ip -6 addr", "ipv6_addr"),
    ("Dumping interfaces", "ip -d -s link", "links"),
    ("Dumping neighbours", "ip neigh", "neighbours"),
    ("Dumping nftables", "nft list ruleset", "nft"),
    ("Dumping iptables (IPv4)", "iptables-save -c", "ipv4_tables"),
    ("Dumping iptables (IPv6)", "ip6tables-save -c", "ipv6_tables"),
    ("Dumping ipsets", "ipset list", "ipsets"),
    ("Dumping kernel settings", "sysctl -a --pattern net.ipv[46].conf", "sysctl"),
    (
        "Copying journal for calico-node.service",
        "journalctl -u calico-node.service --no-pager",
        "journalctl_calico_node",
    ),
    ("", "dmesg", "dmesg"),
];

pub(super) fn run(args: &Diags, world: &World<'_>) -> Result<Output, Failed> {
    enforce_root()?;
    world.say("Collecting diagnostics\n");
    let folder = match &args.output_dir {
        Some(folder) => folder.clone(),
        None => temporary(world)?,
    };
    let name = format!("diags-{}.tar.gz", Zoned::now().strftime("%Y%m%d_%H%M%S"));
    let path = folder.join(&name);
    let failed = |error: io::Error| Failed(format!("Error compressing the diagnostics: {}: {error}", path.display()));
    // nobody else reads what it tells
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let mut archive = Archive { tar: tar::Builder::new(GzEncoder::new(file, Compression::default())) };
    for (told, command, file) in COMMANDS {
        if !told.is_empty() {
            world.say(&format!("{told}\n"));
        }
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let Ran { mut output, failure } = program::run(&words, world);
        if let Some(reason) = failure {
            world.say(&format!("Failed to run command: {command}\nError: {reason}\n"));
            output.extend(format!("{command}: {reason}\n").into_bytes());
        }
        archive.add(file, &output).map_err(failed)?;
    }
    world.say("Asking the agent for its state\n");
    let own = status::text(world).unwrap_or_else(|Failed(reason)| format!("{reason}\n"));
    archive.add("node_status", own.as_bytes()).map_err(failed)?;
    if args.log_dir.is_dir() {
        world.say("Copying Calico logs\n");
        archive.add_logs(&args.log_dir, world).map_err(failed)?;
    } else {
        world.say(&format!("No logs found in {}; skipping log copying\n", args.log_dir.display()));
    }
    archive.tar.into_inner().and_then(GzEncoder::finish).and_then(|file| file.sync_all()).map_err(failed)?;
    let text = format!(
        "\nDiags saved to {}\nThe archive tells much of this network: look into it before you give it away.\n",
        path.display()
    );
    Ok(Output::success(text))
}

/// A new folder among the temporary ones.
fn temporary(world: &World<'_>) -> Result<PathBuf, Failed> {
    let parent = (world.variable)("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    let made = nix::unistd::mkdtemp(&parent.join("calicoXXXXXX"));
    let folder = made.map_err(|error| Failed(format!("Error creating temp directory to dump logs: {error}")))?;
    world.say(&format!("Using temp dir: {}\n", folder.display()));
    Ok(folder)
}

struct Archive {
    tar: tar::Builder<GzEncoder<File>>,
}

impl Archive {
    fn add(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default());
        self.tar.append_data(&mut header, Path::new("diagnostics").join(name), content)
    }

    /// Adds every file of a folder and its folders; one that cannot be read is told and left out.
    fn add_logs(&mut self, folder: &Path, world: &World<'_>) -> io::Result<()> {
        let mut folders = vec![PathBuf::new()];
        while let Some(relative) = folders.pop() {
            let Ok(entries) = folder.join(&relative).read_dir() else { continue };
            let mut entries: Vec<_> = entries.flatten().collect();
            entries.sort_by_key(std::fs::DirEntry::file_name);
            for entry in entries {
                let path = relative.join(entry.file_name());
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() => match std::fs::read(entry.path()) {
                        Ok(content) => self.add(&Path::new("logs").join(&path).to_string_lossy(), &content)?,
                        Err(error) => {
                            world.say(&format!("Error copying log files: {}: {error}\n", entry.path().display()));
                        }
                    },
                    // sockets and links are no logs
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Shell;
    use flate2::read::GzDecoder;
    use std::collections::BTreeMap;
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_archive_of_commands_and_logs() {
        let shell = Shell::new().with("PATH", "@/bin");
        shell.write("bin/ip", "#!/bin/sh\necho ip \"$@\"\n");
        fs::set_permissions(shell.folder.path().join("bin/ip"), fs::Permissions::from_mode(0o755)).expect("a program");
        shell.write("logs/cni/cni.log", "a line\n");
        fs::create_dir(shell.folder.path().join("out")).expect("a folder");
        let output = shell.run("node diags --log-dir=@/logs --output-dir=@/out", "");
        assert_eq!((output.stderr.as_str(), output.code), ("", 0));
        assert!(output.stdout.starts_with("Collecting diagnostics\n"), "{}", output.stdout);
        assert!(output.stdout.contains("Failed to run command: nft list ruleset\nError: exec: \"nft\": executable"));
        let saved = output.stdout.lines().find_map(|line| line.strip_prefix("Diags saved to ")).expect("a path");
        assert_eq!(fs::metadata(saved).expect("the archive").permissions().mode() & 0o777, 0o600);
        let mut archive = tar::Archive::new(GzDecoder::new(File::open(saved).expect("the archive")));
        let mut files = BTreeMap::new();
        for entry in archive.entries().expect("an archive") {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("a text");
            files.insert(entry.path().expect("a path").display().to_string(), text);
        }
        assert_eq!(files["diagnostics/ipv4_route"], "ip -4 route show table all\n");
        assert_eq!(files["diagnostics/logs/cni/cni.log"], "a line\n");
        assert!(files.contains_key("diagnostics/node_status"));
    }
}
