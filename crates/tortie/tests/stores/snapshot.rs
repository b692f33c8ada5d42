//! `tortie store` over TLS, and its snapshots, as an operator uses them.

use crate::servers::{free, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A folder with an authority's certificate, and those of the store and of a client: NAME.crt and NAME.key.
struct Site {
    folder: TempDir,
    address: String,
}

/// A running store; it is stopped as `systemctl stop` would.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let id = Pid::from_raw(i32::try_from(self.0.id()).expect("a process"));
        // it may have ended by itself
        let _ = kill(id, Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

impl Site {
    fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().expect("a temporary folder"), address: free() };
        let (ip, _) = site.address.rsplit_once(':').expect("a port");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        site.openssl(&format!("req -x509 {key} -keyout ca.key -out ca.crt -days 30 -subj /CN=authority"));
        for name in ["store", "client"] {
            let names = format!("-addext subjectAltName=IP:{ip}");
            site.openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name} {names}"));
            let by = "-CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy -days 30";
            site.openssl(&format!("x509 -req -in {name}.csr -out {name}.crt {by}"));
        }
        site
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").current_dir(&self.folder).args(arguments.split(' ')).output();
        let output = output.expect("openssl runs (Debian package openssl)");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tortie"));
        command.current_dir(&self.folder).env_clear().args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// Runs a command line that must succeed; returns what it prints.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Serves a data directory, over TLS alone, to clients that show a certificate.
    fn serve(&self, data: &str) -> Running {
        let url = self.url();
        let files = ["--cert-file", "store.crt", "--key-file", "store.key", "--client-cert-auth", "--trusted-ca-file"];
        let mut command = self.command(&["store", "--data-dir", data, "--listen-client-urls", &url]);
        command.args(files).arg("ca.crt").stdout(Stdio::null()).stderr(Stdio::null());
        let running = Running(command.spawn().expect("the binary runs"));
        until("the store answers", || self.ctl(&["get", "ippools"]).status.success());
        running
    }

    fn ctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(&[&["ctl"], arguments].concat());
        command.env("ETCD_ENDPOINTS", self.url()).env("ETCD_CA_CERT_FILE", "ca.crt");
        command.env("ETCD_CERT_FILE", "client.crt").env("ETCD_KEY_FILE", "client.key");
        command.output().expect("the binary runs")
    }
}

#[test]
fn a_snapshot_is_taken_over_tls_and_restored() {
    let site = Site::new();
    let url = site.url();
    let store = site.serve("data");
    let pool = |name: &str, cidr: &str| {
        let text = format!(
            "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata:\n  name: {name}\nspec:\n  cidr: {cidr}\n"
        );
        std::fs::write(site.path().join("pool.yaml"), text).expect("written");
        let created = site.ctl(&["create", "-f", "pool.yaml"]);
        assert!(created.status.success(), "{created:?}");
    };
    pool("before", "10.1.0.0/16");
    let save = ["store", "snapshot", "save", "backup.db", "--endpoints", &url];
    let client = ["--cacert", "ca.crt", "--cert", "client.crt", "--key", "client.key"];
    let saved = site.told(&[save.as_slice(), &client].concat());
    assert!(saved.starts_with("Snapshot saved at backup.db: "), "{saved}");
    pool("after", "10.2.0.0/16");
    let unasked = site.run(&["store", "snapshot", "save", "other.db", "--endpoints", &url, "--cacert", "ca.crt"]);
    assert!(!unasked.status.success() && !site.path().join("other.db.part").exists(), "{unasked:?}");
    let refused = site.run(&["store", "snapshot", "restore", "backup.db", "--data-dir", "data"]);
    let reason = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && reason.contains("data directory data is not empty"), "{reason}");
    drop(store);

    let status = site.told(&["store", "snapshot", "status", "backup.db"]);
    assert!(status.starts_with("revision ") && status.ends_with(", the checksum holds\n"), "{status}");
    let restored = site.told(&["store", "snapshot", "restore", "backup.db", "--data-dir", "restored"]);
    assert!(restored.contains(" keys restored to restored, as of revision "), "{restored}");
    let _store = site.serve("restored");
    let pools = site.ctl(&["get", "ippools", "-o", "custom-columns=NAME"]);
    assert_eq!(String::from_utf8_lossy(&pools.stdout), "NAME     \nbefore   \n\n", "{pools:?}");
}
