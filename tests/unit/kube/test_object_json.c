/* SPDX-License-Identifier: Apache-2.0 */
/* Services and EndpointSlices come out as object.h promises; a mistake in an annotation costs that annotation alone, any
 * other mistake is refused by its place, and the limits hold. */
#include "agent/kube/object_json.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/base/buf.h"

#define META "\"metadata\":{\"namespace\":\"default\",\"name\":\"web\",\"uid\":\"u-1\",\"resourceVersion\":\"5\""

static const char full[] =
	"{\"kind\":\"Service\"," META ",\"deletionTimestamp\":\"2026-01-02T03:04:05Z\",\"annotations\":{"
	"\"leasehold.io/addresses\":\" 203.0.113.10 , 2001:db8::10\",\"leasehold.io/lease\":\"leasehold-group-1\",\"leasehold.io/allocated\":\"2001:db8::11,203.0.113.11\","
	"\"leasehold.io/sharing-key\":\"k\",\"leasehold.io/balance\":\"random\",\"other\":\"x\\u0000y\"}},"
	"\"spec\":{\"type\":\"LoadBalancer\",\"loadBalancerClass\":\"leasehold.io/vip\",\"loadBalancerIP\":\"203.0.113.99\","
	"\"externalTrafficPolicy\":\"Local\",\"ipFamilies\":[\"IPv6\",\"IPv4\"],\"ipFamilyPolicy\":\"RequireDualStack\","
	"\"ports\":[{\"name\":\"http\",\"port\":80},{\"name\":\"dns\",\"port\":53,\"protocol\":\"UDP\"},"
	"{\"name\":\"s\",\"port\":65535,\"protocol\":\"SCTP\"}]},"
	"\"status\":{\"loadBalancer\":{\"ingress\":[{\"ip\":\"203.0.113.11\",\"ipMode\":\"VIP\"},{\"ip\":\"2001:db8::11\"}]}}}";

static void assert_ip(const struct ip *ip, const char *want)
{
	char text[IP_TEXT_MAX];

	assert_string_equal(ip_format(ip, text), want);
}

static struct service *decode(const char *json)
{
	struct err_info err = ERR_INFO_INIT;
	struct service *s = NULL;

	if (service_decode(json, strlen(json), &s, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	return s;
}

static void test_service(void **state)
{
	struct service *s = decode(full);

	(void)state;
	assert_int_equal(s->meta.kind, OBJECT_SERVICE);
	assert_string_equal(s->meta.ns, "default");
	assert_string_equal(s->meta.name, "web");
	assert_string_equal(s->meta.uid, "u-1");
	assert_string_equal(s->meta.resource_version, "5");
	assert_true(s->meta.deleting);
	assert_string_equal(s->type, "LoadBalancer");
	assert_string_equal(s->load_balancer_class, "leasehold.io/vip");
	assert_true(s->policy_local);
	assert_int_equal(s->families[0], IP_V6);
	assert_int_equal(s->families[1], IP_V4);
	assert_int_equal(s->family_policy, FAMILY_REQUIRE_DUAL);
	assert_int_equal(s->n_ports, 3);
	assert_string_equal(s->ports[0].name, "http");
	assert_int_equal(s->ports[0].proto, IPPROTO_TCP);
	assert_int_equal(s->ports[1].port, 53);
	assert_int_equal(s->ports[1].proto, IPPROTO_UDP);
	assert_int_equal(s->ports[2].port, 65535);
	assert_int_equal(s->ports[2].proto, IPPROTO_SCTP);
	assert_int_equal(s->n_requested, 2);
	assert_ip(&s->requested[0], "203.0.113.10");
	assert_ip(&s->requested[1], "2001:db8::10");
	assert_int_equal(s->n_allocated, 2);
	assert_ip(&s->allocated[0], "2001:db8::11");
	assert_string_equal(s->lease, "leasehold-group-1");
	assert_string_equal(s->sharing_key, "k");
	assert_int_equal(s->balance, BALANCE_RANDOM);
	assert_string_equal(s->problem, "");
	assert_int_equal(s->n_ingress, 2);
	assert_ip(&s->ingress[1], "2001:db8::11");
	assert_false(s->ingress_foreign);
	assert_true(s->ingress_all_vip_mode);
	service_free(s);
}

static void test_service_defaults(void **state)
{
	struct service *s = decode("{" META "}}");

	(void)state;
	assert_false(s->meta.deleting);
	assert_string_equal(s->type, "ClusterIP");
	assert_string_equal(s->load_balancer_class, "");
	assert_int_equal(s->n_ports, 0);
	assert_int_equal(s->families[0], IP_NONE);
	assert_int_equal(s->family_policy, FAMILY_SINGLE);
	assert_false(s->policy_local);
	assert_int_equal(s->n_requested + s->n_allocated + s->n_ingress, 0);
	assert_string_equal(s->sharing_key, "");
	assert_int_equal(s->balance, BALANCE_HASH);
	assert_string_equal(s->problem, "");
	assert_false(s->ingress_foreign);
	assert_true(s->ingress_all_vip_mode);
	service_free(s);
	service_free(NULL);
}

/* One row: annotations and the rest of spec, then what comes of it. */
static void test_service_annotations(void **state)
{
	static const struct {
		const char *annotations, *spec, *requested, *key, *problem;
	} rows[] = {
		{ "", "\"loadBalancerIP\":\"203.0.113.9\"", "203.0.113.9", "", "" },
		{ "\"kube-vip.io/loadbalancerIPs\":\"203.0.113.1\"", "\"loadBalancerIP\":\"203.0.113.9\"", "203.0.113.1", "",
		  "" },
		{ "\"metallb.io/loadBalancerIPs\":\"203.0.113.2\"", "", "203.0.113.2", "", "" },
		{ "\"metallb.universe.tf/loadBalancerIPs\":\"203.0.113.3\"", "", "203.0.113.3", "", "" },
		{ "\"metallb.io/loadBalancerIPs\":\"203.0.113.2\",\"leasehold.io/addresses\":\"203.0.113.1\"", "",
		  "203.0.113.1", "", "" },
		{ "\"leasehold.io/addresses\":\"\",\"metallb.io/loadBalancerIPs\":\"203.0.113.2\"", "", "203.0.113.2", "", "" },
		{ "\"metallb.io/allow-shared-ip\":\"a\",\"metallb.universe.tf/allow-shared-ip\":\"b\"", "", "", "a", "" },
		{ "\"metallb.universe.tf/allow-shared-ip\":\"b\"", "", "", "b", "" },
		{ "\"leasehold.io/addresses\":\"203.0.113.1,\"", "", "", "",
		  "leasehold.io/addresses: column 13: an IP address is missing" },
		{ "\"leasehold.io/addresses\":\" \"", "", "", "", "leasehold.io/addresses: column 2: an IP address is missing" },
		{ "\"leasehold.io/addresses\":\"203.0.113.1,203.0.113.2\",\"leasehold.io/sharing-key\":\"k\"", "", "", "k",
		  "leasehold.io/addresses: column 13: 203.0.113.2 is a second address of its family" },
		/* kube-vip's word for DHCP, and no address of ours; the field behind it is not asked then. */
		{ "\"kube-vip.io/loadbalancerIPs\":\"0.0.0.0\"", "\"loadBalancerIP\":\"203.0.113.9\"", "", "",
		  "kube-vip.io/loadbalancerIPs: column 1: 0.0.0.0 cannot be a VIP" },
		{ "", "\"loadBalancerIP\":\"web.example\"", "", "",
		  "spec.loadBalancerIP: column 1: \"web.example\" is not an IP address" },
		{ "\"leasehold.io/addresses\":\"203.0.113.1\\u0000\"", "", "", "",
		  "leasehold.io/addresses: not a plain string" },
		{ "\"leasehold.io/addresses\":[]", "", "", "", "leasehold.io/addresses: not a plain string" },
		{ "\"leasehold.io/addresses\":null", "", "", "", "" },
		{ "\"leasehold.io/balance\":\"Hash\",\"leasehold.io/addresses\":\"203.0.113.1\"", "", "203.0.113.1", "",
		  "leasehold.io/balance: column 1: \"Hash\" is not a way to balance (hash, random, source, round-robin)" },
		{ "\"leasehold.io/allocated\":\"x\",\"leasehold.io/slots\":\"y\"", "", "", "",
		  "leasehold.io/allocated: column 1: \"x\" is not an IP address; "
		  "leasehold.io/slots: column 1: \"y\" is not a whole number from 1 to 5003" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf json = BUF_INIT(4096);
		struct service *s;

		buf_printf(&json, "{" META ",\"annotations\":{%s}},\"spec\":{%s}}", rows[i].annotations, rows[i].spec);
		s = decode(json.data);
		if (!!*rows[i].requested != s->n_requested)
			fail_msg("row %zu: %zu addresses", i, s->n_requested);
		if (s->n_requested)
			assert_ip(&s->requested[0], rows[i].requested);
		assert_string_equal(s->sharing_key, rows[i].key);
		assert_string_equal(s->problem, rows[i].problem);
		assert_int_equal(s->n_allocated, 0);
		service_free(s);
		buf_fini(&json);
	}
}

static void test_service_sharing_key_bound(void **state)
{
	char key[255];

	(void)state;
	memset(key, 'k', sizeof(key));
	for (int n = 253; n <= 254; n++) {
		struct buf json = BUF_INIT(4096);
		struct service *s;

		buf_printf(&json, "{" META ",\"annotations\":{\"leasehold.io/sharing-key\":\"%.*s\"}}}", n, key);
		s = decode(json.data);
		assert_int_equal(strlen(s->sharing_key), n == 253 ? 253 : 0);
		assert_int_equal(*s->problem == '\0', n == 253);
		service_free(s);
		buf_fini(&json);
	}
}

static void test_service_ingress(void **state)
{
	static const struct {
		const char *ingress;
		size_t n;
		bool foreign, vip_mode, proxy_mode;
	} rows[] = {
		{ "[]", 0, false, true, true },
		{ "null", 0, false, true, true },
		{ "[{\"ip\":\"203.0.113.1\",\"ipMode\":\"Proxy\"},{\"ip\":\"203.0.113.2\"}]", 2, false, false, false },
		{ "[{\"ip\":\"203.0.113.1\",\"ipMode\":\"Proxy\"},{\"ip\":\"203.0.113.2\",\"ipMode\":\"Proxy\"}]", 2, false, false, true },
		{ "[{\"ip\":\"203.0.113.1\",\"ipMode\":\"VIP\"},{\"ip\":\"203.0.113.2\"}]", 2, false, true, false },
		{ "[{\"hostname\":\"h\"},{\"ip\":\"203.0.113.2\"}]", 1, true, true, false },
		{ "[{\"ip\":\"203.0.113.010\"}]", 0, true, true, false },
	};
	struct buf many = BUF_INIT(4096);
	struct service *s;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct buf json = BUF_INIT(4096);

		buf_printf(&json, "{" META "},\"status\":{\"loadBalancer\":{\"ingress\":%s}}}", rows[i].ingress);
		s = decode(json.data);
		assert_int_equal(s->n_ingress, rows[i].n);
		assert_int_equal(s->ingress_foreign, rows[i].foreign);
		assert_int_equal(s->ingress_all_vip_mode, rows[i].vip_mode);
		assert_int_equal(s->ingress_all_proxy_mode, rows[i].proxy_mode);
		service_free(s);
		buf_fini(&json);
	}
	buf_puts(&many, "{" META "},\"status\":{\"loadBalancer\":{\"ingress\":[");
	for (unsigned int i = 0; i <= OBJECT_INGRESS_MAX; i++)
		buf_printf(&many, "%s{\"ip\":\"203.0.113.%u\"}", i ? "," : "", i + 1);
	buf_puts(&many, "]}}}");
	s = decode(many.data);
	assert_int_equal(s->n_ingress, OBJECT_INGRESS_MAX);
	assert_true(s->ingress_foreign);
	service_free(s);
	buf_fini(&many);
}

static void test_service_refused(void **state)
{
	static const struct {
		const char *json, *text;
	} rows[] = {
		{ "{", "not JSON" },
		{ "3", "not" },
		{ "{\"kind\":\"Pod\"}", "kind: \"Pod\" is not Service" },
		{ "{}", "metadata.name: missing" },
		{ "{\"metadata\":{\"name\":\"n\"}}", "metadata.namespace: missing" },
		{ "{" META "},\"spec\":[]}", "spec: not an object" },
		{ "{" META ",\"annotations\":[]}}", "metadata.annotations: not an object" },
		{ "{" META "},\"spec\":{\"type\":1}}", "spec.type: not a string" },
		{ "{" META "},\"spec\":{\"ports\":{}}}", "spec.ports: not a list" },
		{ "{" META "},\"spec\":{\"ports\":[{\"port\":1},7]}}", "spec.ports[1]: not an object" },
		{ "{" META "},\"spec\":{\"ports\":[{\"port\":1},{\"port\":2},{\"port\":65536}]}}",
		  "spec.ports[2].port: not 1..65535" },
		{ "{" META "},\"spec\":{\"ports\":[{\"port\":0}]}}", "spec.ports[0].port: not 1..65535" },
		{ "{" META "},\"spec\":{\"ports\":[{\"port\":80.5}]}}", "spec.ports[0].port: not a whole number" },
		{ "{" META "},\"spec\":{\"ports\":[{}]}}", "spec.ports[0].port: missing" },
		{ "{" META "},\"spec\":{\"ports\":[{\"port\":1,\"protocol\":\"tcp\"}]}}",
		  "spec.ports[0].protocol: \"tcp\" is not TCP, UDP or SCTP" },
		{ "{" META "},\"spec\":{\"ipFamilies\":[\"IPv4\",\"IPX\"]}}", "spec.ipFamilies: entry 1 is not IPv4 or IPv6" },
		{ "{" META "},\"spec\":{\"ipFamilyPolicy\":\"x\"}}", "spec.ipFamilyPolicy: unknown value \"x\"" },
		{ "{" META "},\"spec\":{\"loadBalancerIP\":4}}", "spec.loadBalancerIP: not a string" },
		{ "{" META "},\"spec\":{\"sessionAffinity\":\"Cookie\"}}", "spec.sessionAffinity: unknown value \"Cookie\"" },
		{ "{" META "},\"spec\":{\"sessionAffinityConfig\":{\"clientIP\":{\"timeoutSeconds\":0}}}}",
		  "spec.sessionAffinityConfig.clientIP.timeoutSeconds: not 1..86400" },
		{ "{" META "},\"spec\":{\"sessionAffinityConfig\":{\"clientIP\":{\"timeoutSeconds\":86401}}}}",
		  "spec.sessionAffinityConfig.clientIP.timeoutSeconds: not 1..86400" },
		{ "{" META "},\"spec\":{\"loadBalancerSourceRanges\":\"0.0.0.0/0\"}}", "spec.loadBalancerSourceRanges: not a list" },
		{ "{" META "},\"spec\":{\"healthCheckNodePort\":65536}}", "spec.healthCheckNodePort: not 0..65535" },
		{ "{" META "},\"status\":{\"loadBalancer\":{\"ingress\":[1]}}}", "status.loadBalancer.ingress[0]: not an object" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err_info err = ERR_INFO_INIT;
		struct service *s = NULL;

		assert_int_equal(service_decode(rows[i].json, strlen(rows[i].json), &s, &err), -EINVAL);
		if (strncmp(err.text, rows[i].text, strlen(rows[i].text)) != 0)
			fail_msg("row %zu: \"%s\", wanted \"%s\"", i, err.text, rows[i].text);
		assert_null(s);
	}
}

static void repeat(struct buf *b, size_t n, const char *entry)
{
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "%s%s", i ? "," : "", entry);
}

static void test_limits(void **state)
{
	(void)state;
	for (size_t over = 0; over <= 1; over++) {
		struct buf service = BUF_INIT(1 << 20), slice = BUF_INIT(1 << 20);
		struct err_info err = ERR_INFO_INIT;
		struct service *s = NULL;
		struct slice *e = NULL;

		buf_puts(&service, "{" META "},\"spec\":{\"ports\":[");
		repeat(&service, OBJECT_PORTS_MAX + over, "{\"port\":80}");
		buf_puts(&service, "]}}");
		assert_int_equal(service_decode(service.data, service.len, &s, &err), over ? -EMSGSIZE : 0);
		if (over)
			assert_string_equal(err.text, "spec.ports: more than 100 entries");
		buf_puts(&slice, "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[");
		repeat(&slice, OBJECT_ENDPOINTS_MAX + over, "{\"addresses\":[\"192.0.2.1\"],\"nodeName\":\"n\"}");
		buf_puts(&slice, "],\"ports\":[");
		repeat(&slice, OBJECT_PORTS_MAX, "{\"port\":80}");
		buf_puts(&slice, "]}");
		assert_int_equal(slice_decode(slice.data, slice.len, &e, &err), over ? -EMSGSIZE : 0);
		if (over) {
			assert_string_equal(err.text, "endpoints: more than 1000 entries");
		} else {
			assert_int_equal(e->n_endpoints, OBJECT_ENDPOINTS_MAX);
			assert_string_equal(e->endpoints[OBJECT_ENDPOINTS_MAX - 1].node, "n");
			assert_int_equal(e->ports[OBJECT_PORTS_MAX - 1].port, 80);
		}
		service_free(s);
		slice_free(e);
		buf_fini(&service);
		buf_fini(&slice);
	}
}

static const char slice_full[] =
	"{\"kind\":\"EndpointSlice\"," META ",\"labels\":{\"kubernetes.io/service-name\":\"web\"}},\"addressType\":\"IPv4\","
	"\"endpoints\":[{\"addresses\":[\"192.0.2.1\",\"192.0.2.9\"],\"nodeName\":\"node-a\",\"conditions\":{\"ready\":false,"
	"\"serving\":true,\"terminating\":true},\"zone\":\"zone-a\",\"targetRef\":{\"kind\":\"Pod\",\"namespace\":\"default\","
	"\"name\":\"web-1\"},\"hints\":{\"forZones\":[{\"name\":\"zone-a\"},{\"name\":\"zone-b\"}],\"forNodes\":[{\"name\":\"node-a\"}]},"
	"\"deprecatedTopology\":{\"topology.kubernetes.io/zone\":\"zone-x\"}},{\"addresses\":[\"192.0.2.2\"],"
	"\"targetRef\":{\"kind\":\"Node\",\"name\":\"x\"},\"hints\":{}},{\"addresses\":[\"192.0.2.3\"],\"nodeName\":\"node-a\","
	"\"hints\":{\"forZones\":[{\"name\":\"zone-a\"}],\"forNodes\":null},\"conditions\":{\"ready\":null,\"serving\":false}}],"
	"\"ports\":[{\"name\":\"http\",\"port\":8080,\"protocol\":\"TCP\"},{\"name\":null,\"port\":null,\"protocol\":\"UDP\"}]}";

static void test_slice(void **state)
{
	struct err_info err = ERR_INFO_INIT;
	struct slice *s = NULL;

	(void)state;
	assert_int_equal(slice_decode(slice_full, strlen(slice_full), &s, &err), 0);
	assert_int_equal(s->meta.kind, OBJECT_SLICE);
	assert_string_equal(s->meta.resource_version, "5");
	assert_string_equal(s->service, "web");
	assert_int_equal(s->family, IP_V4);
	assert_int_equal(s->n_endpoints, 3);
	assert_ip(&s->endpoints[0].ip, "192.0.2.1");
	assert_string_equal(s->endpoints[0].node, "node-a");
	assert_false(s->endpoints[0].ready);
	assert_true(s->endpoints[0].serving);
	assert_true(s->endpoints[0].terminating);
	assert_string_equal(s->endpoints[0].zone, "zone-a");
	assert_string_equal(s->endpoints[0].target, "web-1");
	assert_int_equal(s->endpoints[0].n_for_zones, 2);
	assert_string_equal(s->endpoints[0].for_zones[0], "zone-a");
	assert_string_equal(s->endpoints[0].for_zones[1], "zone-b");
	assert_int_equal(s->endpoints[0].n_for_nodes, 1);
	assert_string_equal(s->endpoints[0].for_nodes[0], "node-a");
	assert_string_equal(s->endpoints[1].node, "");
	assert_true(s->endpoints[1].ready);
	assert_true(s->endpoints[1].serving);
	assert_false(s->endpoints[1].terminating);
	assert_string_equal(s->endpoints[1].zone, "");
	assert_string_equal(s->endpoints[1].target, "");
	assert_null(s->endpoints[1].for_zones);
	assert_null(s->endpoints[1].for_nodes);
	assert_int_equal(s->endpoints[2].n_for_zones, 1);
	assert_null(s->endpoints[2].for_nodes);
	/* Each string is kept once. */
	assert_ptr_equal(s->endpoints[2].node, s->endpoints[0].node);
	assert_ptr_equal(s->endpoints[2].node, s->endpoints[0].for_nodes[0]);
	assert_ptr_equal(s->endpoints[2].for_zones[0], s->endpoints[0].zone);
	assert_true(s->endpoints[2].ready);
	assert_false(s->endpoints[2].serving);
	assert_int_equal(s->n_ports, 2);
	assert_string_equal(s->ports[0].name, "http");
	assert_int_equal(s->ports[0].port, 8080);
	assert_string_equal(s->ports[1].name, "");
	assert_int_equal(s->ports[1].port, 0);
	assert_int_equal(s->ports[1].proto, IPPROTO_UDP);
	slice_free(s);
	slice_free(NULL);
}

static void test_slice_other(void **state)
{
	static const struct {
		const char *json;
		int r;
		const char *text;
	} rows[] = {
		{ "{" META "},\"addressType\":\"FQDN\",\"endpoints\":[{\"addresses\":[\"a.example\"]}]}", 0, "" },
		{ "{" META "},\"addressType\":\"IPv6\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"]}]}", -EINVAL,
		  "endpoints[0].addresses[0]: not an IPv6 address" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[]}]}", -EINVAL,
		  "endpoints[0].addresses[0]: not an IPv4 address" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":\"192.0.2.1\"}]}", -EINVAL,
		  "endpoints[0].addresses: not a list" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"],"
		  "\"conditions\":{\"ready\":\"yes\"}}]}",
		  -EINVAL, "endpoints[0].conditions.ready: not true or false" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"],\"hints\":{\"forZones\":[1]}}]}",
		  -EINVAL, "endpoints[0].hints.forZones[0]: not an object" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"],\"hints\":{\"forNodes\":{}}}]}",
		  -EINVAL, "endpoints[0].hints.forNodes: not a list" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"],\"hints\":{\"forNodes\":"
		  "[{},{},{},{},{},{},{},{},{}]}}]}",
		  -EMSGSIZE, "endpoints[0].hints.forNodes: more than 8 entries" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"],\"zone\":1}]}", -EINVAL,
		  "endpoints[0].zone: not a string" },
		{ "{" META "},\"addressType\":\"IPv4\",\"endpoints\":[{\"addresses\":[\"192.0.2.1\"],\"targetRef\":[]}]}", -EINVAL,
		  "endpoints[0].targetRef: not an object" },
		{ "{" META "},\"addressType\":\"IPv4\",\"ports\":[{\"port\":70000}]}", -EINVAL, "ports[0].port: not 1..65535" },
		{ "{" META ",\"labels\":{\"kubernetes.io/service-name\":1}}}", -EINVAL,
		  "metadata.labels.kubernetes.io/service-name: not a string" },
		{ "{\"kind\":\"Service\"}", -EINVAL, "kind: \"Service\" is not EndpointSlice" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err_info err = ERR_INFO_INIT;
		struct slice *s = NULL;

		assert_int_equal(slice_decode(rows[i].json, strlen(rows[i].json), &s, &err), rows[i].r);
		assert_string_equal(err.text, rows[i].text);
		assert_null(s);
	}
}

static void test_key(void **state)
{
	struct object_key *k = NULL;

	(void)state;
	assert_int_equal(object_key_decode(slice_full, strlen(slice_full), &k, NULL), 0);
	assert_string_equal(k->ns, "default");
	assert_string_equal(k->name, "web");
	assert_string_equal(k->uid, "u-1");
	object_key_free(k);
	object_key_free(NULL);
	assert_int_equal(object_key_decode("{}", 2, &k, NULL), -EINVAL);
}

/* Each shorter text is refused and nothing behind it is read (the sanitizer build sees that). */
static void test_truncated(void **state)
{
	static const char *const texts[] = { full, slice_full };

	(void)state;
	for (size_t t = 0; t < ARRAY_LEN(texts); t++)
		for (size_t n = 0; n < strlen(texts[t]); n++) {
			char *cut = malloc(n ? n : 1);
			struct object_key *k = NULL;
			struct service *s = NULL;
			struct slice *e = NULL;

			assert_non_null(cut);
			memcpy(cut, texts[t], n);
			assert_int_equal(service_decode(cut, n, &s, NULL), -EINVAL);
			assert_int_equal(slice_decode(cut, n, &e, NULL), -EINVAL);
			assert_int_equal(object_key_decode(cut, n, &k, NULL), -EINVAL);
			free(cut);
		}
}

/* A changed byte anywhere is either refused or gives a whole object, which can be freed. */
static void test_flipped(void **state)
{
	static const char bytes[] = { 0, '"', '{', ']', '9', (char)0xff };
	char copy[sizeof(full)];

	(void)state;
	for (size_t i = 0; i < sizeof(full) - 1; i++)
		for (size_t b = 0; b < sizeof(bytes); b++) {
			struct service *s = NULL;
			int r;

			memcpy(copy, full, sizeof(full));
			copy[i] = bytes[b];
			r = service_decode(copy, sizeof(full) - 1, &s, NULL);
			assert_true(r == 0 ? s && *s->meta.name && *s->meta.ns : r == -EINVAL && !s);
			service_free(s);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_service),		     cmocka_unit_test(test_service_defaults),
		cmocka_unit_test(test_service_annotations),  cmocka_unit_test(test_service_sharing_key_bound),
		cmocka_unit_test(test_service_ingress),	     cmocka_unit_test(test_service_refused),
		cmocka_unit_test(test_limits),		     cmocka_unit_test(test_slice),
		cmocka_unit_test(test_slice_other),	     cmocka_unit_test(test_key),
		cmocka_unit_test(test_truncated),	     cmocka_unit_test(test_flipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
