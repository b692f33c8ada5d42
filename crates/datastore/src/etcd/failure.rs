//! What a failed request tells: its reason in words, whether it may have been carried out, what may be the matter.

use std::error::Error as StdError;
use std::io::ErrorKind;
use tonic::Code;

/// What went wrong, in a line for an operator: what the server or the transport said, and the last cause.
pub(super) fn reason(error: &etcd_client::Error) -> String {
    let text = if let etcd_client::Error::GRpcStatus(status) = error {
        let message = Some(status.message()).filter(|message| !message.is_empty());
        message.map_or_else(|| status.code().to_string(), str::to_owned)
    } else if let etcd_client::Error::TransportError(error) = error {
        // says nothing by itself
        error.source().map_or_else(|| error.to_string(), ToString::to_string)
    } else {
        error.to_string()
    };
    match source(error).and_then(|cause| causes(cause).last()).map(ToString::to_string) {
        Some(root) if !text.contains(&root) => format!("{text}: {root}"),
        _ => text,
    }
}

/// What became of a request that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The cluster refused it; any endpoint would.
    Refused,
    /// This endpoint did not take it.
    NotDone,
    /// It may have been carried out.
    Unknown,
}

/// Refusals of a member that cannot serve at present, before it passes anything on to the others. Their codes are not
/// the same in all releases.
const NOT_TAKEN: [&str; 4] = [
    "etcdserver: no leader",
    "etcdserver: not capable",
    "etcdserver: rpc not supported for learner",
    "etcdserver: too many requests",
];

/// Refusals of a token that expired, or that is older than a change of users or roles.
const STALE: [&str; 2] = ["etcdserver: invalid auth token", "etcdserver: revision of auth store is old"];

/// What the transport says of a request that it never sent, the connection being closed already, and of one that the
/// other end refused unseen (REFUSED_STREAM, the only reason with this code).
const UNSENT: [(Code, &str); 2] =
    [(Code::Cancelled, "operation was canceled"), (Code::Unavailable, "h2 protocol error")];

/// What became of it.
pub(super) fn fate(error: &etcd_client::Error) -> Fate {
    let etcd_client::Error::GRpcStatus(status) = error else { return Fate::Refused };
    if let Some(source) = status.source() {
        // the transport failed: before it had a connection, or when nothing was sent yet, or any time later
        let unsent = UNSENT.iter().any(|(code, text)| status.code() == *code && status.message().starts_with(text));
        let unsent = unsent || causes(source).any(|cause| cause.is::<tonic::ConnectError>());
        return if unsent { Fate::NotDone } else { Fate::Unknown };
    }
    if NOT_TAKEN.contains(&status.message()) || STALE.contains(&status.message()) {
        return Fate::NotDone;
    }
    match status.code() {
        // not etcd, or nothing that knows the request
        Code::Unimplemented => Fate::NotDone,
        // members that stop or lose their leader, and whatever stands before them
        Code::Unavailable | Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::Cancelled => Fate::Unknown,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss
        | Code::Unauthenticated => Fate::Refused,
    }
}

/// Whether another token may do.
pub(super) fn stale(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if STALE.contains(&status.message()))
}

/// The error of a watch that was refused for its token, which a stream tells in an answer.
pub(super) fn stale_watch(reason: &str) -> Option<etcd_client::Error> {
    let text = STALE.into_iter().find(|text| reason.ends_with(text))?;
    Some(etcd_client::Error::GRpcStatus(tonic::Status::unauthenticated(text)))
}

/// Whether a connection ended that had been there.
pub(super) fn broken(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    status.source().is_some_and(|source| !causes(source).any(|cause| cause.is::<tonic::ConnectError>()))
}

/// Whether a handshake of TLS met no TLS: an end, or an answer that is none.
pub(super) fn plain(error: &etcd_client::Error) -> bool {
    let connect =
        source(error).and_then(|cause| causes(cause).find_map(|cause| cause.downcast_ref::<tonic::ConnectError>()));
    let Some(io) = connect.and_then(|connect| connect.0.downcast_ref::<std::io::Error>()) else { return false };
    let no_message = io.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(io.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
        || no_message.is_some_and(|error| matches!(error, rustls::Error::InvalidMessage(_)))
}

/// Whether an error is etcd's own, and not that of something else at its address.
pub(super) fn says_etcd(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().starts_with("etcdserver: "))
}

/// Whether the revision asked for is compacted.
pub(super) fn compacted(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else { return false };
    status.code() == Code::OutOfRange && status.message().contains("required revision has been compacted")
}

/// An error and what caused it, outermost first.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// The transport's own error, if it was the transport.
fn source(error: &etcd_client::Error) -> Option<&(dyn StdError + 'static)> {
    if let etcd_client::Error::GRpcStatus(status) = error {
        status.source()
    } else if let etcd_client::Error::TransportError(error) = error {
        error.source()
    } else {
        None
    }
}
