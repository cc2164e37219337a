/* SPDX-License-Identifier: Apache-2.0 */
/* attr_walk.c: bounded walking of netlink attributes, for every decoder of this directory.  It knows the framing
 * only; what a type means is the decoders' business. */
#include "netlink/attr_walk.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* The uapi macros are of type int, which -Wsign-conversion refuses to mix with sizes. */
#define HEADER_LEN sizeof(struct nlattr)
#define ALIGNED(n) (((n) + 3) & ~(size_t)3)

const struct nlmsghdr *attr_message(const void *data, size_t len)
{
	const struct nlmsghdr *nlh = data;

	if (len < sizeof(*nlh) || nlh->nlmsg_len < sizeof(*nlh) || nlh->nlmsg_len > len)
		return NULL;
	return nlh;
}

const void *attr_header(const struct nlmsghdr *nlh, size_t size)
{
	if (nlh->nlmsg_len < NLMSG_HDRLEN + size)
		return NULL;
	return (const unsigned char *)nlh + NLMSG_HDRLEN;
}

struct attr_walk attr_walk_message(const struct nlmsghdr *nlh, size_t size)
{
	size_t skip = NLMSG_HDRLEN + NLMSG_ALIGN(size);

	if (nlh->nlmsg_len < skip)
		return (struct attr_walk){ NULL, 0 };
	return (struct attr_walk){ (const unsigned char *)nlh + skip, nlh->nlmsg_len - skip };
}

struct attr_walk attr_walk_nested(const struct nlattr *a)
{
	if (!a)
		return (struct attr_walk){ NULL, 0 };
	return (struct attr_walk){ attr_data(a), attr_len(a) };
}

const struct nlattr *attr_next(struct attr_walk *w)
{
	const struct nlattr *a = (const void *)w->at;
	size_t step;

	if (w->left < sizeof(*a) || a->nla_len < sizeof(*a) || a->nla_len > w->left)
		return NULL;
	step = ALIGNED((size_t)a->nla_len);
	if (step > w->left) /* the last one's padding may be left out */
		step = w->left;
	w->at += step;
	w->left -= step;
	return a;
}

int attr_table(struct attr_walk w, const struct nlattr **tb, uint16_t max)
{
	const struct nlattr *a;

	memset(tb, 0, ((size_t)max + 1) * sizeof(*tb));
	while ((a = attr_next(&w)) != NULL)
		if (attr_type(a) <= max)
			tb[attr_type(a)] = a;
	return w.left == 0 ? 0 : -EBADMSG;
}

uint16_t attr_type(const struct nlattr *a)
{
	return a->nla_type & 0x3fff; /* NLA_TYPE_MASK: without the flags NESTED and NET_BYTEORDER */
}

const void *attr_data(const struct nlattr *a)
{
	return (const unsigned char *)a + HEADER_LEN;
}

size_t attr_len(const struct nlattr *a)
{
	return (size_t)a->nla_len - HEADER_LEN;
}

bool attr_u8(const struct nlattr *a, uint8_t *ret)
{
	if (!a || attr_len(a) != sizeof(*ret))
		return false;
	memcpy(ret, attr_data(a), sizeof(*ret));
	return true;
}

bool attr_u32(const struct nlattr *a, uint32_t *ret)
{
	if (!a || attr_len(a) != sizeof(*ret))
		return false;
	memcpy(ret, attr_data(a), sizeof(*ret));
	return true;
}

bool attr_u32_be(const struct nlattr *a, uint32_t *ret)
{
	uint32_t v;

	if (!attr_u32(a, &v))
		return false;
	*ret = be32toh(v);
	return true;
}

bool attr_u64_be(const struct nlattr *a, uint64_t *ret)
{
	uint64_t v;

	if (!a || attr_len(a) != sizeof(v))
		return false;
	memcpy(&v, attr_data(a), sizeof(v));
	*ret = be64toh(v);
	return true;
}

const char *attr_text(const struct nlattr *a)
{
	if (!a || attr_len(a) == 0 || !memchr(attr_data(a), '\0', attr_len(a)))
		return NULL;
	return attr_data(a);
}
