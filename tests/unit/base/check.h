/* SPDX-License-Identifier: Apache-2.0 */
/* check.h: what every test of agent/base includes, and a folder of its own for those that write files. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Setup and teardown of a group: *state is a fresh folder's path; only files that the tests removed may be gone. */
static inline int folder_make(void **state)
{
	char *path = strdup("/tmp/leasehold-unit-XXXXXX");

	if (!path || !mkdtemp(path))
		return -1;
	*state = path;
	return 0;
}

static inline int folder_drop(void **state)
{
	int r = rmdir(*state);

	free(*state);
	return r;
}

static inline const char *in_folder(const char *folder, const char *name)
{
	static char path[4][512];
	static unsigned int at;
	char *p = path[at++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}
