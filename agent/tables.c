/* SPDX-License-Identifier: Apache-2.0 */
/* tables.c: a question to the kernel each second or so. */
#include "agent/tables.h"

#include <linux/netlink.h>

#include "agent/base/log.h"
#include "netlink/nat_if.h"

#define LOOK_MS 1000

static void tables_run(struct worker_job *job)
{
	struct tables *t = (struct tables *)job;

	t->err = (struct err_info)ERR_INFO_INIT;
	t->result = t->sock ? 0 : nlsock_new(NETLINK_NETFILTER, &t->sock, &t->err);
	if (t->result == 0)
		t->result = nat_if_present(t->sock, &t->inet_there, &t->arp_there, &t->err);
	if (t->result < 0) {
		nlsock_free(t->sock);
		t->sock = NULL;
	}
}

static void tables_done(struct worker_job *job)
{
	struct tables *t = (struct tables *)job;
	bool nat_gone = t->dataplane->on && t->dataplane->ready && !t->dataplane->busy && !t->inet_there;
	bool guard_gone = guard_is_put(t->guard) && !t->arp_there;

	t->busy = false;
	if (t->result < 0)
		return; /* whoever changes the tables will say what is wrong */
	if (nat_gone)
		dataplane_reread(t->dataplane);
	if (guard_gone)
		guard_again(t->guard);
	if (nat_gone || guard_gone) {
		t->lost++;
		log_event(LOG_WARN, "tables_lost", "somebody removed tables of ours; they are put back",
			  log_str("table", nat_gone && guard_gone ? "inet leasehold, arp leasehold" :
					   nat_gone		  ? "inet leasehold" :
								    "arp leasehold"));
	}
}

mono_t tables_step(struct tables *t, mono_t now)
{
	if (t->busy)
		return MONO_NEVER;
	if (mono_before(now, t->look_at))
		return t->look_at;
	t->look_at = mono_add_ms(now, LOOK_MS);
	t->busy = true;
	t->job = (struct worker_job){ .run = tables_run, .done = tables_done };
	worker_submit(t->worker, &t->job);
	return t->look_at;
}

void tables_init(struct tables *t, struct worker *worker, struct dataplane *dataplane, struct guard *guard)
{
	*t = (struct tables){ .worker = worker, .dataplane = dataplane, .guard = guard };
}

void tables_fini(struct tables *t)
{
	nlsock_free(t->sock);
	*t = (struct tables){ .worker = NULL };
}
