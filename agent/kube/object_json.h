/* SPDX-License-Identifier: Apache-2.0 */
/* object_json.h: Services and EndpointSlices from JSON to agent/base/object.h, cut down to what is used.
 * Pure codec (jansson); bounded. */
#pragma once

#include "agent/base/err.h"
#include "agent/base/object.h"

/* -EINVAL: not JSON or not such an object, with the JSON path in err; -EMSGSIZE: past a limit of object.h; -ENOMEM.
 * An annotation of ours that cannot be read is no error: see service.problem and .unread. */
MUST_USE int service_decode(const char *json, size_t len, struct service **ret, struct err_info *err);
/* *ret = NULL with success: an addressType that does not concern us (FQDN). */
MUST_USE int slice_decode(const char *json, size_t len, struct slice **ret, struct err_info *err);
void service_free(struct service *s);

/* A setting whose annotation cannot be read keeps its last good value: takes the settings in (*now)->unread from 'old', which
 * was in view before as the same Service (same uid; of another nothing is taken).  *now may become another object.
 * -ENOMEM: it is as before. */
MUST_USE int service_keep_good(struct service **now, const struct service *old);
void slice_free(struct slice *s);

/* Only namespace, name and uid (for deletions): pointers into one allocation, free with object_key_free(). */
struct object_key {
	const char *ns, *name, *uid;
};
MUST_USE int object_key_decode(const char *json, size_t len, struct object_key **ret, struct err_info *err);
void object_key_free(struct object_key *k);

/* Whether any object (a DaemonSet, say) is being deleted: metadata.deletionTimestamp.  -EINVAL: no such object. */
MUST_USE int object_deleting_decode(const char *json, size_t len, bool *ret);
