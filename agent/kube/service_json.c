/* SPDX-License-Identifier: Apache-2.0 */
/* service_json.c: Services from JSON (core/v1). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/meta_json.h"
#include "agent/kube/object_json.h"
#include "agent/kube/service_rules.h"

#define SERVICE_TEXTS 5 /* strings of a Service besides its meta, ports and weights */

static int families_decode(const struct walk *spec, struct service *s, struct err_info *err)
{
	const json_t *list;
	const char *policy;
	int r;

	if ((r = meta_list(spec, "ipFamilies", ARRAY_LEN(s->families), &list, err)) < 0 ||
	    (r = walk_text(spec, "ipFamilyPolicy", &policy, err)) < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = walk_plain_text(json_array_get(list, i));

		s->families[i] = text ? meta_family(text) : IP_NONE;
		if (s->families[i] == IP_NONE)
			return walk_refuse(spec, "ipFamilies", err, "entry %zu is not IPv4 or IPv6", i);
	}
	if (!*policy || text_eq(policy, "SingleStack"))
		s->family_policy = FAMILY_SINGLE;
	else if (text_eq(policy, "PreferDualStack"))
		s->family_policy = FAMILY_PREFER_DUAL;
	else if (text_eq(policy, "RequireDualStack"))
		s->family_policy = FAMILY_REQUIRE_DUAL;
	else
		return walk_refuse(spec, "ipFamilyPolicy", err, "unknown value \"%.32s\"", policy);
	return 0;
}

static int service_port_decode(const struct walk *spec, size_t i, struct service_port *p, struct err_info *err)
{
	int64_t port = 0;
	struct walk at;
	int r;

	if ((r = walk_entry(spec, "ports", i, &at, err)) < 0 || (r = walk_text(&at, "name", &p->name, err)) < 0 ||
	    (r = meta_proto_decode(&at, &p->proto, err)) < 0 ||
	    (r = walk_int(&at, "port", (struct walk_range){ 1, 65535 }, &port, err)) < 0)
		return r;
	if (!port)
		return walk_refuse(&at, "port", err, "missing");
	p->port = (uint16_t)port;
	return 0;
}

static int spec_decode(const struct walk *spec, struct service *s, struct err_info *err)
{
	int64_t health_port = 0;
	const char *policy;
	const json_t *list;
	int r;

	if ((r = walk_text(spec, "type", &s->type, err)) < 0 ||
	    (r = walk_text(spec, "loadBalancerClass", &s->load_balancer_class, err)) < 0 ||
	    (r = walk_text(spec, "externalTrafficPolicy", &policy, err)) < 0 ||
	    (r = walk_int(spec, "healthCheckNodePort", (struct walk_range){ 0, 65535 }, &health_port, err)) < 0 ||
	    (r = families_decode(spec, s, err)) < 0 ||
	    (r = meta_list(spec, "ports", OBJECT_PORTS_MAX, &list, err)) < 0)
		return r;
	if (!*s->type)
		s->type = "ClusterIP";
	s->policy_local = text_eq(policy, "Local");
	s->health_check_port = (uint16_t)health_port;
	s->n_ports = json_array_size(list);
	for (size_t i = 0; i < s->n_ports; i++)
		if ((r = service_port_decode(spec, i, &s->ports[i], err)) < 0)
			return r;
	return 0;
}

static int ingress_decode(const struct walk *root, struct service *s, struct err_info *err)
{
	struct walk status, balancer, at;
	const char *text, *mode;
	const json_t *list;
	struct ip ip;
	int r;

	if ((r = walk_object(root, "status", &status, err)) < 0 ||
	    (r = walk_object(&status, "loadBalancer", &balancer, err)) < 0 ||
	    (r = walk_array(&balancer, "ingress", &list, err)) < 0)
		return r;
	s->ingress_all_vip_mode = s->ingress_all_proxy_mode = true;
	for (size_t i = 0; i < json_array_size(list); i++) {
		if ((r = walk_entry(&balancer, "ingress", i, &at, err)) < 0 || (r = walk_text(&at, "ip", &text, err)) < 0 ||
		    (r = walk_text(&at, "ipMode", &mode, err)) < 0)
			return r;
		s->ingress_all_vip_mode &= !*mode || text_eq(mode, "VIP");
		s->ingress_all_proxy_mode &= text_eq(mode, "Proxy");
		/* What we would not have written, a hostname or an odd address, is someone else's, and so is what
		 * lies past the bound. */
		if (ip_parse(text, &ip) < 0 || s->n_ingress == OBJECT_INGRESS_MAX)
			s->ingress_foreign = true;
		else
			s->ingress[s->n_ingress++] = ip;
	}
	return 0;
}

static int service_texts(struct service *s, struct texts *t)
{
	int r = texts_init(t, META_TEXTS + SERVICE_TEXTS + s->n_ports + s->n_weights);

	if (r < 0)
		return r;
	meta_texts(t, &s->meta);
	texts_add(t, &s->type);
	texts_add(t, &s->load_balancer_class);
	texts_add(t, &s->sharing_key);
	texts_add(t, &s->lease);
	texts_add(t, &s->problem);
	for (size_t i = 0; i < s->n_ports; i++)
		texts_add(t, &s->ports[i].name);
	for (size_t i = 0; i < s->n_weights; i++)
		texts_add(t, &s->weights[i].name);
	return 0;
}

/* A part of a packed object: copies size bytes to *at, and moves on. */
static void *put(char **at, const void *part, size_t size)
{
	void *to = *at;

	if (size > 0)
		memcpy(to, part, size);
	*at += size;
	return to;
}

/* A copy in one allocation: the struct, its ports, weights and source ranges, its strings.  The pointers to the strings in
 * 's' go to that copy, too. */
static struct service *service_pack(struct service *s)
{
	size_t ports = s->n_ports * sizeof(s->ports[0]), weights = s->n_weights * sizeof(s->weights[0]);
	size_t sources = s->n_sources * sizeof(s->sources[0]), texts_bytes;
	AUTO(texts_fini) struct texts texts = { .v = NULL };
	struct service *to;
	char *at;

	if (service_texts(s, &texts) < 0)
		return NULL;
	texts_bytes = texts_size(&texts);
	to = malloc(sizeof(*to) + ports + weights + sources + texts_bytes);
	if (!to)
		return NULL;
	at = (char *)(to + 1);
	texts_move(&texts, at + ports + weights + sources);
	*to = *s;
	to->ports = put(&at, s->ports, ports);
	to->weights = put(&at, s->weights, weights);
	to->sources = put(&at, s->sources, sources);
	return to;
}

static int service_fill(const char *json, size_t len, struct service_room *room, struct service **ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct walk root, meta, spec;
	struct service s, *packed;
	int r;

	memset(&s, 0, sizeof(s));
	s.meta.kind = OBJECT_SERVICE;
	s.ports = room->ports;
	s.problem = room->problem;
	r = walk_parse(json, len, "Service", &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = meta_decode(&root, &s.meta, &meta, err)) < 0 || (r = walk_object(&root, "spec", &spec, err)) < 0 ||
	    (r = spec_decode(&spec, &s, err)) < 0 || (r = service_rules_decode(&meta, &spec, &s, room, err)) < 0 ||
	    (r = ingress_decode(&root, &s, err)) < 0)
		return r;
	packed = service_pack(&s);
	if (!packed)
		return err_errno(err, -ENOMEM, "Service");
	*ret = packed;
	return 0;
}

int service_decode(const char *json, size_t len, struct service **ret, struct err_info *err)
{
	struct service_room room;
	int r;

	room.weights = NULL;
	room.problem[0] = '\0';
	r = service_fill(json, len, &room, ret, err);
	free(room.weights);
	return r;
}

/* Takes the settings of 'old' over.  One that 'old' could not read either has there what was good before. */
static void take_settings(struct service *s, const struct service *old)
{
	if (s->unread & SETTING_ADDRESSES) {
		memcpy(s->requested, old->requested, sizeof(s->requested));
		s->n_requested = old->n_requested;
	}
	if (s->unread & SETTING_SHARING_KEY)
		s->sharing_key = old->sharing_key;
	/* Under sessionAffinity it says nothing of the annotation. */
	if ((s->unread & SETTING_BALANCE) && s->sticky_s == 0 && old->sticky_s == 0)
		s->balance = old->balance;
	if (s->unread & SETTING_SLOTS)
		s->min_slots = old->min_slots;
	if (s->unread & SETTING_RATES) {
		memcpy(s->rates, old->rates, sizeof(s->rates));
		s->n_rates = old->n_rates;
	}
	if (s->unread & SETTING_CONNECTIONS)
		s->client_connections = old->client_connections;
}

int service_keep_good(struct service **now, const struct service *old)
{
	struct weight weights[OBJECT_WEIGHTS_MAX];
	struct service s = **now, *packed;

	if (!s.unread || !text_eq(s.meta.uid, old->meta.uid))
		return 0;
	take_settings(&s, old);
	if (s.unread & SETTING_WEIGHTS) {
		s.n_weights = old->n_weights;
		s.weights = memcpy(weights, old->weights, old->n_weights * sizeof(weights[0])); /* old is not ours to change */
	}
	packed = service_pack(&s);
	if (!packed)
		return -ENOMEM;
	service_free(*now);
	*now = packed;
	return 0;
}

void service_free(struct service *s)
{
	free(s);
}
