//! How many files a process may have open: a connection for every peer or client is one, and the default of 1024 is
//! meant for programs that call select(2).

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises this process's limit to what it may have at most. Programs that it starts get the limit that was.
pub(crate) fn raise() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
        dataplane::give_children_open_files(soft, hard);
        Ok((soft, hard))
    });
    match raised {
        Ok((soft, hard)) => tracing::debug!(soft, hard, "open files: the limit is raised"),
        Err(error) => tracing::warn!(%error, "the limit of open files stays as it is"),
    }
}
