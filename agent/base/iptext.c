/* SPDX-License-Identifier: Apache-2.0 */
/* iptext.c: the text forms of addresses and ranges. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "agent/base/ip.h"
#include "agent/base/text.h"

int ip_parse(const char *text, struct ip *ret)
{
	struct ip a = { 0 };

	if (inet_pton(AF_INET, text, a.b) == 1)
		a.family = IP_V4;
	else if (inet_pton(AF_INET6, text, a.b) == 1) /* a failed try leaves a.b as it was */
		a.family = IP_V6;
	else
		return -EINVAL;
	*ret = a;
	return 0;
}

/* The first and last address of net/len, less those that no host may have. */
static int range_of_prefix(const struct ip *net, unsigned int len, struct ip_range *ret)
{
	struct ip_range r = { *net, *net };
	unsigned int bits = (unsigned int)ip_len(net) * 8;

	if (len > bits)
		return -EINVAL;
	for (unsigned int i = len; i < bits; i++) {
		uint8_t bit = (uint8_t)(0x80u >> (i % 8));

		r.first.b[i / 8] = (uint8_t)(r.first.b[i / 8] & ~bit);
		r.last.b[i / 8] = (uint8_t)(r.last.b[i / 8] | bit);
	}
	if (bits - len >= 2) {
		size_t low = ip_len(net) - 1;

		r.first.b[low] |= 1;
		if (net->family == IP_V4)
			r.last.b[low] &= 0xfe;
	}
	*ret = r;
	return 0;
}

int ip_range_parse(const char *text, struct ip_range *ret)
{
	char first[IP_TEXT_MAX];
	size_t n = strcspn(text, "-/");
	struct ip_range r;
	uint64_t len;

	if (n == 0 || n >= sizeof(first))
		return -EINVAL;
	memcpy(first, text, n);
	first[n] = '\0';
	if (ip_parse(first, &r.first) < 0)
		return -EINVAL;
	switch (text[n]) {
	case '\0':
		r.last = r.first;
		break;
	case '/':
		if (text_to_u64(text + n + 1, 128, &len) < 0)
			return -EINVAL;
		return range_of_prefix(&r.first, (unsigned int)len, ret);
	default:
		if (ip_parse(text + n + 1, &r.last) < 0 || r.first.family != r.last.family ||
		    ip_cmp(&r.first, &r.last) > 0)
			return -EINVAL;
	}
	*ret = r;
	return 0;
}

int ip_net_parse(const char *text, struct ip_net *ret)
{
	static const char blanks[] = " \t\r\n"; /* the API trims spec.loadBalancerSourceRanges of such */
	char copy[IP_TEXT_MAX + sizeof("/128")], *slash;
	struct ip_net net;
	uint64_t len;
	size_t n;

	text += strspn(text, blanks);
	for (n = strnlen(text, sizeof(copy)); n > 0 && strchr(blanks, text[n - 1]); n--)
		;
	if (n >= sizeof(copy) || text[n + strspn(text + n, blanks)])
		return -EINVAL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	slash = strchr(copy, '/');
	if (!slash)
		return -EINVAL;
	*slash = '\0';
	if (ip_parse(copy, &net.ip) < 0 || text_to_u64(slash + 1, ip_len(&net.ip) * 8, &len) < 0)
		return -EINVAL;
	net.len = (uint8_t)len;
	for (size_t i = net.len; i < ip_len(&net.ip) * 8; i++)
		net.ip.b[i / 8] = (uint8_t)(net.ip.b[i / 8] & ~(0x80u >> (i % 8)));
	*ret = net;
	return 0;
}

char *ip_format(const struct ip *a, char buf[static IP_TEXT_MAX])
{
	if (a->family == IP_NONE || !inet_ntop(a->family == IP_V4 ? AF_INET : AF_INET6, a->b, buf, IP_TEXT_MAX))
		memcpy(buf, "-", 2);
	return buf;
}
