/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h: one epoll for everything: sources with a callback, one timer on CLOCK_BOOTTIME, signals. */
#pragma once

#include <signal.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"

/* A descriptor in the loop.  Owned by its user, stays where it is while added. */
struct loop_source {
	int fd;
	void (*ready)(void *ctx, uint32_t events); /* EPOLL* bits */
	void *ctx;
};

struct loop {
	int epoll_fd;
	int timer_fd;
	mono_t armed; /* what the timer is set to */
};

MUST_USE int loop_init(struct loop *l, struct err_info *err);
void loop_fini(struct loop *l);

MUST_USE int loop_add(struct loop *l, struct loop_source *s, uint32_t events, struct err_info *err);
MUST_USE int loop_change(struct loop *l, struct loop_source *s, uint32_t events, struct err_info *err);
void loop_remove(struct loop *l, struct loop_source *s);

/* Waits until a source is ready or 'until' has come, and calls the ready sources.  Negative errno when epoll itself
 * fails. */
MUST_USE int loop_wait(struct loop *l, mono_t until, struct err_info *err);
