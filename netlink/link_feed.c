/* SPDX-License-Identifier: Apache-2.0 */
/* link_feed.c: from messages to the table.  What an interface is good for the shell decides. */
#include "netlink/link_feed.h"

#include <linux/rtnetlink.h>

#include "netlink/addr_msg.h"
#include "netlink/attr_walk.h"
#include "netlink/default_msg.h"
#include "netlink/link_msg.h"

void link_feed_fini(struct link_feed *f)
{
	link_table_fini(&f->now);
}

void link_feed_restart(struct link_feed *f)
{
	link_table_reset(&f->now);
	f->dead_default = false;
	f->changed = true;
	f->matters = true;
}

void link_feed_restart_routes(struct link_feed *f)
{
	link_table_reset_defaults(&f->now);
	f->dead_default = false;
	f->changed = true;
	f->matters = true;
}

static void took(struct link_feed *f, enum link_table_result r, bool matters)
{
	f->changed |= r == LINK_TABLE_CHANGED;
	f->matters |= r == LINK_TABLE_CHANGED && matters;
	f->out_of_memory |= r == LINK_TABLE_NO_MEMORY;
}

static bool is_link_local(const struct ip *ip)
{
	static const struct ip v6 = { IP_V6, { 0xfe, 0x80 } };

	return ip_in_prefix(ip, &v6, 10);
}

/* Not the end of a container's or virtual machine's link that is only that: thousands come and go. */
static bool matters(const struct link_feed *f, int index)
{
	const struct link *l = link_table_find(&f->now, index);

	return l && (!l->pair || index == f->now.v4.index || index == f->now.v6.index ||
		     link_table_has_addr(&f->now, index, is_link_local));
}

/* The kernel drops IPv4 routes of a link that goes down without a word, and takes next hops back when it comes up.  Reading
 * all routes for every container that starts would cost more than all else here, so: only where a default route is
 * concerned. */
static void link_touched(struct link_feed *f, int index)
{
	f->stale_routes |= f->dead_default || index == f->now.v4.index || index == f->now.v6.index;
}

static void take_link(struct link_feed *f, const void *data, size_t len)
{
	enum link_table_result r;
	struct link_msg m;
	bool did_matter;

	if (link_msg_parse(data, len, &m) < 0)
		return;
	did_matter = matters(f, m.link.index);
	if (m.gone) {
		r = link_table_del_link(&f->now, m.link.index);
	} else {
		r = link_table_put_link(&f->now, &m.link);
		if (r != LINK_TABLE_NO_MEMORY && m.announce) {
			link_table_announce(&f->now, m.link.index);
			f->changed = true;
			f->matters = true;
		}
	}
	took(f, r, did_matter || matters(f, m.link.index));
	if (r == LINK_TABLE_CHANGED)
		link_touched(f, m.link.index);
}

static void take_addr(struct link_feed *f, const void *data, size_t len)
{
	struct addr_msg m;

	if (addr_msg_parse(data, len, &m) < 0)
		return;
	if (!m.gone) {
		took(f, link_table_put_addr(&f->now, &m.addr), !is_link_local(&m.addr.ip) || matters(f, m.addr.index));
		return;
	}
	took(f, link_table_del_addr(&f->now, &m.addr), !is_link_local(&m.addr.ip) || matters(f, m.addr.index));
	/* IPv4 routes that prefer it as source go silently too, and all of an interface with its last address; none prefers a
	 * VIP.  IPv6 tells. */
	f->stale_routes |= !m.addr.ours && m.addr.ip.family == IP_V4;
}

static void take_route(struct link_feed *f, const void *data, size_t len)
{
	struct default_msg m;

	if (default_msg_parse(data, len, &m) < 0)
		return;
	f->dead_default |= m.has_dead;
	f->changed = true;
	f->matters = true;
	link_table_put_default(&f->now, m.family, m.index, m.metric, m.from_ra);
}

void link_feed_dumped(struct link_feed *f, const void *data, size_t len)
{
	const struct nlmsghdr *nlh = attr_message(data, len);

	if (!nlh)
		return;
	if (nlh->nlmsg_type == RTM_NEWLINK)
		take_link(f, data, len);
	else if (nlh->nlmsg_type == RTM_NEWADDR)
		take_addr(f, data, len);
	else if (nlh->nlmsg_type == RTM_NEWROUTE)
		take_route(f, data, len);
}

void link_feed_notified(struct link_feed *f, const void *data, size_t len)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	struct default_msg ignored;

	if (!nlh)
		return;
	switch (nlh->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		take_link(f, data, len);
		break;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		take_addr(f, data, len);
		break;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		/* A replacement is not told apart from an addition: read them all, it is rare. */
		f->stale_routes |= default_msg_parse(data, len, &ignored) == 0;
		break;
	default:
		break;
	}
}
