/* SPDX-License-Identifier: Apache-2.0 */
/* status_answer.h: answers "leasehold status" (status_ask.h), on the loop, in pieces of a millisecond or so.
 *
 * For people it is one piece of a bounded number of rows.  JSON has everything, so it is sent on from where it was: Leases
 * in one piece, VIPs and Services one after the other, each of them whole; what comes or goes while it is being sent may be
 * in it or not. */
#pragma once

#include "agent/control.h"

/* For control_init(); its ctx is the struct agent. */
extern const struct control_ops status_answer_ops;
