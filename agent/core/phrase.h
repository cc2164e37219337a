/* SPDX-License-Identifier: Apache-2.0 */
/* phrase.h: sentences for people, put together in an arena (printf(3) may allocate and depends on the locale).  Pure. */
#pragma once

#include "agent/base/arena.h"

/* Concatenates parts[0], parts[1], ... up to the first NULL.  NULL when the arena is full. */
const char *phrase_join(struct arena *a, const char *const *parts);

#define PHRASE(a, ...) phrase_join((a), (const char *const[]){ __VA_ARGS__, NULL })
