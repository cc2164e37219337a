/* SPDX-License-Identifier: Apache-2.0 */
/* nft_frame.c: tables, chains, sets and elements to bytes; what the kernel sends is read by attr_walk, bounded.  Pure: the
 * files *_if.c talk to the kernel. */
#include "netlink/nft_frame.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/set.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"

/* What a message of elements has besides them. */
#define LIST_ROOM 64
#define NAME_MAX_LEN 16 /* NUL included */

/* The attribute that names the table, wherever one is named within. */
#define TABLE_ATTR 1
_Static_assert(NFTA_SET_TABLE == TABLE_ATTR && NFTA_SET_ELEM_LIST_TABLE == TABLE_ATTR && NFTA_CHAIN_TABLE == TABLE_ATTR &&
	       NFTA_RULE_TABLE == TABLE_ATTR, "first attribute");

struct nlmsghdr *nft_frame_message(struct batch *b, const struct nft_table *t, uint16_t type, uint16_t flags, size_t need)
{
	struct nlmsghdr *nlh = batch_message(b, type, flags, need);

	if (nlh)
		((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = t->nfproto;
	return nlh;
}

/* ---- tables and chains ---- */

static int put_table(struct batch *b, const struct nft_table *t, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = nft_frame_message(b, t, type, flags, t->room);

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, t->name);
	batch_commit(b, nlh);
	return 0;
}

int nft_frame_add_table(struct batch *b, const struct nft_table *t)
{
	return put_table(b, t, NFT_MSG_NEWTABLE, NLM_F_CREATE);
}

int nft_frame_del_table(struct batch *b, const struct nft_table *t)
{
	return put_table(b, t, NFT_MSG_DELTABLE, 0);
}

int nft_frame_remove_table(struct batch *b, const struct nft_table *t)
{
	int r = nft_frame_add_table(b, t); /* to delete what is absent would be an error */

	return r == 0 ? nft_frame_del_table(b, t) : r;
}

static void put_hook(struct nlmsghdr *nlh, const struct nft_hook *hook)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, NFTA_CHAIN_HOOK);

	mnl_attr_put_u32(nlh, NFTA_HOOK_HOOKNUM, htobe32(hook->num));
	mnl_attr_put_u32(nlh, NFTA_HOOK_PRIORITY, htobe32((uint32_t)hook->priority));
	mnl_attr_nest_end(nlh, nest);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TYPE, hook->type);
}

int nft_frame_add_chain(struct batch *b, const struct nft_table *t, const char *name, const struct nft_hook *hook)
{
	struct nlmsghdr *nlh = nft_frame_message(b, t, NFT_MSG_NEWCHAIN, NLM_F_CREATE, t->room);

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, t->name);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	if (hook)
		put_hook(nlh, hook);
	batch_commit(b, nlh);
	return 0;
}

/* attr: the one that names what of the table is to go. */
static int put_deletion(struct batch *b, const struct nft_table *t, uint16_t type, uint16_t attr, const char *name)
{
	struct nlmsghdr *nlh = nft_frame_message(b, t, type, 0, t->room);

	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, TABLE_ATTR, t->name);
	mnl_attr_put_strz(nlh, attr, name);
	batch_commit(b, nlh);
	return 0;
}

int nft_frame_del_chain(struct batch *b, const struct nft_table *t, const char *name)
{
	return put_deletion(b, t, NFT_MSG_DELCHAIN, NFTA_CHAIN_NAME, name);
}

/* ---- sets ---- */

void nft_frame_free_setp(struct nftnl_set **s)
{
	if (*s)
		nftnl_set_free(*s);
}

struct nftnl_set *nft_frame_new_set(const struct batch *b, const struct nft_table *t, const struct nft_set *set,
				    const struct nat_udata *note)
{
	const struct nat_udata plain = nat_udata_set(&(struct nat_set_shape){ .key_type = set->key_type });
	AUTO(nft_frame_free_setp) struct nftnl_set *s = nftnl_set_alloc();

	note = note ? note : &plain;
	if (!s || nftnl_set_set_str(s, NFTNL_SET_TABLE, t->name) < 0 || nftnl_set_set_str(s, NFTNL_SET_NAME, set->name) < 0 ||
	    nftnl_set_set_data(s, NFTNL_SET_USERDATA, note->data, (uint32_t)note->len) < 0)
		return NULL;
	nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, set->key_type);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, set->key_len);
	/* Needed by the kernel, though we refer to sets by name: any number that the transaction has once. */
	nftnl_set_set_u32(s, NFTNL_SET_ID, b->seq);
	return TAKE(s);
}

int nft_frame_add_set(struct batch *b, const struct nft_table *t, struct nftnl_set *s)
{
	struct nlmsghdr *nlh = s ? nft_frame_message(b, t, NFT_MSG_NEWSET, NLM_F_CREATE, t->room) : NULL;

	if (!nlh)
		return s ? -ENOSPC : -ENOMEM;
	nftnl_set_nlmsg_build_payload(nlh, s);
	batch_commit(b, nlh);
	return 0;
}

int nft_frame_del_set(struct batch *b, const struct nft_table *t, const char *name)
{
	return put_deletion(b, t, NFT_MSG_DELSET, NFTA_SET_NAME, name);
}

/* ---- elements ---- */

/* Without a list of elements: all of them. */
int nft_frame_empty_set(struct batch *b, const struct nft_table *t, const char *name)
{
	return put_deletion(b, t, NFT_MSG_DELSETELEM, NFTA_SET_ELEM_LIST_SET, name);
}

/* In one message: an attribute's length has 16 bits, and the list of elements is one attribute. */
static size_t elements_max(uint32_t room)
{
	return UINT16_MAX / room - 1;
}

static int open_list(struct nft_elements *e)
{
	struct nlmsghdr *nlh = nft_frame_message(e->b, e->table, NFT_MSG_NEWSETELEM, NLM_F_CREATE, LIST_ROOM + e->room);

	assert(strlen(e->table->name) < NAME_MAX_LEN && strlen(e->set->name) < NAME_MAX_LEN);
	if (!nlh)
		return -ENOSPC;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, e->table->name);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, e->set->name);
	e->list = mnl_attr_nest_start(nlh, NFTA_SET_ELEM_LIST_ELEMENTS);
	e->open = nlh;
	e->n = 0;
	return 0;
}

int nft_frame_put_element(struct nft_elements *e, const void *key)
{
	struct nlattr *elem, *value;
	int r;

	if (e->open && e->n == elements_max(e->room))
		nft_frame_end_elements(e);
	r = e->open ? 0 : open_list(e);
	if (r < 0 || e->open->nlmsg_len + e->room > e->b->cap - e->b->len)
		return -ENOSPC;
	memset((unsigned char *)e->open + e->open->nlmsg_len, 0, e->room); /* for the padding */
	elem = mnl_attr_nest_start(e->open, NFTA_LIST_ELEM);
	value = mnl_attr_nest_start(e->open, NFTA_SET_ELEM_KEY);
	mnl_attr_put(e->open, NFTA_DATA_VALUE, e->set->key_len, key);
	mnl_attr_nest_end(e->open, value);
	if (e->timeout_ms)
		mnl_attr_put_u64(e->open, NFTA_SET_ELEM_TIMEOUT, htobe64(e->timeout_ms));
	mnl_attr_nest_end(e->open, elem);
	e->n++;
	return 0;
}

void nft_frame_end_elements(struct nft_elements *e)
{
	if (!e->open)
		return;
	mnl_attr_nest_end(e->open, e->list);
	batch_commit(e->b, e->open);
	e->open = NULL;
}

size_t nft_frame_elements_room(size_t n, uint32_t room)
{
	size_t lists = n / elements_max(room) + 1;

	return n * room + lists * (NLMSG_HDRLEN + sizeof(struct nfgenmsg) + LIST_ROOM);
}

/* ---- reading ---- */

struct nlmsghdr *nft_frame_request(void *buf, size_t size, const struct nft_table *t, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	memset(buf, 0, size); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nfg = mnl_nlmsg_put_extra_header(nlh, sizeof(*nfg));
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nfg->nfgen_family = t->nfproto;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

int nft_frame_open(const struct nlmsghdr *nlh, const struct nft_table *t, uint16_t type, const struct nlattr **tb,
		   uint16_t max)
{
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;

	if (!nfg || nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | type) ||
	    attr_table(attr_walk_message(nlh, sizeof(*nfg)), tb, max) < 0 || !attr_text(tb[TABLE_ATTR]))
		return -EBADMSG;
	return nfg->nfgen_family == t->nfproto && text_eq(attr_text(tb[TABLE_ATTR]), t->name) ? 0 : -ENOENT;
}
