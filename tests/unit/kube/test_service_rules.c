/* SPDX-License-Identifier: Apache-2.0 */
/* test_service_rules.c: how a Service's traffic is to be treated, from objects as an API server sends them: each setting is
 * read; a mistake in one costs that one alone; and where the version before could be read, not even that. */
#include "agent/kube/object_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"

static struct service *decode(const char *json)
{
	struct err_info err = ERR_INFO_INIT;
	struct service *s = NULL;

	if (service_decode(json, strlen(json), &s, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	return s;
}

/* A Service with these annotations and members of spec. */
static struct service *make(const char *uid, const char *annotations, const char *spec)
{
	struct buf json = BUF_INIT(1 << 20);
	struct service *s;

	buf_printf(&json, "{\"metadata\":{\"name\":\"web\",\"namespace\":\"default\",\"uid\":\"%s\",\"annotations\":{%s}},\"spec\":{%s}}",
		   uid, annotations, spec);
	s = decode(buf_text(&json));
	buf_fini(&json);
	return s;
}

/* An object as an API server 1.35.4 sent it. */
static void recorded(const char *path, struct buf *b)
{
	struct err_info err = ERR_INFO_INIT;

	if (file_read(path, b, &err) < 0) /* run from the top of the tree */
		fail_msg("%s: %s", path, err.text);
}

static void test_real(void **state)
{
	struct buf json = BUF_INIT(64 * 1024);
	char ip[IP_TEXT_MAX];
	struct service *s;

	(void)state;
	recorded("tests/fuzz/service/corpus/recorded", &json);
	s = decode(buf_text(&json));
	buf_fini(&json);
	assert_string_equal(s->problem, "");
	assert_int_equal(s->unread, 0);
	assert_int_equal(s->balance, BALANCE_SOURCE);
	assert_int_equal(s->sticky_s, 600);
	assert_int_equal(s->min_slots, 1000);
	assert_int_equal(s->client_connections, 200);
	assert_int_equal(s->health_check_port, 32152);
	assert_int_equal(s->n_weights, 2);
	assert_string_equal(s->weights[0].name, "192.0.2.7");
	assert_int_equal(s->weights[0].weight, 0);
	assert_string_equal(s->weights[1].name, "node-b");
	assert_int_equal(s->weights[1].weight, 3);
	assert_true(s->restricted);
	assert_int_equal(s->n_sources, 2);
	assert_string_equal(ip_format(&s->sources[0].ip, ip), "192.0.2.0");
	assert_int_equal(s->sources[0].len, 25);
	assert_string_equal(ip_format(&s->sources[1].ip, ip), "203.0.113.0");
	assert_int_equal(s->n_rates, 2);
	assert_int_equal(s->rates[0].unit, RATE_PACKETS);
	assert_int_equal(s->rates[0].burst, 100);
	assert_int_equal(s->rates[1].amount, 2 << 20);
	assert_true(s->policy_local);
	service_free(s);
}

static void test_real_slice(void **state)
{
	struct buf json = BUF_INIT(64 * 1024);
	struct err_info err = ERR_INFO_INIT;
	struct slice *s = NULL;

	(void)state;
	recorded("tests/fuzz/slice/corpus/recorded", &json);
	assert_int_equal(slice_decode(json.data, json.len, &s, &err), 0);
	buf_fini(&json);
	assert_string_equal(s->meta.name, "shop-x7k2p");
	assert_string_equal(s->service, "shop");
	assert_int_equal(s->n_ports, 1);
	assert_int_equal(s->ports[0].port, 8080);
	assert_int_equal(s->n_endpoints, 3);
	assert_string_equal(s->endpoints[0].zone, "zone-a");
	assert_string_equal(s->endpoints[0].target, "shop-5d8f6c7b9-abcde");
	assert_string_equal(s->endpoints[0].for_zones[0], "zone-a");
	assert_string_equal(s->endpoints[0].for_nodes[0], "node-a");
	assert_false(s->endpoints[1].ready);
	assert_true(s->endpoints[1].serving && s->endpoints[1].terminating);
	assert_int_equal(s->endpoints[1].n_for_nodes, 0);
	assert_true(s->endpoints[2].ready && s->endpoints[2].serving);
	assert_string_equal(s->endpoints[2].target, "");
	assert_null(s->endpoints[2].for_zones);
	slice_free(s);
}

static void test_absent(void **state)
{
	struct service *s = make("u", "", "");

	(void)state;
	assert_int_equal(s->balance, BALANCE_HASH);
	assert_int_equal(s->sticky_s + s->min_slots + s->client_connections + s->health_check_port, 0);
	assert_int_equal(s->n_weights + s->n_sources + s->n_rates, 0);
	assert_false(s->restricted);
	service_free(s);
}

static void test_balance(void **state)
{
	static const struct {
		const char *annotation, *spec;
		enum balance balance;
		uint32_t sticky_s;
		const char *problem;
	} rows[] = {
		{ "source", "", BALANCE_SOURCE, 0, "" },
		{ "round-robin", "\"sessionAffinity\":\"None\"", BALANCE_ROUND_ROBIN, 0, "" },
		{ "", "\"sessionAffinity\":\"ClientIP\"", BALANCE_SOURCE, 10800, "" },
		{ "source", "\"sessionAffinity\":\"ClientIP\",\"sessionAffinityConfig\":{\"clientIP\":{\"timeoutSeconds\":86400}}",
		  BALANCE_SOURCE, 86400, "" },
		{ "", "\"sessionAffinityConfig\":{\"clientIP\":{\"timeoutSeconds\":5}}", BALANCE_HASH, 0, "" },
		{ "random", "\"sessionAffinity\":\"ClientIP\",\"sessionAffinityConfig\":null", BALANCE_SOURCE, 10800,
		  "leasehold.io/balance: without effect, because sessionAffinity is ClientIP" },
		{ "rr", "\"sessionAffinity\":\"ClientIP\"", BALANCE_SOURCE, 10800,
		  "leasehold.io/balance: column 1: \"rr\" is not a way to balance (hash, random, source, round-robin)" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char annotation[64];
		struct service *s;

		snprintf(annotation, sizeof(annotation), "\"leasehold.io/balance\":\"%s\"", rows[i].annotation);
		s = make("u", annotation, rows[i].spec);
		if (s->balance != rows[i].balance || s->sticky_s != rows[i].sticky_s)
			fail_msg("row %zu: balance %d, %u s", i, s->balance, s->sticky_s);
		assert_string_equal(s->problem, rows[i].problem);
		service_free(s);
	}
}

/* What cannot be read lets nobody in. */
static void test_sources(void **state)
{
	static const struct {
		const char *list;
		size_t n;
		bool restricted;
		const char *problem;
	} rows[] = {
		{ "[]", 0, false, "" },
		{ "null", 0, false, "" },
		{ "[\"0.0.0.0/0\",\"::/0\"]", 2, true, "" },
		{ "[\" 2001:db8::/32\\n\",\"2001:db8::1/32\"]", 1, true, "" },
		{ "[\"203.0.113.0/24\",\"203.0.113.0\",\"192.0.2.0/24\"]", 2, true,
		  "spec.loadBalancerSourceRanges[1]: \"203.0.113.0\" is not ADDRESS/LENGTH" },
		{ "[\"x\",1,\"192.0.2.0/33\"]", 0, true,
		  "spec.loadBalancerSourceRanges[0]: \"x\" is not ADDRESS/LENGTH; spec.loadBalancerSourceRanges[1]: not a plain string; "
		  "spec.loadBalancerSourceRanges[2]: \"192.0.2.0/33\" is not ADDRESS/LENGTH" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		char spec[256];
		struct service *s;

		snprintf(spec, sizeof(spec), "\"loadBalancerSourceRanges\":%s", rows[i].list);
		s = make("u", "", spec);
		if (s->n_sources != rows[i].n || s->restricted != rows[i].restricted)
			fail_msg("row %zu: %zu sources", i, s->n_sources);
		assert_string_equal(s->problem, rows[i].problem);
		assert_int_equal(s->unread, 0);
		for (size_t k = 1; k < s->n_sources; k++)
			assert_true(ip_net_cmp(&s->sources[k - 1], &s->sources[k]) < 0);
		service_free(s);
	}
}

static void test_sources_bound(void **state)
{
	struct buf spec = BUF_INIT(1 << 20);

	(void)state;
	for (unsigned int n = OBJECT_SOURCES_MAX; n <= OBJECT_SOURCES_MAX + 1; n++) {
		struct service *s;

		buf_reset(&spec);
		buf_puts(&spec, "\"loadBalancerSourceRanges\":[");
		for (unsigned int i = 0; i < n; i++)
			buf_printf(&spec, "%s\"198.18.%u.%u/32\"", i ? "," : "", (n - i) / 256, (n - i) % 256);
		buf_puts(&spec, "]");
		s = make("u", "", buf_text(&spec));
		assert_int_equal(s->n_sources, OBJECT_SOURCES_MAX);
		assert_string_equal(s->problem, n == OBJECT_SOURCES_MAX ? "" :
				    "spec.loadBalancerSourceRanges: more than 256 entries: only the first 256 are let in");
		service_free(s);
	}
	buf_fini(&spec);
}

/* All that is wrong is told at once, as much of it as an Event takes, and each piece whole. */
static void test_problems(void **state)
{
	static const char annotations[] =
		"\"leasehold.io/addresses\":\"x\",\"leasehold.io/sharing-key\":[],\"leasehold.io/balance\":\"x\",\"leasehold.io/slots\":\"x\","
		"\"leasehold.io/weights\":\"x\",\"leasehold.io/rate-limit\":\"x\",\"leasehold.io/connection-limit\":\"1000001\"";
	struct service *s = make("u", annotations, "");
	struct buf spec = BUF_INIT(1 << 20);

	(void)state;
	assert_int_equal(s->unread, 0x7f);
	assert_string_equal(s->problem,
			    "leasehold.io/addresses: column 1: \"x\" is not an IP address; "
			    "leasehold.io/sharing-key: not a plain string; "
			    "leasehold.io/balance: column 1: \"x\" is not a way to balance (hash, random, source, round-robin); "
			    "leasehold.io/slots: column 1: \"x\" is not a whole number from 1 to 5003; "
			    "leasehold.io/weights: column 2: \"=\" and a weight is missing; "
			    "leasehold.io/rate-limit: column 1: \"x\" is not a whole number above 0; "
			    "leasehold.io/connection-limit: column 1: \"1000001\" is not a whole number from 1 to 1000000");
	service_free(s);
	buf_puts(&spec, "\"loadBalancerSourceRanges\":[\"x\"");
	for (unsigned int i = 1; i < 100; i++)
		buf_puts(&spec, ",\"x\"");
	buf_puts(&spec, "]");
	s = make("u", "", buf_text(&spec));
	assert_in_range(strlen(s->problem), 800, 1000);
	assert_string_equal(strrchr(s->problem, ']'), "]: \"x\" is not ADDRESS/LENGTH");
	service_free(s);
	buf_fini(&spec);
}

/* ---- last good values ---- */

static const char good[] =
	"\"leasehold.io/addresses\":\"203.0.113.9\",\"leasehold.io/sharing-key\":\"k\",\"leasehold.io/balance\":\"random\","
	"\"leasehold.io/slots\":\"251\",\"leasehold.io/weights\":\"a=1,b=2\",\"leasehold.io/rate-limit\":\"5 packets/second\","
	"\"leasehold.io/connection-limit\":\"7\"";
static const char bad[] =
	"\"leasehold.io/addresses\":\"x\",\"leasehold.io/sharing-key\":[],\"leasehold.io/balance\":\"x\",\"leasehold.io/slots\":\"x\","
	"\"leasehold.io/weights\":\"x\",\"leasehold.io/rate-limit\":\"x\",\"leasehold.io/connection-limit\":\"x\"";

static void assert_good(const struct service *s)
{
	char ip[IP_TEXT_MAX];

	assert_int_equal(s->n_requested, 1);
	assert_string_equal(ip_format(&s->requested[0], ip), "203.0.113.9");
	assert_string_equal(s->sharing_key, "k");
	assert_int_equal(s->balance, BALANCE_RANDOM);
	assert_int_equal(s->min_slots, 251);
	assert_int_equal(s->n_weights, 2);
	assert_string_equal(s->weights[0].name, "a");
	assert_string_equal(s->weights[1].name, "b");
	assert_int_equal(s->weights[1].weight, 2);
	assert_int_equal(s->n_rates, 1);
	assert_int_equal(s->rates[0].amount, 5);
	assert_int_equal(s->client_connections, 7);
}

static void test_keep_all(void **state)
{
	struct service *old = make("u", good, "\"ports\":[{\"name\":\"p\",\"port\":80}]");
	struct service *now = make("u", bad, "\"ports\":[{\"name\":\"q\",\"port\":81}],\"loadBalancerSourceRanges\":[\"192.0.2.0/24\"]");
	struct service *later = make("u", bad, "");

	(void)state;
	assert_int_equal(service_keep_good(&now, old), 0);
	assert_good(now);
	assert_good(old);
	service_free(old); /* nothing of it is pointed to */
	assert_good(now);
	/* The rest is the new version's, and it still tells what is wrong. */
	assert_int_equal(now->n_ports, 1);
	assert_string_equal(now->ports[0].name, "q");
	assert_int_equal(now->ports[0].port, 81);
	assert_int_equal(now->n_sources, 1);
	assert_int_equal(now->sources[0].len, 24);
	assert_string_equal(now->meta.name, "web");
	assert_int_equal(now->unread, 0x7f);
	assert_int_equal(strncmp(now->problem, "leasehold.io/addresses: ", 24), 0);
	/* And a version later that is as bad. */
	assert_int_equal(service_keep_good(&later, now), 0);
	service_free(now);
	assert_good(later);
	service_free(later);
}

/* Each setting alone: of the others the new version's values hold, also where they are absent. */
static void test_keep_each(void **state)
{
	static const char *const keys[] = { "leasehold.io/addresses", "leasehold.io/sharing-key", "leasehold.io/balance", "leasehold.io/slots",
					    "leasehold.io/weights", "leasehold.io/rate-limit", "leasehold.io/connection-limit" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		struct service *old = make("u", good, ""), *now;
		const char *name = old->weights[0].name;
		char annotation[64];

		snprintf(annotation, sizeof(annotation), "\"%s\":{}", keys[i]);
		now = make("u", annotation, "");
		assert_int_equal(now->unread, 1u << i);
		assert_int_equal(service_keep_good(&now, old), 0);
		assert_ptr_equal(old->weights[0].name, name); /* 'old' is not changed */
		assert_int_equal(now->n_requested, i == 0);
		assert_int_equal(*now->sharing_key == 'k', i == 1);
		assert_int_equal(now->balance == BALANCE_RANDOM, i == 2);
		assert_int_equal(now->min_slots == 251, i == 3);
		assert_int_equal(now->n_weights, i == 4 ? 2 : 0);
		assert_int_equal(now->n_rates, i == 5);
		assert_int_equal(now->client_connections == 7, i == 6);
		service_free(old);
		service_free(now);
	}
}

static void test_keep_not(void **state)
{
	struct service *old = make("u", good, ""), *other = make("another", bad, ""), *well = make("u", "", "");
	struct service *before = well;

	(void)state;
	assert_int_equal(service_keep_good(&other, old), 0); /* deleted and made again */
	assert_int_equal(other->n_rates + other->n_weights, 0);
	assert_int_equal(service_keep_good(&well, old), 0); /* an annotation that was removed is no mistake */
	assert_ptr_equal(well, before);
	assert_int_equal(well->n_rates + well->n_weights, 0);
	service_free(old);
	service_free(other);
	service_free(well);
}

/* sessionAffinity makes the balance, whatever the annotation was. */
static void test_keep_sticky(void **state)
{
	static const char sticky[] = "\"sessionAffinity\":\"ClientIP\"", broken[] = "\"leasehold.io/balance\":\"x\"";
	struct service *annotated = make("u", "\"leasehold.io/balance\":\"random\"", ""), *old = make("u", "", sticky);
	struct service *plain = make("u", broken, ""), *with = make("u", broken, sticky);

	(void)state;
	assert_int_equal(service_keep_good(&plain, old), 0);
	assert_int_equal(plain->balance, BALANCE_HASH);
	assert_int_equal(service_keep_good(&with, annotated), 0);
	assert_int_equal(with->balance, BALANCE_SOURCE);
	assert_int_equal(with->sticky_s, 10800);
	service_free(annotated);
	service_free(old);
	service_free(plain);
	service_free(with);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_real),	      cmocka_unit_test(test_real_slice),	cmocka_unit_test(test_absent),
		cmocka_unit_test(test_balance),	      cmocka_unit_test(test_sources),		cmocka_unit_test(test_sources_bound),
		cmocka_unit_test(test_problems),      cmocka_unit_test(test_keep_all),		cmocka_unit_test(test_keep_each),
		cmocka_unit_test(test_keep_not),      cmocka_unit_test(test_keep_sticky),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
