/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl.h: the few network sysctls Leasehold depends on. */
#pragma once

#include <stdbool.h>

#include "agent/base/err.h"
#include "agent/base/ip.h"
#include "agent/base/sysctl_key.h"

/* The sysctl's dotted name for messages, e.g. "net.ipv4.conf.eth0.forwarding", into 'buf'. */
char *sysctl_name(enum sysctl_key key, const char *interface, char *buf, size_t size);

/* -ENOENT: no such interface, or a kernel without this sysctl (or without IPv6). */
MUST_USE int sysctl_get(enum sysctl_key key, const char *interface, int *ret, struct err_info *err);
/* -EROFS or -EACCES: /proc/sys is read-only here (containers); the text says so. */
MUST_USE int sysctl_set(enum sysctl_key key, const char *interface, int value, struct err_info *err);

/* 0, or why sysctl_set() would fail for every interface: -EROFS, -EACCES.  Changes nothing. */
MUST_USE int sysctl_may_set(struct err_info *err);
