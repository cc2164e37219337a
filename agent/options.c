/* SPDX-License-Identifier: Apache-2.0 */
/* options.c: the table, and what is wrong with a single value.  Relations between values are config.c's. */
#include "agent/options.h"

#include <assert.h>
#include <string.h>

#include "agent/base/ip.h"
#include "agent/base/link.h"
#include "agent/base/text.h"
#include "agent/config.h"
#include "agent/core/pacer.h"
#include "agent/core/interfaces.h"

#define AT(member) offsetof(struct config, member)

static const char *check_api_server(const char *value)
{
	return text_starts(value, "https://") ? NULL : "does not begin with https://";
}

/* RFC 1123 subdomain, as the API server demands of Node names. */
static const char *check_node_name(const char *value)
{
	size_t len = strlen(value);

	return len > 0 && len <= 253 && strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789.-") == len ?
		       NULL : "is not a node name (a-z 0-9 . -)";
}

/* RFC 1123 label, as the API server demands of Namespaces. */
static const char *check_namespace(const char *value)
{
	size_t len = strlen(value);

	return len > 0 && len <= 63 && strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-") == len ?
		       NULL : "is not a namespace (a-z 0-9 -)";
}

static const char *check_interface(const char *value)
{
	size_t len = strlen(value);

	/* the kernel allows more, but nobody uses it, and names end up in YAML and logs */
	return len < LINK_NAME_MAX && strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@:") == len ?
		       NULL : "is not an interface name";
}

static const char *check_interface_pattern(const char *value)
{
	return interfaces_is_pattern(value) ? NULL : "is not the name of an interface, or a pattern";
}

static const char *check_pool(const char *value)
{
	struct ip_range r;

	if (ip_range_parse(value, &r) < 0)
		return "is not an address, a range A-B or a CIDR";
	return ip_is_unusable(&r.first) || ip_is_unusable(&r.last) ? "holds addresses that no host may have" : NULL;
}

static const char *check_class(const char *value)
{
	return *value && strlen(value) <= 316 ? NULL : "is not a class name";
}

static const char *check_listen(const char *value)
{
	struct ip_port p;

	return !*value || config_parse_listen(value, &p) == 0 ? NULL : "is not ADDR:PORT";
}

static const char *check_daemonset(const char *value)
{
	return !*value || !check_node_name(value) ? NULL : "is not the name of a DaemonSet (a-z 0-9 . -)";
}

static const char *check_state_dir(const char *value)
{
	return *value == '/' ? NULL : "is not an absolute path";
}

static const char *check_vip(const char *value)
{
	struct ip ip;

	if (!*value)
		return NULL;
	if (ip_parse(value, &ip) < 0)
		return "is not an address";
	return ip_is_unusable(&ip) ? "is an address that no host may have" : NULL;
}

static const char *check_router_interface(const char *value)
{
	return text_eq(value, "lo") ? "is no public interface" : check_interface(value);
}

uint8_t option_router_allow(const char *value)
{
	static const struct {
		const char *name;
		uint8_t flag;
	} words[] = { { "ssh", NAT_ROUTER_SSH }, { "bgp", NAT_ROUTER_BGP }, { "icmp", NAT_ROUTER_ICMP }, { "vrrp", NAT_ROUTER_VRRP } };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (text_eq(value, words[i].name))
			return words[i].flag;
	return 0;
}

static const char *check_router_allow(const char *value)
{
	return option_router_allow(value) ? NULL : "is none of ssh, bgp, icmp, vrrp";
}

static const char *check_router_admin(const char *value)
{
	struct ip_net net;

	if (ip_net_parse(value, &net) < 0)
		return "is not a CIDR such as 192.0.2.0/24";
	return net.len == 0 ? "is everybody" : NULL;
}

const struct option options[] = {
	{ "config", OPTION_TEXT, AT(file), "FILE", "", "YAML file with these names as keys; flags win", 0, 0, NULL },
	{ "kubeconfig", OPTION_TEXT, AT(kubeconfig), "FILE", "", "credentials; default: the Pod's service account", 0, 0, NULL },
	{ "api-server", OPTION_LIST, AT(api_servers), "URL", NULL,
	  "API server, repeatable; default: the one of the credentials", 0, 0, check_api_server },
	{ "node-name", OPTION_TEXT, AT(node_name), "NAME", NULL, "this node; default: the host name", 0, 0, check_node_name },
	{ "namespace", OPTION_TEXT, AT(ns), "NS", "kube-system", "namespace of the Lease", 0, 0, check_namespace },
	{ "interface", OPTION_LIST, AT(interfaces), "IF[,IF]", NULL,
	  "for VIPs, eth* or auto: by subnet, else by default route", 0, 0, check_interface_pattern },
	{ "interface-for", OPTION_RULES, AT(interface_for), "RULE", NULL,
	  "on some nodes, repeatable: \"label/rack=a: eth2\"", 0, 0, NULL },
	{ "interface-exclude", OPTION_LIST, AT(excluded), "IF[,IF]", NULL,
	  "never for VIPs; default: those of CNIs and containers", 0, 0, check_interface_pattern },
	{ "interface-mode", OPTION_CHOICE, AT(interface_mode), "first|all", "first",
	  "a VIP is on the first that suits, or on all", 0, 0, NULL },
	{ "interface-subnet", OPTION_CHOICE, AT(interface_subnet), "strict|any", "strict",
	  "VIPs must be in a named one's subnet, or not", 0, 0, NULL },
	{ "pool", OPTION_LIST, AT(pools), "A-B|CIDR", NULL,
	  "addresses to allocate, repeatable", 0, 0, check_pool },
	{ "load-balancer-class", OPTION_TEXT, AT(class_name), "NAME", "leasehold.io/vip",
	  "serve Services of this class", 0, 0, check_class },
	{ "default-class", OPTION_BOOL, AT(default_class), NULL, "false", "serve Services without a class, too", 0, 0, NULL },
	{ "lease-duration", OPTION_MS, AT(lease_ms), "TIME", "3s", "how long a silent holder keeps the Lease", 400,
	  24 * 60 * 60 * 1000, NULL },
	{ "renew-interval", OPTION_MS, AT(renew_ms), "TIME", "750ms", "how often the holder renews it", 100,
	  12 * 60 * 60 * 1000, NULL },
	{ "groups", OPTION_INT, AT(groups), "N", "1", "new VIPs go to so many groups, one Lease each", 1, 64, NULL },
	{ "rank", OPTION_INT, AT(rank), "N", "0", "0 to 9: nodes of a lower rank hold first", 0, 9, NULL },
	{ "on-api-loss", OPTION_CHOICE, AT(on_api_loss), "hold|fence", "hold",
	  "no API: go on if nobody else answers, or stop", 0, 0, NULL },
	{ "gate", OPTION_CHOICE, AT(gate), "on|off", "on",
	  "the kernel stops answering at the deadline", 0, 0, NULL },
	{ "source-nat", OPTION_CHOICE, AT(source_nat), "auto|masquerade", "auto",
	  "balanced packets: from the VIP where safe", 0, 0, NULL },
	{ "realtime", OPTION_BOOL, AT(realtime), NULL, "false",
	  "run before ordinary programs, memory locked", 0, 0, NULL },
	{ "dataplane", OPTION_CHOICE, AT(dataplane), "nft|announce", "nft",
	  "balance by nftables, or only announce", 0, 0, NULL },
	{ "announce", OPTION_CHOICE, AT(announce), "arp|none|bgp", "arp",
	  "how VIPs are found; none, bgp: by routes", 0, 0, NULL },
	{ "drain-time", OPTION_MS, AT(drain_ms), "TIME", "5s",
	  "bgp: connections go on after a withdrawal", 0, 60 * 60 * 1000, NULL },
	{ "announce-rate", OPTION_INT, AT(announce_rate), "N", "1250",
	  "VIPs announced a second, on one interface", PACE_RATE_MIN, PACE_RATE_MAX, NULL },
	{ "conflict-probe-rate", OPTION_INT, AT(conflict_probe_rate), "N", "100",
	  "frames a second to find duplicates; 0: never", 0, 1000, NULL },
	{ "ip-mode", OPTION_CHOICE, AT(ip_mode), "vip|proxy", "vip",
	  "pods reach VIPs by kube-proxy, or by the holder", 0, 0, NULL },
	{ "unmatched-ports", OPTION_CHOICE, AT(unmatched), "reject|drop|accept", "reject",
	  "packets to a VIP that no Service takes", 0, 0, NULL },
	{ "counters", OPTION_CHOICE, AT(counters), "on|off", "on", "packets, bytes and connections of Services", 0, 0, NULL },
	{ "forward-mark", OPTION_CHOICE, AT(forward_mark), "auto|on|off", "auto",
	  "kube-proxy's mark, against FORWARD drop", 0, 0, NULL },
	{ "health-check-node-ports", OPTION_CHOICE, AT(health_check_node_ports), "off|on", "off",
	  "answer there, without a kube-proxy", 0, 0, NULL },
	{ "vip", OPTION_TEXT, AT(vip), "ADDR", "", "VIP of the Kubernetes API, balanced over its servers", 0, 0, check_vip },
	{ "vip-port", OPTION_INT, AT(vip_port), "PORT", "6443", "port of that VIP", 1, UINT16_MAX, NULL },
	{ "router-interface", OPTION_LIST, AT(router_interfaces), "IF[,IF]", NULL,
	  "public ones: drop what comes in there unless allowed", 0, 0, check_router_interface },
	{ "router-allow", OPTION_LIST, AT(router_allow), "ssh,bgp,icmp,vrrp", NULL,
	  "what may come in there, of these", 0, 0, check_router_allow },
	{ "router-admin", OPTION_LIST, AT(router_admins), "CIDR", NULL,
	  "who may do everything there, repeatable", 0, 0, check_router_admin },
	{ "sysctl", OPTION_CHOICE, AT(sysctl), "report|manage", "report",
	  "wrong ones that VIPs need: tell, or set", 0, 0, NULL },
	{ "http-address", OPTION_TEXT, AT(http_address), "ADDR:PORT", "", "serve /healthz /readyz /metrics; default: off",
	  0, 0, check_listen },
	{ "state-dir", OPTION_TEXT, AT(state_dir), "DIR", "/run/leasehold", "lock file and status socket", 0, 0, check_state_dir },
	{ "daemonset", OPTION_TEXT, AT(daemonset), "NAME", "",
	  "when this DaemonSet is gone at a stop, remove everything", 0, 0, check_daemonset },
	{ "log-level", OPTION_CHOICE, AT(log_level), "error|warn|info|debug", "info", "least important lines to log", 0,
	  0, NULL },
	{ "log-format", OPTION_CHOICE, AT(log_format), "text|json", "text", "one line an event, on standard error", 0, 0, NULL },
};

static_assert(ARRAY_LEN(options) <= OPTIONS_MAX, "struct parse has no room");
const size_t n_options = ARRAY_LEN(options);
