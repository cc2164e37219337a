/* SPDX-License-Identifier: Apache-2.0 */
/* findings_api.c: what is to be said of the Kubernetes API, clocks and the running agent. */
#include <string.h>

#include "agent/core/findings_private.h"

#define OLDEST_MINOR 30	/* of Kubernetes 1: ipMode is on by default since then */
#define CLOCK_S 5	/* a difference that people should know of */
#define TOKEN_SOON_S (10 * 60) /* kubelet renews a Pod's at four fifths of its life, an hour by default */

/* ---- API ---- */

static void judge_credentials(struct judge *j)
{
	const struct facts_api *a = &j->f->api;

	if (*a->credentials_error) {
		judge_add(j, FINDING_ERROR, "no credentials for the API", a->credentials_error, NULL,
			  "in a Pod a service account (the chart has one); elsewhere --kubeconfig FILE");
		return;
	}
	if (a->token_expires && a->token_left_s <= 0)
		judge_add(j, FINDING_ERROR, SAY(j, a->credentials, ": the token has expired ", judge_time(j, -a->token_left_s), " ago"),
			  "the API server refuses it", NULL,
			  a->in_cluster ? "kubelet renews it: is the node's clock right? Else start the Pod anew" :
					  SAY(j, "make a new one: kubectl -n ", j->f->config.ns, " create token leasehold --duration 24h"));
	else if (a->token_expires && !a->in_cluster)
		judge_add(j, a->token_left_s < TOKEN_SOON_S ? FINDING_WARNING : FINDING_OK,
			  SAY(j, a->credentials, ": the token expires in ", judge_time(j, a->token_left_s)),
			  a->token_left_s < TOKEN_SOON_S ? "after that the API server refuses it" : NULL, NULL,
			  a->token_left_s < TOKEN_SOON_S ? "write a new one into the file; the agent reads it again by itself" : NULL);
	else
		judge_ok(j, a->credentials);
}

static void judge_server(struct judge *j, const struct facts_server *s)
{
	bool old = s->version_major != FACT_UNKNOWN && s->version_major <= 1 && s->version_minor < OLDEST_MINOR;

	if (s->ready.state == FACT_BAD)
		judge_add(j, FINDING_ERROR, SAY(j, s->url, " is not ready"), s->ready.text, NULL,
			  "from this node: curl -k URL/readyz; a name in the URL needs the node's own resolver (/etc/hosts), and the "
			  "certificate has to name what stands in the URL");
	else if (s->ready.state == FACT_UNTRIED)
		judge_skip(j, s->url, s->ready.text);
	else if (old)
		judge_add(j, FINDING_WARNING, SAY(j, s->url, " is ready; it is Kubernetes ", s->version),
			  "before 1.30 Service status knows no ipMode unless a feature gate is set: Pods may not reach VIPs", NULL,
			  "a newer Kubernetes");
	else
		judge_ok(j, SAY(j, s->url, " is ready", *s->version ? "; Kubernetes " : "", s->version));
}

/* "get leases.coordination.k8s.io in kube-system", as kubectl auth can-i takes it. */
static const char *right_text(struct judge *j, const struct facts_right *r)
{
	return SAY(j, r->verb, " ", r->resource, *r->group ? "." : "", r->group, *r->subresource ? "/" : "", r->subresource,
		   *r->name ? " " : "", r->name, *r->ns ? " in " : "", r->ns);
}

/* "get list watch" of one resource together: they come in order. */
static bool same_object(const struct facts_right *a, const struct facts_right *b)
{
	return strcmp(a->group, b->group) == 0 && strcmp(a->resource, b->resource) == 0 &&
	       strcmp(a->subresource, b->subresource) == 0 && strcmp(a->ns, b->ns) == 0 && strcmp(a->name, b->name) == 0;
}

/* The rule as RBAC writes it, and in what. */
static const char *rule_text(struct judge *j, const struct facts_right *r)
{
	return SAY(j, *r->ns ? "the Role in namespace " : "the ClusterRole", r->ns, " lacks apiGroups: [\"", r->group,
		   "\"], resources: [", r->resource, *r->subresource ? "/" : "", r->subresource, *r->name ? "], resourceNames: [" : "",
		   r->name, "], verbs: [", r->verb, "]");
}

static void judge_lacking(struct judge *j, const struct facts_right *first, size_t n)
{
	struct facts_right all = *first;
	const char *verbs = "";
	size_t lacking = 0;

	for (size_t i = 0; i < n; i++)
		if (first[i].answer == RIGHT_NO) {
			verbs = SAY(j, verbs, lacking ? "," : "", first[i].verb);
			lacking++;
		}
	if (!lacking)
		return;
	all.verb = verbs;
	judge_add(j, FINDING_ERROR, SAY(j, "not allowed: ", right_text(j, &all)), SAY(j, "the agent needs it to ", all.what_for),
		  NULL, SAY(j, rule_text(j, &all), "; helm upgrade puts the chart's right; without the chart apply only the Role and "
			    "ClusterRole of leasehold manifest with the flags you installed with"));
}

static void judge_rbac(struct judge *j)
{
	const struct facts_api *a = &j->f->api;
	size_t yes = 0, no = 0;

	for (size_t i = 0, n; i < a->n_rights; i += n) {
		for (n = 1; i + n < a->n_rights && same_object(&a->rights[i], &a->rights[i + n]); n++)
			;
		judge_lacking(j, &a->rights[i], n);
	}
	for (size_t i = 0; i < a->n_rights; i++) {
		yes += a->rights[i].answer == RIGHT_YES;
		no += a->rights[i].answer == RIGHT_NO;
	}
	if (yes + no < a->n_rights)
		judge_skip(j, SAY(j, judge_number(j, (int64_t)(a->n_rights - yes - no)), " of ",
				  judge_number(j, (int64_t)a->n_rights), " rights (RBAC)"), a->rights_error);
	else if (no == 0 && yes > 0)
		judge_ok(j, SAY(j, "RBAC: all ", judge_number(j, (int64_t)yes), " rights that the agent needs"));
}

static void judge_lease(struct judge *j)
{
	const struct facts_api *a = &j->f->api;
	const char *watched = SAY(j, judge_time(j, (a->lease_watched_ms + 999) / 1000));

	if (a->lease_seen.state == FACT_UNTRIED && *a->lease_seen.text)
		judge_skip(j, SAY(j, "Lease ", a->lease), a->lease_seen.text);
	else if (a->lease_seen.state == FACT_BAD)
		judge_add(j, FINDING_ERROR, SAY(j, "Lease ", a->lease, " cannot be read"), a->lease_seen.text, NULL,
			  "the RBAC objects, and --namespace");
	else if (a->lease_seen.state == FACT_GOOD && a->lease_absent)
		judge_ok(j, SAY(j, "Lease ", a->lease, " does not exist yet: the first agent makes it"));
	else if (a->lease_seen.state == FACT_GOOD && !*a->holder)
		judge_add(j, FINDING_WARNING, SAY(j, "nobody holds Lease ", a->lease), "its VIPs answer nowhere", NULL,
			  "leasehold status on each node says what keeps it from holding; is any agent running?");
	else if (a->lease_seen.state == FACT_GOOD && !a->lease_moved && (!a->lease_ms || a->lease_watched_ms < a->lease_ms))
		judge_skip(j, SAY(j, "whether ", a->holder, " renews Lease ", a->lease),
			   SAY(j, "not watched long enough: ", watched, a->lease_ms ? " of its duration of " : ", and it names no duration",
			       a->lease_ms ? judge_time(j, (a->lease_ms + 999) / 1000) : "",
			       a->lease_ms ? " (a longer --timeout)" : ""));
	else if (a->lease_seen.state == FACT_GOOD && !a->lease_moved)
		judge_add(j, FINDING_WARNING,
			  SAY(j, "Lease ", a->lease, " names ", a->holder, ", which has not renewed it in ", watched),
			  "its holder is gone or cut off, and nobody has taken over", NULL,
			  "is any agent running? leasehold status on each node says what keeps it from holding");
	else if (a->lease_seen.state == FACT_GOOD)
		judge_ok(j, SAY(j, "Lease ", a->lease, " is held by ", a->holder, ", and renewed"));
}

void judge_api(struct judge *j)
{
	const struct facts_api *a = &j->f->api;

	j->section = SECTION_API;
	if (*a->skipped) {
		judge_skip(j, "API", a->skipped);
		return;
	}
	judge_credentials(j);
	for (size_t i = 0; i < a->n_servers; i++)
		judge_server(j, &a->servers[i]);
	if (a->n_servers == 0)
		return;
	judge_rbac(j);
	judge_lease(j);
}

/* ---- clocks ---- */

void judge_clock(struct judge *j)
{
	const struct facts_api *a = &j->f->api;
	const struct facts_node *n = &j->f->node;

	j->section = SECTION_CLOCK;
	for (size_t i = 0; i < a->n_servers && !*a->skipped; i++) {
		const struct facts_server *s = &a->servers[i];
		int64_t by = s->ahead_s < 0 ? -s->ahead_s : s->ahead_s;

		if (!s->dated)
			continue;
		if (by < CLOCK_S)
			judge_ok(j, SAY(j, "wall clock agrees with that of ", s->url));
		else
			judge_add(j, FINDING_WARNING,
				  SAY(j, "the wall clock is ", judge_time(j, by), s->ahead_s > 0 ? " behind" : " ahead of", " that of ", s->url),
				  "Leases are not affected (their times are never compared); certificates and tokens are, and logs mislead",
				  "timedatectl set-ntp true", NULL);
	}
	if (*n->skipped)
		return;
	if (n->suspended_ms < 1000)
		judge_ok(j, "the node has not been suspended since boot");
	else
		judge_ok(j, SAY(j, "suspended for ", judge_time(j, n->suspended_ms / 1000),
				" since boot, which deadlines count (CLOCK_BOOTTIME)"));
}

/* ---- the agent ---- */

void judge_agent(struct judge *j)
{
	const struct facts_agent *a = &j->f->agent;
	const char *lines = a->why_not;

	j->section = SECTION_AGENT;
	if (*a->skipped) {
		judge_skip(j, "agent", a->skipped);
	} else if (!a->running) {
		judge_skip(j, "no agent runs here", SAY(j, "with the state directory ", j->f->config.state_dir));
	} else if (a->timed_out) {
		judge_add(j, FINDING_ERROR, "the agent does not answer: it may be frozen", a->asked.text, NULL,
			  "look at its log and its state (ps: T is stopped, D waits in the kernel); the kubelet or systemd ends one that hangs");
	} else if (a->asked.state == FACT_BAD) {
		judge_add(j, FINDING_ERROR, "the agent does not answer", a->asked.text, NULL,
			  "look at its log; an agent that hangs is ended by the kubelet or systemd");
	} else if (a->ready) {
		judge_ok(j, SAY(j, "runs and is ready: ", a->role, "; VIPs known: ", judge_number(j, (int64_t)a->n_vips)));
	} else {
		while (*lines) {
			size_t len = strcspn(lines, "\n");
			char line[FACT_TEXT_MAX] = "";

			memcpy(line, lines, len < sizeof(line) ? len : sizeof(line) - 1);
			judge_add(j, FINDING_ERROR, SAY(j, "not ready: ", line), NULL, NULL, NULL);
			lines += len;
			lines += *lines == '\n';
		}
	}
	if (!*a->skipped && *a->version && strcmp(a->version, a->our_version) != 0)
		judge_add(j, FINDING_WARNING, SAY(j, "the agent is version ", a->version, ", this program ", a->our_version),
			  "what one checks the other may not need", NULL, "run doctor in the agent's own Pod, or of its own package");
}
