/* SPDX-License-Identifier: Apache-2.0 */
/* control.c: lock file and status socket.  What is told is rendered elsewhere. */
#include "agent/control.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "agent/base/text.h"

#define ANSWER_MAX ((size_t)16 * 1024 * 1024)
#define CLIENT_MS 5000

static int socket_address(const char *dir, struct sockaddr_un *ret, struct err_info *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (snprintf(a.sun_path, sizeof(a.sun_path), "%s/agent.sock", dir) >= (int)sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "%s: the state directory's path is too long for a socket", dir);
	*ret = a;
	return 0;
}

int control_lock(const char *dir, int *ret_fd, struct err_info *err)
{
	AUTO(close_fdp) int fd = -1;
	char path[PATH_MAX];

	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return err_errno(err, -errno, "%s", dir);
	if (snprintf(path, sizeof(path), "%s/agent.lock", dir) >= (int)sizeof(path))
		return err_errno(err, -ENAMETOOLONG, "%s", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, -errno, "%s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? err_set(err, -EWOULDBLOCK, "%s: another agent runs with this state directory", path) :
					      err_errno(err, -errno, "%s", path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void client_close(struct control_client *c)
{
	loop_remove(c->control->loop, &c->source);
	close_fdp(&c->source.fd);
	c->source.fd = -1;
	buf_fini(&c->out);
}

static void client_write(struct control_client *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = send(c->source.fd, c->out.data + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			break;
		c->sent += (size_t)n;
	}
	client_close(c);
}

static void client_ready(void *ctx, uint32_t events)
{
	struct control_client *c = ctx;
	char ask[16];
	ssize_t n;

	if (c->out.len > 0) {
		client_write(c);
		return;
	}
	if (!(events & EPOLLIN)) {
		client_close(c);
		return;
	}
	n = recv(c->source.fd, ask, sizeof(ask) - 1, 0);
	if (n < 0 && errno == EAGAIN)
		return;
	ask[n > 0 ? n : 0] = '\0';
	if (text_eq(ask, "json\n") || text_eq(ask, "text\n"))
		c->control->render(c->control->ctx, ask[0] == 'j', &c->out);
	if (c->out.len == 0 || buf_failed(&c->out) ||
	    loop_change(c->control->loop, &c->source, EPOLLOUT, NULL) < 0)
		client_close(c);
	else
		client_write(c);
}

static void listener_ready(void *ctx, uint32_t events)
{
	struct control *c = ctx;
	struct control_client *slot = NULL;
	AUTO(close_fdp) int fd = accept4(c->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	mono_t now = mono_now();

	(void)events;
	if (fd < 0)
		return;
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (c->clients[i].source.fd >= 0 && mono_reached(now, c->clients[i].expires))
			client_close(&c->clients[i]); /* it had its time */
		if (c->clients[i].source.fd < 0)
			slot = &c->clients[i];
	}
	if (!slot)
		return; /* too many at once: closed unanswered */
	*slot = (struct control_client){ .source = { fd, client_ready, slot }, .control = c, .out = BUF_INIT(ANSWER_MAX),
					 .expires = mono_add_ms(now, CLIENT_MS) };
	if (loop_add(c->loop, &slot->source, EPOLLIN, NULL) == 0)
		IGNORE(TAKE_FD(fd)); /* the slot owns it now */
	else
		slot->source.fd = -1;
}

int control_init(struct control *c, struct loop *loop, const char *dir, int lock_fd,
		 void (*render)(void *ctx, bool json, struct buf *out), void *ctx, struct err_info *err)
{
	struct sockaddr_un a;
	mode_t mask;
	int r;

	*c = (struct control){ .loop = loop, .lock_fd = -1, .render = render, .ctx = ctx };
	c->listener = (struct loop_source){ -1, listener_ready, c };
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		c->clients[i].source.fd = -1;
	r = socket_address(dir, &a, err);
	if (r < 0)
		return r;
	c->socket_path = strdup(a.sun_path);
	c->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (!c->socket_path || c->listener.fd < 0)
		return err_errno(err, c->socket_path ? -errno : -ENOMEM, "%s", a.sun_path);
	IGNORE(unlink(a.sun_path)); /* a leftover: the lock is ours, so nobody listens there */
	mask = umask(0177);
	r = bind(c->listener.fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ? -errno : 0;
	umask(mask);
	if (r == 0 && listen(c->listener.fd, CONTROL_CLIENTS_MAX) < 0)
		r = -errno;
	if (r < 0)
		return err_errno(err, r, "%s", a.sun_path);
	r = loop_add(loop, &c->listener, EPOLLIN, err);
	if (r == 0)
		c->lock_fd = lock_fd;
	return r;
}

void control_fini(struct control *c)
{
	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->clients[i].source.fd >= 0)
			client_close(&c->clients[i]);
	if (c->listener.fd >= 0) {
		loop_remove(c->loop, &c->listener);
		close_fdp(&c->listener.fd);
		IGNORE(unlink(c->socket_path)); /* gone already is fine */
	}
	free(c->socket_path);
	close_fdp(&c->lock_fd);
	c->lock_fd = c->listener.fd = -1;
	c->socket_path = NULL;
}

int control_query(const char *dir, bool json, FILE *out, struct err_info *err)
{
	AUTO(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = CLIENT_MS / 1000 };
	struct sockaddr_un a;
	char chunk[4096];
	size_t total = 0;
	ssize_t n;
	int r = socket_address(dir, &a, err);

	if (r < 0)
		return r;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0) /* connecting waits, too */
		return err_errno(err, -errno, "socket");
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
		r = -errno;
		if (r == -ENOENT || r == -ECONNREFUSED)
			return err_set(err, r, "no agent runs with the state directory %s", dir);
		return err_errno(err, r == -EAGAIN ? -ETIMEDOUT : r, "%s", a.sun_path);
	}
	if (send(fd, json ? "json\n" : "text\n", 5, MSG_NOSIGNAL) != 5)
		return err_errno(err, -errno, "%s", a.sun_path);
	while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
		IGNORE(fwrite(chunk, 1, (size_t)n, out)); /* the caller checks ferror() */
		total += (size_t)n;
	}
	if (n < 0)
		return err_errno(err, errno == EAGAIN ? -ETIMEDOUT : -errno, "%s", a.sun_path);
	return total ? 0 : err_set(err, -EBUSY, "the agent of %s is busy; try again", dir);
}
