/* SPDX-License-Identifier: Apache-2.0 */
/* gate_frames.c: what the gate's program decides, frame by frame, in the kernel (BPF_PROG_TEST_RUN).
 *
 * A table of frames by states of the VIP's entry and its group's row.  For each pair: the verdict, the frame as it leaves, and which count
 * went up; then the same for every length to which the frame can be cut.  Needs root; makes itself a network namespace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <cmocka.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/auto.h"
#include "agent/base/mono.h"
#include "netlink/gate.h"

#define US "00005e005301"
#define SUCCESSOR "00005e005302"
#define CLIENT "00005e005303"
#define THIRD "00005e005304"
#define ALL "ffffffffffff"
#define ALL_NODES "333300000001"
#define SOLICITED "3333ff0000c8"

#define VIP4 "c00002c8" /* 192.0.2.200 */
#define CLIENT4 "c0000232"
#define OTHER4 "c00002c9"
#define OWN4 "c000020b"
#define VIP6 "20010db80000000000000000000000c8"
#define CLIENT6 "20010db8000000000000000000000050"
#define OTHER6 "20010db80000000000000000000000c9"
#define OWN6 "fe800000000000000200005efe005301"
#define NONE6 "00000000000000000000000000000000"
#define MULTI6 "ff0200000000000000000001ff0000c8"
#define NODES6 "ff020000000000000000000000000001"

/* op, sender's address, target's address */
#define ARP_OF(hw, hlen, op, spa, tpa) "0806" hw "0800" hlen "04" op CLIENT spa "000000000000" tpa
#define ARP(op, spa, tpa) ARP_OF("0001", "06", op, spa, tpa)
#define ASK "0001"
#define TELL "0002"
/* fragment field, addresses; UDP of 8 bytes */
#define V4(frag, saddr, daddr) "0800" "4500001c0000" frag "40110000" saddr daddr "1388138800080000"
#define V4_OPTIONS(saddr, daddr) "0800" "460000200000" "0000" "40110000" saddr daddr "01010101" "1388138800080000"
/* payload length, next header, hop limit, addresses, payload */
#define V6(len, next, hops, saddr, daddr, data) "86dd" "60000000" len next hops saddr daddr data
#define ND(type, code, target) type code "0000" "60000000" target "0101" CLIENT
#define NS(saddr, daddr, target) V6("0020", "3a", "ff", saddr, daddr, ND("87", "00", target))
#define NA(saddr, daddr, target) V6("0020", "3a", "ff", saddr, daddr, ND("88", "00", target))
#define NS_BEHIND(next, head, saddr, daddr) V6("0028", next, "ff", saddr, daddr, head ND("87", "00", VIP6))
#define UDP6(saddr, daddr) V6("0008", "11", "40", saddr, daddr, "1388138800080000")

/* States of the entry and its group, in the order of a row's verdicts. */
enum {
	ABSENT,	       /* no entry */
	SHUT,	       /* nothing allowed */
	OPEN,	       /* ARP and IP */
	EXPIRED,       /* as OPEN, until a moment ago */
	ELSEWHERE,     /* as OPEN, carried by another interface */
	IP_ALONE,      /* as a successor that does not announce yet */
	ARP_ALONE,     /* never on purpose */
	NOWHERE,       /* as OPEN, carried by none */
	REDIRECT,      /* nothing allowed, redirected */
	REDIRECT_OPEN, /* as OPEN, redirected all the same */
	REDIRECT_PAST, /* nothing allowed, redirected until a moment ago */
	MAY_NOTHING,   /* as OPEN, but the entry may not */
	MAY_IP,	       /* as OPEN, but the entry may not answer ARP */
	NO_GROUP,      /* as OPEN, but the entry names no group */
	OTHER_GROUP,   /* as OPEN, but another group than the entry's */
	STATES,
};

/* '.' passes, 'x' dropped, 'r' redirected, 'n' passes in the interface's own name; a letter for each state. */
#define PASSES "..............."
#define ARP_RULE ".x.xxx.xx.xxxxx"
#define ARP_RULE_UNICAST ".x.xxx.xrrxxxxx"
#define IP_RULE ".x.x..x.x.xx.xx"
#define IP_RULE_UNICAST ".x.x..x.rrxx.xx"
#define ARP_RULE_BACK ".x.xxx.xxxxxxxx" /* unicast, but from whom it would be redirected to */
#define IP_RULE_BACK ".x.x..x.xxxx.xx"
#define NAME_RULE ".x.xxn.xx.xxnxx"

enum { INGRESS, EGRESS };
enum { L3 = 14, ARP_END = L3 + 28, V4_END = L3 + 20, V6_END = L3 + 40, ND_END = V6_END + 24 };

static const struct row {
	const char *name, *frame, *want;
	int hook;
	enum gate_count count; /* of drops */
	unsigned int need;     /* bytes; a shorter frame passes */
	unsigned int nd_need;  /* ND: a shorter one is plain IP, of which is wanted: */
	const char *want_cut;
} rows[] = {
#define ARP_ROW(name, hook, frame, want) { name, frame, want, hook, GATE_COUNT_ARP, ARP_END, 0, NULL }
#define ARP_OUT(name, frame, want) { name, CLIENT US frame, want, EGRESS, GATE_COUNT_EGRESS, ARP_END, 0, NULL }
#define V4_ROW(name, frame, want) { name, frame, want, INGRESS, GATE_COUNT_IP, V4_END, 0, NULL }
#define V6_ROW(name, frame, want) { name, frame, want, INGRESS, GATE_COUNT_IP, V6_END, 0, NULL }
#define ND_ROW(name, frame, want, cut) { name, frame, want, INGRESS, GATE_COUNT_ARP, V6_END, ND_END, cut }
#define V4_OUT(name, frame, want) { name, CLIENT US frame, want, EGRESS, GATE_COUNT_EGRESS, V4_END, 0, NULL }
#define V6_OUT(name, frame, want) { name, CLIENT US frame, want, EGRESS, GATE_COUNT_EGRESS, V6_END, 0, NULL }
#define ND_OUT(name, frame, want, cut) { name, CLIENT US frame, want, EGRESS, GATE_COUNT_EGRESS, V6_END, ND_END, cut }
	/* ARP, ingress */
	ARP_ROW("request", INGRESS, ALL CLIENT ARP(ASK, CLIENT4, VIP4), ARP_RULE),
	ARP_ROW("request to us", INGRESS, US CLIENT ARP(ASK, CLIENT4, VIP4), ARP_RULE_UNICAST),
	ARP_ROW("request to another MAC", INGRESS, THIRD CLIENT ARP(ASK, CLIENT4, VIP4), ARP_RULE),
	ARP_ROW("probe", INGRESS, ALL CLIENT ARP(ASK, "00000000", VIP4), ARP_RULE),
	ARP_ROW("request, IEEE 802", INGRESS, ALL CLIENT ARP_OF("0006", "06", ASK, CLIENT4, VIP4), ARP_RULE),
	ARP_ROW("gratuitous request", INGRESS, ALL CLIENT ARP(ASK, VIP4, VIP4), PASSES),
	ARP_ROW("gratuitous reply", INGRESS, ALL CLIENT ARP(TELL, VIP4, VIP4), PASSES),
	ARP_ROW("reply of the VIP", INGRESS, US CLIENT ARP(TELL, VIP4, OTHER4), PASSES),
	ARP_ROW("reply to the VIP", INGRESS, US CLIENT ARP(TELL, CLIENT4, VIP4), PASSES),
	ARP_ROW("request from the VIP", INGRESS, ALL CLIENT ARP(ASK, VIP4, OTHER4), PASSES),
	ARP_ROW("request for another", INGRESS, ALL CLIENT ARP(ASK, CLIENT4, OTHER4), PASSES),
	ARP_ROW("request, other hardware", INGRESS, ALL CLIENT ARP_OF("0018", "06", ASK, CLIENT4, VIP4), PASSES),
	ARP_ROW("request, long addresses", INGRESS, ALL CLIENT ARP_OF("0001", "08", ASK, CLIENT4, VIP4), PASSES),
	{ "request from the successor", US SUCCESSOR ARP(ASK, OTHER4, VIP4), ARP_RULE_BACK, INGRESS, GATE_COUNT_N, ARP_END,
	  0, NULL },
	/* IPv4, ingress */
	V4_ROW("IPv4", US CLIENT V4("0000", CLIENT4, VIP4), IP_RULE_UNICAST),
	V4_ROW("IPv4, first fragment", US CLIENT V4("2000", CLIENT4, VIP4), IP_RULE_UNICAST),
	V4_ROW("IPv4, later fragment", US CLIENT V4("0010", CLIENT4, VIP4), IP_RULE_UNICAST),
	V4_ROW("IPv4, options", US CLIENT V4_OPTIONS(CLIENT4, VIP4), IP_RULE_UNICAST),
	V4_ROW("IPv4 to all", ALL CLIENT V4("0000", CLIENT4, VIP4), IP_RULE),
	V4_ROW("IPv4 to many", "01005e000001" CLIENT V4("0000", CLIENT4, VIP4), IP_RULE),
	V4_ROW("IPv4 to another MAC", THIRD CLIENT V4("0000", CLIENT4, VIP4), IP_RULE),
	V4_ROW("IPv4 from the successor", US SUCCESSOR V4("0000", CLIENT4, VIP4), IP_RULE_BACK),
	V4_ROW("IPv4 from the VIP", US CLIENT V4("0000", VIP4, CLIENT4), PASSES),
	V4_ROW("IPv4 to another", US CLIENT V4("0000", CLIENT4, OTHER4), PASSES),
	/* ND, ingress */
	ND_ROW("NS", SOLICITED CLIENT NS(CLIENT6, MULTI6, VIP6), ARP_RULE, PASSES),
	ND_ROW("NS to us", US CLIENT NS(CLIENT6, VIP6, VIP6), ARP_RULE_UNICAST, IP_RULE_UNICAST),
	ND_ROW("NS to another MAC", THIRD CLIENT NS(CLIENT6, VIP6, VIP6), ARP_RULE, IP_RULE),
	ND_ROW("NS for detection", SOLICITED CLIENT NS(NONE6, MULTI6, VIP6), ARP_RULE, PASSES),
	ND_ROW("NS for another", SOLICITED CLIENT NS(CLIENT6, MULTI6, OTHER6), PASSES, PASSES),
	ND_ROW("NS from the VIP", SOLICITED CLIENT NS(VIP6, MULTI6, OTHER6), PASSES, PASSES),
	ND_ROW("NA of the VIP", ALL_NODES CLIENT NA(VIP6, NODES6, VIP6), PASSES, PASSES),
	ND_ROW("NA of the VIP to us", US CLIENT NA(VIP6, OTHER6, VIP6), PASSES, PASSES),
	ND_ROW("NA to the VIP", US CLIENT NA(CLIENT6, VIP6, CLIENT6), PASSES, IP_RULE_UNICAST),
	/* IPv6, ingress; among it what the kernel does not take for ND */
	V6_ROW("IPv6", US CLIENT UDP6(CLIENT6, VIP6), IP_RULE_UNICAST),
	V6_ROW("IPv6 to all", ALL CLIENT UDP6(CLIENT6, VIP6), IP_RULE),
	V6_ROW("IPv6 to many", ALL_NODES CLIENT UDP6(CLIENT6, VIP6), IP_RULE),
	V6_ROW("IPv6 to another MAC", THIRD CLIENT UDP6(CLIENT6, VIP6), IP_RULE),
	V6_ROW("IPv6 from the successor", US SUCCESSOR UDP6(CLIENT6, VIP6), IP_RULE_BACK),
	V6_ROW("IPv6 from the VIP", US CLIENT UDP6(VIP6, CLIENT6), PASSES),
	V6_ROW("IPv6 to another", US CLIENT UDP6(CLIENT6, OTHER6), PASSES),
	V6_ROW("IPv6 fragment", US CLIENT V6("0010", "2c", "40", CLIENT6, VIP6, "1100000100000001" "0000000000000000"),
	       IP_RULE_UNICAST),
	V6_ROW("echo request", US CLIENT V6("0008", "3a", "40", CLIENT6, VIP6, "8000000000010001"), IP_RULE_UNICAST),
	V6_ROW("NS for another to the VIP", US CLIENT NS(CLIENT6, VIP6, OTHER6), IP_RULE_UNICAST),
	V6_ROW("NS, hop limit 64", US CLIENT V6("0020", "3a", "40", CLIENT6, VIP6, ND("87", "00", VIP6)), IP_RULE_UNICAST),
	V6_ROW("NS, code 1", US CLIENT V6("0020", "3a", "ff", CLIENT6, VIP6, ND("87", "01", VIP6)), IP_RULE_UNICAST),
	V6_ROW("NS behind hop-by-hop", US CLIENT NS_BEHIND("00", "3a00010400000000", CLIENT6, VIP6), IP_RULE_UNICAST),
	V6_ROW("NS to many behind hop-by-hop", SOLICITED CLIENT NS_BEHIND("00", "3a00010400000000", CLIENT6, MULTI6),
	       PASSES),
	/* neither */
	{ "another protocol", US CLIENT "88cc" VIP4 VIP6 VIP4 VIP6, PASSES, INGRESS, GATE_COUNT_N, L3, 0, NULL },
	{ "another protocol out", CLIENT US "88cc" VIP4 VIP6 VIP4 VIP6, PASSES, EGRESS, GATE_COUNT_N, L3, 0, NULL },
	/* egress */
	ARP_OUT("request from the VIP out", ARP(ASK, VIP4, CLIENT4), NAME_RULE),
	ARP_OUT("reply of the VIP out", ARP(TELL, VIP4, CLIENT4), ARP_RULE),
	ARP_OUT("gratuitous request out", ARP(ASK, VIP4, VIP4), ARP_RULE),
	ARP_OUT("gratuitous reply out", ARP(TELL, VIP4, VIP4), ARP_RULE),
	ARP_OUT("request for the VIP out", ARP(ASK, OTHER4, VIP4), PASSES),
	ARP_OUT("probe out", ARP(ASK, "00000000", VIP4), PASSES),
	ARP_OUT("reply to the VIP out", ARP(TELL, OTHER4, VIP4), PASSES),
	V4_OUT("IPv4 from the VIP out", V4("0000", VIP4, CLIENT4), IP_RULE),
	V4_OUT("IPv4 fragment from the VIP out", V4("0010", VIP4, CLIENT4), IP_RULE),
	V4_OUT("IPv4 to the VIP out", V4("0000", CLIENT4, VIP4), PASSES),
	V4_OUT("IPv4 from another out", V4("0000", OTHER4, CLIENT4), PASSES),
	ND_OUT("NA of the VIP out", NA(VIP6, CLIENT6, VIP6), ARP_RULE, IP_RULE),
	ND_OUT("NA of the VIP from another out", NA(OTHER6, NODES6, VIP6), ARP_RULE, PASSES),
	ND_OUT("NA of another from the VIP out", NA(VIP6, CLIENT6, OTHER6), IP_RULE, IP_RULE),
	ND_OUT("NS from the VIP out", NS(VIP6, MULTI6, CLIENT6), NAME_RULE, IP_RULE),
	ND_OUT("NS for the VIP out", NS(OTHER6, MULTI6, VIP6), PASSES, PASSES),
	ND_OUT("NS for detection out", NS(NONE6, MULTI6, VIP6), PASSES, PASSES),
	V6_OUT("IPv6 from the VIP out", UDP6(VIP6, CLIENT6), IP_RULE),
	V6_OUT("IPv6 to the VIP out", UDP6(CLIENT6, VIP6), PASSES),
	V6_OUT("IPv6 from another out", UDP6(OTHER6, CLIENT6), PASSES),
};

#define FRAME_MAX 256
#define GROUP 7 /* of the entry */

static struct {
	struct bpf_object *object;
	int programs[2], vips, groups, counts, n_cpus;
	uint32_t ifindex;
	uint32_t first; /* interface of the entry, which carries the VIP on ifindex as a further one, by also[slot]; 0: as its only one */
	size_t slot;
} kernel;

static size_t bytes(const char *text, uint8_t *ret)
{
	size_t n = strlen(text) / 2;

	assert_true(strlen(text) % 2 == 0 && n <= FRAME_MAX);
	for (size_t i = 0; i < n; i++) {
		char two[3] = { text[2 * i], text[2 * i + 1], '\0' };

		ret[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return n;
}

static bool is_open(int state)
{
	return state == OPEN || state == EXPIRED || state == ELSEWHERE || state == NOWHERE || state == REDIRECT_OPEN ||
	       state >= MAY_NOTHING;
}

static void set_group(uint32_t group, uint64_t arp_until, uint64_t ip_until)
{
	const struct gate_group row = { arp_until, ip_until };

	assert_int_equal(bpf_map_update_elem(kernel.groups, &group, &row, BPF_ANY), 0);
}

/* The rows beside the group's own are the opposite of it. */
static void set_groups(int state)
{
	const uint64_t now = (uint64_t)mono_now().ns, until = state == EXPIRED ? now : UINT64_MAX;
	const bool open = is_open(state) && state != OTHER_GROUP;

	set_group(GROUP, open || state == ARP_ALONE ? until : 0, open || state == IP_ALONE ? until : 0);
	set_group(GROUP - 1, open ? 0 : UINT64_MAX, open ? 0 : UINT64_MAX);
	set_group(GROUP + 1, open ? 0 : UINT64_MAX, open ? 0 : UINT64_MAX);
}

static void set_vip(const char *key_text, int state)
{
	const uint64_t now = (uint64_t)mono_now().ns, later = now + UINT64_C(3600000000000);
	struct gate_entry e = { .ifindex = kernel.ifindex, .group = state == NO_GROUP ? GATE_GROUP_NONE : GROUP,
				.may = state == MAY_NOTHING ? 0 : state == MAY_IP ? GATE_MAY_IP : GATE_MAY_ARP | GATE_MAY_IP };
	uint8_t key[FRAME_MAX];

	bytes(key_text, key);
	if (state == ABSENT) {
		IGNORE(bpf_map_delete_elem(kernel.vips, key)); /* it may not be there */
		return;
	}
	if (state == ELSEWHERE)
		e.ifindex++;
	if (state == NOWHERE)
		e.ifindex = 0;
	if (kernel.first) {
		e.also[kernel.slot] = e.ifindex;
		e.ifindex = kernel.first;
	}
	e.redirect_until = state == REDIRECT_PAST ? now : state == REDIRECT || state == REDIRECT_OPEN ? later : 0;
	bytes(SUCCESSOR, e.redirect_mac);
	bytes(US, e.own_mac);
	bytes(strncmp(key_text, "0000", 4) == 0 ? OWN4 : OWN6, e.own_addr);
	assert_int_equal(bpf_map_update_elem(kernel.vips, key, &e, BPF_ANY), 0);
}

static void set_state(int state)
{
	set_groups(state);
	set_vip("00000000000000000000ffff" VIP4, state);
	set_vip(VIP6, state);
}

static void read_counts(uint64_t ret[static GATE_COUNT_N])
{
	uint64_t each[4096];

	assert_true((size_t)kernel.n_cpus <= ARRAY_LEN(each));
	for (uint32_t i = 0; i < GATE_COUNT_N; i++) {
		assert_int_equal(bpf_map_lookup_elem(kernel.counts, &i, each), 0);
		ret[i] = 0;
		for (int cpu = 0; cpu < kernel.n_cpus; cpu++)
			ret[i] += each[cpu];
	}
}

/* What an ARP request or NS in the VIP's name becomes; own: its new sender's address, text. */
static void rename_sender(uint8_t *frame, const char *own)
{
	enum { SPA_AT = L3 + 14, SADDR_AT = L3 + 8, SUM_AT = V6_END + 2 };
	bool arp = frame[12] == 0x08 && frame[13] == 0x06;
	uint8_t *addr = &frame[arp ? SPA_AT : SADDR_AT];
	uint32_t sum = (uint16_t)~(frame[SUM_AT] << 8 | frame[SUM_AT + 1]);

	for (int i = 0; i < 16; i += 2) /* RFC 1624, equation 3 */
		sum += (uint16_t)~(addr[i] << 8 | addr[i + 1]);
	bytes(own, addr);
	if (arp)
		return;
	for (int i = 0; i < 16; i += 2)
		sum += (uint32_t)(addr[i] << 8 | addr[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	frame[SUM_AT] = (uint8_t)(~sum >> 8);
	frame[SUM_AT + 1] = (uint8_t)~sum;
}

/* The frame's first 'len' bytes, and what becomes of them. */
static void try_frame(const struct row *row, const uint8_t *frame, uint32_t len, int state, char want)
{
	struct __sk_buff ctx = { .ifindex = kernel.ifindex };
	uint8_t out[FRAME_MAX], expected[FRAME_MAX];
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));
	const int verdict = want == 'x' ? TC_ACT_SHOT : want == 'r' ? TC_ACT_REDIRECT : TC_ACT_UNSPEC;
	uint64_t before[GATE_COUNT_N], after[GATE_COUNT_N];
	int r;

	memcpy(expected, frame, len);
	if (want == 'r')
		bytes(SUCCESSOR US, expected);
	if (want == 'n')
		rename_sender(expected, row->need == ARP_END ? OWN4 : OWN6);
	read_counts(before);
	r = bpf_prog_test_run_opts(kernel.programs[row->hook], &opts);
	read_counts(after);
	if (r == -EINVAL && len < row->need) /* recent kernels do not even run it: too short for its IP header */
		return;
	if (r < 0 || (int)opts.retval != verdict)
		fail_msg("%s, %u bytes, state %d: verdict %d where %d is right (%d)", row->name, len, state,
			 (int)opts.retval, verdict, r);
	if (opts.data_size_out != len || memcmp(out, expected, len) != 0)
		fail_msg("%s, %u bytes, state %d: the frame is not as it must be", row->name, len, state);
	for (int i = 0; i < GATE_COUNT_N; i++) {
		const bool counted = want == 'r' ? i == GATE_COUNT_REDIRECT : want == 'x' && i == (int)row->count;

		/* One row's drops are of two kinds; there the sum counts. */
		if (row->count != GATE_COUNT_N && after[i] - before[i] != counted)
			fail_msg("%s, %u bytes, state %d: count %d went up by %d", row->name, len, state, i,
				 (int)(after[i] - before[i]));
	}
}

static void test_whole_frames(void **state)
{
	uint8_t frame[FRAME_MAX];

	(void)state;
	for (int s = 0; s < STATES; s++) {
		set_state(s);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			assert_int_equal(strlen(rows[i].want), STATES);
			try_frame(&rows[i], frame, (uint32_t)bytes(rows[i].frame, frame), s, rows[i].want[s]);
		}
	}
}

/* Each of several interfaces that carry the VIP is as good as one alone; but in the own name it asks on the first only. */
static void test_further_interfaces(void **state)
{
	uint8_t frame[FRAME_MAX];

	(void)state;
	kernel.first = kernel.ifindex + 7;
	for (int s = 0; s < STATES; s++) {
		for (kernel.slot = 0; kernel.slot < GATE_ALSO_MAX; kernel.slot++) {
			set_state(s);
			for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
				const char want = rows[i].want[s];

				try_frame(&rows[i], frame, (uint32_t)bytes(rows[i].frame, frame), s, want == 'n' ? 'x' : want);
			}
		}
	}
	kernel.first = 0;
}

/* A frame of a bare Ethernet header BPF_PROG_TEST_RUN refuses (convert___skb_to_skb()). */
static void test_cut_frames(void **state)
{
	uint8_t frame[FRAME_MAX];

	(void)state;
	for (int s = 0; s < STATES; s++) {
		set_state(s);
		for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
			const struct row *row = &rows[i];
			size_t whole = bytes(row->frame, frame);

			for (uint32_t len = L3 + 1; len < whole; len++) {
				struct row cut = *row;
				char want = row->want[s];

				if (len < row->need)
					want = '.';
				else if (len < row->nd_need)
					want = row->want_cut[s];
				if (row->hook == INGRESS && len < row->nd_need)
					cut.count = GATE_COUNT_IP;
				try_frame(&cut, frame, len, s, want);
			}
		}
	}
}

/* Without an address of its own the interface asks in nobody's name, or (IPv6) not at all. */
static void test_nameless(void **state)
{
	static const struct {
		const char *key, *frame;
		bool passes;
	} cases[] = {
		{ "00000000000000000000ffff" VIP4, CLIENT US ARP(ASK, VIP4, CLIENT4), true },
		{ VIP6, CLIENT US NS(VIP6, MULTI6, CLIENT6), false },
	};

	(void)state;
	set_groups(IP_ALONE);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		const struct gate_entry e = { .ifindex = kernel.ifindex, .group = GROUP, .may = GATE_MAY_ARP | GATE_MAY_IP };
		struct __sk_buff ctx = { .ifindex = kernel.ifindex };
		uint8_t key[FRAME_MAX], frame[FRAME_MAX], out[FRAME_MAX];
		size_t len = bytes(cases[i].frame, frame);
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = (uint32_t)len, .data_out = out,
			    .data_size_out = sizeof(out), .ctx_in = &ctx, .ctx_size_in = sizeof(ctx));

		bytes(cases[i].key, key);
		assert_int_equal(bpf_map_update_elem(kernel.vips, key, &e, BPF_ANY), 0);
		assert_int_equal(bpf_prog_test_run_opts(kernel.programs[EGRESS], &opts), 0);
		assert_int_equal((int)opts.retval, cases[i].passes ? TC_ACT_UNSPEC : TC_ACT_SHOT);
		if (cases[i].passes)
			rename_sender(frame, "00000000");
		assert_memory_equal(out, frame, len);
	}
}

/* The agent's structures are what the program was compiled with. */
static void test_map(void **state)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);

	(void)state;
	assert_int_equal(bpf_obj_get_info_by_fd(kernel.vips, &info, &len), 0);
	assert_int_equal(info.key_size, sizeof(struct gate_key));
	assert_int_equal(info.value_size, sizeof(struct gate_entry));
	assert_int_equal(info.max_entries, GATE_VIPS_MAX);
	assert_int_equal(info.map_flags & BPF_F_NO_PREALLOC, BPF_F_NO_PREALLOC);
	assert_int_equal(bpf_obj_get_info_by_fd(kernel.groups, &info, &len), 0);
	assert_int_equal(info.type, BPF_MAP_TYPE_ARRAY);
	assert_int_equal(info.value_size, sizeof(struct gate_group));
	assert_int_equal(info.max_entries, GATE_GROUPS_MAX);
}

static int set_up(void **state)
{
	(void)state;
	if (unshare(CLONE_NEWNET) < 0 ||
	    system("ip link add name gate0 address 00:00:5e:00:53:01 type veth peer name gate1") != 0) {
		print_error("no network namespace, or no veth devices\n");
		return -1;
	}
	kernel.ifindex = if_nametoindex("gate0");
	kernel.object = bpf_object__open_file(GATE_OBJECT, NULL);
	if (!kernel.object || bpf_object__load(kernel.object) < 0)
		return -1;
	kernel.programs[INGRESS] = bpf_program__fd(bpf_object__find_program_by_name(kernel.object, "gate_ingress"));
	kernel.programs[EGRESS] = bpf_program__fd(bpf_object__find_program_by_name(kernel.object, "gate_egress"));
	kernel.vips = bpf_object__find_map_fd_by_name(kernel.object, "gate_vips");
	kernel.groups = bpf_object__find_map_fd_by_name(kernel.object, "gate_groups");
	kernel.counts = bpf_object__find_map_fd_by_name(kernel.object, "gate_counts");
	kernel.n_cpus = libbpf_num_possible_cpus();
	return kernel.ifindex && kernel.vips >= 0 && kernel.groups >= 0 && kernel.counts >= 0 && kernel.n_cpus > 0 ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	bpf_object__close(kernel.object);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_whole_frames), cmocka_unit_test(test_further_interfaces),
		cmocka_unit_test(test_cut_frames),
		cmocka_unit_test(test_nameless),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
