/* SPDX-License-Identifier: Apache-2.0 */
/* traffic.h: what goes through this node's VIPs, as the kernel counts it: read now and then by a worker of its own, so that
 * nothing else waits for a long reading.  The last reading is kept, cut down to a bounded number of rows. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"
#include "agent/core/busy.h"
#include "agent/loop.h"
#include "agent/worker.h"
#include "netlink/nat_count.h"

#define TRAFFIC_FRONTENDS_MAX 2000
#define TRAFFIC_BACKENDS_MAX 5000
/* Of more backends none is read: a dump of so many takes tenths of a second, and its time is quadratic. */
#define TRAFFIC_BACKENDS_READ_MAX 25000

struct traffic_key {
	struct ip ip;
	uint8_t proto; /* IPPROTO_* */
	uint16_t port;
};

/* Of one VIP's port. */
struct traffic_frontend {
	struct traffic_key key;
	uint64_t connections;
	struct nat_tick received, sent; /* from clients, to clients */
};

/* Of one backend, for all Services that it serves. */
struct traffic_backend {
	struct traffic_key key;
	uint64_t connections;
	struct nat_tick received; /* from clients */
};

struct traffic_sums {
	uint64_t connections;
	struct nat_tick received, sent;
};

struct traffic_view {
	struct traffic_frontend *frontends; /* malloc; sorted by key: the first TRAFFIC_FRONTENDS_MAX of all */
	size_t n_frontends;
	struct traffic_backend *backends; /* likewise, TRAFFIC_BACKENDS_MAX */
	size_t n_backends;
	size_t frontends_out, backends_out; /* how many more there are */
	struct traffic_sums sums;	    /* of all frontends, those left out, too */
	struct nat_tick drops[NAT_DROP_N];
	bool incomplete; /* there are more elements than are read: rows and sums are empty */
};

struct traffic_job {
	struct worker_job job; /* first: the worker hands this back */
	struct traffic *t;
	struct nlsock *sock; /* the worker's while the job runs */
	size_t max;
	bool with_backends;
	struct traffic_view view; /* out */
	int result;
	struct err_info err;
};

struct traffic {
	bool on, counting; /* on: there is a table; counting: more than drops are counted */
	struct worker *worker;
	struct loop_source source;
	struct traffic_job job;
	bool busy;
	size_t n_backends; /* that there are, or less: those of all Services, of which some have the same */
	mono_t begun_at, look_at;
	struct traffic_view view; /* the last reading */
	mono_t read_at;		  /* when that was; 0 = there is none */
	struct traffic_sums total; /* grows only: what goes away with a Service stays in it */
	struct busy busiest; /* the VIPs that had most of it lately */
	uint64_t errors; /* readings that failed */
};

/* on: this node has the table.  counting: --counters on; else drops alone are read.  't' must not move from now on.  Errors as
 * worker_new(), loop_add(). */
MUST_USE int traffic_init(struct traffic *t, struct loop *loop, bool on, bool counting, struct err_info *err);
/* Waits for the reading under way. */
void traffic_fini(struct traffic *t);

/* Whether traffic_step() is going to read. */
bool traffic_due(const struct traffic *t, mono_t now);
/* Reads when it is time: each 10 s, or as seldom as keeps reading below a fiftieth of the time.  n_backends: how many there may
 * be.  Returns when to call again. */
mono_t traffic_step(struct traffic *t, mono_t now, size_t n_backends);

/* NULL: it is not among the rows. */
const struct traffic_frontend *traffic_find(const struct traffic_view *v, const struct traffic_key *key);
const struct traffic_backend *traffic_find_backend(const struct traffic_view *v, const struct traffic_key *key);
/* The index of the first backend that is not before 'key'. */
size_t traffic_backend_lower(const struct traffic_view *v, const struct traffic_key *key);

/* From the kernel's counters to rows.  max: elements of each kind that were read at most.  -ENOMEM. */
MUST_USE int traffic_reduce(const struct nat_counts *c, size_t max, struct traffic_view *ret);
void traffic_view_fini(struct traffic_view *v);
