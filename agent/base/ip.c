/* SPDX-License-Identifier: Apache-2.0 */
/* ip.c: comparisons and arithmetic on addresses.  Pure: the text forms, which need libc, are in iptext.c. */
#include "agent/base/ip.h"

#include <string.h>

size_t ip_len(const struct ip *a)
{
	return a->family == IP_V4 ? 4 : a->family == IP_V6 ? 16 : 0;
}

int ip_cmp(const struct ip *a, const struct ip *b)
{
	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	return memcmp(a->b, b->b, sizeof(a->b));
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
	return ip_cmp(a, b) == 0;
}

bool ip_listed(const struct ip *v, size_t n, const struct ip *ip)
{
	size_t lo = 0, hi = n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = ip_cmp(&v[mid], ip);

		if (c == 0)
			return true;
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

int ip_port_cmp(const struct ip_port *a, const struct ip_port *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	if (c)
		return c;
	return (a->port > b->port) - (a->port < b->port);
}

int ip_net_cmp(const struct ip_net *a, const struct ip_net *b)
{
	int c = ip_cmp(&a->ip, &b->ip);

	return c ? c : (a->len > b->len) - (a->len < b->len);
}

bool ip_next(const struct ip *a, struct ip *ret)
{
	struct ip next = *a;

	for (size_t i = ip_len(a); i-- > 0;) {
		if (++next.b[i] != 0) {
			*ret = next;
			return true;
		}
	}
	return false;
}

bool ip_in_range(const struct ip *a, const struct ip_range *r)
{
	return a->family == r->first.family && ip_cmp(a, &r->first) >= 0 && ip_cmp(a, &r->last) <= 0;
}

bool ip_in_prefix(const struct ip *a, const struct ip *net, unsigned int len)
{
	size_t bytes = len / 8;
	unsigned int rest = len % 8;

	if (a->family != net->family || len > ip_len(a) * 8)
		return false;
	if (memcmp(a->b, net->b, bytes) != 0)
		return false;
	return rest == 0 || ((a->b[bytes] ^ net->b[bytes]) >> (8 - rest)) == 0;
}

bool ip_is_unusable(const struct ip *a)
{
	static const uint8_t zero[16];
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (a->family == IP_V4)
		return a->b[0] == 0 || a->b[0] == 127 || a->b[0] >= 224;
	if (a->family != IP_V6)
		return true;
	return (memcmp(a->b, zero, 15) == 0 && a->b[15] <= 1) || a->b[0] == 0xff ||
	       (a->b[0] == 0xfe && (a->b[1] & 0xc0) == 0x80) || memcmp(a->b, mapped, 12) == 0;
}
