/* SPDX-License-Identifier: Apache-2.0 */
/* forward_old_if.c: asks for a table of legacy iptables.  The kernel makes the table when it is asked for by name, so
 * first the list of those that are there is read. */
#include "netlink/forward_old_if.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h> /* before the kernel's own */
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/base/text.h"
#include "netlink/forward_old_msg.h"

#define TABLE "filter"
#define TABLE_MAX (4u * 1024 * 1024)
#define TRIES 5 /* the table may grow between the two questions */

/* The two families' structs are the same but for their names. */
_Static_assert(sizeof(struct ipt_getinfo) == sizeof(struct ip6t_getinfo) &&
		       sizeof(struct ipt_get_entries) == sizeof(struct ip6t_get_entries) &&
		       IPT_SO_GET_INFO == IP6T_SO_GET_INFO && IPT_SO_GET_ENTRIES == IP6T_SO_GET_ENTRIES,
	       "linux/netfilter_ipv6/ip6_tables.h");

bool forward_old_there(uint8_t family)
{
	AUTO(close_fdp) int fd = open(family == NFPROTO_IPV6 ? "/proc/net/ip6_tables_names" : "/proc/net/ip_tables_names",
				      O_RDONLY | O_CLOEXEC);
	char names[256], *rest = names;
	ssize_t n = fd < 0 ? -1 : read(fd, names, sizeof(names) - 1);

	if (n <= 0)
		return false;
	names[n] = '\0';
	for (const char *name = strsep(&rest, "\n"); name; name = strsep(&rest, "\n"))
		if (text_eq(name, TABLE))
			return true;
	return false;
}

static int ask(int fd, uint8_t family, struct ipt_getinfo *ret_info, struct ipt_get_entries **ret, struct err_info *err)
{
	const int level = family == NFPROTO_IPV6 ? IPPROTO_IPV6 : IPPROTO_IP;
	struct ipt_getinfo info = { .name = TABLE };
	socklen_t len = sizeof(info);
	struct ipt_get_entries *entries;

	if (getsockopt(fd, level, IPT_SO_GET_INFO, &info, &len) < 0)
		return err_errno(err, -errno, "asking for legacy iptables' table " TABLE);
	*ret_info = info;
	if (info.size > TABLE_MAX)
		return -EFBIG;
	entries = calloc(1, sizeof(*entries) + info.size);
	if (!entries)
		return err_errno(err, -ENOMEM, "legacy iptables' table " TABLE);
	memcpy(entries->name, info.name, sizeof(entries->name));
	entries->size = info.size;
	len = (socklen_t)(sizeof(*entries) + info.size);
	if (getsockopt(fd, level, IPT_SO_GET_ENTRIES, entries, &len) < 0) {
		int r = -errno;

		free(entries);
		return err_errno(err, r, "reading legacy iptables' table " TABLE);
	}
	*ret = entries;
	return 0;
}

int forward_old_look(uint8_t family, struct forward_judgement *ret, struct err_info *err)
{
	AUTO(close_fdp) int fd = -1;
	AUTO(freep) struct ipt_get_entries *entries = NULL;
	struct ipt_getinfo info = { .size = 0 };
	int r = -EAGAIN;

	*ret = (struct forward_judgement){ .pass = FORWARD_OPEN };
	if (!forward_old_there(family))
		return 0;
	fd = socket(family == NFPROTO_IPV6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, -errno, "socket");
	for (unsigned int i = 0; i < TRIES && r == -EAGAIN; i++)
		r = ask(fd, family, &info, &entries, err);
	if (r == -EPERM || r == -ENOPROTOOPT || r == -ENOENT)
		return 0;
	if (r == -EFBIG) {
		ret->pass = FORWARD_DOUBTFUL;
		return 0;
	}
	if (r < 0)
		return r;
	r = forward_old_msg_judge(family, entries->entrytable, entries->size, info.hook_entry[NF_INET_FORWARD],
				  info.underflow[NF_INET_FORWARD], ret);
	return r < 0 ? err_errno(err, r, "legacy iptables' table " TABLE) : 0;
}
