/* SPDX-License-Identifier: Apache-2.0 */
/* capability.h: what this process may do (capabilities(7)). */
#pragma once

#include <stdbool.h>

/* number: CAP_* of linux/capability.h; of the effective set.  False also when it cannot be read. */
bool capability_has(unsigned int number);
