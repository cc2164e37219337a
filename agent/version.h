/* SPDX-License-Identifier: Apache-2.0 */
/* version.h: what was built. */
#pragma once

const char *version_text(void);	    /* "0.1.0" */
const char *version_revision(void); /* the commit, or "unknown" */
