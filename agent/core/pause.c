/* SPDX-License-Identifier: Apache-2.0 */
/* pause.c: differences of clocks, between two looks. */
#include "agent/core/pause.h"

#include <assert.h>

void pause_init(struct pause *p, int64_t margin_ms, int64_t renew_ms)
{
	assert(margin_ms > 0 && renew_ms > 0);
	*p = (struct pause){ .margin_ms = margin_ms, .renew_ms = renew_ms };
}

/* Whether the lead of clock a over clock b grew by more than 'ms', whatever the looks' own blur hides. */
static bool lead_grew(int64_t a_ns, int64_t b_ns, int64_t blur_ns, int64_t ms)
{
	int64_t grown_ns;

	return !__builtin_sub_overflow(a_ns, b_ns, &grown_ns) && grown_ns - blur_ns > ms * NS_PER_MS;
}

enum pause_kind pause_check(struct pause *p, const struct mono_clocks *now, mono_t wake_was_due)
{
	const struct mono_clocks was = p->last;
	int64_t boot_ns = now->boot.ns - was.boot.ns, blur_ns = now->blur_ns + was.blur_ns;
	int64_t late_ms = p->margin_ms > p->renew_ms ? p->margin_ms : p->renew_ms;

	p->last = *now;
	if (was.boot.ns != 0 && (lead_grew(boot_ns, now->monotonic_ns - was.monotonic_ns, blur_ns, p->margin_ms) ||
				 lead_grew(now->realtime_ns - was.realtime_ns, boot_ns, blur_ns, PAUSE_WALL_JUMP_MS)))
		return PAUSE_JUMP;
	if (!mono_is_never(wake_was_due) && mono_diff_ms(now->boot, wake_was_due) > late_ms)
		return PAUSE_LATE;
	return PAUSE_NONE;
}

const char *pause_name(enum pause_kind kind)
{
	switch (kind) {
	case PAUSE_JUMP:
		return "clock jump";
	case PAUSE_LATE:
		return "woke late";
	case PAUSE_NONE:
		break;
	}
	return "";
}
