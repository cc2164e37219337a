/* SPDX-License-Identifier: Apache-2.0 */
/* forwarding.h: traffic to backends has to be forwarded: by the kernel, which a sysctl switches on (sysctls.h), and by the
 * node's packet filter, whose FORWARD may drop what it does not know.  Says what is missing, and has the data plane mark
 * connections for kube-proxy's KUBE-FORWARD. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/base/err.h"
#include "agent/base/mono.h"
#include "agent/worker.h"
#include "netlink/forward_if.h"

struct agent;

struct forwarding_job {
	struct worker_job job; /* first: the worker hands this back */
	struct forwarding *f;
	struct forward_view view;
	int64_t ms; /* how long it took */
	int result;
	struct err_info err;
};

struct forwarding {
	struct forwarding_job job;
	struct forward_view view; /* as last seen */
	bool busy;		  /* the job belongs to the worker */
	bool fresh;		  /* it, or the VIPs, are not judged yet */
	bool failing;		  /* the last look could not be finished */
	mono_t look_at;
	uint8_t told[2];       /* enum forward_pass of IPv4 and IPv6 that was logged last */
	char problem[FORWARD_PLACE_MAX + FORWARD_COMMAND_MAX + 128];
};

/* VIPs were placed anew: there may be other families now. */
void forwarding_again(struct forwarding *f);

/* Looks at the packet filter when it is time, on the data plane's worker, and says once what has changed.  Returns when to
 * call again (MONO_NEVER: when the job has ended). */
mono_t forwarding_step(struct agent *a, mono_t now);

/* For nat_options.forward_mark; changes only within forwarding_step(). */
uint32_t forwarding_mark(const struct agent *a);

/* Why connections to the VIPs of this node cannot pass its packet filter, with the command that mends it; "" = they can,
 * or may. Borrowed until the next forwarding_step(). */
const char *forwarding_problem(const struct agent *a);
