/* SPDX-License-Identifier: Apache-2.0 */
/* memory.h: the arenas that the pure core works in, handed over by the shell. */
#pragma once

#include "agent/base/arena.h"
#include "agent/base/auto.h"

/* For callers of the pure core that got -ENOSPC: an empty arena of two or four times the size.  -ENOMEM also past 256 MiB. */
MUST_USE int arena_grow(struct arena *a);

/* The arena stays as large as it is, its content is gone; its pages go back to the system. */
void arena_give_back(struct arena *a);
