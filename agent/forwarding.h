/* SPDX-License-Identifier: Apache-2.0 */
/* forwarding.h: traffic to backends elsewhere needs forwarding on the VIP's interface: say what is missing, or
 * set it where --sysctl manage allows. */
#pragma once

struct agent;

/* Looks at the interfaces of all VIPs; what is missing is logged once a family, with the exact command. */
void forwarding_check(struct agent *a);
