/* SPDX-License-Identifier: Apache-2.0 */
/* sim.h: a world of a few nodes that elect a holder, in virtual time, from a seed.
 *
 * The nodes run the very elect_step(); everything round it is modelled, a file each:
 *
 *	clock.c		rates, offsets, jumps
 *	lan.c		probes and announcements: delay, loss, deaf and mute nodes, splits
 *	api.c		the API server: optimistic locking, watches, node records, and how its answers fail
 *	gate.c		the kernel's gate and addresses, which outlive the process
 *	node.c		the process: started, killed, paused, and what reaches it
 *	agent.c		the shell round the election: carries actions out, answers as a successor
 *	fault.c		what goes wrong, and when
 *	judge.c		what must be true after every step and between them
 *	mutant*.c	planted bugs
 *	groups.c	a world of its own: two Leases, and VIPs that move between them
 *
 * Nothing here reads a real clock or a real random number, so the same seed gives the same run to the last line of
 * its trace. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "election/elect.h"

#define NODES_MAX 5u
#define NS_PER_S (NS_PER_MS * MS_PER_S)
#define HISTORY_MAX 64u	/* changes that a watch can resume over */
#define RATE_WINDOW_MAX 256u
#define VERDICT_MAX 160
#define STRANGER NODES_MAX /* a sender on the LAN that is no node */

/* A cycle: first faults, then peace, in which a holder must be found and kept. */
#define CYCLE_NS (20 * NS_PER_S)
#define FAULTS_END_NS (10 * NS_PER_S)
#define CALM_NS (18 * NS_PER_S)

#define LAN_DELAY_MAX_NS (1 * NS_PER_MS)
#define LOOP_MAX_NS (5 * NS_PER_MS) /* a machine that wakes up sees that its clocks have jumped within this time */

struct world;
struct node;

enum fault_kind {
	FAULT_FLAKY,	 /* requests and replies are lost, 429 and 5xx, applied or not */
	FAULT_SLOW,	 /* requests and replies take up to twice the renew interval */
	FAULT_PARTITION, /* a node is cut off from the API; mode 2: from the LAN too */
	FAULT_PAUSE,	 /* a node's process stands still, between two events or in the midst of a step */
	FAULT_CRASH,	 /* a node's process is killed; its gate stays as it is */
	FAULT_STOP,	 /* a node's process is told to stop, and started again; mode 1: it hands over first */
	FAULT_UNFIT,	 /* a node may not hold */
	FAULT_OUTAGE,	 /* the API is down */
	FAULT_READ_ONLY, /* writes fail; mode 0: reads too (no quorum), watches work; else reads work (etcd is full) */
	FAULT_LAG,	 /* a node's watch is late */
	FAULT_DELETE,	 /* the Lease is deleted by hand */
	FAULT_HANDOVER,	 /* the holder is told to move the Lease */
	FAULT_SLEEP,	 /* a machine stands still; when it goes on, its clocks have jumped */
	FAULT_SPLIT,	 /* the LAN falls into two halves */
	FAULT_ONE_WAY,	 /* a node hears nothing (mode 0), or is not heard */
	FAULT_LOSS,	 /* the LAN loses frames */
	FAULT_STRANGER,	 /* somebody who is no candidate answers for the VIP, and announces it */
	FAULTS,
};

enum sim_event_kind {
	SIM_DELIVER,	 /* an event reaches a node's process */
	SIM_WAKE,	 /* a node's timer */
	SIM_EXEC,	 /* the rest of a step that stood still in its midst */
	SIM_RESUME,	 /* a machine that slept turns its loop again */
	SIM_ARRIVE,	 /* a request reaches the server */
	SIM_FRAME,	 /* a frame reaches a node */
	SIM_PROBE_END,	 /* a probe has been waited for long enough */
	SIM_ANNOUNCE,	 /* time for an announcement, if there is still something to announce */
	SIM_ADDRESS,	 /* the process has brought its address up */
	SIM_ANSWER,	 /* a successor writes its answer into its node record, until it stands there */
	SIM_STOP_NOW,	 /* the time for a handover before the stop is over */
	SIM_WATCH_TRY,	 /* a node tries to open its watch */
	SIM_WATCH_BREAK, /* a node notices that its watch is dead, if it still is */
	SIM_FAULT_ON,
	SIM_FAULT_OFF,
	SIM_START, /* a node's process starts */
	SIM_CHECK, /* the judge's own appointments */
	SIM_MOVE,  /* a planned move in peace */
	SIM_GROUPS, /* groups.c: its own */
};

/* What a successor says about a handover, in its node record. */
struct answer {
	uint32_t handover; /* 0 = nothing */
	bool ready;	   /* else refused */
};

struct request {
	enum { RQ_GET, RQ_CREATE, RQ_UPDATE, RQ_ANSWER } kind;
	uint32_t write_id;
	struct lease_record record;
	char version[LEASE_VERSION_MAX];
	struct answer answer;
};

struct frame {
	enum { FRAME_PROBE, FRAME_REPLY, FRAME_ANNOUNCE } kind;
	unsigned int from; /* node, or STRANGER */
	uint32_t probe_id;
};

struct fault {
	enum fault_kind kind;
	unsigned int node;
	int64_t length_ns;
	unsigned int mode;
};

#define RECORD_VIPS 4u

/* groups.c: which Lease governs each VIP. */
struct records {
	uint64_t revision;
	uint8_t group[RECORD_VIPS];
};

struct sim_event {
	enum sim_event_kind kind;
	unsigned int node;
	unsigned int life; /* the process it is meant for; 0 = whichever */
	uint32_t tag;	   /* WAKE, PROBE_END: number; DELIVER: the watch's connection, 0 = not of a watch */
	int64_t stamp_ns;  /* DELIVER of SEEN, ARRIVE: the writer's wall clock (a mutant reads it) */
	int64_t sent_ns;   /* ARRIVE: true time */
	union {
		struct elect_event ev;
		struct request rq;
		struct fault fault;
		struct frame frame;
		struct records records;
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

/* --- clock.c ------------------------------------------------------------------------------------------------ */

/* CLOCK_BOOTTIME of a machine.  rate_ppm: by how much it is fast. */
struct clock {
	int64_t offset_ns, rate_ppm;
	int64_t wall_offset_ns; /* CLOCK_REALTIME less true time */
};

void clock_setup(struct world *w, struct clock *c);
mono_t clock_at(const struct clock *c, int64_t t_ns);
/* The first true time at which the clock has reached 'local'; INT64_MAX for MONO_NEVER. */
int64_t clock_true_ns(const struct clock *c, mono_t local);

/* --- gate.c: what outlives the process in the kernel ---------------------------------------------------------- */

struct kernel {
	mono_t arp_until, ip_until, redirect_until; /* by the machine's own clock, as in struct elect_gate */
	unsigned int redirect_to;		    /* node */
	unsigned int life;	 /* the process whose gate it is: a new one takes over when it has a right to */
	int64_t renew_ms;	 /* its renew interval */
	int64_t arp_close_ns;	 /* arp_until in true time */
	bool address;		 /* it is there */
	bool asleep;		 /* the machine stands still, and answers nothing */
	int64_t excused_until_ns; /* it has just gone on; its process cannot know yet */
};

void gate_setup(struct node *n);
/* Brings the kernel in line with the election, before anything else leaves the process. */
void gate_apply(struct world *w, struct node *n);
/* The clock has jumped. */
void gate_clock_changed(struct node *n);
bool gate_arp_open(const struct node *n, int64_t t_ns);
bool gate_ip_open(const struct node *n, int64_t t_ns);
/* ARP open, and the address is there: the kernel answers who asks. */
bool gate_answers(const struct node *n, int64_t t_ns);
/* A frame to this node's MAC reaches somebody who takes it: here, or by the redirect. */
bool gate_takes(const struct world *w, const struct node *n, int64_t t_ns);
/* Address wanted, or away; the true time at which it is to be there. */
int64_t gate_address(struct world *w, struct node *n, bool wanted);

/* --- node.c: a process with its timer and its watch ----------------------------------------------------------- */

struct watch {
	uint32_t connection; /* number of the present or last one; never 0 */
	bool connected;
	uint64_t pushed;    /* last version given to the network */
	uint64_t delivered; /* last version that reached the process */
	int64_t last_ns;    /* events of one connection do not overtake each other */
};

enum freeze {
	FREEZE_NOT,
	FREEZE_BEFORE_GATE, /* the step is done, the kernel does not know */
	FREEZE_AFTER_GATE,  /* the kernel knows, the actions are not carried out */
};

struct node {
	unsigned int id;
	/* The machine: survives the process. */
	struct clock clock;
	struct kernel kernel;
	unsigned int cut; /* partitions it is under */
	unsigned int cut_epoch;
	unsigned int down; /* crashes it is under: it does not start */
	unsigned int deaf, mute, lan_cut;
	bool other_side; /* of a split LAN */
	int64_t asleep_until_ns;
	int64_t lag_ns;
	int64_t delay_ms; /* preference */
	/* The process. */
	unsigned int life; /* number of the process; 0 = none yet */
	bool running;
	struct elect_config cfg;
	struct elect elect;
	int64_t paused_until_ns;
	enum freeze freeze_next; /* a step to come stands still in its midst */
	bool freeze_picky;	 /* only one that opens or shuts the gate */
	int64_t freeze_ns;
	enum freeze frozen_at; /* a step stands still */
	bool address_wanted;
	struct elect_actions frozen;
	bool doubt; /* its clocks have jumped, and it does not know yet */
	uint32_t wake_number;
	struct watch watch;
	uint32_t probe_id;   /* under way; 0 = none */
	bool probe_stranger; /* a stranger has answered it */
	struct answer reply; /* to be written into its node record */
	bool stop_after_move;
	/* For judge and mutants. */
	int64_t stamp_ns;   /* of the record in the event at hand */
	struct elect before; /* the state before the step at hand */
	int64_t sends[RATE_WINDOW_MAX];
	unsigned int n_sends;
};

void node_setup(struct world *w, struct node *n);
void node_start(struct world *w, struct node *n);
void node_kill(struct world *w, struct node *n);
void node_sleep(struct world *w, struct node *n, int64_t length_ns);
/* The machine goes on; its clock has lost or won 'jump_ns'. */
void node_wake(struct world *w, struct node *n, int64_t jump_ns);
void node_dispatch(struct world *w, struct sim_event *se);
void node_watch_break(struct world *w, struct node *n);
void node_watch_break_in(struct world *w, struct node *n, int64_t lo_ms, int64_t hi_ms);
void node_deliver(struct world *w, struct node *n, const struct elect_event *ev, int64_t delay_ns);

/* --- agent.c: one step, and what comes of it -------------------------------------------------------------------- */

void agent_step(struct world *w, struct node *n, struct elect_event *ev);
/* Goes on with the step that stood still. */
void agent_exec(struct world *w, struct node *n);
/* The loop turns without a step: an answer, an announcement. */
void agent_answer(struct world *w, struct node *n);
void agent_announce(struct world *w, struct node *n);
/* Told to end; 'successor' NULL: at once. */
void agent_stop(struct world *w, struct node *n, const struct node *successor);
void agent_handover(struct world *w, struct node *n, const char *successor);

/* --- trace.c -------------------------------------------------------------------------------------------------- */

void trace_step(struct world *w, const struct node *n, const struct elect_event *ev, const struct elect_actions *acts);

/* --- lan.c ------------------------------------------------------------------------------------------------------ */

struct lan {
	unsigned int split, loss, stranger; /* how many faults of the kind are on */
};

void lan_probe(struct world *w, struct node *n, uint32_t probe_id);
void lan_announce(struct world *w, unsigned int from);
void lan_arrive(struct world *w, const struct sim_event *se);
bool lan_whole(const struct world *w);

/* --- api.c ------------------------------------------------------------------------------------------------------- */

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

/* What a node's last write that took effect gave it. */
struct right {
	int64_t until_ns; /* true time; sent + duration */
	enum lease_policy policy;
};

struct api {
	unsigned int down, read_only, no_quorum, flaky, slow; /* how many faults of the kind are on */
	enum down_mode down_mode;
	unsigned int epoch;
	int64_t deleted_ns;
	struct change now;
	struct change history[HISTORY_MAX];
	unsigned int n_history;
	struct answer answers[NODES_MAX]; /* the node records */
	struct right rights[NODES_MAX];	  /* for the judge */
};

void api_init(struct world *w);
void api_send(struct world *w, struct node *n, const struct request *rq);
void api_arrive(struct world *w, const struct sim_event *se);
void api_delete(struct world *w);
/* Pushes to the node's watch what it has not been given. */
void api_push(struct world *w, struct node *n);
/* Opens the node's watch: the whole state, or the changes since what it has. */
void api_open_watch(struct world *w, struct node *n);
/* A cut has healed in time: TCP sends again what did not arrive. */
void api_resend_watch(struct world *w, struct node *n);
/* The node reads all node records again. */
void api_push_answers(struct world *w, struct node *n);

/* --- fault.c --------------------------------------------------------------------------------------------------- */

void fault_plan(struct world *w);
void fault_on(struct world *w, const struct fault *f);
void fault_off(struct world *w, const struct fault *f);

/* --- judge.c --------------------------------------------------------------------------------------------------- */

struct judge {
	bool failed;
	char verdict[VERDICT_MAX];
	int64_t at_ns;
	int64_t looked_ns;     /* everything up to here is judged */
	int64_t overlap_ns;    /* since when several are open; -1 = not */
	int64_t dark_ns;       /* since when nobody answers; -1 = somebody does */
	int64_t quiet_ns;      /* since when a majority is well and nothing new went wrong */
	int64_t lan_whole_ns;  /* since when the LAN is whole; INT64_MAX = it is not */
	int64_t started_ns;    /* when a process was last started */
	unsigned int leads;    /* LEAD actions since the calm began */
	unsigned int requests;
	int holder_before_outage; /* node, or -1 */
	bool reads_work; /* in the outage at hand: see judge_outage() */
	/* The planned move of this calm; from -1 = none. */
	int move_from, move_to;
	int client; /* the node whose MAC a client has learnt; -1 = nobody's */
};

void judge_plan(struct world *w);
/* Judges the time up to now, in which nothing was opened; before anything happens now. */
void judge_until_now(struct world *w);
void judge_check(struct world *w);
void judge_move(struct world *w);
void judge_outage(struct world *w, bool reads_work);
void judge_start(struct world *w);
void judge_fault(struct world *w);
void judge_request(struct world *w, struct node *n);
/* A gate was set. */
void judge_gate(struct world *w, const struct node *n);
void judge_step(struct world *w, const struct node *n, const struct elect_actions *acts);
__attribute__((format(printf, 2, 3))) void judge_fail(struct world *w, const char *fmt, ...);

/* --- mutant.c, mutant_move.c ------------------------------------------------------------------------------------- */

/* What is wrong in groups.c. */
enum groups_bug {
	GROUPS_RIGHT,
	GROUPS_OWN_SETTING,
	GROUPS_OPEN_MOVE,
	GROUPS_UNREAD,
};

/* A planted bug, by changing what goes into elect_step() and what comes out: the product has no hooks. */
struct mutant {
	const char *name, *what;
	uint64_t first_seed; /* that caught it when this table was last looked at */
	int64_t skew_ppm;    /* 0 = as the run says */
	bool gate_last;	     /* the gate is brought in line after the actions */
	enum groups_bug groups;
	void (*before)(struct world *w, struct node *n, struct elect_event *ev);
	void (*after)(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts);
	void (*gate)(struct world *w, struct node *n, struct elect_gate *g);
};

extern const struct mutant mutants[];
extern const unsigned int n_mutants;
const struct mutant *mutant_find(const char *name);

/* mutant_move.c: of handovers, of policy hold, of the gate. */
void mutant_early_claim(struct world *w, struct node *n, struct elect_gate *g);
void mutant_early_reopen(struct world *w, struct node *n, struct elect_gate *g);
void mutant_heartbeat(struct world *w, struct node *n, struct elect_gate *g);
void mutant_keep_gate(struct world *w, struct node *n, struct elect_gate *g);
void mutant_no_look(struct world *w, struct node *n, struct elect_gate *g);
void mutant_old_answer(struct world *w, struct node *n, struct elect_event *ev);
void mutant_no_yield(struct world *w, struct node *n, struct elect_event *ev);
void mutant_no_doubt(struct world *w, struct node *n, struct elect_event *ev);
void mutant_fence_before(struct world *w, struct node *n, struct elect_event *ev);
void mutant_fence_after(struct world *w, struct node *n, const struct elect_event *ev, struct elect_actions *acts);
void mutant_prepare_claims(struct world *w, struct node *n, struct elect_event *ev);

/* --- world.c --------------------------------------------------------------------------------------------------- */

struct world_options {
	int64_t length_ns;
	int64_t skew_ppm; /* clock rates differ from true time by up to this */
	const struct mutant *mutant;
	bool trace;	  /* to stdout as it happens */
	bool keep_trace;  /* in memory, for world_print_tail() */
};

enum policies {
	POLICIES_FENCE,
	POLICIES_HOLD,
	POLICIES_MIXED, /* each process its own: a change of the configuration that is being rolled out */
};

struct world {
	struct world_options opt;
	uint64_t seed;
	struct prng prng;
	int64_t now_ns;
	struct queue *queue;
	struct node nodes[NODES_MAX];
	unsigned int n_nodes;
	struct api api;
	struct lan lan;
	struct judge judge;
	enum policies policies;
	bool mixed;	   /* processes differ in their durations */
	bool only_outages; /* of the whole API: then the Lease must not move */
	bool restarts;	   /* many, with changing durations */
	bool holds;	   /* policy hold, and nodes that are cut off from the API */
	uint32_t handovers; /* numbers given so far */
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
int64_t world_between(struct world *w, int64_t lo, int64_t hi);
bool world_tracing(const struct world *w);
__attribute__((format(printf, 3, 4))) void world_trace(struct world *w, const struct node *n, const char *fmt, ...);

/* --- groups.c ---------------------------------------------------------------------------------------------------- */

/* Runs a world of two Leases in 'w', whose queue, judge and trace it uses. */
void groups_run(struct world *w);
