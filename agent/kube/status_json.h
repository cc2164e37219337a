/* SPDX-License-Identifier: Apache-2.0 */
/* status_json.h: the API's Status object (meta/v1), which tells why a request failed.  Pure codec (jansson). */
#pragma once

#include <stddef.h>

#define STATUS_REASON_MAX 64
#define STATUS_MESSAGE_MAX 200

struct kube_status {
	int code;
	char reason[STATUS_REASON_MAX]; /* "" = none */
	char message[STATUS_MESSAGE_MAX]; /* cut; "" = none */
	int retry_after_s; /* details.retryAfterSeconds, 0 = none */
};

/* Never fails: what is no Status gives an empty one. */
void status_decode(const char *json, size_t len, struct kube_status *ret);
