/* SPDX-License-Identifier: Apache-2.0 */
/* load.c: the traffic of the data plane's bench and of tests that need thousands of connections in a second.
 *
 *	load serve PORT SINK        TCP and UDP.  On PORT it says what it sees: "BACKEND PORT CLIENT PORT", on accept and again
 *	                            for each datagram or piece of a stream.  What comes to SINK is thrown away.
 *	load talk tcp|udp MS        Reads lines "SOURCE PORT ADDRESS PORT" up to an empty one (source "-", port 0: any), asks all
 *	                            of them in that order and prints a line each: what the server saw, or an error's name
 *	                            ("timeout" after MS ms); then an empty line.  Each further line read: asks once more
 *	                            by the same sockets.  Ends with its input.
 *	load first US ADDRESS PORT BACKEND|-
 *	                            Connects every US microseconds, from a new port each time, until BACKEND (-: anybody) answers.
 *	                            Prints "ready", then the moment at which that connection was begun (CLOCK_MONOTONIC, ns).
 *	load rate MS N ADDRESS PORT [ADDRESS PORT]...
 *	                            N connections at a time for MS ms, each ended by a reset when it has been answered.  Prints
 *	                            how many were answered, how many failed, and the ms.
 *	load send MS N ADDRESS PORT N streams at full speed for MS ms.  Prints bytes and ms.
 *
 * A server that has 'local' routes to whole networks stands for as many backends as these have addresses. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 20000
#define LINE_SIZE 160 /* two addresses and two ports */
#define WINDOW 128    /* questions under way at a time */
#define EVENTS 64
#define PIECE (256 * 1024)
#define STREAMS_MAX 64
#define BACKLOG 4096

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static unsigned long number(const char *text, unsigned long max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > max)
		errx(2, "%s: not a number up to %lu", text, max);
	return n;
}

/* ---- addresses ---- */

/* IPv4 addresses are written ::ffff:a.b.c.d: one kind of socket for both. */
static struct sockaddr_in6 address(const char *text, unsigned long port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	char mapped[INET6_ADDRSTRLEN + 8];

	snprintf(mapped, sizeof(mapped), "%s%s", strchr(text, ':') ? "" : "::ffff:", text);
	if (inet_pton(AF_INET6, mapped, &a.sin6_addr) != 1)
		errx(2, "%s: not an address", text);
	return a;
}

/* An address as a user writes it. */
static const char *plain(const struct in6_addr *a, char buf[static INET6_ADDRSTRLEN])
{
	inet_ntop(AF_INET6, a, buf, INET6_ADDRSTRLEN);
	return strncmp(buf, "::ffff:", 7) == 0 ? buf + 7 : buf;
}

static int seen(char *line, const struct sockaddr_in6 *here, const struct sockaddr_in6 *peer)
{
	char a[INET6_ADDRSTRLEN], b[INET6_ADDRSTRLEN];

	return snprintf(line, LINE_SIZE, "%s %u %s %u\n", plain(&here->sin6_addr, a), ntohs(here->sin6_port),
			plain(&peer->sin6_addr, b), ntohs(peer->sin6_port));
}

static int open_socket(int type)
{
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int off = 0, on = 1;

	if (fd < 0)
		err(1, "socket");
	if (fd >= FDS_MAX)
		errx(1, "too many sockets");
	setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

/* No TIME_WAIT: the port can be taken again at once. */
static void reset_on_close(int fd)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static int poll_new(void)
{
	int p = epoll_create1(EPOLL_CLOEXEC);

	if (p < 0)
		err(1, "epoll_create1");
	return p;
}

static void watch(int poll, int fd, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };

	if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) < 0)
		err(1, "epoll_ctl");
}

/* ---- serve ---- */

enum role { ROLE_NONE, ROLE_LISTEN, ROLE_LISTEN_SINK, ROLE_DATAGRAMS, ROLE_STREAM, ROLE_SINK };
static uint8_t roles[FDS_MAX];

static void serve_socket(int poll, int type, unsigned long port, enum role role)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port) };
	int fd = open_socket(type), on = 1, size = 4 << 20;

	setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	if (type == SOCK_DGRAM)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
		err(1, "port %lu", port);
	roles[fd] = (uint8_t)role;
	watch(poll, fd, EPOLLIN);
}

static void say(int fd)
{
	struct sockaddr_in6 here, peer;
	socklen_t a = sizeof(here), b = sizeof(peer);
	char line[LINE_SIZE];

	if (getsockname(fd, (struct sockaddr *)&here, &a) == 0 && getpeername(fd, (struct sockaddr *)&peer, &b) == 0)
		send(fd, line, (size_t)seen(line, &here, &peer), MSG_NOSIGNAL);
}

static void on_listen(int poll, int listener, bool sink)
{
	for (int i = 0; i < EVENTS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;

		if (fd < 0)
			return;
		if (fd >= FDS_MAX) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		roles[fd] = sink ? ROLE_SINK : ROLE_STREAM;
		watch(poll, fd, EPOLLIN);
		if (!sink)
			say(fd);
	}
}

static void on_datagrams(int fd)
{
	for (int i = 0; i < EVENTS; i++) {
		char data[2048], line[LINE_SIZE], control[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct sockaddr_in6 peer, here = { .sin6_family = AF_INET6 };
		struct iovec piece = { data, sizeof(data) };
		struct msghdr m = { .msg_name = &peer, .msg_namelen = sizeof(peer), .msg_iov = &piece, .msg_iovlen = 1,
				    .msg_control = control, .msg_controllen = sizeof(control) };
		struct in6_pktinfo info;
		struct cmsghdr *c;
		socklen_t size = sizeof(here);

		if (recvmsg(fd, &m, 0) < 0)
			return;
		c = CMSG_FIRSTHDR(&m);
		if (!c || getsockname(fd, (struct sockaddr *)&here, &size) < 0)
			continue;
		/* The answer comes from the address that was asked, by whatever device the route says. */
		memcpy(&info, CMSG_DATA(c), sizeof(info));
		info.ipi6_ifindex = 0;
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		here.sin6_addr = info.ipi6_addr;
		piece = (struct iovec){ line, (size_t)seen(line, &here, &peer) };
		sendmsg(fd, &m, 0);
	}
}

static void on_stream(int fd)
{
	char data[2048];
	ssize_t n = recv(fd, data, sizeof(data), 0);

	if (n > 0)
		say(fd);
	else if (n == 0 || errno != EAGAIN)
		close(fd);
}

/* MSG_TRUNC: thrown away without being copied (tcp(7)). */
static void on_sink(int fd)
{
	ssize_t n = recv(fd, NULL, 1 << 30, MSG_TRUNC);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		close(fd);
}

static void serve(unsigned long port, unsigned long sink)
{
	struct epoll_event e[EVENTS];
	int poll = poll_new();

	serve_socket(poll, SOCK_STREAM, port, ROLE_LISTEN);
	serve_socket(poll, SOCK_DGRAM, port, ROLE_DATAGRAMS);
	serve_socket(poll, SOCK_STREAM, sink, ROLE_LISTEN_SINK);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(poll, e, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			int fd = e[i].data.fd;

			switch ((enum role)roles[fd]) {
			case ROLE_LISTEN:
			case ROLE_LISTEN_SINK:
				on_listen(poll, fd, roles[fd] == ROLE_LISTEN_SINK);
				break;
			case ROLE_DATAGRAMS:
				on_datagrams(fd);
				break;
			case ROLE_STREAM:
				on_stream(fd);
				break;
			case ROLE_SINK:
				on_sink(fd);
				break;
			case ROLE_NONE:
				break;
			}
		}
	}
}

/* ---- talk ---- */

struct talk {
	struct sockaddr_in6 from, to;
	int fd; /* -1: not open */
	bool waiting;
	int64_t until;
	char answer[LINE_SIZE];
};

struct talks {
	struct talk *v;
	size_t n;
	int type, poll;
	int64_t patience_ns;
	size_t under_way;
	int of_fd[FDS_MAX];
};

static void talk_over(struct talks *t, struct talk *c, const char *answer)
{
	snprintf(c->answer, sizeof(c->answer), "%s", answer);
	c->waiting = false;
	t->under_way--;
}

static void talk_failed(struct talks *t, struct talk *c, const char *why)
{
	close(c->fd);
	c->fd = -1;
	talk_over(t, c, why);
}

static void talk_begin(struct talks *t, struct talk *c)
{
	c->waiting = true;
	c->until = now_ns() + t->patience_ns;
	t->under_way++;
	c->fd = open_socket(t->type);
	t->of_fd[c->fd] = (int)(c - t->v);
	if (t->type == SOCK_STREAM)
		reset_on_close(c->fd);
	if (bind(c->fd, (struct sockaddr *)&c->from, sizeof(c->from)) < 0 ||
	    (connect(c->fd, (struct sockaddr *)&c->to, sizeof(c->to)) < 0 && errno != EINPROGRESS)) {
		talk_failed(t, c, strerrorname_np(errno));
		return;
	}
	watch(t->poll, c->fd, EPOLLIN);
	if (t->type == SOCK_DGRAM && send(c->fd, "?", 1, 0) < 0)
		talk_failed(t, c, strerrorname_np(errno));
}

static void talk_again(struct talks *t, struct talk *c)
{
	if (c->fd < 0)
		return; /* what ended it stands */
	c->waiting = true;
	c->until = now_ns() + t->patience_ns;
	t->under_way++;
	if (send(c->fd, "?", 1, MSG_NOSIGNAL) < 0)
		talk_failed(t, c, strerrorname_np(errno));
}

static void talk_readable(struct talks *t, struct talk *c)
{
	char line[LINE_SIZE];
	ssize_t n = recv(c->fd, line, sizeof(line) - 1, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		const char *why = n == 0 ? "closed" : strerrorname_np(errno);

		if (!c->waiting)
			t->under_way++; /* an end between two rounds */
		talk_failed(t, c, why);
		return;
	}
	line[n] = 0;
	line[strcspn(line, "\n")] = 0;
	if (c->waiting)
		talk_over(t, c, line);
}

/* Takes in what is there, for up to a millisecond, and gives up those whose time is over. */
static void talk_wait(struct talks *t)
{
	struct epoll_event e[EVENTS];
	int n = epoll_wait(t->poll, e, EVENTS, 1);

	for (int i = 0; i < n; i++) {
		struct talk *c = &t->v[t->of_fd[e[i].data.fd]];

		if (c->fd == e[i].data.fd)
			talk_readable(t, c);
	}
	if (n == EVENTS)
		return;
	for (size_t i = 0; i < t->n; i++) {
		if (!t->v[i].waiting || now_ns() < t->v[i].until)
			continue;
		if (t->type == SOCK_DGRAM)
			talk_over(t, &t->v[i], "timeout"); /* a datagram may be lost: the next may not be */
		else
			talk_failed(t, &t->v[i], "timeout");
	}
}

static void talk_round(struct talks *t, void (*ask)(struct talks *t, struct talk *c))
{
	for (size_t i = 0; i < t->n; i++) {
		ask(t, &t->v[i]);
		while (t->under_way >= WINDOW)
			talk_wait(t);
	}
	while (t->under_way)
		talk_wait(t);
	for (size_t i = 0; i < t->n; i++)
		puts(t->v[i].answer);
	puts("");
	fflush(stdout);
}

static void talk(const char *protocol, unsigned long ms)
{
	static struct talks t;
	char line[LINE_SIZE], source[64], host[64];
	unsigned int from, port;

	t.type = strcmp(protocol, "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	t.poll = poll_new();
	t.patience_ns = (int64_t)ms * 1000000;
	while (fgets(line, sizeof(line), stdin) && line[0] != '\n') {
		if (sscanf(line, "%63s %u %63s %u", source, &from, host, &port) != 4)
			errx(2, "not SOURCE PORT ADDRESS PORT: %s", line);
		t.v = reallocarray(t.v, t.n + 1, sizeof(*t.v));
		if (!t.v)
			err(1, "%zu connections", t.n + 1);
		t.v[t.n++] = (struct talk){ .from = address(source[0] == '-' ? "::" : source, from),
					      .to = address(host, port), .fd = -1 };
	}
	talk_round(&t, talk_begin);
	while (fgets(line, sizeof(line), stdin))
		talk_round(&t, talk_again);
}

/* ---- first ---- */

#define FIRST_OPEN_MAX 4096 /* connections without an answer: the oldest are given up */

struct attempt {
	int fd; /* 0: none */
	int64_t begun;
};

/* Whether the socket has an answer of that backend ("-": of any). */
static bool is_answer(int fd, const char *backend)
{
	char line[LINE_SIZE];
	ssize_t n = recv(fd, line, sizeof(line) - 1, 0);
	size_t len = strlen(backend);

	line[n > 0 ? n : 0] = 0;
	return n > 0 && (backend[0] == '-' || (strncmp(line, backend, len) == 0 && line[len] == ' '));
}

static void first(unsigned long us, struct sockaddr_in6 to, const char *backend)
{
	static struct attempt ring[FIRST_OPEN_MAX];
	static struct attempt *of_fd[FDS_MAX];
	struct epoll_event e[EVENTS];
	int64_t next = now_ns();
	int poll = poll_new();

	puts("ready");
	fflush(stdout);
	for (size_t turn = 0;; turn = (turn + 1) % FIRST_OPEN_MAX) {
		struct attempt *a = &ring[turn];
		int64_t left;

		if (a->fd)
			close(a->fd);
		*a = (struct attempt){ open_socket(SOCK_STREAM), now_ns() };
		of_fd[a->fd] = a;
		reset_on_close(a->fd);
		watch(poll, a->fd, EPOLLIN);
		if (connect(a->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno == EAFNOSUPPORT)
			err(1, "connect");
		next += (int64_t)us * 1000;
		do {
			struct timespec pause = { 0 };
			int n;

			left = next - now_ns();
			pause.tv_nsec = left > 0 ? left : 0;
			n = epoll_pwait2(poll, e, EVENTS, &pause, NULL);
			for (int i = 0; i < n; i++) {
				struct attempt *ended = of_fd[e[i].data.fd];

				if (is_answer(ended->fd, backend)) {
					printf("%lld\n", (long long)ended->begun);
					return;
				}
				close(ended->fd);
				ended->fd = 0;
			}
		} while (left > 0);
		if (left < 0)
			next = now_ns(); /* held up: no burst to catch up with the clock */
	}
}

/* ---- rate ---- */

struct rate {
	const struct sockaddr_in6 *to;
	size_t n_to, turn;
	int poll;
	unsigned long answered, failed;
};

static void rate_begin(struct rate *r)
{
	int fd = open_socket(SOCK_STREAM);

	reset_on_close(fd);
	watch(r->poll, fd, EPOLLIN);
	/* A refusal at once shows as an event, too. */
	if (connect(fd, (const struct sockaddr *)&r->to[r->turn], sizeof(r->to[0])) < 0 && errno == EAFNOSUPPORT)
		err(1, "connect");
	r->turn = (r->turn + 1) % r->n_to;
}

static void rate(unsigned long ms, unsigned long n, const struct sockaddr_in6 *to, size_t n_to)
{
	struct rate r = { .to = to, .n_to = n_to, .poll = poll_new() };
	struct epoll_event e[EVENTS];
	int64_t began = now_ns(), until = began + (int64_t)ms * 1000000;

	for (unsigned long i = 0; i < n; i++)
		rate_begin(&r);
	while (now_ns() < until) {
		int got = epoll_wait(r.poll, e, EVENTS, 10);

		for (int i = 0; i < got; i++) {
			char line[LINE_SIZE];

			if (recv(e[i].data.fd, line, sizeof(line), 0) > 0)
				r.answered++;
			else
				r.failed++;
			close(e[i].data.fd);
			rate_begin(&r);
		}
	}
	printf("%lu %lu %.3f\n", r.answered, r.failed, (double)(now_ns() - began) / 1e6);
}

/* ---- send ---- */

static void send_streams(unsigned long ms, unsigned long n, const struct sockaddr_in6 *to)
{
	static char piece[PIECE];
	struct epoll_event e[EVENTS];
	int poll = poll_new();
	uint64_t bytes = 0;
	int64_t began, until;

	for (unsigned long i = 0; i < n; i++) {
		int fd = open_socket(SOCK_STREAM);

		if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS)
			err(1, "connect");
		watch(poll, fd, EPOLLOUT);
	}
	began = now_ns();
	until = began + (int64_t)ms * 1000000;
	while (now_ns() < until) {
		int got = epoll_wait(poll, e, EVENTS, 10);

		for (int i = 0; i < got; i++) {
			ssize_t sent = send(e[i].data.fd, piece, sizeof(piece), MSG_NOSIGNAL);

			if (sent < 0 && errno != EAGAIN)
				err(1, "send");
			bytes += sent > 0 ? (uint64_t)sent : 0;
		}
	}
	printf("%llu %.3f\n", (unsigned long long)bytes, (double)(now_ns() - began) / 1e6);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	struct sockaddr_in6 *to = NULL;
	size_t n_to = 0;

	signal(SIGPIPE, SIG_IGN);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max < FDS_MAX ? files.rlim_max : FDS_MAX;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (argc == 4 && strcmp(argv[1], "serve") == 0) {
		serve(number(argv[2], 65535), number(argv[3], 65535));
	} else if (argc == 4 && strcmp(argv[1], "talk") == 0) {
		talk(argv[2], number(argv[3], 600000));
	} else if (argc == 6 && strcmp(argv[1], "first") == 0) {
		first(number(argv[2], 1000000), address(argv[3], number(argv[4], 65535)), argv[5]);
	} else if (argc >= 6 && argc % 2 == 0 && strcmp(argv[1], "rate") == 0) {
		to = calloc((size_t)argc, sizeof(*to));
		for (int i = 4; to && i < argc; i += 2)
			to[n_to++] = address(argv[i], number(argv[i + 1], 65535));
		rate(number(argv[2], 600000), number(argv[3], 10000), to, n_to);
	} else if (argc == 6 && strcmp(argv[1], "send") == 0) {
		struct sockaddr_in6 one = address(argv[4], number(argv[5], 65535));

		send_streams(number(argv[2], 600000), number(argv[3], STREAMS_MAX), &one);
	} else {
		errx(2, "usage: load serve|talk|first|rate|send ... (see load.c)");
	}
	free(to);
	return 0;
}
