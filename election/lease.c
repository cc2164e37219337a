/* SPDX-License-Identifier: Apache-2.0 */
/* lease.c: small facts about the record in a Lease: which duration governs, which of two versions is the
 * older, whose identity it is.  elect.c decides by them; JSON and wall-clock times are not known here. */
#include "election/lease.h"

#include <string.h>

int64_t lease_seconds(int64_t duration_ms)
{
	return duration_ms / 1000 + (duration_ms % 1000 > 0);
}

int64_t lease_duration_ms(int64_t seconds, int64_t annotation_ms)
{
	int64_t whole_ms, ms;

	if (seconds < 0)
		seconds = 0;
	if (annotation_ms < 0)
		annotation_ms = 0;
	if (seconds > LEASE_MS_MAX / 1000)
		seconds = LEASE_MS_MAX / 1000;
	whole_ms = seconds * 1000;
	/* A client that knows only whole seconds leaves the annotation behind when it changes the duration:
	 * an annotation that does not fit is not trusted to shorten. */
	if (annotation_ms > 0 && lease_seconds(annotation_ms) == seconds)
		ms = annotation_ms;
	else
		ms = annotation_ms > whole_ms ? annotation_ms : whole_ms;
	if (ms > LEASE_MS_MAX)
		return LEASE_MS_MAX;
	return ms > 0 ? ms : 1;
}

bool lease_record_eq(const struct lease_record *a, const struct lease_record *b)
{
	return a->duration_ms == b->duration_ms && a->transitions == b->transitions &&
	       strcmp(a->holder, b->holder) == 0 && a->policy == b->policy && a->stage == b->stage &&
	       a->handover == b->handover && strcmp(a->successor, b->successor) == 0;
}

/* Length of the node's part of an identity: what precedes the last two '_'; 0 = not such an identity. */
static size_t node_len(const char *holder)
{
	size_t len = strlen(holder);

	for (int parts = 0; parts < 2; parts++) {
		while (len > 0 && holder[len - 1] != '_')
			len--;
		if (len == 0)
			return 0;
		len--;
	}
	return len;
}

bool lease_node(const char *holder, char *node, size_t size)
{
	size_t len = node_len(holder), n = len > 0 ? len : strlen(holder);

	if (size == 0)
		return false;
	if (n >= size)
		n = size - 1;
	memcpy(node, holder, n);
	node[n] = '\0';
	return len > 0 && len == n;
}

bool lease_same_node(const char *holder_a, const char *holder_b)
{
	size_t len = node_len(holder_a);

	return len > 0 && len == node_len(holder_b) && memcmp(holder_a, holder_b, len) == 0;
}

/* A decimal number without its leading zeros; NULL = not a number. */
static const char *decimal(const char *version)
{
	if (!*version || version[strspn(version, "0123456789")])
		return NULL;
	while (version[0] == '0' && version[1])
		version++;
	return version;
}

bool lease_version_older(const char *a, const char *b)
{
	size_t len_a, len_b;

	a = decimal(a);
	b = decimal(b);
	if (!a || !b)
		return false;
	len_a = strlen(a);
	len_b = strlen(b);
	return len_a != len_b ? len_a < len_b : strcmp(a, b) < 0;
}
