/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_slice.c: EndpointSlices as JSON, and any object's key.  Beyond not crashing: a decoded slice keeps its bounds, and what
 * a JSON parser finds in the endpoints is what stands in it. */
#include <errno.h>
#include <jansson.h>

#include "agent/base/text.h"
#include "agent/kube/object_json.h"
#include "tests/fuzz/fuzz.h"

/* A member's text as the decoder has it: absent and null are "". */
static const char *member(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static void check_hints(const char **names, size_t n, const json_t *list)
{
	assert(n == json_array_size(list) && n <= OBJECT_HINTS_MAX && (n > 0) == (names != NULL));
	for (size_t i = 0; i < n; i++)
		assert(text_eq(names[i], member(json_array_get(list, i), "name")));
}

static void check_endpoint(const struct endpoint *e, const json_t *json)
{
	const json_t *hints = json_object_get(json, "hints"), *target = json_object_get(json, "targetRef");
	char text[IP_TEXT_MAX];
	struct ip ip;

	assert(text_eq(e->node, member(json, "nodeName")) && text_eq(e->zone, member(json, "zone")));
	assert(text_eq(e->target, text_eq(member(target, "kind"), "Pod") ? member(target, "name") : ""));
	check_hints(e->for_nodes, e->n_for_nodes, json_object_get(hints, "forNodes"));
	check_hints(e->for_zones, e->n_for_zones, json_object_get(hints, "forZones"));
	assert(ip_parse(json_string_value(json_array_get(json_object_get(json, "addresses"), 0)), &ip) == 0);
	assert(ip_eq(&ip, &e->ip) && *ip_format(&ip, text));
}

static void check(const struct slice *s, const json_t *json)
{
	const json_t *endpoints = json_object_get(json, "endpoints");

	assert(*s->meta.name && *s->meta.ns && s->meta.uid && s->meta.resource_version && s->service);
	assert(s->n_ports <= OBJECT_PORTS_MAX && s->n_endpoints <= OBJECT_ENDPOINTS_MAX);
	for (size_t i = 0; i < s->n_ports; i++)
		assert(s->ports[i].name && s->ports[i].proto);
	assert(s->n_endpoints == json_array_size(endpoints));
	for (size_t i = 0; i < s->n_endpoints; i++) {
		assert(s->endpoints[i].ip.family == s->family);
		check_endpoint(&s->endpoints[i], json_array_get(endpoints, i));
	}
}

static void read_key(const char *text, size_t len)
{
	struct object_key *k;

	if (object_key_decode(text, len, &k, NULL) < 0)
		return;
	assert(*k->ns && *k->name && k->uid);
	object_key_free(k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err_info err = ERR_INFO_INIT;
	char *text = fuzz_copy(data, size);
	struct slice *s = NULL;
	json_t *json;
	int r;

	read_key(text, size);
	r = slice_decode(text, size, &s, &err);
	json = json_loadb(text, size, JSON_ALLOW_NUL, NULL);
	free(text);
	if (r < 0)
		assert(*err.text && !s);
	else if (s)
		check(s, json);
	slice_free(s);
	json_decref(json);
	return 0;
}
