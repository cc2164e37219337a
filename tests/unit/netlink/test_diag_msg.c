/* SPDX-License-Identifier: Apache-2.0 */
/* test_diag_msg.c: the question byte for byte, and what is read of the kernel's answers. */
#include "netlink/diag_msg.h"

#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "tests/unit/netlink/bytes.h"

static void test_dump_bytes(void **state)
{
	static unsigned char buf[DIAG_MSG_MAX] __attribute__((aligned(16)));
	struct nlmsghdr *nlh = diag_msg_dump(buf, &(struct diag_query){ .family = IP_V4, .local_port = 179, .listening = true });

	(void)state;
	assert_bytes(buf, nlh->nlmsg_len, "48000000 1400 0103 00000000 00000000  02 06 00 00 00040000"
		     "00b3 0000 00000000000000000000000000000000 00000000000000000000000000000000 00000000 0000000000000000");
	nlh = diag_msg_dump(buf, &(struct diag_query){ .family = IP_V6, .peer_port = 179 });
	assert_bytes(buf, nlh->nlmsg_len, "48000000 1400 0103 00000000 00000000  0a 06 00 00 02000000"
		     "0000 00b3 00000000000000000000000000000000 00000000000000000000000000000000 00000000 0000000000000000");
}

struct answer {
	struct nlmsghdr nlh;
	struct inet_diag_msg m;
};

/* ports in host byte order, addresses as text. */
static struct answer answer(uint8_t family, uint8_t tcp_state, const char *local, uint16_t local_port, const char *peer,
			    uint16_t peer_port)
{
	struct answer a = { .nlh = { .nlmsg_len = sizeof(a), .nlmsg_type = SOCK_DIAG_BY_FAMILY },
			    .m = { .idiag_family = family, .idiag_state = tcp_state } };
	struct ip src = address(local), dst = address(peer);
	uint8_t ports[4] = { (uint8_t)(local_port >> 8), (uint8_t)local_port, (uint8_t)(peer_port >> 8), (uint8_t)peer_port };

	memcpy(&a.m.id.idiag_sport, ports, 2);
	memcpy(&a.m.id.idiag_dport, ports + 2, 2);
	memcpy(a.m.id.idiag_src, src.b, ip_len(&src));
	memcpy(a.m.id.idiag_dst, dst.b, ip_len(&dst));
	a.m.id.idiag_if = 7;
	return a;
}

static int parse(const void *data, size_t len)
{
	struct diag_socket s;

	return diag_msg_parse(data, len, &s);
}

static void check(const struct answer *a, const char *local, uint16_t local_port, const char *peer, uint16_t peer_port)
{
	struct ip src = address(local);
	struct diag_socket s;

	assert_int_equal(diag_msg_parse(a, sizeof(*a), &s), 0);
	assert_true(ip_eq(&s.local.ip, &src));
	assert_int_equal(s.local.port, local_port);
	assert_int_equal(s.peer.port, peer_port);
	assert_int_equal(s.ifindex, 7);
	if (peer) {
		struct ip dst = address(peer);

		assert_true(ip_eq(&s.peer.ip, &dst));
	} else {
		assert_int_equal(s.peer.ip.family, IP_NONE);
	}
	assert_no_part(a, sizeof(*a), parse);
	try_changes(a, sizeof(*a), parse);
}

static void test_read(void **state)
{
	struct answer a = answer(AF_INET, TCP_ESTABLISHED, "192.0.2.11", 40001, "192.0.2.60", 179);

	(void)state;
	check(&a, "192.0.2.11", 40001, "192.0.2.60", 179);
	a = answer(AF_INET6, TCP_ESTABLISHED, "2001:db8::11", 179, "2001:db8::60", 40002);
	check(&a, "2001:db8::11", 179, "2001:db8::60", 40002);
	a = answer(AF_INET6, TCP_ESTABLISHED, "::ffff:192.0.2.11", 179, "::ffff:192.0.2.60", 40003);
	check(&a, "192.0.2.11", 179, "192.0.2.60", 40003);
	a = answer(AF_INET, TCP_LISTEN, "0.0.0.0", 179, "0.0.0.0", 0);
	check(&a, "0.0.0.0", 179, NULL, 0);
}

static void test_refused(void **state)
{
	struct answer a = answer(AF_INET, TCP_TIME_WAIT, "192.0.2.11", 40001, "192.0.2.60", 179);

	(void)state;
	assert_int_equal(parse(&a, sizeof(a)), -ENODATA);
	a.m.idiag_state = TCP_ESTABLISHED;
	a.m.idiag_family = AF_UNIX;
	assert_int_equal(parse(&a, sizeof(a)), -EAFNOSUPPORT);
	a.m.idiag_family = AF_INET;
	a.nlh.nlmsg_type = NLMSG_MIN_TYPE;
	assert_int_equal(parse(&a, sizeof(a)), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_dump_bytes), cmocka_unit_test(test_read), cmocka_unit_test(test_refused) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
