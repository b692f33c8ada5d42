//! `tortie store`: the embedded datastore's command line. A flag that etcd has too has etcd's name and `ETCD_…` variable;
//! one of our own has no variable.

use anyhow::Context;
use clap::Parser;
use datastore::config::STORE_ENDPOINT;
use nix::sys::stat::{Mode, umask};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use store::{AutoCompaction, Cleartext, Config, ListenUrl};

/// Runs the embedded datastore: a server of the etcd v3 API for one host, with etcd's own flags.
///
/// A write is acknowledged once it is on the disk. Its socket and its files are for their owner alone. When one host is not enough, point the same clients at an etcd
/// cluster.
#[derive(Debug, Parser)]
#[command(
    name = "tortie store",
    after_help = "Examples:
  tortie store --data-dir /var/lib/tortie
  tortie store --data-dir /var/lib/tortie --listen-client-urls unix:///run/tortie/store.sock,http://127.0.0.1:2379
  ETCDCTL_API=3 etcdctl --endpoints unix:///run/tortie/store.sock get --prefix /calico --keys-only"
)]
struct Options {
    /// Folder of the database; made when missing.
    #[arg(long, env = "ETCD_DATA_DIR", default_value = "default.etcd")]
    data_dir: PathBuf,
    /// Where to listen: unix:///PATH, or http://HOST:PORT of this host's own (loopback).
    ///
    /// Agents, CNI plugins and calicoctl look for the default by themselves, when nobody tells them an endpoint.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS", value_delimiter = ',', default_value = STORE_ENDPOINT)]
    listen_client_urls: Vec<ListenUrl>,
    /// Listens on other addresses than loopback too, without TLS: everybody who reaches one reads and changes all data,
    /// and whoever listens on the way learns it.
    #[arg(long)]
    insecure_cleartext_on_network: bool,
    /// What the member list shows; the listen URLs if not given.
    #[arg(long, env = "ETCD_ADVERTISE_CLIENT_URLS", value_delimiter = ',')]
    advertise_client_urls: Vec<String>,
    /// The member's name.
    #[arg(long, env = "ETCD_NAME", default_value = "default")]
    name: String,
    /// How history is dropped: `revision` keeps a number of revisions, `periodic` a time.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_MODE", default_value = "revision", value_parser = ["revision", "periodic"])]
    auto_compaction_mode: String,
    /// Revisions, or a time such as 1h (a bare number: hours); 0 keeps everything.
    #[arg(long, env = "ETCD_AUTO_COMPACTION_RETENTION", default_value = "10000")]
    auto_compaction_retention: String,
    /// Size of the database in bytes from which writes that add are refused; 0 is no limit.
    #[arg(long, env = "ETCD_QUOTA_BACKEND_BYTES", default_value_t = 2 << 30)]
    quota_backend_bytes: u64,
    /// Accepted for etcd's sake; the store has no snapshots.
    #[arg(long, env = "ETCD_SNAPSHOT_COUNT", hide = true)]
    snapshot_count: Option<u64>,
    /// trace, debug, info, warn or error.
    #[arg(long, env = "ETCD_LOG_LEVEL", default_value = "info")]
    log_level: String,
}

/// Runs the store until it is told to stop; `arguments` come after `tortie store`.
pub fn run(arguments: &[String]) -> ExitCode {
    let options: Options = match crate::options::parse("tortie store", arguments) {
        Ok(options) => options,
        Err(status) => return status,
    };
    crate::logging::init(&options.log_level);
    crate::open_files::raise();
    // every file is made with its mode; this is for what a library may make
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: Options) -> anyhow::Result<()> {
    if options.snapshot_count.is_some() {
        tracing::warn!("--snapshot-count is accepted but not acted on: the store has no snapshots");
    }
    let mut config = Config::new(options.data_dir, options.listen_client_urls);
    config.auto_compaction = compaction(&options.auto_compaction_mode, &options.auto_compaction_retention)?;
    if options.insecure_cleartext_on_network {
        config.cleartext = Cleartext::Network;
    }
    config.advertise_client_urls = options.advertise_client_urls;
    config.name = options.name;
    config.quota_backend_bytes = options.quota_backend_bytes;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).context("listen for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for signals")?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        let urls = format!("{:?}", config.listen_client_urls);
        let ready = move || tracing::info!(urls, "the store is ready");
        store::serve(config, ready, shutdown).await.map_err(anyhow::Error::from)
    })
}

fn compaction(mode: &str, retention: &str) -> anyhow::Result<AutoCompaction> {
    if retention == "0" {
        return Ok(AutoCompaction::Off);
    }
    if mode == "revision" {
        let kept = retention.parse().context("--auto-compaction-retention: a number of revisions is expected")?;
        return Ok(AutoCompaction::Revisions(kept));
    }
    let period = match retention.parse::<u64>() {
        Ok(hours) => Ok(Duration::from_secs(hours * 3600)),
        Err(_) => api::duration::parse(retention),
    };
    period.map(AutoCompaction::Period).map_err(|reason| anyhow::anyhow!("--auto-compaction-retention: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_where_clients_look_and_no_network() {
        let options = Options::try_parse_from(["tortie store"]).expect("nothing is required");
        assert_eq!(options.listen_client_urls, [STORE_ENDPOINT.parse().expect("a listen URL")]);
        assert!(!options.insecure_cleartext_on_network);
    }

    #[test]
    fn etcds_retention_forms() {
        for (mode, retention, expect) in [
            ("revision", "1000", AutoCompaction::Revisions(1000)),
            ("revision", "0", AutoCompaction::Off),
            ("periodic", "2", AutoCompaction::Period(Duration::from_secs(7200))),
            ("periodic", "10m", AutoCompaction::Period(Duration::from_secs(600))),
        ] {
            assert_eq!(compaction(mode, retention).ok(), Some(expect), "{mode} {retention}");
        }
        assert!(compaction("revision", "1h").is_err());
    }
}
