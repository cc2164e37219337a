/* SPDX-License-Identifier: Apache-2.0 */
/* control.h: the state directory: one agent per directory (lock), and a socket that tells the agent's state.
 *
 * A client connects to DIR/agent.sock (mode 0600), sends one line, and reads the answer up to end of file.  What a line may
 * say is the owner's matter (status_ask.h): one that is not understood is closed without a byte, so whoever speaks to an
 * agent of another version tries what it knows besides, the plainest last.  "json" and "text" are understood by all.
 *
 * An answer is made in pieces as the client takes them, so that neither its length nor a slow client keeps the loop. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/loop.h"

#define CONTROL_CLIENTS_MAX 8
#define CONTROL_LINE_MAX 512 /* NUL included */

/* What there is of an answer after a piece of it. */
enum control_more {
	CONTROL_END,   /* that was all */
	CONTROL_MORE,  /* ask again when it is sent */
	CONTROL_LATER, /* nothing yet: ask again in a moment */
};

struct control_ops {
	/* A line was received; its answer, NULL = not understood, or no memory. */
	void *(*begin)(void *ctx, const char *line);
	/* Appends the next piece; a millisecond or two of work. */
	enum control_more (*more)(void *answer, struct buf *out);
	void (*end)(void *answer);
};

struct control;

struct control_client {
	struct loop_source source; /* fd -1 = free */
	struct control *control;
	char line[CONTROL_LINE_MAX];
	size_t n_line;
	void *answer; /* NULL: the line is not there yet */
	bool all;     /* 'out' ends the answer */
	bool later;   /* waits for control_step() */
	struct buf out;
	size_t sent;
	mono_t expires; /* unless it takes something */
};

struct control {
	struct loop *loop;
	struct loop_source listener;
	int lock_fd;
	char *socket_path;
	struct control_client clients[CONTROL_CLIENTS_MAX];
	const struct control_ops *ops;
	void *ctx;
};

/* Makes 'dir' (mode 0755) and takes its lock.  -EWOULDBLOCK: another agent has it.  *ret_fd is held until closed. */
MUST_USE int control_lock(const char *dir, int *ret_fd, struct err_info *err);

/* Takes the lock's descriptor over on success. */
MUST_USE int control_init(struct control *c, struct loop *loop, const char *dir, int lock_fd,
			  const struct control_ops *ops, void *ctx, struct err_info *err);
void control_fini(struct control *c);

/* Goes on with answers that had to wait.  Returns when to call again. */
mono_t control_step(struct control *c, mono_t now);

/* Sends the line to the agent of 'dir' and takes its answer into 'out'.  -ENOENT, -ECONNREFUSED: no agent runs there;
 * -ETIMEDOUT: nothing came for 5 s, or not all until 'until'; -EBUSY: it closed without one; -ECONNRESET: it ended amid its answer. */
MUST_USE int control_query(const char *dir, const char *line, mono_t until, struct buf *out, struct err_info *err);
