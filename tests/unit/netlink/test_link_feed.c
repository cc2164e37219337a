/* SPDX-License-Identifier: Apache-2.0 */
/* test_link_feed.c: recorded rtnetlink messages (tests/golden/rtnetlink) give the table that its .txt says, step by
 * step; and what those steps mean for VIPs, case by case.  LEASEHOLD_GOLDEN=write writes the .txt anew: read the difference. */
#include "netlink/link_feed.h"

#include "tests/unit/netlink/bytes.h"

#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "netlink/attr_walk.h"
#include "netlink/link_msg.h"

#define FOLDER "tests/golden/rtnetlink/" /* run from the top of the tree */

struct recorded {
	struct buf bytes;
	size_t at;
};

static struct recorded open_recorded(const char *name)
{
	struct recorded r = { .bytes = BUF_INIT(1024 * 1024) };
	char path[256];

	snprintf(path, sizeof(path), FOLDER "%s.bin", name);
	assert_int_equal(file_read(path, &r.bytes, NULL), 0);
	return r;
}

/* The next message, in memory of its own so that a sanitizer sees a read past it; NULL at the end. */
static struct nlmsghdr *next(struct recorded *r)
{
	const struct nlmsghdr *nlh = attr_message(r->bytes.data + r->at, r->bytes.len - r->at);
	struct nlmsghdr *copy;

	if (!nlh) {
		assert_int_equal(r->at, r->bytes.len);
		return NULL;
	}
	copy = copy_of(nlh, nlh->nlmsg_len);
	r->at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	return copy;
}

/* ---- the table, step by step ---- */

static const char *kind_name(enum link_kind kind)
{
	static const char *const names[] = { [LINK_PLAIN] = "plain",	 [LINK_VLAN] = "vlan", [LINK_BOND] = "bond",
					     [LINK_BRIDGE] = "bridge",	 [LINK_MACVLAN] = "macvlan",
					     [LINK_VRF] = "vrf",	 [LINK_OTHER] = "other" };

	return names[kind];
}

#define LINE_MAX_LEN 200

static void link_line(const struct link *l, char line[static LINE_MAX_LEN])
{
	int n = snprintf(line, LINE_MAX_LEN, "link %d %s %s %02x:%02x:%02x:%02x:%02x:%02x", l->index, l->name,
			 kind_name(l->kind), l->mac[0], l->mac[1], l->mac[2], l->mac[3], l->mac[4], l->mac[5]);

	if (l->master)
		n += snprintf(line + n, LINE_MAX_LEN - (size_t)n, " master %d", l->master);
	if (l->lower)
		n += snprintf(line + n, LINE_MAX_LEN - (size_t)n, " lower %d", l->lower);
	snprintf(line + n, LINE_MAX_LEN - (size_t)n, "%s%s%s%s%s%s", l->port ? " port" : "", l->pair ? " pair" : "",
		 l->ethernet ? " ethernet" : "", l->up ? " up" : "", l->carrier ? " carrier" : "",
		 l->loopback ? " loopback" : "");
}

/* A link that is not as it was; 'was' is NULL for a new one. */
static void write_link(FILE *out, const struct link *l, const struct link *was)
{
	char line[LINE_MAX_LEN], old[LINE_MAX_LEN] = "";
	bool announce = was && was->announcements != l->announcements, born = was && was->born != l->born;

	link_line(l, line);
	if (was)
		link_line(was, old);
	if (announce || born || strcmp(line, old) != 0)
		fprintf(out, "  %s%s%s\n", line, announce ? " ANNOUNCE" : "", born ? " BORN" : "");
}

static const struct link *link_in(const struct link_state *s, int index)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (s->links[i].index == index)
			return &s->links[i];
	return NULL;
}

static bool has_addr(const struct link_state *s, const struct link_addr *a)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].index == a->index && ip_eq(&s->addrs[i].ip, &a->ip) && s->addrs[i].prefix_len == a->prefix_len &&
		    s->addrs[i].ours == a->ours)
			return true;
	return false;
}

static void write_addrs(FILE *out, const char *what, const struct link_state *s, const struct link_state *but)
{
	char text[IP_TEXT_MAX];

	for (size_t i = 0; i < s->n_addrs; i++)
		if (!has_addr(but, &s->addrs[i]))
			fprintf(out, "  %s %d %s/%u%s\n", what, s->addrs[i].index, ip_format(&s->addrs[i].ip, text),
				s->addrs[i].prefix_len, s->addrs[i].ours ? " ours" : "");
}

/* What one message changed. */
static void write_step(FILE *out, const struct link_state *was, const struct link_state *is, struct link_feed *f)
{
	for (size_t i = 0; i < is->n_links; i++)
		write_link(out, &is->links[i], link_in(was, is->links[i].index));
	for (size_t i = 0; i < was->n_links; i++)
		if (!link_in(is, was->links[i].index))
			fprintf(out, "  gone %d %s\n", was->links[i].index, was->links[i].name);
	write_addrs(out, "addr", is, was);
	write_addrs(out, "addr gone", was, is);
	if (is->default_v4 != was->default_v4 || is->default_v6 != was->default_v6 ||
	    is->default_v6_from_ra != was->default_v6_from_ra)
		fprintf(out, "  default %d %d%s\n", is->default_v4, is->default_v6, is->default_v6_from_ra ? " ra" : "");
	if (f->stale_routes)
		fprintf(out, "  routes to be read\n");
	f->stale_routes = false;
}

static const char *type_name(uint16_t type)
{
	static const struct {
		uint16_t type;
		const char *name;
	} names[] = { { RTM_NEWLINK, "new link" }, { RTM_DELLINK, "link gone" },   { RTM_NEWADDR, "new address" },
		      { RTM_DELADDR, "address gone" }, { RTM_NEWROUTE, "new route" }, { RTM_DELROUTE, "route gone" } };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].type == type)
			return names[i].name;
	return "other";
}

static char *trace_of(const char *name)
{
	bool dump = strcmp(name, "dump") == 0;
	struct recorded r = open_recorded(name);
	struct link_table shown = { 0 }, before = { 0 };
	struct link_feed f = { 0 };
	struct nlmsghdr *nlh;
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	bool changed;

	assert_non_null(out);
	while ((nlh = next(&r))) {
		struct link_state was, is;

		fprintf(out, "%s\n", type_name(nlh->nlmsg_type));
		f.changed = false;
		(dump ? link_feed_dumped : link_feed_notified)(&f, nlh, nlh->nlmsg_len);
		free(nlh);
		assert_int_equal(link_table_copy(&shown, &f.now, &changed), 0);
		assert_true(f.changed || !changed); /* else nobody would copy it */
		was = link_table_state(&before);
		is = link_table_state(&shown);
		write_step(out, &was, &is, &f);
		assert_int_equal(link_table_copy(&before, &shown, &changed), 0);
	}
	fclose(out);
	link_table_fini(&shown);
	link_table_fini(&before);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
	return text;
}

static void test_recorded(void **state)
{
	static const char *const names[] = { "veth",   "carrier", "mac-and-name", "features", "addresses", "routes",
					     "dump",   "bridge",  "macvlan",	  "returns",  "vlan",	   "bond",
					     "bond-in-bridge",	  "team",	  "vrf",      "virtual-function" };
	const char *mode = getenv("LEASEHOLD_GOLDEN");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		struct buf want = BUF_INIT(1024 * 1024);
		char *got = trace_of(names[i]), path[256];

		snprintf(path, sizeof(path), FOLDER "%s.txt", names[i]);
		if (mode && strcmp(mode, "write") == 0) {
			FILE *out = fopen(path, "we");

			assert_non_null(out);
			fputs(got, out);
			fclose(out);
		}
		assert_int_equal(file_read(path, &want, NULL), 0);
		assert_int_equal(want.len, strlen(got));
		assert_memory_equal(want.data, got, want.len);
		buf_fini(&want);
		free(got);
	}
}

/* ---- what it means ---- */

static void feed_some(struct link_feed *f, struct recorded *r, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct nlmsghdr *nlh = next(r);

		assert_non_null(nlh);
		link_feed_notified(f, nlh, nlh->nlmsg_len);
		free(nlh);
	}
}

static void feed_rest(struct link_feed *f, struct recorded *r)
{
	while (r->at < r->bytes.len)
		feed_some(f, r, 1);
}

static struct link link_now(const struct link_feed *f, int index)
{
	struct link_state s = link_table_state(&f->now);
	const struct link *l = link_in(&s, index);

	assert_non_null(l);
	return l ? *l : (struct link){ 0 };
}

static bool copied(struct link_table *shown, const struct link_feed *f)
{
	bool changed;

	assert_int_equal(link_table_copy(shown, &f->now, &changed), 0);
	return changed;
}

/* The next message is one by which the kernel asks for announcements. */
static bool asks(struct recorded r)
{
	struct nlmsghdr *nlh = next(&r); /* a copy of 'r': nothing is taken */
	struct link_msg m = { .announce = false };

	assert_non_null(nlh);
	IGNORE(link_msg_parse(nlh, nlh->nlmsg_len, &m)); /* another one does not ask */
	free(nlh);
	return m.announce;
}

static bool is_there(const struct link_feed *f, int index)
{
	struct link_state s = link_table_state(&f->now);

	return link_in(&s, index);
}

/* bond.bin: 10 and 12 are ports of 20, bond0; 21 is the VLAN on it, made before 10 loses its carrier. */
static void test_a_failover_asks_for_announcements_and_nothing_else(void **state)
{
	struct recorded r = open_recorded("bond");
	struct link_table shown = { 0 };
	struct link_feed f = { 0 };
	unsigned int asked = 0;

	(void)state;
	while (!is_there(&f, 21) || !asks(r))
		feed_some(&f, &r, 1);
	assert_true(copied(&shown, &f));
	assert_false(link_now(&f, 10).carrier);
	for (; r.at < r.bytes.len && asks(r); asked++) { /* failover; notify peers; the same of the VLAN */
		struct link bond = link_now(&f, 20), vlan = link_now(&f, 21), port = link_now(&f, 12);

		f.changed = false;
		feed_some(&f, &r, 1);
		assert_true(f.changed);
		assert_true(copied(&shown, &f)); /* so the shell is woken */
		assert_int_equal(link_now(&f, 20).announcements != bond.announcements, asked % 2 == 0);
		assert_int_not_equal(link_now(&f, 21).announcements, vlan.announcements);
		assert_int_equal(link_now(&f, 12).announcements, port.announcements);
		assert_int_equal(link_now(&f, 20).born, bond.born);
	}
	assert_int_equal(asked, 4);
	assert_false(f.stale_routes);
	link_table_fini(&shown);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
}

/* bond-in-bridge.bin: 20 is bond0, a port of 22, br0, which the kernel does not ask; then the bond has no carrier, and
 * has it again. */
static void test_what_befalls_a_port_is_announced_on_its_bridge(void **state)
{
	struct recorded r = open_recorded("bond-in-bridge");
	struct link_feed f = { 0 };
	uint32_t was;

	(void)state;
	while (!is_there(&f, 22) || !asks(r))
		feed_some(&f, &r, 1);
	was = link_now(&f, 22).announcements;
	feed_some(&f, &r, 1);
	assert_int_not_equal(link_now(&f, 22).announcements, was);
	while (link_now(&f, 20).carrier)
		feed_some(&f, &r, 1);
	while (!link_now(&f, 20).carrier) {
		was = link_now(&f, 22).announcements;
		feed_some(&f, &r, 1);
	}
	assert_int_not_equal(link_now(&f, 22).announcements, was);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
}

/* After a loss nobody knows what the lost ones said: all links count as new, and as asked to announce. */
static void test_after_a_loss_all_are_announced_again(void **state)
{
	struct recorded r = open_recorded("bond");
	struct link_feed f = { 0 };
	struct link was;

	(void)state;
	feed_rest(&f, &r);
	for (unsigned int i = 0; i < 3; i++) {
		was = link_now(&f, 20);
		link_feed_restart(&f);
		assert_int_equal(f.now.n_links, 0);
		r.at = 0;
		feed_some(&f, &r, 1); /* bond0 is made */
		assert_int_not_equal(link_now(&f, 20).announcements, was.announcements);
		assert_int_not_equal(link_now(&f, 20).born, was.born);
	}
	link_feed_fini(&f);
	buf_fini(&r.bytes);
}

/* returns.bin: 10 goes and comes back under its index. */
static void test_a_link_that_returns_is_another(void **state)
{
	struct recorded r = open_recorded("returns");
	struct link_feed f = { 0 };
	uint32_t was;

	(void)state;
	feed_some(&f, &r, 1);
	was = link_now(&f, 10).born;
	feed_rest(&f, &r);
	assert_int_not_equal(link_now(&f, 10).born, was);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
}

/* Containers that come and go cost no reading of routes; a link that a default route needs does. */
static void test_when_routes_are_read_again(void **state)
{
	struct recorded r = open_recorded("carrier");
	struct link_feed f = { 0 };

	(void)state;
	feed_rest(&f, &r);
	assert_false(f.stale_routes);
	link_table_put_default(&f.now, IP_V4, 10, 100, false);
	r.at = 0;
	feed_some(&f, &r, 1); /* 11 goes down */
	assert_false(f.stale_routes);
	feed_rest(&f, &r); /* 10 loses its carrier and has it back */
	assert_true(f.stale_routes);
	link_feed_restart_routes(&f);
	f.stale_routes = false;
	f.dead_default = true; /* a next hop that waits for its interface: any may be it */
	r.at = 0;
	feed_some(&f, &r, 1);
	assert_true(f.stale_routes);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
}

/* A pair without an address is a container's, and nobody needs to hurry; with one, or as way out, it is not. */
static void test_containers_hardly_matter(void **state)
{
	struct recorded r = open_recorded("carrier");
	struct link_addr a = { .index = 11, .ip = address("192.0.2.1"), .prefix_len = 24 };
	struct link_feed f = { 0 };

	(void)state;
	feed_rest(&f, &r);
	assert_true(f.changed);
	assert_false(f.matters);
	link_table_put_default(&f.now, IP_V4, 11, 100, false);
	r.at = 0;
	feed_some(&f, &r, 1); /* 11 goes down */
	assert_true(f.matters);
	link_table_reset_defaults(&f.now);
	feed_rest(&f, &r);
	f.matters = false;
	assert_int_equal(link_table_put_addr(&f.now, &a), LINK_TABLE_CHANGED);
	r.at = 0;
	feed_some(&f, &r, 1);
	assert_true(f.matters);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
	r = open_recorded("macvlan");
	f = (struct link_feed){ 0 };
	while (!is_there(&f, 20)) {
		assert_false(f.matters);
		feed_some(&f, &r, 1);
	}
	assert_true(f.matters);
	link_feed_fini(&f);
	buf_fini(&r.bytes);
}

/* Each recorded message cut short at each length. */
static void test_cut_messages_are_refused(void **state)
{
	struct recorded r = open_recorded("bond-in-bridge");
	struct nlmsghdr *nlh;

	(void)state;
	while ((nlh = next(&r))) {
		for (uint32_t len = 0; len < nlh->nlmsg_len; len += 4) {
			struct nlmsghdr *part = copy_of(nlh, len);
			struct link_msg m;

			assert_int_equal(link_msg_parse(part, len, &m), -EBADMSG);
			free(part);
		}
		free(nlh);
	}
	buf_fini(&r.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_a_failover_asks_for_announcements_and_nothing_else),
		cmocka_unit_test(test_what_befalls_a_port_is_announced_on_its_bridge),
		cmocka_unit_test(test_after_a_loss_all_are_announced_again),
		cmocka_unit_test(test_a_link_that_returns_is_another),
		cmocka_unit_test(test_when_routes_are_read_again),
		cmocka_unit_test(test_containers_hardly_matter),
		cmocka_unit_test(test_cut_messages_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
