/* SPDX-License-Identifier: Apache-2.0 */
/* status_ask.h: what "leasehold status" asks the agent for: one line of text.
 *
 *	json|text [colour] [width=N] [leases|vips|services] [name=NAME]
 *
 * Words that are not known are passed over, so that a later command can say more to this agent.  Agents before this form
 * know the bare words "json" and "text" alone and close the connection on anything else; a command that gets no answer says
 * those, and a command before this form says nothing else. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "agent/base/auto.h"

#define STATUS_WIDTH 100 /* columns, where nobody says otherwise */
#define STATUS_WIDTH_MIN 80
#define STATUS_WIDTH_MAX 300
#define STATUS_NAME_MAX 384 /* NUL included: "namespace/name" of a Service, the name of a Lease, an address */
#define STATUS_LINE_MAX 480 /* NUL included; with the end of the line it fits CONTROL_LINE_MAX */

/* Which part is wanted; ALL: an overview. */
enum status_part {
	STATUS_ALL,
	STATUS_LEASES,
	STATUS_VIPS,
	STATUS_SERVICES,
	STATUS_PART_N,
};

struct status_ask {
	bool json;
	bool colour;	    /* of texts, as these two */
	unsigned int width; /* STATUS_WIDTH_MIN..STATUS_WIDTH_MAX */
	enum status_part part;
	char name[STATUS_NAME_MAX]; /* of one Lease, VIP or Service; "" = all */
};

/* "leases", "vips", "services"; "" for STATUS_ALL. */
const char *status_part_name(enum status_part part);

/* Nothing is asked for but what the bare words ask for, too. */
bool status_ask_is_plain(const struct status_ask *ask);

/* -EMSGSIZE: the name is too long. */
MUST_USE int status_ask_write(const struct status_ask *ask, char line[static STATUS_LINE_MAX]);

/* -EINVAL: neither "json" nor "text", or a known word with nonsense behind it. */
MUST_USE int status_ask_read(const char *line, struct status_ask *ret);
