/* SPDX-License-Identifier: Apache-2.0 */
/* conflict_table.c: the conflicts that go on: who it is, since when, and who has been told.  Found by conflicts.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "netlink/nlsock.h"

#define OVER_MS 10000	     /* of silence, where VIPs are asked for */
#define OVER_UNASKED_MS 60000 /* and where they are not */
#define FORGET_MS 600000     /* what is over */
#define NAME_MS 300	     /* the neighbour table has so long to answer */
#define TELL_EVERY_MS 60000  /* each conflict in the log, each VIP in Events */
#define TELL_MAX 64	     /* lines a minute */
#define EVENTS_MAX 16	     /* Events a minute, sent or refused: one host can claim every VIP */
#define STEP_MS 250	     /* between two looks at what waits to be told */
#define REST_MS 1000	     /* at what is told and goes on */
#define OVER_STEP_MS 5000    /* at what is over */
#define SENTENCE_MAX (CONFLICT_TEXT_MAX + IP_TEXT_MAX)

static struct conflict_entry *entry_of(const struct conflicts *c, const struct conflict_row *like)
{
	for (size_t i = 0; i < c->n_rows; i++) {
		const struct conflict_row *row = &c->rows[i].row;

		if (ip_eq(&row->vip, &like->vip) && memcmp(row->mac, like->mac, sizeof(row->mac)) == 0 &&
		    (row->kind != CONFLICT_ADDRESS || row->ifindex == like->ifindex))
			return &c->rows[i];
	}
	return NULL;
}

static bool goes_on(const struct conflict_entry *e)
{
	return e->state == CONFLICT_ON;
}

/* ---- for status ---- */

static unsigned int gravity(enum conflict_kind kind)
{
	static const unsigned int of[] = { [CONFLICT_HOST] = 3, [CONFLICT_BALANCER] = 4, [CONFLICT_NODE] = 3,
					   [CONFLICT_ADDRESS] = 2, [CONFLICT_PROBE] = 1 };

	return of[kind];
}

const struct conflict_row *conflicts_of(const struct agent *a, const struct ip *vip)
{
	const struct conflicts *c = &a->conflicts;
	const struct conflict_row *worst = NULL;

	for (size_t i = 0; i < c->n_rows; i++) {
		const struct conflict_row *row = &c->rows[i].row;

		if (goes_on(&c->rows[i]) && ip_eq(&row->vip, vip) && (!worst || gravity(row->kind) > gravity(worst->kind)))
			worst = row;
	}
	return worst;
}

const struct conflict_row *conflicts_at(const struct agent *a, size_t i)
{
	const struct conflicts *c = &a->conflicts;

	for (size_t k = 0; k < c->n_rows; k++)
		if (goes_on(&c->rows[k]) && i-- == 0)
			return &c->rows[k].row;
	return NULL;
}

/* Each VIP once: by its first row that counts. */
size_t conflicts_n(const struct agent *a)
{
	const struct conflicts *c = &a->conflicts;
	size_t n = 0;

	for (size_t i = 0; i < c->n_rows; i++) {
		bool first = goes_on(&c->rows[i]) && c->rows[i].row.kind != CONFLICT_PROBE;

		for (size_t k = 0; k < i && first; k++)
			first = !goes_on(&c->rows[k]) || c->rows[k].row.kind == CONFLICT_PROBE ||
				!ip_eq(&c->rows[k].row.vip, &c->rows[i].row.vip);
		n += first;
	}
	return n;
}

static void put_mac(struct buf *b, const uint8_t m[static LINK_MAC_LEN])
{
	buf_printf(b, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

static void put_neighbours(struct buf *b, const struct conflict_row *row)
{
	char ip[IP_TEXT_MAX];

	for (size_t i = 0; i < row->n_neighbours; i++)
		buf_printf(b, "%s%s", i ? ", " : "", ip_format(&row->neighbours[i], ip));
}

/* By the best name there is. */
static void put_who(struct buf *b, const struct conflict_row *row)
{
	if (*row->node)
		buf_printf(b, "node %s (", row->node);
	put_mac(b, row->mac);
	if (*row->node) {
		buf_puts(b, ")");
	} else if (row->n_neighbours > 0) {
		buf_puts(b, " (");
		put_neighbours(b, row);
		buf_puts(b, ")");
	}
}

const char *conflict_text(const struct conflict_row *row, char *buf, size_t size)
{
	struct buf b = BUF_INIT(size);

	switch (row->kind) {
	case CONFLICT_HOST:
	case CONFLICT_NODE:
		buf_puts(&b, "is also answered by ");
		put_who(&b, row);
		buf_printf(&b, " on %s%s", row->interface, row->kind == CONFLICT_NODE ? ", which does not hold its Lease" : "");
		break;
	case CONFLICT_BALANCER:
		buf_puts(&b, "is also announced by ");
		put_who(&b, row);
		buf_printf(&b, " on %s, again and again: another load balancer or cluster may use the same pool", row->interface);
		break;
	case CONFLICT_ADDRESS:
		buf_printf(&b, "stands on %s of node %s, and not from Leasehold", row->interface, row->node);
		break;
	case CONFLICT_PROBE:
		buf_puts(&b, "is asked for by ");
		put_who(&b, row);
		buf_printf(&b, " on %s, which may be about to take it", row->interface);
		break;
	case CONFLICT_KIND_N:
		break;
	}
	IGNORE(text_copy(buf, size, buf_failed(&b) ? "" : buf_text(&b))); /* cut is fine */
	buf_fini(&b);
	return buf;
}

/* ---- what is heard and seen ---- */

static void drop(struct conflicts *c, size_t i)
{
	c->n_rows--;
	if (i != c->n_rows)
		c->rows[i] = c->rows[c->n_rows];
}

/* The VIP's row that was heard longest ago, when it has its share of them; else one that is over, when there is no room. */
static void make_room(struct conflicts *c, const struct ip *vip)
{
	size_t n = 0, oldest = SIZE_MAX, spare = SIZE_MAX;

	for (size_t i = 0; i < c->n_rows; i++) {
		const struct conflict_row *row = &c->rows[i].row;

		if (ip_eq(&row->vip, vip)) {
			n++;
			if (oldest == SIZE_MAX || mono_before(row->last, c->rows[oldest].row.last))
				oldest = i;
		}
		if (!goes_on(&c->rows[i]) && (spare == SIZE_MAX || mono_before(row->last, c->rows[spare].row.last)))
			spare = i;
	}
	if (n >= CONFLICT_VIP_MAX)
		drop(c, oldest);
	else if (c->n_rows == CONFLICT_ROWS_MAX && spare != SIZE_MAX)
		drop(c, spare);
}

/* NULL: there is no room or memory. */
static struct conflict_entry *add(struct conflicts *c, const struct conflict_row *like, mono_t now)
{
	struct conflict_entry *rows;
	size_t cap;

	make_room(c, &like->vip);
	if (c->n_rows == CONFLICT_ROWS_MAX)
		return NULL;
	if (c->n_rows == c->cap_rows) {
		cap = c->cap_rows ? c->cap_rows * 2 : 16;
		rows = reallocarray(c->rows, cap, sizeof(*rows));
		if (!rows)
			return NULL;
		c->rows = rows;
		c->cap_rows = cap;
	}
	c->rows[c->n_rows] = (struct conflict_entry){ .row = *like, .state = CONFLICT_SUSPECT };
	c->rows[c->n_rows].row.first = now;
	return &c->rows[c->n_rows++];
}

static void place_name(const struct link_state *s, struct conflict_row *row)
{
	const struct link *l = link_find(s, row->ifindex);

	if (l)
		IGNORE(text_copy(row->interface, sizeof(row->interface), l->name)); /* same size */
}

/* As if it were heard for the first time. */
static void restart(struct conflict_entry *e, mono_t now)
{
	e->state = CONFLICT_SUSPECT;
	e->row.first = now;
	e->row.count = 0;
	e->voice = (struct conflict_voice){ 0 };
	e->doubt = (struct conflict_doubt){ 0 };
}

/* A claim that is to be confirmed: whether it is. */
static bool is_proof(struct agent *a, struct conflict_entry *e, const struct wire_claim *c, mono_t now)
{
	const struct wire_row *row = wire_row(&a->wire, &c->vip);
	const mono_t held_since = row ? row->held_since : (mono_t){ 0 };
	bool asks = a->cfg->conflict_probe_rate > 0;

	if (!conflict_doubt_stands(&e->doubt, now, held_since))
		restart(e, now);
	return conflict_doubt_hear(&e->doubt, now, held_since, c->reply && c->form == WIRE_ANSWER, asks);
}

/* It is a conflict of that kind from now on. */
static void begin(struct agent *a, struct conflict_entry *e, enum conflict_kind kind, const char *node)
{
	conflict_tell_soon(&a->conflicts);
	e->told &= goes_on(e) && e->row.kind != CONFLICT_PROBE;
	e->row.kind = kind;
	a->metrics.conflict_kinds[kind]++;
	a->metrics.conflicts += kind != CONFLICT_PROBE;
	if (node)
		IGNORE(text_copy(e->row.node, sizeof(e->row.node), node)); /* same size */
	e->unnamed = !node && (e->unnamed || e->state != CONFLICT_ON);
	e->state = CONFLICT_ON;
	e->telling = true;
	e->event = kind != CONFLICT_PROBE;
}

void conflict_note(struct agent *a, const struct wire_claim *c, const struct candidate *who,
		   const struct conflict_verdict *verdict, mono_t now)
{
	struct conflict_row like = { .vip = c->vip, .kind = verdict->kind };
	enum conflict_kind kind = verdict->kind;
	struct conflict_entry *e;
	bool v4 = c->vip.family == IP_V4, proof = true;

	memcpy(like.mac, c->mac, sizeof(like.mac));
	e = entry_of(&a->conflicts, &like);
	if (!e)
		e = add(&a->conflicts, &like, now);
	if (!e)
		return;
	if (e->state == CONFLICT_OVER)
		restart(e, now);
	if (!goes_on(e) && verdict->what & CONFLICT_CONFIRM)
		proof = is_proof(a, e, c, now);
	e->row.last = now;
	e->row.count++;
	e->row.ifindex = c->ifindex;
	place_name(link_watch_state(a->kernel.links), &e->row);
	if (kind == CONFLICT_HOST) {
		conflict_hear(&e->voice, conflicts_heard(c->form), v4);
		kind = conflict_stranger(&e->voice, v4);
	}
	if (goes_on(e) ? gravity(kind) > gravity(e->row.kind) : proof)
		begin(a, e, kind, who ? who->node : NULL);
	if (!goes_on(e))
		conflict_tell_soon(&a->conflicts); /* it is to be asked */
}

/* The same with the VIP before it. */
static const char *sentence(const struct conflict_row *row, char buf[static SENTENCE_MAX])
{
	char ip[IP_TEXT_MAX], text[CONFLICT_TEXT_MAX];

	IGNORE(snprintf(buf, SENTENCE_MAX, "%s %s", ip_format(&row->vip, ip), conflict_text(row, text, sizeof(text)))); /* fits */
	return buf;
}

static void end(struct conflicts *c, struct conflict_entry *e, const char *why, mono_t now)
{
	char text[SENTENCE_MAX];

	if (e->told && e->row.kind != CONFLICT_PROBE && conflict_may_tell(&c->lines, now, TELL_MAX))
		log_event(LOG_INFO, "conflict_over", sentence(&e->row, text), log_ip("vip", &e->row.vip),
			  log_str("kind", conflict_kind_name(e->row.kind)), log_str("why", why),
			  log_int("ms", mono_diff_ms(e->row.last, e->row.first)), log_int("count", (int64_t)e->row.count));
	e->state = CONFLICT_OVER;
	e->unnamed = e->telling = e->event = false;
	e->row.last = now;
}

/* kube-proxy's IPVS mode keeps every address of a Service on this device, which answers nobody. */
static bool is_kube_proxys(const struct link_state *s, int ifindex)
{
	const struct link *l = link_find(s, ifindex);

	return l && text_eq(l->name, "kube-ipvs0");
}

static void see_address(struct agent *a, const struct link_state *s, const struct link_addr *addr, mono_t now)
{
	struct conflict_row like = { .vip = addr->ip, .kind = CONFLICT_ADDRESS, .ifindex = addr->index, .last = now, .count = 1 };
	struct conflict_entry *e = entry_of(&a->conflicts, &like);

	if (!e)
		e = add(&a->conflicts, &like, now);
	if (!e)
		return;
	e->seen = true;
	if (goes_on(e))
		return;
	e->row.first = e->row.last = now;
	place_name(s, &e->row);
	begin(a, e, CONFLICT_ADDRESS, a->cfg->node_name);
}

void conflict_look(struct agent *a, const struct link_state *s, mono_t now)
{
	struct conflicts *c = &a->conflicts;

	for (size_t i = 0; i < c->n_rows; i++)
		c->rows[i].seen = false;
	for (size_t i = 0; i < s->n_addrs && !a->vips.routed; i++)
		if (!s->addrs[i].ours && vips_find(&a->vips, &s->addrs[i].ip) && !is_kube_proxys(s, s->addrs[i].index))
			see_address(a, s, &s->addrs[i], now);
	for (size_t i = 0; i < c->n_rows; i++)
		if (goes_on(&c->rows[i]) && c->rows[i].row.kind == CONFLICT_ADDRESS && !c->rows[i].seen)
			end(c, &c->rows[i], "it is gone", now);
}

/* ---- naming ---- */

static void lookup_run(struct worker_job *job)
{
	struct conflict_lookup *l = (struct conflict_lookup *)job;
	AUTO(nlsock_freep) struct nlsock *sock = NULL;

	l->result = nlsock_new(NETLINK_ROUTE, &sock, &l->err);
	if (l->result == 0)
		l->result = neigh_if_find(sock, &l->query, &l->err);
}

/* Every conflict with that MAC has its name now, or none. */
static void lookup_done(struct worker_job *job)
{
	static struct log_limit limit;
	struct conflict_lookup *l = (struct conflict_lookup *)job;
	struct conflicts *c = &l->a->conflicts;
	uint32_t left_out;

	l->busy = false;
	conflict_tell_soon(c);
	if (l->result < 0 && log_limit(&limit, mono_now().ns, 60000, &left_out))
		log_event(LOG_WARN, "neighbours_failed", "the neighbour table could not be read", log_str("error", l->err.text),
			  log_int("left_out", left_out));
	for (size_t i = 0; i < c->n_rows; i++) {
		struct conflict_row *row = &c->rows[i].row;

		if (row->ifindex != l->query.ifindex || memcmp(row->mac, l->query.mac, sizeof(row->mac)) != 0)
			continue;
		c->rows[i].unnamed = false;
		row->n_neighbours = 0;
		for (size_t k = 0; l->result == 0 && k < l->query.n_found && row->n_neighbours < CONFLICT_NEIGHBOURS_MAX; k++)
			if (!vips_find(&l->a->vips, &l->query.found[k]))
				row->neighbours[row->n_neighbours++] = l->query.found[k];
	}
}

static void name(struct agent *a, struct conflict_entry *e, mono_t now)
{
	struct conflict_lookup *l = &a->conflicts.lookup;

	if (mono_diff_ms(now, e->row.first) >= NAME_MS && l->busy)
		e->unnamed = false; /* by its MAC, then */
	if (!e->unnamed || l->busy)
		return;
	*l = (struct conflict_lookup){ .job = { .run = lookup_run, .done = lookup_done }, .a = a, .busy = true,
				       .query = { .ifindex = e->row.ifindex }, .err = ERR_INFO_INIT };
	memcpy(l->query.mac, e->row.mac, sizeof(l->query.mac));
	worker_submit(a->addr_worker, &l->job);
}

/* ---- telling ---- */

static void tell(struct conflicts *c, struct conflict_entry *e, mono_t now)
{
	struct buf mac = BUF_INIT(32), ips = BUF_INIT(CONFLICT_TEXT_MAX);
	char text[SENTENCE_MAX];

	if (e->told_at.ns && e->row.kind == CONFLICT_PROBE && mono_diff_ms(now, e->told_at) < TELL_EVERY_MS)
		return;
	e->telling = false;
	if (!conflict_may_tell(&c->lines, now, TELL_MAX))
		return;
	e->told = true;
	e->told_at = now;
	put_mac(&mac, e->row.mac);
	put_neighbours(&ips, &e->row);
	log_event(e->row.kind == CONFLICT_PROBE ? LOG_INFO : LOG_WARN, e->row.kind == CONFLICT_PROBE ? "probed" : "conflict",
		  sentence(&e->row, text), log_ip("vip", &e->row.vip), log_str("kind", conflict_kind_name(e->row.kind)),
		  log_str("mac", e->row.kind == CONFLICT_ADDRESS ? "" : buf_text(&mac)), log_str("node", e->row.node),
		  log_str("neighbours", buf_text(&ips)), log_str("interface", e->row.interface),
		  log_int("count", (int64_t)e->row.count));
	buf_fini(&mac);
	buf_fini(&ips);
}

/* An Event on each Service that has the address; at most one a minute about a VIP.  One that goes on waits for its turn. */
static void tell_services(struct agent *a, struct conflict_entry *e, mono_t now)
{
	struct wire_row *row = wire_row(&a->wire, &e->row.vip);
	char text[SENTENCE_MAX], note[SENTENCE_MAX + 300]; /* an Event's has 1024 at most */
	bool waits = false;

	if (!row || !a->decisions || a->store.dirty ||
	    (row->event_at.ns && mono_diff_ms(now, row->event_at) < TELL_EVERY_MS))
		return;
	IGNORE(snprintf(note, sizeof(note), "%s%s%s", sentence(&e->row, text),
			e->row.kind == CONFLICT_ADDRESS ? "" : ", as heard by node ",
			e->row.kind == CONFLICT_ADDRESS ? "" : a->cfg->node_name)); /* fits */
	for (size_t i = 0; i < a->n_decisions && !waits; i++) {
		const struct pool_decision *d = &a->decisions[i];

		for (size_t k = 0; k < d->n_ips && d->state != POOL_FOREIGN; k++)
			if (ip_eq(&d->ips[k], &e->row.vip))
				waits |= !conflict_may_tell(&a->conflicts.events, now, EVENTS_MAX) ||
					 !publish_conflict(&a->publish, now, a->store.services[i]->object, note);
	}
	e->event = waits;
	row->event_at = now;
}

/* What became of it meanwhile. */
static void follow_up(struct agent *a, struct conflict_entry *e, mono_t now)
{
	struct conflicts *c = &a->conflicts;
	const struct wire_row *row = wire_row(&a->wire, &e->row.vip);
	unsigned int rate = (unsigned int)a->cfg->conflict_probe_rate;
	int64_t rounds = 3 * conflict_round_ms(c->n_frames, rate), over = rate == 0 ? OVER_UNASKED_MS : OVER_MS;

	if (!row)
		end(c, e, "it is no VIP any more", now);
	else if (e->row.kind == CONFLICT_ADDRESS)
		e->row.last = now;
	else if (!row->held_since.ns)
		end(c, e, "this node does not hold it any more", now);
	else if (mono_diff_ms(now, e->row.last) >= (over > rounds ? over : rounds))
		end(c, e, "nothing more was heard", now);
	if (!goes_on(e))
		return;
	if (e->unnamed)
		name(a, e, now);
	if (e->unnamed)
		return;
	if (e->telling)
		tell(c, e, now);
	if (e->event)
		tell_services(a, e, now);
}

/* Whether it is still there is asked, whenever the sweep would come to it.  Returns when to look again. */
static mono_t confirm(struct agent *a, struct conflict_entry *e, mono_t now)
{
	struct conflicts *c = &a->conflicts;
	const struct vip *vip = vips_find(&a->vips, &e->row.vip);
	mono_t at = conflict_doubt_ask_at(&e->doubt), over = mono_add_ms(e->doubt.last, CONFLICT_DOUBT_MS + 1);

	if (!vip || a->cfg->conflict_probe_rate == 0)
		return over;
	if (c->may_ask && mono_reached(now, at)) {
		if (conflicts_ask_besides(a, vip, now)) { /* what cannot be sent is not answered */
			conflict_doubt_asked(&e->doubt, now);
			at = conflict_doubt_ask_at(&e->doubt);
		} else {
			at = c->sweep.next; /* it can be, then or later */
		}
	}
	c->ask_at = mono_min(c->ask_at, at);
	return mono_min(over, mono_before(at, now) ? now : at);
}

static mono_t look_at(struct agent *a, struct conflict_entry *e, mono_t now)
{
	if (e->state == CONFLICT_SUSPECT)
		return confirm(a, e, now);
	if (e->state == CONFLICT_OVER)
		return mono_add_ms(now, OVER_STEP_MS);
	follow_up(a, e, now);
	if (e->unnamed && mono_before(now, mono_add_ms(e->row.first, NAME_MS)))
		return mono_add_ms(e->row.first, NAME_MS);
	return mono_add_ms(now, e->telling || e->event || e->unnamed ? STEP_MS : REST_MS);
}

static bool is_done(const struct agent *a, const struct conflict_entry *e, mono_t now)
{
	const struct wire_row *row;

	if (e->state == CONFLICT_OVER)
		return mono_diff_ms(now, e->row.last) >= FORGET_MS;
	if (e->state == CONFLICT_ON)
		return false;
	row = wire_row(&a->wire, &e->row.vip);
	return !row || !conflict_doubt_stands(&e->doubt, now, row->held_since);
}

mono_t conflict_tell(struct agent *a, mono_t now)
{
	struct conflicts *c = &a->conflicts;
	mono_t wake = MONO_NEVER;

	if (mono_before(now, c->tell_at))
		return c->tell_at;
	c->ask_at = MONO_NEVER;
	for (size_t i = c->n_rows; i-- > 0;) {
		if (is_done(a, &c->rows[i], now))
			drop(c, i);
		else
			wake = mono_min(wake, look_at(a, &c->rows[i], now));
	}
	c->tell_at = wake;
	return wake;
}
