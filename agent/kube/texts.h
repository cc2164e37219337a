/* SPDX-License-Identifier: Apache-2.0 */
/* texts.h: the strings of an object in one place, each once.  A thousand endpoints name few nodes and zones, and a watch
 * holds thousands of slices for the life of the agent.
 *
 * Add every string that the object points to, ask for the size, make room, and let texts_move() copy the strings there and
 * turn the pointers to the copies. */
#pragma once

#include <stddef.h>

#include "agent/base/auto.h"

struct texts {
	const char ***v; /* the pointers to be turned */
	size_t n, cap;
};

/* Room for 'cap' strings.  -ENOMEM. */
MUST_USE int texts_init(struct texts *t, size_t cap);
void texts_fini(struct texts *t);

/* *text is not NULL; at most 'cap' in all. */
void texts_add(struct texts *t, const char **text);

/* Bytes of all distinct strings.  Sorts: the time goes with n log n. */
size_t texts_size(struct texts *t);

/* Copies them to 'to', which has texts_size() bytes; call that before. */
void texts_move(const struct texts *t, char *to);
