/* SPDX-License-Identifier: Apache-2.0 */
/* manifest.h: `leasehold manifest`: the objects that run Leasehold, for those who do not use Helm.  The texts stand in
 * agent/manifest/ with @NAMES@ to fill in and are built into the binary. */
#pragma once

#include <stdio.h>

#include "agent/base/auto.h"

void manifest_help(FILE *out);

/* Prints the objects for the flags given; -EINVAL: complained on 'errors'. */
MUST_USE int manifest_print(int argc, char *const *argv, FILE *out, FILE *errors);
