/* SPDX-License-Identifier: Apache-2.0 */
/* nlsock.h: a netlink socket for requests of ours (libmnl), used on worker threads only.  The kernel works on
 * a request inside the sending call, which waits for its locks without bound; answers are awaited for at most
 * NLSOCK_TIMEOUT_MS.
 *
 * The shell makes and frees sockets; the exchanges below are for the files of this directory. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"

#define NLSOCK_TIMEOUT_MS 10000

struct nlsock;
struct batch;

/* bus: NETLINK_ROUTE or NETLINK_NETFILTER.  Negative errno of socket/bind. */
MUST_USE int nlsock_new(int bus, struct nlsock **ret, struct err_info *err);
void nlsock_free(struct nlsock *s);
/* Its port, by which notifications name the sender of what it sent (nlmsg_pid).  Constant. */
uint32_t nlsock_port(const struct nlsock *s);
/* Bytes of answers, with the kernel's own expense, that can wait to be received. */
size_t nlsock_receive_room(const struct nlsock *s);
static inline void nlsock_freep(struct nlsock **s)
{
	nlsock_free(*s);
}

/* Called for each message of an answer, until it returns a negative errno: then the rest is read unheard and the
 * exchange returns that, with err as it was. */
struct nlsock_reader {
	int (*message)(void *ctx, const struct nlmsghdr *nlh);
	void *ctx;
};

/* Sends a request and reads its answer to the end: a dump's when NLM_F_DUMP is set, else up to the
 * acknowledgement, which it asks for.  reader may be NULL.  The kernel's error, with its own words in err;
 * -EINTR: the dump was interrupted by a change (what was read may be wrong); -ETIMEDOUT; -EBADMSG. */
MUST_USE int nlsock_request(struct nlsock *s, struct nlmsghdr *nlh, const struct nlsock_reader *reader,
			    struct err_info *err);

/* Told of what the kernel refused: 'refused' for each message, counted from 0, with the kernel's own words or "";
 * 'begin' before each attempt, to forget the one before.  NULL: nobody wants to know. */
struct nlsock_refusals {
	void (*begin)(void *ctx);
	void (*refused)(void *ctx, uint32_t message, int error, const char *text);
	void *ctx;
};

/* Sends several requests in one go, which stand one behind another in data[0..len), each aligned (NLMSG_ALIGN): the kernel works
 * on each, whatever becomes of the others, and 'refused' is called for those that fail.  0: it has worked on all; else
 * nothing is known: -ETIMEDOUT, -EBADMSG, the error of sending. */
MUST_USE int nlsock_several(struct nlsock *s, void *data, size_t len, const struct nlsock_refusals *refusals,
			    struct err_info *err);

/* Sends a finished transaction (batch_end).  0: committed.  Otherwise nothing of it was: the first error, after
 * 'refused' was called for each message refused; for none when the error is not a message's (the transaction as
 * a whole, the socket).  EBUSY, ENOBUFS, EINTR and EAGAIN are tried again, 5 times with growing pauses, 310 ms
 * in all. */
MUST_USE int nlsock_batch(struct nlsock *s, struct batch *b, const struct nlsock_refusals *refusals,
			  struct err_info *err);
/* The same, but tried once: what is busy stays. */
MUST_USE int nlsock_batch_once(struct nlsock *s, struct batch *b, const struct nlsock_refusals *refusals,
			       struct err_info *err);
