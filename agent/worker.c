/* SPDX-License-Identifier: Apache-2.0 */
/* worker.c: two queues, a mutex and an eventfd. */
#include "agent/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/eventfd.h>

struct job_queue {
	struct worker_job *first, **last;
};

struct worker {
	pthread_t thread;
	pthread_mutex_t lock; /* guards all below */
	pthread_cond_t wake;
	struct job_queue todo, finished;
	bool ending;
	int event_fd; /* readable while finished is not empty */
};

static void queue_put(struct job_queue *q, struct worker_job *job)
{
	job->next = NULL;
	*q->last = job;
	q->last = &job->next;
}

static struct worker_job *queue_take(struct job_queue *q)
{
	struct worker_job *job = q->first;

	if (job) {
		q->first = job->next;
		if (!q->first)
			q->last = &q->first;
	}
	return job;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	const uint64_t one = 1;
	struct worker_job *job;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->ending && !w->todo.first)
			pthread_cond_wait(&w->wake, &w->lock);
		if (w->ending)
			break;
		job = queue_take(&w->todo);
		pthread_mutex_unlock(&w->lock);
		job->run(job);
		pthread_mutex_lock(&w->lock);
		queue_put(&w->finished, job);
		IGNORE(write(w->event_fd, &one, sizeof(one))); /* fails only at 2^64-1, when it is readable anyway */
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

int worker_new(struct worker **ret, struct err_info *err)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_attr_t attr;
	sigset_t all, old;
	int r;

	if (!w)
		return err_errno(err, -ENOMEM, "worker");
	w->todo.last = &w->todo.first;
	w->finished.last = &w->finished.first;
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event_fd < 0) {
		r = err_errno(err, -errno, "eventfd");
		free(w);
		return r;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 * 1024);
	r = -pthread_create(&w->thread, &attr, worker_main, w);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r < 0) {
		close_fdp(&w->event_fd);
		free(w);
		return err_errno(err, r, "pthread_create");
	}
	*ret = w;
	return 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	close_fdp(&w->event_fd);
	free(w);
}

int worker_fd(const struct worker *w)
{
	return w->event_fd;
}

void worker_dispatch(struct worker *w)
{
	struct worker_job *job;
	uint64_t count;

	IGNORE(read(w->event_fd, &count, sizeof(count))); /* only to make it unreadable again */
	for (;;) {
		pthread_mutex_lock(&w->lock);
		job = queue_take(&w->finished);
		pthread_mutex_unlock(&w->lock);
		if (!job)
			return;
		job->done(job);
	}
}

void worker_submit(struct worker *w, struct worker_job *job)
{
	pthread_mutex_lock(&w->lock);
	queue_put(&w->todo, job);
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}
