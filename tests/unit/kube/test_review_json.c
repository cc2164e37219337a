/* SPDX-License-Identifier: Apache-2.0 */
/* Proves the codecs of what the doctor asks the API and the agent: access reviews, versions, tokens, nodes' MACs and an
 * agent's status; every cut of each is refused without a crash. */
#include "agent/kube/review_json.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "agent/kube/agent_json.h"
#include "agent/kube/macs_json.h"
#include "agent/kube/token_json.h"

static void test_review_request(void **state)
{
	const struct review_ask ask = { "get", "apps", "daemonsets", "", "kube-system", "lease\"hold" };
	const struct review_ask all = { "patch", "", "services", "status", "", "" };
	struct buf b = BUF_INIT(4096);

	(void)state;
	assert_int_equal(review_encode(&ask, &b), 0);
	assert_string_equal(buf_text(&b), "{\"apiVersion\":\"authorization.k8s.io/v1\",\"kind\":\"SelfSubjectAccessReview\",\"spec\":{"
					  "\"resourceAttributes\":{\"verb\":\"get\",\"group\":\"apps\",\"resource\":\"daemonsets\","
					  "\"namespace\":\"kube-system\",\"name\":\"lease\\\"hold\"}}}");
	buf_reset(&b);
	assert_int_equal(review_encode(&all, &b), 0);
	assert_non_null(strstr(buf_text(&b), "{\"verb\":\"patch\",\"resource\":\"services\",\"subresource\":\"status\"}"));
	buf_fini(&b);
	b = (struct buf)BUF_INIT(16);
	assert_int_equal(review_encode(&ask, &b), -EMSGSIZE);
	buf_fini(&b);
}

static void test_review_answer(void **state)
{
	static const char yes[] = "{\"kind\":\"SelfSubjectAccessReview\",\"status\":{\"allowed\":true,\"reason\":\"RBAC\"}}";
	static const char no[] = "{\"kind\":\"SelfSubjectAccessReview\",\"status\":{\"allowed\":false}}";
	static const char *const wrong[] = { "{\"kind\":\"SelfSubjectAccessReview\"}", "{\"kind\":\"Status\",\"status\":\"Failure\"}",
					     "{\"status\":{\"allowed\":1}}", "[]", "" };
	bool allowed = false;

	(void)state;
	assert_int_equal(review_decode(yes, strlen(yes), &allowed, NULL), 0);
	assert_true(allowed);
	for (size_t len = 0; len < strlen(yes); len++)
		assert_int_equal(review_decode(yes, len, &allowed, NULL), -EINVAL);
	assert_int_equal(review_decode(no, strlen(no), &allowed, NULL), 0);
	assert_false(allowed);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(review_decode(wrong[i], strlen(wrong[i]), &allowed, NULL), -EINVAL);
}

static void test_version(void **state)
{
	static const char good[] = "{\"major\":\"1\",\"minor\":\"30+\",\"gitVersion\":\"v1.30.4-a-vendor-with-very-much-to-say\"}";
	static const char *const wrong[] = { "{\"major\":\"1\"}", "{\"major\":1,\"minor\":2}", "{\"major\":\"\",\"minor\":\"30\"}",
					     "{\"major\":\"1\",\"minor\":\"99999\"}" };
	struct kube_version v;

	(void)state;
	assert_int_equal(version_decode(good, strlen(good), &v, NULL), 0);
	assert_int_equal(v.major, 1);
	assert_int_equal(v.minor, 30);
	assert_string_equal(v.text, "v1.30.4-a-vendor-with-very-much");
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(version_decode(wrong[i], strlen(wrong[i]), &v, NULL), -EINVAL);
}

static void test_token(void **state)
{
	/* {"exp":1900000000,"sub":"a"} and {"exp":1900000000,"aud":["??>>"]}, whose base64url has both of its own letters. */
	static const struct {
		const char *token;
		int result;
	} rows[] = {
		{ "e30.eyJleHAiOjE5MDAwMDAwMDAsInN1YiI6ImEifQ.x", 0 },
		{ "e30.eyJleHAiOjE5MDAwMDAwMDAsImF1ZCI6WyI_Pz4-Il19.x", 0 },
		{ "e30.e30.x", -ENOENT },
		{ "e30.eyJleHAiOiJ4In0.x", -EINVAL }, /* {"exp":"x"} */
		{ "e30.e", -EINVAL },
		{ "e30.!!!!.x", -EINVAL },
		{ "abcdef.0123456789abcdef", -EINVAL }, /* a bootstrap token */
		{ "", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int64_t s = -1;

		assert_int_equal(token_expiry(rows[i].token, &s), rows[i].result);
		assert_int_equal(s, rows[i].result ? -1 : 1900000000);
	}
}

static void test_macs(void **state)
{
	static const char list[] =
		"{\"kind\":\"LeaseList\",\"items\":["
		"{\"metadata\":{\"name\":\"leasehold-node-n1\",\"annotations\":{\"leasehold.io/macs\":\"02:00:00:00:00:01,02:00:00:00:00:02\","
		"\"leasehold.io/addresses\":\"192.0.2.11,2001:db8::11\"}}},"
		"{\"metadata\":{\"name\":\"leasehold-group-0\",\"annotations\":{\"leasehold.io/macs\":\"02:00:00:00:00:09\"}}},"
		"{\"metadata\":{\"name\":\"leasehold-node-n2\",\"annotations\":{\"leasehold.io/macs\":\"nonsense\"}}},7,"
		"{\"metadata\":{\"name\":\"leasehold-node-n3\",\"annotations\":{\"leasehold.io/macs\":\"02:00:00:00:00:03\","
		"\"leasehold.io/addresses\":\"192.0.2.13\"}}}]}";
	struct node_mac v[3];
	struct ip a[3], want;
	size_t n = 0;

	(void)state;
	assert_int_equal(macs_decode(list, strlen(list), v, 3, &n), 0);
	assert_int_equal(n, 3);
	assert_string_equal(v[1].node, "n1");
	assert_int_equal(v[1].mac[5], 2);
	assert_string_equal(v[2].node, "n3");
	assert_int_equal(macs_decode(list, strlen(list), v, 1, &n), 0);
	assert_int_equal(n, 1);
	for (size_t len = 0; len < strlen(list); len++)
		assert_int_equal(macs_decode(list, len, v, 3, &n), -EINVAL);
	assert_int_equal(addresses_decode(list, strlen(list), a, 3, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(ip_parse("192.0.2.13", &want), 0);
	assert_true(ip_eq(&a[2], &want));
	assert_int_equal(addresses_decode(list, strlen(list), a, 2, &n), 0);
	assert_int_equal(n, 2);
	assert_int_equal(addresses_decode(list, 9, a, 3, &n), -EINVAL);
}

static void test_agent(void **state)
{
	static const char status[] =
		"{\"version\":\"0.1\",\"node\":\"n1\",\"role\":\"holder\",\"ready\":false,\"not_ready_because\":\"a\\nb\\n\",\"new\":[1],\"vips\":["
		"{\"address\":\"192.0.2.1\",\"live\":true},{\"address\":\"2001:db8::1\",\"live\":false,\"holder\":\"n2\"},"
		"{\"address\":\"192.0.2.3\",\"live\":false,\"holder\":\"\"}]}";
	static const char *const wrong[] = { "{\"vips\":[{\"address\":\"x\"}]}", "{\"vips\":{}}", "{\"ready\":1}", "7" };
	struct agent_vip vips[2];
	struct agent_view v = { .vips = vips, .cap_vips = 2 };

	(void)state;
	assert_int_equal(agent_decode(status, strlen(status), &v, NULL), 0);
	assert_string_equal(v.role, "holder");
	assert_string_equal(v.why_not, "a\nb\n");
	assert_false(v.ready);
	assert_int_equal(v.n_vips, 3);
	assert_true(vips[0].live && vips[0].held && !vips[1].live && vips[1].held);
	v.cap_vips = 0;
	v.vips = NULL;
	assert_int_equal(agent_decode("{}", 2, &v, NULL), 0);
	assert_int_equal(v.n_vips, 0);
	v.vips = vips;
	v.cap_vips = 2;
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++)
		assert_int_equal(agent_decode(wrong[i], strlen(wrong[i]), &v, NULL), -EINVAL);
	for (size_t len = 0; len < strlen(status); len++)
		assert_int_equal(agent_decode(status, len, &v, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_review_request), cmocka_unit_test(test_review_answer), cmocka_unit_test(test_version),
		cmocka_unit_test(test_token),	       cmocka_unit_test(test_macs),	     cmocka_unit_test(test_agent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
