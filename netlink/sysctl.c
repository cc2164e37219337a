/* SPDX-License-Identifier: Apache-2.0 */
/* sysctl.c: reads and writes single sysctls through /proc/sys.  Which value is right is the shell's decision. */
#include "netlink/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agent/base/text.h"

static const struct {
	const char *family, *leaf;
} keys[SYSCTL_KEY_N] = {
	[SYSCTL_FORWARD_V4] = { "ipv4", "forwarding" },
	[SYSCTL_FORWARD_V6] = { "ipv6", "forwarding" },
	[SYSCTL_RP_FILTER] = { "ipv4", "rp_filter" },
	[SYSCTL_ARP_IGNORE] = { "ipv4", "arp_ignore" },
	[SYSCTL_ARP_ANNOUNCE] = { "ipv4", "arp_announce" },
	[SYSCTL_ARP_FILTER] = { "ipv4", "arp_filter" },
	[SYSCTL_DROP_GRATUITOUS_ARP] = { "ipv4", "drop_gratuitous_arp" },
	[SYSCTL_PROXY_ARP] = { "ipv4", "proxy_arp" },
	[SYSCTL_PROXY_ARP_PVLAN] = { "ipv4", "proxy_arp_pvlan" },
	[SYSCTL_DISABLE_IPV6] = { "ipv6", "disable_ipv6" },
	[SYSCTL_ACCEPT_RA] = { "ipv6", "accept_ra" },
	[SYSCTL_DROP_UNSOLICITED_NA] = { "ipv6", "drop_unsolicited_na" },
	[SYSCTL_PROXY_NDP] = { "ipv6", "proxy_ndp" },
};

char *sysctl_name(enum sysctl_key key, const char *interface, char *buf, size_t size)
{
	char name[32];

	/* sysctl(8): a dot within a name (eth0.10) is written as a slash. */
	snprintf(name, sizeof(name), "%s", interface);
	for (char *c = strchr(name, '.'); c; c = strchr(c, '.'))
		*c = '/';
	snprintf(buf, size, "net.%s.conf.%s.%s", keys[key].family, name, keys[key].leaf);
	return buf;
}

static int open_key(enum sysctl_key key, const char *interface, int flags, struct err_info *err)
{
	char path[96], name[64];
	int fd, r;

	if (interface[0] == '\0' || strlen(interface) > 15 || strchr(interface, '/') || text_eq(interface, ".") ||
	    text_eq(interface, ".."))
		return err_set(err, -EINVAL, "'%.32s' cannot be an interface's name", interface);
	snprintf(path, sizeof(path), "/proc/sys/net/%s/conf/%s/%s", keys[key].family, interface, keys[key].leaf);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	r = -errno;
	sysctl_name(key, interface, name, sizeof(name));
	if (r == -EROFS || r == -EACCES)
		return err_set(err, r, "%s: /proc/sys is read-only here; set it on the node", name);
	return err_errno(err, r, "%s", name);
}

int sysctl_may_set(struct err_info *err)
{
	AUTO(close_fdp) int fd = open_key(SYSCTL_FORWARD_V4, "all", O_WRONLY, err);

	return fd < 0 ? fd : 0;
}

int sysctl_get(enum sysctl_key key, const char *interface, int *ret, struct err_info *err)
{
	char text[16], name[64];
	AUTO(close_fdp) int fd = open_key(key, interface, O_RDONLY, err);
	uint64_t value;
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	sysctl_name(key, interface, name, sizeof(name));
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0) {
		r = -errno;
		return err_errno(err, r, "%s", name);
	}
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	r = text_to_u64(text, INT32_MAX, &value);
	if (r < 0)
		return err_set(err, r, "%s: '%s' is not a number", name, text);
	*ret = (int)value;
	return 0;
}

int sysctl_set(enum sysctl_key key, const char *interface, int value, struct err_info *err)
{
	char text[16], name[64];
	AUTO(close_fdp) int fd = open_key(key, interface, O_WRONLY, err);
	int len = snprintf(text, sizeof(text), "%d\n", value);
	int r;

	if (fd < 0)
		return fd;
	if (write(fd, text, (size_t)len) < 0) {
		r = -errno;
		return err_errno(err, r, "%s", sysctl_name(key, interface, name, sizeof(name)));
	}
	return 0;
}
