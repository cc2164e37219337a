/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c: one request and what its outcome says of the server. */
#include "agent/kube/probe.h"

#include <stdio.h>
#include <string.h>

/* What is wrong, out of the reply to /readyz: a line a check, "[+]ping ok" or "[-]etcd failed: reason withheld"
 * (k8s.io/apiserver/pkg/server/healthz). */
static const char *failed_check(const char *body, int *ret_len)
{
	const char *at = strstr(body, "[-]");

	if (!at)
		return NULL;
	at += 3;
	*ret_len = (int)strcspn(at, "\r\n");
	return at;
}

static void on_reply(void *ctx, const struct kube_reply *rp)
{
	static const enum verdict of_failure[] = {
		[KUBE_FAILURE_REFUSED] = VERDICT_REFUSED,
		[KUBE_FAILURE_SILENT] = VERDICT_SILENT,
		[KUBE_FAILURE_OTHER] = VERDICT_BAD,
	};
	struct kube_probe *p = ctx;
	struct err_info why = ERR_INFO_INIT;
	const char *check;
	int len = 0;

	if (rp->status == 200) {
		p->fn(p, VERDICT_GOOD, "");
		return;
	}
	if (rp->status == 0) {
		p->fn(p, of_failure[rp->failure], rp->err.text);
		return;
	}
	check = failed_check(rp->body, &len);
	if (check)
		IGNORE(err_set(&why, 0, "HTTP %d: %.*s", rp->status, len, check)); /* returns 0 */
	p->fn(p, VERDICT_BAD, check ? why.text : rp->err.text);
}

int kube_probe(struct kube_client *c, struct kube_probe *p, int64_t timeout_ms, struct err_info *err)
{
	char ip[IP_TEXT_MAX], server[IP_TEXT_MAX + sizeof("https://[]:65535")];
	const struct kube_request rq = { .method = KUBE_GET, .channel = KUBE_CHANNEL_PROBE, .path = "/readyz",
					 .timeout_ms = timeout_ms, .server = server };
	bool v6 = p->at.ip.family == IP_V6;

	IGNORE(snprintf(server, sizeof(server), "https://%s%s%s:%u", v6 ? "[" : "", ip_format(&p->at.ip, ip), v6 ? "]" : "",
			(unsigned int)p->at.port)); /* fits */
	return kube_request(c, &rq, on_reply, p, err);
}
