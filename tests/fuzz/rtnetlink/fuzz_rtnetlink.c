/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_rtnetlink.c: link, address and route messages, one behind the other, as a dump (first byte even) or as
 * notifications, worked into a table that grows with them.  After each one the table must be one that the shell can use, and a copy of it the
 * same. */
#include <linux/rtnetlink.h>

#include "netlink/attr_walk.h"
#include "netlink/link_feed.h"
#include "tests/fuzz/fuzz.h"

static void check_links(const struct link_state *s)
{
	for (size_t i = 0; i < s->n_links; i++) {
		const struct link *l = &s->links[i];

		assert(l->index > 0 && l->master >= 0 && l->lower >= 0);
		assert(i == 0 || s->links[i - 1].index < l->index);
		assert(memchr(l->name, '\0', sizeof(l->name)) && l->name[0]);
		assert(l->kind <= LINK_OTHER && (!l->port || l->master > 0) && l->born > 0);
	}
}

static void check_addrs(const struct link_state *s)
{
	for (size_t i = 0; i < s->n_addrs; i++) {
		const struct link_addr *a = &s->addrs[i], *before = i > 0 ? &s->addrs[i - 1] : NULL;

		assert(a->index > 0 && a->prefix_len <= ip_len(&a->ip) * 8);
		assert(!before || before->index < a->index || (before->index == a->index && ip_cmp(&before->ip, &a->ip) < 0));
	}
}

static void check(struct link_feed *f, struct link_table *shown)
{
	bool changed, again;
	struct link_state s;

	assert(!f->out_of_memory);
	assert(link_table_copy(shown, &f->now, &changed) == 0);
	assert(f->changed || !changed); /* else nobody would copy it */
	assert(link_table_copy(shown, &f->now, &again) == 0 && !again);
	f->changed = false;
	s = link_table_state(shown);
	check_links(&s);
	check_addrs(&s);
	assert(s.default_v4 >= 0 && s.default_v6 >= 0);
}

/* Feeds the message at data[0..left) and returns its length, 0 when there is none. */
static size_t feed(struct link_feed *f, bool dumped, const uint8_t *data, size_t left)
{
	struct nlmsghdr header;
	size_t step;
	void *copy;

	if (left < sizeof(header))
		return 0;
	memcpy(&header, data, sizeof(header));
	/* One that states more than there is comes as far as it is there: to be refused. */
	step = header.nlmsg_len < sizeof(header) ? sizeof(header) : NLMSG_ALIGN((size_t)header.nlmsg_len);
	if (step > left)
		step = left;
	copy = fuzz_copy(data, header.nlmsg_len < step ? header.nlmsg_len : step);
	(dumped ? link_feed_dumped : link_feed_notified)(f, copy, header.nlmsg_len < step ? header.nlmsg_len : step);
	free(copy);
	return step;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct link_table shown = { 0 };
	struct link_feed f = { 0 };
	size_t step;
	bool dumped;

	if (size == 0)
		return 0;
	dumped = data[0] % 2 == 0;
	data++;
	size--;
	while ((step = feed(&f, dumped, data, size)) > 0) {
		data += step;
		size -= step;
		check(&f, &shown);
		if (f.stale_routes)
			link_feed_restart_routes(&f);
		f.stale_routes = false;
	}
	link_feed_restart(&f);
	check(&f, &shown);
	assert(shown.n_links == 0 && shown.n_addrs == 0);
	link_table_fini(&shown);
	link_feed_fini(&f);
	return 0;
}
