/* SPDX-License-Identifier: Apache-2.0 */
/* gate_filter.c: filters in their order.  libbpf's own functions for this neither tell nor change the order, so it is done
 * with the messages of filter_msg.
 *
 * Filters run by priority, and within one as the classifier keeps them: cls_bpf puts a new one before those that are there,
 * and leaves one that is replaced in its place (cls_bpf_change()). */
#include "netlink/gate_filter.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <string.h>

#define DUMP_RESTARTS 10
#define ROUNDS_MAX 8 /* to come first: each takes one step, two are usual */

static const char *const hook_names[FILTER_HOOK_N] = { [FILTER_INGRESS] = "ingress", [FILTER_EGRESS] = "egress" };
static const uint32_t handles[2] = { FILTER_HANDLE_A, FILTER_HANDLE_B };

/* One hook of one interface. */
struct place {
	struct nlsock *s;
	int ifindex;
	enum filter_hook hook;
};

/* ---- what stands there ---- */

/* The ingress qdisc of an interface; kind "" = none. */
struct qdisc_view {
	int ifindex;
	char kind[FILTER_TEXT_MAX];
};

static int take_qdisc(void *ctx, const struct nlmsghdr *nlh)
{
	struct qdisc_view *v = ctx;
	struct filter_msg m;
	int r = filter_msg_parse(nlh, nlh->nlmsg_len, &m);

	if (r == 0 && m.ifindex == v->ifindex && m.parent == FILTER_PARENT)
		memcpy(v->kind, m.kind, sizeof(v->kind));
	return r;
}

static int view_qdisc(struct nlsock *s, int ifindex, struct qdisc_view *ret, struct err_info *err)
{
	const struct nlsock_reader reader = { take_qdisc, ret };
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		*ret = (struct qdisc_view){ .ifindex = ifindex };
		r = nlsock_request(s, filter_msg_qdiscs(buf), &reader, err);
	}
	return r < 0 ? err_wrap(err, r, "reading qdiscs") : 0;
}

struct hook_view {
	size_t n;		 /* filters, in all chains */
	struct filter_msg first; /* of chain 0, where frames begin; kind "" = none */
	bool taken[2], ours[2];	 /* the two handles that ours may have */
};

static int take_filter(void *ctx, const struct nlmsghdr *nlh)
{
	struct hook_view *v = ctx;
	struct filter_msg m;
	int r = filter_msg_parse(nlh, nlh->nlmsg_len, &m);

	if (r < 0 || m.handle == 0) /* 0: the head of a priority's list; its filters follow */
		return r;
	v->n++;
	if (m.chain == 0 && v->first.kind[0] == '\0')
		v->first = m;
	for (size_t i = 0; i < ARRAY_LEN(handles); i++) {
		v->taken[i] |= m.chain == 0 && m.priority == FILTER_PRIORITY && m.handle == handles[i];
		v->ours[i] |= filter_msg_is_ours(&m) && m.handle == handles[i];
	}
	return 0;
}

static int view_hook(const struct place *p, struct hook_view *ret, struct err_info *err)
{
	const struct nlsock_reader reader = { take_filter, ret };
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	int r = -EINTR;

	for (unsigned int i = 0; i <= DUMP_RESTARTS && r == -EINTR; i++) {
		*ret = (struct hook_view){ .n = 0 };
		r = nlsock_request(p->s, filter_msg_dump(buf, p->ifindex, p->hook), &reader, err);
	}
	return r < 0 ? err_wrap(err, r, "reading filters at %s", hook_names[p->hook]) : 0;
}

static int take_link(void *ctx, const struct nlmsghdr *nlh)
{
	return filter_msg_parse_link(nlh, nlh->nlmsg_len, ctx);
}

int gate_filter_check_ethernet(struct nlsock *s, int ifindex, struct err_info *err)
{
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	unsigned int type = 0;
	const struct nlsock_reader reader = { take_link, &type };
	int r = nlsock_request(s, filter_msg_link(buf, ifindex), &reader, err);

	if (r == 0 && type != ARPHRD_ETHER)
		return err_set(err, -EOPNOTSUPP, "not an Ethernet device (hardware type %u)", type);
	return r;
}

int gate_filter_has_qdisc(struct nlsock *s, int ifindex, bool *ret, struct err_info *err)
{
	struct qdisc_view v;
	int r = view_qdisc(s, ifindex, &v, err);

	if (r == 0)
		*ret = v.kind[0] != '\0';
	return r;
}

/* ---- changing it ---- */

static int refuse_first(const struct place *p, const struct filter_msg *f, struct err_info *err)
{
	return err_set(err, -EBUSY,
		       "another filter stands before the gate at %s: %s%s%s, priority %u, handle %#x, program %u",
		       hook_names[p->hook], f->kind, f->name[0] ? " " : "", f->name, f->priority, f->handle, f->prog_id);
}

static int ensure_clsact(struct nlsock *s, int ifindex, bool *changed, struct err_info *err)
{
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	struct qdisc_view v;
	int r = view_qdisc(s, ifindex, &v, err);

	if (r < 0 || strcmp(v.kind, "clsact") == 0)
		return r;
	/* The older "ingress" takes filters for egress, too, and runs them at ingress (ingress_tcf_block()). */
	if (v.kind[0] != '\0')
		return err_set(err, -EBUSY, "the interface has another's %s qdisc, which leaves no room for clsact", v.kind);
	r = nlsock_request(s, filter_msg_clsact(buf, ifindex, true), NULL, err);
	if (r == -ENOENT)
		return err_wrap(err, -EOPNOTSUPP, "adding clsact (CONFIG_NET_SCH_INGRESS)");
	if (r < 0)
		return err_wrap(err, r, "adding clsact");
	*changed = true;
	return 0;
}

static int del_filter(const struct place *p, uint32_t handle, struct err_info *err)
{
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	int r = nlsock_request(p->s, filter_msg_del(buf, p->ifindex, p->hook, handle), NULL, err);

	return r < 0 && r != -ENOENT ? err_wrap(err, r, "removing a filter at %s", hook_names[p->hook]) : 0;
}

static int put_filter(const struct place *p, const struct hook_view *v, uint32_t handle, int fd, struct err_info *err)
{
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	int r = nlsock_request(p->s, filter_msg_put(buf, p->ifindex, p->hook, handle, fd), NULL, err);

	if (r == -ENOENT)
		return err_wrap(err, -EOPNOTSUPP, "adding a BPF filter (CONFIG_NET_CLS_BPF)");
	/* The first priority belongs to another kind, or to one protocol (tcf_chain_tp_find()). */
	if (r == -EINVAL && v->first.priority == FILTER_PRIORITY)
		return refuse_first(p, &v->first, err);
	return r < 0 ? err_wrap(err, r, "adding the gate at %s", hook_names[p->hook]) : 0;
}

/* One step towards the program being first, and alone of ours; *ret_done: nothing is left to do. */
static int step(const struct place *p, const struct hook_view *v, const struct gate_program *program, bool *ret_done,
		struct err_info *err)
{
	size_t i;

	*ret_done = false;
	if (filter_msg_is_ours(&v->first)) {
		i = v->first.handle == handles[0] ? 0 : 1;
		if (v->first.prog_id != program->id)
			return put_filter(p, v, handles[i], program->fd, err);
		*ret_done = !v->ours[1 - i];
		return *ret_done ? 0 : del_filter(p, handles[1 - i], err);
	}
	if (!v->taken[0] || !v->taken[1])
		return put_filter(p, v, handles[v->taken[0] ? 1 : 0], program->fd, err);
	/* Both handles are in use behind another's: one of ours makes room, the other goes on filtering. */
	if (!v->ours[0] && !v->ours[1])
		return refuse_first(p, &v->first, err);
	return del_filter(p, handles[v->ours[1] ? 1 : 0], err);
}

static int ensure_hook(const struct place *p, const struct gate_program *program, bool *changed, struct err_info *err)
{
	struct hook_view v;
	bool done = false;
	int r;

	for (unsigned int i = 0; i < ROUNDS_MAX; i++) {
		r = view_hook(p, &v, err);
		if (r == 0)
			r = step(p, &v, program, &done, err);
		if (r < 0 || done)
			return r;
		*changed = true;
	}
	return refuse_first(p, &v.first, err);
}

int gate_filter_put(struct nlsock *s, int ifindex, const struct gate_program programs[static FILTER_HOOK_N],
		    bool *changed, struct err_info *err)
{
	int r = ensure_clsact(s, ifindex, changed, err);

	for (enum filter_hook hook = 0; hook < FILTER_HOOK_N && r == 0; hook++) {
		const struct place p = { s, ifindex, hook };

		r = ensure_hook(&p, &programs[hook], changed, err);
	}
	return r;
}

/* *empty becomes false when a filter of somebody else's is there. */
static int clear_hook(const struct place *p, bool *empty, struct err_info *err)
{
	struct hook_view v;
	int r = view_hook(p, &v, err);

	for (size_t i = 0; i < ARRAY_LEN(handles) && r == 0; i++) {
		if (!v.ours[i])
			continue;
		r = del_filter(p, handles[i], err);
		v.n--;
	}
	if (r == 0 && v.n > 0)
		*empty = false;
	return r;
}

/* The kernel knows no "if it is empty": a filter that somebody adds between our look and the removal goes, too. */
static int remove_clsact(struct nlsock *s, int ifindex, struct err_info *err)
{
	unsigned char buf[FILTER_MSG_MAX] __attribute__((aligned(16)));
	struct qdisc_view v;
	int r = view_qdisc(s, ifindex, &v, err);

	if (r < 0 || strcmp(v.kind, "clsact") != 0)
		return r;
	r = nlsock_request(s, filter_msg_clsact(buf, ifindex, false), NULL, err);
	if (r == -ENOENT || r == -EINVAL) /* it went meanwhile (tc_get_qdisc() knows both answers) */
		return 0;
	return r < 0 ? err_wrap(err, r, "removing clsact") : 0;
}

int gate_filter_remove(struct nlsock *s, int ifindex, bool clsact, struct err_info *err)
{
	bool empty = true;
	int r = 0;

	for (enum filter_hook hook = 0; hook < FILTER_HOOK_N && r == 0; hook++) {
		const struct place p = { s, ifindex, hook };

		r = clear_hook(&p, &empty, err);
	}
	if (r == 0 && empty && clsact)
		r = remove_clsact(s, ifindex, err);
	return r == -ENODEV ? 0 : r;
}
