/* SPDX-License-Identifier: Apache-2.0 */
/* doctor_node.c: the kernel, by trying what the agent will ask of it, and what this process may do. */
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "agent/base/file.h"
#include "agent/base/text.h"
#include "agent/capability.h"
#include "agent/doctor.h"
#include "netlink/feature_if.h"
#include "netlink/gate_if.h"
#include "netlink/sysctl.h"

#ifndef CAP_BPF
#define CAP_BPF 39 /* linux/capability.h since 5.8 */
#endif

static int number_in(const char *path)
{
	struct buf text = BUF_INIT(64);
	int value = FACT_UNKNOWN;
	uint64_t u;

	if (file_read(path, &text, NULL) == 0 && buf_failed(&text) == 0 && text.len > 0) {
		text.data[strcspn(text.data, "\n")] = '\0';
		if (text_to_u64(text.data, INT_MAX, &u) == 0)
			value = (int)u;
	}
	buf_fini(&text);
	return value;
}

/* "6.1.0-13-amd64" */
static void read_release(struct facts_node *n)
{
	struct utsname name;
	uint64_t major = 0, minor = 0;
	char digits[8] = "";
	const char *at;
	size_t len;

	if (uname(&name) < 0)
		return;
	IGNORE(text_copy(n->release, sizeof(n->release), name.release)); /* only shown */
	len = strspn(name.release, "0123456789");
	memcpy(digits, name.release, len < sizeof(digits) ? len : sizeof(digits) - 1);
	if (text_to_u64(digits, INT_MAX, &major) == 0 && name.release[len] == '.') {
		at = name.release + len + 1;
		len = strspn(at, "0123456789");
		memset(digits, 0, sizeof(digits));
		memcpy(digits, at, len < sizeof(digits) ? len : sizeof(digits) - 1);
		IGNORE(text_to_u64(digits, INT_MAX, &minor)); /* none is 0 */
	}
	n->major = (int)major;
	n->minor = (int)minor;
}

static void try_nft(const struct config *c, struct facts_node *n)
{
	struct err_info err = ERR_INFO_INIT;
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	int r = nlsock_new(NETLINK_NETFILTER, &s, &err);

	if (!capability_has(CAP_NET_ADMIN)) {
		doctor_untried(&n->nat, "it cannot be tried without CAP_NET_ADMIN");
		n->arp = n->nat;
		return;
	}
	if (c->dataplane == DATAPLANE_NFT) {
		if (r == 0)
			r = feature_if_nat(s, &err);
		if (r < 0)
			doctor_bad(&n->nat, err.text);
		else
			doctor_good(&n->nat);
	}
	if (c->announce == ANNOUNCE_NONE || !s)
		return;
	r = feature_if_arp(s, &err);
	if (r < 0)
		doctor_bad(&n->arp, err.text);
	else
		doctor_good(&n->arp);
}

/* As the agent does at its start (fence.c). */
static void try_gate(struct facts_node *n)
{
	struct err_info err = ERR_INFO_INIT;
	AUTO(nlsock_freep) struct nlsock *s = NULL;
	struct gate_if *gate = NULL;
	int r = nlsock_new(NETLINK_ROUTE, &s, &err);

	if (!capability_has(CAP_NET_ADMIN)) {
		doctor_untried(&n->gate, "it cannot be tried without CAP_NET_ADMIN");
		return;
	}
	if (r == 0)
		r = gate_if_new(&gate, &err);
	if (r == 0)
		r = gate_if_self_test(gate, s, &err);
	gate_if_free(gate);
	if (r < 0)
		doctor_bad(&n->gate, err.text);
	else
		doctor_good(&n->gate);
}

void doctor_node(const struct doctor *d, struct facts_node *ret)
{
	struct mono_clocks clocks = mono_clocks_now();

	ret->suspended_ms = (clocks.boot.ns - clocks.monotonic_ns) / NS_PER_MS;
	ret->conntrack = number_in("/proc/sys/net/netfilter/nf_conntrack_count");
	ret->conntrack_max = number_in("/proc/sys/net/netfilter/nf_conntrack_max");
	ret->tcp_loose = number_in("/proc/sys/net/netfilter/nf_conntrack_tcp_loose");
	read_release(ret);
	try_nft(d->cfg, ret);
	if (d->cfg->gate == GATE_ON && d->cfg->announce == ANNOUNCE_ARP)
		try_gate(ret);
}

/* The directory, or the nearest one above it that there is: the agent makes the rest. */
static void look_at_state_dir(const char *dir, struct fact *ret)
{
	struct err_info err = ERR_INFO_INIT;
	char path[PATH_MAX];
	char *slash;

	if (!text_copy(path, sizeof(path), dir)) {
		doctor_bad(ret, "its path is too long");
		return;
	}
	if (access(path, F_OK) < 0 && errno == ENOENT) {
		slash = strrchr(path, '/');
		slash[slash == path] = '\0'; /* absolute: config_parse() has seen to it */
	}
	if (access(path, W_OK | X_OK) == 0) {
		doctor_good(ret);
		return;
	}
	IGNORE(err_errno(&err, -errno, "%s", path)); /* returns it */
	doctor_bad(ret, err.text);
}

void doctor_rights(const struct doctor *d, struct facts_rights *ret)
{
	struct err_info err = ERR_INFO_INIT;

	ret->net_admin = capability_has(CAP_NET_ADMIN);
	ret->net_raw = capability_has(CAP_NET_RAW);
	ret->bpf = capability_has(CAP_BPF) || capability_has(CAP_SYS_ADMIN); /* bpf_capable() of linux/capability.h */
	ret->sys_nice = capability_has(CAP_SYS_NICE);
	ret->ipc_lock = capability_has(CAP_IPC_LOCK);
	if (sysctl_may_set(&err) < 0)
		doctor_bad(&ret->sysctls, err.text);
	else
		doctor_good(&ret->sysctls);
	look_at_state_dir(d->cfg->state_dir, &ret->state_dir);
}
