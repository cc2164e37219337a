/* SPDX-License-Identifier: Apache-2.0 */
/* control.h: the state directory: one agent per directory (lock), and a socket that tells the agent's state.
 *
 * A client connects to DIR/agent.sock (mode 0600), sends "json\n" or "text\n", and reads the answer up to end of
 * file. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "agent/base/buf.h"
#include "agent/base/err.h"
#include "agent/loop.h"

#define CONTROL_CLIENTS_MAX 8

struct control;

struct control_client {
	struct loop_source source; /* fd -1 = free */
	struct control *control;
	struct buf out;
	size_t sent;
	mono_t expires;
};

struct control {
	struct loop *loop;
	struct loop_source listener;
	int lock_fd;
	char *socket_path;
	struct control_client clients[CONTROL_CLIENTS_MAX];
	void (*render)(void *ctx, bool json, struct buf *out);
	void *ctx;
};

/* Makes 'dir' (mode 0755) and takes its lock.  -EWOULDBLOCK: another agent has it.  *ret_fd is held until closed. */
MUST_USE int control_lock(const char *dir, int *ret_fd, struct err_info *err);

/* Takes the lock's descriptor over on success. */
MUST_USE int control_init(struct control *c, struct loop *loop, const char *dir, int lock_fd,
			  void (*render)(void *ctx, bool json, struct buf *out), void *ctx, struct err_info *err);
void control_fini(struct control *c);

/* Asks the agent of 'dir' and copies its answer to 'out'.  -ENOENT, -ECONNREFUSED: no agent runs there; -ETIMEDOUT:
 * no answer in 5 s. */
MUST_USE int control_query(const char *dir, bool json, FILE *out, struct err_info *err);
