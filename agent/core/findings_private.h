/* SPDX-License-Identifier: Apache-2.0 */
/* findings_private.h: what the parts of findings.c share. */
#pragma once

#include "agent/core/findings.h"
#include "agent/core/phrase.h"

struct judge {
	const struct doctor_facts *f;
	struct arena *arena;
	struct findings *ret;
	struct finding *last; /* NULL = none yet */
	enum finding_section section;
	bool full; /* the arena is */
};

/* Appends; the arena's end is remembered, and texts may be NULL then. */
void judge_add(struct judge *j, enum finding_level level, const char *what, const char *means, const char *command,
	       const char *mend);
void judge_ok(struct judge *j, const char *what);
void judge_skip(struct judge *j, const char *what, const char *why);

/* A text of parts up to NULL; "" when the arena is full. */
const char *judge_join(struct judge *j, const char *const *parts);
#define SAY(j, ...) judge_join((j), (const char *const[]){ __VA_ARGS__, NULL })

const char *judge_number(struct judge *j, int64_t value);
/* "3 h", "12 min", "40 s" */
const char *judge_time(struct judge *j, int64_t seconds);
const char *judge_ip(struct judge *j, const struct ip *ip);

/* The parts, in the order of enum finding_section. */
void judge_interfaces(struct judge *j);
void judge_routes(struct judge *j); /* of the first, with announce: bgp */
void judge_sysctls(struct judge *j);
void judge_others(struct judge *j);
void judge_wire(struct judge *j);
void judge_api(struct judge *j);
void judge_clock(struct judge *j);
void judge_agent(struct judge *j);
