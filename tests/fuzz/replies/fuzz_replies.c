/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz_replies.c: the other objects that an API server sends: Leases, Nodes, nodes' records, Status.  The first byte chooses
 * the reader (see readers[]).  Beyond not crashing: a Lease and a record come back from their encoding, and texts end. */
#include <errno.h>

#include "agent/base/buf.h"
#include "agent/base/text.h"
#include "agent/kube/lease_json.h"
#include "agent/kube/node_json.h"
#include "agent/kube/record_json.h"
#include "agent/kube/status_json.h"
#include "tests/fuzz/fuzz.h"

/* A Lease may be a node's record, and what was read is written in the same words. */
static void read_record(const char *text, size_t len)
{
	static struct kube_record r, again;
	struct buf body = BUF_INIT(16 * 1024 * 1024);
	struct kube_lease out = { .name = "leasehold-node-a", .holder = "a_1_2", .record = &r };
	int e;

	if (record_decode(text, len, &r, NULL) < 0)
		return;
	e = lease_encode(&out, "kube-system", NULL, NULL, &body);
	assert(e == 0);
	e = record_decode(buf_text(&body), body.len, &again, NULL);
	assert(e == 0);
	assert(memcmp(&r, &again, sizeof(r)) == 0);
	buf_fini(&body);
}

static void read_node(const char *text, size_t len)
{
	struct labels labels = { .v = { { .key = "rack" }, { .key = "topology.kubernetes.io/zone" } }, .n = 2 };
	struct kube_node n;

	if (node_decode(text, len, &n, &labels, NULL) < 0)
		return;
	assert(n.rank >= -1 && n.rank <= 9 && strnlen(n.uid, sizeof(n.uid)) < sizeof(n.uid));
	for (size_t i = 0; i < labels.n; i++)
		assert(strnlen(labels.v[i].value, LABEL_VALUE_MAX) < LABEL_VALUE_MAX && (labels.v[i].there || !*labels.v[i].value));
}

static void read_lease(const char *text, size_t len)
{
	const struct lease_times times = { 1, 2 };
	struct lease_keep keep = LEASE_KEEP_INIT;
	struct buf body = BUF_INIT(16 * 1024 * 1024);
	struct kube_lease l, again;
	struct err_info err = ERR_INFO_INIT;
	int r;

	if (lease_decode(text, len, &l, &keep, &err) < 0) {
		assert(*err.text);
	} else {
		r = lease_encode(&l, "kube-system", &times, &keep, &body);
		assert(r == 0);
		r = lease_decode(buf_text(&body), body.len, &again, NULL, &err);
		assert(r == 0);
		assert(text_eq(l.name, again.name) && text_eq(l.holder, again.holder) && text_eq(l.version, again.version));
		assert(l.annotation_ms == again.annotation_ms && l.transitions == again.transitions && l.hold == again.hold);
		assert(memcmp(&l.move, &again.move, sizeof(l.move)) == 0);
		assert(memcmp(&l.request, &again.request, sizeof(l.request)) == 0);
		assert(memcmp(&l.result, &again.result, sizeof(l.result)) == 0);
		assert(again.seconds == (l.seconds < 1 ? 1 : l.seconds));
	}
	lease_keep_fini(&keep);
	buf_fini(&body);
}

static void read_status(const char *text, size_t len)
{
	struct kube_status st;

	memset(&st, 'x', sizeof(st));
	status_decode(text, len, &st);
	assert(st.code >= 0 && st.retry_after_s >= 0);
	assert(strnlen(st.reason, sizeof(st.reason)) < sizeof(st.reason));
	assert(strnlen(st.message, sizeof(st.message)) < sizeof(st.message));
}

static void (*const readers[])(const char *text, size_t len) = { read_lease, read_record, read_node, read_status };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size == 0)
		return 0;
	text = fuzz_copy(data + 1, size - 1);
	readers[data[0] % ARRAY_LEN(readers)](text, size - 1);
	free(text);
	return 0;
}
