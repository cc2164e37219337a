/* SPDX-License-Identifier: Apache-2.0 */
/* handover_cmd.h: the command "leasehold handover": asks a Lease's holder, through the Lease, to hand it over, and tells
 * what came of it.  Works from any kubeconfig whose user may get and patch the Lease. */
#pragma once

#include <stdio.h>

void handover_help(FILE *out);

/* Returns an exit code: done; failed (refused, nobody holds, no answer in time); usage. */
int handover_command(int argc, char **argv, FILE *out, FILE *err);
