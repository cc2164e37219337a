/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h: counters of the process, rendered in the Prometheus text format.  Bounded cardinality. */
#pragma once

#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/core/conflict.h"

#define METRICS_REQUESTS_MAX 96
#define METRICS_LATENCY_BUCKETS 9

struct metrics_request {
	char verb[8];
	int code; /* 0 = no answer */
	uint64_t count;
};

struct metrics {
	struct metrics_request requests[METRICS_REQUESTS_MAX];
	unsigned int n_requests;
	uint64_t renew_buckets[METRICS_LATENCY_BUCKETS + 1]; /* not cumulative; the last is +Inf */
	uint64_t renew_count, renew_sum_ms;
	uint64_t transitions; /* times this node began to hold */
	uint64_t announcements, announce_errors; /* frames; rounds that failed */
	uint64_t conflicts; /* found: somebody else uses a VIP */
	uint64_t conflict_kinds[CONFLICT_KIND_N]; /* the same by kind, and those who merely asked */
	uint64_t conflict_probes; /* sent to find them */
	uint64_t handovers, handovers_failed; /* moves away that this node began */
	uint64_t pauses;    /* times that the clocks jumped or the process stood still */
	uint64_t events_sent, events_dropped;
	uint64_t loop_turns;
	uint64_t vip_looks; /* times that all VIPs were looked at */
	uint64_t builds;    /* times that Services were gone through for what the data plane is to have */
	int64_t loop_late_max_ms; /* since start */
};

void metrics_request(struct metrics *m, const char *verb, int code);
void metrics_renewed(struct metrics *m, int64_t ms);

/* What is read at the time of the request, not counted. */
struct metrics_now {
	const char *node;
	unsigned int vips_held, vips_wanted, services;
	unsigned int vips_routed; /* announce bgp */
	int leading;
	double lease_age_s; /* since the last successful renewal was sent; < 0 = never */
	int synced, as_wanted;
	int gate;
	uint64_t gate_put_back, tables_lost;
	uint64_t gate_arp, gate_ip, gate_egress, gate_redirected; /* frames */
	unsigned int overtime;
	unsigned int vips_in_conflict;
	uint64_t netlink_errors, nat_ops, addr_ops, bad_objects;
};

void metrics_render(const struct metrics *m, const struct metrics_now *now, struct buf *out);
