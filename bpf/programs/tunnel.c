/* SPDX-License-Identifier: MIT OR GPL-2.0 */
/*
 * IP in IP (RFC 2003) without the kernel's ipip module.
 *
 * tunl0 is one end of a veth pair. What the node routes into tunl0 comes out of the other end, where encap gives
 * it the outer header and sends it wherever the node's routes lead; decap takes the outer header off at every link
 * that has none above it, and lets the inner packet arrive on tunl0. The bytes on the wire are those of the kernel's
 * device in its default mode (ttl inherit, tos 0, nopmtudisc), so either end may be either kind.
 *
 * The kernel refuses to make a tunnel of a packet that it knows as one: a pod's own VXLAN or GRE, and what decap or
 * receive offload left the mark on, hence all transit. Such packets go back through the pair, out of tunl0p, which has
 * no offloads: there the kernel cuts large ones and completes their checksums, and encap_again at tunl0 has to add
 * but bytes.
 *
 * Left to the network stack: outer packets in fragments or with options, which the agent's relay opens
 * (crates/dataplane/src/bpf/relay.rs), and those from unknown nodes.
 */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "tunnel.h"

/* Flags and offset of iphdr.frag_off (RFC 791 §3.1). */
#define IP_DF 0x4000
#define IP_MF 0x2000
#define IP_OFFSET 0x1fff

#define AF_INET 2
/* Index of the loopback link, the first of every network namespace. */
#define LOOPBACK 1

/* Version 4 and a header of five words: no options. */
#define IP_PLAIN 0x45

/* Congestion bits of iphdr.tos (RFC 3168 §5). */
#define ECN_MASK 3
#define ECN_NOT_ECT 0
#define ECN_ECT_0 2
#define ECN_CE 3

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tunnel_config);
} tunnel_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, TUNNEL_MAX_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tunnel_prefix);
	__type(value, __be32);
} tunnel_prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, TUNNEL_MAX_SENDERS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct tunnel_prefix);
	__type(value, __u8);
} tunnel_senders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, TUNNEL_MAX_LINKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} tunnel_links SEC(".maps");

/* Next identification for a packet that routers may fragment. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} tunnel_ident SEC(".maps");

static __always_inline const struct tunnel_config *config(void)
{
	__u32 only = 0;
	const struct tunnel_config *found = bpf_map_lookup_elem(&tunnel_config, &only);

	return found && found->tunnel ? found : NULL;
}

/* One's complement sum of a plain header, folded: 0xffff if its checksum is right (RFC 1071). */
static __always_inline __u16 header_sum(const struct iphdr *header)
{
	const __u16 *words = (const void *)header;
	__u32 sum = 0;

#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

/*
 * Never zero. Receivers reassemble by identification, so packets that may be fragmented count (RFC 6864 §4.3);
 * for the others any value will do, and a random one costs no shared cache line.
 */
static __always_inline __u16 identification(bool fragmentable, __u32 segments)
{
	__u32 only = 0;
	__u32 *next = bpf_map_lookup_elem(&tunnel_ident, &only);
	__u16 id;

	if (!segments)
		segments = 1;
	if (!fragmentable || !next)
		return bpf_get_prandom_u32() % 0xffff + 1;
	id = __sync_fetch_and_add(next, segments);
	return id ? id : __sync_fetch_and_add(next, segments);
}

/* RFC 6040 §4.1, compatibility mode, as INET_ECN_encapsulate does it: congestion met inside stays inside. */
static __always_inline __u8 outer_tos(__u8 inner)
{
	__u8 ecn = inner & ECN_MASK;

	return ecn == ECN_CE ? ECN_ECT_0 : ecn;
}

/* Makes the outer header for an inner packet; false if no node has its destination. */
static __always_inline bool outer_header(const struct __sk_buff *skb, const struct tunnel_config *own,
					 struct iphdr *outer)
{
	struct tunnel_prefix key = { .length = 32 };
	struct iphdr inner;
	const __be32 *node;
	__u32 length;

	if (bpf_skb_load_bytes(skb, ETH_HLEN, &inner, sizeof(inner)) < 0)
		return false;
	key.address = inner.daddr;
	node = bpf_map_lookup_elem(&tunnel_prefixes, &key);
	if (!node)
		return false;

	/* The kernel writes 0 where a packet that will be segmented is longer than the field can say. */
	length = skb->len - ETH_HLEN + sizeof(*outer);
	outer->version = 4;
	outer->ihl = sizeof(*outer) / 4;
	outer->tos = outer_tos(inner.tos);
	outer->tot_len = length <= 0xffff ? bpf_htons(length) : 0;
	outer->frag_off = inner.frag_off & bpf_htons(IP_DF);
	outer->id = bpf_htons(identification(!outer->frag_off, skb->gso_segs));
	outer->ttl = inner.ttl;
	outer->protocol = IPPROTO_IPIP;
	outer->saddr = own->node;
	outer->daddr = *node;
	outer->check = ~header_sum(outer);
	return true;
}

/*
 * Asks for the route that an outer packet takes, as the kernel's ipip does with every packet: all tables and rules,
 * whichever link they lead to. What the kernel knows of neighbours and the link's MTU is another's business.
 */
static __always_inline bool find_route(struct __sk_buff *skb, __be32 from, __be32 to, struct bpf_fib_lookup *path)
{
	long found;

	path->family = AF_INET;
	path->l4_protocol = IPPROTO_IPIP;
	/* What the node sends itself comes in by the loopback, to rules. */
	path->ifindex = LOOPBACK;
	path->ipv4_src = from;
	path->ipv4_dst = to;
	found = bpf_fib_lookup(skb, path, sizeof(*path), 0);
	return found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH ||
	       found == BPF_FIB_LKUP_RET_FRAG_NEEDED;
}

/* Sends an inner packet, before which room has been made, on its way between nodes. */
static __always_inline int send_outer(struct __sk_buff *skb, const struct tunnel_config *own,
				      const struct iphdr *outer)
{
	struct bpf_fib_lookup path = {};
	struct bpf_redir_neigh next = {};

	if (bpf_skb_store_bytes(skb, ETH_HLEN, outer, sizeof(*outer), 0) < 0)
		return TC_ACT_SHOT;
	/* A route to a node that leads into the tunnel would never end. */
	if (!find_route(skb, outer->saddr, outer->daddr, &path) || path.ifindex == own->tunnel)
		return TC_ACT_SHOT;
	/* An IPv4 route may have an IPv6 gateway. */
	next.nh_family = path.family;
	__builtin_memcpy(next.ipv6_nh, path.ipv6_dst, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(path.ifindex, &next, sizeof(next), 0);
}

/* At the ingress of tunl0p: what the node sent into tunl0. */
SEC("classifier/encap")
int tunnel_encap(struct __sk_buff *skb)
{
	const __u64 again = bpf_cpu_to_be64(TUNNEL_AGAIN_MAC);
	const struct tunnel_config *own = config();
	struct iphdr outer = {};

	if (!own || skb->protocol != bpf_htons(ETH_P_IP) || !outer_header(skb, own, &outer))
		return TC_ACT_SHOT;
	/*
	 * FIXED_GSO: the segments' size already allows for the outer header, because tunl0's MTU does. Without it
	 * the kernel takes the 20 bytes off again and every segment comes out short.
	 */
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 | BPF_F_ADJ_ROOM_FIXED_GSO) == 0)
		return send_outer(skb, own, &outer);
	/* EALREADY: it is a tunnel's packet. ENOTSUPP: segments of a kind that the kernel lets nobody put in one. */
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), &again, ETH_ALEN, 0) < 0)
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, 0);
}

/* At the ingress of tunl0: what encap sent back, among everything that decap lets arrive. */
SEC("classifier/encap_again")
int tunnel_encap_again(struct __sk_buff *skb)
{
	const __u64 again = bpf_cpu_to_be64(TUNNEL_AGAIN_MAC);
	const struct tunnel_config *own;
	struct iphdr outer = {};
	__u64 to = 0;

	if (bpf_skb_load_bytes(skb, offsetof(struct ethhdr, h_dest), &to, ETH_ALEN) < 0 || to != again)
		return TC_ACT_UNSPEC;
	own = config();
	/* Without a tunnel's mark nothing can cut it any more: tunl0p has its offloads back until the agent looks. */
	if (!own || skb->gso_size || skb->protocol != bpf_htons(ETH_P_IP) || !outer_header(skb, own, &outer))
		return TC_ACT_SHOT;
	if (bpf_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) < 0)
		return TC_ACT_SHOT;
	/* For whom it is was said by an address that no device has. */
	bpf_skb_change_type(skb, PACKET_HOST);
	return send_outer(skb, own, &outer);
}

/* Whether the outer packet is one that decap can open by itself. */
static __always_inline bool is_plain(const struct __sk_buff *skb, const struct iphdr *outer)
{
	return *(const __u8 *)outer == IP_PLAIN && !(outer->frag_off & bpf_htons(IP_MF | IP_OFFSET)) &&
	       bpf_ntohs(outer->tot_len) + ETH_HLEN <= skb->len && header_sum(outer) == 0xffff;
}

/*
 * Carries congestion met between the nodes over to the inner packet (RFC 6040 §4.2). False if the sender does
 * not understand the mark: then loss is the only signal left, and the packet must be dropped.
 */
static __always_inline bool carry_congestion(struct __sk_buff *skb, __u8 outer)
{
	const __u32 at = ETH_HLEN + sizeof(struct iphdr);
	struct iphdr inner;
	__u16 old, marked;

	if ((outer & ECN_MASK) != ECN_CE)
		return true;
	if (bpf_skb_load_bytes(skb, at, &inner, sizeof(inner)) < 0)
		return false;
	switch (inner.tos & ECN_MASK) {
	case ECN_NOT_ECT:
		return false;
	case ECN_CE:
		return true;
	}
	old = *(const __u16 *)&inner;
	inner.tos |= ECN_CE;
	marked = *(const __u16 *)&inner;
	return bpf_l3_csum_replace(skb, at + offsetof(struct iphdr, check), old, marked, 2) == 0 &&
	       bpf_skb_store_bytes(skb, at + offsetof(struct iphdr, tos), &inner.tos, 1, 0) == 0;
}

/*
 * Whether an outer packet may come in by the link it came in by. Where the kernel's reverse path filter is strict
 * (RFC 3704 §2.2) it would drop what comes another way than answers go, had it seen the packet.
 */
static __always_inline bool comes_the_right_way(struct __sk_buff *skb, const struct iphdr *outer)
{
	__u32 link = skb->ifindex;
	const __u32 *known = bpf_map_lookup_elem(&tunnel_links, &link);
	struct bpf_fib_lookup back = {};

	if (!known)
		return false;
	if (!(*known & TUNNEL_LINK_STRICT))
		return true;
	return find_route(skb, outer->daddr, outer->saddr, &back) && back.ifindex == link;
}

/* At the ingress of a link: tunnelled packets among everything else that arrives. */
SEC("classifier/decap")
int tunnel_decap(struct __sk_buff *skb)
{
	struct tunnel_prefix sender = { .length = 32 };
	const struct tunnel_config *own;
	struct iphdr outer;

	/* A VLAN's packets belong to the VLAN's own link, and other hosts' to them. */
	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present || skb->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)) < 0 || outer.protocol != IPPROTO_IPIP)
		return TC_ACT_UNSPEC;
	own = config();
	if (!own || outer.daddr != own->node || !is_plain(skb, &outer))
		return TC_ACT_UNSPEC;
	/*
	 * Netfilter never sees the outer packet: this is the only guard against forged ones. What claims to be from
	 * this node cannot be, whatever prefix has it.
	 */
	sender.address = outer.saddr;
	if (outer.saddr == own->node || !bpf_map_lookup_elem(&tunnel_senders, &sender))
		return TC_ACT_UNSPEC;
	if (!comes_the_right_way(skb, &outer))
		return TC_ACT_UNSPEC;

	if (!carry_congestion(skb, outer.tos))
		return TC_ACT_SHOT;
	/* Without DECAP_L3_IPV4: 6.1 loses every packet with it, and IPv4 in IPv4 does not need it. */
	if (bpf_skb_adjust_room(skb, -(int)sizeof(outer), BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_FIXED_GSO) < 0)
		return TC_ACT_SHOT;
	if (bpf_skb_store_bytes(skb, offsetof(struct ethhdr, h_dest), own->tunnel_mac, ETH_ALEN, 0) < 0)
		return TC_ACT_SHOT;
	/* The hash was the nodes', the same for all their flows. */
	bpf_set_hash_invalid(skb);
	return bpf_redirect(own->tunnel, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Dual MIT/GPL";
