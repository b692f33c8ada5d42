/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * What the agent and the tunnel programs agree on: the maps' keys and values.
 *
 * The agent's mirror is crates/dataplane/src/bpf/abi.rs, which refuses maps whose sizes differ. Addresses are in
 * network order, everything else in the machine's.
 */
#ifndef TUNNEL_ABI_H
#define TUNNEL_ABI_H

#include <linux/types.h>

/* Prefixes of other nodes' pods: blocks, and single addresses borrowed from another node's block. */
#define TUNNEL_MAX_PREFIXES 65536
/* Links that outer packets may come in by. */
#define TUNNEL_MAX_LINKS 4096
/* Nodes that may send to this one, and prefixes of others that may. */
#define TUNNEL_MAX_SENDERS 16384

/*
 * Destination MAC of a frame that the second encap program is to serve, six bytes and two of zero: locally
 * administered, then "tunl2". No device has it.
 */
#define TUNNEL_AGAIN_MAC 0x0a74756e6c320000ULL

/* The one entry of tunnel_config. All zero: not configured, nothing passes. */
struct tunnel_config {
	__be32 node;        /* this node's address: outer source on the way out, outer destination on the way in */
	__u32 tunnel;       /* index of tunl0 */
	__u8 tunnel_mac[6]; /* MAC of tunl0; frames to any other are not for this host */
	__u8 unused[2];
};

/*
 * Key of tunnel_prefixes and tunnel_senders, as BPF_MAP_TYPE_LPM_TRIE wants it. The value of the first is the node's
 * address; of the second it says nothing.
 */
struct tunnel_prefix {
	__u32 length;
	__be32 address;
};

/* Value of tunnel_links, whose key is a link's index; bits of what the agent knows of the link. */
#define TUNNEL_LINK_STRICT 1 /* rp_filter 1: only what the route back to its sender leaves by comes in */
#define TUNNEL_LINK_QDISC 2  /* the agent's own memory: it made the link's clsact */

#endif
