/* SPDX-License-Identifier: Apache-2.0 */
/* config.c: one table of options serves flags, YAML keys, defaults and --help. */
#include "agent/config.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/link.h"
#include "agent/base/text.h"
#include "agent/base/yaml.h"

enum option_kind {
	OPTION_TEXT,
	OPTION_LIST,
	OPTION_BOOL,
	OPTION_MS,
	OPTION_INT,
	OPTION_CHOICE,
};

struct option {
	const char *name;
	enum option_kind kind;
	size_t offset;	     /* of the member of struct config */
	const char *arg;     /* for --help; of a choice: "a|b|c", values 0, 1, 2 */
	const char *initial; /* default as text; NULL = none */
	const char *help;
	int64_t min, max; /* MS, INT */
	const char *(*check)(const char *value); /* TEXT, LIST: NULL, or what is wrong with one value; may be NULL */
};

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

static const struct option options[] = {
	{ "config", OPTION_TEXT, AT(file), "FILE", "", "YAML file with these names as keys; flags win", 0, 0, NULL },
	{ "kubeconfig", OPTION_TEXT, AT(kubeconfig), "FILE", "", "credentials; default: the Pod's service account", 0, 0, NULL },
	{ "api-server", OPTION_LIST, AT(api_servers), "URL", NULL,
	  "API server, repeatable; default: the one of the credentials", 0, 0, check_api_server },
	{ "node-name", OPTION_TEXT, AT(node_name), "NAME", NULL, "this node; default: the host name", 0, 0, check_node_name },
	{ "namespace", OPTION_TEXT, AT(ns), "NS", "kube-system", "namespace of the Lease", 0, 0, check_namespace },
	{ "interface", OPTION_LIST, AT(interfaces), "IF[,IF]", NULL,
	  "interfaces for VIPs; default: by subnet, else by default route", 0, 0, check_interface },
	{ "pool", OPTION_LIST, AT(pools), "A-B|CIDR", NULL,
	  "addresses to allocate, repeatable", 0, 0, check_pool },
	{ "load-balancer-class", OPTION_TEXT, AT(class_name), "NAME", "leasehold.io/vip",
	  "serve Services with this spec.loadBalancerClass", 0, 0, check_class },
	{ "default-class", OPTION_BOOL, AT(default_class), NULL, "false", "serve Services without a class, too", 0, 0, NULL },
	{ "lease-duration", OPTION_MS, AT(lease_ms), "TIME", "3s", "how long a silent holder keeps the Lease", 400,
	  24 * 60 * 60 * 1000, NULL },
	{ "renew-interval", OPTION_MS, AT(renew_ms), "TIME", "750ms", "how often the holder renews it", 100,
	  12 * 60 * 60 * 1000, NULL },
	{ "groups", OPTION_INT, AT(groups), "N", "1", "new VIPs go to so many groups, one Lease each", 1, 64, NULL },
	{ "rank", OPTION_INT, AT(rank), "N", "0", "0 to 9: nodes of a lower rank hold first", 0, 9, NULL },
	{ "on-api-loss", OPTION_CHOICE, AT(on_api_loss), "hold|fence", "hold",
	  "no API: go on while nobody else answers, or stop at the deadline", 0, 0, NULL },
	{ "gate", OPTION_CHOICE, AT(gate), "on|off", "on",
	  "the kernel stops answering at the deadline; off: only the agent does", 0, 0, NULL },
	{ "source-nat", OPTION_CHOICE, AT(source_nat), "auto|masquerade", "auto",
	  "source of balanced packets: the VIP where safe, or always the node", 0, 0, NULL },
	{ "realtime", OPTION_BOOL, AT(realtime), NULL, "false",
	  "run before ordinary programs, memory locked", 0, 0, NULL },
	{ "dataplane", OPTION_CHOICE, AT(dataplane), "nft|announce", "nft",
	  "balance by nftables, or only own the address and announce it", 0, 0, NULL },
	{ "sysctl", OPTION_CHOICE, AT(sysctl), "report|manage", "report",
	  "forwarding: say what is missing, or set it", 0, 0, NULL },
	{ "http-address", OPTION_TEXT, AT(http_address), "ADDR:PORT", "", "serve /healthz /readyz /metrics; default: off",
	  0, 0, check_listen },
	{ "state-dir", OPTION_TEXT, AT(state_dir), "DIR", "/run/leasehold", "lock file and status socket", 0, 0, check_state_dir },
	{ "daemonset", OPTION_TEXT, AT(daemonset), "NAME", "",
	  "when this DaemonSet is gone at a stop, remove everything", 0, 0, check_daemonset },
	{ "log-level", OPTION_CHOICE, AT(log_level), "error|warn|info|debug", "info", "least important lines to log", 0,
	  0, NULL },
	{ "log-format", OPTION_CHOICE, AT(log_format), "text|json", "text", "one line an event, on standard error", 0, 0, NULL },
};

/* Where a value came from, for error texts. */
struct origin {
	const char *file; /* NULL = command line */
	unsigned int line;
};

struct parse {
	struct config *c;
	struct buf *errors;
	bool set[ARRAY_LEN(options)]; /* by a flag or, in the file's pass, by the file */
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
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
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
	} else if (n->kind == YNODE_LIST && o->kind == OPTION_LIST) {
		for (size_t i = 0; i < n->n_children; i++) {
			at.line = n->children[i]->line;
			if (n->children[i]->kind == YNODE_SCALAR)
				option_set(p, o, n->children[i]->text, &at);
			else
				complain(p, &at, o->name, "must be a list of plain values");
		}
	} else {
		complain(p, &at, o->name, "must be a plain value");
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

	for (size_t i = 0; i < ARRAY_LEN(options); i++)
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

/* Relations between values; single values were checked where they stand. */
static void check_relations(struct parse *p)
{
	struct config *c = p->c;
	char lease[32], renew[32];

	for (size_t i = 0; i < c->pools.n; i++)
		if (ip_range_parse(c->pools.v[i], &c->ranges[i]) < 0)
			memset(&c->ranges[i], 0, sizeof(c->ranges[i])); /* complained about already */
	if (c->lease_ms && c->renew_ms * 2 >= c->lease_ms)
		buf_printf(p->errors, "renew-interval: %s is not less than half of lease-duration %s\n",
			   text_of_ms(c->renew_ms, renew, sizeof(renew)), text_of_ms(c->lease_ms, lease, sizeof(lease)));
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
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		if (options[i].kind == OPTION_TEXT) {
			free(*(char **)member(c, &options[i]));
		} else if (options[i].kind == OPTION_LIST) {
			struct config_list *l = member(c, &options[i]);

			for (size_t k = 0; k < l->n; k++)
				free(l->v[k]);
		}
	}
	memset(c, 0, sizeof(*c));
}

void config_print_help(FILE *out)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];
		char left[64];

		IGNORE(snprintf(left, sizeof(left), "--%s %s", o->name, o->arg ? o->arg : "")); /* table fits */
		fprintf(out, "  %-34s %s", left, o->help);
		if (o->initial && *o->initial)
			fprintf(out, " (default %s)", o->initial);
		fputc('\n', out);
	}
}
