/* SPDX-License-Identifier: Apache-2.0 */
/* status_view.h: what "leasehold status" tells, as plain data: gathered from the agent (status.c, status_problems.c,
 * status_services.c), told as JSON (status_json.c) and to people (status_text.c), which know nothing of the agent.
 *
 * Pointers borrow from the agent: a view is made, told and dropped between two events.  Times are milliseconds. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/control_plane.h"
#include "agent/core/place.h"
#include "agent/status_ask.h"
#include "agent/traffic.h"
#include "agent/traffic_text.h"

#define STATUS_NO_TIME INT64_MIN /* there is no such time */

#define STATUS_PROBLEMS_MAX 24
#define STATUS_WHY_MAX 320
#define STATUS_NODE_MAX 320 /* LEASE_HOLDER_MAX: what is no identity of ours is shown as it is */
#define STATUS_MAC_MAX 18

/* Rows of each list that people are shown: of the overview, of one part. */
#define STATUS_ROWS_SOME 20
#define STATUS_ROWS_SERVICES 40 /* of the overview: a Service takes at least two */
#define STATUS_ROWS_MOST 500

enum status_level {
	STATUS_NOTE,	/* all is well, but not as usual: stopping, being drained */
	STATUS_WARNING, /* what is held is answered for; something could go wrong, or is lost for one Service */
	STATUS_ERROR,	/* VIPs do not answer, or might not be answered for by one node alone */
	STATUS_LEVEL_N,
};

struct status_problem {
	enum status_level level;
	const char *code; /* for programs; docs/configuration.md has them */
	char what[384];
	const char *todo; /* "" = 'what' says it */
};

struct status_problems {
	struct status_problem v[STATUS_PROBLEMS_MAX]; /* the worst first */
	size_t n, left_out;
};

struct status_head {
	const char *version, *node, *identity, *role;
	const char *not_ready_because; /* lines; "" = ready */
	bool ready;
	bool gate; /* on */
	const char *gate_problem;
	uint64_t gate_put_back, conflicts; /* since the start */
	bool hold;			   /* on-api-loss */
	bool routed;			   /* a router sends the VIPs here */
	bool advertised;		   /* because this node's routing daemon says so (announce: bgp) */
	int64_t up_ms;
	bool synced;
	size_t services_seen, slices_seen, services; /* in view; served */
	bool kernel_ready, as_wanted;
	const char *kernel_problem, *forwarding_problem;
	uint64_t elements, mended;
	int64_t job_ms;
	size_t leases, leases_held, vips, vips_answered;
};

struct status_lease {
	const char *ns, *name, *identity; /* of the holder, "" = nobody */
	char holder[STATUS_NODE_MAX];	  /* its node */
	char moving_to[STATUS_NODE_MAX];  /* a planned move is under way to that node; "" = none */
	const char *state;		  /* of this node's election */
	bool here;			  /* this node holds it */
	bool in_view, known;		  /* known: it was seen since the start */
	bool hold;			  /* its policy */
	uint32_t transitions;
	int64_t duration_ms;
	int64_t changed_ago_ms;	  /* since the record was last seen to change */
	int64_t renewed_ago_ms;	  /* since this node's last successful write was sent */
	int64_t deadline_in_ms;	  /* of this node's right to hold */
	size_t n_vips;
};

/* Of a VIP on this node. */
enum status_vip_state {
	STATUS_VIP_ANSWERS,	 /* this node answers for it */
	STATUS_VIP_ROUTED,	 /* it is up here, and a router sends it (announce: none) */
	STATUS_VIP_ADVERTISED,	 /* announce: bgp: its address is here, for the routing daemon to export */
	STATUS_VIP_DRAINING,	 /* likewise: withdrawn, and others hand its connections back to this node */
	STATUS_VIP_WITHDRAWN,	 /* likewise: this node does not serve it */
	STATUS_VIP_STANDBY,	 /* another node holds it, and this one could */
	STATUS_VIP_COMING,	 /* this node holds it, and brings it up */
	STATUS_VIP_MOVING,	 /* its record is to name another Lease: nobody answers */
	STATUS_VIP_REFUSED,	 /* the kernel would not take the address */
	STATUS_VIP_NO_CARRIER,	 /* its interfaces are down or without carrier */
	STATUS_VIP_NO_INTERFACE, /* none suits */
	STATUS_VIP_STATE_N,
};

struct status_place {
	char name[LINK_NAME_MAX];
	bool usable, gate;  /* gate: stands there */
	uint64_t announced; /* rounds */
	int64_t last_ago_ms, next_in_ms;
	uint64_t errors; /* rounds that failed */
	bool failing; /* the last one did */
};

/* Who else uses it (conflicts.h). */
struct status_conflict {
	const char *kind; /* conflict_kind_name(); "" = nobody does */
	bool grave;	  /* not somebody who merely asks */
	char mac[STATUS_MAC_MAX]; /* "" = it stands on this node */
	const char *node, *interface; /* "" = none of ours, unknown */
	int64_t since_ms, ago_ms; /* how long ago it was heard first, and last */
	uint64_t count;
	char text[STATUS_WHY_MAX]; /* all of it, for people */
};

struct status_vip {
	struct ip ip;
	const char *lease;	   /* name; "" = this node takes no part in its election */
	char holder[STATUS_NODE_MAX]; /* the node whose agent holds the Lease; "" = nobody, or unknown */
	enum status_vip_state state;
	bool live;
	bool gated;		/* there is a gate */
	int64_t gate_open_ms;	/* for so long; 0 = shut */
	struct status_place at[PLACE_MAX];
	size_t n_at;
	int64_t drains_ms;	/* of DRAINING: for so long yet; else STATUS_NO_TIME */
	char why[STATUS_WHY_MAX]; /* of REFUSED, NO_INTERFACE; of one that is not, or not for long, advertised; "" = nothing to tell */
	struct status_conflict conflict;
};

/* A line of the list of Services: one itself, one of its VIPs' ports, or a backend of that. */
enum status_row_kind {
	STATUS_ROW_SERVICE,
	STATUS_ROW_PORT,
	STATUS_ROW_BACKEND,
};

struct status_row {
	enum status_row_kind kind;
	const char *ns, *name;	     /* of the Service */
	const char *reason, *problem; /* SERVICE: "" = none */
	struct traffic_row port;     /* PORT */
	struct ip_port backend;	     /* BACKEND, all of these */
	unsigned int slots, of_slots;
	const struct traffic_backend *count; /* for all Services; NULL = not counted */
};

/* For people. */
struct status_view {
	const struct status_ask *ask;
	struct status_head head;
	struct status_problems problems;
	struct status_lease *leases; /* malloc, as these three; those that are shown */
	struct status_vip *vips;
	struct status_row *rows;
	size_t n_leases, n_vips, n_rows;
	size_t leases_out, vips_out, rows_out; /* how many more there are */
	const struct control_plane *control_plane;
	const struct traffic *traffic;
	mono_t now;
};

/* "error", "warning", "note". */
const char *status_level_name(enum status_level level);
/* "answers", "no carrier", ...; for programs with '_' for blanks. */
const char *status_vip_state_name(enum status_vip_state state);
