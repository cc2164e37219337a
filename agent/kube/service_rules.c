/* SPDX-License-Identifier: Apache-2.0 */
/* service_rules.c: annotations and fields become settings.  What cannot be read is noted with its place; the grammars
 * themselves are in annotation.c. */
#include "agent/kube/service_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/nat.h"
#include "agent/base/text.h"

#define SHARING_KEY_MAX 253
#define LEASE_TEXT_MAX 253
#define CONNECTIONS_MAX 1000000
#define STICKY_DEFAULT_S 10800 /* core/v1 ClientIPConfig.timeoutSeconds */
#define STICKY_MAX_S 86400
#define RANGE_SHOWN_MAX 64

/* The Service under way. */
struct rules {
	struct walk annotations;
	struct service *s;
	char *problem; /* PROBLEM_MAX bytes */
};

/* Adds "PLACE: WHAT"; what does not fit any more is left out whole, for it will be told when the rest is mended. */
static void note(struct rules *x, const char *place, const char *what)
{
	size_t at = strlen(x->problem);
	int n = snprintf(x->problem + at, PROBLEM_MAX - at, "%s%s: %s", at ? "; " : "", place, what);

	if (n < 0 || (size_t)n >= PROBLEM_MAX - at)
		x->problem[at] = '\0';
}

static void unread(struct rules *x, enum service_setting setting, const char *place, const char *what)
{
	x->s->unread = (uint8_t)(x->s->unread | setting);
	note(x, place, what);
}

/* The annotation's text, "" when absent; one that is no plain string makes the setting unread. */
static const char *take(struct rules *x, enum service_setting setting, const char *key)
{
	const json_t *node = json_object_get(x->annotations.object, key);
	const char *text = walk_plain_text(node);

	if (node && !json_is_null(node) && !text)
		unread(x, setting, key, "not a plain string");
	return text ? text : "";
}

/* The first annotation of 'keys' that is set; *ret_key names it. */
static const char *take_first(struct rules *x, enum service_setting setting, const char *const *keys, const char **ret_key)
{
	const char *text = "";

	for (; *keys && !*text; keys++) {
		*ret_key = *keys;
		text = take(x, setting, *keys);
	}
	return text;
}

/* ---- addresses ---- */

static int addresses(struct rules *x, const struct walk *spec, struct err_info *err)
{
	static const char *const keys[] = { "leasehold.io/addresses", "kube-vip.io/loadbalancerIPs",
					    "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs", NULL };
	struct err_info bad = ERR_INFO_INIT;
	const char *key = "", *text = take_first(x, SETTING_ADDRESSES, keys, &key);
	int r;

	if (!*text) {
		key = "spec.loadBalancerIP";
		r = walk_text(spec, "loadBalancerIP", &text, err);
		if (r < 0)
			return r;
	}
	if (*text && annotation_addresses(text, x->s->requested, &x->s->n_requested, &bad) < 0)
		unread(x, SETTING_ADDRESSES, key, bad.text);
	return 0;
}

/* Our own record.  An unreadable one has no last good value: the allocation is made anew. */
static void record(struct rules *x)
{
	const char *text = take(x, 0, "leasehold.io/allocated");
	struct err_info bad = ERR_INFO_INIT;

	if (*text && annotation_addresses(text, x->s->allocated, &x->s->n_allocated, &bad) < 0)
		note(x, "leasehold.io/allocated", bad.text);
	x->s->lease = take(x, 0, "leasehold.io/lease");
	if (strlen(x->s->lease) > LEASE_TEXT_MAX) {
		note(x, "leasehold.io/lease", "longer than 253 bytes");
		x->s->lease = "";
	}
}

static void sharing_key(struct rules *x)
{
	static const char *const keys[] = { "leasehold.io/sharing-key", "metallb.io/allow-shared-ip",
					    "metallb.universe.tf/allow-shared-ip", NULL };
	const char *key = "";

	x->s->sharing_key = take_first(x, SETTING_SHARING_KEY, keys, &key);
	if (strlen(x->s->sharing_key) > SHARING_KEY_MAX) {
		unread(x, SETTING_SHARING_KEY, key, "longer than 253 bytes");
		x->s->sharing_key = "";
	}
}

/* ---- balancing ---- */

static int affinity(struct rules *x, const struct walk *spec, struct err_info *err)
{
	int64_t seconds = STICKY_DEFAULT_S;
	struct walk config, client;
	const char *text;
	int r;

	if ((r = walk_text(spec, "sessionAffinity", &text, err)) < 0 ||
	    (r = walk_object(spec, "sessionAffinityConfig", &config, err)) < 0 ||
	    (r = walk_object(&config, "clientIP", &client, err)) < 0 ||
	    (r = walk_int(&client, "timeoutSeconds", (struct walk_range){ 1, STICKY_MAX_S }, &seconds, err)) < 0)
		return r;
	if (text_eq(text, "ClientIP"))
		x->s->sticky_s = (uint32_t)seconds;
	else if (*text && !text_eq(text, "None"))
		return walk_refuse(spec, "sessionAffinity", err, "unknown value \"%.32s\"", text);
	return 0;
}

/* sessionAffinity is the API's promise, so it goes before the annotation. */
static void balance(struct rules *x)
{
	static const char key[] = "leasehold.io/balance";
	const char *text = take(x, SETTING_BALANCE, key);
	struct err_info bad = ERR_INFO_INIT;

	if (*text && annotation_balance(text, &x->s->balance, &bad) < 0)
		unread(x, SETTING_BALANCE, key, bad.text);
	else if (*text && x->s->sticky_s > 0 && x->s->balance != BALANCE_SOURCE)
		note(x, key, "without effect, because sessionAffinity is ClientIP");
	if (x->s->sticky_s > 0)
		x->s->balance = BALANCE_SOURCE;
}

static void slots(struct rules *x)
{
	static const char key[] = "leasehold.io/slots";
	const char *text = take(x, SETTING_SLOTS, key);
	struct err_info bad = ERR_INFO_INIT;
	uint32_t value = 0;

	if (*text && annotation_number(text, NAT_SLOTS_MAX, &value, &bad) < 0)
		unread(x, SETTING_SLOTS, key, bad.text);
	x->s->min_slots = (uint16_t)value;
}

static int weights(struct rules *x, struct service_room *room, struct err_info *err)
{
	static const char key[] = "leasehold.io/weights";
	const char *text = take(x, SETTING_WEIGHTS, key);
	struct err_info bad = ERR_INFO_INIT;

	if (!*text)
		return 0;
	room->weights = malloc(sizeof(*room->weights)); /* large, and seldom needed */
	if (!room->weights)
		return err_errno(err, -ENOMEM, "Service");
	if (annotation_weights(text, room->weights, &bad) < 0) {
		unread(x, SETTING_WEIGHTS, key, bad.text);
		return 0;
	}
	x->s->weights = room->weights->v;
	x->s->n_weights = room->weights->n;
	return 0;
}

/* ---- limits ---- */

static void limits(struct rules *x)
{
	static const char rate_key[] = "leasehold.io/rate-limit", connections_key[] = "leasehold.io/connection-limit";
	const char *rate = take(x, SETTING_RATES, rate_key), *connections = take(x, SETTING_CONNECTIONS, connections_key);
	struct err_info bad = ERR_INFO_INIT;

	if (*rate && annotation_rates(rate, x->s->rates, &x->s->n_rates, &bad) < 0)
		unread(x, SETTING_RATES, rate_key, bad.text);
	if (*connections && annotation_number(connections, CONNECTIONS_MAX, &x->s->client_connections, &bad) < 0)
		unread(x, SETTING_CONNECTIONS, connections_key, bad.text);
}

static int by_net(const void *a, const void *b)
{
	return ip_net_cmp(a, b);
}

/* One that cannot be read lets nobody in; the others hold. */
static void source(struct rules *x, size_t i, const json_t *node, struct ip_net *to)
{
	const char *text = walk_plain_text(node);
	char place[64], what[128];

	if (text && ip_net_parse(text, &to[x->s->n_sources]) == 0) {
		x->s->n_sources++;
		return;
	}
	IGNORE(snprintf(place, sizeof(place), "spec.loadBalancerSourceRanges[%zu]", i)); /* fits */
	if (text)
		IGNORE(snprintf(what, sizeof(what), "\"%.*s\" is not ADDRESS/LENGTH", (int)walk_cut(text, RANGE_SHOWN_MAX),
				text)); /* fits */
	note(x, place, text ? what : "not a plain string");
}

static int sources(struct rules *x, const struct walk *spec, struct ip_net *to, struct err_info *err)
{
	const json_t *list;
	size_t n, kept = 0;
	int r = walk_array(spec, "loadBalancerSourceRanges", &list, err);

	if (r < 0)
		return r;
	n = json_array_size(list);
	x->s->restricted = n > 0;
	if (n > OBJECT_SOURCES_MAX) {
		n = OBJECT_SOURCES_MAX;
		note(x, "spec.loadBalancerSourceRanges", "more than 256 entries: only the first 256 are let in");
	}
	for (size_t i = 0; i < n; i++)
		source(x, i, json_array_get(list, i), to);
	qsort(to, x->s->n_sources, sizeof(to[0]), by_net);
	for (size_t i = 0; i < x->s->n_sources; i++)
		if (i == 0 || ip_net_cmp(&to[i], &to[i - 1]) != 0)
			to[kept++] = to[i];
	x->s->sources = to;
	x->s->n_sources = kept;
	return 0;
}

int service_rules_decode(const struct walk *meta, const struct walk *spec, struct service *s, struct service_room *room,
			 struct err_info *err)
{
	struct rules x = { .s = s, .problem = room->problem };
	int r;

	if ((r = walk_object(meta, "annotations", &x.annotations, err)) < 0 || (r = addresses(&x, spec, err)) < 0)
		return r;
	record(&x);
	sharing_key(&x);
	if ((r = affinity(&x, spec, err)) < 0)
		return r;
	balance(&x);
	slots(&x);
	if ((r = weights(&x, room, err)) < 0)
		return r;
	limits(&x);
	return sources(&x, spec, room->sources, err);
}
