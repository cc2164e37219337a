/* SPDX-License-Identifier: Apache-2.0 */
/* nat_elem.c: ops to element messages and back, written attribute by attribute: tens of thousands of elements
 * pass here, so nothing is allocated.  Pure: nat_apply and nat_dump talk to the kernel. */
#include "netlink/nat_elem.h"

#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"

#define KEY_MAX 28
#define DATA_MAX 20
/* Table, set and the list's header; an element with the longest key and value or chain name. */
#define MESSAGE_ROOM 64
#define ELEMENT_ROOM 96
/* An attribute's length has 16 bits, and the list of elements is one attribute. */
#define LIST_MAX (UINT16_MAX - 2 * ELEMENT_ROOM)

struct former_list {
	const struct ip *ips;
	size_t n;
	uint32_t timeout_ms;
};

static enum nat_set_kind set_kind_of(enum nat_op_kind kind)
{
	switch (kind) {
	case NAT_OP_VIP_ADD:
	case NAT_OP_VIP_DEL:
		break;
	case NAT_OP_LOCAL_ADD:
	case NAT_OP_LOCAL_DEL:
		return NAT_SET_KIND_LOCALS;
	case NAT_OP_HOME_ADD:
	case NAT_OP_HOME_DEL:
		return NAT_SET_KIND_HOMES;
	case NAT_OP_GUARD_ADD:
	case NAT_OP_GUARD_DEL:
		return NAT_SET_KIND_GUARDS;
	case NAT_OP_FRONTEND_ADD:
	case NAT_OP_FRONTEND_DEL:
		return NAT_SET_KIND_DISPATCH;
	case NAT_OP_SLOT_ADD:
	case NAT_OP_SLOT_DEL:
		return NAT_SET_KIND_SLOTS;
	}
	return NAT_SET_KIND_VIPS;
}

/* ---- building ---- */

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

static size_t make_key(const struct nat_op *op, uint8_t key[static KEY_MAX])
{
	const enum nat_set_kind kind = set_kind_of(op->kind);
	size_t n = put_bytes(key, op->vip.b, ip_len(&op->vip));
	uint32_t slot = op->slot;

	if (kind == NAT_SET_KIND_VIPS || kind == NAT_SET_KIND_LOCALS)
		return n;
	if (kind == NAT_SET_KIND_HOMES)
		return n + put_bytes(key + n, &op->ifindex, sizeof(op->ifindex));
	n += put_bytes(key + n, &op->proto, sizeof(op->proto));
	n += put_port(key + n, op->port);
	if (kind == NAT_SET_KIND_SLOTS)
		n += put_bytes(key + n, &slot, sizeof(slot));
	return n;
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

static void put_element(struct nlmsghdr *nlh, const struct nat_op *op)
{
	uint8_t key[KEY_MAX], data[DATA_MAX];
	size_t n = make_key(op, key);
	struct nlattr *elem;

	memset((unsigned char *)nlh + nlh->nlmsg_len, 0, ELEMENT_ROOM); /* for the padding */
	elem = mnl_attr_nest_start(nlh, NFTA_LIST_ELEM);
	put_value(nlh, NFTA_SET_ELEM_KEY, key, n);
	if (op->kind == NAT_OP_FRONTEND_ADD) {
		put_verdict(nlh, nat_chain_of(op->balance, op->n_slots)->name);
	} else if (op->kind == NAT_OP_SLOT_ADD) {
		n = put_bytes(data, op->backend.ip.b, ip_len(&op->backend.ip));
		n += put_port(data + n, op->backend.port);
		put_value(nlh, NFTA_SET_ELEM_DATA, data, n);
	}
	mnl_attr_nest_end(nlh, elem);
}

static bool op_valid(const struct nat_op *op)
{
	if (op->vip.family != IP_V4 && op->vip.family != IP_V6)
		return false;
	if (op->kind == NAT_OP_SLOT_ADD)
		return op->backend.ip.family == op->vip.family;
	if (op->kind == NAT_OP_FRONTEND_ADD)
		return nat_chain_of(op->balance, op->n_slots) != NULL;
	return true;
}

/* A message about elements of a set, not committed; NULL = no room. */
static struct nlmsghdr *open_message(struct batch *b, uint16_t type, const struct nat_set_shape *set)
{
	struct nlmsghdr *nlh = batch_message(b, type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0, MESSAGE_ROOM);

	if (nlh) {
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NAT_TABLE);
		mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
	}
	return nlh;
}

/* One message of as many of the ops as belong together; *ret_n = how many. */
static int put_message(struct batch *b, const struct nat_op *ops, size_t n, size_t *ret_n)
{
	uint16_t type = nat_op_is_del(ops->kind) ? NFT_MSG_DELSETELEM : NFT_MSG_NEWSETELEM;
	struct nlmsghdr *nlh = open_message(b, type, nat_set_of(set_kind_of(ops->kind), ops->vip.family));
	struct nlattr *list;
	size_t i = 0, list_at;

	if (!nlh)
		return -ENOSPC;
	list_at = nlh->nlmsg_len;
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	do {
		if (!op_valid(&ops[i]))
			return -EINVAL;
		if (nlh->nlmsg_len + ELEMENT_ROOM > b->cap - b->len)
			return -ENOSPC;
		put_element(nlh, &ops[i]);
		i++;
	} while (i < n && ops[i].kind == ops->kind && ops[i].vip.family == ops->vip.family &&
		 nlh->nlmsg_len - list_at < LIST_MAX);
	mnl_attr_nest_end(nlh, list);
	batch_commit(b, nlh);
	*ret_n = i;
	return 0;
}

int nat_elem_put(struct batch *b, const struct nat_op *ops, size_t n, bool each_alone)
{
	struct batch before = *b;
	size_t taken;

	for (size_t i = 0; i < n; i += taken) {
		int r = put_message(b, ops + i, each_alone ? 1 : n - i, &taken);

		if (r < 0) {
			batch_rewind(b, &before);
			return r;
		}
	}
	return 0;
}

/* One message of as many addresses of the set's family as fit; *at = where to go on. */
static int put_former(struct batch *b, const struct nat_set_shape *set, const struct former_list *l, size_t *at)
{
	struct nlmsghdr *nlh = open_message(b, NFT_MSG_NEWSETELEM, set);
	struct nlattr *list, *elem;
	size_t list_at;

	if (!nlh)
		return -ENOSPC;
	list_at = nlh->nlmsg_len;
	list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	for (; *at < l->n && nlh->nlmsg_len - list_at < LIST_MAX; ++*at) {
		const struct ip *ip = &l->ips[*at];

		if (ip->family != set->family)
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
	struct nlmsghdr *nlh = open_message(b, NFT_MSG_DELSETELEM, set);
	int r = 0;

	if (!nlh)
		return -ENOSPC;
	batch_commit(b, nlh);
	for (size_t at = 0; at < l->n && r == 0;) {
		if (l->ips[at].family == set->family)
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
	for (enum nat_set set = NAT_SET_FORMER4; set <= NAT_SET_FORMER6 && r == 0; set++)
		r = put_former_set(b, &nat_sets[set], &list);
	if (r < 0)
		batch_rewind(b, &before);
	return r;
}

/* ---- reading ---- */

static bool read_key(struct nat_op *op, const struct nat_set_shape *set, const struct nlattr *key)
{
	const struct nlattr *tb[NFTA_DATA_VALUE + 1];
	const uint8_t *at;
	uint16_t port;
	uint32_t slot;

	if (!key || attr_table(attr_walk_nested(key), tb, NFTA_DATA_VALUE) < 0 || !tb[NFTA_DATA_VALUE] ||
	    attr_len(tb[NFTA_DATA_VALUE]) != set->key_len)
		return false;
	at = attr_data(tb[NFTA_DATA_VALUE]);
	op->vip.family = (uint8_t)set->family;
	memcpy(op->vip.b, at, ip_len(&op->vip));
	at += ip_len(&op->vip);
	if (set->kind == NAT_SET_KIND_VIPS || set->kind == NAT_SET_KIND_LOCALS)
		return true;
	if (set->kind == NAT_SET_KIND_HOMES) {
		memcpy(&op->ifindex, at, sizeof(op->ifindex));
		return true;
	}
	op->proto = at[0];
	memcpy(&port, at + 4, sizeof(port));
	op->port = be16toh(port);
	if (set->kind != NAT_SET_KIND_SLOTS)
		return true;
	memcpy(&slot, at + 8, sizeof(slot));
	op->slot = (uint16_t)slot;
	return slot <= UINT16_MAX;
}

/* A verdict that is not ours leaves n_slots 0. */
static bool read_verdict(struct nat_op *op, const struct nlattr *data)
{
	const struct nlattr *tb[NFTA_DATA_VERDICT + 1], *vt[NFTA_VERDICT_CHAIN + 1];
	const struct nat_chain_shape *chain;
	uint32_t code;

	if (!data || attr_table(attr_walk_nested(data), tb, NFTA_DATA_VERDICT) < 0 || !tb[NFTA_DATA_VERDICT] ||
	    attr_table(attr_walk_nested(tb[NFTA_DATA_VERDICT]), vt, NFTA_VERDICT_CHAIN) < 0 ||
	    !attr_u32_be(vt[NFTA_VERDICT_CODE], &code))
		return false;
	if (code != (uint32_t)NFT_GOTO || !attr_text(vt[NFTA_VERDICT_CHAIN]))
		return true;
	chain = nat_chain_named(attr_text(vt[NFTA_VERDICT_CHAIN]));
	if (chain && chain->kind == NAT_CHAIN_BALANCE) {
		op->balance = chain->balance;
		op->n_slots = chain->n_slots;
	}
	return true;
}

static bool read_backend(struct nat_op *op, const struct nat_set_shape *set, const struct nlattr *data)
{
	const struct nlattr *tb[NFTA_DATA_VALUE + 1];
	const uint8_t *at;
	uint16_t port;

	if (!data || attr_table(attr_walk_nested(data), tb, NFTA_DATA_VALUE) < 0 || !tb[NFTA_DATA_VALUE] ||
	    attr_len(tb[NFTA_DATA_VALUE]) != set->data_len)
		return false;
	at = attr_data(tb[NFTA_DATA_VALUE]);
	op->backend.ip.family = (uint8_t)set->family;
	memcpy(op->backend.ip.b, at, ip_len(&op->backend.ip));
	memcpy(&port, at + ip_len(&op->backend.ip), sizeof(port));
	op->backend.port = be16toh(port);
	return true;
}

static bool read_element(const struct nat_set_shape *set, const struct nlattr *elem, struct nat_op *ret)
{
	const struct nlattr *tb[NFTA_SET_ELEM_DATA + 1];

	*ret = (struct nat_op){ .kind = NAT_OP_VIP_ADD };
	if (attr_table(attr_walk_nested(elem), tb, NFTA_SET_ELEM_DATA) < 0 ||
	    !read_key(ret, set, tb[NFTA_SET_ELEM_KEY]))
		return false;
	switch (set->kind) {
	case NAT_SET_KIND_VIPS:
		return true;
	case NAT_SET_KIND_LOCALS:
		ret->kind = NAT_OP_LOCAL_ADD;
		return true;
	case NAT_SET_KIND_HOMES:
		ret->kind = NAT_OP_HOME_ADD;
		return true;
	case NAT_SET_KIND_GUARDS:
		ret->kind = NAT_OP_GUARD_ADD;
		return true;
	case NAT_SET_KIND_DISPATCH:
		ret->kind = NAT_OP_FRONTEND_ADD;
		return read_verdict(ret, tb[NFTA_SET_ELEM_DATA]);
	case NAT_SET_KIND_SLOTS:
		ret->kind = NAT_OP_SLOT_ADD;
		return read_backend(ret, set, tb[NFTA_SET_ELEM_DATA]);
	case NAT_SET_KIND_FORMER: /* no op makes them */
		break;
	}
	return false;
}

int nat_elem_parse(const void *data, size_t len, void (*each)(void *ctx, const struct nat_op *op), void *ctx)
{
	const struct nlattr *tb[NFTA_SET_ELEM_LIST_ELEMENTS + 1], *elem;
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;
	const struct nat_set_shape *set;
	struct attr_walk list;
	struct nat_op op;

	if (!nfg || nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM) ||
	    attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, NFTA_SET_ELEM_LIST_ELEMENTS) < 0 ||
	    !attr_text(tb[NFTA_SET_ELEM_LIST_TABLE]) || !attr_text(tb[NFTA_SET_ELEM_LIST_SET]))
		return -EBADMSG;
	set = nat_set_named(attr_text(tb[NFTA_SET_ELEM_LIST_SET]));
	if (nfg->nfgen_family != NFPROTO_INET || !text_eq(attr_text(tb[NFTA_SET_ELEM_LIST_TABLE]), NAT_TABLE) || !set)
		return -ENOENT;
	list = attr_walk_nested(tb[NFTA_SET_ELEM_LIST_ELEMENTS]); /* absent in the answer for an empty set */
	while ((elem = attr_next(&list)) != NULL) {
		if (!read_element(set, elem, &op))
			return -EBADMSG;
		each(ctx, &op);
	}
	return list.left == 0 ? 0 : -EBADMSG;
}

/* ---- for people ---- */

static const char *proto_name(uint8_t proto, char *buf, size_t size)
{
	if (proto == IPPROTO_TCP)
		return "tcp";
	if (proto == IPPROTO_UDP)
		return "udp";
	if (proto == IPPROTO_SCTP)
		return "sctp";
	snprintf(buf, size, "%u", proto);
	return buf;
}

char *nat_elem_text(const struct nat_op *op, char buf[static NAT_ELEM_TEXT_MAX])
{
	const struct nat_set_shape *set = nat_set_of(set_kind_of(op->kind), op->vip.family);
	char vip[IP_TEXT_MAX], backend[IP_TEXT_MAX], number[4];
	const char *proto = proto_name(op->proto, number, sizeof(number));

	ip_format(&op->vip, vip);
	switch (set->kind) {
	case NAT_SET_KIND_VIPS:
	case NAT_SET_KIND_LOCALS:
	case NAT_SET_KIND_FORMER:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s (set %s)", vip, set->name);
		break;
	case NAT_SET_KIND_HOMES:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . interface %u (set %s)", vip, op->ifindex, set->name);
		break;
	case NAT_SET_KIND_GUARDS:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . %s . %u (set %s)", vip, proto, op->port, set->name);
		break;
	case NAT_SET_KIND_DISPATCH:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . %s . %u : %s-%u (map %s)", vip, proto, op->port,
			 op->balance == BALANCE_HASH ? "hash" : "random", op->n_slots, set->name);
		break;
	case NAT_SET_KIND_SLOTS:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . %s . %u . %u : %s . %u (map %s)", vip, proto, op->port,
			 op->slot, ip_format(&op->backend.ip, backend), op->backend.port, set->name);
		break;
	}
	return buf;
}
