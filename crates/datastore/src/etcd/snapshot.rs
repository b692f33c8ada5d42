//! A snapshot of the whole database, as the server sends it.

use super::endpoints::{Endpoints, Link, Request};
use super::failure::reason;
use crate::{Error, config};

/// Fetches a snapshot piece by piece: `take` gets each piece, and how many bytes are left; what it refuses ends the
/// transfer. What comes is the server's own database and a SHA-256 of it, of etcd or of `tortie store`.
pub async fn snapshot(
    config: &config::Config,
    mut take: impl FnMut(&[u8], u64) -> std::io::Result<()>,
) -> Result<(), Error> {
    let endpoints = Endpoints::new(&crate::discovered(config).await?)?;
    let open = |link: Link| async move { link.maintenance().snapshot().await };
    let mut stream = endpoints.ask(Request::Read, open).await?;
    let failed = |error: etcd_client::Error| Error::Unavailable(format!("snapshot: {}", reason(&error)));
    while let Some(piece) = stream.message().await.map_err(failed)? {
        take(piece.blob(), piece.remaining_bytes()).map_err(|error| Error::Unavailable(error.to_string()))?;
    }
    Ok(())
}
