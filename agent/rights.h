/* SPDX-License-Identifier: Apache-2.0 */
/* rights.h: what the agent does at the API: the same as the Role and ClusterRole of the chart and of agent/manifest/ grant,
 * which a test compares (tests/chart/test_rights.py). */
#pragma once

#include <stddef.h>

#include "agent/config.h"
#include "agent/core/doctor_facts.h"

/* A right for each verb, in the order of the table; answers unknown.  Texts borrow from 'c' and the program.  Returns how
 * many. */
size_t rights_list(const struct config *c, struct facts_right ret[static FACT_RIGHTS_MAX]);
