/* SPDX-License-Identifier: Apache-2.0 */
/* nat_udata.c: nft's private notes on sets and rules: type, length (a byte each) and value, nested.  Nothing
 * depends on them in the kernel; without them "nft list ruleset" shows numbers where names belong, and the slot of
 * a key as bytes. */
#include "netlink/nat_udata.h"

#include <assert.h>
#include <string.h>

/* Attributes of a set, of a type given by an expression, and of a member of a concatenation. */
#define SET_KEY_BYTE_ORDER 0
#define SET_DATA_BYTE_ORDER 1
#define SET_KEY_TYPEOF 3
#define SET_DATA_TYPEOF 4
#define SET_DATA_INTERVAL 6
#define TYPEOF_EXPRESSION 0
#define TYPEOF_DATA 1
#define RULE_COMMENT 0

/* Kinds of expression, and what identifies one of each. */
#define EXPRESSION_PAYLOAD 7
#define EXPRESSION_META 9
#define EXPRESSION_CONCAT 13
#define EXPRESSION_NUMGEN 23
#define HEADER_TH 11
#define HEADER_IP 12
#define HEADER_IP6 13
#define IP_FIELD_DADDR 12
#define IP6_FIELD_DADDR 9
#define TH_FIELD_DPORT 2
#define META_L4PROTO 16
#define NUMGEN_RANDOM 1
#define BYTE_ORDER_NONE 0
#define BYTE_ORDER_BIG 2

static void put(struct nat_udata *u, uint8_t type, const void *value, size_t len)
{
	assert(len <= UINT8_MAX);
	assert(len + 2 <= NAT_UDATA_MAX - u->len);
	u->data[u->len++] = type;
	u->data[u->len++] = (uint8_t)len;
	memcpy(u->data + u->len, value, len);
	u->len += len;
}

static void put_u32(struct nat_udata *u, uint8_t type, uint32_t value)
{
	put(u, type, &value, sizeof(value));
}

/* Opens a nested value; close() sets its length. */
static size_t open_nest(struct nat_udata *u, uint8_t type)
{
	put(u, type, "", 0);
	return u->len;
}

static void close_nest(struct nat_udata *u, size_t at)
{
	assert(u->len - at <= UINT8_MAX);
	u->data[at - 1] = (uint8_t)(u->len - at);
}

/* Member 'i' of a concatenation: a header's field. */
static void put_field(struct nat_udata *u, uint8_t i, uint32_t header, uint32_t field)
{
	size_t member = open_nest(u, i), data;

	put_u32(u, TYPEOF_EXPRESSION, EXPRESSION_PAYLOAD);
	data = open_nest(u, TYPEOF_DATA);
	put_u32(u, 0, header);
	put_u32(u, 1, field);
	close_nest(u, data);
	close_nest(u, member);
}

static void put_l4proto(struct nat_udata *u, uint8_t i)
{
	size_t member = open_nest(u, i), data;

	put_u32(u, TYPEOF_EXPRESSION, EXPRESSION_META);
	data = open_nest(u, TYPEOF_DATA);
	put_u32(u, 0, META_L4PROTO);
	close_nest(u, data);
	close_nest(u, member);
}

/* The slot: what "numgen random mod 5003" yields, a plain number; the modulus is the largest class's. */
static void put_slot(struct nat_udata *u, uint8_t i)
{
	size_t member = open_nest(u, i), data;

	put_u32(u, TYPEOF_EXPRESSION, EXPRESSION_NUMGEN);
	data = open_nest(u, TYPEOF_DATA);
	put_u32(u, 0, NUMGEN_RANDOM);
	put_u32(u, 1, NAT_SLOTS_MAX);
	put_u32(u, 2, 0);
	close_nest(u, data);
	close_nest(u, member);
}

static void put_daddr(struct nat_udata *u, enum ip_family family)
{
	if (family == IP_V4)
		put_field(u, 0, HEADER_IP, IP_FIELD_DADDR);
	else
		put_field(u, 0, HEADER_IP6, IP6_FIELD_DADDR);
}

/* A concatenation whose type numbers suffice: nft leaves its members empty, too. */
static void put_plain_concat(struct nat_udata *u, uint8_t type)
{
	size_t nest = open_nest(u, type);

	put_u32(u, TYPEOF_EXPRESSION, EXPRESSION_CONCAT);
	put(u, TYPEOF_DATA, "", 0);
	close_nest(u, nest);
}

static void put_slots_key(struct nat_udata *u, enum ip_family family)
{
	size_t nest = open_nest(u, SET_KEY_TYPEOF), data;

	put_u32(u, TYPEOF_EXPRESSION, EXPRESSION_CONCAT);
	data = open_nest(u, TYPEOF_DATA);
	put_daddr(u, family);
	put_l4proto(u, 1);
	put_field(u, 2, HEADER_TH, TH_FIELD_DPORT);
	put_slot(u, 3);
	close_nest(u, data);
	close_nest(u, nest);
}

static void put_slots_value(struct nat_udata *u, enum ip_family family)
{
	size_t nest = open_nest(u, SET_DATA_TYPEOF), data;

	put_u32(u, TYPEOF_EXPRESSION, EXPRESSION_CONCAT);
	data = open_nest(u, TYPEOF_DATA);
	put_daddr(u, family);
	/* Not "tcp": nft 1.0.6 would read the listing back, but add "tcp only" to a rule that uses the map.
	 * The price of "th" is that it refuses such rules beside a table that is there already
	 * ("conflicting protocols"); after "flush ruleset" or "delete table" it takes them. */
	put_field(u, 1, HEADER_TH, TH_FIELD_DPORT);
	close_nest(u, data);
	close_nest(u, nest);
}

struct nat_udata nat_udata_set(const struct nat_set_shape *set)
{
	struct nat_udata u = { .len = 0 };

	if (set->key_type < 1u << NAT_TYPE_BITS) { /* an address alone */
		put_u32(&u, SET_KEY_BYTE_ORDER, BYTE_ORDER_BIG);
		return u;
	}
	put_u32(&u, SET_KEY_BYTE_ORDER, BYTE_ORDER_NONE);
	if (nat_set_is_map(set))
		put_u32(&u, SET_DATA_BYTE_ORDER, BYTE_ORDER_NONE);
	if (nat_set_has_slots(set)) {
		put_slots_key(&u, set->family);
		put_slots_value(&u, set->family);
	} else {
		put_plain_concat(&u, SET_KEY_TYPEOF);
		if (set->data_len) /* not a verdict */
			put_plain_concat(&u, SET_DATA_TYPEOF);
	}
	if (nat_set_is_map(set))
		put_u32(&u, SET_DATA_INTERVAL, 0);
	return u;
}

struct nat_udata nat_udata_comment(const char *comment)
{
	struct nat_udata u = { .len = 0 };

	put(&u, RULE_COMMENT, comment, strlen(comment) + 1);
	return u;
}

const char *nat_udata_find_comment(const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len >= 2 && at[1] <= len - 2) {
		if (at[0] == RULE_COMMENT && at[1] > 0 && at[1 + at[1]] == '\0')
			return (const char *)at + 2;
		len -= (size_t)at[1] + 2;
		at += (size_t)at[1] + 2;
	}
	return NULL;
}
