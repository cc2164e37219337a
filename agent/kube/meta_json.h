/* SPDX-License-Identifier: Apache-2.0 */
/* meta_json.h: what Services and EndpointSlices have in common.  Strings are borrowed from the JSON tree. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "agent/base/object.h"
#include "agent/kube/json_walk.h"
#include "agent/kube/texts.h"

#define META_TEXTS 4 /* strings of an object_meta */

/* metadata of an object; *ret_meta is its place.  -EINVAL: without a name or namespace, or of wrong types. */
MUST_USE int meta_decode(const struct walk *root, struct object_meta *m, struct walk *ret_meta, struct err_info *err);
void meta_texts(struct texts *t, struct object_meta *m);

/* Member "protocol" as IPPROTO_*; absent = TCP.  -EINVAL. */
MUST_USE int meta_proto_decode(const struct walk *at, uint8_t *ret, struct err_info *err);

/* "IPv4" or "IPv6" as enum ip_family, else IP_NONE. */
uint8_t meta_family(const char *text);

/* The array 'key' (NULL: absent).  -EMSGSIZE: more than 'max' entries; -EINVAL: no array. */
MUST_USE int meta_list(const struct walk *at, const char *key, size_t max, const json_t **ret, struct err_info *err);
