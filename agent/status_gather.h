/* SPDX-License-Identifier: Apache-2.0 */
/* status_gather.h: from the agent to the plain data of status_view.h.  Each call is short: its time does not depend on how
 * many Services or VIPs there are, but for those that say so. */
#pragma once

#include "agent/agent.h"
#include "agent/status_view.h"

/* Time with the Services; some microseconds each 1,000.  why: gets the lines of not_ready_because, and must outlive *ret. */
void status_head_of(struct agent *a, mono_t now, struct buf *why, struct status_head *ret);
void status_lease_of(const struct agent *a, const struct group *g, mono_t now, struct status_lease *ret);
void status_vip_of(const struct agent *a, const struct vip *vip, mono_t now, struct status_vip *ret);

/* Time with VIPs and Services: below a millisecond each 1,000 VIPs. */
void status_problems_of(struct agent *a, mono_t now, struct status_problems *ret);

/* VIPs that the group's Lease governs; time with the VIPs, some microseconds each 1,000. */
size_t status_vips_in(const struct agent *a, unsigned int group);

/* The name of an interface of this node into 'name', "" = it is gone; returns it. */
const char *status_link_name(const struct agent *a, int ifindex, char name[static LINK_NAME_MAX]);

/* Why the kernel would not add an address (kernel_refuses_addr()); NULL = it did not refuse it. */
const char *status_refusal_text(int error);
