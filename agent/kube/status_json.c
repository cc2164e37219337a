/* SPDX-License-Identifier: Apache-2.0 */
/* status_json.c: reads a Status object, forgivingly: proxies answer errors with pages of their own. */
#include "agent/kube/status_json.h"

#include <jansson.h>
#include <string.h>

#include "agent/base/text.h"

static int small(const json_t *n)
{
	json_int_t v = json_integer_value(n);

	return v > 0 && v < 100000 ? (int)v : 0;
}

static void take(char *dst, size_t size, const json_t *n)
{
	const char *s = json_string_value(n);

	if (s)
		IGNORE(text_copy(dst, size, s)); /* cut is fine */
}

void status_decode(const char *json, size_t len, struct kube_status *ret)
{
	json_t *root = json_loadb(json, len, 0, NULL);

	memset(ret, 0, sizeof(*ret));
	ret->code = small(json_object_get(root, "code"));
	take(ret->reason, sizeof(ret->reason), json_object_get(root, "reason"));
	take(ret->message, sizeof(ret->message), json_object_get(root, "message"));
	ret->retry_after_s = small(json_object_get(json_object_get(root, "details"), "retryAfterSeconds"));
	json_decref(root);
}
