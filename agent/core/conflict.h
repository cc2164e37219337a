/* SPDX-License-Identifier: Apache-2.0 */
/* conflict.h: somebody on the wire uses, or is about to use, an address that is a VIP: what that is, and what to do.  Pure.
 *
 *	VIP here	heard of			do
 *	HELD		stranger: claim			-> HOST, BALANCER: defend, report
 *			stranger: probe			-> PROBE: report (the kernel answers it)
 *			candidate: claim		-> NODE: defend; ask it, report when it says so again
 *			candidate: probe		-> nothing: asks for VIPs of its own, or is about to take over
 *			either, just after a takeover	-> nothing: frames under way
 *	BUSY		stranger			-> as HELD
 *			candidate			-> yield: the election weighs it (election/elect.h)
 *	OTHERS, NOBODY	anybody				-> nothing: the holder hears it, too
 *	any		ourselves			-> nothing: an echo
 *
 * A claim is any ARP frame with SPA = VIP (RFC 826 merges it whatever the operation; RFC 5227 section 2.4 calls it a
 * conflicting ARP packet when SHA is not ours), or an NA for the VIP (RFC 4861 section 7.2.5).  A probe is an ARP request
 * with SPA 0 (RFC 5227 section 1.1) or an NS from :: (RFC 4862 section 5.4.2): whoever sends it asks before it configures the
 * address, and our kernel's answer tells it that the address is taken.
 *
 * Defending is RFC 5227 section 2.4(c): who holds the Lease must keep the address, so it never gives it up to a claim.  The RFC
 * allows one announcement each DEFEND_INTERVAL (10 s); here the first three of a conflict may follow each other after a
 * second, because neighbours that learnt the other's MAC would send there for ten.
 *
 * Nothing is told without a reason: no candidate is named for what it sent before it could know of the takeover, nor for one
 * frame that was late (struct conflict_doubt); nobody is called a stranger before the records of all nodes have been read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/base/prng.h"

enum conflict_kind {
	CONFLICT_HOST,	   /* a host that is no candidate claims the VIP */
	CONFLICT_BALANCER, /* likewise, and announces it again and again: another load balancer, or another cluster */
	CONFLICT_NODE,	   /* another candidate node claims it without right */
	CONFLICT_ADDRESS,  /* it stands on an interface of this node, and not from Leasehold */
	CONFLICT_PROBE,	   /* a host that is no candidate asks whether the VIP is free; it does not use it */
	CONFLICT_KIND_N,
};

enum conflict_heard {
	CONFLICT_CLAIM,	   /* any but an announcement, or none of the two forms below */
	CONFLICT_ANNOUNCE, /* to everybody: NA, or ARP as a request */
	CONFLICT_ANNOUNCE_REPLY, /* ARP as a reply */
	CONFLICT_ASKED,	   /* a probe */
};

/* The VIP on this node. */
enum conflict_here {
	CONFLICT_HELD,	 /* answered for, by right of the Lease */
	CONFLICT_BUSY,	 /* past its deadline (policy hold), or in a handover */
	CONFLICT_OTHERS, /* another candidate holds it */
	CONFLICT_NOBODY, /* nobody holds it, or nobody here knows */
};

/* Whose MAC the frame has. */
enum conflict_who {
	CONFLICT_SELF,
	CONFLICT_CANDIDATE,
	CONFLICT_STRANGER,
	CONFLICT_UNKNOWN, /* no candidate's, but not all their records have been read */
};

struct conflict_case {
	enum conflict_heard heard;
	enum conflict_here here;
	enum conflict_who who;
	bool answer;	 /* to this node alone: to a probe of ours, most likely */
	int64_t held_ms; /* HELD: since the VIP went live here */
	int64_t late_ms; /* so long after a takeover a former holder's claims may be late: CONFLICT_LATE_CANDIDATE_MS, or more
			  * where there is no gate and its address has to expire */
};

enum conflict_do {
	CONFLICT_IGNORE = 0,
	CONFLICT_YIELD = 1,   /* no defence; the election is told of every claim anyway */
	CONFLICT_DEFEND = 2,  /* announce the VIP again, when conflict_defend() says */
	CONFLICT_REPORT = 4,  /* as 'kind' */
	CONFLICT_CONFIRM = 8, /* with REPORT: only when conflict_doubt_hear() says so */
};

struct conflict_verdict {
	unsigned int what; /* enum conflict_do, several */
	enum conflict_kind kind;
};

#define CONFLICT_LATE_MS 500	      /* after a takeover: broadcasts of whoever had it may be under way, or wait to be read */
#define CONFLICT_LATE_CANDIDATE_MS 2000 /* a candidate's: it may have been starved of CPU */
#define CONFLICT_ANNOUNCED 4	      /* announcements heard of one who is no mere host */

struct conflict_verdict conflict_weigh(const struct conflict_case *c);

/* A candidate's claim, until there is proof.  What a former holder sent late can come any time after the takeover: an agent that
 * stood still between its look at the clock and its frame sends that one round when it goes on.  But it is announcements
 * that are late so, for one moment, and never an answer: its kernel answers, behind a gate that looks at the clock
 * itself.  So the candidate is asked twice, CONFLICT_ASK_MS and CONFLICT_CONFIRM_MS after its claim was read.  Proof is an
 * answer that was sent after the first question, or any claim after the second; where nothing is asked, a claim
 * CONFLICT_CONFIRM_MS after the first.  Whoever asks reads what has come before, so that frames of one moment count once, however
 * long this process stood still between them. */
struct conflict_doubt {
	mono_t since;	    /* the first claim; ns 0 = none */
	mono_t last;	    /* claim */
	mono_t asked_at;    /* last */
	unsigned int asked; /* times */
};

#define CONFLICT_ASK_MS 200
#define CONFLICT_CONFIRM_MS 400
#define CONFLICT_DOUBT_MS 5000 /* a claim later than this after the last is another story */

/* A claim is heard.  held_since: of the VIP here; answer: to this node alone, to a question; asks: this node asks at all.
 * True: there is proof. */
bool conflict_doubt_hear(struct conflict_doubt *d, mono_t now, mono_t held_since, bool answer, bool asks);

/* It may still come to something: the VIP has been held since then, and the last claim is not long ago. */
bool conflict_doubt_stands(const struct conflict_doubt *d, mono_t now, mono_t held_since);

/* When the candidate is to be asked; MONO_NEVER = no more. */
mono_t conflict_doubt_ask_at(const struct conflict_doubt *d);
void conflict_doubt_asked(struct conflict_doubt *d, mono_t now);

/* The defence of one VIP: three a second apart, then one each 10 s; the three again after 10 s of peace. */
struct conflict_defence {
	mono_t claimed;	/* last; ns 0 = never */
	mono_t last;	/* announced, or to be */
	unsigned int n; /* since peace, up to three */
};

/* The VIP is claimed: when it is to be announced again, 'now' or later: neighbours believe whoever spoke last. */
mono_t conflict_defend(struct conflict_defence *d, mono_t now);

/* What was heard of a stranger so far. */
struct conflict_voice {
	unsigned int announced; /* times */
	bool request, reply;	/* by ARP in that form */
};

void conflict_hear(struct conflict_voice *v, enum conflict_heard heard, bool v4);

/* HOST or BALANCER: who announces again and again, with ARP in both forms, is a program made for that. */
enum conflict_kind conflict_stranger(const struct conflict_voice *v, bool v4);

/* A sweep: every VIP that is held is asked for twice a second, and with no more than 'rate' frames a second; of more VIPs each
 * has its turn.  They go out in batches, so that the loop wakes four times a second at most, however many VIPs there are. */
struct conflict_sweep {
	mono_t next;	    /* the next batch */
	unsigned int batch; /* counts on */
	unsigned int debt;  /* frames sent besides for which the budget had no room yet */
	size_t at;	    /* the table's next VIP */
};

#define CONFLICT_SWEEP_MS 500

/* How many frames are to be sent now, of the 'n' of one round; moves s->next, which is jittered by a tenth.  rate: a second,
 * 0 = off. */
unsigned int conflict_sweep_due(struct conflict_sweep *s, mono_t now, size_t n, unsigned int rate, struct prng *prng);

/* So many frames may be sent besides, at once: as many as a second has room for. */
unsigned int conflict_sweep_spare(const struct conflict_sweep *s, unsigned int rate);

/* They were sent: the sweep waits for them where it has no room. */
void conflict_sweep_spent(struct conflict_sweep *s, unsigned int n);

/* One round of the sweep takes so long. */
int64_t conflict_round_ms(size_t n, unsigned int rate);

/* What may be told in a minute. */
struct conflict_quota {
	mono_t since;	/* the minute that 'n' counts */
	unsigned int n; /* told in it */
};

/* Whether one more may be told now, with 'max' a minute; if so, it counts. */
bool conflict_may_tell(struct conflict_quota *q, mono_t now, unsigned int max);

/* "host", "balancer", "node", "address", "probe": in metrics, logs and status. */
const char *conflict_kind_name(enum conflict_kind kind);
