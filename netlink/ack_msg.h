/* SPDX-License-Identifier: Apache-2.0 */
/* ack_msg.h: NLMSG_ERROR and NLMSG_DONE, the kernel's verdict on a request. */
#pragma once

#include <linux/netlink.h>
#include <stdint.h>

#include "agent/base/auto.h"

struct ack_msg {
	int error;	  /* 0 or a negative errno */
	uint32_t seq;	  /* of the request */
	const char *text; /* the kernel's own words (NLMSGERR_ATTR_MSG), "" when it has none; borrowed */
};

/* -EBADMSG: not such a message, or too short.  NLMSG_DONE carries the dump's result. */
MUST_USE int ack_msg_parse(const struct nlmsghdr *nlh, struct ack_msg *ret);
