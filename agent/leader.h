/* SPDX-License-Identifier: Apache-2.0 */
/* leader.h: drives one Lease's state machine (election/) with the API: reads and writes in, actions out.  What it sees of
 * the Lease comes from lease_view.h, one watch for all Leases.
 *
 * It decides nothing; what the machine says is carried out, what came of it goes back as events.  After each step the
 * owner's 'gate' comes first, then the actions in order: a write that takes a right away leaves once the gate is shut.
 * A renewal allocates nothing here: calls are part of the struct, the body is built in a buffer that is kept. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/buf.h"
#include "agent/base/mono.h"
#include "agent/kube/client.h"
#include "agent/kube/lease_json.h"
#include "election/elect.h"

struct leader_ops {
	/* What this node may answer, whatever the time; after each step, before what follows of it. */
	void (*gate)(void *ctx, const struct elect_gate *gate);
	/* We hold from now; why: what gave it to us. */
	void (*lead)(void *ctx, const char *why);
	/* We hold no longer: withdraw at once. */
	void (*follow)(void *ctx, const char *why);
	/* The record shows another holder than before ("" = nobody). */
	void (*holder)(void *ctx, const char *from, const char *to);
	/* Released and ended, after leader_stop(). */
	void (*stopped)(void *ctx);
	/* A write succeeded: milliseconds from send to reply. */
	void (*renewed)(void *ctx, int64_t ms);
	/* As a successor: get ready to take over under this number, then say so; and: nothing came of it. */
	void (*prepare)(void *ctx, uint32_t number);
	void (*unprepare)(void *ctx, const char *why);
	/* As the holder: the move failed, we keep the Lease. */
	void (*handover_failed)(void *ctx, uint32_t number, const char *why);
	/* Ask on the wire who has the VIPs; answer: leader_wire() with this id. */
	void (*probe)(void *ctx, uint32_t probe_id);
	/* Announce the VIPs although the gate is shut, so that an old holder hears it. */
	void (*announce)(void *ctx);
	/* Somebody asks in the Lease for a move (number, node or "*") that no result answers yet.  Once a number, to every
	 * candidate; the holder acts on it. */
	void (*asked)(void *ctx, uint32_t number, const char *node);
};

/* Writes and reads under way at once: the machine has one of each, and one more of each that it gave up and that the
 * client is about to. */
#define LEADER_CALLS 4

struct leader_call {
	struct leader *l;
	bool busy;
	uint32_t write_id; /* 0: a read */
};

struct leader {
	struct elect elect;
	struct kube_client *client;
	const struct leader_ops *ops;
	void *ctx;
	char *ns, *name;
	struct leader *next;	/* of lease_view's list */
	struct leader_call calls[LEADER_CALLS];
	struct lease_keep keep, spare; /* what others keep in the Lease as last read; and where the next reading goes */
	struct buf body, path;	/* of requests; they keep their memory */
	struct kube_lease seen; /* the Lease last seen; holder "" = nobody */
	bool seen_any;		/* 'seen' is valid */
	bool view_found;	/* the complete view under way showed the Lease */
	bool view_live, synced;
	bool stopped;		/* the machine has ended */
	uint32_t asked;		/* number of the last request for a move passed on */
	struct kube_lease_result result; /* to be written with the next record; number 0: what stands there stays */
	mono_t renewed_at;	/* send time of the last successful write; 0 = never */
	mono_t wake_at;
	mono_t look_at;		/* the view cannot tell: read the Lease at this time; MONO_NEVER = it can */
	int64_t acquire_us;	/* wall clock of our acquisition, for the record */
};

/* cfg is copied.  -ENOMEM. */
MUST_USE int leader_init(struct leader *l, struct kube_client *client, const struct elect_config *cfg, const char *ns,
			 const char *name, const struct leader_ops *ops, void *ctx, struct err_info *err);
/* No reply may come after this: dispatch the client no more, or wait until leader_idle(). */
void leader_fini(struct leader *l);

/* No request is under way. */
bool leader_idle(const struct leader *l);

/* Call no later than l->wake_at, and after anything that took long. */
void leader_tick(struct leader *l, mono_t now);
void leader_fit(struct leader *l, mono_t now, bool fit);
void leader_stop(struct leader *l, mono_t now);

/* The holder begins a move to 'successor' (identity); number > 0, never used before for this Lease. */
void leader_handover(struct leader *l, mono_t now, const char *successor, uint32_t number);
/* What the successor says to that move. */
void leader_prepared(struct leader *l, mono_t now, uint32_t number);
void leader_refused(struct leader *l, mono_t now, uint32_t number);
/* What a probe found, or (probe_id 0) what was heard unasked. */
void leader_wire(struct leader *l, mono_t now, enum elect_wire wire, uint32_t probe_id);
/* Whether the holder of the record last seen can know this node as a candidate. */
void leader_introduced(struct leader *l, mono_t now, bool introduced);
/* This node's clocks have jumped, or it stood still. */
void leader_doubt(struct leader *l, mono_t now);

/* What came of the request for a move with this number; written into the Lease with the next record, for whoever asked.
 * The request goes with it.  Text: cut to LEASE_RESULT_TEXT_MAX. */
void leader_result(struct leader *l, uint32_t number, bool ok, const char *text);

/* How long our claims of what is free or expired wait: preference of other candidates. */
static inline void leader_delay(struct leader *l, int64_t ms)
{
	l->elect.cfg.delay_ms = ms;
}

static inline bool leader_holds(const struct leader *l, mono_t now)
{
	return elect_holds(&l->elect, now);
}

/* True once the view has shown who holds the Lease, or that nobody does. */
static inline bool leader_knows(const struct leader *l)
{
	return l->synced;
}

/* ---- lease_view.c alone ---- */

/* The Lease as the view shows it; what others keep in it is taken out of 'keep', which gets the former. */
void leader_see(struct leader *l, const struct kube_lease *seen, struct lease_keep *keep);
void leader_absent(struct leader *l);
/* The view cannot tell, because it was complete before the leader's time or lost sight of the Lease: a GET, repeated until
 * it is answered, stands for it. */
void leader_look(struct leader *l, mono_t now);
/* l->view_live or l->synced has changed. */
void leader_view(struct leader *l);
