//! Ring 3: clusters of network namespaces, driven by the built binary. Needs root.

mod bgp_alone;
mod cluster;
mod restarts;
mod shapes;
