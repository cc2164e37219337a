/* SPDX-License-Identifier: Apache-2.0 */
/* findings.c: the list itself, and what is to be said of configuration, kernel and rights.  findings_net.c and
 * findings_api.c have the rest. */
#include "agent/core/findings.h"

#include <errno.h>
#include <string.h>

#include "agent/core/findings_private.h"

#define FULL_WARN_PERCENT 75
#define FULL_PERCENT 95

/* ---- the list ---- */

const char *finding_section_name(enum finding_section section)
{
	static const char *const names[SECTION_N] = {
		[SECTION_CONFIG] = "Configuration",
		[SECTION_NODE] = "Node and kernel",
		[SECTION_RIGHTS] = "Rights of this process",
		[SECTION_INTERFACES] = "Interfaces",
		[SECTION_SYSCTLS] = "Sysctls",
		[SECTION_OTHERS] = "Other software",
		[SECTION_WIRE] = "The wire",
		[SECTION_API] = "Kubernetes API",
		[SECTION_CLOCK] = "Clocks",
		[SECTION_AGENT] = "The agent",
	};

	return names[section];
}

const char *finding_level_name(enum finding_level level)
{
	static const char *const names[FINDING_LEVEL_N] = {
		[FINDING_OK] = "ok",
		[FINDING_SKIPPED] = "skipped",
		[FINDING_WARNING] = "warning",
		[FINDING_ERROR] = "error",
	};

	return names[level];
}

void judge_add(struct judge *j, enum finding_level level, const char *what, const char *means, const char *command,
	       const char *mend)
{
	struct finding *next = arena_take(j->arena, sizeof(*next));

	j->full |= !next;
	if (j->full)
		return;
	*next = (struct finding){ .section = j->section, .level = level, .what = what, .means = means, .command = command,
				  .mend = mend };
	if (j->last)
		j->last->next = next;
	else
		j->ret->first = next;
	j->last = next;
	j->ret->n[level]++;
}

void judge_ok(struct judge *j, const char *what)
{
	judge_add(j, FINDING_OK, what, NULL, NULL, NULL);
}

void judge_skip(struct judge *j, const char *what, const char *why)
{
	judge_add(j, FINDING_SKIPPED, what, why, NULL, NULL);
}

/* ---- texts ---- */

const char *judge_join(struct judge *j, const char *const *parts)
{
	const char *text = phrase_join(j->arena, parts);

	j->full |= !text;
	return text ? text : "";
}

const char *judge_number(struct judge *j, int64_t value)
{
	char digits[24];
	size_t at = sizeof(digits);
	bool negative = value < 0;
	uint64_t rest = negative ? -(uint64_t)value : (uint64_t)value;

	digits[--at] = '\0';
	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest);
	if (negative)
		digits[--at] = '-';
	return SAY(j, digits + at);
}

const char *judge_time(struct judge *j, int64_t seconds)
{
	if (seconds < 2 * 60)
		return SAY(j, judge_number(j, seconds), " s");
	if (seconds < 2 * 60 * 60)
		return SAY(j, judge_number(j, seconds / 60), " min");
	if (seconds < 2 * 24 * 60 * 60)
		return SAY(j, judge_number(j, seconds / 3600), " h");
	return SAY(j, judge_number(j, seconds / (24 * 3600)), " days");
}

const char *judge_ip(struct judge *j, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	return SAY(j, ip_format(ip, text));
}

/* ---- configuration ---- */

/* A line each. */
static void judge_errors(struct judge *j, const char *lines)
{
	while (*lines) {
		size_t len = strcspn(lines, "\n");
		char *line = arena_take(j->arena, len + 1);

		j->full |= !line;
		if (line)
			memcpy(line, lines, len);
		judge_add(j, FINDING_ERROR, line, "the agent does not start with this configuration", NULL,
			  "leasehold agent --help tells all options; leasehold check-config tests a file");
		lines += len;
		lines += *lines == '\n';
	}
}

static bool judge_config(struct judge *j)
{
	const struct facts_config *c = &j->f->config;

	j->section = SECTION_CONFIG;
	if (c->errors && *c->errors) {
		judge_errors(j, c->errors);
		return false;
	}
	judge_ok(j, SAY(j, "valid: ", c->source));
	if (c->n_pools == 0 && !c->control_vip)
		judge_add(j, FINDING_WARNING, "no pool",
			  "only Services that have an address of Leasehold's already are served", NULL,
			  "give addresses of your LAN that nobody else hands out: --pool 192.0.2.200-192.0.2.220, or pool in the "
			  "file and in the chart's values");
	if (!c->gate && !c->routed)
		judge_add(j, FINDING_WARNING, "gate: off",
			  "a killed or frozen agent's node goes on answering beside the next holder until its addresses expire",
			  NULL, "gate: on, wherever this kernel can (see \"Node and kernel\")");
	return true;
}

/* ---- node and kernel ---- */

static void judge_nft(struct judge *j)
{
	const struct facts_node *n = &j->f->node;
	const struct facts_config *c = &j->f->config;

	if (n->nat.state == FACT_GOOD)
		judge_ok(j, "nf_tables with NAT: the kernel takes such a table (tried, and taken back)");
	else if (n->nat.state == FACT_BAD)
		judge_add(j, FINDING_ERROR, "nf_tables with NAT does not work",
			  SAY(j, "VIPs cannot be balanced: ", n->nat.text), NULL,
			  "CAP_NET_ADMIN; a kernel with CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT (modprobe nft_chain_nat); or "
			  "dataplane: announce, where kube-proxy balances");
	else if (c->nft)
		judge_skip(j, "nf_tables with NAT", n->nat.text);
	if (n->arp.state == FACT_GOOD)
		judge_ok(j, "nf_tables for ARP: other interfaces of this node stay silent about VIPs");
	else if (n->arp.state == FACT_BAD)
		judge_add(j, FINDING_WARNING, "nf_tables for ARP does not work",
			  SAY(j, c->bgp ? "this node's interfaces would answer ARP requests for VIPs: " :
			      "another interface of this node on the same LAN would answer for VIPs, too: ", n->arp.text),
			  "sysctl -w net.ipv4.conf.all.arp_ignore=1",
			  c->bgp ? "or a kernel with CONFIG_NF_TABLES_ARP; of no matter where VIPs are in no subnet of a LAN" :
			  "or a kernel with CONFIG_NF_TABLES_ARP; of no matter on a node with one interface on that LAN");
	else if (!c->routed || c->bgp)
		judge_skip(j, "nf_tables for ARP", n->arp.text);
}

static void judge_gate(struct judge *j)
{
	const struct facts_node *n = &j->f->node;

	if (!j->f->config.gate)
		return;
	if (n->gate.state == FACT_GOOD)
		judge_ok(j, "the gate: its BPF program loads, attaches (to lo, and was taken off) and decides rightly");
	else if (n->gate.state == FACT_BAD)
		judge_add(j, FINDING_ERROR, "the gate cannot work on this node",
			  SAY(j, "the agent refuses to start: ", n->gate.text), NULL,
			  "Linux 5.8 with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and CONFIG_NET_SCH_INGRESS; CAP_BPF and CAP_NET_ADMIN, "
			  "and no seccomp profile that refuses bpf(2); or gate: off, which goes without");
	else
		judge_skip(j, "the gate", n->gate.text);
}

static void judge_conntrack(struct judge *j)
{
	const struct facts_node *n = &j->f->node;
	const char *fill;
	int64_t percent;

	if (!j->f->config.nft)
		return;
	if (n->conntrack == FACT_UNKNOWN || n->conntrack_max <= 0) {
		judge_skip(j, "connection tracking", "not loaded yet: the agent's own rules load it");
		return;
	}
	percent = (int64_t)n->conntrack * 100 / n->conntrack_max;
	fill = SAY(j, "connection tracking: ", judge_number(j, n->conntrack), " of ", judge_number(j, n->conntrack_max),
		   " entries taken");
	if (percent < FULL_WARN_PERCENT)
		judge_ok(j, fill);
	else
		judge_add(j, percent < FULL_PERCENT ? FINDING_WARNING : FINDING_ERROR, fill,
			  "when it is full new connections are dropped, those to VIPs among them",
			  SAY(j, "sysctl -w net.netfilter.nf_conntrack_max=", judge_number(j, 2 * (int64_t)n->conntrack_max)),
			  "kube-proxy sets it, too: --conntrack-max-per-core");
	if (n->tcp_loose == 0)
		judge_add(j, FINDING_WARNING, "net.netfilter.nf_conntrack_tcp_loose is 0",
			  "established connections end when a VIP moves here: the kernel takes up none that it has not seen begin",
			  "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1", NULL);
}

static void judge_node(struct judge *j)
{
	const struct facts_node *n = &j->f->node;
	bool old = n->major < 5 || (n->major == 5 && n->minor < 8);

	j->section = SECTION_NODE;
	if (*n->skipped) {
		judge_skip(j, "kernel", n->skipped);
		return;
	}
	if (old && j->f->config.gate)
		judge_add(j, FINDING_ERROR, SAY(j, "Linux ", n->release), "the gate needs Linux 5.8", NULL,
			  "a newer kernel, or gate: off, which goes without");
	else if (n->major < 5 || (n->major == 5 && n->minor < 18))
		judge_ok(j, SAY(j, "Linux ", n->release, " (before 5.18: our addresses are known by their metric)"));
	else
		judge_ok(j, SAY(j, "Linux ", n->release));
	judge_nft(j);
	judge_gate(j);
	judge_conntrack(j);
}

/* ---- rights ---- */

static void judge_capability(struct judge *j, bool has, const char *name, bool needed, const char *what_for)
{
	if (!needed)
		return;
	if (has)
		judge_ok(j, SAY(j, "CAP_", name, ": ", what_for));
	else
		judge_add(j, FINDING_ERROR, SAY(j, "CAP_", name, " is missing"), SAY(j, "needed for ", what_for), NULL,
			  SAY(j, "run it as root; in a Pod securityContext.capabilities.add: [", name,
			      "] with runAsUser 0 (the chart does both); in a systemd unit CapabilityBoundingSet=CAP_", name));
}

static void judge_rights(struct judge *j)
{
	const struct facts_rights *r = &j->f->rights;
	const struct facts_config *c = &j->f->config;

	j->section = SECTION_RIGHTS;
	if (!r->net_admin && !r->net_raw && !r->bpf) {
		judge_add(j, FINDING_ERROR, "this process has none of the agent's capabilities",
			  "much of the node cannot be looked at like this, and an agent started like this would end at once", NULL,
			  "run it as root, or in the agent's Pod: kubectl -n NAMESPACE exec POD -- leasehold doctor");
	} else {
		judge_capability(j, r->net_admin, "NET_ADMIN", true,
				 c->gate ? "addresses, nftables and the gate" :
				 c->routed && !c->bgp ? "nftables" : "addresses and nftables");
		judge_capability(j, r->net_raw, "NET_RAW", !c->routed, "ARP and neighbour discovery");
		judge_capability(j, r->bpf, "BPF", c->gate, "the gate");
	}
	judge_capability(j, r->sys_nice, "SYS_NICE", c->realtime, "realtime: its priority");
	judge_capability(j, r->ipc_lock, "IPC_LOCK", c->realtime, "realtime: memory that stays");
	if (r->sysctls.state == FACT_GOOD)
		judge_ok(j, "/proc/sys can be written: --sysctl manage works here");
	else if (r->sysctls.state == FACT_BAD)
		judge_ok(j, c->in_pod ? "/proc/sys is read-only here, as in every Pod: sysctls are set on the node itself" :
					"/proc/sys cannot be written here: sysctls are set by root, on the node itself");
	if (r->state_dir.state == FACT_GOOD)
		judge_ok(j, SAY(j, "state directory ", c->state_dir, " can be written"));
	else if (r->state_dir.state == FACT_BAD)
		judge_add(j, FINDING_ERROR, SAY(j, "state directory ", c->state_dir, " cannot be written"), r->state_dir.text, NULL,
			  "run it as root, or name another directory with --state-dir; in a Pod a hostPath volume (the chart has it)");
}

/* ---- all ---- */

int findings_judge(const struct doctor_facts *f, struct arena *arena, struct findings *ret)
{
	struct judge j = { .f = f, .arena = arena, .ret = ret };

	*ret = (struct findings){ .first = NULL };
	if (judge_config(&j)) {
		judge_node(&j);
		judge_rights(&j);
		judge_interfaces(&j);
		judge_sysctls(&j);
		judge_others(&j);
		judge_wire(&j);
		judge_api(&j);
		judge_clock(&j);
		judge_agent(&j);
	}
	return j.full ? -ENOSPC : 0;
}
