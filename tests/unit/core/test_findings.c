/* SPDX-License-Identifier: Apache-2.0 */
/* Proves what the doctor says of what was found: of a healthy node nothing but good, of one with many things wrong each of
 * them with its remedy, and that no part that could not be looked at keeps another from being told. */
#include <errno.h>
#include <stdlib.h>

#include "tests/unit/core/findings_node.h"

static void test_a_healthy_node(void **state)
{
	(void)state;
	expect(healthy(), "");
	assert_true(judge(healthy()).n[FINDING_OK] > 15);
}

static void test_kernel_and_rights(void **state)
{
	struct doctor_facts *f = healthy();

	(void)state;
	set(&f->node.nat, "no such chain type");
	set(&f->node.arp, "none");
	set(&f->node.gate, "needs CAP_BPF");
	f->node.conntrack = 960;
	f->node.tcp_loose = 0;
	f->rights.bpf = f->rights.net_raw = false;
	f->config.realtime = true;
	set(&f->rights.state_dir, "/run: Read-only file system");
	expect(f, "error: nf_tables with NAT does not work\n"
		  "warning: nf_tables for ARP does not work $ sysctl -w net.ipv4.conf.all.arp_ignore=1\n"
		  "error: the gate cannot work on this node\n"
		  "error: connection tracking: 960 of 1000 entries taken $ sysctl -w net.netfilter.nf_conntrack_max=2000\n"
		  "warning: net.netfilter.nf_conntrack_tcp_loose is 0 $ sysctl -w net.netfilter.nf_conntrack_tcp_loose=1\n"
		  "error: CAP_NET_RAW is missing\nerror: CAP_BPF is missing\nerror: CAP_SYS_NICE is missing\nerror: CAP_IPC_LOCK is missing\n"
		  "error: state directory /run/leasehold cannot be written\n");
	f = healthy();
	f->rights.bpf = f->rights.net_raw = f->rights.net_admin = false;
	set(&f->rights.sysctls, "Permission denied");
	expect(f, "error: this process has none of the agent's capabilities\n");
	f = healthy();
	f->node.conntrack = 750;
	f->node.major = 5;
	f->node.minor = 4;
	strcpy(f->node.release, "5.4.0");
	expect(f, "error: Linux 5.4.0\n"
		  "warning: connection tracking: 750 of 1000 entries taken $ sysctl -w net.netfilter.nf_conntrack_max=2000\n");
	f->config.gate = false; /* what is not asked of a kernel it need not have */
	f->node.conntrack = 749;
	f->net.links[0].sysctls.gate = false;
	f->net.links[0].sysctls.own[SYSCTL_ARP_ANNOUNCE] = 2;
	expect(f, "warning: gate: off\n");
}

static void test_interfaces_and_sysctls(void **state)
{
	struct doctor_facts *f = healthy();
	struct sysctl_facts *y = &f->net.links[0].sysctls;

	(void)state;
	y->own[SYSCTL_FORWARD_V4] = 0;
	y->own[SYSCTL_RP_FILTER] = 1;
	y->default_v4_elsewhere = true;
	f->net.links[0].carrier = false;
	f->net.n_pools = 2;
	strcpy(f->net.pools[1].text, "198.51.100.0/24");
	strcpy(f->net.pools[1].why, "no interface is called eth7");
	expect(f, "error: pool 198.51.100.0/24: no interface of this node carries it\n"
		  "error: eth0 has no carrier\n"
		  "error: net.ipv4.conf.eth0.forwarding is 0 $ sysctl -w net.ipv4.conf.eth0.forwarding=1\n"
		  "error: net.ipv4.conf.eth0.rp_filter is 1 $ sysctl -w net.ipv4.conf.eth0.rp_filter=2\n");
	f->net.links[0].carrier = true;
	f->net.n_pools = 1;
	f->config.manage = true; /* the agent does it */
	expect(f, "");
	f->rights.sysctls.state = FACT_BAD; /* if it can */
	f->config.in_pod = true;
	y->own[SYSCTL_FORWARD_V4] = 1;
	expect(f, "error: net.ipv4.conf.eth0.rp_filter is 1 $ sysctl -w net.ipv4.conf.eth0.rp_filter=2\n");
	f = healthy();
	strcpy(f->net.links[0].name, "eth0.10");
	strcpy(y->name, "eth0.10");
	y->own[SYSCTL_FORWARD_V4] = 0;
	y->v6 = y->default_v6_from_ra = true;
	strcpy(y->ra_link, "eth2.7");
	y->ra_accept = 1;
	set(&f->net.links[0].first, "a TCX program stands before the gate");
	f->net.links[1] = f->net.links[0]; /* "all" is said once */
	strcpy(f->net.links[1].name, "eth1");
	strcpy(f->net.links[1].sysctls.name, "eth1");
	set(&f->net.links[1].first, NULL);
	f->net.n_links = 2;
	f->net.links[1].sysctls.own[SYSCTL_FORWARD_V4] = 1;
	f->net.pools[0].off_subnet = true;
	expect(f, "warning: pool 192.0.2.200-192.0.2.239 goes to eth0, which has no address of that network\n"
		  "error: eth0.10: the gate cannot stand first\n"
		  "error: net.ipv4.conf.eth0/10.forwarding is 0 $ sysctl -w net.ipv4.conf.eth0/10.forwarding=1\n"
		  "error: net.ipv6.conf.all.forwarding is 0 $ sysctl -w net.ipv6.conf.eth2/7.accept_ra=2\n"
		  "sysctl -w net.ipv6.conf.all.forwarding=1\n");
	f = healthy();
	f->net.links[0].sysctls.v6 = f->net.links[0].sysctls.default_v6_from_ra = f->config.manage = true;
	expect(f, "error: net.ipv6.conf.all.forwarding is 0\n"); /* no command: the route's interface is not known */
}

static void test_other_software(void **state)
{
	struct doctor_facts *f = healthy();

	(void)state;
	f->net.proxy_mode[0] = '\0';
	f->net.ipvs = true;
	f->net.v4.pass = FILTER_CLOSED;
	strcpy(f->net.v4.place, "iptables FORWARD");
	strcpy(f->net.v4.command, "iptables -P FORWARD ACCEPT");
	f->net.n_strangers = 2;
	f->net.strangers[0] = (struct facts_stranger){ .ip = address("192.0.2.210"), .len = 32, .link = "eth0" };
	f->net.strangers[1] = (struct facts_stranger){ .ip = address("192.0.2.211"), .len = 24, .link = "eth0" };
	expect(f, "warning: kube-proxy's strictARP is off $ kubectl -n kube-system edit configmap kube-proxy\n"
		  "error: IPv4: iptables FORWARD drops all new connections to backends $ iptables -P FORWARD ACCEPT\n"
		  "error: 192.0.2.210/32 on eth0 is in a pool, and not Leasehold's $ ip address del 192.0.2.210/32 dev eth0\n"
		  "error: 192.0.2.211/24 on eth0, maybe this node's own, is in a pool\n");
	for (int why = 0; why < 3; why++) {
		f = healthy();
		f->net.n_strangers = 1;
		f->net.strangers[0] = (struct facts_stranger){ .ip = address("192.0.2.210"), .len = 32, .link = "eth0",
							       .dynamic = why == 0, .on_default = why == 1, .only = why == 2 };
		expect(f, "error: 192.0.2.210/32 on eth0, maybe this node's own, is in a pool\n");
	}
	f = healthy();
	f->net.ipvs = true;
	f->net.strict_arp_ignore = 1;
	f->net.strict_arp_announce = 2;
	f->net.v4.pass = FILTER_MARKED;
	expect(f, "");
}

static void answer(struct facts_probe *p, const char *mac, const char *node)
{
	snprintf(p->macs[p->n_macs].mac, sizeof(p->macs[0].mac), "%s", mac);
	snprintf(p->macs[p->n_macs++].node, sizeof(p->macs[0].node), "%s", node);
}

static void test_the_wire(void **state)
{
	struct doctor_facts *f = healthy();
	struct facts_probe *p = &f->wire.probes[0];

	(void)state;
	answer(p, "02:00:00:00:00:99", "");
	expect(f, "error: 192.0.2.200 on eth0: 2 hosts answer: this node, 02:00:00:00:00:99 (no node of ours) $ "
		  "arping -c 3 -I eth0 192.0.2.200\n");
	p->ours = false;
	expect(f, "error: 192.0.2.200 on eth0: a stranger answers: 02:00:00:00:00:99 (no node of ours) $ "
		  "arping -c 3 -I eth0 192.0.2.200\n");
	f->wire.nodes_known = false; /* the API did not say: it may be the holder */
	expect(f, "");
	f->wire.nodes_known = true;
	strcpy(p->macs[0].node, "node2");
	expect(f, "");
	answer(p, "02:00:00:00:00:03", "node3");
	expect(f, "error: 192.0.2.200 on eth0: 2 hosts answer: 02:00:00:00:00:99 (node node2), 02:00:00:00:00:03 (node node3) $ "
		  "arping -c 3 -I eth0 192.0.2.200\n");
	p->n_macs = 0;
	expect(f, "error: 192.0.2.200 on eth0: nobody answers\n");
	p->wanted = false;
	expect(f, "");
	p->here = true; /* by hand, and alone: told as "other software", not here */
	expect(f, "");
	p->link[0] = '\0';
	expect(f, "skipped: 192.0.2.200\n");
}

static void test_the_api(void **state)
{
	struct doctor_facts *f = healthy();

	(void)state;
	f->api.rights[1].answer = f->api.rights[2].answer = RIGHT_NO;
	f->api.rights[3].answer = RIGHT_UNKNOWN;
	strcpy(f->api.rights_error, "HTTP 403");
	f->api.lease_moved = false;
	f->api.servers[0].ahead_s = -90;
	f->api.servers[0].version_minor = 29;
	strcpy(f->api.servers[0].version, "v1.29.0");
	f->api.token_expires = true;
	f->api.token_left_s = -120;
	expect(f, "error: credentials: node.conf: the token has expired 2 min ago\n"
		  "warning: https://192.0.2.100:6443 is ready; it is Kubernetes v1.29.0\n"
		  "error: not allowed: update,create leases.coordination.k8s.io in kube-system\n"
		  "skipped: 1 of 4 rights (RBAC)\n"
		  "warning: Lease leasehold-group-0 names node1, which has not renewed it in 4 s\n"
		  "warning: the wall clock is 90 s ahead of that of https://192.0.2.100:6443 $ timedatectl set-ntp true\n");
	f = healthy();
	f->api.lease_moved = false;
	f->api.lease_ms = 15000; /* its holder may renew it less often than we watched */
	expect(f, "skipped: whether node1 renews Lease leasehold-group-0\n");
	f->api.lease_ms = 0;
	expect(f, "skipped: whether node1 renews Lease leasehold-group-0\n");
	f = healthy();
	set(&f->api.servers[0].ready, "connection refused");
	f->api.servers[0].dated = false;
	f->api.lease_seen.state = FACT_UNTRIED;
	strcpy(f->api.lease_seen.text, "no API server is ready");
	for (size_t i = 0; i < f->api.n_rights; i++)
		f->api.rights[i].answer = RIGHT_UNKNOWN;
	expect(f, "error: https://192.0.2.100:6443 is not ready\nskipped: 4 of 4 rights (RBAC)\n"
		  "skipped: Lease leasehold-group-0\n");
}

static void test_a_missing_right_names_its_rule(void **state)
{
	struct doctor_facts *f = healthy();
	const char *how = "; helm upgrade puts the chart's right; without the chart apply only the Role and ClusterRole of "
			  "leasehold manifest with the flags you installed with";
	char want[512];

	(void)state;
	f->api.rights[0].ns = f->api.rights[1].ns = f->api.rights[2].ns = "vips";
	f->api.rights[1].answer = f->api.rights[2].answer = RIGHT_NO;
	snprintf(want, sizeof(want), "the Role in namespace vips lacks apiGroups: [\"coordination.k8s.io\"], resources: [leases], "
		 "verbs: [update,create]%s", how);
	assert_string_equal(mend_of(f, "not allowed: update,create leases"), want);
	f = healthy();
	f->api.rights[3].subresource = "status";
	f->api.rights[3].answer = RIGHT_NO;
	snprintf(want, sizeof(want), "the ClusterRole lacks apiGroups: [\"\"], resources: [services/status], verbs: [list]%s", how);
	assert_string_equal(mend_of(f, "not allowed: list services/status"), want);
	f = healthy();
	f->config.ns = "vips";
	f->api.token_expires = true;
	assert_string_equal(mend_of(f, "has expired"), "make a new one: kubectl -n vips create token leasehold --duration 24h");
}

static void test_the_agent(void **state)
{
	struct doctor_facts *f = healthy();

	(void)state;
	f->agent.ready = false;
	strcpy(f->agent.why_not, "the Lease is not in view yet\nstopping\n");
	strcpy(f->agent.version, "0");
	expect(f, "error: not ready: the Lease is not in view yet\nerror: not ready: stopping\n"
		  "warning: the agent is version 0, this program 1\n");
	f->agent = (struct facts_agent){ .running = true, .timed_out = true };
	set(&f->agent.asked, "no answer in time");
	expect(f, "error: the agent does not answer: it may be frozen\n");
	f->agent = (struct facts_agent){ .running = false };
	expect(f, "skipped: no agent runs here\n");
}

static void test_configuration(void **state)
{
	struct doctor_facts *f = healthy();

	(void)state;
	f->config.errors = "--pool: \"x\" is not an address\nrenew-interval: too long\n";
	expect(f, "error: --pool: \"x\" is not an address\nerror: renew-interval: too long\n");
	f->config.errors = NULL;
	f->config.n_pools = f->net.n_pools = 0;
	expect(f, "warning: no pool\nskipped: interfaces for VIPs\n");
}

static void test_a_part_that_was_skipped_hides_no_other(void **state)
{
	struct doctor_facts *f = healthy();

	(void)state;
	strcpy(f->net.skipped, "not done in time");
	strcpy(f->wire.skipped, "not done in time");
	strcpy(f->node.skipped, "not done in time");
	f->api.rights[0].answer = RIGHT_NO;
	expect(f, "skipped: kernel\nskipped: interfaces\nskipped: sysctls\nskipped: other software\nskipped: who answers for VIPs\n"
		  "error: not allowed: get leases.coordination.k8s.io in kube-system\n");
	strcpy(f->api.skipped, "not done in time");
	strcpy(f->agent.skipped, "no right");
	expect(f, "skipped: kernel\nskipped: interfaces\nskipped: sysctls\nskipped: other software\nskipped: who answers for VIPs\n"
		  "skipped: API\nskipped: agent\n");
}

/* The most that there can be of everything, in arenas of any size: -ENOSPC, or the whole. */
static void test_any_arena(void **state)
{
	struct doctor_facts *f = healthy();
	size_t whole = judge(f).n[FINDING_OK];
	int r = -ENOSPC;

	(void)state;
	for (size_t size = 0; r == -ENOSPC; size += 64) {
		struct arena arena = { .base = malloc(size), .size = size };
		struct findings found;

		r = findings_judge(f, &arena, &found);
		if (r == 0)
			assert_int_equal(found.n[FINDING_OK], whole);
		free(arena.base);
	}
	assert_int_equal(r, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_healthy_node),
		cmocka_unit_test(test_kernel_and_rights),
		cmocka_unit_test(test_interfaces_and_sysctls),
		cmocka_unit_test(test_other_software),
		cmocka_unit_test(test_the_wire),
		cmocka_unit_test(test_the_api),
		cmocka_unit_test(test_a_missing_right_names_its_rule),
		cmocka_unit_test(test_the_agent),
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_a_part_that_was_skipped_hides_no_other),
		cmocka_unit_test(test_any_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
