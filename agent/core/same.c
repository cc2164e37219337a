/* SPDX-License-Identifier: Apache-2.0 */
/* same.c: see same.h.  Field by field, because structs have padding.  What has changed, diff.c finds out. */
#include "agent/core/same.h"

#include <assert.h>
#include <string.h>

bool same_frontend(const struct frontend *a, const struct frontend *b)
{
	assert(a->slots && b->slots);
	if (a->digest != b->digest || frontend_cmp(a, b) != 0 || a->balance != b->balance || a->sticky_s != b->sticky_s ||
	    a->n_backends != b->n_backends || a->n_slots != b->n_slots)
		return false;
	for (size_t i = 0; i < a->n_backends; i++)
		if (ip_port_cmp(&a->backends[i], &b->backends[i]) != 0)
			return false;
	return memcmp(a->slots, b->slots, a->n_slots * sizeof(*a->slots)) == 0;
}

static bool same_rate(const struct rate *a, const struct rate *b)
{
	return a->unit == b->unit && a->per_s == b->per_s && a->amount == b->amount && a->burst == b->burst;
}

bool same_firewall(const struct nat_firewall *a, const struct nat_firewall *b)
{
	if (!a || !b)
		return a == b;
	if (a->digest != b->digest || strcmp(a->name, b->name) != 0 || a->n_sources != b->n_sources ||
	    a->restricted != b->restricted || a->n_rates != b->n_rates || a->client_connections != b->client_connections)
		return false;
	for (size_t i = 0; i < a->n_sources; i++)
		if (a->sources[i].len != b->sources[i].len || !ip_eq(&a->sources[i].ip, &b->sources[i].ip))
			return false;
	for (size_t i = 0; i < a->n_rates; i++)
		if (!same_rate(&a->rates[i], &b->rates[i]))
			return false;
	return true;
}
