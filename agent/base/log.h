/* SPDX-License-Identifier: Apache-2.0 */
/* log.h: one line an event on standard error, as text for people or as JSON for programs.
 *
 * Levels: error = a promise cannot be held; warn = degraded, will be tried again; info = state changes;
 * debug = each event.  Only the shell (agent/ root) logs above debug; libraries return errors.  Tokens and
 * request bodies are never logged.
 *
 * A line is an event name (stable, lower_case), a sentence, and typed fields:
 *	log_event(LOG_INFO, "holder_changed", "took over the Lease",
 *		  log_str("from", old), log_str("to", new), log_str("why", why));
 * gives
 *	2026-03-01T10:00:00.123Z INFO  holder_changed: took over the Lease from=node2 to=node1 why="lease expired"
 *	{"ts":"2026-03-01T10:00:00.123Z","level":"info","event":"holder_changed","msg":"took over ...",...} */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/auto.h"
#include "agent/base/ip.h"

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
};

enum log_format {
	LOG_FORMAT_TEXT,
	LOG_FORMAT_JSON,
};

struct log_field {
	const char *key; /* NULL ends the list */
	enum { LOG_FIELD_STR, LOG_FIELD_INT, LOG_FIELD_IP } kind;
	const char *str;
	int64_t num;
	struct ip ip;
};

static inline struct log_field log_str(const char *key, const char *value)
{
	return (struct log_field){ .key = key, .kind = LOG_FIELD_STR, .str = value };
}

static inline struct log_field log_int(const char *key, int64_t value)
{
	return (struct log_field){ .key = key, .kind = LOG_FIELD_INT, .num = value };
}

static inline struct log_field log_ip(const char *key, const struct ip *value)
{
	return (struct log_field){ .key = key, .kind = LOG_FIELD_IP, .ip = *value };
}

/* Process-wide, set once at start; before that: info, text. */
void log_setup(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

/* Writes one line in a single write(2).  fields: ended by a member with key NULL; may be NULL.  Texts longer than 1 KiB are
 * cut; control characters never reach the terminal.  Thread-safe. */
void log_write(enum log_level level, const char *event, const char *msg, const struct log_field *fields);

#define log_event(level, event, msg, ...)                                                                  \
	do {                                                                                               \
		if (log_enabled(level))                                                                    \
			log_write(level, event, msg, (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(,) \
								      { .key = NULL } });                  \
	} while (0)

/* For warnings that may repeat: at most one line in 'every_ms', the next says how many were left out.
 * One static instance per place. */
struct log_limit {
	int64_t next_ns; /* internal */
	uint32_t left_out;
};

/* True when the caller may log now; *ret_left_out = lines left out since the last. */
bool log_limit(struct log_limit *l, int64_t now_ns, int64_t every_ms, uint32_t *ret_left_out);
