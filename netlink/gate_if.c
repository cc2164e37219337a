/* SPDX-License-Identifier: Apache-2.0 */
/* gate_if.c: loads the gate's programs and fills their maps.  The one file that uses libbpf; filters are gate_filter's.
 * What the programs decide is in netlink/bpf/gate.bpf.c; when the agent opens and shuts is the shell's business. */
#include "netlink/gate_if.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pkt_cls.h>
#include <string.h>

#include "netlink/gate_filter.h"

/* The programs, compiled; the path is relative to the top of the source tree, where make runs. */
__asm__(".section .rodata\n"
	".balign 8\n"
	"gate_object: .incbin \"" GATE_OBJECT "\"\n"
	"gate_object_end: .byte 0\n"
	".previous\n");
extern const char gate_object[], gate_object_end[];

_Static_assert(sizeof(struct gate_entry) == 64, "gate.h: as the program sees it");
_Static_assert(sizeof(struct gate_group) == 16, "gate.h: as the program sees it");

#define LOG_LEN ((size_t)64 * 1024)
#define LOOPBACK_INDEX 1 /* include/linux/net.h of the kernel: LOOPBACK_IFINDEX, in every namespace */

/* BPF_TCX_INGRESS and BPF_TCX_EGRESS of linux/bpf.h since Linux 6.6. */
#define TCX_INGRESS 46
#define TCX_EGRESS 47

struct gate_if {
	int vips, groups, counts; /* maps */
	struct gate_program programs[FILTER_HOOK_N];
	size_t n_cpus; /* that the kernel keeps counts for */
};

/* ---- programs and maps ---- */

/* The verifier's last word, without its statistics. */
static const char *last_line(char *log)
{
	const char *line = log;
	char *save = NULL;

	for (char *l = strtok_r(log, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strncmp(l, "processed ", 10) != 0)
			line = l;
	return line;
}

static int explain_load(struct err_info *err, int r, char *log)
{
	if (log[0] != '\0')
		return err_set(err, -EOPNOTSUPP, "this kernel refuses the gate's program: %s", last_line(log));
	if (r == -EPERM)
		return err_set(err, r,
			       "the gate's program may not be loaded: needs CAP_BPF and CAP_NET_ADMIN, "
			       "and before Linux 5.11 a RLIMIT_MEMLOCK of some MB");
	if (r == -ENOSYS || r == -EINVAL || r == -EOPNOTSUPP)
		return err_errno(err, -EOPNOTSUPP, "this kernel cannot load the gate's program: needs Linux 5.8 with "
				 "CONFIG_BPF_SYSCALL");
	return err_errno(err, r, "loading the gate's program");
}

static int keep_fd(int fd, int *ret)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return fd < 0 ? -ENOENT : -errno;
	*ret = copy;
	return 0;
}

static int keep_program(struct gate_program *program, const struct bpf_object *o, const char *name)
{
	const struct bpf_program *p = bpf_object__find_program_by_name(o, name);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int r = keep_fd(p ? bpf_program__fd(p) : -1, &program->fd);

	if (r == 0)
		r = bpf_obj_get_info_by_fd(program->fd, &info, &len);
	if (r == 0)
		program->id = info.id;
	return r;
}

/* All that is needed later are the descriptors; the object with its memory goes. */
static int keep(struct gate_if *g, const struct bpf_object *o)
{
	int n = libbpf_num_possible_cpus();
	int r = n < 0 ? n : 0;

	g->n_cpus = (size_t)(n > 0 ? n : 0);
	if (r == 0)
		r = keep_fd(bpf_object__find_map_fd_by_name(o, "gate_vips"), &g->vips);
	if (r == 0)
		r = keep_fd(bpf_object__find_map_fd_by_name(o, "gate_groups"), &g->groups);
	if (r == 0)
		r = keep_fd(bpf_object__find_map_fd_by_name(o, "gate_counts"), &g->counts);
	if (r == 0)
		r = keep_program(&g->programs[FILTER_INGRESS], o, "gate_ingress");
	if (r == 0)
		r = keep_program(&g->programs[FILTER_EGRESS], o, "gate_egress");
	return r;
}

static void object_freep(struct bpf_object **o)
{
	bpf_object__close(*o);
}

static int load(struct gate_if *g, struct err_info *err)
{
	AUTO(freep) char *log = calloc(1, LOG_LEN);
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "leasehold", .kernel_log_buf = log,
		    .kernel_log_size = (uint32_t)LOG_LEN);
	AUTO(object_freep) struct bpf_object *o = NULL;
	int r;

	if (!log)
		return err_set(err, -ENOMEM, "gate: out of memory");
	libbpf_set_print(NULL); /* what it would say to stderr is in the log and in the error */
	o = bpf_object__open_mem(gate_object, (size_t)(gate_object_end - gate_object), &opts);
	if (!o)
		return err_errno(err, -errno, "reading the gate's program");
	r = bpf_object__load(o);
	if (r < 0)
		return explain_load(err, r, log);
	r = keep(g, o);
	return r < 0 ? err_errno(err, r, "the gate's maps and programs") : 0;
}

static void gate_if_freep(struct gate_if **g)
{
	gate_if_free(*g);
}

int gate_if_new(struct gate_if **ret, struct err_info *err)
{
	AUTO(gate_if_freep) struct gate_if *g = malloc(sizeof(*g));
	int r;

	if (!g)
		return err_set(err, -ENOMEM, "gate: out of memory");
	*g = (struct gate_if){ .vips = -1, .groups = -1, .counts = -1, .programs = { { .fd = -1 }, { .fd = -1 } } };
	r = load(g, err);
	if (r < 0)
		return r;
	*ret = TAKE(g);
	return 0;
}

void gate_if_free(struct gate_if *g)
{
	if (!g)
		return;
	close_fdp(&g->vips);
	close_fdp(&g->groups);
	close_fdp(&g->counts);
	for (size_t i = 0; i < FILTER_HOOK_N; i++)
		close_fdp(&g->programs[i].fd);
	free(g);
}

/* ---- the maps ---- */

static struct gate_key key_of(const struct ip *vip)
{
	struct gate_key key = { .addr = { 0 } };

	assert(vip->family == IP_V4 || vip->family == IP_V6);
	if (vip->family == IP_V4) {
		key.addr[10] = 0xff;
		key.addr[11] = 0xff;
		memcpy(key.addr + 12, vip->b, 4);
	} else {
		memcpy(key.addr, vip->b, sizeof(key.addr));
	}
	return key;
}

static int explain_vip(struct err_info *err, int r, const char *verb, const struct ip *vip)
{
	char text[IP_TEXT_MAX];

	ip_format(vip, text);
	if (r == -E2BIG)
		return err_set(err, r, "gate: %s %s: more than %d VIPs", verb, text, GATE_VIPS_MAX);
	return err_errno(err, r, "gate: %s %s", verb, text);
}

int gate_if_set(const struct gate_if *g, const struct ip *vip, const struct gate_entry *e, struct err_info *err)
{
	const struct gate_key key = key_of(vip);
	int r = bpf_map_update_elem(g->vips, &key, e, BPF_ANY);

	return r < 0 ? explain_vip(err, r, "setting", vip) : 0;
}

int gate_if_unset(const struct gate_if *g, const struct ip *vip, struct err_info *err)
{
	const struct gate_key key = key_of(vip);
	int r = bpf_map_delete_elem(g->vips, &key);

	return r < 0 && r != -ENOENT ? explain_vip(err, r, "removing", vip) : 0;
}

int gate_if_get(const struct gate_if *g, const struct ip *vip, struct gate_entry *ret, struct err_info *err)
{
	const struct gate_key key = key_of(vip);
	struct gate_entry e;
	int r = bpf_map_lookup_elem(g->vips, &key, &e);

	if (r < 0)
		return explain_vip(err, r, "reading", vip);
	*ret = e;
	return 0;
}

int gate_if_set_group(const struct gate_if *g, uint32_t group, const struct gate_group *row, struct err_info *err)
{
	int r = bpf_map_update_elem(g->groups, &group, row, BPF_ANY);

	return r < 0 ? err_errno(err, r, "gate: setting the deadlines of group %u", group) : 0;
}

int gate_if_get_group(const struct gate_if *g, uint32_t group, struct gate_group *ret, struct err_info *err)
{
	struct gate_group row;
	int r = bpf_map_lookup_elem(g->groups, &group, &row);

	if (r < 0)
		return err_errno(err, r, "gate: reading the deadlines of group %u", group);
	*ret = row;
	return 0;
}

int gate_if_counts(const struct gate_if *g, uint64_t ret[static GATE_COUNT_N], struct err_info *err)
{
	AUTO(freep) uint64_t *each = calloc(g->n_cpus, sizeof(*each));
	uint64_t sums[GATE_COUNT_N] = { 0 };

	if (!each)
		return err_set(err, -ENOMEM, "gate: out of memory");
	for (uint32_t i = 0; i < GATE_COUNT_N; i++) {
		int r = bpf_map_lookup_elem(g->counts, &i, each);

		if (r < 0)
			return err_errno(err, r, "gate: reading counts");
		for (size_t cpu = 0; cpu < g->n_cpus; cpu++)
			sums[i] += each[cpu];
	}
	memcpy(ret, sums, sizeof(sums));
	return 0;
}

/* ---- interfaces ---- */

/* A program's name, "" when this process may not know (it takes CAP_SYS_ADMIN). */
static void program_name(uint32_t id, char ret[static BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	AUTO(close_fdp) int fd = bpf_prog_get_fd_by_id(id);

	ret[0] = '\0';
	if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
		memcpy(ret, info.name, BPF_OBJ_NAME_LEN);
}

/* Programs attached by TCX run before all filters, and may keep a frame from them (sch_handle_ingress()). */
static int check_tcx(int ifindex, enum filter_hook hook, struct err_info *err)
{
	const char *where = hook == FILTER_INGRESS ? "ingress" : "egress";
	uint32_t id = 0, n = 1;
	int type = hook == FILTER_INGRESS ? TCX_INGRESS : TCX_EGRESS;
	char name[BPF_OBJ_NAME_LEN];
	int r = bpf_prog_query(ifindex, (enum bpf_attach_type)type, 0, NULL, &id, &n);

	if (r == -EINVAL) /* before Linux 6.6 there is none */
		return 0;
	if (r < 0 && r != -ENOSPC) /* -ENOSPC: there are more than one */
		return err_errno(err, r, "asking for TCX programs at %s", where);
	if (n == 0)
		return 0;
	program_name(id, name);
	return err_set(err, -EBUSY, "a TCX program stands before the gate at %s: program %u%s%s (the first of %u)",
		       where, id, name[0] ? " " : "", name, n);
}

int gate_if_look(struct nlsock *s, int ifindex, struct err_info *err)
{
	int r = gate_filter_check_ethernet(s, ifindex, err);

	if (r == 0)
		r = check_tcx(ifindex, FILTER_INGRESS, err);
	return r < 0 ? r : check_tcx(ifindex, FILTER_EGRESS, err);
}

static int attach(const struct gate_if *g, struct nlsock *s, int ifindex, bool *changed, struct err_info *err)
{
	int r = check_tcx(ifindex, FILTER_INGRESS, err);

	if (r == 0)
		r = check_tcx(ifindex, FILTER_EGRESS, err);
	return r < 0 ? r : gate_filter_put(s, ifindex, g->programs, changed, err);
}

int gate_if_attach(const struct gate_if *g, struct nlsock *s, int ifindex, bool *ret_changed, struct err_info *err)
{
	bool changed = false;
	int r = gate_filter_check_ethernet(s, ifindex, err);

	if (r == 0)
		r = attach(g, s, ifindex, &changed, err);
	if (r < 0)
		return err_wrap(err, r, "gate on interface %d", ifindex);
	*ret_changed = changed;
	return 0;
}

int gate_if_detach(struct nlsock *s, int ifindex, struct err_info *err)
{
	int r = gate_filter_remove(s, ifindex, true, err);

	return r < 0 ? err_wrap(err, r, "gate on interface %d", ifindex) : 0;
}

/* ---- self test ---- */

/* Who has 127.0.0.2? from 127.0.0.3.  No VIP, and no ARP runs on the loopback interface, where it belongs. */
static const unsigned char test_frame[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x01, 0x08, 0x06, /* Ethernet, ARP */
	0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x00, 0x00, 0x5e, 0x00, 0x53, 0x01, 127, 0, 0, 3, /* request, from */
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 127, 0, 0, 2, /* for */
};
#define TEST_GROUP (GATE_GROUPS_MAX - 1) /* no group has it so early */
static const struct ip test_vip = { .family = IP_V4, .b = { 127, 0, 0, 2 } };

static int test_verdict(const struct gate_if *g, uint64_t until, uint32_t want, struct err_info *err)
{
	const struct gate_entry e = { .ifindex = LOOPBACK_INDEX, .group = TEST_GROUP, .may = GATE_MAY_ARP };
	const struct gate_group row = { .arp_until = until };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = test_frame, .data_size_in = sizeof(test_frame));
	int r = gate_if_set_group(g, TEST_GROUP, &row, err);

	if (r == 0)
		r = gate_if_set(g, &test_vip, &e, err);
	if (r < 0)
		return r;
	r = bpf_prog_test_run_opts(g->programs[FILTER_INGRESS].fd, &opts);
	if (r < 0)
		return err_errno(err, r, "gate: running a frame through the program");
	if (opts.retval != want)
		return err_set(err, -EOPNOTSUPP, "gate: the program's verdict is %d where it must be %d", (int)opts.retval,
			       (int)want);
	return 0;
}

static int test_frames(const struct gate_if *g, struct err_info *err)
{
	const struct gate_group shut = { 0 };
	int r = test_verdict(g, 0, TC_ACT_SHOT, err), r2, r3;

	if (r == 0)
		r = test_verdict(g, UINT64_MAX, (uint32_t)TC_ACT_UNSPEC, err);
	r2 = gate_if_unset(g, &test_vip, r == 0 ? err : NULL);
	r3 = gate_if_set_group(g, TEST_GROUP, &shut, r == 0 && r2 == 0 ? err : NULL);
	return r < 0 ? r : r2 < 0 ? r2 : r3;
}

int gate_if_self_test(struct gate_if *g, struct nlsock *s, struct err_info *err)
{
	bool changed = false, had_qdisc = true;
	int r = test_frames(g, err), r2;

	if (r == 0)
		r = gate_filter_has_qdisc(s, LOOPBACK_INDEX, &had_qdisc, err);
	if (r < 0)
		return r;
	r = attach(g, s, LOOPBACK_INDEX, &changed, err);
	r2 = gate_filter_remove(s, LOOPBACK_INDEX, !had_qdisc, r == 0 ? err : NULL);
	if (r == 0)
		r = r2;
	return r < 0 ? err_wrap(err, r, "gate on the loopback interface") : 0;
}
