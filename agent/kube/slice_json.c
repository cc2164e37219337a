/* SPDX-License-Identifier: Apache-2.0 */
/* slice_json.c: EndpointSlices from JSON (discovery/v1).  deprecatedTopology is not read: nodeName and zone are fields. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/meta_json.h"
#include "agent/kube/object_json.h"

#define ENDPOINT_TEXTS 3 /* strings of an endpoint besides its hints */

/* What slice_decode() fills first, sized by the lists in the JSON.  The packed slice has the same parts in this order. */
struct room {
	struct endpoint *endpoints;
	struct slice_port *ports;
	const char **hints;
	size_t n_hints; /* that there is room for; then: used */
};

static void room_fini(struct room *room)
{
	free(room->endpoints);
	free(room->ports);
	free(room->hints);
}

/* Names of one kind of hint, "forNodes" or "forZones": *ret points into the room. */
static int hint_list(const struct walk *hints, const char *key, struct room *room, const char ***ret, uint8_t *ret_n,
		     struct err_info *err)
{
	const char **at = room->hints + room->n_hints;
	const json_t *list;
	struct walk entry;
	int r = meta_list(hints, key, OBJECT_HINTS_MAX, &list, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++)
		if ((r = walk_entry(hints, key, i, &entry, err)) < 0 || (r = walk_text(&entry, "name", &at[i], err)) < 0)
			return r;
	*ret_n = (uint8_t)json_array_size(list);
	*ret = *ret_n ? at : NULL;
	room->n_hints += *ret_n;
	return 0;
}

static int hints_decode(const struct walk *at, struct room *room, struct endpoint *e, struct err_info *err)
{
	struct walk hints;
	int r = walk_object(at, "hints", &hints, err);

	if (r == 0)
		r = hint_list(&hints, "forNodes", room, &e->for_nodes, &e->n_for_nodes, err);
	return r < 0 ? r : hint_list(&hints, "forZones", room, &e->for_zones, &e->n_for_zones, err);
}

static int target_decode(const struct walk *at, struct endpoint *e, struct err_info *err)
{
	struct walk target;
	const char *kind;
	int r;

	if ((r = walk_object(at, "targetRef", &target, err)) < 0 || (r = walk_text(&target, "kind", &kind, err)) < 0 ||
	    (r = walk_text(&target, "name", &e->target, err)) < 0)
		return r;
	if (!text_eq(kind, "Pod"))
		e->target = "";
	return 0;
}

static int endpoint_decode(const struct walk *root, size_t i, uint8_t family, struct room *room, struct err_info *err)
{
	struct endpoint *e = &room->endpoints[i];
	struct walk at, conditions;
	const json_t *addresses;
	const char *text;
	int r;

	*e = (struct endpoint){ .ready = true, .serving = true };
	if ((r = walk_entry(root, "endpoints", i, &at, err)) < 0 ||
	    (r = walk_array(&at, "addresses", &addresses, err)) < 0 ||
	    (r = walk_text(&at, "nodeName", &e->node, err)) < 0 || (r = walk_text(&at, "zone", &e->zone, err)) < 0 ||
	    (r = walk_object(&at, "conditions", &conditions, err)) < 0 ||
	    (r = walk_bool(&conditions, "ready", &e->ready, err)) < 0 ||
	    (r = walk_bool(&conditions, "serving", &e->serving, err)) < 0 ||
	    (r = walk_bool(&conditions, "terminating", &e->terminating, err)) < 0 ||
	    (r = target_decode(&at, e, err)) < 0 || (r = hints_decode(&at, room, e, err)) < 0)
		return r;
	/* discovery/v1: consumers use the first address alone; the others have no defined meaning. */
	text = walk_plain_text(json_array_get(addresses, 0));
	if (!text || ip_parse(text, &e->ip) < 0 || e->ip.family != family)
		return walk_refuse(&at, "addresses[0]", err, "not an IPv%u address", family);
	return 0;
}

static int slice_port_decode(const struct walk *root, size_t i, struct slice_port *p, struct err_info *err)
{
	int64_t port = 0;
	struct walk at;
	int r;

	*p = (struct slice_port){ .name = "" };
	if ((r = walk_entry(root, "ports", i, &at, err)) < 0 || (r = walk_text(&at, "name", &p->name, err)) < 0 ||
	    (r = meta_proto_decode(&at, &p->proto, err)) < 0 ||
	    (r = walk_int(&at, "port", (struct walk_range){ 1, 65535 }, &port, err)) < 0)
		return r;
	p->port = (uint16_t)port;
	return 0;
}

/* Entries of both lists of hints, bounded: hint_list() refuses what is longer. */
static size_t hints_of(const json_t *endpoint)
{
	const json_t *hints = json_object_get(endpoint, "hints");
	size_t nodes = json_array_size(json_object_get(hints, "forNodes"));
	size_t zones = json_array_size(json_object_get(hints, "forZones"));

	return (nodes < OBJECT_HINTS_MAX ? nodes : OBJECT_HINTS_MAX) + (zones < OBJECT_HINTS_MAX ? zones : OBJECT_HINTS_MAX);
}

static int room_make(struct slice *s, const json_t *endpoints, struct room *room, struct err_info *err)
{
	for (size_t i = 0; i < s->n_endpoints; i++)
		room->n_hints += hints_of(json_array_get(endpoints, i));
	room->endpoints = calloc(s->n_endpoints + 1, sizeof(*room->endpoints));
	room->ports = calloc(s->n_ports + 1, sizeof(*room->ports));
	room->hints = calloc(room->n_hints + 1, sizeof(*room->hints));
	room->n_hints = 0;
	return room->endpoints && room->ports && room->hints ? 0 : err_errno(err, -ENOMEM, "EndpointSlice");
}

static int slice_fill(const struct walk *root, struct slice *s, struct room *room, struct err_info *err)
{
	const json_t *endpoints, *ports;
	int r;

	if ((r = meta_list(root, "ports", OBJECT_PORTS_MAX, &ports, err)) < 0 ||
	    (r = meta_list(root, "endpoints", OBJECT_ENDPOINTS_MAX, &endpoints, err)) < 0)
		return r;
	s->n_ports = json_array_size(ports);
	s->n_endpoints = json_array_size(endpoints);
	if ((r = room_make(s, endpoints, room, err)) < 0)
		return r;
	for (size_t i = 0; i < s->n_ports; i++)
		if ((r = slice_port_decode(root, i, &room->ports[i], err)) < 0)
			return r;
	for (size_t i = 0; i < s->n_endpoints; i++)
		if ((r = endpoint_decode(root, i, s->family, room, err)) < 0)
			return r;
	return 0;
}

static int slice_texts(struct slice *s, struct room *room, struct texts *t)
{
	int r = texts_init(t, META_TEXTS + 1 + s->n_ports + s->n_endpoints * ENDPOINT_TEXTS + room->n_hints);

	if (r < 0)
		return r;
	meta_texts(t, &s->meta);
	texts_add(t, &s->service);
	for (size_t i = 0; i < s->n_ports; i++)
		texts_add(t, &room->ports[i].name);
	for (size_t i = 0; i < s->n_endpoints; i++) {
		texts_add(t, &room->endpoints[i].node);
		texts_add(t, &room->endpoints[i].zone);
		texts_add(t, &room->endpoints[i].target);
	}
	for (size_t i = 0; i < room->n_hints; i++)
		texts_add(t, &room->hints[i]);
	return 0;
}

/* One allocation: the struct, its endpoints, hints and ports, its strings. */
static struct slice *slice_pack(struct slice *s, struct room *room)
{
	size_t endpoints_size = s->n_endpoints * sizeof(s->endpoints[0]), hints_size = room->n_hints * sizeof(room->hints[0]);
	size_t ports_size = s->n_ports * sizeof(s->ports[0]), texts_bytes;
	AUTO(texts_fini) struct texts texts = { .v = NULL };
	const char **hints;
	struct slice *to;
	char *at;

	if (slice_texts(s, room, &texts) < 0)
		return NULL;
	texts_bytes = texts_size(&texts);
	to = malloc(sizeof(*to) + endpoints_size + hints_size + ports_size + texts_bytes);
	if (!to)
		return NULL;
	at = (char *)(to + 1);
	texts_move(&texts, at + endpoints_size + hints_size + ports_size);
	*to = *s;
	to->endpoints = memcpy(at, room->endpoints, endpoints_size);
	hints = memcpy(at + endpoints_size, room->hints, hints_size);
	to->ports = memcpy(at + endpoints_size + hints_size, room->ports, ports_size);
	for (size_t i = 0; i < s->n_endpoints; i++) {
		struct endpoint *e = &to->endpoints[i];

		e->for_nodes = e->n_for_nodes ? hints + (e->for_nodes - room->hints) : NULL;
		e->for_zones = e->n_for_zones ? hints + (e->for_zones - room->hints) : NULL;
	}
	return to;
}

static int slice_labels(const struct walk *meta, struct slice *s, struct err_info *err)
{
	struct walk labels;
	int r = walk_object(meta, "labels", &labels, err);

	return r < 0 ? r : walk_text(&labels, "kubernetes.io/service-name", &s->service, err);
}

int slice_decode(const char *json, size_t len, struct slice **ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	AUTO(room_fini) struct room room = { .endpoints = NULL };
	struct slice s, *packed;
	struct walk root, meta;
	const char *type;
	int r;

	memset(&s, 0, sizeof(s));
	s.meta.kind = OBJECT_SLICE;
	r = walk_parse(json, len, "EndpointSlice", &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = meta_decode(&root, &s.meta, &meta, err)) < 0 || (r = slice_labels(&meta, &s, err)) < 0 ||
	    (r = walk_text(&root, "addressType", &type, err)) < 0)
		return r;
	s.family = meta_family(type);
	if (s.family == IP_NONE) {
		*ret = NULL;
		return 0;
	}
	r = slice_fill(&root, &s, &room, err);
	if (r < 0)
		return r;
	packed = slice_pack(&s, &room);
	if (!packed)
		return err_errno(err, -ENOMEM, "EndpointSlice");
	*ret = packed;
	return 0;
}

void slice_free(struct slice *s)
{
	free(s);
}
