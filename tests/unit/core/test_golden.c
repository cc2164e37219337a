/* SPDX-License-Identifier: Apache-2.0 */
/* test_golden.c: runs the scripts of tests/golden/core: a cluster in words (world.h) goes in; decisions, wanted state and
 * plan come out and are compared with the lines that stand behind each "run", word by word.  Each run is also made with
 * every smaller arena, which must be refused and leave the tally alone, and planned twice, where the second plan must be
 * empty.
 *
 * Statements besides those of world.h:
 *	run [decisions] [wanted] [members] [plan]	decides, builds, plans against the last run; prints the parts named, or all
 *			but members; "*2" behind a member: two Services want it
 *	write [NS/NAME...]		what was decided goes into the annotations (of these Services, or of all)
 *	publish [NS/NAME...]		as write, and into status
 *	forget				the kernel holds nothing */
#include "tests/unit/core/scripts.h"
#include "tests/unit/core/world.h"

#include "agent/core/diff.h"

#define ARENA_MAX ((size_t)1 << 20)
#define TALLY_CAP 2048
#define TABLE_SPELLED 13

/* All that the core says to one state of the world. */
struct outcome {
	struct arena arena;
	struct pool_decision *decisions;
	struct wanted_vip *vips;
	size_t n_vips;
	char names[WORLD_MAX][2 * WORLD_NAME];
	struct nat_service services[WORLD_MAX]; /* empty ones where nothing is served */
	size_t n_services;
	struct tally_entry entries[TALLY_CAP];
	struct tally tally;
	struct nat_plan plan, again;
};

/* What a script has come to. */
struct story {
	struct world w;
	struct outcome *last; /* NULL before the first run and after "forget" */
	bool run;	      /* decisions are there */
};

struct compute {
	const struct world *w;
	const struct outcome *last;
	struct outcome *o;
};

static int build_services(const struct compute *c, struct arena *a)
{
	static const struct nat_service nothing;
	struct outcome *o = c->o;
	int r = 0;

	o->n_services = c->w->n_services;
	for (size_t i = 0; r == 0 && i < c->w->n_services; i++) {
		const struct service *s = c->w->service_list[i];
		const struct pool_decision *d = &o->decisions[i];
		const struct wanted_input in = world_input(c->w, s, d->ips, d->n_ips);

		snprintf(o->names[i], sizeof(o->names[i]), "%s/%s", s->meta.ns, s->meta.name);
		o->services[i] = nothing;
		if (c->w->dataplane_nft && d->state != POOL_FOREIGN && d->state != POOL_RELEASE && d->n_ips > 0)
			r = wanted_service(&in, a, &o->services[i]);
	}
	return r;
}

static const struct nat_service *find_service(const struct outcome *o, const char *name)
{
	for (size_t i = 0; o && i < o->n_services; i++)
		if (text_eq(o->names[i], name))
			return &o->services[i];
	return NULL;
}

static int plan(const struct compute *c, struct arena *a)
{
	struct outcome *o = c->o;
	struct diff_pair pairs[2 * WORLD_MAX];
	static struct tally_entry before[TALLY_CAP];
	size_t n = 0;
	int r;

	for (size_t i = 0; i < o->n_services; i++)
		pairs[n++] = (struct diff_pair){ find_service(c->last, o->names[i]), &o->services[i] };
	for (size_t i = 0; c->last && i < c->last->n_services; i++)
		if (!find_service(o, c->last->names[i]))
			pairs[n++] = (struct diff_pair){ &c->last->services[i], NULL };
	tally_init(&o->tally, o->entries, TALLY_CAP);
	if (c->last)
		tally_move(&o->tally, &c->last->tally);
	memcpy(before, o->entries, sizeof(before));
	r = diff_services(pairs, n, &o->tally, a, &o->plan);
	if (r < 0)
		assert_memory_equal(before, o->entries, sizeof(before));
	for (size_t i = 0; i < o->n_services; i++)
		pairs[i] = (struct diff_pair){ &o->services[i], &o->services[i] };
	return r < 0 ? r : diff_services(pairs, o->n_services, &o->tally, a, &o->again);
}

static int compute(struct arena *a, void *ctx)
{
	struct compute *c = ctx;
	struct outcome *o = c->o;
	int r = pool_plan(&c->w->pool, c->w->service_list, c->w->n_services, a, &o->decisions);

	if (r == 0)
		r = wanted_vips(o->decisions, c->w->n_services, a, &o->vips, &o->n_vips);
	if (r == 0)
		r = build_services(c, a);
	return r < 0 ? r : plan(c, a);
}

static void drop_outcome(struct outcome *o)
{
	if (o)
		drop_arena(&o->arena);
	free(o);
}

static const char *ip_text(const struct ip *ip)
{
	static char texts[8][IP_TEXT_MAX];
	static unsigned int at;

	return ip_format(ip, texts[at++ % 8]);
}

static const char *proto_text(uint8_t proto)
{
	return proto == PROTO_TCP ? "tcp" : proto == PROTO_UDP ? "udp" : "sctp";
}

/* ---- printing ---- */

static void print_decisions(struct buf *out, const struct world *w, const struct outcome *o)
{
	static const char *const states[] = { "foreign", "release", "keep", "assign", "failed" };

	for (size_t i = 0; i < w->n_services; i++) {
		const struct pool_decision *d = &o->decisions[i];

		buf_printf(out, "> %s/%s %s", w->services[i]->ns, w->services[i]->name, states[d->state]);
		for (size_t k = 0; k < d->n_ips; k++)
			buf_printf(out, " %s", ip_text(&d->ips[k]));
		if (d->reason)
			buf_printf(out, " %s: %s", d->reason, d->message);
		buf_puts(out, "\n");
	}
}

static void print_kind(struct buf *out, const struct frontend *f)
{
	static const char *const names[] = { "hash", "random", "source", "round-robin" };

	buf_printf(out, " %s %u", names[f->balance], f->n_slots);
	if (f->sticky_s)
		buf_printf(out, " sticky %us", f->sticky_s);
}

static void print_key(struct buf *out, const char *what, const struct frontend *f)
{
	buf_printf(out, "> %s %s %s/%u", what, ip_text(&f->vip), proto_text(f->proto), f->port);
}

/* The slots of each backend, and, of a small table, the slots themselves as letters, a = the lowest backend. */
static void print_table(struct buf *out, const struct frontend *f)
{
	for (uint16_t b = 0; b < f->n_backends; b++) {
		unsigned int n = 0;

		for (size_t i = 0; i < f->n_slots; i++)
			n += f->slots[i] == b;
		buf_printf(out, " %s:%u*%u", ip_text(&f->backends[b].ip), f->backends[b].port, n);
	}
	for (size_t i = 0; f->n_slots <= TABLE_SPELLED && i < f->n_slots; i++)
		buf_printf(out, "%s%c", i ? "" : " ", (int)('a' + f->slots[i]));
}

static void print_firewall(struct buf *out, const struct nat_firewall *fw)
{
	buf_printf(out, "> firewall %s", fw->name);
	if (fw->restricted)
		buf_printf(out, " from%s", fw->n_sources ? "" : " nobody");
	for (size_t i = 0; i < fw->n_sources; i++)
		buf_printf(out, " %s/%u", ip_text(&fw->sources[i].ip), fw->sources[i].len);
	for (size_t i = 0; i < fw->n_rates; i++)
		buf_printf(out, ", %" PRIu64 " %s each %us and %u at once", fw->rates[i].amount,
			   fw->rates[i].unit == RATE_BYTES ? "bytes" : "packets", fw->rates[i].per_s, fw->rates[i].burst);
	if (fw->client_connections)
		buf_printf(out, ", %u connections a client", fw->client_connections);
	buf_puts(out, "\n");
}

static void print_wanted(struct buf *out, const struct world *w, const struct outcome *o)
{
	for (size_t i = 0; i < o->n_vips; i++) {
		const struct world_service *ws = w->services[o->vips[i].service];

		buf_printf(out, "> vip %s of %s/%s\n", ip_text(&o->vips[i].ip), ws->ns, ws->name);
	}
	for (size_t i = 0; i < o->n_services; i++) {
		for (size_t k = 0; k < o->services[i].n_frontends; k++) {
			print_key(out, "frontend", &o->services[i].frontends[k]);
			print_kind(out, &o->services[i].frontends[k]);
			print_table(out, &o->services[i].frontends[k]);
			buf_puts(out, "\n");
		}
		if (o->services[i].firewall)
			print_firewall(out, o->services[i].firewall);
	}
}

/* "guard+ 192.0.2.1 tcp/80" */
static void print_member(struct buf *out, const struct nat_member *m, const char *sign)
{
	static const char *const kinds[] = { "vip", "local", "home", "guard", "keep", "hairpin", "routed", "received", "sent",
					     "backend", "opened" };

	buf_printf(out, "> %s%s %s", kinds[m->kind], sign, ip_text(&m->ip));
	if (m->kind == NAT_HOME)
		buf_printf(out, " interface %u", m->ifindex);
	if (m->proto)
		buf_printf(out, " %s/%u", proto_text(m->proto), m->port);
}

static int entry_order(const void *a, const void *b)
{
	const struct tally_entry *x = a, *y = b;

	return nat_member_cmp(&x->member, &y->member);
}

/* All but the VIPs, which stand among what is wanted. */
static void print_members(struct buf *out, const struct outcome *o)
{
	struct tally_entry v[TALLY_CAP];
	size_t n = 0;

	for (size_t i = 0; i < TALLY_CAP; i++)
		if (o->entries[i].count > 0 && o->entries[i].member.kind != NAT_VIP)
			v[n++] = o->entries[i];
	qsort(v, n, sizeof(*v), entry_order);
	for (size_t i = 0; i < n; i++) {
		print_member(out, &v[i].member, "");
		if (v[i].count > 1)
			buf_printf(out, " *%u", v[i].count);
		buf_puts(out, "\n");
	}
}

/* How many slots another backend has, or that come or go. */
static unsigned int slots_changed(const struct frontend *old, const struct frontend *now)
{
	const size_t most = old->n_slots > now->n_slots ? old->n_slots : now->n_slots;
	unsigned int n = 0;

	for (size_t i = 0; i < most; i++)
		n += i >= old->n_slots || i >= now->n_slots ||
		     ip_port_cmp(&old->backends[old->slots[i]], &now->backends[now->slots[i]]) != 0;
	return n;
}

static void print_change(struct buf *out, const struct nat_change *c)
{
	print_key(out, !c->now ? "frontend-" : !c->old ? "frontend+" : "frontend~", c->now ? c->now : c->old);
	if (c->old)
		print_kind(out, c->old);
	if (c->old && c->now)
		buf_puts(out, " to");
	if (c->now)
		print_kind(out, c->now);
	if (c->old && c->now)
		buf_printf(out, ", %u slots", slots_changed(c->old, c->now));
	if (c->old_firewall || c->now_firewall)
		buf_printf(out, ", firewall %s", c->old ? c->old_firewall ? c->old_firewall : "none" : c->now_firewall);
	if (c->old && c->now && (c->old_firewall || c->now_firewall))
		buf_printf(out, " to %s", c->now_firewall ? c->now_firewall : "none");
	buf_puts(out, "\n");
}

static void print_plan(struct buf *out, const struct outcome *o)
{
	const struct nat_plan *p = &o->plan;

	if (nat_plan_empty(p))
		buf_puts(out, "> nothing to do\n");
	for (size_t i = 0; i < p->n_add; i++) {
		print_member(out, &p->add[i], "+");
		buf_puts(out, "\n");
	}
	for (size_t i = 0; i < p->n_firewalls; i++)
		print_firewall(out, p->firewalls[i]);
	for (size_t i = 0; i < p->n_changes; i++)
		print_change(out, &p->changes[i]);
	for (size_t i = 0; i < p->n_gone; i++)
		buf_printf(out, "> firewall- %s\n", p->gone[i]);
	for (size_t i = 0; i < p->n_del; i++) {
		print_member(out, &p->del[i], "-");
		buf_puts(out, "\n");
	}
}

/* ---- the script ---- */

static void run(struct script *s, char **at)
{
	struct story *t = s->ctx;
	struct outcome *o = calloc(1, sizeof(*o));
	struct compute c = { &t->w, t->last, o };
	char *word = next_word(at);
	size_t size;

	assert_non_null(o);
	size = refuse_all_smaller(compute, &c, ARENA_MAX, t->w.n_services > 8 ? 16 : 2);
	o->arena = make_arena(size);
	assert_int_equal(compute(&o->arena, &c), 0);
	if (!nat_plan_empty(&o->again))
		fail_msg("%s:%u: a state differs from itself", s->path, s->line);
	if (!word) {
		print_decisions(&s->out, &t->w, o);
		print_wanted(&s->out, &t->w, o);
		print_plan(&s->out, o);
	}
	for (; word; word = next_word(at)) {
		if (text_eq(word, "decisions"))
			print_decisions(&s->out, &t->w, o);
		else if (text_eq(word, "wanted"))
			print_wanted(&s->out, &t->w, o);
		else if (text_eq(word, "members"))
			print_members(&s->out, o);
		else if (text_eq(word, "plan"))
			print_plan(&s->out, o);
		else
			fail_msg("%s:%u: run \"%s\"?", s->path, s->line, word);
	}
	drop_outcome(t->last);
	t->last = o;
	t->run = true;
}

static void write_one(struct service *s, const struct pool_decision *d, bool publish)
{
	if (d->state == POOL_FOREIGN)
		return;
	s->n_allocated = d->n_ips;
	memcpy(s->allocated, d->ips, sizeof(d->ips));
	if (publish) {
		s->n_ingress = d->n_ips;
		memcpy(s->ingress, d->ips, sizeof(d->ips));
	}
}

static void write_decisions(struct script *s, char **at, bool publish)
{
	char *word = next_word(at);
	const bool all = !word;
	struct story *t = s->ctx;

	if (!t->run || !t->last)
		fail_msg("%s:%u: nothing was decided", s->path, s->line);
	for (size_t i = 0; all && i < t->w.n_services; i++)
		write_one(&t->w.services[i]->s, &t->last->decisions[i], publish);
	for (; word; word = next_word(at)) {
		struct world_service *ws = world_service(&t->w, word);
		size_t i = 0;

		while (t->w.services[i] != ws)
			i++;
		write_one(&ws->s, &t->last->decisions[i], publish);
	}
}

static void one_line(struct script *s, const char *line)
{
	char *copy = strdup(line), *at = NULL;
	struct story *t = s->ctx;
	const char *verb;

	assert_non_null(copy);
	if (*line != '>') /* that is expected, and printed anew */
		buf_printf(&s->out, "%s\n", line);
	verb = *line == '>' ? NULL : strtok_r(copy, " \t", &at);
	if (verb && text_eq(verb, "run")) {
		run(s, &at);
	} else if (verb && (text_eq(verb, "write") || text_eq(verb, "publish"))) {
		write_decisions(s, &at, text_eq(verb, "publish"));
	} else if (verb && text_eq(verb, "forget")) {
		drop_outcome(t->last);
		t->last = NULL;
	} else if (verb && *verb != '#') {
		char *whole = strdup(line);

		assert_non_null(whole);
		t->run = false; /* decisions belong to the Services as they stood: write_decisions() must come before a change */
		if (!world_statement(&t->w, whole))
			fail_msg("%s:%u: \"%s\"?", s->path, s->line, line);
		free(whole);
	}
	free(copy);
}

static void *begin(void)
{
	struct story *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	world_init(&t->w);
	return t;
}

static void end(void *ctx)
{
	struct story *t = ctx;

	world_fini(&t->w);
	drop_outcome(t->last);
	free(t);
}

static void test_script(void **state)
{
	static const struct script_kind kind = { begin, one_line, end };

	script_run(&kind, *state);
}

int main(void)
{
	return scripts_main("tests/golden/core", test_script);
}
