//! `tortie ctl`, also as `calicoctl`: the operators' command line (control reference §5).
//!
//! Columns, stored bytes, exit statuses and the words of success and failure are calicoctl's. Every failure is on
//! standard error, also where calicoctl uses standard output. Exit status: 0 when everything was done, else 1.
//!
//! A command works on a [`World`], so that tests give it a datastore in memory and read its [`Output`].

mod args;
mod bgp_peers;
mod bird;

mod edit;
mod format;
mod get;
mod input;
mod ipam;
mod labels;
mod manage;
mod message;
mod migrate;
mod node;
mod table;
mod template;
#[cfg(test)]
mod tests;
mod trial;
mod version;
mod watch;
mod write;
mod yaml;

pub use input::read_resources;
pub use labels::read as read_selector;
pub(crate) use yaml::write as write_yaml;

use crate::client::Client;

use args::{Cli, Common, Verb};
use datastore::config::Config;
use std::cell::RefCell;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The Calico release whose clusters, stored objects and texts this command line matches.
pub const CALICO_VERSION: &str = "v3.32.1";

/// What a command needs besides its arguments.
pub struct World<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Standard input.
    pub stdin: RefCell<&'a mut dyn Read>,
    /// Where commands that go on for long print meanwhile: standard output.
    pub live: RefCell<&'a mut dyn Write>,
    /// Whether a person looks on, and wants to be told how far a long command is.
    pub progress: bool,
    /// A datastore to use instead of the configured one.
    pub store: Option<Arc<dyn datastore::Store>>,
    /// Folders in which the agent's `bird.ctl` may be.
    pub bird: Vec<PathBuf>,
    /// Where the kernel shows processes.
    pub proc: PathBuf,
    /// The root of this host's files.
    pub root: PathBuf,
}

/// What a command printed, and its exit status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit status.
    pub code: u8,
}

impl Output {
    fn success(stdout: String) -> Self {
        Output { stdout, ..Output::default() }
    }

    fn failure(message: &str) -> Self {
        Output { stderr: format!("{message}\n"), code: 1, ..Output::default() }
    }
}

/// A command that could not do what was asked; its text is what the operator reads.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl From<crate::client::ClientError> for Failed {
    fn from(error: crate::client::ClientError) -> Self {
        Failed(error.to_string())
    }
}

/// Runs one command; `arguments` come after the program's name.
pub fn run(arguments: &[String], name: &str) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut stdin = std::io::stdin();
    let mut stdout = std::io::stdout();
    let world = World {
        variable: &|name| std::env::var(name).ok(),
        stdin: RefCell::new(&mut stdin),
        live: RefCell::new(&mut stdout),
        progress: std::io::stderr().is_terminal(),
        store: None,
        bird: [crate::paths::RUN, "/var/run/bird"].map(PathBuf::from).to_vec(),
        proc: PathBuf::from("/proc"),
        root: PathBuf::from("/"),
    };
    let output = runtime.block_on(run_with(arguments, name, &world));
    let printed = std::io::stdout().write_all(output.stdout.as_bytes()).and_then(|()| std::io::stdout().flush());
    let _ = std::io::stderr().write_all(output.stderr.as_bytes());
    match printed {
        Ok(()) => ExitCode::from(output.code),
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs one command on `world`.
pub async fn run_with(arguments: &[String], name: &str, world: &World<'_>) -> Output {
    let cli = match Cli::read(arguments, name) {
        Ok(cli) => cli,
        Err(output) => return output,
    };
    if cli.context.is_some() {
        return Output::failure("--context is not supported yet: it belongs to the Kubernetes datastore");
    }
    if cli.log_level != args::SILENT {
        // nothing here is fatal or a panic, which are the words for less than errors
        crate::logging::init(if cli.log_level == "fatal" { "error" } else { &cli.log_level });
    }
    let done = match &cli.verb {
        Verb::Create(args) => write::create(&cli, args, world).await,
        Verb::Apply(args) => write::apply(&cli, args, world).await,
        Verb::Replace(args) => write::replace(&cli, args, world).await,
        Verb::Delete(args) => write::delete(&cli, args, world).await,
        Verb::Validate(args) => write::validate(args, world),
        Verb::Get(args) => get::run(&cli, args, world).await,
        Verb::Patch(args) => edit::patch(&cli, args, world).await,
        Verb::Label(args) => edit::label(&cli, args, world).await,
        Verb::Version(args) => version::run(args, world).await,
        Verb::Node(verb) => node::run(verb, world),
        Verb::Datastore(args::DatastoreVerb::Migrate(verb)) => migrate::run(&cli, verb, world).await,
        Verb::Ipam(verb) => ipam::run(&cli, verb, world).await,
        Verb::Cluster(args::ClusterVerb::Diags(_)) => {
            let reason = "cluster diags is not supported yet: it belongs to the Kubernetes datastore; on a node, node diags \
                          collects what there is";
            Err(Failed(reason.to_owned()))
        }
        Verb::Bgp(args::BgpVerb::Peers(args)) => bgp_peers::run(args, world),
    };
    done.unwrap_or_else(|Failed(message)| Output::failure(&message))
}

impl World<'_> {
    /// Prints while the command goes on; false when nobody reads any more.
    fn say(&self, text: &str) -> bool {
        let mut live = self.live.borrow_mut();
        live.write_all(text.as_bytes()).and_then(|()| live.flush()).is_ok()
    }

    /// A client of the configured datastore.
    async fn connect(&self, config: &Path) -> Result<Client, Failed> {
        if let Some(store) = &self.store {
            return Ok(Client::new(Arc::clone(store)));
        }
        if config != Path::new(args::DEFAULT_CONFIG) && !config.exists() {
            return Err(Failed(format!("Error reading config file: {}", config.display())));
        }
        let failed = |reason: String| Failed(format!("Failed to create Calico API client: {reason}"));
        let config = Config::load(Some(config), self.variable).map_err(|error| failed(error.to_string()))?;
        let store = datastore::connect(&config).await.map_err(|error| failed(error.to_string()))?;
        Ok(Client::new(store))
    }

    /// A client for a command on resources, once the cluster's version is known to fit.
    async fn client(&self, cli: &Cli, common: &Common) -> Result<Client, Failed> {
        self.client_at(cli, &common.config).await
    }

    /// As [`World::client`], with the configuration file alone.
    async fn client_at(&self, cli: &Cli, config: &Path) -> Result<Client, Failed> {
        let client = self.connect(config).await?;
        if !cli.allow_version_mismatch {
            version::check(&client).await?;
        }
        Ok(client)
    }
}
