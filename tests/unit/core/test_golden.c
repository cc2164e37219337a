/* SPDX-License-Identifier: Apache-2.0 */
/* test_golden.c: runs the scripts of tests/golden/core: a cluster in words (world.h) goes in; decisions, wanted state and
 * plan come out and are compared with the lines that stand behind each "run", word by word.  Each run is also made with
 * every smaller arena, which must be refused, and planned twice, where the second plan must be empty.
 *
 * Statements besides those of world.h:
 *	run [decisions] [wanted] [sources] [plan]	decides, builds, plans against the last run; prints the parts named, or all
 *			but sources: guards, homes and local backends
 *	write [NS/NAME...]		what was decided goes into the annotations (of these Services, or of all)
 *	publish [NS/NAME...]		as write, and into status
 *	forget				the kernel holds nothing
 *
 * LEASEHOLD_GOLDEN names the folder (tests/golden/core by default); LEASEHOLD_GOLDEN_UPDATE=1 writes what came out into
 * the scripts instead of comparing: then the diff is to be read. */
#include <dirent.h>

#include "agent/base/buf.h"
#include "agent/base/file.h"
#include "agent/core/diff.h"
#include "tests/unit/core/world.h"

#define ARENA_MAX ((size_t)1 << 20)
#define OPS_SPELLED 4 /* slot operations in a row that are printed one by one */
#define TABLE_SPELLED 13

/* All that the core says to one state of the world. */
struct outcome {
	struct arena arena;
	struct pool_decision *decisions;
	struct wanted wanted;
	struct nat_state state;
	struct nat_plan plan, again;
};

struct script {
	struct world w;
	struct outcome *last; /* NULL before the first run and after "forget" */
	struct buf out;	      /* the script with its expected lines as they should be */
	const char *path;
	unsigned int line;
	bool run; /* decisions are there */
};

static int nat_state_of(const struct wanted *wanted, struct arena *a, struct nat_state *ret)
{
	struct ip *vips = arena_take_array(a, wanted->n_vips, sizeof(*vips));

	if (!vips)
		return -28; /* ENOSPC */
	for (size_t i = 0; i < wanted->n_vips; i++)
		vips[i] = wanted->vips[i].ip;
	*ret = (struct nat_state){ vips, wanted->n_vips, wanted->frontends, wanted->n_frontends, wanted->guards,
				   wanted->n_guards, wanted->locals, wanted->n_locals, wanted->homes, wanted->n_homes };
	return 0;
}

struct compute {
	const struct world *w;
	const struct nat_state *observed;
	struct outcome *o;
};

static int compute(struct arena *a, void *ctx)
{
	struct compute *c = ctx;
	struct outcome *o = c->o;
	struct wanted_input in = { .services = c->w->service_list, .n_services = c->w->n_services,
				   .slices = c->w->slice_list, .n_slices = c->w->n_slices,
				   .dataplane_nft = c->w->dataplane_nft, .snat_to_vip = c->w->snat_to_vip,
				   .node = WORLD_NODE, .homes = c->w->home_list };
	int r = pool_plan(&c->w->pool, c->w->service_list, c->w->n_services, a, &o->decisions);

	in.decisions = o->decisions;
	if (r == 0)
		r = wanted_build(&in, a, &o->wanted);
	if (r == 0)
		r = nat_state_of(&o->wanted, a, &o->state);
	if (r == 0)
		r = diff_nat(&o->state, c->observed, a, &o->plan);
	if (r == 0)
		r = diff_nat(&o->state, &o->state, a, &o->again);
	return r;
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

static void print_decisions(struct script *s, const struct outcome *o)
{
	static const char *const states[] = { "foreign", "release", "keep", "assign", "failed" };

	for (size_t i = 0; i < s->w.n_services; i++) {
		const struct pool_decision *d = &o->decisions[i];

		buf_printf(&s->out, "> %s/%s %s", s->w.services[i]->ns, s->w.services[i]->name, states[d->state]);
		for (size_t k = 0; k < d->n_ips; k++)
			buf_printf(&s->out, " %s", ip_text(&d->ips[k]));
		if (d->reason)
			buf_printf(&s->out, " %s: %s", d->reason, d->message);
		buf_puts(&s->out, "\n");
	}
}

/* The slots as letters, a = the lowest backend; for a large table the number of slots of each backend. */
static void print_table(struct script *s, const struct frontend *f)
{
	struct ip_port names[WORLD_MAX * 2];
	unsigned int count[WORLD_MAX * 2] = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < f->n_slots; i++) {
		size_t k = 0;

		while (k < n && ip_port_cmp(&names[k], &f->slots[i]) != 0)
			k++;
		assert_true(k < ARRAY_LEN(names));
		names[k] = f->slots[i];
		count[k]++;
		n = k == n ? n + 1 : n;
	}
	for (size_t i = 1; i < n; i++) { /* insertion sort of the few */
		for (size_t k = i; k > 0 && ip_port_cmp(&names[k - 1], &names[k]) > 0; k--) {
			struct ip_port t = names[k];
			unsigned int c = count[k];

			names[k] = names[k - 1];
			names[k - 1] = t;
			count[k] = count[k - 1];
			count[k - 1] = c;
		}
	}
	for (size_t k = 0; k < n; k++)
		buf_printf(&s->out, " %s:%u*%u", ip_text(&names[k].ip), names[k].port, count[k]);
	for (size_t i = 0; f->n_slots <= TABLE_SPELLED && i < f->n_slots; i++) {
		size_t k = 0;

		while (ip_port_cmp(&names[k], &f->slots[i]) != 0)
			k++;
		buf_printf(&s->out, "%s%c", i ? "" : " ", (int)('a' + k));
	}
}

static void print_wanted(struct script *s, const struct outcome *o)
{
	const struct wanted *w = &o->wanted;

	for (size_t i = 0; i < w->n_vips; i++) {
		const struct world_service *ws = s->w.services[w->vips[i].service];

		buf_printf(&s->out, "> vip %s of %s/%s\n", ip_text(&w->vips[i].ip), ws->ns, ws->name);
	}
	for (size_t i = 0; i < w->n_frontends; i++) {
		const struct frontend *f = &w->frontends[i];

		buf_printf(&s->out, "> frontend %s %s/%u %s %u", ip_text(&f->vip), proto_text(f->proto), f->port,
			   f->balance == BALANCE_HASH ? "hash" : "random", f->n_slots);
		print_table(s, f);
		buf_puts(&s->out, "\n");
	}
}

static void print_sources(struct script *s, const struct outcome *o)
{
	const struct wanted *w = &o->wanted;

	for (size_t i = 0; i < w->n_guards; i++)
		buf_printf(&s->out, "> guard %s %s/%u\n", ip_text(&w->guards[i].ip), proto_text(w->guards[i].proto),
			   w->guards[i].port);
	for (size_t i = 0; i < w->n_homes; i++)
		buf_printf(&s->out, "> home %s interface %u\n", ip_text(&w->homes[i].vip), w->homes[i].ifindex);
	for (size_t i = 0; i < w->n_locals; i++)
		buf_printf(&s->out, "> local %s\n", ip_text(&w->locals[i]));
}

static bool is_slot(const struct nat_op *op)
{
	return op->kind == NAT_OP_SLOT_ADD || op->kind == NAT_OP_SLOT_DEL;
}

static void print_op(struct script *s, const struct nat_op *op)
{
	static const char *const kinds[] = { "vip+", "vip-", "local+", "local-", "home+", "home-", "guard+", "guard-",
					     "frontend+", "frontend-", "slot+", "slot-" };

	buf_printf(&s->out, ">  %s %s", kinds[op->kind], ip_text(&op->vip));
	if (op->ifindex)
		buf_printf(&s->out, " interface %u", op->ifindex);
	if (op->proto)
		buf_printf(&s->out, " %s/%u", proto_text(op->proto), op->port);
	if (is_slot(op))
		buf_printf(&s->out, " %u %s:%u", op->slot, ip_text(&op->backend.ip), op->backend.port);
	else if (op->n_slots)
		buf_printf(&s->out, " %s %u", op->balance == BALANCE_HASH ? "hash" : "random", op->n_slots);
	buf_puts(&s->out, "\n");
}

static void print_plan(struct script *s, const struct outcome *o)
{
	size_t i = 0;

	if (o->plan.n_ops == 0)
		buf_puts(&s->out, "> nothing to do\n");
	for (size_t g = 0; g < o->plan.n_groups; g++) {
		buf_printf(&s->out, "> group %zu\n", g + 1);
		while (i < o->plan.ends[g]) {
			const struct nat_op *op = &o->plan.ops[i];
			size_t n = 0;

			while (is_slot(op) && i + n < o->plan.ends[g] && op[n].kind == op->kind)
				n++;
			if (n > OPS_SPELLED) {
				buf_printf(&s->out, ">  %s %s %s/%u slots %u to %u (%zu)\n",
					   op->kind == NAT_OP_SLOT_ADD ? "slot+" : "slot-", ip_text(&op->vip),
					   proto_text(op->proto), op->port, op->slot, op[n - 1].slot, n);
				i += n;
			} else {
				print_op(s, op);
				i++;
			}
		}
	}
	assert_int_equal(i, o->plan.n_ops);
}

/* ---- the script ---- */

static void run(struct script *s, char **at)
{
	static const struct nat_state nothing;
	struct outcome *o = calloc(1, sizeof(*o));
	struct compute c = { &s->w, s->last ? &s->last->state : &nothing, o };
	char *word = next_word(at);
	size_t size;

	assert_non_null(o);
	size = refuse_all_smaller(compute, &c, ARENA_MAX, s->w.n_services > 8 ? 16 : 2);
	o->arena = make_arena(size);
	assert_int_equal(compute(&o->arena, &c), 0);
	if (o->again.n_ops)
		fail_msg("%s:%u: a state differs from itself", s->path, s->line);
	if (!word) {
		print_decisions(s, o);
		print_wanted(s, o);
		print_plan(s, o);
	}
	for (; word; word = next_word(at)) {
		if (text_eq(word, "decisions"))
			print_decisions(s, o);
		else if (text_eq(word, "wanted"))
			print_wanted(s, o);
		else if (text_eq(word, "sources"))
			print_sources(s, o);
		else if (text_eq(word, "plan"))
			print_plan(s, o);
		else
			fail_msg("%s:%u: run \"%s\"?", s->path, s->line, word);
	}
	drop_outcome(s->last);
	s->last = o;
	s->run = true;
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

	if (!s->run || !s->last)
		fail_msg("%s:%u: nothing was decided", s->path, s->line);
	for (size_t i = 0; all && i < s->w.n_services; i++)
		write_one(&s->w.services[i]->s, &s->last->decisions[i], publish);
	for (; word; word = next_word(at)) {
		struct world_service *ws = world_service(&s->w, word);
		size_t i = 0;

		while (s->w.services[i] != ws)
			i++;
		write_one(&ws->s, &s->last->decisions[i], publish);
	}
}

static void statement(struct script *s, const char *line)
{
	char *copy = strdup(line), *at = NULL;
	const char *verb;

	assert_non_null(copy);
	verb = strtok_r(copy, " \t", &at);
	if (verb && text_eq(verb, "run")) {
		run(s, &at);
	} else if (verb && (text_eq(verb, "write") || text_eq(verb, "publish"))) {
		write_decisions(s, &at, text_eq(verb, "publish"));
	} else if (verb && text_eq(verb, "forget")) {
		drop_outcome(s->last);
		s->last = NULL;
	} else {
		char *whole = strdup(line);

		assert_non_null(whole);
		/* decisions belong to the Services as they stood: write_decisions() must come before a change */
		s->run = s->run && (!verb || *verb == '#');
		if (!world_statement(&s->w, whole))
			fail_msg("%s:%u: \"%s\"?", s->path, s->line, line);
		free(whole);
	}
	free(copy);
}

static void first_difference(const char *path, const char *want, const char *got)
{
	unsigned int line = 1;

	for (;;) {
		size_t a = strcspn(want, "\n"), b = strcspn(got, "\n");

		if (a != b || memcmp(want, got, a) != 0) {
			print_error("%s:%u\n  expected: %.*s\n  came out: %.*s\n", path, line, (int)a, want, (int)b, got);
			return;
		}
		want += a + (want[a] == '\n');
		got += b + (got[b] == '\n');
		line++;
	}
}

static void run_script(const char *path)
{
	struct buf text = BUF_INIT((size_t)1 << 20);
	struct script s = { .path = path, .out = BUF_INIT((size_t)1 << 20) };
	struct err_info err = ERR_INFO_INIT;
	const char *update = getenv("LEASEHOLD_GOLDEN_UPDATE");
	char *copy, *at = NULL;
	bool same;

	if (file_read(path, &text, &err) < 0)
		fail_msg("%s", err.text);
	world_init(&s.w);
	copy = strdup(buf_text(&text));
	assert_non_null(copy);
	at = copy;
	for (char *line = strsep(&at, "\n"); line && at; line = strsep(&at, "\n")) {
		s.line++;
		if (*line == '>')
			continue; /* expected: printed anew */
		buf_printf(&s.out, "%s\n", line);
		statement(&s, line);
	}
	assert_int_equal(buf_failed(&s.out), 0);
	same = text_eq(buf_text(&s.out), buf_text(&text));
	if (!same && update && text_eq(update, "1")) {
		if (file_write(path, s.out.data, s.out.len, &err) < 0)
			fail_msg("%s", err.text);
		print_message("%s: updated\n", path);
		same = true;
	}
	if (!same)
		first_difference(path, buf_text(&text), buf_text(&s.out));
	world_fini(&s.w);
	drop_outcome(s.last);
	buf_fini(&text);
	buf_fini(&s.out);
	free(copy);
	assert_true(same);
}

static const char *folder(void)
{
	const char *dir = getenv("LEASEHOLD_GOLDEN");

	return dir ? dir : "tests/golden/core";
}

static int is_script(const struct dirent *d)
{
	const char *dot = strrchr(d->d_name, '.');

	return dot && text_eq(dot, ".txt");
}

static void test_script(void **state)
{
	run_script(*state);
}

int main(void)
{
	struct dirent **names = NULL;
	int n = scandir(folder(), &names, is_script, alphasort), failed = 0;

	if (n <= 0) {
		fprintf(stderr, "no scripts in %s (run from the top of the tree, or set LEASEHOLD_GOLDEN)\n", folder());
		return 1;
	}
	for (int i = 0; i < n; i++) {
		char path[512];
		struct CMUnitTest test = { names[i]->d_name, test_script, NULL, NULL, path };

		snprintf(path, sizeof(path), "%s/%s", folder(), names[i]->d_name);
		failed += _cmocka_run_group_tests(names[i]->d_name, &test, 1, NULL, NULL);
		free(names[i]);
	}
	free(names);
	return failed > 0;
}
