/* SPDX-License-Identifier: Apache-2.0 */
/* wire_filter.c: addresses to classic BPF: fixed checks, then a binary search among runs of addresses. */
#include "netlink/wire_filter.h"

#include <assert.h>
#include <linux/if_arp.h>
#include <linux/if_packet.h>
#include <stdbool.h>
#include <string.h>

/* Bytes of the frame. */
#define ARP_KIND 14 /* Ethernet, IPv4 */
#define ARP_LENGTHS 18
#define ARP_SPA 28
#define ARP_TPA 38
#define IP6_NEXT 20
#define IP6_HOPS 21
#define IP6_SOURCE 22
#define ICMP_TYPE 54
#define ND_TARGET 62

#define NEXT_ICMPV6 58
#define ND_SOLICITATION 135
#define ND_ADVERTISEMENT 136

struct range {
	uint32_t lo, hi;
};

/* Addresses that share all but the last 32 bits. */
struct prefix {
	uint32_t words[3]; /* zero for IPv4 */
	size_t first;	   /* of the ranges */
	size_t n;
};

struct ranges {
	struct range v[WIRE_FILTER_ROOM];
	size_t n;
	struct prefix prefixes[WIRE_FILTER_ROOM];
	size_t n_prefixes;
};

/* ---- runs of addresses ---- */

static uint32_t word(const struct ip *ip, unsigned int i)
{
	const uint8_t *b = ip->b + (size_t)i * 4;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint32_t last_word(const struct ip *ip)
{
	return word(ip, ip->family == IP_V6 ? 3 : 0);
}

static bool same_prefix(const struct ip *a, const struct ip *b)
{
	return a->family == IP_V4 || memcmp(a->b, b->b, 12) == 0;
}

/* The runs of a set, those no more than 'gap' apart taken as one.  False: there is no room for them, or for the prefixes. */
static bool find_ranges(const struct wire_set *set, size_t room, uint32_t gap, struct ranges *ret)
{
	ret->n = ret->n_prefixes = 0;
	for (size_t i = 0; i < set->n; i++) {
		const struct ip *ip = &set->v[i];
		bool same = i > 0 && same_prefix(ip, &set->v[i - 1]);
		size_t takes = 1 + (!same && ip->family == IP_V6 ? WIRE_FILTER_PREFIX : 0);
		uint32_t at = last_word(ip);

		if (same && at - ret->v[ret->n - 1].hi <= gap) {
			ret->v[ret->n - 1].hi = at;
			continue;
		}
		if (takes > room)
			return false;
		room -= takes;
		if (!same)
			ret->prefixes[ret->n_prefixes++] = (struct prefix){ { word(ip, 0), word(ip, 1), word(ip, 2) }, ret->n, 0 };
		ret->prefixes[ret->n_prefixes - 1].n++;
		ret->v[ret->n++] = (struct range){ at, at };
	}
	return true;
}

/* False: more prefixes than there is room for. */
static bool merge_ranges(const struct wire_set *set, size_t room, struct ranges *ret)
{
	for (uint32_t gap = 1; gap < UINT32_MAX; gap = gap * 2 + 1)
		if (find_ranges(set, room, gap, ret))
			return true;
	return find_ranges(set, room, UINT32_MAX, ret);
}

/* ---- programs ---- */

static void put(struct wire_filter *f, struct sock_filter insn)
{
	assert(f->n < BPF_MAXINSNS);
	f->code[f->n++] = insn;
}

static void load(struct wire_filter *f, unsigned int size, uint32_t at)
{
	put(f, (struct sock_filter)BPF_STMT((uint16_t)(BPF_LD | size | BPF_ABS), at));
}

/* What was loaded compares so, or else the frame is dropped. */
static void must(struct wire_filter *f, unsigned int op, uint32_t value)
{
	put(f, (struct sock_filter)BPF_JUMP((uint16_t)(BPF_JMP | op | BPF_K), value, 1, 0));
	put(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0));
}

static void drop(struct wire_filter *f)
{
	put(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0));
}

/* A jump to a place that is not known yet: conditional ones reach 255 instructions only. */
static unsigned short jump(struct wire_filter *f)
{
	put(f, (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, 0));
	return (unsigned short)(f->n - 1);
}

static void land(struct wire_filter *f, unsigned short from)
{
	f->code[from].k = f->n - from - 1u;
}

/* Passes on when what was loaded is 'value'; else goes where the returned jump lands. */
static unsigned short unless(struct wire_filter *f, uint32_t value)
{
	put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0));
	return jump(f);
}

/* A frame whose VLAN has no device here goes to its parent, with the tag taken off and marked as for another host. */
static void must_be_ours(struct wire_filter *f)
{
	load(f, BPF_W, (uint32_t)(SKF_AD_OFF + SKF_AD_HATYPE));
	must(f, BPF_JEQ, ARPHRD_ETHER);
	load(f, BPF_W, (uint32_t)(SKF_AD_OFF + SKF_AD_PKTTYPE));
	put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OTHERHOST, 0, 1));
	drop(f);
}

/* What was loaded decides: within one of the ranges or not. */
static void search(struct wire_filter *f, const struct range *v, size_t n)
{
	unsigned short right;

	if (n == 1) {
		put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, v->lo, 0, 2));
		put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, v->hi, 1, 0));
		put(f, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, WIRE_FILTER_FRAME));
		drop(f);
		return;
	}
	put(f, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, v[n / 2].lo, 0, 1));
	right = jump(f);
	search(f, v, n / 2);
	land(f, right);
	search(f, v + n / 2, n - n / 2);
}

/* One prefix: its words must match, else on to the next. */
static void search_prefix(struct wire_filter *f, const struct ranges *r, const struct prefix *p, uint32_t at)
{
	unsigned short next[3];

	for (unsigned int i = 0; i < 3; i++) {
		load(f, BPF_W, at + i * 4);
		next[i] = unless(f, p->words[i]);
	}
	load(f, BPF_W, at + 12);
	search(f, r->v + p->first, p->n);
	for (unsigned int i = 0; i < 3; i++)
		land(f, next[i]);
}

/* The address at 'at' decides; ends the program. */
static void finish(struct wire_filter *f, const struct wire_set *set, size_t room, uint32_t at)
{
	struct ranges r;
	bool fits = merge_ranges(set, room, &r);

	if (set->n == 0) {
		drop(f);
	} else if (set->v[0].family == IP_V4) {
		load(f, BPF_W, at);
		search(f, r.v, r.n);
	} else if (fits) {
		for (size_t i = 0; i < r.n_prefixes; i++)
			search_prefix(f, &r, &r.prefixes[i], at);
		drop(f);
	} else { /* by the first 32 bits alone, from the lowest to the highest */
		load(f, BPF_W, at);
		search(f, &(struct range){ word(&set->v[0], 0), word(&set->v[set->n - 1], 0) }, 1);
	}
}

void wire_filter_arp(const struct wire_set *vips, const struct wire_set *held, size_t room, struct wire_filter *ret)
{
	unsigned short claim;

	assert(room >= 1 && room <= WIRE_FILTER_ROOM);
	ret->n = 0;
	load(ret, BPF_W, ARP_KIND);
	must(ret, BPF_JEQ, 0x00010800);
	load(ret, BPF_H, ARP_LENGTHS);
	must(ret, BPF_JEQ, 0x0604);
	must_be_ours(ret);
	load(ret, BPF_W, ARP_SPA);
	claim = unless(ret, 0);
	finish(ret, held, room, ARP_TPA);
	land(ret, claim);
	finish(ret, vips, room, ARP_SPA);
}

void wire_filter_nd(const struct wire_set *vips, const struct wire_set *held, size_t room, struct wire_filter *ret)
{
	unsigned short other;

	assert(room >= 1 && room <= WIRE_FILTER_ROOM);
	ret->n = 0;
	load(ret, BPF_B, IP6_NEXT);
	must(ret, BPF_JEQ, NEXT_ICMPV6);
	load(ret, BPF_B, IP6_HOPS);
	must(ret, BPF_JEQ, 255);
	must_be_ours(ret);
	load(ret, BPF_B, ICMP_TYPE);
	other = unless(ret, ND_ADVERTISEMENT);
	finish(ret, vips, room, ND_TARGET);
	land(ret, other);
	must(ret, BPF_JEQ, ND_SOLICITATION);
	for (unsigned int i = 0; i < 4; i++) {
		load(ret, BPF_W, IP6_SOURCE + i * 4);
		must(ret, BPF_JEQ, 0);
	}
	finish(ret, held, room, ND_TARGET);
}
