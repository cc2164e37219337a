/* SPDX-License-Identifier: Apache-2.0 */
/* status_cmd.h: the command "status": asks the agent of this node and shows what it says, once or again and again. */
#pragma once

#include <stdio.h>

void status_help(FILE *out);

/* argv: behind the command's name.  Returns an exit code (agent.h); errors go to 'err'. */
int status_command(int argc, char **argv, FILE *out, FILE *err);
