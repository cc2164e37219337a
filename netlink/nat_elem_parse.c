/* SPDX-License-Identifier: Apache-2.0 */
/* nat_elem_parse.c: elements as the kernel tells them, and as people read them.  Bounded; nothing is copied.  Pure. */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_udata.h"

#define DIGEST_WORD "digest "
#define DIGEST_DIGITS 16

/* ---- keys and values ---- */

static const uint8_t *value_of(const struct nlattr *attr, uint32_t len)
{
	const struct nlattr *tb[NFTA_DATA_VALUE + 1];

	if (!attr || attr_table(attr_walk_nested(attr), tb, NFTA_DATA_VALUE) < 0 || !tb[NFTA_DATA_VALUE] ||
	    attr_len(tb[NFTA_DATA_VALUE]) != len)
		return NULL;
	return attr_data(tb[NFTA_DATA_VALUE]);
}

static size_t get_ip(const uint8_t *at, enum ip_family family, struct ip *ret)
{
	ret->family = (uint8_t)family;
	memcpy(ret->b, at, ip_len(ret));
	return ip_len(ret);
}

static uint16_t get_port(const uint8_t *at)
{
	uint16_t port;

	memcpy(&port, at, sizeof(port));
	return be16toh(port);
}

/* protocol . port and what may follow. */
static bool read_service(struct nat_elem *e, const uint8_t *at)
{
	uint32_t slot;

	e->proto = at[0];
	e->port = get_port(at + 4);
	if (e->set->kind == NAT_SET_KIND_CLIENTS)
		get_ip(at + 8, e->set->family, &e->client);
	if (!nat_set_has_slots(e->set))
		return true;
	memcpy(&slot, at + 8, sizeof(slot));
	e->slot = (uint16_t)slot;
	return slot <= UINT16_MAX;
}

static bool read_key(struct nat_elem *e, const struct nlattr *key)
{
	const uint8_t *at = value_of(key, e->set->key_len);

	if (!at)
		return false;
	at += get_ip(at, e->set->family, &e->ip);
	switch (e->set->kind) {
	case NAT_SET_KIND_VIPS:
	case NAT_SET_KIND_LOCALS:
	case NAT_SET_KIND_KEEPS:
	case NAT_SET_KIND_ROUTED:
		return true;
	case NAT_SET_KIND_FORMER: /* nobody reads them */
		return false;
	case NAT_SET_KIND_HAIRPINS:
		return memcmp(at, e->ip.b, ip_len(&e->ip)) == 0;
	case NAT_SET_KIND_HOMES:
		memcpy(&e->ifindex, at, sizeof(e->ifindex));
		return true;
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
	return read_service(e, at);
}

/* A verdict that is not a goto leaves 'chain' NULL. */
static bool read_verdict(struct nat_elem *e, const struct nlattr *data)
{
	const struct nlattr *tb[NFTA_DATA_VERDICT + 1], *vt[NFTA_VERDICT_CHAIN + 1];
	uint32_t code;

	if (!data || attr_table(attr_walk_nested(data), tb, NFTA_DATA_VERDICT) < 0 || !tb[NFTA_DATA_VERDICT] ||
	    attr_table(attr_walk_nested(tb[NFTA_DATA_VERDICT]), vt, NFTA_VERDICT_CHAIN) < 0 ||
	    !attr_u32_be(vt[NFTA_VERDICT_CODE], &code))
		return false;
	if (code != (uint32_t)NFT_GOTO)
		return true;
	e->chain = attr_text(vt[NFTA_VERDICT_CHAIN]);
	return e->chain && strlen(e->chain) < NAT_NAME_MAX;
}

static bool read_value(struct nat_elem *e, const struct nlattr *data)
{
	const uint8_t *at;

	if (!nat_set_is_map(e->set))
		return true;
	if (e->set->data_type == NFT_DATA_VERDICT)
		return read_verdict(e, data);
	at = value_of(data, e->set->data_len);
	if (!at)
		return false;
	at += get_ip(at, e->set->family, &e->backend.ip);
	e->backend.port = get_port(at);
	return true;
}

static bool read_counter(const struct nlattr *data, uint64_t *packets, uint64_t *bytes)
{
	const struct nlattr *tb[NFTA_COUNTER_PACKETS + 1];

	return data && attr_table(attr_walk_nested(data), tb, NFTA_COUNTER_PACKETS) == 0 &&
	       attr_u64_be(tb[NFTA_COUNTER_PACKETS], packets) && attr_u64_be(tb[NFTA_COUNTER_BYTES], bytes);
}

/* The element's expression, if it has one; only counters are of interest. */
static bool read_expression(struct nat_elem *e, const struct nlattr *expr)
{
	const struct nlattr *tb[NFTA_EXPR_DATA + 1];

	if (!expr)
		return true;
	if (attr_table(attr_walk_nested(expr), tb, NFTA_EXPR_DATA) < 0 || !attr_text(tb[NFTA_EXPR_NAME]))
		return false;
	return !text_eq(attr_text(tb[NFTA_EXPR_NAME]), "counter") ||
	       read_counter(tb[NFTA_EXPR_DATA], &e->packets, &e->bytes);
}

static bool read_element(const struct nat_set_shape *set, const struct nlattr *elem, struct nat_elem *ret)
{
	const struct nlattr *tb[NFTA_SET_ELEM_EXPR + 1], *udata;
	const char *comment = NULL;

	*ret = (struct nat_elem){ .set = set };
	if (attr_table(attr_walk_nested(elem), tb, NFTA_SET_ELEM_EXPR) < 0 ||
	    !read_key(ret, tb[NFTA_SET_ELEM_KEY]) || !read_value(ret, tb[NFTA_SET_ELEM_DATA]) ||
	    !read_expression(ret, tb[NFTA_SET_ELEM_EXPR]))
		return false;
	udata = tb[NFTA_SET_ELEM_USERDATA];
	if (udata && set->kind == NAT_SET_KIND_DISPATCH)
		comment = nat_udata_find_comment(attr_data(udata), attr_len(udata));
	if (comment)
		ret->digest = nat_digest_find(comment);
	return true;
}

/* ---- messages ---- */

static const struct nfgenmsg *header_of(const struct nlmsghdr *nlh, uint8_t type)
{
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;

	return nfg && nlh->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | type) ? nfg : NULL;
}

int nat_elem_parse(const void *data, size_t len, int (*each)(void *ctx, const struct nat_elem *e), void *ctx)
{
	const struct nlattr *tb[NFTA_SET_ELEM_LIST_ELEMENTS + 1], *elem;
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = header_of(nlh, NFT_MSG_NEWSETELEM);
	const struct nat_set_shape *set;
	struct attr_walk list;
	struct nat_elem e;

	if (!nfg || attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, NFTA_SET_ELEM_LIST_ELEMENTS) < 0 ||
	    !attr_text(tb[NFTA_SET_ELEM_LIST_TABLE]) || !attr_text(tb[NFTA_SET_ELEM_LIST_SET]))
		return -EBADMSG;
	set = nat_set_named(attr_text(tb[NFTA_SET_ELEM_LIST_SET]));
	if (nfg->nfgen_family != NFPROTO_INET || !text_eq(attr_text(tb[NFTA_SET_ELEM_LIST_TABLE]), NAT_TABLE) || !set)
		return -ENOENT;
	list = attr_walk_nested(tb[NFTA_SET_ELEM_LIST_ELEMENTS]); /* absent in the answer for an empty set */
	while ((elem = attr_next(&list)) != NULL) {
		int r = read_element(set, elem, &e) ? each(ctx, &e) : -EBADMSG;

		if (r < 0)
			return r;
	}
	return list.left == 0 ? 0 : -EBADMSG;
}

int nat_elem_parse_counter(const void *data, size_t len, struct nat_seen_counter *ret)
{
	const struct nlattr *tb[NFTA_OBJ_DATA + 1];
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = header_of(nlh, NFT_MSG_NEWOBJ);
	struct nat_seen_counter c = { .name = NULL };
	uint32_t type;

	if (!nfg || attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, NFTA_OBJ_DATA) < 0 ||
	    !attr_text(tb[NFTA_OBJ_TABLE]) || !attr_text(tb[NFTA_OBJ_NAME]) || !attr_u32_be(tb[NFTA_OBJ_TYPE], &type))
		return -EBADMSG;
	if (nfg->nfgen_family != NFPROTO_INET || !text_eq(attr_text(tb[NFTA_OBJ_TABLE]), NAT_TABLE) ||
	    type != NFT_OBJECT_COUNTER)
		return -ENOENT;
	c.name = attr_text(tb[NFTA_OBJ_NAME]);
	if (!read_counter(tb[NFTA_OBJ_DATA], &c.packets, &c.bytes))
		return -EBADMSG;
	*ret = c;
	return 0;
}

/* ---- comments ---- */

char *nat_digest_text(uint64_t digest, char buf[static NAT_DIGEST_MAX])
{
	snprintf(buf, NAT_DIGEST_MAX, DIGEST_WORD "%0*" PRIx64, DIGEST_DIGITS, digest);
	return buf;
}

uint64_t nat_digest_find(const char *comment)
{
	const char *at = strstr(comment, DIGEST_WORD);
	uint64_t digest = 0;

	if (!at)
		return 0;
	at += strlen(DIGEST_WORD);
	for (unsigned int i = 0; i < DIGEST_DIGITS; i++) {
		const char *hex = "0123456789abcdef", *digit = at[i] ? strchr(hex, at[i]) : NULL;

		if (!digit)
			return 0;
		digest = digest << 4 | (uint64_t)(digit - hex);
	}
	return digest;
}

unsigned int nat_rules_find(const char *comment)
{
	const char *at = strstr(comment, NAT_RULES_WORD);
	unsigned int n = 0;

	for (at = at ? at + strlen(NAT_RULES_WORD) : ""; *at >= '0' && *at <= '9'; at++) {
		n = n * 10 + (unsigned int)(*at - '0');
		if (n > UINT16_MAX)
			return 0;
	}
	return n;
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

char *nat_elem_text(const struct nat_elem *e, char buf[static NAT_ELEM_TEXT_MAX])
{
	char ip[IP_TEXT_MAX], other[IP_TEXT_MAX], client[IP_TEXT_MAX], number[4], key[IP_TEXT_MAX + 16];
	const char *name = e->set->name, *kind = nat_set_is_map(e->set) ? "map" : "set";

	ip_format(&e->ip, ip);
	ip_format(&e->backend.ip, other);
	snprintf(key, sizeof(key), "%s . %s . %u", ip, proto_name(e->proto, number, sizeof(number)), e->port);
	switch (e->set->kind) {
	case NAT_SET_KIND_VIPS:
	case NAT_SET_KIND_LOCALS:
	case NAT_SET_KIND_KEEPS:
	case NAT_SET_KIND_HAIRPINS:
	case NAT_SET_KIND_ROUTED:
	case NAT_SET_KIND_FORMER:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s (%s %s)", ip, kind, name);
		break;
	case NAT_SET_KIND_HOMES:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . interface %u (%s %s)", ip, e->ifindex, kind, name);
		break;
	case NAT_SET_KIND_GUARDS:
	case NAT_SET_KIND_RECEIVED:
	case NAT_SET_KIND_SENT:
	case NAT_SET_KIND_BACKENDS:
	case NAT_SET_KIND_OPENED:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s (%s %s)", key, kind, name);
		break;
	case NAT_SET_KIND_DISPATCH:
	case NAT_SET_KIND_FIREWALLS:
	case NAT_SET_KIND_RETURNS:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s : %.*s (%s %s)", key, NAT_NAME_MAX, e->chain ? e->chain : "-", kind,
			 name);
		break;
	case NAT_SET_KIND_SLOTS:
	case NAT_SET_KIND_TURNS:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . %u : %s . %u (%s %s)", key, e->slot, other, e->backend.port, kind,
			 name);
		break;
	case NAT_SET_KIND_CLIENTS:
		snprintf(buf, NAT_ELEM_TEXT_MAX, "%s . %s : %s . %u (%s %s)", key, ip_format(&e->client, client), other,
			 e->backend.port, kind, name);
		break;
	}
	return buf;
}
