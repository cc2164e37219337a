/* SPDX-License-Identifier: Apache-2.0 */
/* rendezvous_if.c: a transaction for each family.  rendezvous_frame has the form of the tables; who is leaving the shell
 * knows. */
#include "netlink/rendezvous_if.h"

#include <errno.h>
#include <stdlib.h>

#include "netlink/batch.h"

static int put(struct nlsock *s, const struct rendezvous *r, uint8_t family, struct err_info *err)
{
	size_t room = rendezvous_frame_room(r);
	AUTO(freep) void *buf = malloc(room);
	struct batch b;
	int k;

	if (!buf)
		return err_set(err, -ENOMEM, "out of memory");
	batch_init(&b, buf, room);
	k = rendezvous_frame_remove(&b, family);
	if (k == 0)
		k = rendezvous_frame_make(&b, r, family);
	if (k < 0)
		return err_errno(err, k, "building");
	batch_end(&b);
	k = nlsock_batch(s, &b, NULL, err);
	if (k == -EAFNOSUPPORT || k == -EOPNOTSUPP)
		return 0; /* no tables of that family (nft_supported_family(), nf_tables_api.c), so no such VIPs either */
	if (k == -ENOENT) /* no module provides an expression of that name */
		return err_set(err, -EOPNOTSUPP, "this kernel cannot hand packets on (CONFIG_NFT_DUP_IPV4, CONFIG_NFT_DUP_IPV6)");
	return k < 0 ? err_wrap(err, k, "tables " RENDEZVOUS_TABLE) : 0;
}

int rendezvous_if_put(struct nlsock *s, const struct rendezvous *r, struct err_info *err)
{
	int k = put(s, r, IP_V4, err);

	return k == 0 ? put(s, r, IP_V6, err) : k;
}
