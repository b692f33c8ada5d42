//! `--dry-run`: a command on a copy of the datastore in memory.

use super::Failed;
use super::args::Trial;
use crate::client::Client;
use datastore::memory::Memory;
use std::sync::Arc;

/// What success says after its words.
const NOTE: &str = " (dry run)";

impl Trial {
    /// The client to work with: of the datastore, or of a copy that is thrown away.
    pub(super) async fn client(&self, client: Client) -> Result<Client, Failed> {
        if !self.dry_run {
            return Ok(client);
        }
        let copy = Memory::copy_of(client.store()).await;
        Ok(Client::new(Arc::new(copy.map_err(|error| Failed(error.to_string()))?)))
    }

    /// A text of success, which says that nothing was done.
    pub(super) fn told(&self, text: String) -> String {
        if !self.dry_run {
            return text;
        }
        text.lines().map(|line| format!("{line}{NOTE}\n")).collect()
    }
}
