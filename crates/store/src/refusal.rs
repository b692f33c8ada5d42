//! Why a request is not carried out: refusals, which are the client's to mend and carry etcd's texts and gRPC codes,
//! and faults of the database file, which end the server.

use tonic::{Code, Status};

/// A request the store will not carry out, in etcd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("etcdserver: key is not provided")]
    EmptyKey,
    #[error("etcdserver: key not found")]
    KeyNotFound,
    #[error("etcdserver: value is provided")]
    ValueProvided,
    #[error("etcdserver: lease is provided")]
    LeaseProvided,
    #[error("etcdserver: too many operations in txn request")]
    TooManyOperations,
    #[error("etcdserver: duplicate key given in txn request")]
    DuplicateKey,
    #[error("etcdserver: invalid sort option")]
    InvalidSortOption,
    #[error("etcdserver: request is too large")]
    RequestTooLarge,
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    #[error("etcdserver: no space: the disk of the data directory is full")]
    DiskFull,
    #[error("etcdserver: alarm NOSPACE: the quota of the store is used up: delete, compact, then disarm the alarm")]
    QuotaAlarm,
    #[error("etcdserver: alarm NOSPACE: the disk of the data directory is full: delete, compact, or make space")]
    DiskAlarm,
    #[error("etcdserver: the database is being read, try again")]
    Busy,
    #[error("etcdserver: bad leader transferee")]
    BadLeaderTransferee,
    #[error("etcdserver: requested lease not found")]
    LeaseNotFound,
    #[error("etcdserver: lease already exists")]
    LeaseExists,
    #[error("etcdserver: too large lease TTL")]
    LeaseTtlTooLarge,
}

impl Refusal {
    fn code(self) -> Code {
        match self {
            Self::EmptyKey
            | Self::KeyNotFound
            | Self::ValueProvided
            | Self::LeaseProvided
            | Self::TooManyOperations
            | Self::DuplicateKey
            | Self::InvalidSortOption
            | Self::RequestTooLarge => Code::InvalidArgument,
            Self::Compacted | Self::FutureRevision | Self::LeaseTtlTooLarge => Code::OutOfRange,
            Self::NoSpace | Self::DiskFull | Self::QuotaAlarm | Self::DiskAlarm => Code::ResourceExhausted,
            Self::Busy => Code::Unavailable,
            Self::LeaseNotFound => Code::NotFound,
            Self::LeaseExists | Self::BadLeaderTransferee => Code::FailedPrecondition,
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

/// The database file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The file could not be opened again after its disk had been full.
    #[error("open the database again after its disk was full")]
    Reopen(#[source] Box<crate::OpenError>),
    /// What was opened again after a full disk is not what had been committed.
    #[error("the database is at revision {found} after its disk was full, not at {expect}")]
    Changed {
        /// Its last acknowledged revision.
        expect: i64,
        /// The revision in the file.
        found: i64,
    },
    /// The database library reports an error.
    #[error("access the database")]
    Database(#[source] Box<redb::Error>),
    /// A record does not have the form its table prescribes.
    #[error("table {0} holds a malformed record")]
    Malformed(&'static str),
    /// An event refers to a revision that is not in the file.
    #[error("table events lacks revision {0}.{1}, which a later one refers to")]
    MissingRevision(i64, u32),
}

macro_rules! fault_from {
    ($($error:ty),+) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )+};
}

fault_from!(redb::StorageError, redb::TableError, redb::TransactionError, redb::CommitError, redb::SetDurabilityError);

/// A request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<redb::StorageError> for Failure {
    fn from(error: redb::StorageError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => refusal.into(),
            Failure::Fault(fault) => {
                tracing::error!(error = &fault as &dyn std::error::Error, "read failed");
                Self::internal(fault.to_string())
            }
        }
    }
}
