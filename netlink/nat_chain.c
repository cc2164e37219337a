/* SPDX-License-Identifier: Apache-2.0 */
/* nat_chain.c: which rules belong to which chain of the frame, and the comment that tells whether they are of this
 * layout and these options. */
#include "netlink/nat_chain.h"

#include <stdio.h>
#include <string.h>

static uint32_t mix(uint32_t h, const void *data, size_t len)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ at[i]) * 16777619u;
	return h;
}

/* FNV-1a over all that counts: not over the bytes between the members. */
static uint32_t options_hash(const struct nat_options *o)
{
	const uint8_t head[] = { o->unmatched, o->counters, o->router.n_interfaces, o->router.allow, o->router.n_admins };
	uint32_t h = mix(2166136261u, head, sizeof(head));

	h = mix(h, &o->forward_mark, sizeof(o->forward_mark));
	for (unsigned int i = 0; i < o->router.n_interfaces; i++)
		h = mix(h, o->router.interfaces[i], strnlen(o->router.interfaces[i], sizeof(o->router.interfaces[i])) + 1);
	for (unsigned int i = 0; i < o->router.n_admins; i++) {
		const struct ip_net *net = &o->router.admins[i];

		h = mix(h, &net->ip.family, sizeof(net->ip.family));
		h = mix(h, net->ip.b, sizeof(net->ip.b));
		h = mix(h, &net->len, sizeof(net->len));
	}
	return h;
}

static bool depends_on_options(enum nat_chain_kind kind)
{
	switch (kind) {
	case NAT_CHAIN_USER:
	case NAT_CHAIN_BALANCE:
	case NAT_CHAIN_SERVICES:
	case NAT_CHAIN_RETURNING:
	case NAT_CHAIN_BACKENDS:
	case NAT_CHAIN_RECEIVED:
	case NAT_CHAIN_SENT:
	case NAT_CHAIN_ZONE:
	case NAT_CHAIN_GUARD:
	case NAT_CHAIN_FIREWALL:
	case NAT_CHAIN_DNAT:
		return false;
	case NAT_CHAIN_MARK:
	case NAT_CHAIN_COUNT:
	case NAT_CHAIN_UNMARK:
	case NAT_CHAIN_SOURCE:
	case NAT_CHAIN_OPENED:
	case NAT_CHAIN_ROUTER_INPUT:
	case NAT_CHAIN_ROUTER_FORWARD:
	case NAT_CHAIN_INPUT:
	case NAT_CHAIN_FORWARD:
		break;
	}
	return true;
}

char *nat_chain_comment(const struct nat_chain_shape *c, const struct nat_options *options, char buf[static NAT_COMMENT_MAX])
{
	if (depends_on_options(c->kind))
		snprintf(buf, NAT_COMMENT_MAX, NAT_LAYOUT " options %08x", options_hash(options));
	else
		snprintf(buf, NAT_COMMENT_MAX, NAT_LAYOUT);
	return buf;
}

static void write_jump(struct nat_writer *w)
{
	nat_rule_begin(w);
	nat_put_jump(w, "services");
	nat_rule_end(w);
}

static void write_balance(struct nat_writer *w, const struct nat_chain_shape *c)
{
	const struct frontend f = { .balance = (uint8_t)c->balance, .n_slots = c->n_slots };

	nat_write_balance(w, &f);
}

void nat_chain_write(struct nat_writer *w, const struct nat_chain_shape *c, const struct nat_options *options)
{
	switch (c->kind) {
	case NAT_CHAIN_USER:
		return;
	case NAT_CHAIN_BALANCE:
		return write_balance(w, c);
	case NAT_CHAIN_SERVICES:
		return nat_write_services(w);
	case NAT_CHAIN_RETURNING:
		return nat_write_returning(w);
	case NAT_CHAIN_BACKENDS:
		return nat_write_backends(w);
	case NAT_CHAIN_RECEIVED:
		return nat_write_received(w);
	case NAT_CHAIN_SENT:
		return nat_write_sent(w);
	case NAT_CHAIN_ZONE:
		return nat_write_zone(w);
	case NAT_CHAIN_GUARD:
		return nat_write_guard(w);
	case NAT_CHAIN_FIREWALL:
		return nat_write_firewalls(w);
	case NAT_CHAIN_MARK:
		return nat_write_mark(w, options);
	case NAT_CHAIN_DNAT:
		return write_jump(w);
	case NAT_CHAIN_COUNT:
		return nat_write_count(w, c->hook, options);
	case NAT_CHAIN_UNMARK:
		return nat_write_unmark(w, options);
	case NAT_CHAIN_SOURCE:
		return nat_write_source(w, options);
	case NAT_CHAIN_OPENED:
		return nat_write_first(w, options);
	case NAT_CHAIN_ROUTER_INPUT:
		return nat_write_router_input(w, &options->router);
	case NAT_CHAIN_ROUTER_FORWARD:
		return nat_write_router_forward(w, &options->router);
	case NAT_CHAIN_INPUT:
		return nat_write_input(w, options);
	case NAT_CHAIN_FORWARD:
		return nat_write_forward(w, options);
	}
}
