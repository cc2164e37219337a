/* SPDX-License-Identifier: Apache-2.0 */
/* nlsock.c: request and answer over netlink, single requests (rtnetlink, nf_tables reads) and nf_tables
 * transactions.  It knows neither addresses nor tables: addr_if and nat_if build and read the messages. */
#include "netlink/nlsock.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "agent/base/mono.h"
#include "netlink/ack_msg.h"
#include "netlink/attr_walk.h"
#include "netlink/batch.h"

/* The kernel fills dumps in pieces of 32 KiB when the reader offers as much (netlink_recvmsg()). */
#define RECEIVE_LEN ((size_t)64 * 1024)
/* Room for one answer to each message of the largest transaction (about 10,000 of about 1 KiB). */
#define RECEIVE_QUEUE (8 * 1024 * 1024)
#define SEND_QUEUE (1024 * 1024)
#define RETRIES 5

struct nlsock {
	struct mnl_socket *mnl;
	int fd;
	uint32_t seq;	 /* the last used */
	size_t send_max; /* bytes one send may have */
	unsigned char receive[RECEIVE_LEN] __attribute__((aligned(16)));
};

/* CAP_NET_ADMIN in the initial user namespace may exceed the system's limit; others get what it allows. */
static void set_queue(int fd, int forced, int plain, int size)
{
	if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof(size)) < 0)
		IGNORE(setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size))); /* then the default remains */
}

/* A queue's size as the kernel has it, which is the doubled one. */
static size_t queue_room(int fd, int which)
{
	int size = 0;
	socklen_t len = sizeof(size);

	if (getsockopt(fd, SOL_SOCKET, which, &size, &len) < 0 || size < 4096)
		return 4096;
	return (size_t)size;
}

/* netlink_sendmsg() refuses more than the queue less 32 bytes. */
static size_t send_room(int fd)
{
	return queue_room(fd, SO_SNDBUF) - 32;
}

int nlsock_new(int bus, struct nlsock **ret, struct err_info *err)
{
	static const int on = 1;
	struct nlsock *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "netlink socket: out of memory");
	s->mnl = mnl_socket_open2(bus, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!s->mnl || mnl_socket_bind(s->mnl, 0, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		nlsock_free(s);
		return err_errno(err, r, "netlink socket (bus %d)", bus);
	}
	s->fd = mnl_socket_get_fd(s->mnl);
	/* Each may be missing on an old kernel: answers are longer or less telling then, never wrong. */
	IGNORE(setsockopt(s->fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)));
	IGNORE(setsockopt(s->fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on)));
	if (bus == NETLINK_ROUTE)
		IGNORE(setsockopt(s->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)));
	set_queue(s->fd, SO_RCVBUFFORCE, SO_RCVBUF, RECEIVE_QUEUE);
	set_queue(s->fd, SO_SNDBUFFORCE, SO_SNDBUF, SEND_QUEUE);
	s->send_max = send_room(s->fd);
	*ret = s;
	return 0;
}

void nlsock_free(struct nlsock *s)
{
	if (!s)
		return;
	if (s->mnl)
		IGNORE(mnl_socket_close(s->mnl)); /* nothing can be done about a failed close */
	free(s);
}

uint32_t nlsock_port(const struct nlsock *s)
{
	return mnl_socket_get_portid(s->mnl);
}

size_t nlsock_receive_room(const struct nlsock *s)
{
	return queue_room(s->fd, SO_RCVBUF);
}

static int send_all(struct nlsock *s, const void *data, size_t len, struct err_info *err)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n;
	int r;

	if (len > s->send_max && len < INT32_MAX / 2) {
		set_queue(s->fd, SO_SNDBUFFORCE, SO_SNDBUF, (int)len + 4096);
		s->send_max = send_room(s->fd);
	}
	do {
		n = sendto(s->fd, data, len, 0, (const struct sockaddr *)&kernel, sizeof(kernel));
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		r = -errno;
		return err_errno(err, r, "netlink send of %zu bytes", len);
	}
	return 0;
}

/* Receives one datagram of the kernel's into s->receive.  Its length; 0 = nothing there and wait_until is
 * reached (MONO_NEVER: do not wait at all). */
static ssize_t receive(struct nlsock *s, mono_t wait_until)
{
	for (;;) {
		struct sockaddr_nl from = { 0 };
		struct iovec io = { s->receive, sizeof(s->receive) };
		struct msghdr m = { .msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &io, .msg_iovlen = 1 };
		struct pollfd p = { .fd = s->fd, .events = POLLIN };
		ssize_t n = recvmsg(s->fd, &m, 0);
		int64_t left_ms;

		if (n >= 0 && (m.msg_flags & MSG_TRUNC))
			return -EBADMSG;
		if (n > 0 && from.nl_pid == 0)
			return n;
		if (n >= 0 || errno == EINTR) /* from another process: not for us */
			continue;
		if (errno != EAGAIN)
			return -errno;
		if (mono_is_never(wait_until))
			return 0;
		left_ms = mono_diff_ms(wait_until, mono_now());
		if (left_ms <= 0)
			return 0;
		IGNORE(poll(&p, 1, (int)left_ms)); /* however it ends, the next recvmsg() tells */
	}
}

/* The next message of a datagram, or NULL. */
static const struct nlmsghdr *next_message(const unsigned char **at, size_t *left)
{
	const struct nlmsghdr *nlh = attr_message(*at, *left);
	size_t step;

	if (!nlh)
		return NULL;
	step = NLMSG_ALIGN((size_t)nlh->nlmsg_len);
	if (step > *left)
		step = *left;
	*at += step;
	*left -= step;
	return nlh;
}

static int kernel_error(struct err_info *err, const struct ack_msg *ack)
{
	if (ack->text[0] != '\0')
		return err_errno(err, ack->error, "%s", ack->text);
	return err_errno(err, ack->error, "the kernel refused");
}

/* ---- single requests ---- */

struct exchange {
	const struct nlsock_reader *reader;
	uint32_t seq;
	bool ended, interrupted;
	int reader_error; /* the reader's first */
};

static int read_answer(struct exchange *x, const struct nlmsghdr *nlh, struct err_info *err)
{
	struct ack_msg ack;

	if (nlh->nlmsg_seq != x->seq) /* of an exchange that was given up */
		return 0;
	if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
		x->interrupted = true;
	if (nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE) {
		if (ack_msg_parse(nlh, &ack) < 0)
			return err_set(err, -EBADMSG, "the kernel's acknowledgement cannot be read");
		x->ended = true;
		return ack.error < 0 ? kernel_error(err, &ack) : 0;
	}
	/* A dump is read to its end whatever the reader says: while one is under way the socket takes no other. */
	if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && x->reader && x->reader_error == 0)
		x->reader_error = x->reader->message(x->reader->ctx, nlh);
	return 0;
}

int nlsock_request(struct nlsock *s, struct nlmsghdr *nlh, const struct nlsock_reader *reader, struct err_info *err)
{
	struct exchange x = { .reader = reader, .seq = ++s->seq };
	mono_t until = mono_add_ms(mono_now(), NLSOCK_TIMEOUT_MS);
	int r;

	nlh->nlmsg_seq = x.seq;
	if ((nlh->nlmsg_flags & NLM_F_DUMP) != NLM_F_DUMP)
		nlh->nlmsg_flags |= NLM_F_ACK;
	r = send_all(s, nlh, nlh->nlmsg_len, err);
	while (r == 0 && !x.ended) {
		ssize_t n = receive(s, until);
		const unsigned char *at = s->receive;
		size_t left = n > 0 ? (size_t)n : 0;
		const struct nlmsghdr *m;

		if (n < 0)
			return err_errno(err, (int)n, "netlink receive");
		if (n == 0)
			return err_set(err, -ETIMEDOUT, "no answer from the kernel in %d ms", NLSOCK_TIMEOUT_MS);
		while (r == 0 && !x.ended && (m = next_message(&at, &left)) != NULL)
			r = read_answer(&x, m, err);
	}
	if (r == 0 && x.interrupted)
		return err_set(err, -EINTR, "the dump was interrupted by a change");
	return r < 0 ? r : x.reader_error;
}

/* ---- several requests ---- */

/* Numbers them on from s->seq; the last is acknowledged, the others only if they fail. */
static void number(struct nlsock *s, unsigned char *data, size_t len)
{
	struct nlmsghdr *nlh = NULL;

	for (size_t at = 0; at < len; at += NLMSG_ALIGN((size_t)nlh->nlmsg_len)) {
		nlh = (struct nlmsghdr *)(void *)(data + at);
		nlh->nlmsg_seq = ++s->seq;
		nlh->nlmsg_flags &= (uint16_t)~NLM_F_ACK;
	}
	if (nlh)
		nlh->nlmsg_flags |= NLM_F_ACK;
}

int nlsock_several(struct nlsock *s, void *data, size_t len, const struct nlsock_refusals *refusals, struct err_info *err)
{
	mono_t until = mono_add_ms(mono_now(), NLSOCK_TIMEOUT_MS);
	const uint32_t first = s->seq + 1;
	bool ended = false;
	int r;

	number(s, data, len);
	refusals->begin(refusals->ctx);
	r = send_all(s, data, len, err);
	while (r == 0 && !ended) {
		ssize_t n = receive(s, until);
		const unsigned char *at = s->receive;
		size_t left = n > 0 ? (size_t)n : 0;
		const struct nlmsghdr *m;

		if (n < 0)
			return err_errno(err, (int)n, "netlink receive");
		if (n == 0)
			return err_set(err, -ETIMEDOUT, "no answer from the kernel in %d ms", NLSOCK_TIMEOUT_MS);
		while ((m = next_message(&at, &left)) != NULL) {
			struct ack_msg ack;

			if (m->nlmsg_type != NLMSG_ERROR || m->nlmsg_seq - first > s->seq - first)
				continue; /* of an exchange that was given up */
			if (ack_msg_parse(m, &ack) < 0)
				return err_set(err, -EBADMSG, "the kernel's acknowledgement cannot be read");
			ended |= ack.seq == s->seq;
			if (ack.error < 0)
				refusals->refused(refusals->ctx, ack.seq - first, ack.error, ack.text);
		}
	}
	return r;
}

/* ---- transactions ---- */

struct verdict {
	const struct batch *b;
	const struct nlsock_refusals *refusals;
	int first_error;
	bool answered; /* the last message was acknowledged or the whole refused */
};

static void read_verdict(struct verdict *v, const struct nlmsghdr *nlh, struct err_info *err)
{
	struct ack_msg ack;

	if (nlh->nlmsg_type != NLMSG_ERROR || ack_msg_parse(nlh, &ack) < 0)
		return;
	if (ack.seq - v->b->first_seq > batch_count(v->b)) /* of an exchange that was given up */
		return;
	if (ack.seq == v->b->seq || ack.seq == v->b->first_seq)
		v->answered = true;
	if (ack.error == 0)
		return;
	if (v->first_error == 0)
		v->first_error = kernel_error(err, &ack);
	if (v->refusals && ack.seq != v->b->first_seq)
		v->refusals->refused(v->refusals->ctx, ack.seq - v->b->first_seq - 1, ack.error, ack.text);
}

static int send_batch(struct nlsock *s, const struct batch *b, const struct nlsock_refusals *refusals,
		      struct err_info *err)
{
	struct verdict v = { .b = b, .refusals = refusals };
	mono_t until = mono_add_ms(mono_now(), NLSOCK_TIMEOUT_MS);
	int r = send_all(s, b->data, b->len, err);

	if (r < 0)
		return r;
	/* The kernel has worked on all of it by now and every answer is queued: read until none is left. */
	for (;;) {
		ssize_t n = receive(s, v.answered || v.first_error ? MONO_NEVER : until);
		const unsigned char *at = s->receive;
		size_t left = n > 0 ? (size_t)n : 0;
		const struct nlmsghdr *m;

		if (n == -ENOBUFS && v.first_error) /* more refusals than the queue holds: enough is known */
			continue;
		if (n < 0)
			return err_errno(err, (int)n, "netlink receive");
		if (n == 0)
			break;
		while ((m = next_message(&at, &left)) != NULL)
			read_verdict(&v, m, err);
	}
	if (!v.answered && !v.first_error)
		return err_set(err, -ETIMEDOUT, "no answer from the kernel in %d ms", NLSOCK_TIMEOUT_MS);
	return v.first_error;
}

static bool is_transient(int error)
{
	return error == -EBUSY || error == -ENOBUFS || error == -EINTR || error == -EAGAIN;
}

int nlsock_batch_once(struct nlsock *s, struct batch *b, const struct nlsock_refusals *refusals, struct err_info *err)
{
	batch_renumber(b, s->seq + 1);
	s->seq = b->seq + 1;
	if (refusals)
		refusals->begin(refusals->ctx);
	return send_batch(s, b, refusals, err);
}

int nlsock_batch(struct nlsock *s, struct batch *b, const struct nlsock_refusals *refusals, struct err_info *err)
{
	int r = nlsock_batch_once(s, b, refusals, err);

	for (unsigned int attempt = 1; attempt <= RETRIES && is_transient(r); attempt++) {
		struct timespec pause = { .tv_nsec = (long)(NS_PER_MS * 5) << attempt };

		IGNORE(nanosleep(&pause, NULL)); /* cut short by a signal: a little early */
		r = nlsock_batch_once(s, b, refusals, err);
	}
	return r;
}
