/* SPDX-License-Identifier: Apache-2.0 */
/* test_status_json.c: a Status tells its code, reason, message and delay; anything else is an empty one, whatever its
 * length and nonsense; long texts are cut inside their bounds. */
#include "agent/kube/status_json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char too_large[] =
	"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"Timeout: Too large resource "
	"version: 9, current: 5\",\"reason\":\"Timeout\",\"details\":{\"causes\":[{\"reason\":\"ResourceVersionTooLarge\",\"message\":"
	"\"Too large resource version\"}],\"retryAfterSeconds\":1},\"code\":504}";

/* From memory of exactly this length, so that a sanitizer sees a read past it; what was there before must not show. */
static struct kube_status decoded(const char *text, size_t len)
{
	char *memory = malloc(len ? len : 1);
	struct kube_status st;

	assert_non_null(memory);
	memcpy(memory, text, len);
	memset(&st, 'x', sizeof(st));
	status_decode(memory, len, &st);
	free(memory);
	return st;
}

static void assert_empty(struct kube_status st)
{
	assert_int_equal(st.code, 0);
	assert_string_equal(st.reason, "");
	assert_string_equal(st.message, "");
	assert_int_equal(st.retry_after_s, 0);
}

static void test_reads_a_status(void **state)
{
	struct kube_status st = decoded(too_large, strlen(too_large));

	(void)state;
	assert_int_equal(st.code, 504);
	assert_string_equal(st.reason, "Timeout");
	assert_string_equal(st.message, "Timeout: Too large resource version: 9, current: 5");
	assert_int_equal(st.retry_after_s, 1);
}

static void test_every_truncation_is_empty(void **state)
{
	(void)state;
	for (size_t len = 0; len < strlen(too_large); len++)
		assert_empty(decoded(too_large, len));
}

static void test_anything_else_is_empty(void **state)
{
	static const char *const texts[] = {
		"<html>502 Bad Gateway</html>", "[]", "null", "\"Status\"", "{}", "{\"code\":\"410\",\"reason\":410,\"message\":{}}",
		"{\"code\":4.1,\"details\":[]}", "{\"code\":-1,\"details\":{\"retryAfterSeconds\":-5}}",
		"{\"code\":99999999999,\"details\":{\"retryAfterSeconds\":99999999999}}", "{\"code\":null,\"details\":null}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_empty(decoded(texts[i], strlen(texts[i])));
}

static void test_long_texts_are_cut(void **state)
{
	char text[8192], filler[3000];
	struct kube_status st;
	int len;

	(void)state;
	memset(filler, 'm', sizeof(filler) - 1);
	filler[sizeof(filler) - 1] = '\0';
	len = snprintf(text, sizeof(text), "{\"message\":\"%s\",\"reason\":\"%s\"}", filler, filler);
	assert_true(len > 0 && (size_t)len < sizeof(text));
	st = decoded(text, (size_t)len);
	assert_int_equal(strlen(st.message), STATUS_MESSAGE_MAX - 1);
	assert_int_equal(strlen(st.reason), STATUS_REASON_MAX - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads_a_status),
		cmocka_unit_test(test_every_truncation_is_empty),
		cmocka_unit_test(test_anything_else_is_empty),
		cmocka_unit_test(test_long_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
