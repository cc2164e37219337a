/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_service.c: Services as JSON.  Beyond not crashing: a decoded object keeps its bounds and its orders, is the same when
 * decoded again, and the last good values go over to a version that cannot be read and to no other. */
#include <errno.h>
#include <stdio.h>

#include "agent/base/err.h"
#include "agent/base/nat.h"
#include "agent/base/text.h"
#include "agent/kube/object_json.h"
#include "tests/fuzz/fuzz.h"

static void check_addresses(const struct ip *ips, size_t n)
{
	assert(n <= OBJECT_ADDRESSES_MAX);
	for (size_t i = 0; i < n; i++)
		assert(ip_len(&ips[i]) > 0 && !ip_is_unusable(&ips[i]));
	assert(n < 2 || ips[0].family != ips[1].family);
}

static void check_rules(const struct service *s)
{
	assert(s->balance <= BALANCE_ROUND_ROBIN && s->min_slots <= NAT_SLOTS_MAX && s->client_connections <= 1000000);
	assert(s->sticky_s <= 86400 && (s->sticky_s == 0 || s->balance == BALANCE_SOURCE));
	assert(s->n_weights <= OBJECT_WEIGHTS_MAX && s->n_sources <= OBJECT_SOURCES_MAX && s->n_rates <= RATES_MAX);
	assert(s->restricted || s->n_sources == 0);
	for (size_t i = 0; i < s->n_weights; i++) {
		assert(*s->weights[i].name && s->weights[i].weight <= WEIGHT_MAX);
		assert(i == 0 || strcmp(s->weights[i - 1].name, s->weights[i].name) < 0);
	}
	for (size_t i = 0; i < s->n_sources; i++) {
		const struct ip_net *net = &s->sources[i];

		assert(net->len <= ip_len(&net->ip) * 8);
		for (size_t bit = net->len; bit < ip_len(&net->ip) * 8; bit++)
			assert((net->ip.b[bit / 8] & (0x80 >> bit % 8)) == 0);
		assert(i == 0 || ip_net_cmp(net - 1, net) < 0);
	}
}

static void check(const struct service *s)
{
	assert(*s->meta.name && *s->meta.ns && s->meta.uid && s->meta.resource_version);
	assert(*s->type && s->load_balancer_class && strlen(s->sharing_key) <= 253 && strlen(s->lease) <= 253);
	assert(strlen(s->problem) < 1000 && (*s->problem || !s->unread));
	assert(s->n_ports <= OBJECT_PORTS_MAX && s->n_ingress <= OBJECT_INGRESS_MAX);
	for (size_t i = 0; i < s->n_ports; i++)
		assert(s->ports[i].name && s->ports[i].port && s->ports[i].proto);
	check_addresses(s->requested, s->n_requested);
	check_addresses(s->allocated, s->n_allocated);
	check_rules(s);
}

/* The rules of both are the same. */
static void same_rules(const struct service *a, const struct service *b)
{
	assert(a->n_requested == b->n_requested && memcmp(a->requested, b->requested, sizeof(a->requested)) == 0);
	assert(text_eq(a->sharing_key, b->sharing_key) && a->balance == b->balance && a->min_slots == b->min_slots);
	assert(a->n_rates == b->n_rates && memcmp(a->rates, b->rates, sizeof(a->rates)) == 0);
	assert(a->client_connections == b->client_connections && a->n_weights == b->n_weights);
	for (size_t i = 0; i < a->n_weights; i++)
		assert(text_eq(a->weights[i].name, b->weights[i].name) && a->weights[i].weight == b->weights[i].weight);
	assert(a->n_sources == b->n_sources && (a->n_sources == 0 || memcmp(a->sources, b->sources, a->n_sources * sizeof(*a->sources)) == 0));
	assert(a->restricted == b->restricted && text_eq(a->problem, b->problem) && a->unread == b->unread);
}

/* A version before 's', all of whose settings could be read. */
static struct service *before(const struct service *s)
{
	static const char json[] =
		"{\"metadata\":{\"name\":\"n\",\"namespace\":\"d\",\"uid\":\"\",\"annotations\":{\"leasehold.io/balance\":\"random\",\"leasehold.io/slots\":"
		"\"61\",\"leasehold.io/weights\":\"a=1,b=2\",\"leasehold.io/rate-limit\":\"5 packets/second\",\"leasehold.io/connection-limit\":\"7\"}}}";
	struct service *old = NULL;
	int r = service_decode(json, sizeof(json) - 1, &old, NULL);

	assert(r == 0);
	old->meta.uid = s->meta.uid; /* borrowed: service_keep_good() only compares it */
	return old;
}

static void check_keep(struct service *s)
{
	struct service *old = before(s), *now = s;
	const unsigned int was = s->unread;
	int r = service_keep_good(&now, old);

	assert(r == 0 && now->unread == was && (was || now == s));
	service_free(old);
	check(now);
	if (was & SETTING_WEIGHTS)
		assert(now->n_weights == 2 && text_eq(now->weights[1].name, "b"));
	if (was & SETTING_RATES)
		assert(now->n_rates == 1 && now->rates[0].amount == 5);
	if (was & SETTING_CONNECTIONS)
		assert(now->client_connections == 7);
	service_free(now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err_info err = ERR_INFO_INIT;
	struct service *s = NULL, *again = NULL;
	char *text = fuzz_copy(data, size);
	int r = service_decode(text, size, &s, &err), r2 = service_decode(text, size, &again, NULL);

	free(text);
	assert(r == r2);
	if (r < 0) {
		assert(*err.text && !s);
		return 0;
	}
	check(s);
	same_rules(s, again);
	service_free(again);
	check_keep(s);
	return 0;
}
