/* SPDX-License-Identifier: Apache-2.0 */
/* digest.c: numbers are taken in as numbers, addresses as bytes in network order, so that the machine's byte order does not
 * enter.  Not for secrets: who may write the table may forge it. */
#include "agent/core/digest.h"

#include <assert.h>
#include <stddef.h>

#include "agent/core/hash.h"

#define BEGIN_FRONTEND UINT64_C(0x66726f6e74656e64)
#define BEGIN_FIREWALL UINT64_C(0x6669726577616c6c)

static uint64_t take(uint64_t h, uint64_t v)
{
	return hash_mix(h ^ v) + UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t take_bytes(uint64_t h, const uint8_t b[static 8])
{
	uint64_t v = 0;

	for (size_t i = 0; i < 8; i++)
		v = v << 8 | b[i];
	return take(h, v);
}

/* The address with whatever number goes along with it. */
static uint64_t take_ip(uint64_t h, const struct ip *ip, uint16_t with)
{
	h = take(h, (uint64_t)ip->family << 16 | with);
	h = take_bytes(h, ip->b);
	return ip->family == IP_V6 ? take_bytes(h, ip->b + 8) : h;
}

static uint64_t end(uint64_t h)
{
	return h ? h : 1;
}

uint64_t digest_frontend(const struct frontend *f)
{
	uint64_t h = take(BEGIN_FRONTEND, (uint64_t)f->balance << 32 | f->sticky_s);

	assert(f->slots);
	h = take(h, (uint64_t)f->n_backends << 16 | f->n_slots);
	for (size_t i = 0; i < f->n_backends; i++)
		h = take_ip(h, &f->backends[i].ip, f->backends[i].port);
	for (size_t i = 0; i < f->n_slots; i += 4) { /* four to a word */
		uint64_t v = 0;

		for (size_t k = i; k < i + 4; k++)
			v = v << 16 | (k < f->n_slots ? f->slots[k] : 0);
		h = take(h, v);
	}
	return end(h);
}

uint64_t digest_firewall(const struct nat_firewall *fw)
{
	uint64_t h = take(BEGIN_FIREWALL, (uint64_t)fw->client_connections << 32 | (uint64_t)fw->restricted << 8 |
						  fw->n_rates);

	h = take(h, fw->n_sources);
	for (size_t i = 0; i < fw->n_sources; i++)
		h = take_ip(h, &fw->sources[i].ip, fw->sources[i].len);
	for (size_t i = 0; i < fw->n_rates; i++) {
		const struct rate *r = &fw->rates[i];

		h = take(h, (uint64_t)r->unit << 32 | r->per_s);
		h = take(h, r->amount);
		h = take(h, r->burst);
	}
	return end(h);
}
