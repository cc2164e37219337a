/* SPDX-License-Identifier: Apache-2.0 */
/* health.c: counts checks.  Who checks and what a check is, it does not know. */
#include "agent/core/health.h"

#include <assert.h>
#include <string.h>

#include "agent/base/text.h"

#define IN_A_ROW 2

struct health_server *health_find(struct health *h, const struct ip_port *at)
{
	for (size_t i = 0; i < h->n; i++)
		if (ip_port_cmp(&h->v[i].at, at) == 0)
			return &h->v[i];
	return NULL;
}

static bool is_listed(const struct health *h, const struct ip_port *list, size_t n)
{
	for (size_t i = 0; i < n && i < h->n; i++)
		if (ip_port_cmp(&h->v[i].at, &list[i]) != 0)
			return false;
	return n == h->n;
}

bool health_list(struct health *h, const struct ip_port *list, size_t n, mono_t now)
{
	struct health old = *h;

	assert(n <= HEALTH_SERVERS_MAX);
	if (is_listed(h, list, n))
		return false;
	for (size_t i = 0; i < n; i++) {
		const struct health_server *known = health_find(&old, &list[i]);

		assert(i == 0 || ip_port_cmp(&list[i - 1], &list[i]) < 0);
		h->v[i] = known ? *known : (struct health_server){ .at = list[i], .since = now };
	}
	h->n = n;
	return true;
}

mono_t health_due(const struct health_server *s, bool often)
{
	bool unsettled = !s->known || s->against > 0;

	if (s->asking)
		return MONO_NEVER;
	if (s->asked.ns == 0)
		return s->asked;
	return mono_add_ms(s->asked, often || unsettled ? HEALTH_OFTEN_MS : HEALTH_SELDOM_MS);
}

void health_asked(struct health_server *s, mono_t now)
{
	s->asking = true;
	s->asked = now;
}

void health_not_asked(struct health_server *s)
{
	s->asking = false;
}

/* How many checks in a row it takes to change the server's state. */
static unsigned int checks_needed(const struct health_server *s, enum verdict v)
{
	if (!s->known || (s->up && v == VERDICT_REFUSED))
		return 1;
	return IN_A_ROW;
}

bool health_take(struct health_server *s, enum verdict v, const char *why, mono_t now)
{
	bool good = v == VERDICT_GOOD, changed;

	s->asking = false;
	IGNORE(text_copy(s->why, sizeof(s->why), good ? "" : why)); /* cut is fine */
	if (v != VERDICT_SILENT) {
		s->silences = 0;
		s->hung = s->cut = false;
	} else if (s->silences < IN_A_ROW) {
		s->silences++;
		s->hung = s->silences == IN_A_ROW;
	}
	s->against = good == s->up ? 0 : (uint8_t)(s->against + 1);
	changed = s->against > 0 && s->against >= checks_needed(s, v);
	s->known = true;
	if (changed) {
		s->up = !s->up;
		s->against = 0;
		s->since = now;
	}
	return changed;
}

bool health_guesses(const struct health *h)
{
	for (size_t i = 0; i < h->n; i++)
		if (h->v[i].up)
			return false;
	return true;
}

bool health_serves(const struct health *h, const struct health_server *s)
{
	return s->up || health_guesses(h);
}

bool health_take_hung(struct health *h, struct ip_port *ret)
{
	for (size_t i = 0; i < h->n; i++) {
		struct health_server *s = &h->v[i];

		if (!s->hung || s->cut || health_serves(h, s))
			continue;
		s->cut = true;
		*ret = s->at;
		return true;
	}
	return false;
}
