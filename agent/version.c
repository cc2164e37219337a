/* SPDX-License-Identifier: Apache-2.0 */
/* version.c: the only file that is built with the version in its flags. */
#include "agent/version.h"

const char *version_text(void)
{
	return LEASEHOLD_VERSION;
}

const char *version_revision(void)
{
	return LEASEHOLD_REVISION;
}
