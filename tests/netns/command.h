/* SPDX-License-Identifier: Apache-2.0 */
/* command.h: what the drivers of netlink/ have in common.  They read commands from standard input, one a line, in the
 * network namespace they were started in, and answer with lines and at last "ok" or "error <errno> <text>". */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"

/* Each driver's own. */
struct driver;

struct command {
	const char *name;
	int (*run)(struct driver *d); /* 0 or a negative errno */
};

/* Runs commands until the input ends.  err: where they put the text of an error; *err is made anew for each. */
void command_loop(struct driver *d, struct err_info *err, const struct command *commands, size_t n);

/* ---- the line read last ---- */

#define COMMAND_WORDS_MAX 512

/* Reads the next one; the loop does, and a command that has further lines.  False: the input has ended. */
bool command_read(void);

size_t word_count(void);
/* Word 0 is the command; "" where there is none. */
const char *word(size_t i);
/* Of these texts; the driver refuses what is none. */
uint64_t number(size_t i, uint64_t max);
struct ip address(size_t i);
/* All from word i on; how many. */
size_t addresses(size_t i, struct ip ret[static COMMAND_WORDS_MAX]);

/* ---- the driver cannot go on ---- */

/* The test is wrong: ends the driver. */
_Noreturn void refuse(const char *what, const char *text);
uint64_t number_of(const char *text, uint64_t max);
/* Memory that was asked for. */
void *need(void *p);
