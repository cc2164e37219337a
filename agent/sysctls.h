/* SPDX-License-Identifier: Apache-2.0 */
/* sysctls.h: the sysctls of the interfaces that carry VIPs, or, where VIPs are routed, of those by which packets for them may
 * come in (core/uplinks.h), looked at now and then: what stands in the way is logged once
 * with the exact command, or set where --sysctl manage allows and core/sysctl_rules.h finds it harmless.  What is wrong
 * does not make a node unready: another node's may be no better, and the VIPs would wander. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/mono.h"
#include "agent/core/sysctl_rules.h"

#define SYSCTLS_LINKS_MAX 16 /* further interfaces are not looked at */
#define SYSCTLS_PROBLEMS_MAX 32
#define SYSCTL_COMMAND_MAX 192

struct agent;

struct sysctl_problem {
	char name[64]; /* "net.ipv4.conf.eth0.rp_filter" */
	int value, wanted;
	bool error;    /* VIPs do not answer so; else they answer worse */
	const char *why; /* static */
	char command[SYSCTL_COMMAND_MAX]; /* "" = none that is safe */
};

struct sysctls {
	struct sysctl_facts links[SYSCTLS_LINKS_MAX]; /* as last read */
	int indexes[SYSCTLS_LINKS_MAX];
	size_t n_links;
	struct sysctl_problem problems[SYSCTLS_PROBLEMS_MAX]; /* as of the last look; for status */
	size_t n_problems;
	bool again; /* VIPs or interfaces have changed */
	uint64_t routes; /* routed.h's changes, when last looked */
	mono_t look_at;
};

/* VIPs were placed anew: looked at with the next sysctls_step(). */
void sysctls_again(struct sysctls *s);

/* Looks when it is time.  Returns when to call again.  Zeroed memory is a good start; there is nothing to free. */
mono_t sysctls_step(struct agent *a, mono_t now);

/* What the default routes mean for the interface of that index; the doctor's, too. */
void sysctls_routes(struct sysctl_facts *f, const struct link_state *s, int ifindex);
/* Reads f->own and f->all of the families that f says, and f->ra_accept; likewise. */
void sysctls_read(struct sysctl_facts *f);
/* Whether the interface of that index has a subnet that holds the address. */
bool sysctls_in_subnet(const struct link_state *s, int ifindex, const struct ip *ip);
