/* SPDX-License-Identifier: Apache-2.0 */
/* control.c: lock file and status socket.  What is told is made elsewhere. */
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

#define PIECE_MAX ((size_t)8 * 1024 * 1024)
#define PIECES_LEN ((size_t)64 * 1024) /* of so many bytes some are sent before more are made */
#define CLIENT_MS 5000
#define LATER_MS 20

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
	if (c->answer)
		c->control->ops->end(c->answer);
	c->answer = NULL;
	loop_remove(c->control->loop, &c->source);
	close_fdp(&c->source.fd);
	c->source.fd = -1;
	buf_fini(&c->out);
}

/* One piece a turn of the loop: others are served between two. */
static void client_more(struct control_client *c)
{
	enum control_more more = c->control->ops->more(c->answer, &c->out);
	bool later = more == CONTROL_LATER && c->out.len == 0;

	c->all = more == CONTROL_END;
	if (buf_failed(&c->out) || (c->all && c->out.len == 0)) {
		client_close(c);
		return;
	}
	if (later != c->later && loop_change(c->control->loop, &c->source, later ? 0 : EPOLLOUT, NULL) < 0) {
		client_close(c);
		return;
	}
	c->later = later;
}

static void client_write(struct control_client *c)
{
	ssize_t n;

	if (!c->all && c->out.len < PIECES_LEN)
		client_more(c);
	if (c->source.fd < 0 || c->later)
		return;
	n = send(c->source.fd, c->out.data, c->out.len, MSG_NOSIGNAL);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		buf_consume(&c->out, (size_t)n);
		c->expires = mono_add_ms(mono_now(), CLIENT_MS);
	}
	if (n < 0 || (c->all && c->out.len == 0))
		client_close(c);
}

/* The line, or a part of it. */
static void client_read(struct control_client *c)
{
	ssize_t n = recv(c->source.fd, c->line + c->n_line, sizeof(c->line) - 1 - c->n_line, 0);
	char *end;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		client_close(c);
		return;
	}
	end = memchr(c->line + c->n_line, '\n', (size_t)n);
	c->n_line += (size_t)n;
	if (!end && c->n_line < sizeof(c->line) - 1)
		return;
	if (end) {
		*end = '\0';
		c->answer = c->control->ops->begin(c->control->ctx, c->line);
	}
	if (!c->answer || loop_change(c->control->loop, &c->source, EPOLLOUT, NULL) < 0)
		client_close(c);
}

static void client_ready(void *ctx, uint32_t events)
{
	struct control_client *c = ctx;

	if (c->answer && (events & EPOLLOUT))
		client_write(c);
	else if (!c->answer && (events & EPOLLIN))
		client_read(c);
	else
		client_close(c); /* gone before it had its answer */
}

mono_t control_step(struct control *c, mono_t now)
{
	bool waiting = false;

	for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		if (c->clients[i].source.fd >= 0 && c->clients[i].later)
			client_more(&c->clients[i]);
		waiting |= c->clients[i].source.fd >= 0 && c->clients[i].later;
	}
	return waiting ? mono_add_ms(now, LATER_MS) : MONO_NEVER;
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
	*slot = (struct control_client){ .source = { fd, client_ready, slot }, .control = c, .out = BUF_INIT(PIECE_MAX),
					 .expires = mono_add_ms(now, CLIENT_MS) };
	if (loop_add(c->loop, &slot->source, EPOLLIN, NULL) == 0)
		IGNORE(TAKE_FD(fd)); /* the slot owns it now */
	else
		slot->source.fd = -1;
}

int control_init(struct control *c, struct loop *loop, const char *dir, int lock_fd,
		 const struct control_ops *ops, void *ctx, struct err_info *err)
{
	struct sockaddr_un a;
	mode_t mask;
	int r;

	*c = (struct control){ .loop = loop, .lock_fd = -1, .ops = ops, .ctx = ctx };
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

/* Connected, with the line sent.  -EBUSY: closed before it was taken. */
static int ask(int fd, const struct sockaddr_un *a, const char *line, struct err_info *err)
{
	char text[CONTROL_LINE_MAX + 1];
	int n = snprintf(text, sizeof(text), "%s\n", line);

	if (n < 0 || n >= (int)sizeof(text))
		return err_errno(err, -EMSGSIZE, "%s", a->sun_path);
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)) < 0)
		return err_errno(err, errno == EAGAIN ? -ETIMEDOUT : -errno, "%s", a->sun_path);
	if (send(fd, text, (size_t)n, MSG_NOSIGNAL) == n)
		return 0;
	return errno == EPIPE ? err_set(err, -EBUSY, "%s: busy", a->sun_path) : err_errno(err, -errno, "%s", a->sun_path);
}

/* The next call on the socket waits so long at most; connecting waits as sending does. */
static int set_patience(int fd, mono_t until, struct err_info *err)
{
	const mono_t now = mono_now();
	const int64_t ms = mono_diff_ms(mono_min(until, mono_add_ms(now, CLIENT_MS)), now);
	const struct timeval patience = { .tv_sec = ms / MS_PER_S, .tv_usec = ms % MS_PER_S * 1000 };

	if (ms <= 0) /* zero would be for ever */
		return err_set(err, -ETIMEDOUT, "no answer in time");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0)
		return err_errno(err, -errno, "socket");
	return 0;
}

int control_query(const char *dir, const char *line, mono_t until, struct buf *out, struct err_info *err)
{
	AUTO(close_fdp) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	char chunk[16384];
	ssize_t n = 0;
	int r = socket_address(dir, &a, err);

	if (r < 0)
		return r;
	if (fd < 0)
		return err_errno(err, -errno, "socket");
	r = set_patience(fd, until, err);
	if (r == 0)
		r = ask(fd, &a, line, err);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return err_set(err, r, "no agent runs with the state directory %s", dir);
	if (r < 0)
		return r;
	while ((r = set_patience(fd, until, err)) == 0 && (n = recv(fd, chunk, sizeof(chunk), 0)) > 0)
		buf_append(out, chunk, (size_t)n);
	if (r < 0)
		return r;
	/* Closed with our line unread (unix(7)), or with nothing to say. */
	if ((n < 0 && errno == ECONNRESET && out->len == 0) || (n == 0 && out->len == 0))
		return err_set(err, -EBUSY, "the agent of %s gave no answer: it is busy with other requests", dir);
	if (n < 0)
		return err_errno(err, errno == EAGAIN ? -ETIMEDOUT : -errno, "%s", a.sun_path);
	return buf_failed(out) ? err_errno(err, buf_failed(out), "the answer of %s", a.sun_path) : 0;
}
