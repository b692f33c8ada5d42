//! A `tortie store` of a suite's own, read and written with Debian's etcdctl.

use crate::process::{printed, run};
use crate::world::World;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the recorded programs found their datastore when nothing else is said.
pub(crate) const ENDPOINT: &str = "http://127.0.0.1:2379";
/// How long the store may take to answer its first request.
const PATIENCE: Duration = Duration::from_secs(30);

/// Keys and their values.
pub(crate) type Content = BTreeMap<String, String>;

/// The running store.
pub(crate) struct Store {
    endpoint: String,
    process: Child,
}

impl Store {
    /// Starts one that is empty.
    pub(crate) fn start(world: &World, endpoint: &str) -> Result<Store> {
        let data = world.folder("store")?;
        let mut command = Command::new(world.program("../tortie"));
        command.args(["store", "--log-level", "error", "--listen-client-urls", endpoint]).arg("--data-dir").arg(data);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let process = command.spawn().context("tortie store")?;
        let mut store = Store { endpoint: endpoint.to_owned(), process };
        let deadline = Instant::now() + PATIENCE;
        while run(store.etcdctl().args(["get", "x"]), b"").context("etcdctl (package etcd-client)")?.exit != 0 {
            if let Some(status) = store.process.try_wait()? {
                bail!("tortie store ended: {status}");
            }
            if Instant::now() > deadline {
                bail!("tortie store does not answer on {endpoint} within {PATIENCE:?}");
            }
        }
        Ok(store)
    }

    /// Where clients find it.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn etcdctl(&self) -> Command {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--dial-timeout", "1s", "--endpoints", &self.endpoint]);
        command
    }

    /// Everything of Calico's in it.
    pub(crate) fn content(&self) -> Result<Content> {
        let text = printed(self.etcdctl().args(["get", "--prefix", "/calico"]), b"")?;
        let mut lines = text.lines().map(str::to_owned);
        let mut content = Content::new();
        while let (Some(key), Some(value)) = (lines.next(), lines.next()) {
            content.insert(key, value);
        }
        Ok(content)
    }

    /// Writes a key, or deletes it.
    pub(crate) fn set(&self, key: &str, value: Option<&str>) -> Result<()> {
        match value {
            Some(value) => printed(self.etcdctl().args(["put", "--", key]), value.as_bytes())?,
            None => printed(self.etcdctl().args(["del", "--", key]), b"")?,
        };
        Ok(())
    }

    /// Empties it.
    pub(crate) fn clear(&self) -> Result<()> {
        printed(self.etcdctl().args(["del", "--prefix", "/"]), b"").map(|_| ())
    }

    /// Makes it hold this and nothing else.
    pub(crate) fn become_content(&self, wanted: &Content) -> Result<()> {
        let present = self.content()?;
        for (key, value) in wanted.iter().filter(|(key, value)| present.get(*key) != Some(value)) {
            self.set(key, Some(value))?;
        }
        for key in present.keys().filter(|key| !wanted.contains_key(*key)) {
            self.set(key, None)?;
        }
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
