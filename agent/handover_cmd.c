/* SPDX-License-Identifier: Apache-2.0 */
/* handover_cmd.c: one request, then the Lease is read until it has another holder or the holder has refused. */
#include "agent/handover_cmd.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/base/text.h"
#include "agent/kube/write_json.h"

#define ASK_EVERY_MS 50
#define REQUEST_MS 2000
#define TIMEOUT_MS 15000

struct handover_args {
	const char *group; /* number or name of the Lease */
	const char *to;	   /* "*": any */
	const char *kubeconfig, *ns;
	int64_t timeout_ms;
};

struct handover_run {
	struct kube_client *client;
	struct kube_lease lease; /* as last read */
	char path[640];
	bool waiting; /* for a reply */
	int status;   /* of the last reply; 0 = no answer */
	char error[ERR_TEXT_MAX];
};

void handover_help(FILE *out)
{
	fputs("Usage: leasehold handover [GROUP] [--to NODE] [FLAGS]\n"
	      "\n"
	      "Moves a group of VIPs to another node without a break: the present holder gets the successor\n"
	      "ready, then hands over.  GROUP is a number (default 0) or the name of a Lease.\n"
	      "\n"
	      "Flags:\n"
	      "  --to NODE          the node that is to hold it; default: the holder picks one\n"
	      "  --kubeconfig FILE  credentials; default: $KUBECONFIG, ~/.kube/config, the Pod's service account\n"
	      "  --namespace NS     namespace of the Leases (default kube-system)\n"
	      "  --timeout TIME     give up after this time (default 15s)\n"
	      "\n"
	      "Exit codes: 0 moved, or there already; 1 not moved, the message says why; 2 wrong flags.\n",
	      out);
}

/* ---- flags ---- */

static bool take_flag(int argc, char **argv, int *i, const char *name, const char **ret)
{
	size_t len = strlen(name);

	if (text_eq(argv[*i], name) && *i + 1 < argc && argv[*i + 1][0] != '-') {
		*ret = argv[++*i];
		return true;
	}
	if (text_starts(argv[*i], name) && argv[*i][len] == '=') {
		*ret = argv[*i] + len + 1;
		return true;
	}
	return false;
}

/* RFC 1123, as the API server demands of names. */
static bool is_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= 253 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

static bool parse_args(int argc, char **argv, struct handover_args *a, FILE *err)
{
	const char *timeout = NULL, *group = NULL;

	*a = (struct handover_args){ .group = "0", .to = "*", .ns = "kube-system", .timeout_ms = TIMEOUT_MS };
	for (int i = 0; i < argc; i++) {
		if (take_flag(argc, argv, &i, "--to", &a->to) || take_flag(argc, argv, &i, "--kubeconfig", &a->kubeconfig) ||
		    take_flag(argc, argv, &i, "--namespace", &a->ns) || take_flag(argc, argv, &i, "--timeout", &timeout))
			continue;
		if (*argv[i] == '-' || group) {
			fprintf(err, "%s: no such flag, or its value is missing (see leasehold handover --help)\n", argv[i]);
			return false;
		}
		a->group = group = argv[i];
	}
	if (!text_eq(a->to, "*") && !is_name(a->to)) {
		fprintf(err, "--to: \"%.40s\" is not a node name (a-z 0-9 . -)\n", a->to);
		return false;
	}
	if (!is_name(a->ns)) {
		fprintf(err, "--namespace: \"%.40s\" is not a namespace (a-z 0-9 -)\n", a->ns);
		return false;
	}
	if (timeout && (text_to_ms(timeout, &a->timeout_ms) < 0 || a->timeout_ms <= 0)) {
		fprintf(err, "--timeout: \"%s\" is not a time with a unit, such as 15s\n", timeout);
		return false;
	}
	return true;
}

/* "3" is Lease leasehold-group-3; anything else is a Lease's name. */
static bool lease_path(const struct handover_args *a, struct handover_run *run, char *name, size_t size, FILE *err)
{
	struct buf path = BUF_INIT(sizeof(run->path) - 1);
	uint64_t number;
	bool good;

	if (text_to_u64(a->group, GROUPS_MAX - 1, &number) == 0)
		good = snprintf(name, size, "leasehold-group-%" PRIu64, number) < (int)size;
	else
		good = (text_starts(a->group, "leasehold-group-") || text_starts(a->group, "leasehold-vip-")) &&
		       is_name(a->group) && text_copy(name, size, a->group);
	buf_printf(&path, "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", a->ns, name);
	if (!good || buf_failed(&path) < 0 || !text_copy(run->path, sizeof(run->path), buf_text(&path))) {
		fprintf(err, "%s: not a group (0 to %d) or the name of one of our Leases\n", a->group, GROUPS_MAX - 1);
		good = false;
	}
	buf_fini(&path);
	return good;
}

/* ---- talking to the API ---- */

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	struct handover_run *run = ctx;
	struct err_info err = ERR_INFO_INIT;

	run->waiting = false;
	run->status = rp->status;
	IGNORE(text_copy(run->error, sizeof(run->error), rp->err.text)); /* same size */
	if (rp->status == 200 && lease_decode(rp->body, rp->len, &run->lease, NULL, &err) < 0) {
		run->status = 0;
		IGNORE(text_copy(run->error, sizeof(run->error), err.text)); /* same size */
	}
}

static void turn_until(struct handover_run *run, mono_t until)
{
	struct err_info err = ERR_INFO_INIT;
	mono_t now = mono_now();

	while (run->waiting && mono_before(now, until)) {
		struct pollfd fd = { .fd = kube_client_fd(run->client), .events = POLLIN };

		IGNORE(poll(&fd, 1, (int)mono_diff_ms(until, now) + 1)); /* dispatch looks itself */
		if (kube_client_dispatch(run->client, &err) < 0) {
			IGNORE(text_copy(run->error, sizeof(run->error), err.text)); /* same size */
			run->waiting = false;
			run->status = 0;
		}
		now = mono_now();
	}
}

/* Sends a request and waits for its answer: run->status, run->error. */
static void ask(struct handover_run *run, enum kube_method method, const char *body)
{
	const struct kube_request rq = {
		.method = method,
		.channel = KUBE_CHANNEL_GENERAL,
		.path = run->path,
		.content_type = body ? "application/merge-patch+json" : NULL,
		.body = body,
		.timeout_ms = REQUEST_MS,
	};
	struct err_info err = ERR_INFO_INIT;

	run->status = 0;
	run->waiting = true;
	if (kube_request(run->client, &rq, on_reply, run, &err) < 0) {
		IGNORE(text_copy(run->error, sizeof(run->error), err.text)); /* same size */
		run->waiting = false;
	}
	turn_until(run, mono_add_ms(mono_now(), REQUEST_MS + MS_PER_S));
}

static void request_move(struct handover_run *run, uint32_t number, const char *to)
{
	struct buf body = BUF_INIT(4096);

	if (handover_request_patch(number, to, &body) == 0)
		ask(run, KUBE_PATCH, buf_text(&body));
	buf_fini(&body);
}

static void sleep_ms(int ms)
{
	IGNORE(poll(NULL, 0, ms)); /* an early end is harmless */
}

/* ---- the command ---- */

static int open_run(const struct handover_args *a, struct handover_run *run, struct err_info *err)
{
	const struct kube_client_config cfg = { .user_agent = "leasehold-handover" };
	const char *home = getenv("HOME"), *file = a->kubeconfig;
	struct kube_auth *auth = NULL;
	char standard[4096] = "";
	int r;

	if (!file)
		file = getenv("KUBECONFIG");
	if ((!file || !*file) && home && snprintf(standard, sizeof(standard), "%s/.kube/config", home) < (int)sizeof(standard) &&
	    access(standard, R_OK) == 0)
		file = standard;
	if (file && *file)
		r = kube_auth_from_kubeconfig(file, &auth, err);
	else
		r = kube_auth_in_cluster(NULL, getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT"), &auth, err);
	if (r == 0)
		r = kube_client_new(auth, &cfg, &run->client, err);
	if (r < 0 && auth)
		kube_auth_free(auth);
	return r;
}

/* The group moved, or its holder refused; false: neither, ask again. */
static bool settled(const struct handover_run *run, uint32_t number, const char *from, const char *to, const char *name,
		    FILE *out, FILE *err, int *ret_code)
{
	const struct kube_lease *l = &run->lease;
	char node[LEASE_HOLDER_MAX], before[LEASE_HOLDER_MAX];

	if (l->result.number == number && !l->result.ok) {
		fprintf(err, "leasehold handover: %s: %s\n", name, l->result.text);
		*ret_code = EXIT_FAILED;
		return true;
	}
	IGNORE(lease_node(l->holder, node, sizeof(node))); /* only compared and shown */
	IGNORE(lease_node(from, before, sizeof(before)));  /* likewise */
	if (!*l->holder || text_eq(node, before))
		return false; /* nobody yet, or its agent was merely restarted */
	if (text_eq(to, "*") || text_eq(to, node)) {
		fprintf(out, "%s moved from %s to %s\n", name, before, node);
		*ret_code = EXIT_OK;
	} else {
		fprintf(err, "leasehold handover: %s moved from %s to %s, not to %s\n", name, before, node, to);
		*ret_code = EXIT_FAILED;
	}
	return true;
}

static int move(const struct handover_args *a, struct handover_run *run, const char *name, FILE *out, FILE *err)
{
	char from[LEASE_HOLDER_MAX], node[LEASE_HOLDER_MAX];
	mono_t until = mono_add_ms(mono_now(), a->timeout_ms);
	uint32_t number = 0;
	int code = EXIT_FAILED;

	ask(run, KUBE_GET, NULL);
	if (run->status != 200) {
		fprintf(err, "leasehold handover: %s: %s\n", name, run->status == 404 ? "there is no such Lease" : run->error);
		return EXIT_FAILED;
	}
	IGNORE(text_copy(from, sizeof(from), run->lease.holder)); /* same size */
	IGNORE(lease_node(from, node, sizeof(node))); /* only shown */
	if (!*from) {
		fprintf(err, "leasehold handover: %s: nobody holds it\n", name);
		return EXIT_FAILED;
	}
	if (text_eq(node, a->to)) {
		fprintf(out, "%s is held by %s already\n", name, node);
		return EXIT_OK;
	}
	while (number == 0)
		if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
			return EXIT_FAILED;
	request_move(run, number, a->to);
	if (run->status != 200) {
		fprintf(err, "leasehold handover: %s could not be written: %s\n", name, run->error);
		return EXIT_FAILED;
	}
	while (mono_before(mono_now(), until)) {
		sleep_ms(ASK_EVERY_MS);
		ask(run, KUBE_GET, NULL);
		if (run->status == 200 && settled(run, number, from, a->to, name, out, err, &code))
			return code;
	}
	fprintf(err, "leasehold handover: %s: %s has not handed over in time%s%s\n", name, node, *run->error ? ": " : "",
		run->error);
	request_move(run, 0, ""); /* or it would be granted later, when nobody expects it */
	return EXIT_FAILED;
}

int handover_command(int argc, char **argv, FILE *out, FILE *err)
{
	struct handover_run run = { .client = NULL };
	struct err_info problem = ERR_INFO_INIT;
	struct handover_args args;
	char name[254];
	int code;

	if (!parse_args(argc, argv, &args, err) || !lease_path(&args, &run, name, sizeof(name), err))
		return EXIT_USAGE;
	if (open_run(&args, &run, &problem) < 0) {
		fprintf(err, "leasehold handover: %s\n", problem.text);
		return EXIT_FAILED;
	}
	code = move(&args, &run, name, out, err);
	kube_client_free(run.client);
	return code;
}
