/* SPDX-License-Identifier: Apache-2.0 */
/* candidates.h: who else runs an agent: one record a node, a Lease named leasehold-node-<node>, read through the view of
 * all Leases and written at start and on change only.
 *
 * A record does not prove that its agent lives; what needs a living one asks it and waits for the answer (handover). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/kube/client.h"
#include "agent/lease_view.h"

#define CANDIDATE_MACS_MAX 16
#define CANDIDATE_ANSWERS_MAX 64
#define CANDIDATE_ADDRESSES_MAX 8
#define CANDIDATE_REASON_MAX 96
#define CANDIDATE_BUSIEST_MAX 32

/* What a successor says about a move; annotation leasehold.io/prepared. */
enum candidate_says {
	CANDIDATE_SILENT,
	CANDIDATE_READY,
	CANDIDATE_REFUSES,
};

struct candidate_answer {
	char lease[64];
	uint32_t number;
	enum candidate_says says;
	uint8_t mac[LINK_MAC_LEN]; /* READY: where its VIPs are; zero = on several interfaces, no single MAC */
	char reason[CANDIDATE_REASON_MAX]; /* REFUSES */
};

struct candidate {
	char node[254];
	char identity[320]; /* of the agent that wrote the record last */
	uint8_t macs[CANDIDATE_MACS_MAX][LINK_MAC_LEN];
	size_t n_macs;
	struct ip addresses[CANDIDATE_ADDRESSES_MAX];
	size_t n_addresses;
	unsigned int rank; /* 0 = preferred */
	unsigned int weight; /* of endpoints on its node; 1 unless somebody said otherwise */
	bool leaving;	   /* stopping, or its node is being drained */
	uint32_t drain;	   /* another number each time that its VIPs are to be drained anew; 0 = none */
	struct ip busiest[CANDIDATE_BUSIEST_MAX]; /* the VIPs there with most traffic, the busiest first */
	size_t n_busiest;
	struct candidate_answer *answers; /* malloc */
	size_t n_answers;
	bool marked; /* not seen yet in the complete view under way */
};

struct candidates;

struct candidates_config {
	const char *ns, *node, *identity; /* copied */
	unsigned int rank;
	uint64_t seed;
};

/* Nothing is written before the view has shown what stands there. */
MUST_USE int candidates_new(struct kube_client *client, const struct candidates_config *cfg, struct candidates **ret,
			    struct err_info *err);
/* NULL-safe.  No reply may come after this. */
void candidates_free(struct candidates *c);

/* What lease_view passes records of nodes on to; its ctx is the struct candidates. */
extern const struct lease_view_ops candidates_view_ops;

/* Brings our own record up to date.  Returns when to call again (MONO_NEVER: on the next change). */
mono_t candidates_step(struct candidates *c, mono_t now);

/* What our record is to say: the MACs of the interfaces that may carry VIPs (the first CANDIDATE_MACS_MAX), our rank, the
 * uid of our Node object, which is to own it. */
void candidates_macs(struct candidates *c, uint8_t (*macs)[LINK_MAC_LEN], size_t n);
/* The first CANDIDATE_ADDRESSES_MAX; bytes behind the addresses' own are zero. */
void candidates_addresses(struct candidates *c, const struct ip *addresses, size_t n);
void candidates_rank(struct candidates *c, unsigned int rank);
void candidates_weight(struct candidates *c, unsigned int weight);
void candidates_busiest(struct candidates *c, const struct ip *vips, size_t n); /* the first CANDIDATE_BUSIEST_MAX */
void candidates_owner(struct candidates *c, const char *node_uid);

/* The candidate with that MAC, NULL = a stranger. */
const struct candidate *candidates_by_mac(const struct candidates *c, const uint8_t mac[static LINK_MAC_LEN]);

/* The candidate on that node, NULL = none is known. */
const struct candidate *candidates_by_node(const struct candidates *c, const char *node);

/* The best successor: lowest rank, not leaving, not this node, none of the excluded identities; round robin among equals.
 * NULL = there is none. */
const struct candidate *candidates_pick(struct candidates *c, const char *const *excluded, size_t n_excluded);

/* All of them, this node among them, in no order; NULL = no more. */
const struct candidate *candidates_at(const struct candidates *c, size_t i);

/* Counts changes of who they are, of their ranks and weights and of their leaving. */
uint64_t candidates_changes(const struct candidates *c);

/* Counts these, and changes of their MACs and addresses. */
uint64_t candidates_reach_changes(const struct candidates *c);

/* Whether candidates_pick() would find anybody. */
bool candidates_any(const struct candidates *c);

/* What 'identity' says about the move 'number' of the Lease; *ret is set for READY and REFUSES, borrowed. */
enum candidate_says candidates_answer_of(const struct candidates *c, const char *identity, const char *lease, uint32_t number,
					 const struct candidate_answer **ret);

/* Our own answer; goes into our record at once (the same one again: nothing is written). */
void candidates_say(struct candidates *c, const struct candidate_answer *answer);

/* Whether this node's record, with its present MACs, stood there before 'version' of another Lease was written: whoever wrote
 * that can know us by our MACs. */
bool candidates_introduced(const struct candidates *c, const char *version);

/* This node is stopping or being drained: it does not want to be handed anything.  drain: the number of its drain
 * (core/drain.h), 0 = none.  Goes into our record. */
void candidates_leaving(struct candidates *c, bool leaving, uint32_t drain);
