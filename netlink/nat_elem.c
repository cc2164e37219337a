/* SPDX-License-Identifier: Apache-2.0 */
/* nat_elem.c: elements to messages, written attribute by attribute: hundreds of thousands of elements pass here, so
 * nothing is allocated.  nat_elem_parse.c reads them back.  Pure: nat_apply and nat_verify talk to the kernel. */
#include "netlink/nat_elem.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "netlink/nat_udata.h"

#define KEY_MAX 40
#define DATA_MAX 20
/* Table, set and the list's header; an element with the longest key and value; what a verdict takes more. */
#define MESSAGE_ROOM 64
#define ELEMENT_ROOM 96
#define VERDICT_ROOM (NAT_NAME_MAX + NAT_DIGEST_MAX + 32)
/* An attribute's length has 16 bits, and the list of elements is one attribute. */
#define LIST_MAX (UINT16_MAX - 2 * (ELEMENT_ROOM + VERDICT_ROOM))

struct former_list {
	const struct ip *ips;
	size_t n;
	uint32_t timeout_ms;
};

struct nat_elem nat_elem_of_member(const struct nat_member *m)
{
	/* The plain sets stand in the order of the members' kinds (nat_layout.h). */
	_Static_assert((int)NAT_OPENED == (int)NAT_SET_KIND_OPENED && NAT_MEMBER_KIND_N == NAT_SET_KIND_OPENED + 1,
		       "kinds of sets");
	return (struct nat_elem){ .set = nat_set_of((enum nat_set_kind)m->kind, (enum ip_family)m->ip.family),
				  .ip = m->ip, .proto = m->proto, .port = m->kind == NAT_HOME ? 0 : m->port,
				  .ifindex = m->kind == NAT_HOME ? m->ifindex : 0 };
}

/* ---- one element ---- */

static size_t put_bytes(uint8_t *at, const void *data, size_t len)
{
	memset(at, 0, (len + 3) & ~(size_t)3);
	memcpy(at, data, len);
	return (len + 3) & ~(size_t)3;
}

static size_t put_port(uint8_t *at, uint16_t port)
{
	uint16_t be = htobe16(port);

	return put_bytes(at, &be, sizeof(be));
}

static size_t make_key(const struct nat_elem *e, uint8_t key[static KEY_MAX])
{
	size_t n = put_bytes(key, e->ip.b, ip_len(&e->ip));
	uint32_t slot = e->slot;

	switch (e->set->kind) {
	case NAT_SET_KIND_VIPS:
	case NAT_SET_KIND_LOCALS:
	case NAT_SET_KIND_KEEPS:
	case NAT_SET_KIND_ROUTED:
	case NAT_SET_KIND_FORMER:
		return n;
	case NAT_SET_KIND_HAIRPINS:
		return n + put_bytes(key + n, e->ip.b, ip_len(&e->ip));
	case NAT_SET_KIND_HOMES:
		return n + put_bytes(key + n, &e->ifindex, sizeof(e->ifindex));
	case NAT_SET_KIND_GUARDS:
	case NAT_SET_KIND_RECEIVED:
	case NAT_SET_KIND_SENT:
	case NAT_SET_KIND_BACKENDS:
	case NAT_SET_KIND_OPENED:
	case NAT_SET_KIND_DISPATCH:
	case NAT_SET_KIND_SLOTS:
	case NAT_SET_KIND_TURNS:
	case NAT_SET_KIND_FIREWALLS:
	case NAT_SET_KIND_CLIENTS:
	case NAT_SET_KIND_RETURNS:
		break;
	}
	n += put_bytes(key + n, &e->proto, sizeof(e->proto));
	n += put_port(key + n, e->port);
	if (nat_set_has_slots(e->set))
		n += put_bytes(key + n, &slot, sizeof(slot));
	else if (e->set->kind == NAT_SET_KIND_CLIENTS)
		n += put_bytes(key + n, e->client.b, ip_len(&e->client));
	return n;
}

static bool has_verdict(const struct nat_set_shape *set)
{
	return set->data_type == NFT_DATA_VERDICT;
}

static bool has_backend(const struct nat_set_shape *set)
{
	return nat_set_has_slots(set) || set->kind == NAT_SET_KIND_CLIENTS;
}

static void put_value(struct nlmsghdr *nlh, uint16_t attr, const uint8_t *value, size_t len)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, attr);

	mnl_attr_put(nlh, NFTA_DATA_VALUE, len, value);
	mnl_attr_nest_end(nlh, nest);
}

static void put_verdict(struct nlmsghdr *nlh, const char *chain)
{
	struct nlattr *data = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_DATA);
	struct nlattr *verdict = mnl_attr_nest_start(nlh, NFTA_DATA_VERDICT);

	mnl_attr_put_u32(nlh, NFTA_VERDICT_CODE, htobe32((uint32_t)NFT_GOTO));
	mnl_attr_put_strz(nlh, NFTA_VERDICT_CHAIN, chain);
	mnl_attr_nest_end(nlh, verdict);
	mnl_attr_nest_end(nlh, data);
}

static void put_digest(struct nlmsghdr *nlh, uint64_t digest)
{
	char text[NAT_DIGEST_MAX];
	struct nat_udata u = nat_udata_comment(nat_digest_text(digest, text));

	mnl_attr_put(nlh, NFTA_SET_ELEM_USERDATA, u.len, u.data);
}

static size_t room_of(const struct nat_set_shape *set)
{
	return ELEMENT_ROOM + (has_verdict(set) ? VERDICT_ROOM : 0);
}

static void put_element(struct nlmsghdr *nlh, const struct nat_elem *e, enum nat_elem_verb verb)
{
	uint8_t key[KEY_MAX], data[DATA_MAX];
	size_t n = make_key(e, key);
	struct nlattr *elem;

	memset((unsigned char *)nlh + nlh->nlmsg_len, 0, room_of(e->set)); /* for the padding */
	elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	put_value(nlh, NFTA_SET_ELEM_KEY, key, n);
	if (verb != NAT_ELEM_ADD && verb != NAT_ELEM_NEW) {
		mnl_attr_nest_end(nlh, elem);
		return;
	}
	if (has_verdict(e->set)) {
		put_verdict(nlh, e->chain);
		if (e->digest)
			put_digest(nlh, e->digest);
	} else if (has_backend(e->set)) {
		n = put_bytes(data, e->backend.ip.b, ip_len(&e->backend.ip));
		n += put_port(data + n, e->backend.port);
		put_value(nlh, NFTA_SET_ELEM_DATA, data, n);
	}
	mnl_attr_nest_end(nlh, elem);
}

static bool is_valid(const struct nat_elem *e, enum nat_elem_verb verb)
{
	if (e->set->family != (enum ip_family)e->ip.family)
		return false;
	if (e->set->kind == NAT_SET_KIND_CLIENTS && e->client.family != e->ip.family)
		return false;
	if (verb != NAT_ELEM_ADD && verb != NAT_ELEM_NEW)
		return true;
	if (has_verdict(e->set))
		return e->chain && strlen(e->chain) < NAT_NAME_MAX;
	return !has_backend(e->set) || e->backend.ip.family == e->ip.family;
}

/* ---- messages ---- */

static struct nlmsghdr *open_message(struct batch *b, const struct nat_set_shape *set, enum nat_elem_verb verb)
{
	static const struct {
		uint16_t type, flags;
	} verbs[] = {
		[NAT_ELEM_ADD] = { NFT_MSG_NEWSETELEM, NLM_F_CREATE },
		[NAT_ELEM_NEW] = { NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL },
		[NAT_ELEM_DEL] = { NFT_MSG_DELSETELEM, 0 },
		[NAT_ELEM_GET] = { NFT_MSG_GETSETELEM, 0 },
	};
	struct nlmsghdr *nlh = batch_message(b, verbs[verb].type, verbs[verb].flags, MESSAGE_ROOM);

	if (nlh) {
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NAT_TABLE);
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
	}
	return nlh;
}

void nat_elem_begin(struct nat_elem_writer *w, struct batch *b)
{
	*w = (struct nat_elem_writer){ .b = b };
}

void nat_elem_close(struct nat_elem_writer *w)
{
	if (!w->open)
		return;
	mnl_attr_nest_end(w->open, w->list);
	batch_commit(w->b, w->open);
	w->open = NULL;
}

static bool takes(const struct nat_elem_writer *w, const struct nat_elem *e, enum nat_elem_verb verb)
{
	return w->open && w->set == e->set && w->verb == verb &&
	       w->open->nlmsg_len - (size_t)((unsigned char *)w->list - (unsigned char *)w->open) < LIST_MAX;
}

int nat_elem_put(struct nat_elem_writer *w, const struct nat_elem *e, enum nat_elem_verb verb)
{
	struct nat_elem_mark before;

	if (!is_valid(e, verb))
		return -EINVAL;
	if (!takes(w, e, verb)) {
		before = nat_elem_mark(w);
		nat_elem_close(w);
		w->open = open_message(w->b, e->set, verb);
		if (!w->open || w->open->nlmsg_len + sizeof(struct nlattr) + room_of(e->set) > w->b->cap - w->b->len) {
			nat_elem_rewind(w, &before);
			return -ENOSPC;
		}
		w->list = mnl_attr_nest_start(w->open, NFTA_SET_ELEM_LIST_ELEMENTS);
		w->set = e->set;
		w->verb = verb;
	} else if (w->open->nlmsg_len + room_of(e->set) > w->b->cap - w->b->len) {
		return -ENOSPC;
	}
	put_element(w->open, e, verb);
	return 0;
}

struct nat_elem_mark nat_elem_mark(const struct nat_elem_writer *w)
{
	return (struct nat_elem_mark){ .w = *w, .b = *w->b, .open_len = w->open ? w->open->nlmsg_len : 0 };
}

void nat_elem_rewind(struct nat_elem_writer *w, const struct nat_elem_mark *mark)
{
	assert(w->b == mark->w.b);
	batch_rewind(w->b, &mark->b);
	*w = mark->w;
	if (w->open)
		w->open->nlmsg_len = mark->open_len;
}

/* ---- former backends ---- */

/* One message of as many addresses of the set's family as fit; *at = where to go on. */
static int put_former(struct batch *b, const struct nat_set_shape *set, const struct former_list *l, size_t *at)
{
	struct nlmsghdr *nlh = open_message(b, set, NAT_ELEM_ADD);
	struct nlattr *list, *elem;
	size_t list_at;

	if (!nlh)
		return -ENOSPC;
	list_at = nlh->nlmsg_len;
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (; *at < l->n && nlh->nlmsg_len - list_at < LIST_MAX; ++*at) {
		const struct ip *ip = &l->ips[*at];

		if ((enum ip_family)ip->family != set->family)
			continue;
		if (nlh->nlmsg_len + ELEMENT_ROOM > b->cap - b->len)
			return -ENOSPC;
		elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
		put_value(nlh, NFTA_SET_ELEM_KEY, ip->b, ip_len(ip));
		mnl_attr_put_u64(nlh, NFTA_SET_ELEM_TIMEOUT, htobe64(l->timeout_ms));
		mnl_attr_nest_end(nlh, elem);
	}
	mnl_attr_nest_end(nlh, list);
	batch_commit(b, nlh);
	return 0;
}

static int put_former_set(struct batch *b, const struct nat_set_shape *set, const struct former_list *l)
{
	/* Without a list of elements: all of them. */
	struct nlmsghdr *nlh = open_message(b, set, NAT_ELEM_DEL);
	int r = 0;

	if (!nlh)
		return -ENOSPC;
	batch_commit(b, nlh);
	for (size_t at = 0; at < l->n && r == 0;) {
		if ((enum ip_family)l->ips[at].family == set->family)
			r = put_former(b, set, l, &at);
		else
			at++;
	}
	return r;
}

int nat_elem_put_former(struct batch *b, const struct ip *ips, size_t n, uint32_t timeout_ms)
{
	const struct former_list list = { ips, n, timeout_ms };
	struct batch before = *b;
	int r = n > 0 && timeout_ms == 0 ? -EINVAL : 0;

	for (size_t i = 0; i < n; i++)
		if (ips[i].family != IP_V4 && ips[i].family != IP_V6)
			r = -EINVAL;
	if (r == 0)
		r = put_former_set(b, nat_set_of(NAT_SET_KIND_FORMER, IP_V4), &list);
	if (r == 0)
		r = put_former_set(b, nat_set_of(NAT_SET_KIND_FORMER, IP_V6), &list);
	if (r < 0)
		batch_rewind(b, &before);
	return r;
}
