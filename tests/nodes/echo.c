/* SPDX-License-Identifier: Apache-2.0 */
/* echo.c: what the backend pods run: an echo server for TCP and UDP over IPv4 and IPv6 that names its pod.  It answers
 * as tests/netns/backend.py does, so that the same probes understand it; it is linked statically, so that its image
 * is this one file.  After SIGTERM it serves on for a while, as a backend should: endpoints go before it does.
 *
 *	echo PORT
 */
#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE_SIZE 2048
#define CONNECTION_S 300 /* the longest life of a connection */
#define FAREWELL_S 2

static char name[64];

static void on_term(int signal)
{
	(void)signal;
	alarm(FAREWELL_S);
}

static void on_alarm(int signal)
{
	(void)signal;
	_exit(0);
}

/* As process 1 of its pod it gets no signal that it does not handle. */
static void handle(int signal, void (*handler)(int))
{
	struct sigaction action = { .sa_handler = handler, .sa_flags = SA_RESTART };

	if (sigaction(signal, &action, NULL) < 0)
		err(1, "sigaction");
}

static int listen_on(int type, const struct sockaddr_in6 *at)
{
	int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
	int off = 0, on = 1;

	if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
	    bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 || (type == SOCK_STREAM && listen(fd, 128) < 0))
		err(1, "port %u", ntohs(at->sin6_port));
	return fd;
}

/* An address as a user writes it: without the IPv4-mapped prefix. */
static const char *plain(const struct sockaddr_in6 *peer)
{
	static char text[INET6_ADDRSTRLEN];

	inet_ntop(AF_INET6, &peer->sin6_addr, text, sizeof(text));
	return strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text;
}

static void answer_datagram(int fd)
{
	struct sockaddr_in6 peer;
	socklen_t peer_len = sizeof(peer);
	char text[LINE_SIZE + 128];
	ssize_t n = recvfrom(fd, text, LINE_SIZE, 0, (struct sockaddr *)&peer, &peer_len);

	if (n < 0)
		return;
	n += snprintf(text + n, sizeof(text) - (size_t)n, "|%s|%s|%u", name, plain(&peer), ntohs(peer.sin6_port));
	sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&peer, peer_len);
}

static void serve(int fd, const struct sockaddr_in6 *peer)
{
	FILE *in = fdopen(fd, "r");
	char line[LINE_SIZE];

	alarm(CONNECTION_S);
	dprintf(fd, "%s %s %u\n", name, plain(peer), ntohs(peer->sin6_port));
	while (in && fgets(line, sizeof(line), in))
		if (dprintf(fd, "%s %s", name, line) < 0)
			break;
	_exit(0);
}

static void answer_connection(int listener)
{
	struct sockaddr_in6 peer;
	socklen_t peer_len = sizeof(peer);
	int fd = accept(listener, (struct sockaddr *)&peer, &peer_len);

	if (fd < 0)
		return;
	if (fork() == 0)
		serve(fd, &peer);
	close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	struct pollfd fds[2];

	if (argc != 2)
		errx(2, "usage: echo PORT");
	at.sin6_port = htons((unsigned short)atoi(argv[1]));
	if (gethostname(name, sizeof(name) - 1) < 0)
		err(1, "gethostname");
	handle(SIGTERM, on_term);
	handle(SIGALRM, on_alarm);
	handle(SIGCHLD, SIG_IGN); /* nobody waits for the children */
	handle(SIGPIPE, SIG_IGN);
	fds[0] = (struct pollfd){ .fd = listen_on(SOCK_DGRAM, &at), .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = listen_on(SOCK_STREAM, &at), .events = POLLIN };
	for (;;) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents)
			answer_datagram(fds[0].fd);
		if (fds[1].revents)
			answer_connection(fds[1].fd);
	}
}
