/* SPDX-License-Identifier: Apache-2.0 */
/* realtime.c: mlockall(2), sched_setscheduler(2) and a limit that ends a loop gone wild.
 *
 * SCHED_RR at a low priority: above all ordinary programs, below what the kernel's own threads and other real-time
 * programs of a node use.  A loop that would not sleep any more under SCHED_RR could keep a CPU for itself.  Two things
 * are before that: the kernel's own throttling (sched_rt_runtime_us: 95 % of each second, unless it was turned off), and
 * RLIMIT_RTTIME here: CPU time taken without one blocking system call.  An ordinary turn takes some ms and planning
 * thousands of Services some 100 ms.  At the soft limit SIGXCPU ends the process (its default action), and
 * the supervisor starts it again: VIPs fall silent at their deadline, as after any other crash. */
#include "agent/realtime.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "agent/base/log.h"
#include "agent/capability.h"

#define PRIORITY 10
#define WITHOUT_SLEEP_US (3 * 1000000) /* soft; a real-time thread at work for so long has lost its Lease anyway */

/* MCL_ONFAULT (Linux 4.4): pages are locked once they are used; without it every page that is only mapped, the
 * threads' stacks above all, would be made present.  Under a finite limit MCL_FUTURE would make later allocations fail,
 * which is worse than a page fault: so all or nothing. */
static void lock_memory(void)
{
	struct rlimit limit = { 0 };
	bool may = capability_has(CAP_IPC_LOCK) ||
		   (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY);

	if (!may || mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		log_event(LOG_WARN, "realtime_memory",
			  "memory is not locked: a page that is missing may delay a renewal (needs CAP_IPC_LOCK, or an "
			  "unlimited RLIMIT_MEMLOCK)",
			  log_str("error", strerror(may ? errno : EPERM)));
}

static void limit_runaway(void)
{
	const struct rlimit limit = { WITHOUT_SLEEP_US, WITHOUT_SLEEP_US + 1000000 };

	if (setrlimit(RLIMIT_RTTIME, &limit) < 0)
		log_event(LOG_WARN, "realtime_limit", "the time without sleep cannot be limited", log_str("error", strerror(errno)));
}

void realtime_enter(void)
{
	const struct sched_param param = { .sched_priority = PRIORITY };

	lock_memory();
	limit_runaway();
	if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param) < 0)
		log_event(LOG_WARN, "realtime_priority",
			  "no real-time priority: a busy node may delay renewals (needs CAP_SYS_NICE, or RLIMIT_RTPRIO of at "
			  "least 10, and where real-time time is shared out by cgroups, a share: cpu.rt_runtime_us)",
			  log_str("error", strerror(errno)));
	else
		log_event(LOG_INFO, "realtime", "the loop runs with real-time priority", log_int("priority", PRIORITY));
}
