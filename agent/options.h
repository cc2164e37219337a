/* SPDX-License-Identifier: Apache-2.0 */
/* options.h: the agent's options as one table, for config.c: flags, YAML keys, defaults and --help. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum option_kind {
	OPTION_TEXT,
	OPTION_LIST,
	OPTION_BOOL,
	OPTION_MS,
	OPTION_INT,
	OPTION_CHOICE,
	OPTION_RULES, /* repeatable; struct config_rules */
};

struct option {
	const char *name;
	enum option_kind kind;
	size_t offset;	     /* of the member of struct config */
	const char *arg;     /* for --help; of a choice: "a|b|c", values 0, 1, 2 */
	const char *initial; /* default as text; NULL = none */
	const char *help;
	int64_t min, max; /* MS, INT */
	const char *(*check)(const char *value); /* TEXT, LIST: NULL, or what is wrong with one value; may be NULL */
};

#define OPTIONS_MAX 64

extern const struct option options[];
extern const size_t n_options; /* OPTIONS_MAX at most */

/* A word of router-allow as NAT_ROUTER_*, 0 = none of them. */
uint8_t option_router_allow(const char *value);
