//! `tortie store`: the embedded datastore's command line. A flag that etcd has too has etcd's name and `ETCD_…` variable;
//! one of our own has no variable.

mod snapshot;

use anyhow::Context;
use clap::Parser;
use datastore::config::STORE_ENDPOINT;
use nix::sys::stat::{Mode, umask};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use store::{AutoCompaction, Config, Exposure, ListenUrl, TlsFiles};

/// Runs the embedded datastore: a server of the etcd v3 API for one host, with etcd's own flags.
///
/// A write is acknowledged once it is on the disk. Its socket and its files are for their owner alone. When one host is
/// not enough, point the same clients at an etcd cluster.
#[derive(Debug, Parser)]
#[command(
    name = "tortie store",
    after_help = "Examples:
  tortie store --data-dir /var/lib/tortie
  tortie store --data-dir /var/lib/tortie --listen-client-urls unix:///run/tortie/store.sock,http://127.0.0.1:2379
  tortie store --listen-client-urls https://192.0.2.1:2379 --cert-file store.crt --key-file store.key \\
    --client-cert-auth --trusted-ca-file clients.crt
  tortie store snapshot save backup.db
  tortie store snapshot restore backup.db --data-dir /var/lib/tortie
  ETCDCTL_API=3 etcdctl --endpoints unix:///run/tortie/store.sock get --prefix /calico --keys-only"
)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: Server,
}

/// What is done instead of serving.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Saves, looks at and restores snapshots.
    #[command(subcommand)]
    Snapshot(snapshot::Command),
}

#[derive(Debug, clap::Args)]
struct Server {
    /// Folder of the database; made when missing.
    #[arg(long, env = "ETCD_DATA_DIR", default_value = "default.etcd")]
    data_dir: PathBuf,
    /// Where to listen: unix:///PATH, http://HOST:PORT of this host's own (loopback), or https://HOST:PORT.
    ///
    /// Each answers /health, /version and /metrics too, over HTTP. Agents, CNI plugins and calicoctl look for the default by themselves, when nobody tells them an endpoint.
    #[arg(long, env = "ETCD_LISTEN_CLIENT_URLS", value_delimiter = ',', default_value = STORE_ENDPOINT)]
    listen_client_urls: Vec<ListenUrl>,
    /// Listens on other addresses than loopback too, without TLS: everybody who reaches one reads and changes all data,
    /// and whoever listens on the way learns it.
    #[arg(long)]
    insecure_cleartext_on_network: bool,
    /// The store's certificate for https: URLs, PEM, with the intermediate ones after it. It is read again when it has
    /// changed, and so are the other files.
    #[arg(long, env = "ETCD_CERT_FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key, PEM, without a passphrase.
    #[arg(long, env = "ETCD_KEY_FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Clients of https: URLs must show a certificate; --trusted-ca-file alone says so too, as for etcd.
    #[arg(long, env = "ETCD_CLIENT_CERT_AUTH", requires = "trusted_ca_file")]
    client_cert_auth: bool,
    /// Authorities one of which must have signed a client's certificate, PEM.
    #[arg(long, env = "ETCD_TRUSTED_CA_FILE", requires = "cert_file")]
    trusted_ca_file: Option<PathBuf>,
    /// The authorities' lists of revoked certificates, PEM.
    #[arg(long, env = "ETCD_CLIENT_CRL_FILE", requires = "trusted_ca_file")]
    client_crl_file: Option<PathBuf>,
    /// Listens with https: on other addresses than loopback without --trusted-ca-file too: everybody who reaches one
    /// reads and changes all data.
    #[arg(long)]
    insecure_any_client_on_network: bool,
    /// Where to listen for /metrics, /health and /version alone, besides the URLs of clients.
    #[arg(long, env = "ETCD_LISTEN_METRICS_URLS", value_delimiter = ',')]
    listen_metrics_urls: Vec<ListenUrl>,
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
    /// Accepted for etcd's sake; the store has no log that it could cut.
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
    if let Some(Command::Snapshot(command)) = options.command {
        return snapshot::run(command);
    }
    let options = options.server;
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

fn serve(options: Server) -> anyhow::Result<()> {
    if options.snapshot_count.is_some() {
        tracing::warn!("--snapshot-count is accepted but not acted on: the store has no log");
    }
    let mut config = Config::new(options.data_dir, options.listen_client_urls);
    config.auto_compaction = compaction(&options.auto_compaction_mode, &options.auto_compaction_retention)?;
    config.exposure = Exposure {
        cleartext: options.insecure_cleartext_on_network,
        any_client: options.insecure_any_client_on_network,
    };
    let cleartext = |url: &ListenUrl| matches!(url, ListenUrl::Tcp(_));
    if options.cert_file.is_some()
        && let Some(url) = config.listen_client_urls.iter().find(|url| cleartext(url))
    {
        tracing::warn!(%url, "a certificate is given, and this URL does not use it: https: would");
    }
    config.tls = options.cert_file.zip(options.key_file).map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_authority: options.trusted_ca_file,
        revoked: options.client_crl_file,
    });
    config.listen_metrics_urls = options.listen_metrics_urls;
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
        let options = Options::try_parse_from(["tortie store"]).expect("nothing is required").server;
        assert_eq!(options.listen_client_urls, [STORE_ENDPOINT.parse().expect("a listen URL")]);
        assert!(!options.insecure_cleartext_on_network && !options.insecure_any_client_on_network);
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
