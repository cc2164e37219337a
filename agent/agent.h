/* SPDX-License-Identifier: Apache-2.0 */
/* agent.h: the running agent: all parts in one struct, driven by one loop (see docs/architecture.md). */
#pragma once

#include <stdbool.h>

#include "agent/announcer.h"
#include "agent/base/arena.h"
#include "agent/busiest.h"
#include "agent/candidates.h"
#include "agent/config.h"
#include "agent/conflicts.h"
#include "agent/control.h"
#include "agent/control_plane.h"
#include "agent/core/pause.h"
#include "agent/core/pool.h"
#include "agent/core/spread.h"
#include "agent/core/wanted.h"
#include "agent/dataplane.h"
#include "agent/former.h"
#include "agent/former_gate.h"
#include "agent/forwarding.h"
#include "agent/gates.h"
#include "agent/group.h"
#include "agent/guard.h"
#include "agent/health_port.h"
#include "agent/http.h"
#include "agent/interfaces.h"
#include "agent/kernel.h"
#include "agent/lease_view.h"
#include "agent/loop.h"
#include "agent/metrics.h"
#include "agent/own_node.h"
#include "agent/past.h"
#include "agent/publish.h"
#include "agent/rendezvous.h"
#include "agent/routed.h"
#include "agent/store.h"
#include "agent/sysctls.h"
#include "agent/tables.h"
#include "agent/traffic.h"
#include "agent/vips.h"
#include "agent/wire.h"
#include "agent/worker.h"

/* Exit codes of the program; documented in --help. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,  /* something outside did not work; the message says what */
	EXIT_USAGE = 2,	  /* command line or configuration */
	EXIT_RUNNING = 3, /* another agent has the state directory */
	EXIT_NO_AGENT = 4, /* no agent runs there */
};

/* How far an orderly stop has come. */
enum stop_state {
	STOP_NO,
	STOP_HANDING_OVER, /* other nodes take over what this one holds */
	STOP_WITHDRAWING, /* addresses are being removed */
	STOP_DRAINING,	  /* connections of routed VIPs are given time to end */
	STOP_RELEASING,	  /* the Lease is being released */
	STOP_ASKING,	  /* whether our DaemonSet still exists */
	STOP_DONE,
};

/* What all Services' wishes for the data plane depend on. */
struct plan_common {
	bool snat_to_vip, routed, counters;
	char zone[64];
	uint64_t weights; /* candidates_changes() */
};

/* There may be thousands of VIPs, and hardly ever does one change: each is looked at when something has happened that may
 * concern it, not in each turn of the loop. */
struct look {
	bool again;
	mono_t at, guard_at; /* in any case: all of it; the ARP guard */
	bool adopting, planned; /* when they were looked at last */
	enum stop_state stop;
};

struct agent {
	const struct config *cfg;
	struct elect_config elect_cfg; /* identity and times */
	struct prng prng;
	struct loop loop;
	struct worker *nat_worker, *addr_worker;
	struct kube_client *client;
	struct dataplane dataplane;
	struct nat_options nat_options;
	struct kernel kernel;
	struct store store;
	struct lease_view lease_view;
	struct group *groups[GROUPS_MAX + GROUPS_OWN_MAX]; /* owned; [0] is group 0, the others in no order */
	unsigned int n_groups;
	struct group *numbered[GROUPS_MAX]; /* those with a number, by it; NULL = none */
	struct candidates *candidates;
	struct own_node own_node;
	struct control_plane control_plane;
	bool draining;	 /* VIPs are to leave this node */
	mono_t drain_at; /* next try to move them */
	struct spread spread;
	struct publish publish;
	struct vips vips;
	struct routed routed;
	struct rendezvous_keeper rendezvous;
	struct interfaces interfaces; /* which may carry VIPs */
	struct announcer announcer;
	struct gates gates;
	struct guard guard;
	struct tables tables;
	struct traffic traffic; /* what goes through the VIPs */
	struct busiest busiest;
	struct former former;
	struct former_gate former_gate;
	struct wire wire;
	struct conflicts conflicts;
	bool fence_again; /* VIPs, links or addresses have changed since the fence looked */
	struct gate_place *gate_places; /* malloc; interfaces that need the gate */
	size_t n_gate_places;
	bool gate_ours; /* no filter of an earlier run is in force any more */
	struct control control;
	struct http *http;
	struct health_ports health_ports;
	struct metrics metrics;
	struct loop_source signals, nat_source, addr_source, client_source, link_source;

	/* the plan made from the store; valid while !store.dirty */
	struct arena plan_arena;
	struct pool_decision *decisions;
	struct groups_choice *choices; /* one a decision */
	size_t n_decisions;
	struct pool_decision *durable;	 /* those of their addresses that are written down */
	struct wanted_vip *wanted_vips;
	size_t n_wanted_vips;
	struct past past; /* addresses let go lately */

	/* what the Services want of the data plane is being built */
	struct arena build_arena;
	struct plan_common common;
	bool build_control; /* the control plane's VIP */
	bool building;
	size_t build_at;	     /* the next Service */
	mono_t build_again;	     /* one failed for lack of memory; MONO_NEVER = none */
	bool places_changed;	     /* source NAT depends on the interfaces */
	bool planned;	     /* at least once since the store was complete */
	mono_t plan_at;	     /* not again before this */
	mono_t plan_paid;    /* until then the time was taken that planning may take */
	mono_t planned_at;
	mono_t trim_at;	     /* memory that planning took is given back then */

	mono_t led_at;	     /* when a group was first held in this run; 0 = never */
	mono_t adopt_until;  /* what an earlier run of this node allowed is over; its addresses may live longer */
	mono_t started;
	bool place_again;    /* links or VIPs have changed */
	uint64_t wires;	     /* wires_digest(), as last placed by */
	struct kernel_addr *addrs; /* malloc, room for all VIPs: what this node is to have now */
	struct look look;
	size_t n_live;
	size_t n_moving; /* VIPs whose record is to name another group */
	unsigned int n_held; /* groups */
	struct pause pause;
	mono_t next_wake;
	enum stop_state stop;
	mono_t stop_by;
	bool uninstalled; /* our DaemonSet is gone: leave nothing behind */
	struct forwarding forwarding;
	struct sysctls sysctls;
};

/* Runs until a signal ends it.  Returns an exit code; errors have been logged. */
int agent_run(const struct config *cfg);

/* The group of that number, or (GROUPS_OWN) with the own Lease of 'ip'; NULL = this node takes no part in it. */
struct group *agent_group(const struct agent *a, unsigned int number, const struct ip *ip);

/* Likewise, and joins its election if need be.  NULL: there is no memory or room; it may be tried again. */
struct group *agent_need_group(struct agent *a, unsigned int number, const struct ip *ip);

/* Frees groups that have ended.  True when there were any: their VIPs may need a new one. */
bool agent_drop_groups(struct agent *a);

/* This node holds at least one group, and is not stopping. */
bool agent_holds(const struct agent *a, mono_t now);

/* Whether VIPs may go to this interface. */
bool agent_carries_vips(const struct agent *a, const struct link_state *s, const struct link *l);

/* Services served, for status and metrics. */
unsigned int agent_services(const struct agent *a);
bool agent_ready(struct agent *a, struct buf *why);

/* Links, addresses or VIPs have changed: which interface carries which VIP. */
void agent_place(struct agent *a, mono_t now);

/* Something has happened that may concern addresses, gate or readiness of VIPs: the next step looks at all. */
void agent_look_again(struct agent *a);

/* What the kernel refuses at present, "" = nothing. */
const char *agent_kernel_problem(const struct agent *a);

/* Why this node cannot have the VIP, NULL = it can, or did not try. */
const char *agent_refused(const struct agent *a, const struct ip *ip);
