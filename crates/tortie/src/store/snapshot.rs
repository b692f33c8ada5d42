//! `tortie store snapshot`: copies of the whole database, made while it serves.

use anyhow::Context;
use datastore::config::{Config, STORE_ENDPOINT};
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is done with snapshots.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Saves a snapshot of a running store, or of etcd, to a file.
    ///
    /// The file is there whole or not at all, and for its owner alone: it holds all data.
    #[command(after_help = "Examples:
  tortie store snapshot save backup.db
  tortie store snapshot save backup.db --endpoints https://192.0.2.1:2379 --cacert ca.crt --cert me.crt --key me.key")]
    Save {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        from: From,
    },
    /// Makes a data directory of a snapshot.
    ///
    /// What is restored is a cluster of its own: its revisions go on far beyond those of the store that was saved, so
    /// that clients that had followed that one read everything anew.
    #[command(after_help = "Example:
  tortie store snapshot restore backup.db --data-dir /var/lib/tortie")]
    Restore {
        /// The file.
        file: PathBuf,
        /// The folder; it must not be there yet, or be empty.
        #[arg(long, env = "ETCD_DATA_DIR", default_value = "default.etcd")]
        data_dir: PathBuf,
    },
    /// Checks a snapshot and says what it holds.
    Status {
        /// The file.
        file: PathBuf,
    },
}

/// Which server, by the names of etcdctl.
#[derive(Debug, clap::Args)]
pub(super) struct From {
    /// Endpoints, of which the first that answers is asked.
    #[arg(long, env = "ETCDCTL_ENDPOINTS", default_value = STORE_ENDPOINT)]
    endpoints: String,
    /// The authority that signed the server's certificate, PEM.
    #[arg(long, env = "ETCDCTL_CACERT")]
    cacert: Option<String>,
    /// Our certificate, PEM.
    #[arg(long, env = "ETCDCTL_CERT", requires = "key")]
    cert: Option<String>,
    /// Its key, PEM.
    #[arg(long, env = "ETCDCTL_KEY", requires = "cert")]
    key: Option<String>,
    /// A user of etcd, as NAME:PASSWORD.
    #[arg(long, env = "ETCDCTL_USER")]
    user: Option<String>,
}

impl From {
    fn config(&self) -> anyhow::Result<Config> {
        let user = self.user.as_ref().map(|user| user.split_once(':').context("--user: NAME:PASSWORD is expected"));
        let (name, password) = user.transpose()?.unzip();
        let given = |name: &str| match name {
            "ETCD_ENDPOINTS" => Some(self.endpoints.clone()),
            "ETCD_CA_CERT_FILE" => self.cacert.clone(),
            "ETCD_CERT_FILE" => self.cert.clone(),
            "ETCD_KEY_FILE" => self.key.clone(),
            _ => None,
        };
        let mut config = Config::from_env(&given)?;
        config.etcd_username = name.map(str::to_owned);
        config.etcd_password = password.map(|password| datastore::config::Secret(password.to_owned()));
        Ok(config)
    }
}

/// Runs a command; what went wrong is printed.
pub(super) fn run(command: Command) -> ExitCode {
    let done = match &command {
        Command::Save { file, from } => save(file, from),
        Command::Restore { file, data_dir } => restore(file, data_dir),
        Command::Status { file } => status(file),
    };
    let written = done.and_then(|text| writeln!(std::io::stdout(), "{text}").context("write to standard output"));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tortie store snapshot: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn save(file: &Path, from: &From) -> anyhow::Result<String> {
    let config = from.config()?;
    let part = with_end(file, ".part");
    let saved = save_to(&part, file, &config);
    if saved.is_err() {
        // it is overwritten by the next attempt
        let _ = std::fs::remove_file(&part);
    }
    let bytes = saved?;
    Ok(format!("Snapshot saved at {}: {}", file.display(), size(bytes)))
}

fn save_to(part: &Path, file: &Path, config: &Config) -> anyhow::Result<u64> {
    let named = || format!("write {}", part.display());
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(part).with_context(named)?;
    let mut progress = Progress::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let take = |piece: &[u8], left: u64| {
        out.write_all(piece).map_err(|error| std::io::Error::other(format!("write {}: {error}", part.display())))?;
        progress.show(piece.len() as u64, left);
        Ok(())
    };
    let fetched = runtime.block_on(datastore::etcd::snapshot(config, take));
    progress.end();
    fetched?;
    out.sync_all().with_context(named)?;
    std::fs::rename(part, file).with_context(|| format!("write {}", file.display()))?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("write {}", folder.display()))?;
    Ok(progress.done)
}

fn restore(file: &Path, data_dir: &Path) -> anyhow::Result<String> {
    let content = store::snapshot::restore(file, data_dir)?;
    Ok(format!("{} keys restored to {}, as of revision {}", content.keys, data_dir.display(), content.revision))
}

fn status(file: &Path) -> anyhow::Result<String> {
    let content = store::snapshot::look(file)?;
    Ok(format!("revision {}, {} keys, {}, the checksum holds", content.revision, content.keys, size(content.bytes)))
}

/// Tells on a terminal how far a transfer has come.
struct Progress {
    done: u64,
    shown: bool,
}

impl Progress {
    fn new() -> Progress {
        Progress { done: 0, shown: false }
    }

    fn show(&mut self, more: u64, left: u64) {
        self.done += more;
        if std::io::stderr().is_terminal() {
            self.shown = true;
            eprint!("\r{} of {} ", size(self.done), size(self.done + left));
        }
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.shown) {
            eprint!("\r\x1b[K");
        }
    }
}

/// A number of bytes, for readers.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    // a size for a reader, of far less than 2^53 bytes
    let mut scaled = bytes as f64 / 1000.0;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A path with something after its name.
fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
