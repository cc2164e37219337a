/* SPDX-License-Identifier: Apache-2.0 */
/* verdict.h: what one check of a server said: agent/kube asks, agent/core counts.  Neither includes the other. */
#pragma once

enum verdict {
	VERDICT_GOOD,
	VERDICT_BAD,	 /* something is there, but does not serve as it should: not ready, too slow, or not who it should be */
	VERDICT_REFUSED, /* its node says that nobody listens */
	VERDICT_SILENT,	 /* nothing came back in time, not even the beginnings of a connection */
};
