//! Ring 3: clusters of network namespaces, driven by the built binary. Needs root.

mod bad_input;
mod bgp_alone;
mod clock;
mod cluster;
mod exec;
mod faults;
mod guards;
mod machine;
mod path_mtu;
mod pods;
mod reboots;
mod restarts;
mod routers;
mod running;
mod shapes;
mod traffic;
