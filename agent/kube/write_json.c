/* SPDX-License-Identifier: Apache-2.0 */
/* write_json.c: the bodies and paths of what we write beside Leases: Service status and Events.  Small enough to be
 * written as text straight away.  Sending is client.c's; what to write and when is decided in agent/publish.c. */
#include "agent/kube/write_json.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "agent/kube/json_walk.h"

#define NAME_MAX_BYTES 253     /* a DNS subdomain (RFC 1123) */
#define NOTE_MAX_BYTES 1024    /* events.k8s.io/v1 note */
#define INSTANCE_MAX_BYTES 128 /* reportingInstance, reason and action */

/* "resourceVersion":"V", when V is given: the server then answers 409 if the object has changed (optimistic lock). */
static void put_version(const char *version, struct buf *out)
{
	if (!version || !*version)
		return;
	buf_puts(out, "\"resourceVersion\":");
	buf_json_string(out, version);
	buf_puts(out, ",");
}

int allocation_patch(const struct ip *ips, size_t n_ips, const char *lease, const char *resource_version, struct buf *out)
{
	char text[IP_TEXT_MAX];

	buf_puts(out, "{\"metadata\":{");
	put_version(resource_version, out);
	buf_puts(out, "\"annotations\":{\"leasehold.io/allocated\":");
	for (size_t i = 0; i < n_ips; i++)
		buf_printf(out, "%s%s", i ? "," : "\"", ip_format(&ips[i], text));
	buf_puts(out, n_ips ? "\",\"leasehold.io/lease\":" : "null,\"leasehold.io/lease\":null");
	if (n_ips)
		buf_json_string(out, lease);
	buf_puts(out, "}}}");
	return buf_failed(out);
}

int record_patch(const char *lease, const char *resource_version, struct buf *out)
{
	buf_puts(out, "{\"metadata\":{");
	put_version(resource_version, out);
	buf_puts(out, "\"annotations\":{\"leasehold.io/lease\":");
	buf_json_string(out, lease);
	buf_puts(out, "}}}");
	return buf_failed(out);
}

int status_patch(const struct ip *ips, size_t n_ips, bool proxy, bool clear, const char *resource_version, struct buf *out)
{
	char text[IP_TEXT_MAX];

	buf_puts(out, "{\"metadata\":{");
	put_version(resource_version, out);
	/* Absent members stay as they are, null removes (RFC 7386): an empty map of annotations changes none. */
	buf_printf(out, "\"annotations\":{%s}},", clear ? "\"leasehold.io/allocated\":null,\"leasehold.io/lease\":null" : "");
	buf_puts(out, "\"status\":{\"loadBalancer\":{\"ingress\":");
	for (size_t i = 0; i < n_ips; i++)
		buf_printf(out, "%s{\"ip\":\"%s\",\"ipMode\":\"%s\"}", i ? "," : "[", ip_format(&ips[i], text),
			   proxy ? "Proxy" : "VIP");
	buf_puts(out, n_ips ? "]}}}" : "null}}}");
	return buf_failed(out);
}

int handover_request_patch(uint32_t number, const char *node, struct buf *out)
{
	char text[NAME_MAX_BYTES + 16];
	int n = snprintf(text, sizeof(text), "%" PRIu32 " %s", number, node);

	if (n < 0 || (size_t)n >= sizeof(text))
		return -EINVAL;
	buf_puts(out, "{\"metadata\":{\"annotations\":{\"leasehold.io/handover-request\":");
	if (number)
		buf_json_string(out, text);
	else
		buf_puts(out, "null");
	buf_puts(out, "}}}");
	return buf_failed(out);
}

/* One segment of a path; all but RFC 3986's unreserved characters are escaped. */
static void put_segment(const char *text, struct buf *out)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (plain || c == '-' || c == '.' || c == '_' || c == '~')
			buf_append(out, text, 1);
		else
			buf_printf(out, "%%%02X", c);
	}
}

int service_status_path(const char *ns, const char *name, struct buf *out)
{
	buf_puts(out, "/api/v1/namespaces/");
	put_segment(ns, out);
	buf_puts(out, "/services/");
	put_segment(name, out);
	buf_puts(out, "/status");
	return buf_failed(out);
}

/* 'text' in at most 'max' bytes of UTF-8 as a JSON string.  Bytes that are not UTF-8 become U+FFFD, three bytes. */
static void put_cut(const char *text, size_t max, struct buf *out)
{
	size_t n = walk_cut(text, max);
	json_t *valid = json_stringn(text, n);
	char cut[NOTE_MAX_BYTES + 1];

	if (!valid)
		n = walk_cut(text, max / 3);
	json_decref(valid);
	memcpy(cut, text, n);
	cut[n] = '\0';
	buf_json_string(out, cut);
}

static void put_member(const char *key, const char *text, size_t max, struct buf *out)
{
	buf_printf(out, ",\"%s\":", key);
	put_cut(text, max, out);
}

int event_encode(const struct event_body *e, struct buf *out)
{
	char name[NAME_MAX_BYTES + 1];

	/* ".<16 hex digits>" stands behind the Service's name. */
	IGNORE(snprintf(name, sizeof(name), "%.*s.%016" PRIx64, NAME_MAX_BYTES - 17, e->service, e->unique)); /* fits */
	buf_puts(out, "{\"apiVersion\":\"events.k8s.io/v1\",\"kind\":\"Event\",\"metadata\":{\"name\":");
	buf_json_string(out, name);
	buf_puts(out, ",\"namespace\":");
	buf_json_string(out, e->ns);
	buf_puts(out, "},\"eventTime\":\"");
	walk_put_time(out, e->time_us);
	buf_puts(out, "\",\"reportingController\":\"leasehold.io/agent\"");
	put_member("reportingInstance", e->instance, INSTANCE_MAX_BYTES, out);
	put_member("action", e->action, INSTANCE_MAX_BYTES, out);
	put_member("reason", e->reason, INSTANCE_MAX_BYTES, out);
	put_member("type", e->type, INSTANCE_MAX_BYTES, out);
	put_member("note", e->note, NOTE_MAX_BYTES, out);
	buf_puts(out, ",\"regarding\":{\"apiVersion\":\"v1\",\"kind\":\"Service\"");
	put_member("namespace", e->ns, NAME_MAX_BYTES, out);
	put_member("name", e->service, NAME_MAX_BYTES, out);
	put_member("uid", e->uid, INSTANCE_MAX_BYTES, out);
	buf_puts(out, "}}");
	return buf_failed(out);
}
