/* SPDX-License-Identifier: Apache-2.0 */
/* config.c: from flags and file to struct config.  The options themselves stand in options.c. */
#include "agent/config.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/text.h"
#include "agent/base/yaml.h"
#include "agent/options.h"

/* Where a value came from, for error texts. */
struct origin {
	const char *file; /* NULL = command line */
	unsigned int line;
};

struct parse {
	struct config *c;
	struct buf *errors;
	bool set[OPTIONS_MAX]; /* by a flag or, in the file's pass, by the file */
};

static void complain(struct parse *p, const struct origin *at, const char *name, const char *what)
{
	if (at->file)
		buf_printf(p->errors, "%s:%u: %s: %s\n", at->file, at->line, name, what);
	else
		buf_printf(p->errors, "--%s: %s\n", name, what);
}

static const struct option *option_find(const char *name, size_t len)
{
	for (size_t i = 0; i < n_options; i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, name, len) == 0)
			return &options[i];
	return NULL;
}

/* The index of 'value' in "a|b|c", or -1. */
static int64_t choice_index(const char *choices, const char *value)
{
	size_t len = strlen(value);
	int64_t i = 0;

	for (const char *p = choices;; p++, i++) {
		size_t n = strcspn(p, "|");

		if (n == len && memcmp(p, value, n) == 0)
			return i;
		p += n;
		if (!*p)
			return -1;
	}
}

static void *member(struct config *c, const struct option *o)
{
	return (char *)c + o->offset;
}

static bool set_text(char **at, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return false;
	free(*at);
	*at = copy;
	return true;
}

/* Appends the comma-separated parts of 'value'. */
static const char *add_list(const struct option *o, struct config_list *l, const char *value)
{
	const char *wrong;

	if (!*value)
		return NULL; /* none, said explicitly */
	for (const char *p = value;; p++) {
		size_t n = strcspn(p, ",");

		if (n == 0)
			return "empty entry";
		if (l->n == CONFIG_LIST_MAX)
			return "more than 64 entries";
		l->v[l->n] = strndup(p, n);
		if (!l->v[l->n])
			return "out of memory";
		l->n++;
		wrong = o->check ? o->check(l->v[l->n - 1]) : NULL;
		if (wrong)
			return wrong;
		p += n;
		if (!*p)
			return NULL;
	}
}

static void set_number(struct parse *p, const struct option *o, const char *value, const struct origin *at)
{
	char text[160], least[32], most[32];
	int64_t v = 0;
	uint64_t u;
	int r;

	if (o->kind == OPTION_MS) {
		r = text_to_ms(value, &v);
	} else {
		r = text_to_u64(value, INT32_MAX, &u);
		v = r == 0 ? (int64_t)u : 0;
	}
	if (r == -EINVAL) {
		IGNORE(snprintf(text, sizeof(text), "\"%.40s\" is not %s", value,	   /* cut is fine */
				o->kind == OPTION_MS ? "a time with a unit, such as 600ms or 3s" : "a number"));
		complain(p, at, o->name, text);
	} else if (r < 0 || v < o->min || v > o->max) {
		if (o->kind == OPTION_MS)
			IGNORE(snprintf(text, sizeof(text), "\"%.40s\" is out of range (%s to %s)", value, /* likewise */
					text_of_ms(o->min, least, sizeof(least)), text_of_ms(o->max, most, sizeof(most))));
		else
			IGNORE(snprintf(text, sizeof(text), "\"%.40s\" is out of range (%" PRId64 " to %" PRId64 ")", /* likewise */
					value, o->min, o->max));
		complain(p, at, o->name, text);
	} else {
		*(int64_t *)member(p->c, o) = v;
	}
}

static void set_choice(struct parse *p, const struct option *o, const char *value, const struct origin *at)
{
	int64_t i = choice_index(o->arg, value);
	char text[160];

	if (i < 0) {
		IGNORE(snprintf(text, sizeof(text), "\"%.40s\" is none of %s", value, o->arg)); /* cut is fine */
		complain(p, at, o->name, text);
		return;
	}
	*(int64_t *)member(p->c, o) = i;
}

static void option_set(struct parse *p, const struct option *o, const char *value, const struct origin *at)
{
	const char *wrong = NULL;
	char text[160];

	switch (o->kind) {
	case OPTION_TEXT:
		wrong = !set_text(member(p->c, o), value) ? "out of memory" : o->check ? o->check(value) : NULL;
		break;
	case OPTION_LIST:
		wrong = add_list(o, member(p->c, o), value);
		break;
	case OPTION_BOOL:
		if (choice_index("false|true", value) < 0)
			wrong = "neither true nor false";
		else
			*(bool *)member(p->c, o) = choice_index("false|true", value) == 1;
		break;
	case OPTION_MS:
	case OPTION_INT:
		set_number(p, o, value, at);
		break;
	case OPTION_CHOICE:
		set_choice(p, o, value, at);
		break;
	case OPTION_RULES:
		wrong = *value ? config_rules_add(member(p->c, o), value) : NULL;
		break;
	}
	if (wrong) {
		IGNORE(snprintf(text, sizeof(text), "\"%.80s\" %s", value, wrong)); /* cut is fine */
		complain(p, at, o->name, text);
	}
}

static void parse_flags(struct parse *p, int argc, char *const *argv)
{
	const struct origin here = { NULL, 0 };

	for (int i = 0; i < argc; i++) {
		const char *arg = argv[i], *value = NULL;
		const struct option *o;
		size_t len;

		if (!text_starts(arg, "--")) {
			buf_printf(p->errors, "%s: not a flag (flags begin with --)\n", arg);
			continue;
		}
		len = strcspn(arg + 2, "=");
		o = option_find(arg + 2, len);
		if (!o) {
			buf_printf(p->errors, "%.*s: no such flag (see --help)\n", (int)len + 2, arg);
			continue;
		}
		if (arg[2 + len] == '=')
			value = arg + 2 + len + 1;
		else if (o->kind == OPTION_BOOL)
			value = "true";
		else if (i + 1 < argc)
			value = argv[++i];
		p->set[o - options] = true;
		if (value)
			option_set(p, o, value, &here);
		else
			complain(p, &here, o->name, "needs a value");
	}
}

/* One value of a list in the file. */
static void parse_item(struct parse *p, const struct option *o, const char *file, const struct ynode *n)
{
	struct origin at = { file, n->line };
	const char *wrong;

	if (n->kind == YNODE_SCALAR) {
		option_set(p, o, n->text, &at);
	} else if (n->kind == YNODE_MAP && o->kind == OPTION_RULES) {
		wrong = config_rules_add_map(member(p->c, o), n, &at.line);
		if (wrong)
			complain(p, &at, o->name, wrong);
	} else {
		complain(p, &at, o->name, o->kind == OPTION_RULES ? "must be a list of rules" : "must be a list of plain values");
	}
}

static void parse_entry(struct parse *p, const char *file, const struct ynode *n)
{
	const struct option *o = option_find(n->key, strlen(n->key));
	struct origin at = { file, n->line };

	if (!o || text_eq(o->name, "config")) {
		complain(p, &at, n->key, "no such key");
		return;
	}
	if (p->set[o - options])
		return; /* a flag wins */
	if (n->kind == YNODE_SCALAR) {
		option_set(p, o, n->text, &at);
	} else if (n->kind == YNODE_LIST && (o->kind == OPTION_LIST || o->kind == OPTION_RULES)) {
		for (size_t i = 0; i < n->n_children; i++)
			parse_item(p, o, file, n->children[i]);
	} else {
		complain(p, &at, o->name, o->kind == OPTION_RULES ? "must be a list of rules" : "must be a plain value");
	}
	p->set[o - options] = true;
}

static void parse_file(struct parse *p, const char *file)
{
	AUTO(ynode_freep) struct ynode *root = NULL;
	struct err_info err = ERR_INFO_INIT;

	if (ynode_parse_file(file, &root, &err) < 0) {
		buf_printf(p->errors, "%s\n", *err.text ? err.text : "out of memory");
		return;
	}
	if (!root)
		return;
	if (root->kind != YNODE_MAP) {
		buf_printf(p->errors, "%s:%u: must be a map of keys and values\n", file, root->line);
		return;
	}
	for (size_t i = 0; i < root->n_children; i++)
		parse_entry(p, file, root->children[i]);
}

static void set_defaults(struct parse *p)
{
	const struct origin here = { NULL, 0 };
	char host[256] = "";

	for (size_t i = 0; i < n_options; i++)
		if (!p->set[i] && options[i].initial)
			option_set(p, &options[i], options[i].initial, &here);
	if (!p->c->node_name) {
		if (gethostname(host, sizeof(host) - 1) < 0)
			host[0] = '\0';
		for (char *h = host; *h; h++) /* as kubelet does */
			if (*h >= 'A' && *h <= 'Z')
				*h = (char)(*h - 'A' + 'a');
		option_set(p, option_find("node-name", strlen("node-name")), host, &here);
	}
}

static_assert(NAT_ROUTER_ADMINS_MAX >= CONFIG_LIST_MAX, "all that the list takes must fit");

/* ---- relations between values; single values were checked where they stand ---- */

static bool is_set(const struct parse *p, const char *name)
{
	return p->set[option_find(name, strlen(name)) - options];
}

/* Interfaces of container engines and CNIs: networks of their own, where no VIP belongs. */
static const char not_for_vips[] =
	"antrea*,br-????????????,cali*,cilium*,cni*,docker*,flannel*,genev_sys*,kube-*,lxc*,lxdbr*,nodelocaldns,ovn*,podman*,tunl*,"
	"veth*,virbr*,vxlan.calico,weave*";

static void check_interfaces(struct parse *p)
{
	const struct origin here = { NULL, 0 };
	struct config *c = p->c;
	struct config_list *l = &c->interfaces;
	bool room = true;

	if (!is_set(p, "interface-exclude"))
		option_set(p, option_find("interface-exclude", strlen("interface-exclude")), not_for_vips, &here);
	for (size_t i = 0; i < l->n && l->n > 1; i++)
		if (text_eq(l->v[i], "auto"))
			buf_puts(p->errors, "interface: auto stands alone\n");
	if (l->n == 1 && text_eq(l->v[0], "auto"))
		free(l->v[--l->n]);
	for (size_t i = 0; i < c->interface_for.n; i++)
		room &= interfaces_ask(&c->interface_for.v[i], &c->node_labels);
	if (!room)
		buf_printf(p->errors, "interface-for: asks for more than %d different labels\n", LABELS_MAX);
}

static void check_times(struct parse *p)
{
	const struct config *c = p->c;
	char lease[32], renew[32];

	if (c->lease_ms && c->renew_ms * 2 >= c->lease_ms)
		buf_printf(p->errors, "renew-interval: %s is not less than half of lease-duration %s\n",
			   text_of_ms(c->renew_ms, renew, sizeof(renew)), text_of_ms(c->lease_ms, lease, sizeof(lease)));
}

static void check_pools(struct parse *p)
{
	struct config *c = p->c;

	for (size_t i = 0; i < c->pools.n; i++)
		if (ip_range_parse(c->pools.v[i], &c->ranges[i]) < 0)
			memset(&c->ranges[i], 0, sizeof(c->ranges[i])); /* complained about already */
}

/* What only the nftables data plane does must not be believed to be done without it. */
static void check_dataplane(struct parse *p)
{
	static const char needs[] = "needs dataplane nft: with announce others balance";
	const struct config *c = p->c;

	if (c->dataplane == DATAPLANE_NFT)
		return;
	if (c->announce == ANNOUNCE_NONE)
		buf_puts(p->errors, "announce: none leaves nothing to do with dataplane announce\n");
	if (c->announce == ANNOUNCE_BGP)
		buf_printf(p->errors, "announce: bgp %s\n", needs);
	if (c->ip_mode == IP_MODE_PROXY)
		buf_puts(p->errors, "ip-mode: proxy needs dataplane nft: it tells kube-proxy not to balance\n");
	if (c->unmatched != NAT_UNMATCHED_REJECT)
		buf_printf(p->errors, "unmatched-ports: %s %s\n", c->unmatched == NAT_UNMATCHED_DROP ? "drop" : "accept", needs);
	if (c->forward_mark == FORWARD_MARK_ON)
		buf_printf(p->errors, "forward-mark: on %s\n", needs);
	if (*c->vip)
		buf_printf(p->errors, "vip: %s\n", needs);
	if (c->router_interfaces.n > 0)
		buf_printf(p->errors, "router-interface: %s\n", needs);
}

static void check_announce(struct parse *p)
{
	const struct config *c = p->c;

	if (c->announce == ANNOUNCE_ARP)
		return;
	if (is_set(p, "gate") && c->gate == GATE_ON)
		buf_puts(p->errors, "gate: on needs announce arp: a VIP that every node has is nothing to shut\n");
	if (*c->vip)
		buf_puts(p->errors, "vip: needs announce arp: one node is to answer for it\n");
}

/* Whether an API server's URL, "https://HOST[:PORT]", names that address. */
static bool url_names(const char *url, const struct ip *ip)
{
	char host[IP_TEXT_MAX];
	struct ip named;
	bool brackets;
	size_t n;

	if (!text_starts(url, "https://"))
		return false;
	url += strlen("https://");
	brackets = *url == '[';
	url += brackets;
	n = strcspn(url, brackets ? "]" : ":/");
	if (n >= sizeof(host))
		return false;
	memcpy(host, url, n);
	host[n] = '\0';
	return ip_parse(host, &named) == 0 && ip_eq(&named, ip);
}

static void check_vip(struct parse *p)
{
	struct config *c = p->c;

	if (!*c->vip) {
		if (is_set(p, "vip-port"))
			buf_puts(p->errors, "vip-port: of no use without vip\n");
		return;
	}
	if (ip_parse(c->vip, &c->control_vip) < 0)
		return; /* complained about already */
	for (size_t i = 0; i < c->pools.n; i++)
		if (ip_in_range(&c->control_vip, &c->ranges[i]))
			buf_printf(p->errors, "vip: %s is in pool %s, so that a Service might get it\n", c->vip, c->pools.v[i]);
	for (size_t i = 0; i < c->api_servers.n; i++)
		if (url_names(c->api_servers.v[i], &c->control_vip))
			buf_printf(p->errors, "api-server: %s is the vip itself, which is up only once an API server was reached\n",
				   c->api_servers.v[i]);
}

/* Neither twice nor one inside another: the kernel's sets of prefixes take no overlaps. */
static void take_admins(struct config *c)
{
	struct nat_router *r = &c->router;
	struct ip_net nets[CONFIG_LIST_MAX];
	size_t n = 0;

	for (size_t i = 0; i < c->router_admins.n; i++)
		n += ip_net_parse(c->router_admins.v[i], &nets[n]) == 0; /* else complained about already */
	for (size_t i = 0; i < n; i++) {
		bool inside = false;

		for (size_t k = 0; k < n && !inside; k++)
			inside = k != i && (nets[k].len < nets[i].len || (nets[k].len == nets[i].len && k < i)) &&
				 ip_in_prefix(&nets[i].ip, &nets[k].ip, nets[k].len);
		if (!inside)
			r->admins[r->n_admins++] = nets[i];
	}
}

static void take_interface(struct nat_router *r, const char *name)
{
	for (size_t i = 0; i < r->n_interfaces; i++)
		if (text_eq(r->interfaces[i], name))
			return;
	if (text_copy(r->interfaces[r->n_interfaces], sizeof(r->interfaces[0]), name)) /* else complained about already */
		r->n_interfaces++;
}

static void check_router(struct parse *p)
{
	struct config *c = p->c;
	struct nat_router *r = &c->router;

	if (c->router_interfaces.n == 0) {
		if (c->router_allow.n > 0)
			buf_puts(p->errors, "router-allow: of no use without router-interface\n");
		if (c->router_admins.n > 0)
			buf_puts(p->errors, "router-admin: of no use without router-interface\n");
		return;
	}
	if (c->router_interfaces.n > NAT_ROUTER_INTERFACES_MAX) {
		buf_printf(p->errors, "router-interface: more than %d\n", NAT_ROUTER_INTERFACES_MAX);
		return;
	}
	for (size_t i = 0; i < c->router_interfaces.n; i++)
		take_interface(r, c->router_interfaces.v[i]);
	for (size_t i = 0; i < c->router_allow.n; i++)
		r->allow |= option_router_allow(c->router_allow.v[i]);
	take_admins(c);
}

static void check_relations(struct parse *p)
{
	p->c->lease_set = is_set(p, "lease-duration");
	check_interfaces(p);
	check_pools(p);
	check_times(p);
	check_dataplane(p);
	check_announce(p);
	check_vip(p);
	check_router(p);
}

int config_parse_listen(const char *text, struct ip_port *ret)
{
	struct ip_port out = { .port = 0 };
	const char *colon = strrchr(text, ':');
	char host[IP_TEXT_MAX + 2];
	uint64_t port;
	size_t len;

	if (!colon || text_to_u64(colon + 1, UINT16_MAX, &port) < 0 || port == 0)
		return -EINVAL;
	len = (size_t)(colon - text);
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		memmove(host, host + 1, len - 1);
	}
	if (len > 0 && ip_parse(host, &out.ip) < 0)
		return -EINVAL;
	out.port = (uint16_t)port;
	*ret = out;
	return 0;
}

int config_parse(int argc, char *const *argv, struct config *c, struct buf *errors)
{
	struct parse p = { .c = c, .errors = errors };

	memset(c, 0, sizeof(*c));
	parse_flags(&p, argc, argv);
	if (c->file && *c->file)
		parse_file(&p, c->file);
	set_defaults(&p);
	check_relations(&p);
	return errors->len ? -EINVAL : 0;
}

void config_fini(struct config *c)
{
	for (size_t i = 0; i < n_options; i++) {
		if (options[i].kind == OPTION_TEXT) {
			free(*(char **)member(c, &options[i]));
		} else if (options[i].kind == OPTION_LIST) {
			struct config_list *l = member(c, &options[i]);

			for (size_t k = 0; k < l->n; k++)
				free(l->v[k]);
		} else if (options[i].kind == OPTION_RULES) {
			config_rules_fini(member(c, &options[i]));
		}
	}
	memset(c, 0, sizeof(*c));
}

void config_print_help(FILE *out)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option *o = &options[i];
		char left[64];

		IGNORE(snprintf(left, sizeof(left), "--%s %s", o->name, o->arg ? o->arg : "")); /* table fits */
		fprintf(out, "  %-36s %s", left, o->help);
		if (o->initial && *o->initial)
			fprintf(out, " (default %s)", o->initial);
		fputc('\n', out);
	}
}
