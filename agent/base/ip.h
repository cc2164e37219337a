/* SPDX-License-Identifier: Apache-2.0 */
/* ip.h: IP addresses, ranges and transport endpoints as values.  Pure; the parsers are bounded and
 * accept only the canonical forms inet_pton(3) accepts. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"

#define IP_TEXT_MAX 46 /* INET6_ADDRSTRLEN, the NUL included */

enum ip_family {
	IP_NONE = 0, /* no address */
	IP_V4 = 4,
	IP_V6 = 6,
};

/* Unused bytes of 'b' are zero, so that ip_cmp() may compare all of them. */
struct ip {
	uint8_t family; /* enum ip_family */
	uint8_t b[16];	/* network byte order; v4 uses b[0..4) */
};

struct ip_port {
	struct ip ip;
	uint16_t port; /* host byte order */
};

/* Both ends belong to the range; same family; first <= last. */
struct ip_range {
	struct ip first, last;
};

/* A prefix; the bits of 'ip' behind it are zero. */
struct ip_net {
	struct ip ip;
	uint8_t len; /* bits: 0..32 or 0..128 */
};

/* 4 or 16; 0 for IP_NONE. */
size_t ip_len(const struct ip *a);

/* Total order: family, then bytes.  <0, 0, >0. */
int ip_cmp(const struct ip *a, const struct ip *b);
bool ip_eq(const struct ip *a, const struct ip *b);
int ip_port_cmp(const struct ip_port *a, const struct ip_port *b);
int ip_net_cmp(const struct ip_net *a, const struct ip_net *b); /* family, bytes, len */

/* Whether 'ip' stands in v[0..n), sorted by ip_cmp(). */
bool ip_listed(const struct ip *v, size_t n, const struct ip *ip);

/* The next address; false (and *ret untouched) after the last of the family. */
bool ip_next(const struct ip *a, struct ip *ret);

bool ip_in_range(const struct ip *a, const struct ip_range *r);
/* True when 'a' lies in the prefix net/len; false for other families. */
bool ip_in_prefix(const struct ip *a, const struct ip *net, unsigned int len);

/* Never an address for a VIP: unspecified, loopback, multicast, v4 broadcast, v6 link-local, v4-mapped. */
bool ip_is_unusable(const struct ip *a);

/* Parses "192.0.2.1" or "2001:db8::1".  -EINVAL otherwise. */
MUST_USE int ip_parse(const char *text, struct ip *ret);

/* Parses "A-B", "A/LEN" or "A".  A v4 prefix shorter than /31 leaves out network and broadcast address,
 * a v6 prefix shorter than /127 leaves out the all-zero (subnet-router anycast, RFC 4291 section 2.6.1).
 * -EINVAL: not of these forms, families differ, or first > last. */
MUST_USE int ip_range_parse(const char *text, struct ip_range *ret);

/* Parses "ADDR/LEN"; blanks around it are skipped, bits behind the prefix cleared.  -EINVAL. */
MUST_USE int ip_net_parse(const char *text, struct ip_net *ret);

/* Canonical text (RFC 5952 for v6) into 'buf' of at least IP_TEXT_MAX bytes; returns buf.  "-" for IP_NONE. */
char *ip_format(const struct ip *a, char buf[static IP_TEXT_MAX]);
