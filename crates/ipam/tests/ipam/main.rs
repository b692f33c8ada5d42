//! The compare-and-swap loop against the datastore in memory.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod assign;
mod blocks;
mod calico;
mod check;
mod cluster;
mod interleaving;
mod pools;
mod races;
mod recorded;
mod release;
mod reservation;
mod room;
mod tunnel;
mod unreadable;
