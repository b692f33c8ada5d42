//! `Maintenance.Snapshot`: the database as it is, as a file, followed by the SHA-256 of it, as etcd sends its own.

use std::{fs::File, io::Read, sync::Arc};

use etcd_client::proto::PbSnapshotResponse;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::{mvcc::copy::CopyError, shared::Shared};

/// Bytes in one message.
const PIECE: usize = 256 << 10;
/// Messages on their way to the client.
const IN_FLIGHT: usize = 4;

type Out = mpsc::Sender<Result<PbSnapshotResponse, Status>>;

/// Sends the file from a thread of its own.
pub(super) fn send(shared: &Arc<Shared>) -> ReceiverStream<Result<PbSnapshotResponse, Status>> {
    let (out, responses) = mpsc::channel(IN_FLIGHT);
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || {
        let copied = copy(&shared).and_then(|file| pass(file, &out).map_err(|error| refused(&error)));
        if let Err(status) = copied {
            // an error means that the client is gone
            let _ = out.blocking_send(Err(status));
        }
    });
    ReceiverStream::new(responses)
}

/// The database as it is. Space is taken in the data directory until the client has it all.
fn copy(shared: &Shared) -> Result<File, Status> {
    shared.snapshot().copy(&shared.file).map_err(|error| refused(&error))
}

fn refused(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(error, "a snapshot could not be sent");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    Status::internal(format!("tortie store: snapshot: {text}"))
}

fn pass(mut file: File, out: &Out) -> Result<(), CopyError> {
    let mut left = file.metadata()?.len();
    let mut sum = Sha256::new();
    let send = |blob: Vec<u8>, remaining_bytes: u64| {
        out.blocking_send(Ok(PbSnapshotResponse { blob, remaining_bytes, ..PbSnapshotResponse::default() })).is_ok()
    };
    while left > 0 {
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        file.read_exact(&mut piece)?;
        sum.update(&piece);
        left -= piece.len() as u64;
        if !send(piece, left) {
            return Ok(());
        }
    }
    send(sum.finalize().to_vec(), 0);
    Ok(())
}
