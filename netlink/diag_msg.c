/* SPDX-License-Identifier: Apache-2.0 */
/* diag_msg.c: questions and answers of inet_diag to and from bytes.  Pure: diag_if talks to the kernel. */
#include "netlink/diag_msg.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "netlink/attr_walk.h"

struct nlmsghdr *diag_msg_dump(unsigned char buf[static DIAG_MSG_MAX], const struct diag_query *q)
{
	const struct inet_diag_req_v2 all = {
		.sdiag_family = q->family == IP_V4 ? AF_INET : AF_INET6,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = q->listening ? 1U << TCP_LISTEN : 1U << TCP_ESTABLISHED,
		.id = { .idiag_sport = htons(q->local_port), .idiag_dport = htons(q->peer_port) },
	};
	struct nlmsghdr *nlh;

	memset(buf, 0, DIAG_MSG_MAX); /* for the padding */
	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	memcpy(mnl_nlmsg_put_extra_header(nlh, sizeof(all)), &all, sizeof(all));
	return nlh;
}

/* RFC 4291, section 2.5.5.2 */
static struct ip address(uint8_t family, const void *bytes)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct ip ip = { .family = family == AF_INET ? IP_V4 : IP_V6 };

	memcpy(ip.b, bytes, ip_len(&ip));
	if (ip.family == IP_V6 && memcmp(ip.b, mapped, sizeof(mapped)) == 0) {
		const struct ip four = { .family = IP_V4, .b = { ip.b[12], ip.b[13], ip.b[14], ip.b[15] } };

		return four;
	}
	return ip;
}

int diag_msg_parse(const void *data, size_t len, struct diag_socket *ret)
{
	const struct nlmsghdr *nlh = attr_message(data, len);
	struct diag_socket s = { .peer.ip.family = IP_NONE };
	const struct inet_diag_msg *m;

	if (!nlh || nlh->nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return -EBADMSG;
	m = attr_header(nlh, sizeof(*m));
	if (!m)
		return -EBADMSG;
	if (m->idiag_family != AF_INET && m->idiag_family != AF_INET6)
		return -EAFNOSUPPORT;
	if (m->idiag_state != TCP_ESTABLISHED && m->idiag_state != TCP_LISTEN)
		return -ENODATA;
	s.local = (struct ip_port){ address(m->idiag_family, m->id.idiag_src), ntohs(m->id.idiag_sport) };
	if (m->idiag_state == TCP_ESTABLISHED)
		s.peer = (struct ip_port){ address(m->idiag_family, m->id.idiag_dst), ntohs(m->id.idiag_dport) };
	s.ifindex = (int)m->id.idiag_if;
	*ret = s;
	return 0;
}
