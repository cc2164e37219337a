/* SPDX-License-Identifier: Apache-2.0 */
/* batch.c: frames nf_tables transactions.  What stands in the messages is nat_msg's and nat_elem's business,
 * sending them nlsock's. */
#include "netlink/batch.h"

#include <assert.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>

#define HEADER_LEN (NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg)))

_Static_assert(BATCH_OVERHEAD == 2 * HEADER_LEN, "begin and end are bare headers");

static struct nlmsghdr *put_header(unsigned char *at, uint16_t type, uint16_t flags, uint32_t seq)
{
	struct nlmsghdr *nlh = (void *)at;
	struct nfgenmsg *nfg = (void *)(at + NLMSG_HDRLEN);

	memset(at, 0, HEADER_LEN);
	nlh->nlmsg_len = HEADER_LEN;
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = seq;
	nfg->version = NFNETLINK_V0;
	return nlh;
}

static void put_mark(unsigned char *at, uint16_t type, uint32_t seq)
{
	struct nfgenmsg *nfg = (void *)(at + NLMSG_HDRLEN);

	put_header(at, type, 0, seq);
	nfg->nfgen_family = AF_UNSPEC;
	nfg->res_id = htobe16(NFNL_SUBSYS_NFTABLES);
}

void batch_init(struct batch *b, void *data, size_t cap)
{
	assert(cap >= BATCH_OVERHEAD);
	*b = (struct batch){ .data = data, .len = HEADER_LEN, .cap = cap - HEADER_LEN };
	put_mark(b->data, NFNL_MSG_BATCH_BEGIN, 0);
}

struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags, size_t need)
{
	struct nlmsghdr *nlh;
	struct nfgenmsg *nfg;

	if (need > b->cap || b->cap - need < b->len + HEADER_LEN)
		return NULL;
	/* Padding is left as it is by those who put attributes. */
	memset(b->data + b->len, 0, HEADER_LEN + need);
	nlh = put_header(b->data + b->len, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, b->seq + 1);
	nfg = (void *)((unsigned char *)nlh + NLMSG_HDRLEN);
	nfg->nfgen_family = NFPROTO_INET;
	return nlh;
}

void batch_commit(struct batch *b, const struct nlmsghdr *nlh)
{
	assert((const unsigned char *)nlh == b->data + b->len);
	assert(NLMSG_ALIGN((size_t)nlh->nlmsg_len) <= b->cap - b->len);
	b->last = (void *)(b->data + b->len);
	b->len += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	b->seq++;
}

void batch_rewind(struct batch *b, const struct batch *mark)
{
	assert(b->data == mark->data);
	assert(mark->len <= b->len);
	*b = *mark;
}

void batch_end(struct batch *b)
{
	assert(b->last);
	b->last->nlmsg_flags |= NLM_F_ACK;
	put_mark(b->data + b->len, NFNL_MSG_BATCH_END, b->seq + 1);
	b->len += HEADER_LEN;
}

void batch_renumber(struct batch *b, uint32_t seq)
{
	uint32_t count = batch_count(b);

	b->first_seq = seq;
	b->seq = seq + count;
	for (size_t at = 0; at < b->len;) {
		struct nlmsghdr *nlh = (void *)(b->data + at);

		nlh->nlmsg_seq = seq++;
		at += NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	}
}
