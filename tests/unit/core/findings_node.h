/* SPDX-License-Identifier: Apache-2.0 */
/* findings_node.h: a healthy node for proofs of what the doctor says, and what it says of one. */
#pragma once

#include "agent/core/findings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned char memory[256 * 1024] __attribute__((aligned(16)));

static void set(struct fact *f, const char *wrong)
{
	f->state = wrong ? FACT_BAD : FACT_GOOD;
	snprintf(f->text, sizeof(f->text), "%s", wrong ? wrong : "");
}

static inline struct ip address(const char *text)
{
	struct ip ip;

	assert_int_equal(ip_parse(text, &ip), 0);
	return ip;
}

static void add_right(struct facts_api *a, const char *verb, const char *group, const char *resource, const char *ns)
{
	a->rights[a->n_rights++] = (struct facts_right){ .verb = verb, .group = group, .resource = resource, .subresource = "",
							 .ns = ns, .name = "", .what_for = "work", .answer = RIGHT_YES };
}

static void add_api(struct facts_api *a)
{
	strcpy(a->credentials, "credentials: node.conf");
	a->n_servers = 1;
	strcpy(a->servers[0].url, "https://192.0.2.100:6443");
	set(&a->servers[0].ready, NULL);
	a->servers[0].version_major = 1;
	a->servers[0].version_minor = 34;
	strcpy(a->servers[0].version, "v1.34.1");
	a->servers[0].dated = true;
	add_right(a, "get", "coordination.k8s.io", "leases", "kube-system");
	add_right(a, "update", "coordination.k8s.io", "leases", "kube-system");
	add_right(a, "create", "coordination.k8s.io", "leases", "kube-system");
	add_right(a, "list", "", "services", "");
	strcpy(a->lease, "leasehold-group-0");
	set(&a->lease_seen, NULL);
	a->lease_moved = true;
	a->lease_ms = 3000;
	a->lease_watched_ms = 3400;
	strcpy(a->holder, "node1");
}

static void add_net(struct facts_net *n)
{
	struct sysctl_facts *y = &n->links[0].sysctls;

	strcpy(n->pools[0].text, "192.0.2.200-192.0.2.239");
	strcpy(n->pools[0].links, "eth0");
	n->n_pools = n->n_links = 1;
	n->links[0] = (struct facts_link){ .name = "eth0", .up = true, .carrier = true, .mtu = 1500, .mac = "02:00:00:00:00:01" };
	set(&n->links[0].first, NULL);
	*y = (struct sysctl_facts){ .name = "eth0", .v4 = true, .nft = true, .gate = true, .subnet_v4 = true };
	y->own[SYSCTL_FORWARD_V4] = 1;
	n->v4.pass = FILTER_OPEN;
	strcpy(n->proxy_mode, "nftables");
}

static struct doctor_facts *healthy(void)
{
	static struct doctor_facts f;

	memset(&f, 0, sizeof(f));
	f.config = (struct facts_config){ .source = "the flags given", .node = "node1", .ns = "kube-system", .state_dir = "/run/leasehold",
					  .n_pools = 1, .pool_v4 = true, .nft = true, .gate = true };
	f.node = (struct facts_node){ .release = "6.1.0-13-amd64", .major = 6, .minor = 1, .conntrack = 10, .conntrack_max = 1000,
				      .tcp_loose = 1 };
	set(&f.node.nat, NULL);
	set(&f.node.arp, NULL);
	set(&f.node.gate, NULL);
	f.rights = (struct facts_rights){ .net_admin = true, .net_raw = true, .bpf = true };
	set(&f.rights.sysctls, NULL);
	set(&f.rights.state_dir, NULL);
	add_net(&f.net);
	f.wire.n_probes = 1;
	f.wire.nodes_known = true;
	f.wire.probes[0] = (struct facts_probe){ .ip = address("192.0.2.200"), .link = "eth0", .ours = true, .wanted = true };
	add_api(&f.api);
	f.agent = (struct facts_agent){ .running = true, .ready = true, .role = "holder", .n_vips = 1, .version = "1", .our_version = "1" };
	set(&f.agent.asked, NULL);
	return &f;
}

static struct findings judge(const struct doctor_facts *f)
{
	struct arena arena = { .base = memory, .size = sizeof(memory) };
	struct findings found;
	size_t n = 0, counted = 0;

	assert_int_equal(findings_judge(f, &arena, &found), 0);
	for (const struct finding *i = found.first; i; i = i->next, n++) {
		assert_non_null(i->what);
		assert_true(*i->what);
		assert_true(!i->next || i->next->section >= i->section);
		/* Who is told that something is wrong is told what to do, but of what the agent says itself. */
		if (i->level >= FINDING_WARNING && i->section != SECTION_AGENT)
			assert_true(i->mend || i->command);
	}
	for (size_t i = 0; i < FINDING_LEVEL_N; i++)
		counted += found.n[i];
	assert_int_equal(counted, n);
	return found;
}

/* The lines that are not "ok", with what is to be done. */
static void expect(const struct doctor_facts *f, const char *want)
{
	static char text[16 * 1024];
	struct findings found = judge(f);
	size_t at = 0;

	text[0] = '\0';
	for (const struct finding *i = found.first; i; i = i->next)
		if (i->level != FINDING_OK)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "%s: %s%s%s\n", finding_level_name(i->level), i->what,
					       i->command ? " $ " : "", i->command ? i->command : "");
	if (strcmp(text, want) != 0)
		fail_msg("said:\n%swanted:\n%s", text, want);
}

/* Whether there is such a line. */
static inline bool says(const struct doctor_facts *f, enum finding_level level, const char *what)
{
	struct findings found = judge(f);

	for (const struct finding *i = found.first; i; i = i->next)
		if (i->level == level && strcmp(i->what, what) == 0)
			return true;
	return false;
}

static inline const char *mend_of(const struct doctor_facts *f, const char *what)
{
	struct findings found = judge(f);

	for (const struct finding *i = found.first; i; i = i->next)
		if (strstr(i->what, what))
			return i->mend;
	return NULL;
}

static inline const char *means_of(const struct doctor_facts *f, const char *what)
{
	struct findings found = judge(f);

	for (const struct finding *i = found.first; i; i = i->next)
		if (strstr(i->what, what))
			return i->means;
	return NULL;
}
