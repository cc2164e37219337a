/* SPDX-License-Identifier: Apache-2.0 */
/* object_json.c: Services and EndpointSlices from JSON.  An object is first filled with strings borrowed from the JSON
 * tree, then packed into one allocation of its exact size: watches hold thousands of these for the life of the agent.
 * Which addresses a Service gets is decided in agent/core; the bodies we send are made in write_json.c. */
#include "agent/kube/object_json.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/base/text.h"
#include "agent/kube/json_walk.h"
#include "agent/kube/span.h"

#define SHARING_KEY_MAX 253
#define LEASE_TEXT_MAX 253
#define PROBLEM_VALUE_MAX 64 /* bytes of a refused value that are shown */
#define PROBLEM_MAX 256

/* One pass of packing: with at = NULL it only counts. */
struct pack {
	char *at;
	size_t size;
};

static void pack_text(struct pack *p, const char **text)
{
	size_t n = strlen(*text) + 1;

	p->size += n;
	if (!p->at)
		return;
	memcpy(p->at, *text, n);
	*text = p->at;
	p->at += n;
}

static void pack_meta(struct pack *p, struct object_meta *m)
{
	pack_text(p, &m->ns);
	pack_text(p, &m->name);
	pack_text(p, &m->uid);
	pack_text(p, &m->resource_version);
}

static int meta_decode(const struct walk *root, struct object_meta *m, struct walk *ret_meta, struct err_info *err)
{
	struct walk meta;
	const char *deleted;
	int r;

	if ((r = walk_object(root, "metadata", &meta, err)) < 0 || (r = walk_text(&meta, "name", &m->name, err)) < 0 ||
	    (r = walk_text(&meta, "namespace", &m->ns, err)) < 0 || (r = walk_text(&meta, "uid", &m->uid, err)) < 0 ||
	    (r = walk_text(&meta, "resourceVersion", &m->resource_version, err)) < 0 ||
	    (r = walk_text(&meta, "deletionTimestamp", &deleted, err)) < 0)
		return r;
	if (!*m->name)
		return walk_refuse(&meta, "name", err, "missing");
	if (!*m->ns)
		return walk_refuse(&meta, "namespace", err, "missing");
	m->deleting = *deleted;
	*ret_meta = meta;
	return 0;
}

static int proto_decode(const struct walk *at, uint8_t *ret, struct err_info *err)
{
	const char *text;
	int r = walk_text(at, "protocol", &text, err);

	if (r < 0)
		return r;
	if (!*text || text_eq(text, "TCP"))
		*ret = IPPROTO_TCP;
	else if (text_eq(text, "UDP"))
		*ret = IPPROTO_UDP;
	else if (text_eq(text, "SCTP"))
		*ret = IPPROTO_SCTP;
	else
		return walk_refuse(at, "protocol", err, "\"%.32s\" is not TCP, UDP or SCTP", text);
	return 0;
}

static uint8_t family_of(const char *text)
{
	return text_eq(text, "IPv4") ? IP_V4 : text_eq(text, "IPv6") ? IP_V6 : IP_NONE;
}

/* The entries of a list, refused when there are more than 'max'. */
static int list_decode(const struct walk *at, const char *key, size_t max, const json_t **ret, struct err_info *err)
{
	int r = walk_array(at, key, ret, err);

	if (r == 0 && json_array_size(*ret) > max) {
		IGNORE(walk_refuse(at, key, err, "more than %zu entries", max)); /* for its text alone */
		return -EMSGSIZE;
	}
	return r;
}

/* --- Service: annotations ------------------------------------------------------------------------------------------ */

/* Keeps the first problem of a Service. */
static void problem_set(char problem[static PROBLEM_MAX], const char *place, const char *value, const char *reason)
{
	size_t n = walk_cut(value, PROBLEM_VALUE_MAX);

	if (*problem)
		return;
	IGNORE(snprintf(problem, PROBLEM_MAX, "%s: \"%.*s%s\": %s", place, (int)n, value, value[n] ? "..." : "",
			reason)); /* fits: places and reasons are ours and short */
}

/* The annotation's text, "" when absent; one that is no plain string is a problem. */
static const char *annotation(const struct walk *annotations, const char *key, char *problem)
{
	const json_t *node = json_object_get(annotations->object, key);
	const char *text = walk_plain_text(node);

	if (node && !json_is_null(node) && !text)
		problem_set(problem, key, "", "not a plain string");
	return text ? text : "";
}

/* The first annotation of 'keys' that is set; *ret_key names it. */
static const char *annotation_first(const struct walk *annotations, const char *const *keys, const char **ret_key,
				    char *problem)
{
	const char *text = "";

	for (; *keys && !*text; keys++) {
		*ret_key = *keys;
		text = annotation(annotations, *keys, problem);
	}
	return text;
}

/* One address between 'from' and 'to', blanks around it left out.  NULL, or the reason why not. */
static const char *address_decode(const char *from, const char *to, struct ip *ret)
{
	char text[IP_TEXT_MAX];
	size_t n;

	while (from < to && *from == ' ')
		from++;
	while (from < to && to[-1] == ' ')
		to--;
	n = (size_t)(to - from);
	if (n >= sizeof(text))
		return "not an IP address";
	memcpy(text, from, n);
	text[n] = '\0';
	if (ip_parse(text, ret) < 0)
		return "not an IP address";
	return ip_is_unusable(ret) ? "an address that cannot be a VIP" : NULL;
}

/* "A[,B]", one address of a family at most; nothing at all is taken from a text with a mistake in it. */
static size_t addresses_decode(const char *place, const char *text, struct ip *ret, char *problem)
{
	struct ip found[OBJECT_ADDRESSES_MAX];
	const char *reason = NULL, *from = text;
	size_t n = 0;

	while (*text && !reason) {
		const char *to = strchrnul(from, ',');

		if (n == OBJECT_ADDRESSES_MAX)
			reason = "more than one address of a family";
		else
			reason = address_decode(from, to, &found[n]);
		if (!reason && n == 1 && found[0].family == found[1].family)
			reason = "more than one address of a family";
		n++;
		if (!*to)
			break;
		from = to + 1;
	}
	if (reason) {
		problem_set(problem, place, text, reason);
		return 0;
	}
	memcpy(ret, found, n * sizeof(found[0]));
	return n;
}

static int annotations_decode(const struct walk *meta, const struct walk *spec, struct service *s, char *problem,
			      struct err_info *err)
{
	static const char *const address_keys[] = { "leasehold.io/addresses", "kube-vip.io/loadbalancerIPs",
						    "metallb.io/loadBalancerIPs", "metallb.universe.tf/loadBalancerIPs",
						    NULL };
	static const char *const sharing_keys[] = { "leasehold.io/sharing-key", "metallb.io/allow-shared-ip",
						    "metallb.universe.tf/allow-shared-ip", NULL };
	const char *text, *key = "";
	struct walk annotations;
	int r = walk_object(meta, "annotations", &annotations, err);

	if (r < 0)
		return r;
	text = annotation_first(&annotations, address_keys, &key, problem);
	if (!*text) {
		key = "spec.loadBalancerIP";
		r = walk_text(spec, "loadBalancerIP", &text, err);
		if (r < 0)
			return r;
	}
	s->n_requested = addresses_decode(key, text, s->requested, problem);
	text = annotation(&annotations, "leasehold.io/allocated", problem);
	s->n_allocated = addresses_decode("leasehold.io/allocated", text, s->allocated, problem);
	s->lease = annotation(&annotations, "leasehold.io/lease", problem);
	if (strlen(s->lease) > LEASE_TEXT_MAX) {
		problem_set(problem, "leasehold.io/lease", s->lease, "longer than 253 bytes");
		s->lease = "";
	}
	s->sharing_key = annotation_first(&annotations, sharing_keys, &key, problem);
	if (strlen(s->sharing_key) > SHARING_KEY_MAX) {
		problem_set(problem, key, s->sharing_key, "longer than 253 bytes");
		s->sharing_key = "";
	}
	text = annotation(&annotations, "leasehold.io/balance", problem);
	if (text_eq(text, "random"))
		s->balance = BALANCE_RANDOM;
	else if (*text && !text_eq(text, "hash"))
		problem_set(problem, "leasehold.io/balance", text, "not hash or random");
	return 0;
}

/* --- Service: spec and status -------------------------------------------------------------------------------------- */

static int families_decode(const struct walk *spec, struct service *s, struct err_info *err)
{
	const json_t *list;
	const char *policy;
	int r;

	if ((r = list_decode(spec, "ipFamilies", ARRAY_LEN(s->families), &list, err)) < 0 ||
	    (r = walk_text(spec, "ipFamilyPolicy", &policy, err)) < 0)
		return r;
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = walk_plain_text(json_array_get(list, i));

		s->families[i] = text ? family_of(text) : IP_NONE;
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
	    (r = proto_decode(&at, &p->proto, err)) < 0 ||
	    (r = walk_int(&at, "port", (struct walk_range){ 1, 65535 }, &port, err)) < 0)
		return r;
	if (!port)
		return walk_refuse(&at, "port", err, "missing");
	p->port = (uint16_t)port;
	return 0;
}

static int spec_decode(const struct walk *spec, struct service *s, struct err_info *err)
{
	const char *policy;
	const json_t *list;
	int r;

	if ((r = walk_text(spec, "type", &s->type, err)) < 0 ||
	    (r = walk_text(spec, "loadBalancerClass", &s->load_balancer_class, err)) < 0 ||
	    (r = walk_text(spec, "externalTrafficPolicy", &policy, err)) < 0 ||
	    (r = families_decode(spec, s, err)) < 0 ||
	    (r = list_decode(spec, "ports", OBJECT_PORTS_MAX, &list, err)) < 0)
		return r;
	if (!*s->type)
		s->type = "ClusterIP";
	s->policy_local = text_eq(policy, "Local");
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
	s->ingress_all_vip_mode = true;
	for (size_t i = 0; i < json_array_size(list); i++) {
		if ((r = walk_entry(&balancer, "ingress", i, &at, err)) < 0 || (r = walk_text(&at, "ip", &text, err)) < 0 ||
		    (r = walk_text(&at, "ipMode", &mode, err)) < 0)
			return r;
		if (*mode && !text_eq(mode, "VIP"))
			s->ingress_all_vip_mode = false;
		/* What we would not have written, a hostname or an odd address, is someone else's, and so is what
		 * lies past the bound. */
		if (ip_parse(text, &ip) < 0 || s->n_ingress == OBJECT_INGRESS_MAX)
			s->ingress_foreign = true;
		else
			s->ingress[s->n_ingress++] = ip;
	}
	return 0;
}

static void pack_service(struct pack *p, struct service *s)
{
	pack_meta(p, &s->meta);
	pack_text(p, &s->type);
	pack_text(p, &s->load_balancer_class);
	pack_text(p, &s->sharing_key);
	pack_text(p, &s->lease);
	pack_text(p, &s->problem);
	for (size_t i = 0; i < s->n_ports; i++)
		pack_text(p, &s->ports[i].name);
}

/* A copy in one allocation: the struct, its ports, its strings. */
static struct service *service_pack(struct service *s)
{
	size_t ports_size = s->n_ports * sizeof(s->ports[0]);
	struct pack count = { NULL, 0 }, fill;
	struct service *to;

	pack_service(&count, s);
	to = malloc(sizeof(*to) + ports_size + count.size);
	if (!to)
		return NULL;
	*to = *s;
	to->ports = (struct service_port *)(void *)(to + 1);
	memcpy(to->ports, s->ports, ports_size);
	fill = (struct pack){ (char *)to->ports + ports_size, 0 };
	pack_service(&fill, to);
	return to;
}

int service_decode(const char *json, size_t len, struct service **ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct service_port ports[OBJECT_PORTS_MAX];
	char problem[PROBLEM_MAX] = "";
	struct walk root, meta, spec;
	struct service s, *packed;
	int r;

	memset(&s, 0, sizeof(s));
	s.meta.kind = OBJECT_SERVICE;
	s.ports = ports;
	s.problem = problem;
	r = walk_parse(json, len, "Service", &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	if ((r = meta_decode(&root, &s.meta, &meta, err)) < 0 || (r = walk_object(&root, "spec", &spec, err)) < 0 ||
	    (r = spec_decode(&spec, &s, err)) < 0 || (r = annotations_decode(&meta, &spec, &s, problem, err)) < 0 ||
	    (r = ingress_decode(&root, &s, err)) < 0)
		return r;
	packed = service_pack(&s);
	if (!packed)
		return err_errno(err, -ENOMEM, "Service");
	*ret = packed;
	return 0;
}

/* --- EndpointSlice ------------------------------------------------------------------------------------------------- */

static int endpoint_decode(const struct walk *root, size_t i, uint8_t family, struct endpoint *e, struct err_info *err)
{
	struct walk at, conditions;
	const json_t *addresses;
	const char *text;
	int r;

	*e = (struct endpoint){ .ready = true, .serving = true };
	if ((r = walk_entry(root, "endpoints", i, &at, err)) < 0 ||
	    (r = walk_array(&at, "addresses", &addresses, err)) < 0 ||
	    (r = walk_text(&at, "nodeName", &e->node, err)) < 0 ||
	    (r = walk_object(&at, "conditions", &conditions, err)) < 0 ||
	    (r = walk_bool(&conditions, "ready", &e->ready, err)) < 0 ||
	    (r = walk_bool(&conditions, "serving", &e->serving, err)) < 0 ||
	    (r = walk_bool(&conditions, "terminating", &e->terminating, err)) < 0)
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

	if ((r = walk_entry(root, "ports", i, &at, err)) < 0 || (r = walk_text(&at, "name", &p->name, err)) < 0 ||
	    (r = proto_decode(&at, &p->proto, err)) < 0 ||
	    (r = walk_int(&at, "port", (struct walk_range){ 1, 65535 }, &port, err)) < 0)
		return r;
	p->port = (uint16_t)port;
	return 0;
}

static int slice_fill(const struct walk *root, struct slice *s, struct err_info *err)
{
	const json_t *endpoints, *ports;
	int r;

	if ((r = list_decode(root, "ports", OBJECT_PORTS_MAX, &ports, err)) < 0 ||
	    (r = list_decode(root, "endpoints", OBJECT_ENDPOINTS_MAX, &endpoints, err)) < 0)
		return r;
	s->n_ports = json_array_size(ports);
	for (size_t i = 0; i < s->n_ports; i++)
		if ((r = slice_port_decode(root, i, &s->ports[i], err)) < 0)
			return r;
	s->n_endpoints = json_array_size(endpoints);
	for (size_t i = 0; i < s->n_endpoints; i++)
		if ((r = endpoint_decode(root, i, s->family, &s->endpoints[i], err)) < 0)
			return r;
	return 0;
}

static void pack_slice(struct pack *p, struct slice *s)
{
	pack_meta(p, &s->meta);
	pack_text(p, &s->service);
	for (size_t i = 0; i < s->n_ports; i++)
		pack_text(p, &s->ports[i].name);
	for (size_t i = 0; i < s->n_endpoints; i++)
		pack_text(p, &s->endpoints[i].node);
}

/* As service_pack(). */
static struct slice *slice_pack(struct slice *s)
{
	size_t endpoints_size = s->n_endpoints * sizeof(s->endpoints[0]);
	size_t ports_size = s->n_ports * sizeof(s->ports[0]);
	struct pack count = { NULL, 0 }, fill;
	struct slice *to;

	pack_slice(&count, s);
	to = malloc(sizeof(*to) + endpoints_size + ports_size + count.size);
	if (!to)
		return NULL;
	*to = *s;
	to->endpoints = (struct endpoint *)(void *)(to + 1);
	memcpy(to->endpoints, s->endpoints, endpoints_size);
	to->ports = (struct slice_port *)(void *)(to->endpoints + s->n_endpoints);
	memcpy(to->ports, s->ports, ports_size);
	fill = (struct pack){ (char *)to->ports + ports_size, 0 };
	pack_slice(&fill, to);
	return to;
}

/* What slice_decode() fills before it knows the sizes. */
struct slice_room {
	struct endpoint endpoints[OBJECT_ENDPOINTS_MAX];
	struct slice_port ports[OBJECT_PORTS_MAX];
};

static int slice_labels(const struct walk *meta, struct slice *s, struct err_info *err)
{
	struct walk labels;
	int r = walk_object(meta, "labels", &labels, err);

	return r < 0 ? r : walk_text(&labels, "kubernetes.io/service-name", &s->service, err);
}

int slice_decode(const char *json, size_t len, struct slice **ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	AUTO(freep) struct slice_room *room = NULL;
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
	s.family = family_of(type);
	if (s.family == IP_NONE) {
		*ret = NULL;
		return 0;
	}
	room = malloc(sizeof(*room));
	if (!room)
		return err_errno(err, -ENOMEM, "EndpointSlice");
	s.endpoints = room->endpoints;
	s.ports = room->ports;
	r = slice_fill(&root, &s, err);
	if (r < 0)
		return r;
	packed = slice_pack(&s);
	if (!packed)
		return err_errno(err, -ENOMEM, "EndpointSlice");
	*ret = packed;
	return 0;
}

void service_free(struct service *s)
{
	free(s);
}

void slice_free(struct slice *s)
{
	free(s);
}

/* --- keys ---------------------------------------------------------------------------------------------------------- */

int object_key_decode(const char *json, size_t len, struct object_key **ret, struct err_info *err)
{
	AUTO(walk_tree_free) json_t *tree = NULL;
	struct pack count = { NULL, 0 }, fill;
	struct object_meta m = { .ns = "" };
	struct object_key *k;
	struct walk root, meta;
	int r;

	r = walk_parse(json, len, NULL, &tree, err);
	if (r < 0)
		return r;
	root = walk_root(tree);
	r = meta_decode(&root, &m, &meta, err);
	if (r < 0)
		return r;
	m.resource_version = "";
	pack_meta(&count, &m);
	k = malloc(sizeof(*k) + count.size);
	if (!k)
		return err_errno(err, -ENOMEM, "object");
	fill = (struct pack){ (char *)(k + 1), 0 };
	pack_meta(&fill, &m);
	*k = (struct object_key){ m.ns, m.name, m.uid };
	*ret = k;
	return 0;
}

void object_key_free(struct object_key *k)
{
	free(k);
}

int object_deleting_decode(const char *json, size_t len, bool *ret)
{
	const struct span object = { json, len };
	struct span meta = span_member(object, "metadata");

	if (!meta.p)
		return -EINVAL;
	*ret = span_member(meta, "deletionTimestamp").p != NULL;
	return 0;
}
