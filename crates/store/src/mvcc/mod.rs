//! Multi-version concurrency control over redb: what is in the file, and what each request means for it.
//!
//! A revision is one write request; its events are numbered inside it. Nothing here knows of threads, of gRPC beyond
//! its message types, or of time.

pub(crate) mod check;
pub(crate) mod copy;
pub(crate) mod disk;
pub(crate) mod folder;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod reserve;
pub(crate) mod storage;
#[cfg(test)]
mod tests;
pub(crate) mod view;
pub(crate) mod writing;
