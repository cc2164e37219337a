/* SPDX-License-Identifier: Apache-2.0 */
/* forward_msg.c: nf_tables' messages of other programs' chains and rules.  A rule is a list of expressions that load a value
 * into a register, compare it, and give a verdict; only comparisons of the packet mark, conntrack's state and status and the
 * family are understood, every other makes the rule one that concerns some packets. */
#include "netlink/forward_msg.h"

#include <errno.h>
#include <netinet/in.h> /* before the kernel's own */
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_mark.h>
#include <string.h>

#include "agent/base/text.h"
#include "netlink/attr_walk.h"

/* The kernel's NF_CT_STATE_BIT(IP_CT_NEW), as expression "ct state" has it. */
#define STATE_NEW (1u << (IP_CT_NEW % IP_CT_IS_REPLY + 1))

/* ---- requests ---- */

static struct nlmsghdr *put_header(unsigned char *buf, uint16_t type, uint16_t flags, uint8_t family)
{
	const struct nfgenmsg nfg = { .nfgen_family = family, .version = NFNETLINK_V0 };
	struct nlmsghdr *nlh;

	memset(buf, 0, FORWARD_MSG_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(nfg)), &nfg, sizeof(nfg));
	return nlh;
}

struct nlmsghdr *forward_msg_generation(unsigned char buf[static FORWARD_MSG_MAX])
{
	return put_header(buf, NFT_MSG_GETGEN, 0, NFPROTO_UNSPEC);
}

struct nlmsghdr *forward_msg_chains(unsigned char buf[static FORWARD_MSG_MAX])
{
	return put_header(buf, NFT_MSG_GETCHAIN, NLM_F_DUMP, NFPROTO_UNSPEC);
}

struct nlmsghdr *forward_msg_rules(unsigned char buf[static FORWARD_MSG_MAX], uint8_t family, const char *table,
				   const char *chain)
{
	struct nlmsghdr *nlh = put_header(buf, NFT_MSG_GETRULE, NLM_F_DUMP, family);

	mnl_attr_put_strz(nlh, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_RULE_CHAIN, chain);
	return nlh;
}

struct nlmsghdr *forward_msg_elements(unsigned char buf[static FORWARD_MSG_MAX], uint8_t family, const char *table,
				      const char *set)
{
	struct nlmsghdr *nlh = put_header(buf, NFT_MSG_GETSETELEM, NLM_F_DUMP, family);

	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, table);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set);
	return nlh;
}

/* ---- chains ---- */

/* The attributes of a message of that type, and its family. */
static int open_message(const void *data, size_t len, uint16_t type, uint8_t *ret_family, struct attr_walk *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	const struct nfgenmsg *nfg = nlh ? attr_header(nlh, sizeof(*nfg)) : NULL;

	if (!nfg || nlh->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | type))
		return -EBADMSG;
	*ret_family = nfg->nfgen_family;
	*ret = attr_walk_message(nlh, sizeof(*nfg));
	return 0;
}

int forward_msg_parse_generation(const void *data, size_t len, uint32_t *ret)
{
	const struct nlattr *tb[NFTA_GEN_ID + 1];
	struct attr_walk w;
	uint8_t family;
	int r = open_message(data, len, NFT_MSG_NEWGEN, &family, &w);

	if (r == 0)
		r = attr_table(w, tb, NFTA_GEN_ID);
	if (r < 0)
		return r;
	return attr_u32_be(tb[NFTA_GEN_ID], ret) ? 0 : -EBADMSG;
}

/* NFTA_CHAIN_HOOK of a filter chain that sees forwarded IP packets. */
static bool is_forward(uint8_t family, const struct nlattr *hook, const char *type)
{
	const struct nlattr *tb[NFTA_HOOK_HOOKNUM + 1];
	uint32_t number;

	if (family != NFPROTO_IPV4 && family != NFPROTO_IPV6 && family != NFPROTO_INET)
		return false;
	return hook && type && text_eq(type, "filter") &&
	       attr_table(attr_walk_nested(hook), tb, NFTA_HOOK_HOOKNUM) == 0 &&
	       attr_u32_be(tb[NFTA_HOOK_HOOKNUM], &number) && number == NF_INET_FORWARD;
}

int forward_msg_parse_chain(const void *data, size_t len, struct forward_seen_chain *ret)
{
	const struct nlattr *tb[NFTA_CHAIN_TYPE + 1];
	struct forward_seen_chain c = { .family = 0 };
	uint32_t policy = NF_ACCEPT;
	struct attr_walk w;
	int r = open_message(data, len, NFT_MSG_NEWCHAIN, &c.family, &w);

	if (r == 0)
		r = attr_table(w, tb, NFTA_CHAIN_TYPE);
	if (r < 0)
		return r;
	c.table = attr_text(tb[NFTA_CHAIN_TABLE]);
	c.name = attr_text(tb[NFTA_CHAIN_NAME]);
	if (!c.table || !c.name)
		return -EBADMSG;
	c.forward = is_forward(c.family, tb[NFTA_CHAIN_HOOK], attr_text(tb[NFTA_CHAIN_TYPE]));
	IGNORE(attr_u32_be(tb[NFTA_CHAIN_POLICY], &policy)); /* chains without a hook have none */
	c.policy_drop = policy == NF_DROP;
	*ret = c;
	return 0;
}

/* ---- conditions ---- */

void forward_and(struct forward_rule *r, enum forward_when when, uint32_t mark)
{
	if (when == FORWARD_ALWAYS || r->when == FORWARD_NEVER)
		return;
	if (when == FORWARD_MARKED && r->when == FORWARD_MARKED) {
		r->mark |= mark;
		return;
	}
	if (r->when == FORWARD_ALWAYS || when < (enum forward_when)r->when) {
		r->when = (uint8_t)when;
		r->mark = when == FORWARD_MARKED ? mark : 0;
	}
}

bool forward_is_service(uint32_t protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static enum forward_when when_if(bool holds)
{
	return holds ? FORWARD_ALWAYS : FORWARD_NEVER;
}

static void match_conntrack(struct forward_rule *r, const void *info, size_t len)
{
	struct xt_conntrack_mtinfo3 m;
	bool ours;

	if (len < sizeof(m)) {
		forward_and(r, FORWARD_SOMETIMES, 0);
		return;
	}
	memcpy(&m, info, sizeof(m));
	/* The options --ctstate and --state; any other narrows it down. */
	if (m.match_flags & ~(XT_CONNTRACK_STATE | XT_CONNTRACK_STATE_ALIAS))
		forward_and(r, FORWARD_SOMETIMES, 0);
	if (!(m.match_flags & XT_CONNTRACK_STATE))
		return;
	ours = m.state_mask & (XT_CONNTRACK_STATE_BIT(IP_CT_NEW) | XT_CONNTRACK_STATE_DNAT);
	forward_and(r, when_if(ours == !(m.invert_flags & XT_CONNTRACK_STATE)), 0);
}

static void match_mark(struct forward_rule *r, uint32_t mask, uint32_t value, bool equal)
{
	/* Other bits of the mark are others' (of a CNI, say), and not known. */
	if (equal && mask != 0 && value == mask && mask != UINT32_MAX)
		forward_and(r, FORWARD_MARKED, mask);
	else if (!equal && value == 0 && mask != 0 && (mask & (mask - 1)) == 0)
		forward_and(r, FORWARD_MARKED, mask);
	else
		forward_and(r, FORWARD_SOMETIMES, 0);
}

void forward_xt_match(struct forward_rule *r, const char *name, unsigned int revision, const void *info, size_t len)
{
	struct xt_mark_mtinfo1 mark;

	if (text_eq(name, "comment") || text_eq(name, "nfacct"))
		return;
	if (text_eq(name, "conntrack") && revision == 3) {
		match_conntrack(r, info, len);
	} else if (text_eq(name, "mark") && revision == 1 && len >= sizeof(mark)) {
		memcpy(&mark, info, sizeof(mark));
		match_mark(r, mark.mask, mark.mark, !mark.invert);
	} else {
		forward_and(r, FORWARD_SOMETIMES, 0);
	}
}

uint8_t forward_xt_target(const char *name)
{
	if (text_eq(name, "REJECT") || text_eq(name, "DROP"))
		return FORWARD_DROPS;
	if (text_eq(name, "NFQUEUE") || text_eq(name, "QUEUE"))
		return FORWARD_HIDDEN;
	return FORWARD_GOES_ON; /* LOG, MARK, TCPMSS and the like */
}

/* ---- expressions ---- */

enum loaded {
	LOADED_OTHER,
	LOADED_MARK,
	LOADED_STATE,
	LOADED_STATUS,
	LOADED_FAMILY,
	LOADED_PROTOCOL,
};

/* The rule under way, and what the register that was loaded last holds. */
struct reading {
	struct forward_rule *rule;
	struct forward_names *names;
	uint8_t family;
	unsigned int n_conditions;
	enum loaded loaded;
	uint32_t reg, mask; /* mask: UINT32_MAX = the whole value */
};

static void load(struct reading *x, enum loaded what, const struct nlattr *dreg)
{
	uint32_t reg = 0;

	x->loaded = attr_u32_be(dreg, &reg) ? what : LOADED_OTHER;
	x->reg = reg;
	x->mask = UINT32_MAX;
}

/* Data of four bytes, or of one (families); in host order, as the kernel holds it. */
static bool data_value(const struct nlattr *data, uint32_t *ret)
{
	const struct nlattr *tb[NFTA_DATA_VALUE + 1];
	uint8_t byte;

	if (!data || attr_table(attr_walk_nested(data), tb, NFTA_DATA_VALUE) < 0)
		return false;
	if (attr_u32(tb[NFTA_DATA_VALUE], ret))
		return true;
	if (!attr_u8(tb[NFTA_DATA_VALUE], &byte))
		return false;
	*ret = byte;
	return true;
}

static void read_meta(struct reading *x, const struct nlattr *const *tb)
{
	uint32_t key = UINT32_MAX;

	IGNORE(attr_u32_be(tb[NFTA_META_KEY], &key)); /* then it is another's */
	if (!tb[NFTA_META_DREG]) /* sets what the register holds */
		return;
	load(x, key == NFT_META_MARK	? LOADED_MARK :
		key == NFT_META_NFPROTO ? LOADED_FAMILY :
		key == NFT_META_L4PROTO ? LOADED_PROTOCOL :
					  LOADED_OTHER,
	     tb[NFTA_META_DREG]);
}

static void read_ct(struct reading *x, const struct nlattr *const *tb)
{
	uint32_t key = UINT32_MAX;

	IGNORE(attr_u32_be(tb[NFTA_CT_KEY], &key)); /* then it is another's */
	if (!tb[NFTA_CT_DREG])
		return;
	load(x, key == NFT_CT_STATE ? LOADED_STATE : key == NFT_CT_STATUS ? LOADED_STATUS : LOADED_OTHER, tb[NFTA_CT_DREG]);
}

static void read_bitwise(struct reading *x, const struct nlattr *const *tb)
{
	uint32_t sreg = 0, mask, xor;

	if (!attr_u32_be(tb[NFTA_BITWISE_SREG], &sreg) || sreg != x->reg || x->mask != UINT32_MAX ||
	    !data_value(tb[NFTA_BITWISE_MASK], &mask) || !data_value(tb[NFTA_BITWISE_XOR], &xor) || xor != 0) {
		load(x, LOADED_OTHER, tb[NFTA_BITWISE_DREG]);
		return;
	}
	load(x, x->loaded, tb[NFTA_BITWISE_DREG]);
	x->mask = mask;
}

/* Of a new connection whose destination was translated; other bits of its status are not known. */
static enum forward_when compare(const struct reading *x, uint32_t value, bool equal)
{
	switch (x->loaded) {
	case LOADED_STATE:
		return when_if(((x->mask & STATE_NEW) == value) == equal);
	case LOADED_STATUS:
		if (value == 0 && (x->mask & IPS_DST_NAT))
			return when_if(!equal);
		return x->mask == IPS_DST_NAT && value == IPS_DST_NAT ? when_if(equal) : FORWARD_SOMETIMES;
	case LOADED_FAMILY:
		return when_if((value == x->family) == equal);
	case LOADED_PROTOCOL:
		return equal && !forward_is_service(value) ? FORWARD_NEVER : FORWARD_SOMETIMES;
	case LOADED_MARK:
	case LOADED_OTHER:
		break;
	}
	return FORWARD_SOMETIMES;
}

static void read_cmp(struct reading *x, const struct nlattr *const *tb)
{
	uint32_t sreg = 0, op = 0, value;

	x->n_conditions++;
	if (!attr_u32_be(tb[NFTA_CMP_SREG], &sreg) || sreg != x->reg || !attr_u32_be(tb[NFTA_CMP_OP], &op) ||
	    (op != NFT_CMP_EQ && op != NFT_CMP_NEQ) || !data_value(tb[NFTA_CMP_DATA], &value)) {
		forward_and(x->rule, FORWARD_SOMETIMES, 0);
	} else if (x->loaded == LOADED_MARK) {
		match_mark(x->rule, x->mask, value, op == NFT_CMP_EQ);
	} else {
		forward_and(x->rule, compare(x, value, op == NFT_CMP_EQ), 0);
	}
}

/* NFTA_DATA_VERDICT of an immediate or an element; its name goes to *target. */
static void read_verdict(const struct nlattr *data, struct forward_rule *rule, const char **target)
{
	const struct nlattr *outer[NFTA_DATA_VERDICT + 1], *tb[NFTA_VERDICT_CHAIN + 1];
	uint32_t code;

	if (!data || attr_table(attr_walk_nested(data), outer, NFTA_DATA_VERDICT) < 0 || !outer[NFTA_DATA_VERDICT] ||
	    attr_table(attr_walk_nested(outer[NFTA_DATA_VERDICT]), tb, NFTA_VERDICT_CHAIN) < 0 ||
	    !attr_u32_be(tb[NFTA_VERDICT_CODE], &code))
		return;
	switch ((int32_t)code) {
	case NF_ACCEPT:
		rule->what = FORWARD_ACCEPTS;
		break;
	case NF_DROP:
		rule->what = FORWARD_DROPS;
		break;
	case NFT_RETURN:
		rule->what = FORWARD_RETURNS;
		break;
	case NFT_JUMP:
	case NFT_GOTO:
		rule->what = (int32_t)code == NFT_JUMP ? FORWARD_JUMPS : FORWARD_GOES_TO;
		*target = attr_text(tb[NFTA_VERDICT_CHAIN]);
		break;
	default: /* goes on */
		break;
	}
}

static void read_immediate(struct reading *x, const struct nlattr *const *tb)
{
	uint32_t dreg = UINT32_MAX;

	if (attr_u32_be(tb[NFTA_IMMEDIATE_DREG], &dreg) && dreg == NFT_REG_VERDICT)
		read_verdict(tb[NFTA_IMMEDIATE_DATA], x->rule, &x->names->target);
}

static void read_match(struct reading *x, const struct nlattr *const *tb)
{
	const char *name = attr_text(tb[NFTA_MATCH_NAME]);
	uint32_t revision = 0;

	x->n_conditions++;
	if (!name || !attr_u32_be(tb[NFTA_MATCH_REV], &revision) || !tb[NFTA_MATCH_INFO])
		forward_and(x->rule, FORWARD_SOMETIMES, 0);
	else
		forward_xt_match(x->rule, name, revision, attr_data(tb[NFTA_MATCH_INFO]), attr_len(tb[NFTA_MATCH_INFO]));
}

static void read_target(struct reading *x, const struct nlattr *const *tb)
{
	const char *name = attr_text(tb[NFTA_TARGET_NAME]);

	x->rule->what = name ? forward_xt_target(name) : FORWARD_HIDDEN;
}

static void read_lookup(struct reading *x, const struct nlattr *const *tb)
{
	uint32_t dreg = UINT32_MAX, sreg = 0, flags = 0;

	x->n_conditions++;
	IGNORE(attr_u32_be(tb[NFTA_LOOKUP_FLAGS], &flags)); /* then there are none */
	if (x->rule->when == FORWARD_ALWAYS && x->loaded == LOADED_STATE && x->mask == UINT32_MAX && flags == 0 &&
	    attr_u32_be(tb[NFTA_LOOKUP_SREG], &sreg) && sreg == x->reg)
		x->names->set = attr_text(tb[NFTA_LOOKUP_SET]);
	forward_and(x->rule, FORWARD_SOMETIMES, 0);
	if (attr_u32_be(tb[NFTA_LOOKUP_DREG], &dreg) && dreg == NFT_REG_VERDICT)
		x->rule->what = FORWARD_HIDDEN;
}

static void read_reject(struct reading *x, const struct nlattr *const *tb)
{
	(void)tb;
	x->rule->what = FORWARD_DROPS;
}

static void read_queue(struct reading *x, const struct nlattr *const *tb)
{
	(void)tb;
	x->rule->what = FORWARD_HIDDEN;
}

/* Counts, notes down or hands on, and decides nothing. */
static void read_nothing(struct reading *x, const struct nlattr *const *tb)
{
	(void)x;
	(void)tb;
}

#define EXPR_ATTR_MAX 16 /* of those that are read; others are skipped */

static const struct {
	const char *name;
	void (*read)(struct reading *x, const struct nlattr *const *tb);
} expressions[] = {
	{ "meta", read_meta },	      { "ct", read_ct },	  { "bitwise", read_bitwise },
	{ "cmp", read_cmp },	      { "immediate", read_immediate }, { "match", read_match },
	{ "target", read_target },    { "lookup", read_lookup },  { "reject", read_reject },
	{ "queue", read_queue },      { "counter", read_nothing }, { "log", read_nothing },
	{ "flow_offload", read_nothing }, { "objref", read_nothing }, { "last", read_nothing },
};

static void read_expression(struct reading *x, const struct nlattr *expression)
{
	const struct nlattr *tb[NFTA_EXPR_DATA + 1], *data[EXPR_ATTR_MAX + 1];
	const char *name;

	if (attr_table(attr_walk_nested(expression), tb, NFTA_EXPR_DATA) == 0 && attr_text(tb[NFTA_EXPR_NAME]) &&
	    attr_table(attr_walk_nested(tb[NFTA_EXPR_DATA]), data, EXPR_ATTR_MAX) == 0) {
		name = attr_text(tb[NFTA_EXPR_NAME]);
		for (size_t i = 0; i < ARRAY_LEN(expressions); i++) {
			if (text_eq(name, expressions[i].name)) {
				expressions[i].read(x, data);
				return;
			}
		}
	}
	/* It loads another value, or is a condition of its own (limit, fib, dynset, ...). */
	x->n_conditions++;
	x->loaded = LOADED_OTHER;
	forward_and(x->rule, FORWARD_SOMETIMES, 0);
}

int forward_msg_parse_rule(const void *data, size_t len, uint8_t family, struct forward_rule *ret,
			   struct forward_names *ret_names)
{
	const struct nlattr *tb[NFTA_RULE_EXPRESSIONS + 1], *expression;
	struct forward_rule rule = { .when = FORWARD_ALWAYS, .what = FORWARD_GOES_ON, .target = FORWARD_UNREAD };
	struct forward_names names = { .target = NULL };
	struct reading x = { .rule = &rule, .names = &names, .family = family };
	struct attr_walk w;
	uint8_t table_family;
	int r = open_message(data, len, NFT_MSG_NEWRULE, &table_family, &w);

	if (r == 0)
		r = attr_table(w, tb, NFTA_RULE_EXPRESSIONS);
	if (r < 0)
		return r;
	w = attr_walk_nested(tb[NFTA_RULE_EXPRESSIONS]);
	while ((expression = attr_next(&w)) != NULL)
		read_expression(&x, expression);
	if (w.left != 0)
		return -EBADMSG;
	if (x.n_conditions > 1) /* the set does not decide alone */
		names.set = NULL;
	*ret = rule;
	*ret_names = names;
	return 0;
}

/* ---- elements ---- */

static void read_element(const struct nlattr *element, bool *ret_new, struct forward_rule *r, const char **ret_target)
{
	const struct nlattr *tb[NFTA_SET_ELEM_DATA + 1];
	uint32_t state;

	if (attr_table(attr_walk_nested(element), tb, NFTA_SET_ELEM_DATA) < 0 ||
	    !data_value(tb[NFTA_SET_ELEM_KEY], &state) || state != STATE_NEW)
		return;
	*ret_new = true;
	if (!tb[NFTA_SET_ELEM_DATA]) /* of a plain set */
		return;
	r->what = FORWARD_GOES_ON;
	read_verdict(tb[NFTA_SET_ELEM_DATA], r, ret_target);
}

int forward_msg_parse_elements(const void *data, size_t len, bool *ret_new, struct forward_rule *r, const char **ret_target)
{
	const struct nlattr *tb[NFTA_SET_ELEM_LIST_ELEMENTS + 1], *element;
	struct attr_walk w;
	uint8_t family;
	int e = open_message(data, len, NFT_MSG_NEWSETELEM, &family, &w);

	if (e == 0)
		e = attr_table(w, tb, NFTA_SET_ELEM_LIST_ELEMENTS);
	if (e < 0)
		return e;
	w = attr_walk_nested(tb[NFTA_SET_ELEM_LIST_ELEMENTS]);
	while ((element = attr_next(&w)) != NULL)
		read_element(element, ret_new, r, ret_target);
	return w.left == 0 ? 0 : -EBADMSG;
}
