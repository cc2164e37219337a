/* SPDX-License-Identifier: Apache-2.0 */
/* ack_msg.c: decodes acknowledgements.  The sockets ask for NETLINK_CAP_ACK and NETLINK_EXT_ACK, so that the
 * request is not echoed and the reason comes along (Documentation/userspace-api/netlink/intro.rst). */
#include "netlink/ack_msg.h"

#include <errno.h>
#include <string.h>

#include "netlink/attr_walk.h"

/* Where the attributes begin: behind the echoed request, which a capped answer cuts to its header. */
static size_t echoed_len(const struct nlmsghdr *nlh, const struct nlmsgerr *e)
{
	size_t len = sizeof(*e);

	if (!(nlh->nlmsg_flags & NLM_F_CAPPED) && e->msg.nlmsg_len > sizeof(e->msg))
		len += e->msg.nlmsg_len - sizeof(e->msg);
	return len;
}

int ack_msg_parse(const struct nlmsghdr *nlh, struct ack_msg *ret)
{
	const struct nlattr *tb[NLMSGERR_ATTR_MSG + 1] = { NULL };
	struct ack_msg m = { .seq = nlh->nlmsg_seq, .text = "" };
	const struct nlmsgerr *e;
	const int *code;

	if (nlh->nlmsg_type == NLMSG_DONE) {
		/* Old kernels end some dumps without a result. */
		code = attr_header(nlh, sizeof(*code));
		m.error = code ? *code : 0;
	} else if (nlh->nlmsg_type == NLMSG_ERROR) {
		e = attr_header(nlh, sizeof(*e));
		if (!e)
			return -EBADMSG;
		m.error = e->error;
		if (nlh->nlmsg_flags & NLM_F_ACK_TLVS &&
		    attr_table(attr_walk_message(nlh, echoed_len(nlh, e)), tb, NLMSGERR_ATTR_MSG) == 0 &&
		    attr_text(tb[NLMSGERR_ATTR_MSG]))
			m.text = attr_text(tb[NLMSGERR_ATTR_MSG]);
	} else {
		return -EBADMSG;
	}
	if (m.error > 0)
		return -EBADMSG;
	*ret = m;
	return 0;
}
