/* SPDX-License-Identifier: Apache-2.0 */
/* nat_if.c: the connection to the kernel, and the table as a whole: whether it is there, and its removal.  nat_ensure.c
 * makes its frame. */
#include "netlink/nat_if.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#include "netlink/batch.h"
#include "netlink/nat_elem.h"
#include "netlink/nat_frame.h"
#include "netlink/nat_private.h"

#define FORMER_BATCH_LEN ((size_t)256 * 1024)

int nat_if_new(struct nat_if **ret, struct err_info *err)
{
	AUTO(nat_if_freep) struct nat_if *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return err_set(err, -ENOMEM, "table inet " NAT_TABLE ": out of memory");
	r = nlsock_new(NETLINK_NETFILTER, &n->sock, err);
	if (r < 0)
		return r;
	*ret = TAKE(n);
	return 0;
}

void nat_if_free(struct nat_if *n)
{
	if (!n)
		return;
	nlsock_free(n->sock);
	nat_own_fini(&n->own);
	free(n);
}

uint32_t nat_if_port(const struct nat_if *n)
{
	return nlsock_port(n->sock);
}

int nat_if_remove(struct nlsock *s, struct err_info *err)
{
	unsigned char buf[4096] __attribute__((aligned(16)));
	struct batch b;
	int r;

	batch_init(&b, buf, sizeof(buf));
	r = nat_frame_del_table(&b);
	if (r < 0)
		return err_errno(err, r, "removing table inet " NAT_TABLE);
	batch_end(&b);
	r = nlsock_batch(s, &b, NULL, err);
	if (r == -ENOENT)
		return 0;
	return r < 0 ? err_wrap(err, r, "removing table inet " NAT_TABLE) : 0;
}

int nat_if_former(struct nlsock *s, const struct ip *backends, size_t n, uint32_t timeout_ms, struct err_info *err)
{
	AUTO(freep) unsigned char *buf = malloc(FORMER_BATCH_LEN);
	struct batch b;
	int r;

	if (n > NAT_FORMER_MAX)
		return err_set(err, -E2BIG, "former4, former6: %zu addresses", n);
	if (!buf)
		return err_set(err, -ENOMEM, "former4, former6: out of memory");
	batch_init(&b, buf, FORMER_BATCH_LEN);
	r = nat_elem_put_former(&b, backends, n, timeout_ms);
	if (r < 0)
		return err_errno(err, r, "former4, former6: %zu addresses for %u ms", n, timeout_ms);
	batch_end(&b);
	r = nlsock_batch(s, &b, NULL, err);
	return r < 0 ? err_wrap(err, r, "table inet " NAT_TABLE ", former4, former6") : 0;
}

static int present(struct nlsock *s, uint8_t family, bool *ret, struct err_info *err)
{
	unsigned char buf[NAT_READ_MAX] __attribute__((aligned(16)));
	struct nlmsghdr *nlh = nat_frame_read(buf, NAT_READ_TABLE, NULL);
	int r;

	((struct nfgenmsg *)mnl_nlmsg_get_payload(nlh))->nfgen_family = family;
	r = nlsock_request(s, nlh, NULL, err);
	*ret = r == 0;
	return r == -ENOENT ? 0 : r;
}

int nat_if_present(struct nlsock *s, bool *ret_inet, bool *ret_arp, struct err_info *err)
{
	int r = present(s, NFPROTO_INET, ret_inet, err);

	return r == 0 ? present(s, NFPROTO_ARP, ret_arp, err) : r;
}
