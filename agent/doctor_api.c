/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_api.c: asks each API server whether it is ready, then the first that is: which version, what we may do, who holds
 * the Lease and whether it is renewed, which node has which MAC.  Reads only (a SelfSubjectAccessReview is kept nowhere). */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/base/text.h"
#include "agent/doctor_net.h"
#include "agent/kube/auth_private.h"
#include "agent/kube/client.h"
#include "agent/kube/lease_json.h"
#include "agent/kube/node_json.h"
#include "agent/kube/review_json.h"
#include "agent/kube/token_json.h"
#include "agent/rights.h"
#include "election/lease.h"

#define REQUEST_MS 4000
#define LEASE_AGAIN_MS 150
#define BODY_MAX ((size_t)4 * 1024 * 1024)

static_assert(FACT_SERVERS_MAX >= KUBE_SERVERS_MAX, "the client takes no more");

/* A request under way, and its answer. */
struct ask {
	bool waiting;
	int status; /* 0 = none */
	int64_t date_s;
	struct err_info err;
	struct buf body;
};

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	struct ask *a = ctx;

	a->waiting = false;
	a->status = rp->status;
	a->date_s = rp->date_s;
	a->err = rp->err;
	if (rp->status / 100 == 2)
		buf_append(&a->body, rp->body, rp->len);
}

static void start(struct kube_client *c, struct ask *a, const char *path, const char *body)
{
	const struct kube_request rq = {
		.method = body ? KUBE_POST : KUBE_GET, .channel = KUBE_CHANNEL_GENERAL, .path = path,
		.content_type = body ? "application/json" : NULL, .body = body, .timeout_ms = REQUEST_MS,
	};

	buf_fini(&a->body);
	*a = (struct ask){ .body = BUF_INIT(BODY_MAX), .err = ERR_INFO_INIT };
	a->waiting = kube_request(c, &rq, on_reply, a, &a->err) == 0;
}

/* Turns the client until all have their answers, or the time is over. */
static void wait_for(struct kube_client *c, const struct ask *asks, size_t n, mono_t until)
{
	mono_t now = mono_now();

	for (;;) {
		struct pollfd fd = { .fd = kube_client_fd(c), .events = POLLIN };
		bool waiting = false;

		for (size_t i = 0; i < n; i++)
			waiting |= asks[i].waiting;
		if (!waiting || !mono_before(now, until))
			return;
		IGNORE(poll(&fd, 1, (int)mono_diff_ms(until, now) + 1)); /* dispatch looks itself */
		if (kube_client_dispatch(c, NULL) < 0)
			return;
		now = mono_now();
	}
}

static mono_t soon(const struct doctor *d)
{
	return mono_min(d->until, mono_add_ms(mono_now(), REQUEST_MS + MS_PER_S));
}

/* ---- who we are ---- */

static int open_auth(const struct config *c, struct kube_auth **ret, struct err_info *err)
{
	if (*c->kubeconfig)
		return kube_auth_from_kubeconfig(c->kubeconfig, ret, err);
	return kube_auth_in_cluster(NULL, getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT"), ret, err);
}

static void look_at_token(const struct kube_auth *auth, struct facts_api *ret)
{
	const char *token = kube_auth_token(auth);
	int64_t ends_s;

	if (*token && token_expiry(token, &ends_s) == 0) {
		ret->token_expires = true;
		ret->token_left_s = ends_s - (int64_t)time(NULL);
	}
}

/* A client for one server alone, so that the answers are its own; server NULL: that of the credentials.  NULL: err says why. */
static struct kube_client *open_client(const struct config *c, const char *server, struct err_info *err)
{
	const char *const servers[] = { server };
	const struct kube_client_config cfg = { .servers = servers, .n_servers = server ? 1 : 0, .user_agent = "leasehold-doctor" };
	struct kube_client *client = NULL;
	struct kube_auth *auth = NULL;

	if (open_auth(c, &auth, err) < 0)
		return NULL;
	if (kube_client_new(auth, &cfg, &client, err) < 0)
		kube_auth_free(auth);
	return client;
}

/* ---- a server ---- */

static void look_at_server(const struct doctor *d, struct kube_client *c, struct facts_server *s)
{
	struct ask asks[2] = { { .waiting = false }, { .waiting = false } };
	struct kube_version v;

	s->version_major = s->version_minor = FACT_UNKNOWN;
	start(c, &asks[0], "/readyz", NULL);
	start(c, &asks[1], "/version", NULL);
	wait_for(c, asks, ARRAY_LEN(asks), soon(d));
	if (asks[0].status == 200)
		doctor_good(&s->ready);
	else
		doctor_bad(&s->ready, *asks[0].err.text ? asks[0].err.text : "no answer in time");
	if (asks[0].date_s > 0) {
		s->dated = true;
		s->ahead_s = asks[0].date_s - (int64_t)time(NULL);
	}
	if (asks[1].status == 200 && version_decode(buf_text(&asks[1].body), asks[1].body.len, &v, NULL) == 0) {
		s->version_major = v.major;
		s->version_minor = v.minor;
		memcpy(s->version, v.text, sizeof(s->version));
	}
	buf_fini(&asks[0].body);
	buf_fini(&asks[1].body);
}

/* ---- what we may do ---- */

static int ask_right(struct kube_client *c, struct ask *a, const struct facts_right *r)
{
	const struct review_ask ask = { r->verb, r->group, r->resource, r->subresource, r->ns, r->name };
	struct buf body = BUF_INIT(4096);
	int e = review_encode(&ask, &body);

	if (e == 0)
		start(c, a, REVIEW_PATH, buf_text(&body));
	buf_fini(&body);
	return e;
}

static void look_at_rights(const struct doctor *d, struct kube_client *c, struct facts_api *ret)
{
	struct ask asks[FACT_RIGHTS_MAX];
	bool allowed;

	memset(asks, 0, sizeof(asks));
	ret->n_rights = rights_list(d->cfg, ret->rights);
	for (size_t i = 0; i < ret->n_rights; i++)
		IGNORE(ask_right(c, &asks[i], &ret->rights[i])); /* no answer, then */
	wait_for(c, asks, ret->n_rights, soon(d));
	for (size_t i = 0; i < ret->n_rights; i++) {
		const char *why = *asks[i].err.text ? asks[i].err.text : "no answer in time";

		if (asks[i].status == 201 && review_decode(buf_text(&asks[i].body), asks[i].body.len, &allowed, &asks[i].err) == 0)
			ret->rights[i].answer = allowed ? RIGHT_YES : RIGHT_NO;
		else
			IGNORE(text_copy(ret->rights_error, sizeof(ret->rights_error), why)); /* same size */
		buf_fini(&asks[i].body);
	}
}

/* ---- the Lease ---- */

static int read_lease(const struct doctor *d, struct kube_client *c, const char *path, struct kube_lease *ret, struct fact *seen)
{
	struct ask ask = { .waiting = false };
	int status;

	start(c, &ask, path, NULL);
	wait_for(c, &ask, 1, soon(d));
	status = ask.status;
	if (status == 200 && lease_decode(buf_text(&ask.body), ask.body.len, ret, NULL, &ask.err) < 0)
		status = 0;
	if (status == 200 || status == 404)
		doctor_good(seen);
	else
		doctor_bad(seen, *ask.err.text ? ask.err.text : "no answer in time");
	buf_fini(&ask.body);
	return status;
}

static void look_at_lease(const struct doctor *d, struct kube_client *c, struct facts_api *ret)
{
	struct kube_lease first, now;
	char path[512];
	mono_t began = mono_now(), until = d->until;
	int status;

	if (snprintf(path, sizeof(path), "/apis/coordination.k8s.io/v1/namespaces/%s/leases/%s", d->cfg->ns, ret->lease) >=
	    (int)sizeof(path))
		return;
	status = read_lease(d, c, path, &first, &ret->lease_seen);
	ret->lease_absent = status == 404;
	if (status != 200)
		return;
	IGNORE(lease_node(first.holder, ret->holder, sizeof(ret->holder))); /* only shown */
	ret->lease_hold = first.hold;
	ret->lease_ms = first.annotation_ms ? first.annotation_ms : first.seconds * MS_PER_S;
	/* How often its holder renews it is the holder's to know, but within the duration it has to. */
	if (ret->lease_ms && ret->lease_ms < mono_diff_ms(until, began))
		until = mono_add_ms(began, ret->lease_ms + LEASE_AGAIN_MS);
	/* Its times are another clock's: only whether it changes tells that its holder lives. */
	while (*first.holder && !ret->lease_moved && mono_before(mono_now(), until)) {
		struct fact again;

		IGNORE(poll(NULL, 0, LEASE_AGAIN_MS)); /* an early end is harmless */
		if (read_lease(d, c, path, &now, &again) != 200 || text_eq(now.version, first.version))
			continue;
		ret->lease_moved = true;
		IGNORE(lease_node(now.holder, ret->holder, sizeof(ret->holder))); /* another may have taken it over */
	}
	ret->lease_watched_ms = mono_diff_ms(mono_now(), began);
}

/* ---- nodes ---- */

static void look_at_macs(const struct doctor *d, struct kube_client *c, struct doctor_macs *ret)
{
	struct ask ask = { .waiting = false };
	char path[512];

	if (snprintf(path, sizeof(path),
		     "/apis/coordination.k8s.io/v1/namespaces/%s/leases?labelSelector=leasehold.io%%2Fkind%%3Dnode", d->cfg->ns) >=
	    (int)sizeof(path))
		return;
	start(c, &ask, path, NULL);
	wait_for(c, &ask, 1, soon(d));
	if (ask.status == 200) { /* else none are known */
		IGNORE(macs_decode(buf_text(&ask.body), ask.body.len, ret->v, DOCTOR_MACS_MAX, &ret->n));
		IGNORE(addresses_decode(buf_text(&ask.body), ask.body.len, ret->addresses, DOCTOR_ADDRESSES_MAX, &ret->n_addresses));
	}
	buf_fini(&ask.body);
}

int doctor_labels(const struct doctor *d, struct labels *ret)
{
	struct ask ask = { .waiting = false };
	struct kube_client *c = open_client(d->cfg, d->cfg->api_servers.n ? d->cfg->api_servers.v[0] : NULL, NULL);
	struct kube_node node;
	char path[300];
	int r = -EIO;

	if (!c)
		return r;
	IGNORE(snprintf(path, sizeof(path), "/api/v1/nodes/%s", d->cfg->node_name)); /* 253 characters at most */
	start(c, &ask, path, NULL);
	wait_for(c, &ask, 1, soon(d));
	if (ask.status == 200)
		r = node_decode(buf_text(&ask.body), ask.body.len, &node, ret, NULL);
	buf_fini(&ask.body);
	kube_client_free(c);
	return r;
}

/* ---- all ---- */

static void name_credentials(const struct config *c, struct facts_api *ret)
{
	ret->in_cluster = !*c->kubeconfig;
	if (*c->kubeconfig)
		IGNORE(snprintf(ret->credentials, sizeof(ret->credentials), "credentials: %.200s", c->kubeconfig)); /* cut is fine */
	else
		IGNORE(text_copy(ret->credentials, sizeof(ret->credentials), "credentials: the Pod's service account")); /* fits */
}

static void name_servers(const struct config *c, const struct kube_auth *auth, struct facts_api *ret)
{
	ret->n_servers = c->api_servers.n ? c->api_servers.n : 1;
	if (ret->n_servers > FACT_SERVERS_MAX)
		ret->n_servers = FACT_SERVERS_MAX;
	for (size_t i = 0; i < ret->n_servers; i++)
		IGNORE(text_copy(ret->servers[i].url, sizeof(ret->servers[i].url),
				 c->api_servers.n ? c->api_servers.v[i] : kube_auth_server(auth))); /* only shown when it is cut */
}

void doctor_api(const struct doctor *d, struct facts_api *ret, struct doctor_macs *macs)
{
	struct err_info err = ERR_INFO_INIT;
	struct kube_auth *auth = NULL;
	struct kube_client *chosen = NULL; /* the first that is ready */

	name_credentials(d->cfg, ret);
	IGNORE(text_copy(ret->lease, sizeof(ret->lease), "leasehold-group-0")); /* fits */
	doctor_untried(&ret->lease_seen, "no API server is ready");
	if (open_auth(d->cfg, &auth, &err) < 0) {
		IGNORE(text_copy(ret->credentials_error, sizeof(ret->credentials_error), err.text)); /* same size */
		return;
	}
	look_at_token(auth, ret);
	name_servers(d->cfg, auth, ret);
	kube_auth_free(auth);
	for (size_t i = 0; i < ret->n_servers; i++) {
		struct kube_client *c = open_client(d->cfg, ret->servers[i].url, &err);

		if (!c) {
			doctor_bad(&ret->servers[i].ready, err.text);
			continue;
		}
		look_at_server(d, c, &ret->servers[i]);
		if (chosen || ret->servers[i].ready.state != FACT_GOOD) {
			kube_client_free(c);
			continue;
		}
		chosen = c;
		look_at_rights(d, c, ret);
		look_at_macs(d, c, macs);
	}
	if (chosen) {
		look_at_lease(d, chosen, ret); /* last: it may take all the time there is */
		kube_client_free(chosen);
	} else {
		ret->n_rights = rights_list(d->cfg, ret->rights);
		IGNORE(text_copy(ret->rights_error, sizeof(ret->rights_error), "no API server is ready")); /* fits */
	}
}
