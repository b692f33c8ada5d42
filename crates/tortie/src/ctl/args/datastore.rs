//! The grammar of the commands about the datastore itself.

use super::DEFAULT_CONFIG;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Where the datastore is.
#[derive(Debug, Args)]
pub(in crate::ctl) struct Datastore {
    /// Configuration file.
    #[arg(short, long, default_value = DEFAULT_CONFIG, value_name = "CONFIG")]
    pub(in crate::ctl) config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(in crate::ctl) enum DatastoreVerb {
    /// Takes a cluster from etcd to Kubernetes, and locks and unlocks the datastore.
    #[command(
        subcommand,
        override_usage = "calicoctl datastore migrate <command> [<args>...]",
        after_help = "Examples:\n  calicoctl datastore migrate lock\n  calicoctl datastore migrate export > \
                      etcd-data\n  calicoctl datastore migrate unlock"
    )]
    Migrate(MigrateVerb),
}

#[derive(Debug, Subcommand)]
pub(in crate::ctl) enum MigrateVerb {
    /// Prints all that is to be taken along, from a locked etcd datastore.
    ///
    /// Workload endpoints and profiles are left out: Kubernetes makes them anew.
    #[command(
        override_usage = "calicoctl datastore migrate export [--config=<CONFIG>] [--allow-version-mismatch]",
        after_help = "Example:\n  calicoctl datastore migrate lock\n  calicoctl datastore migrate export > etcd-data"
    )]
    Export(Datastore),
    /// Puts what export printed into a Kubernetes datastore.
    #[command(
        override_usage = "calicoctl datastore migrate import --filename=<FILENAME> [--config=<CONFIG>] \
                          [--allow-version-mismatch]",
        after_help = "Not supported yet: it belongs to the Kubernetes datastore.\n\nExample:\n  calicoctl datastore \
                      migrate import -f etcd-data"
    )]
    Import(Import),
    /// Makes the CNI plugins refuse pods until the datastore is unlocked.
    #[command(
        override_usage = "calicoctl datastore migrate lock [--config=<CONFIG>] [--allow-version-mismatch]",
        after_help = "Example:\n  calicoctl datastore migrate lock"
    )]
    Lock(Datastore),
    /// Lets the CNI plugins work again.
    #[command(
        override_usage = "calicoctl datastore migrate unlock [--config=<CONFIG>] [--allow-version-mismatch]",
        after_help = "Example:\n  calicoctl datastore migrate unlock"
    )]
    Unlock(Datastore),
}

#[derive(Debug, Args)]
pub(in crate::ctl) struct Import {
    /// File that export wrote, or - for standard input.
    #[arg(short, long, value_name = "FILENAME")]
    pub(in crate::ctl) filename: PathBuf,
    #[command(flatten)]
    pub(in crate::ctl) datastore: Datastore,
}
