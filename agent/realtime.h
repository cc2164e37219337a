/* SPDX-License-Identifier: Apache-2.0 */
/* realtime.h: --realtime: the loop's thread goes before ordinary programs, and its memory stays where it is, so that a node
 * under load renews in time.
 *
 * What the kernel does not grant (capabilities SYS_NICE and IPC_LOCK, limits, a cgroup without real-time share) is said in
 * the log, a line each, and the agent runs without it.  Only the calling thread gets the priority; threads and processes
 * that it starts do not. */
#pragma once

/* Call on the loop's thread when all other threads are there, or before: they stay ordinary either way. */
void realtime_enter(void);
