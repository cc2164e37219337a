/* SPDX-License-Identifier: Apache-2.0 */
/* test_place.c: which interfaces carry a VIP, and why none does, as tables over one node's links. */
#include "agent/core/place.h"

#include "tests/unit/core/make.h"

#define LINK(i, n, ...) \
	{ .index = (i), .name = n, .ethernet = true, .up = true, .carrier = true, __VA_ARGS__ }
#define ADDR4(i, a, b, c, d, len, ...) { .index = (i), .ip = { IP_V4, { a, b, c, d } }, .prefix_len = (len), __VA_ARGS__ }
#define ADDR6(i, subnet, len, ...) \
	{ .index = (i), .ip = { IP_V6, { 0x20, 0x01, 0x0d, 0xb8, 0, subnet, [15] = 1 } }, .prefix_len = (len), __VA_ARGS__ }
#define LOCAL6(i) { .index = (i), .ip = { IP_V6, { 0xfe, 0x80, [15] = (i) } }, .prefix_len = 64 }

static const struct link links[] = {
	{ .index = 1, .name = "lo", .up = true, .carrier = true, .loopback = true },
	LINK(2, "eth0"),
	LINK(3, "eth1"),
	{ .index = 4, .name = "eth2", .ethernet = true },      /* down, which is no reason */
	LINK(5, "eth3"),				       /* a segment for VIPs alone: no subnet */
	LINK(6, "br0", .kind = LINK_BRIDGE),
	LINK(7, "port0", .master = 6, .port = true),
	{ .index = 8, .name = "wg0", .kind = LINK_OTHER, .up = true, .carrier = true },
	LINK(9, "docker0", .kind = LINK_BRIDGE),
	LINK(10, "red", .kind = LINK_VRF),
	LINK(11, "eth4", .master = 10),			       /* a VRF's slave */
	LINK(12, "bond0.7", .kind = LINK_VLAN),
	LINK(13, "twin0"),				       /* on br0's LAN */
	LINK(14, "lost", .master = 99, .port = true),	       /* of something in another namespace */
};

static const struct link_addr addrs[] = {
	ADDR4(1, 203, 0, 113, 1, 24),		      /* nobody's subnet on loopback */
	ADDR4(2, 192, 0, 2, 1, 24),
	LOCAL6(2),
	ADDR4(3, 203, 0, 113, 77, 32),		      /* a host prefix: no subnet */
	ADDR4(3, 198, 51, 100, 9, 25, .ours = true), /* a VIP of ours */
	ADDR4(3, 192, 0, 2, 129, 25),
	ADDR6(3, 1, 64),
	ADDR4(4, 198, 18, 0, 1, 17),
	ADDR4(5, 169, 254, 3, 4, 16), /* link-local */
	LOCAL6(5),
	ADDR4(6, 198, 51, 100, 1, 28),
	ADDR4(6, 198, 51, 100, 2, 28),
	ADDR4(7, 198, 51, 100, 65, 28), /* a mistake of the administrator's */
	ADDR4(8, 198, 51, 100, 97, 28),
	ADDR4(9, 198, 51, 100, 129, 28),
	ADDR4(11, 198, 51, 100, 161, 28),
	ADDR6(11, 2, 64),
	ADDR6(12, 2, 44),
	ADDR4(12, 198, 51, 100, 193, 27),
	ADDR4(13, 198, 51, 100, 3, 28),
};

static const struct link_state node = { links, ARRAY_LEN(links), addrs, ARRAY_LEN(addrs), 2, 3, false, 0 };

struct row {
	int line;
	const char *ip;
	const char *names[4], *excluded[3];
	bool all, any_subnet;
	const char *want[PLACE_MAX]; /* none: refused */
	enum place_why why;
	const char *refused;
};

/* What the configuration says in a row, or of no VIP in particular. */
static struct place_rules rules_of(const char *const names[4], const char *const excluded[3])
{
	struct place_rules rules = { .names = names, .excluded = excluded };

	while (rules.n_names < 4 && names[rules.n_names])
		rules.n_names++;
	while (rules.n_excluded < 3 && excluded[rules.n_excluded])
		rules.n_excluded++;
	return rules;
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? text_eq(a, b) : a == b;
}

static void check(const struct link_state *s, const struct row *r)
{
	struct place_rules rules = rules_of(r->names, r->excluded);
	const struct ip ip = make_ip(r->ip);
	struct place p;
	size_t n = 0;

	rules.all = r->all;
	rules.any_subnet = r->any_subnet;
	memset(&p, 0xff, sizeof(p));
	place_vip(s, &rules, &ip, &p);
	while (n < PLACE_MAX && r->want[n])
		n++;
	if (p.n != n || p.why != r->why || !same_text(p.refused ? p.refused->name : NULL, r->refused))
		fail_msg("row at line %d: %zu interfaces, why %d, about %s", r->line, p.n, (int)p.why,
			 p.refused ? p.refused->name : "none");
	for (size_t i = 0; i < n; i++) {
		if (!text_eq(p.links[i]->name, r->want[i]))
			fail_msg("row at line %d: interface %zu is %s", r->line, i, p.links[i]->name);
		assert_true(place_may_carry(s, &rules, p.links[i]));
	}
	if (p.refused && p.why != PLACE_SUBNET)
		assert_false(place_may_carry(s, &rules, p.refused));
}

#define ROW(vip, ...) { .line = __LINE__, .ip = vip, __VA_ARGS__ }
#define NAMES(...) .names = { __VA_ARGS__ }
#define NOT(...) .excluded = { __VA_ARGS__ }
#define WANT(...) .want = { __VA_ARGS__ }
#define REFUSED(reason, about) .why = (reason), .refused = (about)

static void test_auto(void **state)
{
	static const struct row rows[] = {
		/* by subnet; the longest prefix wins */
		ROW("192.0.2.5", WANT("eth0")),
		ROW("192.0.2.200", WANT("eth1")),
		ROW("198.18.77.1", WANT("eth2")),
		ROW("2001:db8:1::5", WANT("eth1")),
		ROW("2001:db8:2::5", WANT("eth4")),
		ROW("2001:db8:3::5", WANT("bond0.7")),
		ROW("198.51.100.7", WANT("br0")),
		ROW("198.51.100.162", WANT("eth4")),
		/* no subnet: the default route's; loopback, host prefixes and our own addresses say nothing */
		ROW("203.0.113.5", WANT("eth0")),
		ROW("203.0.113.77", WANT("eth0")),
		ROW("198.51.100.33", WANT("eth0")),
		ROW("2001:db8:20::5", WANT("eth1")),
		/* without what is excluded */
		ROW("192.0.2.200", NOT("eth1"), WANT("eth0")),
		ROW("192.0.2.200", NOT("eth*"), REFUSED(PLACE_EXCLUDED, "eth0")),
		ROW("192.0.2.5", NOT("eth0"), REFUSED(PLACE_EXCLUDED, "eth0")),
		ROW("203.0.113.5", NOT("wlan0", "eth0"), REFUSED(PLACE_EXCLUDED, "eth0")),
		ROW("198.51.100.130", NOT("docker*"), REFUSED(PLACE_EXCLUDED, "docker0")),
		ROW("198.51.100.130", WANT("docker0")),
		/* where the subnet is that nobody can announce in: not by the default route instead */
		ROW("198.51.100.66", REFUSED(PLACE_PORT, "port0")),
		ROW("198.51.100.98", REFUSED(PLACE_NO_ARP, "wg0")),
		/* all that hold it, one alone of a LAN */
		ROW("192.0.2.200", .all = true, WANT("eth1", "eth0")),
		ROW("192.0.2.5", .all = true, WANT("eth0")),
		ROW("198.51.100.7", .all = true, WANT("br0")),
		ROW("2001:db8:2::5", .all = true, WANT("eth4", "bond0.7")),
		ROW("203.0.113.5", .all = true, WANT("eth0")),
		ROW("203.0.113.5", .all = true, .any_subnet = true, WANT("eth0")),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(&node, &rows[i]);
}

static void test_named(void **state)
{
	static const struct row rows[] = {
		/* the first with a subnet */
		ROW("192.0.2.5", NAMES("eth1", "eth0"), WANT("eth0")),
		ROW("192.0.2.200", NAMES("eth1", "eth0"), WANT("eth1")),
		ROW("192.0.2.200", NAMES("eth0", "eth1"), WANT("eth0")),
		ROW("192.0.2.200", NAMES("eth*"), WANT("eth1")),
		ROW("198.18.77.1", NAMES("eth3", "eth?"), WANT("eth2")),
		ROW("198.51.100.194", NAMES("bond*.7"), WANT("bond0.7")),
		/* else the first that has none, of the family */
		ROW("203.0.113.5", NAMES("eth0", "eth3"), WANT("eth3")),
		ROW("2001:db8:20::5", NAMES("eth1", "eth0", "eth2"), WANT("eth0")),
		ROW("203.0.113.5", NAMES("*"), WANT("eth3")),
		/* else any, if that is allowed */
		ROW("203.0.113.5", NAMES("eth1", "eth2"), REFUSED(PLACE_SUBNET, "eth1")),
		ROW("203.0.113.5", NAMES("eth1", "eth0"), .any_subnet = true, WANT("eth1")),
		ROW("203.0.113.5", NAMES("wlan0", "eth2", "eth0"), .any_subnet = true, WANT("eth2")),
		ROW("192.0.2.5", NAMES("eth2", "eth0"), .any_subnet = true, WANT("eth0")),
		ROW("2001:db8:1::5", NAMES("eth4"), REFUSED(PLACE_SUBNET, "eth4")),
		/* or where the default route leads, if it is nobody else's either */
		ROW("203.0.113.5", NAMES("eth2", "eth0"), WANT("eth0")),
		ROW("2001:db8:20::5", NAMES("eth1"), WANT("eth1")),
		ROW("203.0.113.5", NAMES("eth?"), .all = true, WANT("eth3", "eth0")),
		ROW("198.18.77.1", NAMES("eth0"), REFUSED(PLACE_SUBNET, "eth0")),
		ROW("198.51.100.66", NAMES("eth0"), REFUSED(PLACE_SUBNET, "eth0")),
		ROW("203.0.113.5", NAMES("eth*", "eth0"), NOT("eth0"), WANT("eth3")),
		/* nothing there */
		ROW("203.0.113.5", NAMES("wlan0", "et*x"), REFUSED(PLACE_NO_LINK, NULL)),
		ROW("203.0.113.5", NAMES("lo"), REFUSED(PLACE_NO_LINK, NULL)),
		/* nothing that can carry it */
		ROW("198.51.100.66", NAMES("port0"), REFUSED(PLACE_PORT, "port0")),
		ROW("198.51.100.66", NAMES("port0", "br0"), REFUSED(PLACE_SUBNET, "br0")),
		ROW("198.51.100.66", NAMES("lo", "wlan0", "port0"), REFUSED(PLACE_PORT, "port0")),
		ROW("203.0.113.5", NAMES("wg0", "port0"), REFUSED(PLACE_NO_ARP, "wg0")),
		ROW("203.0.113.5", NAMES("red"), REFUSED(PLACE_NO_ARP, "red")),
		/* exclusions: a pattern spares what is written out */
		ROW("192.0.2.5", NAMES("eth0"), NOT("eth0"), REFUSED(PLACE_EXCLUDED, "eth0")),
		ROW("192.0.2.5", NAMES("eth0"), NOT("eth*"), WANT("eth0")),
		ROW("192.0.2.5", NAMES("eth?"), NOT("eth*"), REFUSED(PLACE_EXCLUDED, "eth0")),
		ROW("192.0.2.200", NAMES("eth0", "eth*"), NOT("eth*"), WANT("eth0")),
		ROW("192.0.2.200", NAMES("eth*"), NOT("eth1", "br0"), WANT("eth0")),
		ROW("198.51.100.130", NAMES("d*", "docker0"), NOT("docker*"), WANT("docker0")),
		/* all of them: those with its subnet first, one alone of a LAN, no more than there is room for */
		ROW("192.0.2.5", .all = true, NAMES("eth2", "eth1", "eth0"), WANT("eth0")),
		ROW("192.0.2.200", .all = true, NAMES("eth*"), WANT("eth1", "eth0", "eth3")),
		ROW("192.0.2.5", .all = true, NAMES("eth3", "eth2", "eth0"), WANT("eth0", "eth3")),
		ROW("192.0.2.5", .all = true, .any_subnet = true, NAMES("eth2", "eth0"), WANT("eth0", "eth2")),
		ROW("192.0.2.5", .all = true, .any_subnet = true, NAMES("*"), WANT("eth0", "eth3", "eth1", "eth2")),
		ROW("198.51.100.7", .all = true, NAMES("br0", "twin0"), WANT("br0")),
		ROW("198.51.100.7", .all = true, NAMES("twin0", "br0"), WANT("twin0")),
		ROW("203.0.113.5", .all = true, .any_subnet = true, NAMES("br0", "twin0", "eth3"), WANT("eth3", "br0")),
		ROW("203.0.113.5", .all = true, NAMES("br0", "twin0"), REFUSED(PLACE_SUBNET, "br0")),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		check(&node, &rows[i]);
}

/* An interface that has many addresses of a subnet leaves room for another. */
static void test_many_addresses(void **state)
{
	static const struct link two[] = { LINK(2, "eth0"), LINK(3, "eth1") };
	struct link_addr many[21];
	const struct link_state s = { two, 2, many, ARRAY_LEN(many), 0, 0, false, 0 };
	const struct row r = ROW("192.0.2.5", .all = true, WANT("eth0", "eth1"));

	(void)state;
	for (size_t i = 0; i < 20; i++)
		many[i] = (struct link_addr)ADDR4(2, 192, 0, 2, (uint8_t)(10 + i), 24);
	many[20] = (struct link_addr)ADDR4(3, 192, 0, 3, 1, 23);
	check(&s, &r);
}

static void test_nothing_known(void **state)
{
	static const struct link_state nothing;
	static const struct link_state loop_default = { links, 1, addrs, 1, 1, 1, false, 0 };
	static const struct link_state off_link = { links, 2, addrs, 2, 0, 0, false, 0 };
	static const struct link_state wg_default = { links, ARRAY_LEN(links), addrs, 2, 8, 0, false, 0 };
	static const struct row rows[] = {
		ROW("192.0.2.5", REFUSED(PLACE_NO_ROUTE, NULL)),
		ROW("2001:db8::5", REFUSED(PLACE_NO_ROUTE, NULL)),
		ROW("192.0.2.5", NAMES("eth0"), REFUSED(PLACE_NO_LINK, NULL)),
	};
	static const struct row tunnel = ROW("203.0.113.5", REFUSED(PLACE_NO_ARP, "wg0"));
	static const struct row off = ROW("203.0.113.5", REFUSED(PLACE_NO_ROUTE, NULL));

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		check(&nothing, &rows[i]);
		check(&loop_default, &rows[i]);
	}
	check(&wg_default, &tunnel);
	check(&off_link, &off);
}

static void test_undecided(void **state)
{
	const struct place_rules rules = { .undecided = true };
	const struct ip ip = make_ip("192.0.2.5");
	struct place p;

	(void)state;
	place_vip(&node, &rules, &ip, &p);
	assert_int_equal(p.n, 0);
	assert_int_equal(p.why, PLACE_UNDECIDED);
	assert_null(p.refused);
	assert_false(place_may_carry(&node, &rules, &links[1]));
}

static void test_may_carry(void **state)
{
	static const struct {
		int line;
		const char *names[4], *excluded[3];
		const char *want; /* indexes of the links, as letters: a is 1 */
	} rows[] = {
		/* auto: whatever has a subnet, or the default route */
		{ __LINE__, .want = "bcdfiklm" },
		{ __LINE__, NOT("docker*", "eth0"), .want = "cdfklm" },
		{ __LINE__, NAMES("eth0", "port0", "lo", "red"), .want = "b" },
		{ __LINE__, NAMES("eth*"), NOT("eth1"), .want = "bdek" },
	};
	char got[ARRAY_LEN(links) + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct place_rules rules = rules_of(rows[i].names, rows[i].excluded);
		size_t n = 0;

		for (size_t k = 0; k < ARRAY_LEN(links); k++)
			if (place_may_carry(&node, &rules, &links[k]))
				got[n++] = (char)('a' + k);
		got[n] = '\0';
		if (!text_eq(got, rows[i].want))
			fail_msg("row at line %d: %s", rows[i].line, got);
	}
}

static void test_words(void **state)
{
	static const struct {
		struct row row;
		const char *text;
	} rows[] = {
		{ ROW("192.0.2.5"), "" },
		{ ROW("192.0.2.5", NAMES("wlan0")), "this node has none of the interfaces named in interface or interface-for" },
		{ ROW("198.51.100.130", NOT("docker*")),
		  "docker0 is excluded: name it in interface, or change interface-exclude" },
		{ ROW("198.51.100.66"), "port0 is a port of br0: name br0 instead" },
		{ ROW("198.51.100.66", NAMES("lost")), "lost is a port of a bridge or bond: name that instead" },
		{ ROW("198.51.100.98"), "wg0 is a tunnel or has no ARP: name an Ethernet interface" },
		{ ROW("203.0.113.5", NAMES("br0")),
		  "203.0.113.5 is in no subnet of br0 (198.51.100.0/28, 198.51.100.0/28): name another interface, or set "
		  "interface-subnet any" },
		{ ROW("2001:db8:20::5", NAMES("bond0.7")),
		  "2001:db8:20::5 is in no subnet of bond0.7 (2001:db8::/44): name another interface, or set "
		  "interface-subnet any" },
	};
	static const struct link_state nothing;
	static const struct place undecided = { .why = PLACE_UNDECIDED }, no_route = { .why = PLACE_NO_ROUTE };
	static const struct place gone = { .why = PLACE_PORT };
	const struct ip ip = make_ip("192.0.2.5");
	char buf[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *r = &rows[i].row;
		const struct place_rules rules = rules_of(r->names, r->excluded);
		const struct ip vip = make_ip(r->ip);
		struct place p;
		char *tight;

		place_vip(&node, &rules, &vip, &p);
		assert_string_equal(place_why_text(&node, &p, &vip, buf, sizeof(buf)), rows[i].text);
		for (size_t size = 1; size <= strlen(rows[i].text); size++) { /* cut, never past the end */
			tight = malloc(size);
			assert_non_null(tight);
			place_why_text(&node, &p, &vip, tight, size);
			assert_int_equal(strlen(tight), size - 1);
			assert_memory_equal(tight, rows[i].text, size - 1);
			free(tight);
		}
	}
	assert_string_equal(place_why_text(&nothing, &undecided, &ip, buf, sizeof(buf)),
			    "interface-for asks for labels of this node's Node, which has not been read yet");
	assert_string_equal(place_why_text(&nothing, &gone, &ip, buf, sizeof(buf)), "the interface has gone");
	assert_string_equal(place_why_text(&nothing, &no_route, &ip, buf, sizeof(buf)),
			    "no interface has a subnet that holds 192.0.2.5, and there is no default route: name one in interface");
}

/* More subnets than a sentence should name. */
static void test_many_subnets(void **state)
{
	static const struct link one[] = { LINK(2, "eth0") };
	struct link_addr many[6];
	const struct link_state s = { one, 1, many, ARRAY_LEN(many), 0, 0, false, 0 };
	const struct place p = { .why = PLACE_SUBNET, .refused = one };
	const struct ip ip = make_ip("192.0.2.5");
	char buf[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(many); i++)
		many[i] = (struct link_addr)ADDR4(2, 198, 18, (uint8_t)i, 1, 24);
	assert_string_equal(place_why_text(&s, &p, &ip, buf, sizeof(buf)),
			    "192.0.2.5 is in no subnet of eth0 (198.18.0.0/24, 198.18.1.0/24, 198.18.2.0/24, ...): name "
			    "another interface, or set interface-subnet any");
}

static void test_usable(void **state)
{
	static const struct link down = { .carrier = true }, bare = { .up = true }, good = { .up = true, .carrier = true };

	(void)state;
	assert_false(place_usable(&down));
	assert_false(place_usable(&bare));
	assert_true(place_usable(&good));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auto),	      cmocka_unit_test(test_named),	   cmocka_unit_test(test_many_addresses),
		cmocka_unit_test(test_nothing_known), cmocka_unit_test(test_undecided),   cmocka_unit_test(test_may_carry),
		cmocka_unit_test(test_words),	      cmocka_unit_test(test_many_subnets), cmocka_unit_test(test_usable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
