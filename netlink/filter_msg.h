/* SPDX-License-Identifier: Apache-2.0 */
/* filter_msg.h: rtnetlink messages about qdiscs and filters as bytes (struct tcmsg, linux/rtnetlink.h), as far as a BPF
 * filter at clsact needs them.  What our filters look like, and how they are told from others', is decided here. */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/base/auto.h"

#define FILTER_MSG_MAX 128 /* bytes that a built message takes at most */
#define FILTER_TEXT_MAX 64

/* Ours: this name, first priority, all protocols, and one of two handles ("LH" and the next): to come before a filter that
 * another put in front of it a filter must be added anew, and the former one stays until that is done.  Not the handles
 * from 1 on: programs that number theirs replace what stands there. */
#define FILTER_NAME "leasehold_gate"
#define FILTER_PRIORITY 1
#define FILTER_HANDLE_A 0x4c48
#define FILTER_HANDLE_B 0x4c49

#define FILTER_PARENT UINT32_C(0xfffffff1) /* TC_H_CLSACT, of the qdiscs that hold ingress filters */

enum filter_hook {
	FILTER_INGRESS,
	FILTER_EGRESS,
	FILTER_HOOK_N,
};

struct filter_msg {
	bool qdisc;   /* RTM_*QDISC, else RTM_*TFILTER */
	bool gone;    /* RTM_DEL* */
	int ifindex;  /* 0: of a block that several interfaces share */
	uint32_t parent, handle; /* handle 0 in a filter: the head of a priority's list */
	uint32_t chain;
	uint16_t priority, protocol; /* host byte order; filters only */
	char kind[FILTER_TEXT_MAX];  /* "clsact", "bpf", "u32" ...; cut */
	char name[FILTER_TEXT_MAX];  /* of a BPF filter; cut */
	uint32_t prog_id;	     /* of a BPF filter; 0 = it has none */
	bool direct;		     /* direct action: the program's result is the verdict */
};

/* Each builds into 'buf' (aligned for any object) and returns it as a message without sequence number. */

/* clsact on the interface; an add is refused where an ingress qdisc of any kind is. */
struct nlmsghdr *filter_msg_clsact(unsigned char buf[static FILTER_MSG_MAX], int ifindex, bool add);
/* Asks for the qdiscs of all interfaces (the kernel does not filter). */
struct nlmsghdr *filter_msg_qdiscs(unsigned char buf[static FILTER_MSG_MAX]);
/* Asks for the filters of one hook, in the order in which they run within a chain. */
struct nlmsghdr *filter_msg_dump(unsigned char buf[static FILTER_MSG_MAX], int ifindex, enum filter_hook hook);
/* Puts our filter there: replaces atomically what has the handle, else adds it before the others of its priority.
 * 'fd': the program. */
struct nlmsghdr *filter_msg_put(unsigned char buf[static FILTER_MSG_MAX], int ifindex, enum filter_hook hook,
				uint32_t handle, int fd);
struct nlmsghdr *filter_msg_del(unsigned char buf[static FILTER_MSG_MAX], int ifindex, enum filter_hook hook,
				uint32_t handle);
/* Asks for one interface (RTM_GETLINK). */
struct nlmsghdr *filter_msg_link(unsigned char buf[static FILTER_MSG_MAX], int ifindex);

/* Reads RTM_{NEW,DEL}{QDISC,TFILTER} from data[0..len).  -EBADMSG: not such a message, or cut. */
MUST_USE int filter_msg_parse(const void *data, size_t len, struct filter_msg *ret);
/* Reads the hardware type (ARPHRD_*) from RTM_NEWLINK.  -EBADMSG. */
MUST_USE int filter_msg_parse_link(const void *data, size_t len, unsigned int *ret_type);

/* A filter of this program's, of whichever run. */
bool filter_msg_is_ours(const struct filter_msg *m);
