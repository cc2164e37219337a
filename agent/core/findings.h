/* SPDX-License-Identifier: Apache-2.0 */
/* findings.h: from what was found out of a node to what its owner is to be told: what it is, what it means, how to mend
 * it.  Pure; all texts are put together in the caller's arena, or static. */
#pragma once

#include <stddef.h>

#include "agent/base/arena.h"
#include "agent/base/auto.h"
#include "agent/core/doctor_facts.h"

enum finding_level {
	FINDING_OK,
	FINDING_SKIPPED,
	FINDING_WARNING, /* works, but not under all circumstances, or may harm others */
	FINDING_ERROR,	 /* does not work */
	FINDING_LEVEL_N,
};

enum finding_section {
	SECTION_CONFIG,
	SECTION_NODE,
	SECTION_RIGHTS,
	SECTION_INTERFACES,
	SECTION_SYSCTLS,
	SECTION_OTHERS,
	SECTION_WIRE,
	SECTION_API,
	SECTION_CLOCK,
	SECTION_AGENT,
	SECTION_N,
};

struct finding {
	const struct finding *next;
	enum finding_section section;
	enum finding_level level;
	const char *what;    /* "net.ipv4.conf.eth0.forwarding is 0" */
	const char *means;   /* NULL = what says all */
	const char *command; /* to be run on this node, or by kubectl, as it stands; lines; NULL = none */
	const char *mend;    /* in words, the chart's way among them; NULL = none */
};

struct findings {
	const struct finding *first; /* by section */
	size_t n[FINDING_LEVEL_N];
};

/* "Configuration", "Node and kernel"... */
const char *finding_section_name(enum finding_section section);
/* "ok", "skipped", "warning", "error" */
const char *finding_level_name(enum finding_level level);

/* -ENOSPC: the arena is full; *ret is of no use then. */
MUST_USE int findings_judge(const struct doctor_facts *f, struct arena *arena, struct findings *ret);
