/* SPDX-License-Identifier: Apache-2.0 */
/* agent_json.h: what another command needs of an agent's status in JSON (docs/configuration.md).  Members that are absent,
 * as from an agent of another version, are left empty.  Pure codec (jansson). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"

struct agent_vip {
	struct ip ip;
	bool live;   /* its agent answers for it */
	bool held;   /* some node holds its Lease */
};

struct agent_view {
	char version[32], role[16], node[254];
	bool ready;
	char why_not[512];  /* lines, cut */
	size_t n_vips;	    /* all of them */
	struct agent_vip *vips; /* the caller's, room for cap_vips; those that fit */
	size_t cap_vips;
};

/* -EINVAL with the JSON path: not such an object, or a member of the wrong type; -ENOMEM.  Untouched then. */
MUST_USE int agent_decode(const char *json, size_t len, struct agent_view *ret, struct err_info *err);
