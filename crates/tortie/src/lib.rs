//! Tortie's parts that touch the world: agent, CNI plugins, command line, lab. The pure parts are crates of their own.

pub mod client;
pub mod cni;
pub mod crds;
pub mod ctl;
pub mod dispatch;
pub mod lab;
pub mod logging;
pub mod node;
mod open_files;
mod options;
mod paths;
pub mod store;
