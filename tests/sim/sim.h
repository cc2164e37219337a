/* SPDX-License-Identifier: Apache-2.0 */
/* sim.h: a world of a few nodes that elect a holder, in virtual time, from a seed.
 *
 * The nodes run the very elect_step(); everything round it is modelled: clocks (clock.c), the API server with its
 * watches (server.c), the network between, the process and its gate in the kernel (node.c), and what goes wrong
 * (fault.c).  The judge (judge.c) looks after every step.  Nothing here reads a real clock or a real random
 * number, so the same seed gives the same run to the last line of its trace. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "election/elect.h"

#define NODES 3u
#define NS_PER_S (NS_PER_MS * MS_PER_S)
#define HISTORY_MAX 64u	/* changes that a watch can resume over */
#define RATE_WINDOW_MAX 256u
#define VERDICT_MAX 160

/* A cycle: first faults, then peace, in which a holder must be found and kept. */
#define CYCLE_NS (20 * NS_PER_S)
#define FAULTS_END_NS (10 * NS_PER_S)
#define CALM_NS (18 * NS_PER_S)

struct world;

enum fault_kind {
	FAULT_FLAKY,	 /* requests and replies are lost, 429 and 5xx, applied or not */
	FAULT_SLOW,	 /* requests and replies take up to twice the renew interval */
	FAULT_PARTITION, /* a node is cut off */
	FAULT_PAUSE,	 /* a node's process stands still, between two events or in the midst of a step */
	FAULT_CRASH,	 /* a node's process is killed; its gate stays as it is */
	FAULT_STOP,	 /* a node's process is told to stop, and started again */
	FAULT_UNFIT,	 /* a node may not hold */
	FAULT_OUTAGE,	 /* the API is down */
	FAULT_READ_ONLY, /* writes fail, reads and watches work (etcd without quorum) */
	FAULT_LAG,	 /* a node's watch is late */
	FAULT_DELETE,	 /* the Lease is deleted by hand */
	FAULTS,
};

enum sim_event_kind {
	SIM_DELIVER,	 /* an event reaches a node's process */
	SIM_WAKE,	 /* a node's timer */
	SIM_EXEC,	 /* the actions of a step that stood still between step and action */
	SIM_ARRIVE,	 /* a request reaches the server */
	SIM_WATCH_TRY,	 /* a node tries to open its watch */
	SIM_WATCH_BREAK, /* a node notices that its watch is dead, if it still is */
	SIM_FAULT_ON,
	SIM_FAULT_OFF,
	SIM_START, /* a node's process starts */
	SIM_CHECK, /* the judge's own appointments */
};

struct request {
	bool get, create;
	uint32_t write_id;
	struct lease_record record;
	char version[LEASE_VERSION_MAX];
};

struct fault {
	enum fault_kind kind;
	unsigned int node;
	int64_t length_ns;
	unsigned int mode;
};

struct sim_event {
	enum sim_event_kind kind;
	unsigned int node;
	unsigned int life; /* the process it is meant for; 0 = whichever */
	uint32_t tag;	   /* WAKE: number; DELIVER: the watch's connection, 0 = not of a watch */
	int64_t stamp_ns;  /* DELIVER of SEEN, ARRIVE: the writer's wall clock (a mutant reads it) */
	union {
		struct elect_event ev;
		struct request rq;
		struct fault fault;
	};
};

/* --- queue.c: what happens when --------------------------------------------------------------------------- */

struct queue;
struct queue *queue_new(void);
void queue_free(struct queue *q);
void queue_clear(struct queue *q);
/* A slot for an event at 't_ns'; the caller fills it.  Equal times keep the order of insertion. */
struct sim_event *queue_add(struct queue *q, int64_t t_ns);
/* Takes the next event out; false when there is none. */
bool queue_take(struct queue *q, int64_t *ret_t_ns, struct sim_event *ret);

/* --- node.c: a process with its clock, timer, watch and gate ------------------------------------------------ */

struct watch {
	uint32_t connection; /* number of the present or last one; never 0 */
	bool connected;
	uint64_t pushed;    /* last version given to the network */
	uint64_t delivered; /* last version that reached the process */
	int64_t last_ns;    /* events of one connection do not overtake each other */
};

struct node {
	unsigned int id;
	/* The machine: survives the process. */
	int64_t clock_offset_ns, rate_ppm, wall_offset_ns;
	mono_t gate;		/* by the node's own clock: the kernel answers until then */
	unsigned int gate_life; /* which process set it */
	unsigned int cut;	/* partitions it is under */
	unsigned int cut_epoch;
	unsigned int down; /* crashes it is under: it does not start */
	int64_t lag_ns;
	/* The process. */
	unsigned int life; /* number of the process; 0 = none yet */
	bool running;
	struct elect_config cfg;
	struct elect elect;
	int64_t paused_until_ns;
	int64_t freeze_ns; /* the next step stands still between step and action for so long */
	struct elect_actions frozen;
	uint32_t wake_number;
	struct watch watch;
	/* For judge and mutants. */
	int64_t stamp_ns;   /* of the record in the event at hand */
	struct elect before; /* the state before the step at hand */
	int64_t sends[RATE_WINDOW_MAX];
	unsigned int n_sends;
};

mono_t node_clock(const struct node *n, int64_t t_ns);
int64_t node_true_ns(const struct node *n, mono_t local);
bool node_gate_open(const struct node *n, int64_t t_ns);
void node_setup(struct world *w, struct node *n);
void node_start(struct world *w, struct node *n);
void node_kill(struct world *w, struct node *n);
void node_dispatch(struct world *w, struct sim_event *se);
void node_watch_try(struct world *w, struct node *n);
void node_watch_break(struct world *w, struct node *n);
void node_watch_break_in(struct world *w, struct node *n, int64_t lo_ms, int64_t hi_ms);
void node_deliver(struct world *w, struct node *n, const struct elect_event *ev, int64_t delay_ns);

/* --- server.c ------------------------------------------------------------------------------------------------ */

enum down_mode {
	DOWN_REFUSES,
	DOWN_HANGS,
	DOWN_ERRORS,
	DOWN_MODES,
};

struct change {
	uint64_t version;
	bool exists;
	struct lease_record record;
	int64_t stamp_ns;
};

struct server {
	unsigned int down, read_only, flaky, slow; /* how many faults of the kind are on */
	enum down_mode down_mode;
	unsigned int epoch;
	int64_t deleted_ns;
	struct change now;
	struct change history[HISTORY_MAX];
	unsigned int n_history;
};

void server_init(struct world *w);
void server_arrive(struct world *w, const struct sim_event *se);
void server_delete(struct world *w);
/* Pushes to the node's watch what it has not been given. */
void server_push(struct world *w, struct node *n);
/* Opens the node's watch: the whole state, or the changes since what it has. */
void server_open_watch(struct world *w, struct node *n);
/* A cut has healed in time: TCP sends again what did not arrive. */
void server_resend_watch(struct world *w, struct node *n);
int64_t net_latency_ns(struct world *w, const struct node *n);

/* --- fault.c --------------------------------------------------------------------------------------------------- */

void fault_plan(struct world *w);
void fault_on(struct world *w, const struct fault *f);
void fault_off(struct world *w, const struct fault *f);

/* --- judge.c --------------------------------------------------------------------------------------------------- */

struct judge {
	bool failed;
	char verdict[VERDICT_MAX];
	int64_t at_ns;
	unsigned int leads; /* LEAD actions since the calm began */
	unsigned int requests;
	int holder_before_outage; /* node, or -1 */
};

void judge_plan(struct world *w);
void judge_check(struct world *w);
void judge_outage(struct world *w);
void judge_request(struct world *w, struct node *n);
void judge_step(struct world *w, const struct node *n, const struct elect_actions *acts);
__attribute__((format(printf, 2, 3))) void judge_fail(struct world *w, const char *fmt, ...);

/* --- mutant.c -------------------------------------------------------------------------------------------------- */

/* A planted bug, by changing what goes into elect_step() and what comes out: the product has no hooks. */
struct mutant {
	const char *name, *what;
	int64_t skew_ppm; /* 0 = as the run says */
	void (*before)(struct world *w, struct node *n, struct elect_event *ev);
	void (*after)(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts);
};

extern const struct mutant mutants[];
extern const unsigned int n_mutants;
const struct mutant *mutant_find(const char *name);

/* --- world.c --------------------------------------------------------------------------------------------------- */

struct world_options {
	int64_t length_ns;
	int64_t skew_ppm; /* clock rates differ from true time by up to this */
	const struct mutant *mutant;
	bool trace;	  /* to stdout as it happens */
	bool keep_trace;  /* in memory, for world_print_tail() */
};

struct world {
	struct world_options opt;
	uint64_t seed;
	struct prng prng;
	int64_t now_ns;
	struct queue *queue;
	struct node nodes[NODES];
	struct server server;
	struct judge judge;
	bool mixed;	    /* processes differ in their durations */
	bool only_outages;  /* of the whole API: then the Lease must not move */
	bool restarts;	    /* many, with changing durations */
	uint64_t steps;
	char *tail; /* ring of trace lines */
	unsigned int n_tail;
};

struct world *world_new(void);
void world_free(struct world *w);
/* True when the judge found nothing. */
bool world_run(struct world *w, uint64_t seed, const struct world_options *opt);
void world_print_tail(const struct world *w);
struct sim_event *world_at(struct world *w, int64_t t_ns, enum sim_event_kind kind, unsigned int node);
bool world_chance(struct world *w, unsigned int percent);
bool world_tracing(const struct world *w);
__attribute__((format(printf, 3, 4))) void world_trace(struct world *w, const struct node *n, const char *fmt, ...);
