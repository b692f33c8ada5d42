//! The Routing Information Bases (RFC 4271 §3.2): what peers told us, what we chose, what we told them.
//!
//! Attributes are shared: one allocation per UPDATE received or route exported, however many prefixes it has.

mod adj_in;
mod adj_out;
mod decision;
mod export;
mod loc;

pub(crate) use adj_in::AdjRibIn;
pub(crate) use adj_out::{AdjRibOut, Flushed};
pub(crate) use decision::{Candidate, DEFAULT_LOCAL_PREF, Source};
pub(crate) use export::{Target, export};
pub(crate) use loc::{Best, LocRib};
