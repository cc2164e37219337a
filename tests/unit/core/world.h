/* SPDX-License-Identifier: Apache-2.0 */
/* world.h: a small cluster described in words, one statement a line:
 *
 *	pool RANGE...				ranges of the pool, in place of those before
 *	default-class yes|no
 *	dataplane nft|announce
 *	source-nat masquerade|INDEX		masquerade everywhere (at first), or to the VIP, with all VIPs on that interface
 *	routed yes|no				no interface carries VIPs (announce: none)
 *	counters yes|no				traffic is counted
 *	zone NAME				this node's
 *	node-weight NAME WEIGHT			of a node's endpoints
 *	service NS/NAME PORT... [KEY=VALUE...]	created, or replaced whole; PORT is tcp/80 or tcp/80/NAME
 *		type=T class=C|none policy=single|prefer|require families=4|6|4,6|6,4|none key=SHARING-KEY
 *		want=IP,IP allocated=IP,IP ingress=IP,IP... deleting=yes traffic=local
 *		balance=hash|random|source|round-robin sticky=SECONDS slots=N weights=NAME:WEIGHT,...
 *		sources=PREFIX,... packets=AMOUNT/SECONDS/BURST bytes=AMOUNT/SECONDS/BURST connections=N
 *	slice NS/NAME SERVICE 4|6 PORT... IP[!FLAGS][;KEY=VALUE]...
 *		FLAGS: n = not ready, s = not serving, t = terminating, h = on this node (h alone is ready)
 *		KEY: node, pod, zone; for-nodes, for-zones: hints, with | between the names
 *	delete service|slice NS/NAME
 */
#pragma once

#include "tests/unit/core/make.h"

#include "agent/core/pool.h"
#include "agent/core/wanted.h"

#define WORLD_MAX 40	 /* Services, slices */
#define WORLD_PORTS 8
#define WORLD_ENDPOINTS 60
#define WORLD_NAME 64
#define WORLD_LIST 16 /* weights, source ranges */
#define WORLD_TEXT 512
#define WORLD_NODE "here" /* this node */

struct world_service {
	struct service s; /* points into this struct */
	char ns[WORLD_NAME], name[WORLD_NAME], type[WORLD_NAME], class_name[WORLD_NAME], key[WORLD_NAME];
	char port_names[WORLD_PORTS][WORLD_NAME];
	struct service_port ports[WORLD_PORTS];
	char weights_text[WORLD_TEXT];
	struct weight weights[WORLD_LIST];
	struct ip_net sources[WORLD_LIST];
};

struct world_slice {
	struct slice s;
	char ns[WORLD_NAME], name[WORLD_NAME], service[WORLD_NAME];
	char port_names[WORLD_PORTS][WORLD_NAME];
	struct slice_port ports[WORLD_PORTS];
	struct endpoint endpoints[WORLD_ENDPOINTS];
	char endpoint_texts[WORLD_ENDPOINTS][WORLD_TEXT];
	const char *hints[WORLD_ENDPOINTS][2][OBJECT_HINTS_MAX];
};

struct world {
	struct pool_config pool;
	struct ip_range ranges[WORLD_MAX];
	bool dataplane_nft, snat_to_vip, routed, counters;
	uint32_t home; /* the interface of all VIPs, 0 = none */
	char zone[WORLD_NAME];
	char weighted_nodes[WORLD_MAX][WORLD_NAME];
	struct wanted_weight weights[WORLD_MAX];
	size_t n_weights;
	struct world_service *services[WORLD_MAX]; /* sorted */
	struct world_slice *slices[WORLD_MAX];	   /* sorted */
	size_t n_services, n_slices;
	/* what the core is given */
	const struct service *service_list[WORLD_MAX];
	const struct slice *slice_list[WORLD_MAX];
};

static inline void world_init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->pool.class_name = "leasehold.io/vip";
	w->pool.ranges = w->ranges;
	w->dataplane_nft = true;
}

static inline void world_fini(struct world *w)
{
	for (size_t i = 0; i < w->n_services; i++)
		free(w->services[i]);
	for (size_t i = 0; i < w->n_slices; i++)
		free(w->slices[i]);
}

static inline int world_service_order(const void *a, const void *b)
{
	const struct world_service *const *x = a, *const *y = b;
	int c = strcmp((*x)->ns, (*y)->ns);

	return c ? c : strcmp((*x)->name, (*y)->name);
}

static inline int world_slice_order(const void *a, const void *b)
{
	const struct world_slice *const *x = a, *const *y = b;
	int c = strcmp((*x)->ns, (*y)->ns);

	if (c == 0)
		c = strcmp((*x)->service, (*y)->service);
	return c ? c : strcmp((*x)->name, (*y)->name);
}

/* Sorts both lists and makes those of the core. */
static inline void world_settle(struct world *w)
{
	qsort(w->services, w->n_services, sizeof(struct world_service *), world_service_order);
	qsort(w->slices, w->n_slices, sizeof(struct world_slice *), world_slice_order);
	for (size_t i = 0; i < w->n_services; i++)
		w->service_list[i] = &w->services[i]->s;
	for (size_t i = 0; i < w->n_slices; i++)
		w->slice_list[i] = &w->slices[i]->s;
}

static inline void split_name(const char *full, char ns[static WORLD_NAME], char name[static WORLD_NAME])
{
	const char *slash = strchr(full, '/');

	if (!slash || (size_t)(slash - full) >= WORLD_NAME)
		fail_msg("\"%s\" is not NAMESPACE/NAME", full);
	memset(ns, 0, WORLD_NAME);
	memcpy(ns, full, (size_t)(slash - full));
	assert_true(text_copy(name, WORLD_NAME, slash + 1));
}

/* The first word of *at, cut off; NULL at the end. */
static inline char *next_word(char **at)
{
	char *word = strtok_r(NULL, " \t", at);

	return word && *word == '#' ? NULL : word;
}

static inline char *need_word(char **at)
{
	static char nothing[1];
	char *word = next_word(at);

	if (!word)
		fail_msg("a word is missing");
	return word ? word : nothing;
}

static inline size_t parse_ips(char *text, struct ip *ret, size_t max)
{
	char *save = NULL;
	size_t n = 0;

	for (char *t = strtok_r(text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		assert_true(n < max);
		ret[n++] = make_ip(t);
	}
	return n;
}

/* tcp/80 or tcp/80/NAME; false when it is no port. */
static inline bool parse_port(const char *text, char name[static WORLD_NAME], uint8_t *proto, uint16_t *port)
{
	static const struct {
		const char *text;
		uint8_t proto;
	} protos[] = { { "tcp/", PROTO_TCP }, { "udp/", PROTO_UDP }, { "sctp/", PROTO_SCTP } };
	char number[8] = "";

	for (size_t i = 0; i < ARRAY_LEN(protos); i++) {
		uint64_t v;
		size_t n;

		if (!text_starts(text, protos[i].text))
			continue;
		text += strlen(protos[i].text);
		n = strcspn(text, "/");
		assert_true(n < sizeof(number));
		memcpy(number, text, n);
		assert_int_equal(text_to_u64(number, UINT16_MAX, &v), 0);
		assert_true(text_copy(name, WORLD_NAME, text[n] ? text + n + 1 : ""));
		*proto = protos[i].proto;
		*port = (uint16_t)v;
		return true;
	}
	return false;
}

static inline void parse_families(struct service *s, const char *v)
{
	s->families[0] = *v == '4' ? IP_V4 : *v == '6' ? IP_V6 : IP_NONE;
	s->families[1] = text_eq(v, "4,6") ? IP_V6 : text_eq(v, "6,4") ? IP_V4 : IP_NONE;
}

static inline uint64_t parse_number(const char *text)
{
	uint64_t v = 0;

	if (text_to_u64(text, UINT32_MAX, &v) < 0)
		fail_msg("\"%s\" is no number", text);
	return v;
}

static inline int weight_order(const void *a, const void *b)
{
	const struct weight *x = a, *y = b;

	return strcmp(x->name, y->name);
}

/* NAME:WEIGHT,...; the name may hold colons. */
static inline void parse_weights(struct world_service *ws, const char *v)
{
	char *save = NULL;

	assert_true(text_copy(ws->weights_text, WORLD_TEXT, v));
	for (char *t = strtok_r(ws->weights_text, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		char *colon = strrchr(t, ':');

		assert_true(colon && ws->s.n_weights < WORLD_LIST);
		*colon = '\0';
		ws->weights[ws->s.n_weights++] = (struct weight){ t, (uint16_t)parse_number(colon + 1) };
	}
	qsort(ws->weights, ws->s.n_weights, sizeof(*ws->weights), weight_order);
	ws->s.weights = ws->weights;
}

static inline int net_order(const void *a, const void *b)
{
	return ip_net_cmp(a, b);
}

static inline size_t parse_nets(char *v, struct ip_net *ret, size_t max)
{
	char *save = NULL;
	size_t n = 0;

	for (char *t = strtok_r(v, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		assert_true(n < max);
		if (ip_net_parse(t, &ret[n++]) < 0)
			fail_msg("\"%s\" is no prefix", t);
	}
	qsort(ret, n, sizeof(*ret), net_order);
	return n;
}

/* AMOUNT/SECONDS/BURST */
static inline void parse_rate(struct service *s, uint8_t unit, char *v)
{
	char *save = NULL;
	const char *amount = strtok_r(v, "/", &save), *per_s = strtok_r(NULL, "/", &save), *burst = strtok_r(NULL, "/", &save);

	assert_true(amount && per_s && burst && s->n_rates < RATES_MAX);
	s->rates[s->n_rates++] = (struct rate){ .unit = unit, .per_s = (uint32_t)parse_number(per_s),
						.amount = parse_number(amount), .burst = (uint32_t)parse_number(burst) };
}

static inline enum balance parse_balance(const char *v)
{
	return text_eq(v, "random") ? BALANCE_RANDOM :
	       text_eq(v, "source") ? BALANCE_SOURCE :
	       text_eq(v, "round-robin") ? BALANCE_ROUND_ROBIN : BALANCE_HASH;
}

/* How packets are balanced and filtered; false when it is none of these options. */
static inline bool parse_rule(struct world_service *ws, const char *key, char *v)
{
	struct service *s = &ws->s;

	if (text_eq(key, "balance")) {
		s->balance = parse_balance(v);
	} else if (text_eq(key, "sticky")) {
		s->sticky_s = (uint32_t)parse_number(v);
	} else if (text_eq(key, "slots")) {
		s->min_slots = (uint16_t)parse_number(v);
	} else if (text_eq(key, "weights")) {
		parse_weights(ws, v);
	} else if (text_eq(key, "sources")) {
		s->n_sources = parse_nets(v, ws->sources, WORLD_LIST);
		s->sources = ws->sources;
		s->restricted = true;
	} else if (text_eq(key, "packets")) {
		parse_rate(s, RATE_PACKETS, v);
	} else if (text_eq(key, "bytes")) {
		parse_rate(s, RATE_BYTES, v);
	} else if (text_eq(key, "connections")) {
		s->client_connections = (uint32_t)parse_number(v);
	} else {
		return false;
	}
	return true;
}

static inline void parse_option(struct world_service *ws, const char *key, char *v)
{
	struct service *s = &ws->s;

	if (parse_rule(ws, key, v))
		return;
	if (text_eq(key, "type"))
		assert_true(text_copy(ws->type, WORLD_NAME, v));
	else if (text_eq(key, "class"))
		assert_true(text_copy(ws->class_name, WORLD_NAME, text_eq(v, "none") ? "" : v));
	else if (text_eq(key, "key"))
		assert_true(text_copy(ws->key, WORLD_NAME, v));
	else if (text_eq(key, "policy"))
		s->family_policy = text_eq(v, "require") ? FAMILY_REQUIRE_DUAL :
				   text_eq(v, "prefer")	 ? FAMILY_PREFER_DUAL : FAMILY_SINGLE;
	else if (text_eq(key, "families"))
		parse_families(s, v);
	else if (text_eq(key, "want"))
		s->n_requested = parse_ips(v, s->requested, OBJECT_ADDRESSES_MAX);
	else if (text_eq(key, "allocated"))
		s->n_allocated = parse_ips(v, s->allocated, OBJECT_ADDRESSES_MAX);
	else if (text_eq(key, "ingress"))
		s->n_ingress = parse_ips(v, s->ingress, OBJECT_INGRESS_MAX);
	else if (text_eq(key, "traffic"))
		s->policy_local = text_eq(v, "local");
	else if (text_eq(key, "deleting"))
		s->meta.deleting = text_eq(v, "yes");
	else
		fail_msg("unknown option \"%s\"", key);
}

static inline void world_add_service(struct world *w, char **at)
{
	struct world_service *ws = calloc(1, sizeof(*ws));
	size_t i = 0;

	assert_non_null(ws);
	split_name(need_word(at), ws->ns, ws->name);
	assert_true(text_copy(ws->type, WORLD_NAME, "LoadBalancer"));
	assert_true(text_copy(ws->class_name, WORLD_NAME, "leasehold.io/vip"));
	ws->s = (struct service){ .meta = { OBJECT_SERVICE, ws->ns, ws->name, "", "", false }, .type = ws->type,
				  .load_balancer_class = ws->class_name, .ports = ws->ports, .families = { IP_V4 },
				  .sharing_key = ws->key, .problem = "", .lease = "" };
	for (char *word = next_word(at); word; word = next_word(at)) {
		size_t p = ws->s.n_ports;
		char *eq = strchr(word, '=');

		if (eq) {
			*eq = '\0';
			parse_option(ws, word, eq + 1);
			continue;
		}
		assert_true(p < WORLD_PORTS);
		if (!parse_port(word, ws->port_names[p], &ws->ports[p].proto, &ws->ports[p].port))
			fail_msg("\"%s\" is no port", word);
		ws->ports[p].name = ws->port_names[p];
		ws->s.n_ports++;
	}
	while (i < w->n_services && world_service_order(&w->services[i], &(struct world_service *){ ws }) != 0)
		i++;
	assert_true(i < WORLD_MAX);
	if (i == w->n_services)
		w->n_services++;
	else
		free(w->services[i]);
	w->services[i] = ws;
}

static inline uint8_t parse_hints(char *v, const char *ret[static OBJECT_HINTS_MAX])
{
	char *save = NULL;
	uint8_t n = 0;

	for (char *t = strtok_r(v, "|", &save); t; t = strtok_r(NULL, "|", &save)) {
		assert_true(n < OBJECT_HINTS_MAX);
		ret[n++] = t;
	}
	return n;
}

/* IP[!FLAGS][;KEY=VALUE]... as the i-th endpoint. */
static inline void parse_endpoint(struct world_slice *ws, size_t i, const char *word)
{
	char *text = ws->endpoint_texts[i], *save = NULL, *flags;
	struct endpoint *ep = &ws->endpoints[i];

	assert_true(text_copy(text, WORLD_TEXT, word));
	text = strtok_r(text, ";", &save);
	assert_non_null(text);
	flags = strchr(text, '!');
	if (flags)
		*flags++ = '\0';
	*ep = (struct endpoint){ .ip = make_ip(text), .node = flags && strchr(flags, 'h') ? WORLD_NODE : "elsewhere",
				 .zone = "", .target = "", .ready = !flags || !strchr(flags, 'n'),
				 .serving = !flags || !strchr(flags, 's'), .terminating = flags && strchr(flags, 't'),
				 .for_nodes = ws->hints[i][0], .for_zones = ws->hints[i][1] };
	for (char *key = strtok_r(NULL, ";", &save); key; key = strtok_r(NULL, ";", &save)) {
		char *v = strchr(key, '=');

		assert_non_null(v);
		*v++ = '\0';
		if (text_eq(key, "node"))
			ep->node = v;
		else if (text_eq(key, "pod"))
			ep->target = v;
		else if (text_eq(key, "zone"))
			ep->zone = v;
		else if (text_eq(key, "for-nodes"))
			ep->n_for_nodes = parse_hints(v, ws->hints[i][0]);
		else if (text_eq(key, "for-zones"))
			ep->n_for_zones = parse_hints(v, ws->hints[i][1]);
		else
			fail_msg("unknown option \"%s\" of an endpoint", key);
	}
}

static inline void world_add_slice(struct world *w, char **at)
{
	struct world_slice *ws = calloc(1, sizeof(*ws));
	size_t i = 0;

	assert_non_null(ws);
	split_name(need_word(at), ws->ns, ws->name);
	assert_true(text_copy(ws->service, WORLD_NAME, need_word(at)));
	ws->s = (struct slice){ .meta = { OBJECT_SLICE, ws->ns, ws->name, "", "", false }, .service = ws->service,
				.endpoints = ws->endpoints, .ports = ws->ports };
	ws->s.family = *need_word(at) == '4' ? IP_V4 : IP_V6;
	for (char *word = next_word(at); word; word = next_word(at)) {
		struct slice_port *port = &ws->ports[ws->s.n_ports];

		assert_true(ws->s.n_ports < WORLD_PORTS && ws->s.n_endpoints < WORLD_ENDPOINTS);
		if (parse_port(word, ws->port_names[ws->s.n_ports], &port->proto, &port->port)) {
			port->name = ws->port_names[ws->s.n_ports++];
			continue;
		}
		parse_endpoint(ws, ws->s.n_endpoints, word);
		ws->s.n_endpoints++;
	}
	while (i < w->n_slices && (strcmp(w->slices[i]->ns, ws->ns) || strcmp(w->slices[i]->name, ws->name)))
		i++;
	assert_true(i < WORLD_MAX);
	if (i == w->n_slices)
		w->n_slices++;
	else
		free(w->slices[i]);
	w->slices[i] = ws;
}

static inline struct world_service *world_service(struct world *w, const char *full)
{
	char ns[WORLD_NAME], name[WORLD_NAME];

	split_name(full, ns, name);
	for (size_t i = 0; i < w->n_services; i++)
		if (text_eq(w->services[i]->ns, ns) && text_eq(w->services[i]->name, name))
			return w->services[i];
	fail_msg("there is no service %s", full);
	return NULL;
}

static inline void world_delete(struct world *w, char **at)
{
	const bool service = text_eq(need_word(at), "service");
	const char *full = need_word(at);
	char ns[WORLD_NAME], name[WORLD_NAME];

	split_name(full, ns, name);
	for (size_t i = 0; service && i < w->n_services; i++) {
		if (text_eq(w->services[i]->ns, ns) && text_eq(w->services[i]->name, name)) {
			free(w->services[i]);
			w->services[i] = w->services[--w->n_services];
			return;
		}
	}
	for (size_t i = 0; !service && i < w->n_slices; i++) {
		if (text_eq(w->slices[i]->ns, ns) && text_eq(w->slices[i]->name, name)) {
			free(w->slices[i]);
			w->slices[i] = w->slices[--w->n_slices];
			return;
		}
	}
	fail_msg("there is no %s %s", service ? "service" : "slice", full);
}

static inline int node_weight_order(const void *a, const void *b)
{
	const struct wanted_weight *x = a, *y = b;

	return strcmp(x->node, y->node);
}

static inline void world_add_weight(struct world *w, const char *node, const char *weight)
{
	const size_t n = w->n_weights;

	assert_true(n < WORLD_MAX && text_copy(w->weighted_nodes[n], WORLD_NAME, node));
	w->weights[n] = (struct wanted_weight){ w->weighted_nodes[n], (uint16_t)parse_number(weight) };
	w->n_weights++;
	qsort(w->weights, w->n_weights, sizeof(*w->weights), node_weight_order);
}

/* What the core is told for one Service; the caller has made the list of its slices. */
static inline struct wanted_input world_input(const struct world *w, const struct service *s, const struct ip *ips,
					      size_t n_ips)
{
	struct wanted_input in = { .service = s, .n_ips = n_ips, .node = WORLD_NODE, .zone = w->zone, .weights = w->weights,
				   .n_weights = w->n_weights, .snat_to_vip = w->snat_to_vip, .routed = w->routed,
				   .counters = w->counters };

	for (size_t k = 0; k < n_ips; k++) {
		in.ips[k] = ips[k];
		in.homes[k][0] = w->home;
	}
	for (size_t i = 0; i < w->n_slices; i++) { /* sorted by Service: they stand together */
		const struct slice *slice = w->slice_list[i];

		if (!text_eq(slice->meta.ns, s->meta.ns) || !text_eq(slice->service, s->meta.name))
			continue;
		if (in.n_slices++ == 0)
			in.slices = &w->slice_list[i];
	}
	return in;
}

/* This node, not objects; false when the statement is none of these. */
static inline bool world_setting(struct world *w, const char *verb, char **at)
{
	if (text_eq(verb, "dataplane")) {
		w->dataplane_nft = text_eq(need_word(at), "nft");
	} else if (text_eq(verb, "routed")) {
		w->routed = text_eq(need_word(at), "yes");
	} else if (text_eq(verb, "counters")) {
		w->counters = text_eq(need_word(at), "yes");
	} else if (text_eq(verb, "zone")) {
		assert_true(text_copy(w->zone, WORLD_NAME, need_word(at)));
	} else if (text_eq(verb, "node-weight")) {
		const char *node = need_word(at);

		world_add_weight(w, node, need_word(at));
	} else if (text_eq(verb, "source-nat")) {
		uint64_t index = 0;

		w->snat_to_vip = text_to_u64(need_word(at), UINT16_MAX, &index) == 0;
		w->home = (uint32_t)index;
	} else {
		return false;
	}
	return true;
}

/* Carries out one statement; false when it is none of those above.  The line is taken apart. */
static inline bool world_statement(struct world *w, char *line)
{
	char *at = NULL;
	const char *verb = strtok_r(line, " \t", &at);

	if (!verb || *verb == '#')
		return true;
	if (text_eq(verb, "pool")) {
		w->pool.n_ranges = 0;
		for (char *word = next_word(&at); word; word = next_word(&at))
			w->ranges[w->pool.n_ranges++] = make_range(word);
	} else if (text_eq(verb, "default-class")) {
		w->pool.default_class = text_eq(need_word(&at), "yes");
	} else if (text_eq(verb, "service")) {
		world_add_service(w, &at);
	} else if (text_eq(verb, "slice")) {
		world_add_slice(w, &at);
	} else if (text_eq(verb, "delete")) {
		world_delete(w, &at);
	} else if (!world_setting(w, verb, &at)) {
		return false;
	}
	world_settle(w);
	return true;
}
