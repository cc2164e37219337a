/* SPDX-License-Identifier: Apache-2.0 */
/* loop.c: epoll and one timerfd.  It knows nothing of what it waits for. */
#include "agent/loop.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define LOOP_BATCH 32

int loop_init(struct loop *l, struct err_info *err)
{
	struct epoll_event ev = { .events = EPOLLIN, .data = { .ptr = NULL } }; /* NULL marks the timer */

	l->armed = MONO_NEVER;
	l->timer_fd = -1;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		return err_errno(err, -errno, "epoll_create1");
	l->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	if (l->timer_fd < 0)
		return err_errno(err, -errno, "timerfd_create");
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->timer_fd, &ev) < 0)
		return err_errno(err, -errno, "epoll_ctl");
	return 0;
}

void loop_fini(struct loop *l)
{
	close_fdp(&l->timer_fd);
	close_fdp(&l->epoll_fd);
	l->timer_fd = l->epoll_fd = -1;
}

static int loop_ctl(struct loop *l, int op, struct loop_source *s, uint32_t events, struct err_info *err)
{
	struct epoll_event ev = { .events = events, .data = { .ptr = s } };

	if (epoll_ctl(l->epoll_fd, op, s->fd, &ev) < 0)
		return err_errno(err, -errno, "epoll_ctl");
	return 0;
}

int loop_add(struct loop *l, struct loop_source *s, uint32_t events, struct err_info *err)
{
	return loop_ctl(l, EPOLL_CTL_ADD, s, events, err);
}

int loop_change(struct loop *l, struct loop_source *s, uint32_t events, struct err_info *err)
{
	return loop_ctl(l, EPOLL_CTL_MOD, s, events, err);
}

void loop_remove(struct loop *l, struct loop_source *s)
{
	IGNORE(loop_ctl(l, EPOLL_CTL_DEL, s, 0, NULL)); /* not added is as good as removed */
}

static int loop_arm(struct loop *l, mono_t until, struct err_info *err)
{
	struct itimerspec t = { 0 };
	int64_t ns = until.ns < 1 ? 1 : until.ns; /* zero would disarm it */

	if (until.ns == l->armed.ns)
		return 0;
	if (!mono_is_never(until)) {
		t.it_value.tv_sec = ns / (MS_PER_S * NS_PER_MS);
		t.it_value.tv_nsec = ns % (MS_PER_S * NS_PER_MS);
	}
	if (timerfd_settime(l->timer_fd, TFD_TIMER_ABSTIME, &t, NULL) < 0)
		return err_errno(err, -errno, "timerfd_settime");
	l->armed = until;
	return 0;
}

int loop_wait(struct loop *l, mono_t until, struct err_info *err)
{
	struct epoll_event ev[LOOP_BATCH];
	uint64_t ticks;
	int n, r;

	r = loop_arm(l, until, err);
	if (r < 0)
		return r;
	n = epoll_wait(l->epoll_fd, ev, LOOP_BATCH, -1);
	if (n < 0)
		return errno == EINTR ? 0 : err_errno(err, -errno, "epoll_wait");
	for (int i = 0; i < n; i++) {
		struct loop_source *s = ev[i].data.ptr;

		if (s) {
			s->ready(s->ctx, ev[i].events);
		} else {
			IGNORE(read(l->timer_fd, &ticks, sizeof(ticks))); /* only to make it unreadable again */
			l->armed = MONO_NEVER;
		}
	}
	return 0;
}
