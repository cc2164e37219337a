/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.h: `leasehold doctor`: what this node lacks, or has set wrong, for its configuration.
 *
 *   doctor.c		the command: options, threads, exit code
 *   doctor_node.c	kernel, rights			(a thread of its own: the kernel's locks may be held)
 *   doctor_net.c	interfaces, sysctls, packet filter, kube-proxy; then doctor_wire.c: who answers	(a thread);
 *			doctor_routes.c: who exports VIPs (announce: bgp)
 *   doctor_api.c	servers, rights, Lease, clocks	(a thread)
 *   doctor_agent.c	the running agent
 *   doctor_print.c	for people and programs
 *
 * Each gathers facts (core/doctor_facts.h), which core/findings.h judges.  Nothing on the node is changed, but that the
 * gate's self test attaches its filter to lo and takes it off again.  A part that is not done in time is told as skipped. */
#pragma once

#include <stdio.h>

#include "agent/base/mono.h"
#include "agent/config.h"
#include "agent/core/doctor_facts.h"
#include "agent/core/findings.h"
#include "agent/kube/agent_json.h"
#include "agent/kube/macs_json.h"

#define DOCTOR_PROBES_MAX 16 /* addresses of --probe */
#define DOCTOR_MACS_MAX 256  /* of nodes */
#define DOCTOR_ADDRESSES_MAX 1024 /* likewise */

/* What the parts are given; they only read it. */
struct doctor {
	const struct config *cfg;
	mono_t until;
	struct ip asked[DOCTOR_PROBES_MAX];
	size_t n_asked;
	struct agent_view agent; /* vips: malloc; empty = none runs, or it did not answer */
};

struct doctor_macs {
	struct node_mac v[DOCTOR_MACS_MAX];
	size_t n;
	struct ip addresses[DOCTOR_ADDRESSES_MAX]; /* announce: bgp */
	size_t n_addresses;
};

void doctor_node(const struct doctor *d, struct facts_node *ret);
void doctor_rights(const struct doctor *d, struct facts_rights *ret);
void doctor_net(const struct doctor *d, struct facts_net *net, struct facts_wire *wire);
void doctor_api(const struct doctor *d, struct facts_api *ret, struct doctor_macs *macs);
/* d->agent is filled, too. */
void doctor_agent(struct doctor *d, struct facts_agent *ret);

/* The process that has DIR/agent.sock open to listen; 0 = none, or not of this pid namespace. */
int doctor_agent_pid(const char *dir);

void doctor_print_text(const struct findings *f, const char *node, bool colour, FILE *out);
void doctor_print_json(const struct findings *f, const char *node, FILE *out);

void doctor_help(FILE *out);
/* argv: behind the command's name.  Exit code: 0 no errors, 1 errors were found, 2 wrong flags or configuration. */
int doctor_command(int argc, char **argv, FILE *out, FILE *err);

/* ---- for the parts ---- */

static inline void doctor_good(struct fact *f)
{
	f->state = FACT_GOOD;
	f->text[0] = '\0';
}
void doctor_bad(struct fact *f, const char *why);
void doctor_untried(struct fact *f, const char *why);
