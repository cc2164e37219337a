/* SPDX-License-Identifier: Apache-2.0 */
/* candidates.c: the table of all nodes' records, and the writing of our own.
 *
 * Our record is level-triggered: whenever it stands otherwise than it should, whoever did that, it is written again, each
 * time later (two agents under one node name would go on for ever); what this node has to say anew goes out at once. */
#include "agent/candidates.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/base/log.h"
#include "agent/base/prng.h"
#include "agent/base/text.h"
#include "agent/kube/lease_json.h"
#include "agent/kube/object_json.h"
#include "agent/kube/record_json.h"
#include "election/lease.h"

#define CANDIDATES_MAX 5000 /* nodes of a cluster: Kubernetes' own bound */
#define WRITE_MS 2000
#define RETRY_MS 500
#define RETRY_MAX_MS 30000
#define DOUBLINGS_MAX 6
#define BODY_MAX (2 * 1024 * 1024)

static_assert(RECORD_MACS_MAX == CANDIDATE_MACS_MAX && RECORD_ANSWERS_MAX == CANDIDATE_ANSWERS_MAX, "as written, so read");
static_assert(RECORD_ADDRESSES_MAX == CANDIDATE_ADDRESSES_MAX, "as written, so read");
static_assert(RECORD_REASON_MAX == CANDIDATE_REASON_MAX, "as written, so read");
static_assert(RECORD_BUSIEST_MAX == CANDIDATE_BUSIEST_MAX, "as written, so read");

struct row {
	struct candidate c;
	char name[RECORD_NAME_MAX + 1]; /* of the Lease */
};

struct candidates {
	struct kube_client *client;
	char *ns, *node, *identity;
	char name[RECORD_NAME_MAX + 1]; /* of our own Lease */
	struct row **rows; /* malloc; each malloc */
	size_t n_rows, cap_rows;
	uint64_t changes, moves; /* of MACs and addresses */
	size_t turn; /* round robin: the row picked last */
	struct prng prng;
	/* Our own record: as it is to be, and as it stands there. */
	struct kube_record want, seen;
	struct kube_lease seen_lease;
	char macs_since[64]; /* the version with which its MACs were written, or an older one was last seen; "" = none yet */
	struct lease_keep keep, spare;
	bool synced, found;
	bool busy;	  /* a request is under way */
	bool reading;	  /* and it is a GET */
	bool look;	  /* a write was refused: read first */
	bool rewrite;	  /* and then write, whatever it says: what the view does not show may lack our label */
	bool own_marked;  /* not seen yet in the complete view under way */
	unsigned int tries; /* since there was something new to say */
	mono_t next_at;
	struct buf body, path;
};

/* ---- the table ---- */

static struct row *row_of(const struct candidates *c, const char *name)
{
	for (size_t i = 0; i < c->n_rows; i++)
		if (text_eq(c->rows[i]->name, name))
			return c->rows[i];
	return NULL;
}

static void row_free(struct row *row)
{
	free(row->c.answers);
	free(row);
}

static void row_remove(struct candidates *c, size_t i)
{
	c->changes++;
	row_free(c->rows[i]);
	memmove(&c->rows[i], &c->rows[i + 1], (c->n_rows - i - 1) * sizeof(*c->rows));
	c->n_rows--;
}

static struct row *row_add(struct candidates *c, const char *name)
{
	size_t cap = c->cap_rows ? c->cap_rows * 2 : 16;
	struct row *row = c->n_rows < CANDIDATES_MAX ? calloc(1, sizeof(*row)) : NULL;
	struct row **rows;

	if (row && c->n_rows == c->cap_rows) {
		rows = reallocarray(c->rows, cap, sizeof(*rows));
		if (!rows) {
			free(row);
			return NULL;
		}
		c->rows = rows;
		c->cap_rows = cap;
	}
	if (!row)
		return NULL;
	IGNORE(text_copy(row->name, sizeof(row->name), name)); /* same size in the codec */
	c->rows[c->n_rows++] = row;
	return row;
}

static void take_answers(struct candidate *to, const struct kube_record *r)
{
	struct candidate_answer *answers = NULL;

	if (r->n_answers > 0) {
		answers = calloc(r->n_answers, sizeof(*answers));
		if (!answers)
			return; /* the former stay; who waits for one gives up in time */
	}
	for (size_t i = 0; i < r->n_answers; i++) {
		IGNORE(text_copy(answers[i].lease, sizeof(answers[i].lease), r->answers[i].lease)); /* same size */
		answers[i].number = r->answers[i].number;
		answers[i].says = r->answers[i].ready ? CANDIDATE_READY : CANDIDATE_REFUSES;
		memcpy(answers[i].mac, r->answers[i].mac, sizeof(answers[i].mac));
		memcpy(answers[i].reason, r->answers[i].reason, sizeof(answers[i].reason));
	}
	free(to->answers);
	to->answers = answers;
	to->n_answers = r->n_answers;
}

static void table_put(struct candidates *c, const struct kube_lease *l, const struct kube_record *r)
{
	static struct log_limit limit;
	struct row *row = row_of(c, l->name);
	uint32_t left_out;
	char node[254];

	if (!lease_node(l->holder, node, sizeof(node)))
		return; /* made by hand, or emptied: nobody speaks */
	if (!row)
		row = row_add(c, l->name);
	if (!row) {
		if (log_limit(&limit, mono_now().ns, 60000, &left_out))
			log_event(LOG_WARN, "candidate_left_out", "no room for another node's record", log_str("node", node),
				  log_int("left_out", left_out));
		return;
	}
	c->changes += !text_eq(row->c.identity, l->holder) || row->c.rank != r->rank || row->c.leaving != r->leaving ||
		      row->c.weight != r->weight;
	c->moves += row->c.n_macs != r->n_macs || memcmp(row->c.macs, r->macs, r->n_macs * sizeof(r->macs[0])) != 0 ||
		    row->c.n_addresses != r->n_addresses ||
		    memcmp(row->c.addresses, r->addresses, r->n_addresses * sizeof(r->addresses[0])) != 0;
	IGNORE(text_copy(row->c.node, sizeof(row->c.node), node)); /* same size */
	IGNORE(text_copy(row->c.identity, sizeof(row->c.identity), l->holder)); /* likewise */
	memcpy(row->c.macs, r->macs, sizeof(row->c.macs));
	row->c.n_macs = r->n_macs;
	memcpy(row->c.addresses, r->addresses, sizeof(row->c.addresses));
	row->c.n_addresses = r->n_addresses;
	row->c.rank = r->rank;
	row->c.weight = r->weight;
	row->c.leaving = r->leaving;
	row->c.drain = r->drain;
	row->c.marked = false;
	memcpy(row->c.busiest, r->busiest, sizeof(row->c.busiest));
	row->c.n_busiest = r->n_busiest;
	take_answers(&row->c, r);
}

/* ---- the view ---- */

/* Our own record as it stands there, with what others keep in it. */
static void note_own(struct candidates *c, const struct kube_lease *l, const struct kube_record *r)
{
	const struct lease_keep old = c->keep;
	bool same_macs = c->found && c->seen.n_macs == r->n_macs &&
			 memcmp(c->seen.macs, r->macs, r->n_macs * sizeof(r->macs[0])) == 0;

	if (!same_macs)
		IGNORE(text_copy(c->macs_since, sizeof(c->macs_since), l->version)); /* same size */
	c->keep = c->spare;
	c->spare = old;
	c->seen_lease = *l;
	c->seen = *r;
	c->found = true;
	c->look = c->own_marked = false;
}

/* A record as a watch event, a reply or a reading shows it. */
static int take_record(struct candidates *c, const char *json, size_t len, bool from_view, struct err_info *err)
{
	struct kube_record record;
	struct kube_lease l;
	int r = lease_decode(json, len, &l, &c->spare, err);

	if (r == 0)
		r = record_decode(json, len, &record, err);
	if (r < 0)
		return r;
	table_put(c, &l, &record);
	if (!text_eq(l.name, c->name))
		return 0;
	if (from_view && c->found && text_eq(l.uid, c->seen_lease.uid) &&
	    lease_version_older(l.version, c->seen_lease.version))
		return 0; /* the view lags behind our own write */
	note_own(c, &l, &record);
	return 0;
}

static void on_begin(void *ctx)
{
	struct candidates *c = ctx;

	for (size_t i = 0; i < c->n_rows; i++)
		c->rows[i]->c.marked = true;
	c->own_marked = true;
}

static void on_put(void *ctx, const char *json, size_t len)
{
	static struct log_limit limit;
	struct err_info err = ERR_INFO_INIT;
	uint32_t left_out;

	if (take_record(ctx, json, len, true, &err) < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "record_unreadable", "a node's record could not be read", log_str("error", err.text),
			  log_int("left_out", left_out));
}

static void on_gone(void *ctx, const char *json, size_t len)
{
	struct candidates *c = ctx;
	struct object_key *k;

	if (object_key_decode(json, len, &k, NULL) < 0)
		return; /* the next complete view tells */
	for (size_t i = c->n_rows; i-- > 0;)
		if (text_eq(c->rows[i]->name, k->name))
			row_remove(c, i);
	if (text_eq(k->name, c->name))
		c->found = false;
	object_key_free(k);
}

static void on_synced(void *ctx)
{
	struct candidates *c = ctx;

	for (size_t i = c->n_rows; i-- > 0;)
		if (c->rows[i]->c.marked)
			row_remove(c, i);
	c->found &= !c->own_marked;
	c->synced = true;
}

const struct lease_view_ops candidates_view_ops = { on_begin, on_put, on_gone, on_synced };

/* ---- our own record ---- */

static bool same_record(const struct kube_record *a, const struct kube_record *b)
{
	return a->rank == b->rank && a->weight == b->weight && a->leaving == b->leaving && a->drain == b->drain && a->n_macs == b->n_macs &&
	       a->n_addresses == b->n_addresses && a->n_busiest == b->n_busiest && a->n_answers == b->n_answers &&
	       memcmp(a->macs, b->macs, a->n_macs * sizeof(a->macs[0])) == 0 &&
	       memcmp(a->addresses, b->addresses, a->n_addresses * sizeof(a->addresses[0])) == 0 &&
	       memcmp(a->busiest, b->busiest, a->n_busiest * sizeof(a->busiest[0])) == 0 &&
	       memcmp(a->answers, b->answers, a->n_answers * sizeof(a->answers[0])) == 0;
}

static bool as_wanted(const struct candidates *c)
{
	return c->found && !c->rewrite && text_eq(c->seen_lease.holder, c->identity) && same_record(&c->want, &c->seen) &&
	       (!*c->want.owner_uid || c->keep.owned);
}

/* There is something new to say: no reason to wait. */
static void say_now(struct candidates *c)
{
	c->tries = 0;
	c->next_at = (mono_t){ 0 };
}

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	static struct log_limit limit;
	struct candidates *c = ctx;
	struct err_info err = ERR_INFO_INIT;
	uint32_t left_out;
	bool gone = rp->status == 404;

	c->busy = false;
	if ((rp->status == 200 || rp->status == 201) && take_record(c, rp->body, rp->len, false, &err) == 0) {
		c->rewrite &= c->reading;
		return;
	}
	if (gone)
		c->found = c->look = c->rewrite = false;
	else if (rp->status == 409)
		c->look = c->rewrite = true; /* it stands otherwise than we knew, or (made by hand, without our label) out of view */
	else if (log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "record_failed", "this node's record could not be written; trying again",
			  log_str("lease", c->name), log_int("status", rp->status),
			  log_str("error", *err.text ? err.text : rp->err.text), log_int("left_out", left_out));
}

/* 500 ms doubling to 30 s, and up to a quarter more. */
static void set_pause(struct candidates *c, mono_t now)
{
	int64_t ms = (int64_t)RETRY_MS << (c->tries < DOUBLINGS_MAX ? c->tries : DOUBLINGS_MAX);

	ms = ms < RETRY_MAX_MS ? ms : RETRY_MAX_MS;
	c->tries++;
	c->next_at = mono_add_ms(now, ms + (int64_t)(prng_next(&c->prng) % (uint64_t)(ms / 4)));
}

static void start_write(struct candidates *c)
{
	struct kube_request rq = { .method = c->look ? KUBE_GET : c->found ? KUBE_PUT : KUBE_POST,
				   .channel = KUBE_CHANNEL_LEASE, .timeout_ms = WRITE_MS };
	struct kube_lease out = { .record = &c->want };
	struct err_info err = ERR_INFO_INIT;
	static struct log_limit limit;
	uint32_t left_out;
	int r = 0;

	buf_reset(&c->path);
	buf_reset(&c->body);
	buf_printf(&c->path, "/apis/coordination.k8s.io/v1/namespaces/%s/leases", c->ns);
	if (rq.method != KUBE_POST)
		buf_printf(&c->path, "/%s", c->name);
	if (rq.method != KUBE_GET) {
		IGNORE(text_copy(out.name, sizeof(out.name), c->name));		/* same size */
		IGNORE(text_copy(out.holder, sizeof(out.holder), c->identity)); /* an identity fits */
		if (c->found) {
			IGNORE(text_copy(out.version, sizeof(out.version), c->seen_lease.version)); /* same size */
			IGNORE(text_copy(out.uid, sizeof(out.uid), c->seen_lease.uid));		    /* likewise */
		}
		r = lease_encode(&out, c->ns, NULL, c->found ? &c->keep : NULL, &c->body);
		rq.content_type = "application/json";
		rq.body = buf_text(&c->body);
	}
	rq.path = buf_text(&c->path);
	if (r == 0)
		r = buf_failed(&c->path);
	if (r == 0)
		r = kube_request(c->client, &rq, on_reply, c, &err);
	c->busy = r == 0;
	c->reading = rq.method == KUBE_GET;
	if (r < 0 && log_limit(&limit, mono_now().ns, 5000, &left_out))
		log_event(LOG_WARN, "record_failed", "a request for this node's record could not be started",
			  log_str("error", *err.text ? err.text : strerror(-r)), log_int("left_out", left_out));
}

mono_t candidates_step(struct candidates *c, mono_t now)
{
	if (!c->synced || c->busy || as_wanted(c))
		return MONO_NEVER;
	if (mono_before(now, c->next_at))
		return c->next_at;
	set_pause(c, now);
	start_write(c);
	return c->busy ? MONO_NEVER : c->next_at;
}

/* 'is' is part of c->want. */
static void want_number(struct candidates *c, uint32_t *is, uint32_t number)
{
	if (number == *is)
		return;
	*is = number;
	say_now(c);
}

/* Likewise a list of n in 'bytes', and how many it has. */
static void want_list(struct candidates *c, void *is, const void *list, size_t bytes, size_t *n_is, size_t n)
{
	if (n == *n_is && memcmp(is, list, bytes) == 0)
		return;
	memcpy(is, list, bytes);
	*n_is = n;
	say_now(c);
}

void candidates_macs(struct candidates *c, uint8_t (*macs)[LINK_MAC_LEN], size_t n)
{
	n = n < CANDIDATE_MACS_MAX ? n : CANDIDATE_MACS_MAX;
	want_list(c, c->want.macs, macs, n * sizeof(macs[0]), &c->want.n_macs, n);
}

void candidates_addresses(struct candidates *c, const struct ip *addresses, size_t n)
{
	n = n < CANDIDATE_ADDRESSES_MAX ? n : CANDIDATE_ADDRESSES_MAX;
	want_list(c, c->want.addresses, addresses, n * sizeof(*addresses), &c->want.n_addresses, n);
}

void candidates_rank(struct candidates *c, unsigned int rank)
{
	want_number(c, &c->want.rank, rank);
}

void candidates_weight(struct candidates *c, unsigned int weight)
{
	want_number(c, &c->want.weight, weight);
}

void candidates_busiest(struct candidates *c, const struct ip *vips, size_t n)
{
	n = n < CANDIDATE_BUSIEST_MAX ? n : CANDIDATE_BUSIEST_MAX;
	want_list(c, c->want.busiest, vips, n * sizeof(*vips), &c->want.n_busiest, n);
}

bool candidates_introduced(const struct candidates *c, const char *version)
{
	return c->found && lease_version_older(c->macs_since, version);
}

void candidates_leaving(struct candidates *c, bool leaving, uint32_t drain)
{
	if (leaving == c->want.leaving && drain == c->want.drain)
		return;
	c->want.leaving = leaving;
	c->want.drain = drain;
	say_now(c);
}

void candidates_owner(struct candidates *c, const char *node_uid)
{
	if (text_eq(c->want.owner_uid, node_uid))
		return;
	IGNORE(text_copy(c->want.owner, sizeof(c->want.owner), c->node)); /* a node's name fits */
	if (!text_copy(c->want.owner_uid, sizeof(c->want.owner_uid), node_uid))
		c->want.owner_uid[0] = '\0';
	say_now(c);
}

/* As the codec would read it back: or it would be written again and again. */
static void copy_reason(char to[static RECORD_REASON_MAX], const char *from)
{
	IGNORE(text_copy(to, RECORD_REASON_MAX, from)); /* same size */
	for (char *p = to; *p; p++)
		if (*p == ',' || *p < ' ' || *p > '~')
			*p = *p == ',' ? ';' : '?';
}

void candidates_say(struct candidates *c, const struct candidate_answer *answer)
{
	struct kube_record *w = &c->want;
	struct kube_answer a;
	size_t i;

	memset(&a, 0, sizeof(a)); /* compared whole */
	IGNORE(text_copy(a.lease, sizeof(a.lease), answer->lease)); /* same size */
	a.number = answer->number;
	a.ready = answer->says == CANDIDATE_READY;
	if (a.ready)
		memcpy(a.mac, answer->mac, sizeof(a.mac));
	else
		copy_reason(a.reason, answer->reason);
	/* One answer a Lease: the last; the oldest makes room. */
	for (i = 0; i < w->n_answers && !text_eq(w->answers[i].lease, a.lease); i++)
		;
	if (i < w->n_answers && memcmp(&w->answers[i], &a, sizeof(a)) == 0)
		return;
	if (i == w->n_answers && i == RECORD_ANSWERS_MAX)
		i = 0;
	if (i < w->n_answers) {
		memmove(&w->answers[i], &w->answers[i + 1], (w->n_answers - i - 1) * sizeof(a));
		w->n_answers--;
	}
	w->answers[w->n_answers++] = a;
	say_now(c);
}

/* ---- questions ---- */

const struct candidate *candidates_by_mac(const struct candidates *c, const uint8_t mac[static LINK_MAC_LEN])
{
	for (size_t i = 0; i < c->n_rows; i++)
		for (size_t k = 0; k < c->rows[i]->c.n_macs; k++)
			if (!text_eq(c->rows[i]->c.node, c->node) && memcmp(c->rows[i]->c.macs[k], mac, LINK_MAC_LEN) == 0)
				return &c->rows[i]->c;
	return NULL;
}

const struct candidate *candidates_by_node(const struct candidates *c, const char *node)
{
	for (size_t i = 0; i < c->n_rows; i++)
		if (text_eq(c->rows[i]->c.node, node))
			return &c->rows[i]->c;
	return NULL;
}

static bool may_succeed(const struct candidates *c, const struct candidate *k, const char *const *excluded, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text_eq(k->identity, excluded[i]))
			return false;
	return !k->leaving && !text_eq(k->node, c->node);
}

const struct candidate *candidates_pick(struct candidates *c, const char *const *excluded, size_t n_excluded)
{
	size_t best = c->n_rows;

	/* From the one behind the last picked, all around: the first of the lowest rank. */
	for (size_t k = 1; k <= c->n_rows; k++) {
		size_t i = (c->turn + k) % c->n_rows;

		if (may_succeed(c, &c->rows[i]->c, excluded, n_excluded) &&
		    (best == c->n_rows || c->rows[i]->c.rank < c->rows[best]->c.rank))
			best = i;
	}
	if (best == c->n_rows)
		return NULL;
	c->turn = best;
	return &c->rows[best]->c;
}

const struct candidate *candidates_at(const struct candidates *c, size_t i)
{
	return i < c->n_rows ? &c->rows[i]->c : NULL;
}

uint64_t candidates_changes(const struct candidates *c)
{
	return c->changes;
}

uint64_t candidates_reach_changes(const struct candidates *c)
{
	return c->changes + c->moves;
}

bool candidates_any(const struct candidates *c)
{
	for (size_t i = 0; i < c->n_rows; i++)
		if (may_succeed(c, &c->rows[i]->c, NULL, 0))
			return true;
	return false;
}

enum candidate_says candidates_answer_of(const struct candidates *c, const char *identity, const char *lease, uint32_t number,
					 const struct candidate_answer **ret)
{
	for (size_t i = 0; i < c->n_rows; i++) {
		const struct candidate *k = &c->rows[i]->c;

		for (size_t m = 0; text_eq(k->identity, identity) && m < k->n_answers; m++) {
			if (k->answers[m].number == number && text_eq(k->answers[m].lease, lease)) {
				*ret = &k->answers[m];
				return k->answers[m].says;
			}
		}
	}
	return CANDIDATE_SILENT;
}

/* ---- life ---- */

int candidates_new(struct kube_client *client, const struct candidates_config *cfg, struct candidates **ret,
		   struct err_info *err)
{
	struct candidates *c = calloc(1, sizeof(*c));

	if (!c)
		return err_errno(err, -ENOMEM, "candidates");
	c->client = client;
	c->ns = strdup(cfg->ns);
	c->node = strdup(cfg->node);
	c->identity = strdup(cfg->identity);
	c->prng.state = cfg->seed;
	c->want.rank = cfg->rank;
	c->want.weight = 1;
	c->keep = c->spare = (struct lease_keep)LEASE_KEEP_INIT;
	c->body = (struct buf)BUF_INIT(BODY_MAX);
	c->path = (struct buf)BUF_INIT(1024);
	if (!c->ns || !c->node || !c->identity) {
		candidates_free(c);
		return err_errno(err, -ENOMEM, "candidates");
	}
	record_name(c->node, c->name);
	*ret = c;
	return 0;
}

void candidates_free(struct candidates *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_rows; i++)
		row_free(c->rows[i]);
	free(c->rows);
	free(c->ns);
	free(c->node);
	free(c->identity);
	lease_keep_fini(&c->keep);
	lease_keep_fini(&c->spare);
	buf_fini(&c->body);
	buf_fini(&c->path);
	free(c);
}
