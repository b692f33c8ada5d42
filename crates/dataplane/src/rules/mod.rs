//! Packet rules: one representation, rendered for iptables with ipset or for nftables.
