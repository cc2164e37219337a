/* SPDX-License-Identifier: Apache-2.0 */
/* refuse.c: a library to preload: while a flag says so, a program that asks the kernel to remove an address is refused, with
 * what a security module answers (security_netlink_send(): the sending call fails with EPERM).  Everything else goes on, and
 * what the kernel then does and says of the address is its own.
 *
 * LEASEHOLD_REFUSE names a file of 8 bytes that the test and the program share as memory:
 *	uint32	mode: 0 nothing is refused; 1 RTM_DELADDR is
 *	uint32	how many were refused */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct flag {
	volatile uint32_t mode;
	uint32_t refused;
};

static struct flag *flag;
static ssize_t (*next)(int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len);

__attribute__((constructor)) static void refuse_open(void)
{
	const char *path = getenv("LEASEHOLD_REFUSE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *sym = dlsym(RTLD_NEXT, "sendto"), *p;

	memcpy(&next, &sym, sizeof(next));
	if (fd < 0)
		return;
	p = mmap(NULL, sizeof(*flag), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p != MAP_FAILED)
		flag = p;
	close(fd);
}

ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
	struct nlmsghdr nlh;

	if (flag && flag->mode && to && to->sa_family == AF_NETLINK && len >= sizeof(nlh)) {
		memcpy(&nlh, data, sizeof(nlh));
		if (nlh.nlmsg_type == RTM_DELADDR) {
			__atomic_add_fetch(&flag->refused, 1, __ATOMIC_RELAXED);
			errno = EPERM;
			return -1;
		}
	}
	return next(fd, data, len, flags, to, to_len);
}
