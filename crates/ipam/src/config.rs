//! The cluster's IPAM configuration.

use crate::stored::{Stored, as_config};
use crate::{ATTEMPTS, Ipam};
use api::event::{Key, Object};
use api::ipam::Config;
use datastore::{Error, Write};

/// Why the configuration cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// With neither, a node without a block could never give out an address.
    #[error("cannot disable StrictAffinity and AutoAllocateBlocks at the same time")]
    NoSource,
    /// Borrowing would go around the limit.
    #[error("MaxBlocksPerHost requires StrictAffinity to be enabled")]
    LimitWithoutStrictAffinity,
    /// Other writers were faster, every time.
    #[error("set the IPAM configuration: other writers were faster {ATTEMPTS} times")]
    Contended,
    /// The datastore failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl Ipam<'_> {
    /// The configuration; one that is missing is created with Calico's defaults.
    pub async fn config(&self) -> Result<Config, Error> {
        let stored = self.stored_config().await?;
        self.config_or_default(stored).await
    }

    /// The configuration that was read; one that is missing is created with Calico's defaults.
    pub(crate) async fn config_or_default(&self, stored: Option<Stored<Config>>) -> Result<Config, Error> {
        if let Some(stored) = stored {
            return Ok(stored.value);
        }
        match self.store.create(&Key::IpamConfig, &Object::IpamConfig(Config::default())).await {
            Ok(_) => Ok(Config::default()),
            Err(Error::Exists(_)) => Ok(self.stored_config().await?.map(|stored| stored.value).unwrap_or_default()),
            Err(error) => Err(error),
        }
    }

    /// Changes the configuration as it is at the moment of the write; one that is missing is created with Calico's
    /// defaults first.
    pub async fn change_config(&self, change: impl Fn(&mut Config)) -> Result<(), ConfigError> {
        for _ in 0..ATTEMPTS {
            let Some(Stored { value: mut config, revision }) = self.stored_config().await? else {
                self.config_or_default(None).await?;
                continue;
            };
            change(&mut config);
            if !config.strict_affinity && !config.auto_allocate_blocks {
                return Err(ConfigError::NoSource);
            }
            if config.max_blocks_per_host > 0 && !config.strict_affinity {
                return Err(ConfigError::LimitWithoutStrictAffinity);
            }
            let write = Write::Update(Key::IpamConfig, Object::IpamConfig(config), revision);
            if self.commit(&[write]).await?.is_done() {
                return Ok(());
            }
        }
        Err(ConfigError::Contended)
    }

    async fn stored_config(&self) -> Result<Option<Stored<Config>>, Error> {
        Ok(self.read(&Key::IpamConfig).await?.and_then(as_config))
    }
}
