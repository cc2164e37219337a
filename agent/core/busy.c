/* SPDX-License-Identifier: Apache-2.0 */
/* busy.c: scores, and the list of the highest. */
#include "agent/core/busy.h"

#include <string.h>

#define FIRST 8
#define SECOND 16

static uint64_t score_of(const struct busy *b, const struct ip *vip)
{
	for (size_t i = 0; i < b->n; i++)
		if (ip_eq(&b->v[i].ip, vip))
			return b->v[i].score;
	return 0;
}

void busy_add(struct busy *next, const struct busy *before, const struct ip *vip, uint64_t bytes)
{
	uint64_t score = score_of(before, vip) / 2;
	size_t at = next->n;

	score = bytes > UINT64_MAX - score ? UINT64_MAX : score + bytes;
	while (at > 0 && (next->v[at - 1].score < score ||
			  (next->v[at - 1].score == score && ip_cmp(&next->v[at - 1].ip, vip) > 0)))
		at--;
	if (score == 0 || at == BUSY_MAX)
		return;
	if (next->n < BUSY_MAX)
		next->n++;
	memmove(&next->v[at + 1], &next->v[at], (next->n - at - 1) * sizeof(next->v[0]));
	next->v[at].ip = *vip;
	next->v[at].score = score;
}

static bool among(const struct ip *v, size_t n, const struct ip *ip)
{
	for (size_t i = 0; i < n; i++)
		if (ip_eq(&v[i], ip))
			return true;
	return false;
}

bool busy_differs(const struct ip *told, size_t n, const struct busy *now)
{
	for (size_t i = 0; i < now->n && i < SECOND; i++)
		if (!among(told, i < FIRST && n > SECOND ? SECOND : n, &now->v[i].ip))
			return true;
	return false;
}
