/* SPDX-License-Identifier: Apache-2.0 */
/* doctor.c: the command: options, the parts in threads of their own, so that one that hangs in the kernel or at a dead server
 * takes no other with it, and the judgement of what they have found. */
#include "agent/doctor.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/memory.h"

#define TIMEOUT_MS 15000
#define MARGIN_MS 250 /* the parts end so long before, each with what it has */
#define TIMEOUT_MIN_MS 1000
#define TIMEOUT_MAX_MS 60000
#define ARGS_MAX 512
#define CMDLINE_MAX ((size_t)256 * 1024)

void doctor_bad(struct fact *f, const char *why)
{
	f->state = FACT_BAD;
	IGNORE(text_copy(f->text, sizeof(f->text), why)); /* cut is fine */
}

void doctor_untried(struct fact *f, const char *why)
{
	f->state = FACT_UNTRIED;
	IGNORE(text_copy(f->text, sizeof(f->text), why)); /* cut is fine */
}

void doctor_help(FILE *out)
{
	fputs("Usage: leasehold doctor [--json] [--timeout TIME] [--probe ADDR]... [FLAGS]\n"
	      "\n"
	      "Says what this node lacks, or has set wrong, for its configuration: each line ok, warning, error\n"
	      "or skipped, with what it means and how to mend it.  Needs no running agent.  Changes nothing;\n"
	      "only the gate's self test attaches a filter to lo and takes it off again.\n"
	      "\n"
	      "FLAGS are those of leasehold agent.  With none but --state-dir the running agent's own are taken.\n"
	      "\n"
	      "Flags:\n"
	      "  --json           one JSON object\n"
	      "  --timeout TIME   tell what is known after this time, 1s to 1m (default 15s)\n"
	      "  --probe ADDR     ask the LAN who has this address, too; repeatable\n"
	      "\n"
	      "Exit codes: 0 no errors; 1 errors were found; 2 wrong flags or configuration.\n",
	      out);
}

/* ---- options ---- */

struct args {
	bool json;
	int64_t timeout_ms;
	struct ip asked[DOCTOR_PROBES_MAX];
	size_t n_asked;
	char *rest[ARGS_MAX]; /* the agent's; borrowed */
	int n_rest;
};

/* "--NAME VALUE" or "--NAME=VALUE".  NULL: another flag; "" with a flag whose value is missing. */
static const char *value_of(int argc, char **argv, int *i, const char *name)
{
	size_t len = strlen(name);

	if (text_eq(argv[*i], name))
		return *i + 1 < argc ? argv[++*i] : "";
	return text_starts(argv[*i], name) && argv[*i][len] == '=' ? argv[*i] + len + 1 : NULL;
}

static bool take_probe(struct args *a, const char *value, FILE *err)
{
	if (a->n_asked == DOCTOR_PROBES_MAX) {
		fprintf(err, "--probe: more than %d addresses\n", DOCTOR_PROBES_MAX);
		return false;
	}
	if (ip_parse(value, &a->asked[a->n_asked]) < 0 || ip_is_unusable(&a->asked[a->n_asked])) {
		fprintf(err, "--probe: \"%.60s\" is not an address of a host\n", value);
		return false;
	}
	a->n_asked++;
	return true;
}

static bool parse_args(int argc, char **argv, struct args *a, FILE *err)
{
	const char *value;

	*a = (struct args){ .timeout_ms = TIMEOUT_MS };
	for (int i = 0; i < argc; i++) {
		if (text_eq(argv[i], "--json")) {
			a->json = true;
		} else if ((value = value_of(argc, argv, &i, "--timeout"))) {
			if (text_to_ms(value, &a->timeout_ms) < 0 || a->timeout_ms < TIMEOUT_MIN_MS || a->timeout_ms > TIMEOUT_MAX_MS) {
				fprintf(err, "--timeout: \"%.40s\" is not a time from 1s to 1m\n", value);
				return false;
			}
		} else if ((value = value_of(argc, argv, &i, "--probe"))) {
			if (!take_probe(a, value, err))
				return false;
		} else if (a->n_rest == ARGS_MAX) {
			fprintf(err, "more than %d flags\n", ARGS_MAX);
			return false;
		} else {
			a->rest[a->n_rest++] = argv[i];
		}
	}
	return true;
}

/* ---- the running agent's own configuration ---- */

static const char *state_dir_of(struct args *a, bool *only)
{
	const char *dir = "/run/leasehold", *value;

	*only = true;
	for (int i = 0; i < a->n_rest; i++) {
		int at = i;

		value = value_of(a->n_rest, a->rest, &at, "--state-dir");
		*only &= value != NULL;
		dir = value ? value : dir;
		i = at;
	}
	return dir;
}

/* Its files are ours only in the same container. */
static bool same_mounts(int pid)
{
	char path[64], ours[64], its[64];
	ssize_t n, m;

	IGNORE(snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid)); /* fits */
	n = readlink("/proc/self/ns/mnt", ours, sizeof(ours));
	m = readlink(path, its, sizeof(its));
	return n > 0 && n == m && memcmp(ours, its, (size_t)n) == 0;
}

/* What stands behind "agent" in its command line, into the words of 'a', before those that are there. */
static bool take_cmdline(int pid, struct buf *cmdline, struct args *a)
{
	char *own[ARGS_MAX], path[64];
	int n_own = a->n_rest, word = 0;

	IGNORE(snprintf(path, sizeof(path), "/proc/%d/cmdline", pid)); /* fits */
	if (file_read(path, cmdline, NULL) < 0 || buf_failed(cmdline) < 0)
		return false;
	memcpy(own, a->rest, sizeof(own[0]) * (size_t)n_own);
	a->n_rest = 0;
	for (char *at = cmdline->data; at && at < cmdline->data + cmdline->len; at += strlen(at) + 1, word++) {
		if (word == 1 && !text_eq(at, "agent"))
			break;
		if (word > 1 && a->n_rest + n_own < ARGS_MAX)
			a->rest[a->n_rest++] = at;
	}
	memcpy(a->rest + a->n_rest, own, sizeof(own[0]) * (size_t)n_own);
	a->n_rest += n_own;
	return word > 1;
}

/* Whose configuration is judged, in words. */
static void choose_config(struct args *a, struct buf *cmdline, char *source, size_t size)
{
	bool only;
	const char *dir = state_dir_of(a, &only);
	int pid = only ? doctor_agent_pid(dir) : 0;

	IGNORE(text_copy(source, size, a->n_rest ? "the flags given" : "no flags given, and no agent runs: defaults")); /* fits */
	if (pid <= 0)
		return;
	if (!same_mounts(pid))
		IGNORE(snprintf(source, size, "defaults; the agent (process %d) runs in a container: for its configuration, kubectl "
				"-n NAMESPACE exec POD -- leasehold doctor", pid)); /* fits */
	else if (take_cmdline(pid, cmdline, a))
		IGNORE(snprintf(source, size, "that of the running agent (process %d)", pid)); /* fits */
}

/* ---- parts ---- */

/* Everything a thread may touch lives here, and is left alone when one does not end. */
struct work {
	struct doctor d;
	struct facts_node node;
	struct facts_net net;
	struct facts_wire wire;
	struct facts_api api;
	struct doctor_macs macs;
	struct doctor_facts facts; /* of parts that have ended */
};

struct part {
	void *(*run)(void *work);
	pthread_t thread;
	bool started, ended;
};

static void *run_node(void *work)
{
	struct work *w = work;

	doctor_node(&w->d, &w->node);
	return NULL;
}

static void *run_net(void *work)
{
	struct work *w = work;

	doctor_net(&w->d, &w->net, &w->wire);
	return NULL;
}

static void *run_api(void *work)
{
	struct work *w = work;

	doctor_api(&w->d, &w->api, &w->macs);
	return NULL;
}

/* until: CLOCK_BOOTTIME; suspended time does not matter here. */
static void join(struct part *p, mono_t until)
{
	int64_t ms = mono_diff_ms(until, mono_now());
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	ms = ms > 0 ? ms : 0;
	at.tv_sec += (time_t)(ms / MS_PER_S);
	at.tv_nsec += (long)(ms % MS_PER_S) * NS_PER_MS;
	if (at.tv_nsec >= 1000 * NS_PER_MS) {
		at.tv_sec++;
		at.tv_nsec -= 1000 * NS_PER_MS;
	}
	p->ended = p->started && pthread_clockjoin_np(p->thread, NULL, CLOCK_MONOTONIC, &at) == 0;
}

static void skip(char *skipped, size_t size, const struct part *p)
{
	IGNORE(text_copy(skipped, size, p->started ? "not done in time (--timeout)" : "no thread could be had for it")); /* fits */
}

/* Who a MAC belongs to was asked of the API, meanwhile. */
static void name_macs(struct facts_wire *wire, const struct doctor_macs *macs)
{
	char mac[18];

	wire->nodes_known = macs->n > 0;
	for (size_t k = 0; k < macs->n; k++) {
		IGNORE(snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", macs->v[k].mac[0], macs->v[k].mac[1],
				macs->v[k].mac[2], macs->v[k].mac[3], macs->v[k].mac[4], macs->v[k].mac[5])); /* fits */
		for (size_t i = 0; i < wire->n_probes; i++)
			for (size_t m = 0; m < wire->probes[i].n_macs; m++)
				if (text_eq(wire->probes[i].macs[m].mac, mac))
					memcpy(wire->probes[i].macs[m].node, macs->v[k].node, sizeof(macs->v[k].node));
	}
}

/* Likewise, whom this node has connections with. */
static void name_peers(struct facts_routes *r, const struct doctor_macs *macs)
{
	for (size_t i = 0; i < r->n_peers; i++)
		for (size_t k = 0; k < macs->n_addresses; k++)
			r->peers[i].node |= ip_eq(&r->peers[i].ip, &macs->addresses[k]);
}

/* False: some part has not ended, and may still write into *w. */
static bool gather(struct work *w)
{
	struct part parts[] = { { .run = run_node }, { .run = run_net }, { .run = run_api } };
	struct doctor_facts *f = &w->facts;
	bool all = true;

	doctor_rights(&w->d, &f->rights);
	doctor_agent(&w->d, &f->agent);
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		parts[i].started = pthread_create(&parts[i].thread, NULL, parts[i].run, w) == 0;
	for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
		join(&parts[i], mono_add_ms(w->d.until, MARGIN_MS));
		all &= parts[i].ended || !parts[i].started;
	}
	if (parts[0].ended)
		f->node = w->node;
	else
		skip(f->node.skipped, sizeof(f->node.skipped), &parts[0]);
	if (parts[1].ended) {
		f->net = w->net;
		f->wire = w->wire;
	} else {
		skip(f->net.skipped, sizeof(f->net.skipped), &parts[1]);
		skip(f->wire.skipped, sizeof(f->wire.skipped), &parts[1]);
	}
	if (parts[2].ended) {
		f->api = w->api;
		name_macs(&f->wire, &w->macs);
		name_peers(&f->net.routes, &w->macs);
	} else {
		skip(f->api.skipped, sizeof(f->api.skipped), &parts[2]);
	}
	return all;
}

/* ---- judgement ---- */

static void take_config(const struct config *c, struct facts_config *f)
{
	f->node = c->node_name;
	f->ns = c->ns;
	f->state_dir = c->state_dir;
	f->n_pools = c->pools.n;
	f->control_vip = c->control_vip.family != IP_NONE;
	for (size_t i = 0; i < c->pools.n; i++) {
		f->pool_v4 |= c->ranges[i].first.family == IP_V4;
		f->pool_v6 |= c->ranges[i].first.family == IP_V6;
	}
	f->nft = c->dataplane == DATAPLANE_NFT;
	f->routed = c->announce != ANNOUNCE_ARP;
	f->bgp = c->announce == ANNOUNCE_BGP;
	f->gate = c->gate == GATE_ON && !f->routed;
	f->realtime = c->realtime;
	f->manage = c->sysctl == SYSCTL_MANAGE;
	f->in_pod = getenv("KUBERNETES_SERVICE_HOST") != NULL;
}

static int tell(const struct doctor_facts *facts, const struct args *a, FILE *out)
{
	struct arena arena = { .base = NULL };
	struct findings findings = { .first = NULL };
	const char *node = facts->config.node ? facts->config.node : "?";
	int r;

	do {
		arena_reset(&arena);
		r = arena_grow(&arena);
		if (r == 0)
			r = findings_judge(facts, &arena, &findings);
	} while (r == -ENOSPC);
	if (r == 0 && a->json)
		doctor_print_json(&findings, node, out);
	else if (r == 0)
		doctor_print_text(&findings, node, isatty(fileno(out)) && !getenv("NO_COLOR"), out);
	free(arena.base);
	if (r < 0)
		return EXIT_FAILED;
	return facts->config.errors ? EXIT_USAGE : findings.n[FINDING_ERROR] ? EXIT_FAILED : EXIT_OK;
}

int doctor_command(int argc, char **argv, FILE *out, FILE *err)
{
	struct buf errors = BUF_INIT(64 * 1024), cmdline = BUF_INIT(CMDLINE_MAX);
	struct work *w = calloc(1, sizeof(*w));
	mono_t began = mono_now();
	struct config c;
	char source[FACT_TEXT_MAX];
	struct args args;
	bool ended = true;
	int code;

	if (!w) {
		fputs("leasehold doctor: out of memory\n", err);
		return EXIT_FAILED;
	}
	if (!parse_args(argc, argv, &args, err)) {
		free(w);
		return EXIT_USAGE;
	}
	choose_config(&args, &cmdline, source, sizeof(source));
	w->d = (struct doctor){ .cfg = &c, .until = mono_add_ms(began, args.timeout_ms - MARGIN_MS), .n_asked = args.n_asked };
	memcpy(w->d.asked, args.asked, sizeof(args.asked));
	w->facts.config.source = source;
	if (config_parse(args.n_rest, args.rest, &c, &errors) < 0)
		w->facts.config.errors = buf_text(&errors);
	take_config(&c, &w->facts.config);
	if (!w->facts.config.errors)
		ended = gather(w);
	code = tell(&w->facts, &args, out);
	buf_fini(&errors);
	buf_fini(&cmdline);
	if (!ended) { /* it may still read the configuration; the process ends soon */
		fflush(out);
		_exit(code);
	}
	free(w->d.agent.vips);
	free(w);
	config_fini(&c);
	return code;
}
